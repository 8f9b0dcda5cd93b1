"""Dead letters in a store: sent again at a rate and as a canary."""
import json
import subprocess
import time

from harness import BELLHOP, Case, Service, policy, wait_until
from test_durable import Base


class Dead(Base):
    """A daemon with dead letters, and a service that is good or bad as told."""

    bad = True

    def handle(self, delivery, _service):
        if self.bad is True or delivery.body in (self.bad or ()):
            raise Service.Err("invalid", b"bad")
        return b""

    def begin(self, n, **more):
        daemon = self.start(**more)
        self.worker = daemon.serve("worker", self.handle)
        with daemon.connect() as client:
            for i in range(n):
                self.publish(client, "job.x", b"%d" % i, {"id": f"d{i}"})
        wait_until(lambda: self.messages(daemon)["dead"] == n, f"{n} dead letters")
        self.worker.deliveries.clear()
        return daemon

    def finish(self, daemon):
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.assertEqual(self.messages(daemon)["unaccounted"], 0)
        self.stop(daemon)


class TargetCase(Dead, Case):
    def test_sent_on(self):
        """dead_letter: {to: …}: on disk there, through kill -9; what fails there is kept."""
        more = {"with_policy": policy(dead_letter={"to": {"service": "grave", "subject": "dead.job"}})}
        daemon = self.start(**more)
        self.keep(daemon.serve("worker", self.handle))
        with daemon.connect() as client:
            self.publish(client, "job.x", b"1", {"id": "a", "x-mine": "y"})
            client.send("PUB", 0, "plain.x", {"id": "b"}, b"2")
        wait_until(lambda: len(daemon.log("message_dead_sent_on")) == 2, "both have died")
        self.written(daemon)
        self.assertEqual((self.held(daemon), self.messages(daemon)["dead"]), (2, 0))
        daemon = self.again(daemon, **more)
        self.assertEqual(self.messages(daemon)["dead"], 0)
        grave = daemon.serve("grave", self.handle)
        one, two = sorted(grave.wait(2), key=lambda d: d.headers["id"])
        self.assertEqual((one.subject, one.body, one.headers["x-mine"]), ("dead.job", b"1", "y"))
        self.assertRegex(one.headers["reason"], r"^invalid; route=jobs; destination=worker; attempts=1; time=20.*; "
                                                r"error=invalid: bad$")
        self.assertIn("route=plain", two.headers["reason"])
        wait_until(lambda: self.messages(daemon)["dead"] == 2, "they fail there too")
        self.assertEqual({d["destination"] for d in daemon.admin("dlq.ls")["items"]}, {"grave"})
        self.bad = None
        self.assertEqual(daemon.admin("dlq.redrive")["count"], 2)
        wait_until(lambda: self.messages(daemon)["done"] == 2, "both done")
        self.finish(daemon)


class EditCase(Dead, Case):
    def test_all_three(self):
        daemon = self.start()
        worker = self.keep(daemon.serve("worker", self.handle))
        with daemon.connect() as client:
            for headers in ({"id": "a", "x-one": "1", "x-two": "2", "time": "2026-01-31T08:00:00Z"}, {"id": "b"}):
                self.publish(client, "job.x", b"old", headers)
        wait_until(lambda: self.messages(daemon)["dead"] == 2, "both dead")
        shown = daemon.admin("dlq.show", b'{"id": "a"}')
        self.assertEqual(shown["sent"], "2026-01-31T08:00:00Z")
        self.assertRegex(shown["accepted"], r"^20..-.*Z$")
        self.assertLessEqual(shown["accepted"], shown["time"])
        out = daemon.tool("dlq", "show", "a")[1]
        self.assertRegex(out, r"(?m)^sent +2026-01-31T08:00:00Z\naccepted +20.*\ndied +20")
        for arguments, why in ((("a",), "nothing is to be changed"), (("a", "-H", "id:7"), "the daemon's own"),
                               (("a", "--subject", "x\ty"), "control characters"), (("c", "new"), "no dead letter"),
                               (("a", "-H", "x:" + "y" * 65500), "above 64 KiB")):
            code, _, err = daemon.tool("dlq", "edit", *arguments)
            self.assertNotEqual(code, 0)
            self.assertIn(why, err)
        self.assertEqual(daemon.tool("dlq", "edit", "a", "new", "--dry-run")[1], "would change 1 dead letter\n")
        self.assertEqual(daemon.admin("dlq.show", b'{"id": "a"}')["body"], "old")
        done = daemon.tool("dlq", "edit", "a", "-H", "x-one:9", "-H", "x-two:", "-H", "x-new:a", "-H", "x-new:b")
        self.assertEqual(done[:2], (0, "changed 1 dead letter\n"))
        self.assertEqual(daemon.tool("dlq", "edit", "a", "--subject", "job.y")[0], 0)
        shown = daemon.admin("dlq.show", b'{"id": "a"}')
        self.assertEqual((shown["subject"], shown["body"]), ("job.y", "old"))
        self.bad = None
        worker.deliveries.clear()
        daemon = self.again(daemon)
        worker = daemon.serve("worker", self.handle)
        self.assertEqual(daemon.admin("dlq.redrive", b'{"id": "a"}')["count"], 1)
        [got] = worker.wait(1)
        self.assertEqual((got.subject, got.body, got.headers["x-one"], got.headers["id"]), ("job.y", b"old", "9", "a"))
        self.assertNotIn("x-two", got.headers)
        self.assertIn("x-new", got.headers)
        self.assertEqual(daemon.admin("dlq.show", b'{"id": "b"}')["body"], "old")
        wait_until(lambda: self.messages(daemon)["done"] == 1, "done")
        self.finish(daemon)


