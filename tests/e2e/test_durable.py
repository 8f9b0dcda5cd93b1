"""Durable routes: on disk before OK, through kill -9, retries and dead letters that survive, backlog, delay, outbox."""
import glob
import json
import os
import resource
import signal
import sqlite3
import subprocess
import time

from harness import BELLHOPD, Case, Daemon, Service, policy, wait_until


def failing(why):
    def handle(_delivery, _service):
        raise Service.Err("failed", why)
    return handle


class Base:
    """A daemon with a store in a folder that outlives it."""

    ROUTES = [{"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True, "policy": "p"},
              {"name": "both", "from": "local", "match": "both", "to": ["worker", "other"], "durable": True,
               "policy": "p"},
              {"name": "plain", "from": "local", "match": "plain.>", "to": "worker", "policy": "p"}]

    def start(self, folder=None, with_policy=None, store=None, **more):
        folder = folder or self.temporary()
        self.folder = folder
        daemon = Daemon({"store": {"path": os.path.join(folder, "store"), **(store or {})}, "routes": self.ROUTES,
                         "policies": {"p": with_policy or policy(attempts=3, delay="50ms")}, **more},
                        folder=folder)
        self.addCleanup(daemon.remove)
        return daemon

    def again(self, daemon, how=signal.SIGKILL, **more):
        """Ends the daemon and starts another on the same folder."""
        daemon.signal(how)
        code = daemon.wait_exit(15)
        daemon.check_clean()
        if how == signal.SIGTERM:
            self.assertEqual(code, 0)
        daemon.remove()
        return self.start(self.folder, **more)

    def stop(self, daemon):
        for service in daemon.services:
            service.close()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_exit(15), 0, daemon.log_text()[-2000:])
        daemon.check_clean()

    def messages(self, daemon):
        return daemon.admin("status")["messages"]

    def held(self, daemon):
        """Not ended yet, on disk alone or in memory too."""
        counts = self.messages(daemon)
        return counts["stored"] + counts["ready"] + counts["waiting"] + counts["inflight"]

    def written(self, daemon):
        """Comes back when all that the daemon has handed to its store so far is on disk: an audit waits for it."""
        self.assertEqual(daemon.admin("audit")["findings"], [])

    def publish(self, client, subject, body=b"x", headers=None):
        got = client.publish(subject, body, headers)
        self.assertEqual(got.verb, "OK", got)


