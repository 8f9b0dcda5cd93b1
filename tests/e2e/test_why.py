"""bellhop why: the whole story of a message, after it ended and after the daemon did."""
import os
import signal

from harness import Case, Service, policy, wait_until
from test_durable import Base


def times(items):
    return [item["time_ms"] for item in items]


class WhyCase(Base, Case):
    ROUTES = [*Base.ROUTES, {"name": "once", "from": "local", "match": "once", "to": "worker", "durable": True,
                             "policy": "p", "dedupe": {"by": "id"}}]

    def why(self, daemon, id):
        reply = daemon.admin("why", b'{"id": "%s"}' % id.encode())
        self.assertTrue(reply["complete"])
        return reply["items"]

    def events(self, daemon, id):
        return [item["event"] for item in self.why(daemon, id)]

    def twice_then_well(self, daemon, subject):
        answers = iter([Service.Err("failed", b"no"), Service.Err("unavailable", b"not now")])

        def handle(_delivery, _service):
            for error in answers:
                raise error
            return b""
        worker = daemon.serve("worker", handle)
        with daemon.connect("shop") as client:
            self.publish(client, subject, b"x", {"id": "a-1"})
        worker.wait(3)
        wait_until(lambda: self.messages(daemon)["done"] == 1, "done")

    def check_story(self, daemon):
        items = self.why(daemon, "a-1")
        self.assertEqual([(i["event"], i["attempt"], i.get("detail")) for i in items],
                         [("retry", 1, "failed: no"), ("retry", 2, "unavailable: not now"), ("done", 3, None)])
        self.assertEqual({(i["source"], i["subject"], i["route"], i["destination"], i["generation"]) for i in items},
                         {("shop", "job.x", "jobs", "worker", 1)})
        self.assertEqual({i["peer"].split(",")[0] for i in items}, {f"pid {os.getpid()}"})
        self.assertEqual([i.get("redelivered") for i in items], [None, "failed", "lost"])
        self.assertEqual(times(items), sorted(times(items)))
        accepted = [i["accepted_ms"] for i in items]
        self.assertLess(max(accepted) - min(accepted), 5)
        for item in items:
            self.assertLessEqual(item["accepted"], item["handed_over"])
            self.assertLessEqual(item["handed_over"], item["time"])
        self.assertEqual([i["pause_ms"] > 0 for i in items[:2]], [True, True])

    def test_fails_twice_then_succeeds(self):
        daemon = self.start()
        self.twice_then_well(daemon, "job.x")
        self.check_story(daemon)
        code, out, err = daemon.tool("why", "a-1")
        self.assertEqual((code, err), (0, ""))
        for word in ("job.x", "from     shop", "route jobs of configuration 1", "unavailable: not now; after ", "done",
                     "redelivered: lost", "on disk, then its source was told"):
            self.assertIn(word, out)
        self.assertEqual(out.count("handed over"), 3)
        daemon = self.again(daemon, signal.SIGTERM)
        self.check_story(daemon)
        daemon = self.again(daemon)
        self.check_story(daemon)
        self.assertEqual(daemon.tool("why", "nobody")[0], 1)
        self.stop(daemon)

    def test_dies_and_is_redriven(self):
        daemon = self.start(with_policy=policy(attempts=1))

        def refuse(_delivery, _service):
            raise Service.Err("failed", b"never", {"retry": "no"})
        worker = daemon.serve("worker", refuse)
        with daemon.connect("shop") as client:
            self.publish(client, "job.x", b"x", {"id": "b-1"})
        wait_until(lambda: self.messages(daemon)["dead"] == 1, "dead")
        worker.close()
        self.assertEqual(self.events(daemon, "b-1"), ["dead"])
        daemon = self.again(daemon)
        daemon.admin("dlq.redrive", b'{"id": "b-1"}')
        daemon.serve("worker").wait(1)
        wait_until(lambda: self.messages(daemon)["done"] == 1, "done")
        items = self.why(daemon, "b-1")
        self.assertEqual([(i["event"], i.get("detail"), i.get("redelivered")) for i in items],
                         [("dead", "failed: never", None), ("redriven", None, None), ("done", None, "redrive")])
        self.assertLess(abs(items[0]["accepted_ms"] - items[2]["accepted_ms"]), 5)
        daemon.admin("dlq.purge", b"{}")
        self.stop(daemon)

    def test_copies(self):
        daemon = self.start()
        with daemon.connect("shop") as client:
            self.publish(client, "once", b"x", {"id": "c-1"})
            self.publish(client, "once", b"x", {"id": "c-1"})
        items = self.why(daemon, "c-1")
        self.assertEqual([(i["event"], i.get("detail")) for i in items],
                         [("duplicate", "a copy of one that was accepted"), ("now", "waits to be handed over")])
        self.stop(daemon)

    def test_waits(self):
        """What is not over: on disk for later, in hand, between two attempts."""
        daemon = self.start(with_policy=policy(attempts=3, delay="500ms"))
        held = daemon.serve("worker", lambda d, s: Service.LATER)
        with daemon.connect("shop") as client:
            self.publish(client, "job.x", b"x", {"id": "d-1"})
            self.publish(client, "job.x", b"x", {"id": "d-2", "delay": "1h"})
        held.wait(1)
        [item] = self.why(daemon, "d-1")
        self.assertEqual((item["event"], item["attempt"], item["detail"]),
                         ("now", 1, "is handed over and not answered yet"))
        self.assertIn("pid ", item["peer"])
        [item] = self.why(daemon, "d-2")
        self.assertEqual((item["event"], item["detail"]), ("stored", "not before its time"))
        held.client.send("ERR", held.deliveries[0].id, "failed")
        wait_until(lambda: self.events(daemon, "d-1")[:1] == ["retry"], "failed")
        self.assertIn("now", self.events(daemon, "d-1"))
        self.stop(daemon)

    def test_best_effort(self):
        """Remembered in memory where it went well, on disk where it did not."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect("shop") as client:
            self.publish(client, "plain.x", b"x", {"id": "e-1"})
            verb = client.request("plain.y", b"x", {"id": "e-2"})[1].verb
        self.assertEqual(verb, "REP")
        worker.wait(2)
        [event], [request] = self.why(daemon, "e-1"), self.why(daemon, "e-2")
        self.assertEqual((event["event"], event["told"], event["request"], event["stored"]), ("done", True, False, False))
        self.assertEqual((request["event"], request["told"], request["request"]), ("done", True, True))
        worker.close()
        def fail(_delivery, _service):
            raise Service.Err("invalid", b"bad")
        daemon.serve("worker", fail)
        with daemon.connect("shop") as client:
            self.assertEqual(client.request("plain.y", b"x", {"id": "e-3"})[1].subject, "invalid")
        daemon = self.again(daemon, signal.SIGTERM)
        self.assertEqual(self.why(daemon, "e-1"), [])
        [request] = self.why(daemon, "e-3")
        self.assertEqual((request["event"], request["detail"], request["told"]), ("failed", "invalid: bad", True))
        self.stop(daemon)

    def test_bounded_and_off(self):
        daemon = self.start(limits={"history": "1MiB"})
        worker = daemon.serve("worker")
        with daemon.connect("shop") as client:
            ids = [client.start("PUB", "job.x", b"x", {"id": f"f-{i}"}) for i in range(20000)]
            for id in ids:
                self.assertEqual(client.answer(id)[1].verb, "OK")
        worker.wait(20000)
        wait_until(lambda: self.messages(daemon)["done"] == 20000, "done")
        self.assertEqual(self.events(daemon, "f-19999")[-1], "done")
        self.assertEqual(self.events(daemon, "f-0"), [])
        self.assertEqual(daemon.admin("audit")["findings"], [])
        daemon = self.again(daemon, signal.SIGTERM, limits={"history": "0B"})
        with daemon.connect("shop") as client:
            self.publish(client, "job.x", b"x", {"id": "g-1"})
        daemon.serve("worker").wait(1)
        wait_until(lambda: self.messages(daemon)["done"] == 1, "done")
        self.assertEqual(self.events(daemon, "g-1"), [])
        self.assertEqual(self.events(daemon, "f-19999")[-1], "done")
        self.stop(daemon)