class RedriveCase(Dead, Case):
    def test_canary(self):
        daemon = self.begin(30)
        code, out, err = daemon.tool("dlq", "redrive", "--canary")
        self.assertEqual(code, 1, err)
        self.assertIn("sent again: 1 dead letter; done 0, failed 1, left 29", out)
        self.assertIn("stopped", err)
        self.bad = (b"7",)
        code, out, err = daemon.tool("dlq", "redrive", "--canary")
        self.assertEqual(code, 1)
        self.assertIn("sent again: 11 dead letters; done 10, failed 1, left 19", out)
        self.bad = None
        code, out, err = daemon.tool("dlq", "redrive", "--canary", "-o", "json")
        self.assertEqual(code, 0, err)
        last = json.loads(out.splitlines()[-1])
        self.assertEqual(last, {"count": 20, "skipped": 0, "done": 20, "failed": 0, "left": 0, "stopped": False})
        self.assertEqual(self.messages(daemon)["done"], 30)
        self.finish(daemon)

    def test_rate_and_interrupt(self):
        daemon = self.begin(30)
        self.bad = None
        begun = time.monotonic()
        code, out, err = daemon.tool("dlq", "redrive", "--rate", "20/s", "--limit", "11")
        self.assertEqual((code, out), (0, "sent again: 11 dead letters\n"), err)
        self.assertGreater(time.monotonic() - begun, 0.45)
        with subprocess.Popen([BELLHOP, "dlq", "redrive", "--rate", "4/s", "-s", daemon.admin_socket],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tool:
            wait_until(lambda: self.messages(daemon)["done"] >= 13, "two of them")
            code, _, err = daemon.tool("dlq", "purge", "--yes")
            self.assertEqual(code, 1)
            self.assertIn("under way", err)
            tool.terminate()
            _, err = tool.communicate(timeout=10)
            self.assertIn("interrupted", err)
            self.assertEqual(tool.returncode, 1)
        done = wait_until(lambda: self.settled(daemon), "nothing goes on")
        self.assertLess(done, 20)
        self.assertEqual(daemon.tool("dlq", "redrive", "--rate", "1000/s")[1], f"sent again: {30 - done} dead letters\n")
        wait_until(lambda: self.messages(daemon)["done"] == 30, "all")
        self.finish(daemon)

    def settled(self, daemon):
        done = self.messages(daemon)["done"]
        time.sleep(0.6)  # more than two of them take
        return done if self.messages(daemon)["done"] == done else None

    def test_wrong(self):
        daemon = self.begin(1)
        code, _, err = daemon.tool("dlq", "redrive", "--rate", "fast")
        self.assertEqual(code, 2)
        self.assertIn("a rate such as 50/s", err)
        self.bad = None
        self.assertEqual(daemon.tool("dlq", "redrive", "--canary", "--dry-run")[:2],
                         (0, "would send again: 1 dead letter\n"))
        self.finish(daemon)