class AcceptCase(Base, Case):
    def test_ok_then_kill(self):
        """S1, S3: what was acknowledged is there after kill -9, under its id, marked as possibly seen."""
        daemon = self.start()
        with daemon.connect() as client:
            for i in range(20):
                self.publish(client, "job.x", b"%d" % i, {"id": f"m{i}"})
        daemon = self.again(daemon)
        self.assertEqual(self.held(daemon), 20)
        worker = daemon.serve("worker")
        got = worker.wait(20)
        self.assertEqual([d.body for d in got], [b"%d" % i for i in range(20)])
        self.assertEqual({d.headers["redelivered"] for d in got}, {"crash"})
        wait_until(lambda: self.messages(daemon)["done"] == 20, "all done")
        daemon = self.again(daemon, signal.SIGTERM)
        self.assertEqual(self.held(daemon), 0)
        self.assertEqual(self.messages(daemon)["unaccounted"], 0)
        self.stop(daemon)

    def test_clean_restart_is_no_crash(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.publish(client, "job.x")
        daemon = self.again(daemon, signal.SIGTERM)
        [got] = daemon.serve("worker").wait(1)
        self.assertNotIn("redelivered", got.headers)
        self.assertEqual(got.headers["attempt"], "1")
        self.stop(daemon)

    def test_nobody_there(self):
        """A durable event is accepted whether or not anybody is there; a best-effort request is not."""
        daemon = self.start()
        with daemon.connect() as client:
            self.publish(client, "both")
            self.assertEqual(client.request("plain.x")[1].subject, "no-service")
        self.assertEqual(self.messages(daemon)["accepted"], 2)
        self.assertEqual(len(daemon.serve("other").wait(1)), 1)
        self.assertEqual(len(daemon.serve("worker").wait(1)), 1)
        self.stop(daemon)

    def test_backlog(self):
        """More than fits into memory waits on disk, and comes in order, without a crash between or with one."""
        daemon = self.start(limits={"memory": "16MiB"})
        with daemon.connect() as client:
            ids = [client.start("PUB", "job.x", b"%06d" % i + b"x" * 2000) for i in range(8000)]
            for id in ids:
                self.assertEqual(client.answer(id)[1].verb, "OK")
        status = daemon.admin("status")
        self.assertEqual(self.held(daemon), 8000)
        self.assertLess(status["memory_bytes"], 8 << 20)
        daemon = self.again(daemon, limits={"memory": "16MiB"})
        worker = daemon.serve("worker", credit=50)
        got = worker.wait(8000, timeout=60)
        self.assertEqual([int(d.body[:6]) for d in got], list(range(8000)))
        wait_until(lambda: self.messages(daemon)["done"] == 8000, "all done")
        self.assertEqual(self.messages(daemon)["unaccounted"], 0)
        self.stop(daemon)

    def test_second_process(self):
        daemon = self.start()
        with open(os.path.join(self.folder, "second.yaml"), "w") as f:
            json.dump({"version": 1, "local": {"socket": self.folder + "/s2"}, "admin": {"socket": self.folder + "/a2"},
                       "store": {"path": os.path.join(self.folder, "store")}}, f)
        second = subprocess.run([BELLHOPD, "-c", f.name], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("store", second.stderr)
        with daemon.connect() as client:
            self.publish(client, "job.x")
        self.stop(daemon)


class RetryCase(Base, Case):
    def test_attempts_survive(self):
        """S6: attempts go on counting after kill -9."""
        daemon = self.start(with_policy=policy(attempts=5, delay="3s"))
        worker = daemon.serve("worker", failing(b"not yet"))
        with daemon.connect() as client:
            self.publish(client, "job.x", headers={"id": "a"})
        worker.wait(1)
        wait_until(lambda: self.messages(daemon)["stored"] == 1, "the pause is spent on disk")
        self.written(daemon)
        daemon = self.again(daemon, with_policy=policy(attempts=5, delay="3s"))
        [got] = daemon.serve("worker").wait(1)
        self.assertEqual((got.headers["attempt"], got.headers["id"]), ("2", "a"))
        self.stop(daemon)

    def test_killer_reaches_the_dead_letters(self):
        """S6: a message that is in flight at each kill -9 is handed over as often as the policy allows."""
        daemon = self.start()
        with daemon.connect() as client:
            self.publish(client, "job.x")
        seen = []
        for _ in range(8):
            worker = daemon.serve("worker", lambda d, s: Service.LATER)
            wait_until(lambda: worker.deliveries or self.messages(daemon)["dead"], "a delivery or its end")
            if self.messages(daemon)["dead"]:
                break
            seen.append(worker.deliveries[0].headers["attempt"])
            daemon = self.again(daemon)
        self.assertEqual(seen, ["1", "1", "2", "3"])  # the first life had not put its attempt on disk
        [dead] = daemon.admin("dlq.ls")["items"]
        self.assertEqual((dead["reason"], dead["attempts"], dead["route"]), ("failed", 3, "jobs"))
        self.stop(daemon)

    def test_dead_letters_survive(self):
        daemon = self.start(with_policy=policy(attempts=2))
        daemon.serve("worker", failing(b"no good"))
        with daemon.connect() as client:
            self.publish(client, "job.x", b"body", {"id": "d1", "x-own": "kept"})
            client.publish("plain.x", b"p", {"id": "d2"})
        wait_until(lambda: self.messages(daemon)["dead"] == 2, "two dead letters")
        self.written(daemon)
        daemon = self.again(daemon)
        rows = {r["id"]: r for r in daemon.admin("dlq.ls")["items"]}
        self.assertEqual(set(rows), {"d1", "d2"})
        self.assertEqual((rows["d1"]["attempts"], rows["d1"]["last_error"]), (2, "failed: no good"))
        shown = daemon.admin("dlq.show", b'{"id": "d1"}')
        self.assertEqual(shown["body"], "body")
        self.assertIn("x-own: kept", shown["headers"])
        worker = daemon.serve("worker")
        self.assertEqual(daemon.admin("dlq.redrive", b'{"route": "jobs", "dry_run": true}')["count"], 1)
        self.assertEqual(daemon.admin("dlq.redrive", b'{"route": "jobs"}')["count"], 1)
        [got] = worker.wait(1)
        self.assertEqual((got.headers["attempt"], got.headers["redelivered"]), ("1", "redrive"))
        wait_until(lambda: self.messages(daemon)["done"] == 1, "done")
        self.assertEqual(daemon.admin("dlq.purge", b"{}")["count"], 1)
        daemon = self.again(daemon)
        self.assertEqual(self.messages(daemon)["dead"], 0)
        self.stop(daemon)


    def test_edit_and_group(self):
        def handle(delivery, _service):
            if delivery.body != b"good":
                raise Service.Err("invalid", b"line %s is bad" % delivery.headers["id"].encode()[1:])
            return b""
        daemon = self.start()
        worker = daemon.serve("worker", handle)
        with daemon.connect() as client:
            for i in range(3):
                self.publish(client, "job.x", b"bad", {"id": f"e{i}"})
        wait_until(lambda: self.messages(daemon)["dead"] == 3, "three dead letters")
        [group] = daemon.admin("dlq.ls", b'{"group": true}')["groups"]
        self.assertEqual((group["count"], group["route"], group["reason"]), (3, "jobs", "invalid"))
        self.assertEqual(daemon.admin("dlq.edit", b'{"id": "e1", "body": "good"}')["count"], 1)
        self.assertEqual(daemon.admin("dlq.show", b'{"id": "e1"}')["body"], "good")
        self.assertEqual(daemon.admin("dlq.redrive", b'{"id": "e1"}')["count"], 1)
        wait_until(lambda: self.messages(daemon)["done"] == 1, "the edited one is done")
        self.assertEqual(worker.deliveries[-1].body, b"good")
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.stop(daemon)


class OrderCase(Base, Case):
    def test_order_by(self):
        """S8: of one key one at a time, two instances or not; other keys do not wait."""
        services = {"worker": {"order_by": "header:key", "order": "strict"}, "other": {}, "tester": {}}
        daemon = self.start(services=services)
        one, two = daemon.serve("worker", lambda d, s: Service.LATER), daemon.serve("worker", lambda d, s: Service.LATER)
        with daemon.connect() as client:
            for i in range(6):
                self.publish(client, "job.x", b"%d" % i, {"key": "ab"[i % 2]})
        wait_until(lambda: len(one.deliveries) + len(two.deliveries) == 2, "one of each key")
        self.assertEqual(self.messages(daemon)["parked"], 4)
        seen = []
        while len(seen) < 6:
            wait_until(lambda: len(one.deliveries) + len(two.deliveries) > 0, "the next")
            for service in (one, two):
                while service.deliveries:
                    got = service.deliveries.pop(0)
                    seen.append(int(got.body))
                    service.client.send("OK", got.id)
        self.assertEqual([i for i in seen if i % 2 == 0], [0, 2, 4])
        self.assertEqual([i for i in seen if i % 2 == 1], [1, 3, 5])
        self.stop(daemon)


    def test_member_and_blocked_key(self):
        """By a member of the body; a key that fails for long does not hold up others that are on disk behind it."""
        services = {"worker": {"order_by": "json:o.key", "order": "strict"}, "other": {}, "tester": {}}
        good = []

        def handle(delivery, _service):
            if not good and b'"bad"' in delivery.body:
                raise Service.Err("failed", b"not yet")
            return b""
        daemon = self.start(services=services, with_policy=policy(attempts=1000, delay="200ms"))
        with daemon.connect() as client:
            ids = [client.start("PUB", "job.x", b'{"o": {"key": "bad"}, "n": %d}' % i) for i in range(3000)]
            ids += [client.start("PUB", "job.x", b'{"o": {"key": %d}, "n": %d}' % (i % 7, i)) for i in range(300)]
            for id in ids:
                self.assertEqual(client.answer(id)[1].verb, "OK")
        worker = daemon.serve("worker", handle)
        wait_until(lambda: self.messages(daemon)["done"] == 300, "the others are done")
        self.assertEqual(self.held(daemon) + self.messages(daemon)["parked"], 3000)
        worker.deliveries.clear()
        good.append(True)
        wait_until(lambda: self.messages(daemon)["done"] == 3300, "all done", 60)
        numbers = [json.loads(d.body)["n"] for d in worker.deliveries]
        self.assertEqual(sorted(set(numbers)), list(range(3000)))
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.stop(daemon)


class DelayCase(Base, Case):
    def test_delay_over_kill(self):
        daemon = self.start()
        with daemon.connect() as client:
            begun = time.monotonic()
            self.publish(client, "job.x", headers={"delay": "1500ms"})
            self.publish(client, "plain.x", headers={"delay": "1s"})
        daemon = self.again(daemon)
        worker = daemon.serve("worker")
        got = worker.wait(2)
        self.assertGreater(time.monotonic() - begun, 1.4)
        self.assertEqual([d.subject for d in got], ["plain.x", "job.x"])
        metrics = daemon.http("/metrics")[1]
        self.assertIn('bellhop_delay_drift_ms_count 2\n', metrics)
        self.assertIn('bellhop_delay_drift_ms_bucket{le="+Inf"} 2\n', metrics)
        self.stop(daemon)

    def test_no_store_no_delay(self):
        daemon = self.daemon({"routes": [{"from": "local", "match": ">", "to": "worker"}]})
        with daemon.connect() as client:
            got = client.publish("x", headers={"delay": "1s"})
            self.assertEqual(got.subject, "invalid")
            self.assertIn(b"store", got.body)


class OutboxCase(Base, Case):
    def test_settled_with_what_it_staged(self):
        daemon = self.start()

        def handle(delivery, service):
            if delivery.subject == "job.x":
                service.client.send("PUB", 77, "both", {"with": delivery.id}, b"staged")
            return b""
        worker = daemon.serve("worker", handle)
        with daemon.connect() as client:
            self.publish(client, "job.x")
        ok = worker.wait_other("OK")
        self.assertEqual(ok[0].id, 77)
        wait_until(lambda: len(worker.deliveries) == 2, "the staged one reaches the worker too")
        wait_until(lambda: self.messages(daemon)["done"] == 2, "both are done")
        self.written(daemon)
        daemon = self.again(daemon)
        self.assertEqual(self.held(daemon), 1)  # the copy for `other`
        self.stop(daemon)


class DiskCase(Base, Case):
    def test_full(self):
        """S-full: new durable messages are refused, what is there is delivered, then there is room again."""
        daemon = self.start(store={"max_size": "12MiB"})
        body = b"x" * 100000
        with daemon.connect() as client:
            got = None
            for _ in range(200):
                got = client.publish("job.x", body)
                if got.verb != "OK":
                    break
            self.assertEqual(got.subject, "overloaded", got)
            self.assertIn(b"full", got.body)
            accepted = self.messages(daemon)["accepted"]
            self.assertGreater(accepted, 20)
            worker = daemon.serve("worker")
            worker.wait(accepted)
            wait_until(lambda: self.messages(daemon)["done"] == accepted, "all done")
            self.publish(client, "job.x", body)
        self.assertEqual(self.messages(daemon)["unaccounted"], 0)
        self.stop(daemon)

    def fill(self, client, body, most):
        for sent in range(most):
            got = client.publish("job.x", body)
            if got.verb != "OK":
                self.assertEqual(got.subject, "overloaded", got)
                return sent
        self.fail("everything was taken")

    def test_file_size_limit(self):
        """ulimit -f: the store is full before a file of it is as large as none may be."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, hard))
        try:
            daemon = self.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(daemon.admin("status")["store"]["max_bytes"], 16 << 20)
        with daemon.connect() as client:
            accepted = self.fill(client, b"x" * 100000, 400)
            self.assertGreater(accepted, 50)
            worker = daemon.serve("worker")
            worker.wait(accepted)
            wait_until(lambda: self.messages(daemon)["done"] == accepted, "all done")
            self.publish(client, "job.x", b"again")
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.stop(daemon)

    def test_file_size_limit_that_comes_later(self):
        """No file may grow any more: refusals, and what ends is recorded. Then they may again."""
        daemon = self.start()
        with daemon.connect() as client:
            for _ in range(40):
                self.publish(client, "job.x", b"x" * 100000)
            size = max(os.path.getsize(f) for f in glob.glob(self.folder + "/store/*"))
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size + (1 << 20), resource.RLIM_INFINITY))
            accepted = 40 + self.fill(client, b"y" * 100000, 400)
            self.assertEqual(self.fill(client, b"y" * 100000, 1), 0)
            worker = daemon.serve("worker")
            worker.wait(accepted)
            wait_until(lambda: self.messages(daemon)["done"] == accepted, "all done")
            self.assertNotEqual(daemon.admin("status")["store"]["state"], "faulted")
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait_until(lambda: client.publish("job.x", b"z").verb == "OK", "room again")
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.stop(daemon)

    def test_drop_oldest(self):
        """when_full: drop-oldest: what is newest is there, what was dropped is counted, nothing in flight is."""
        daemon = self.start(store={"max_size": "12MiB", "when_full": "drop-oldest"})
        body, held = b"x" * 20000, daemon.serve("other", lambda d, s: Service.LATER, credit=5)
        with daemon.connect() as client:
            for i in range(5):
                self.publish(client, "both", b"both" + body, {"id": f"both{i}"})
            held.wait(5)
            ids = [client.start("PUB", "job.x", b"%d" % i + body, {"id": f"m{i}"}) for i in range(1500)]
            for id in ids:
                self.assertEqual(client.answer(id)[1].verb, "OK")
        counts = self.messages(daemon)
        self.assertEqual(counts["accepted"], 1510)
        self.assertGreater(counts["dropped"], 1000)
        self.assertEqual(self.held(daemon) + counts["dropped"], 1510)
        self.assertEqual(counts["inflight"], 5)
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.assertGreaterEqual(len(daemon.log("store_dropped_oldest")), 1)
        self.assertLess(len(daemon.log("store_dropped_oldest")), 5)
        self.assertRegex(daemon.http("/metrics")[1], r"(?m)^bellhop_store_dropped_oldest_total %d$" % counts["dropped"])
        daemon = self.again(daemon)
        worker = daemon.serve("worker")
        got = worker.wait(self.held(daemon) - 5)
        self.assertEqual([d.headers["id"] for d in got], [f"m{i}" for i in range(1500 - len(got), 1500)])
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.stop(daemon)

    def test_flipped_bits_deliver_nothing_altered(self):
        """S: a record whose content was altered on disk is quarantined, the rest is served."""
        daemon = self.start()
        with daemon.connect() as client:
            for i in range(5):
                self.publish(client, "job.x", b"payload-%d" % i * 20)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_exit(15), 0)
        [path] = glob.glob(os.path.join(self.folder, "store", "bellhop.db"))
        with open(path, "r+b") as f:
            data = f.read()
            at = data.index(b"payload-2")
            f.seek(at + 3)
            f.write(bytes([data[at + 3] ^ 1]))
        daemon.remove()
        daemon = self.start(self.folder)
        worker = daemon.serve("worker")
        got = worker.wait(4)
        self.assertEqual([d.body[:9] for d in got], [b"payload-%d" % i for i in (0, 1, 3, 4)])
        self.assertEqual(daemon.admin("status")["store"]["quarantined"], 1)
        self.assertEqual(self.messages(daemon)["unaccounted"], 0)
        self.stop(daemon)

    def test_foreign_file(self):
        folder = self.temporary()
        os.mkdir(os.path.join(folder, "store"))
        db = sqlite3.connect(os.path.join(folder, "store", "bellhop.db"))
        db.execute("CREATE TABLE somebody (x)")
        db.commit()
        db.close()
        config = {"version": 1, "local": {"socket": folder + "/s"}, "admin": {"socket": folder + "/a"},
                  "store": {"path": os.path.join(folder, "store")}}
        with open(os.path.join(folder, "b.yaml"), "w") as f:
            json.dump(config, f)
        run = subprocess.run([BELLHOPD, "-c", f.name], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("bellhop.db", run.stderr)
