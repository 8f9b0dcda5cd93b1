"""Routes with `dedupe`: of several copies the first is delivered, each is answered OK, through kill -9."""
import signal

from harness import Case, Service, policy, wait_until
from test_durable import Base


class DedupeCase(Base, Case):
    ROUTES = [{"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True, "policy": "p",
               "dedupe": {"by": "id", "window": "1h"}},
              {"name": "orders", "from": "local", "match": "order.>", "to": "worker", "durable": True, "policy": "p",
               "dedupe": {"by": "header:order", "window": "3s"}},
              {"name": "kept", "from": "local", "match": "kept", "to": "worker", "durable": True, "policy": "p",
               "dedupe": {"by": "id"}, "log": {"name": "kept"}}]

    def counts(self, daemon):
        messages = self.messages(daemon)
        return messages["accepted"], messages["duplicates"]

    def test_copies(self):
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            for _ in range(3):
                self.publish(client, "job.x", b"1", {"id": "a"})
            self.publish(client, "job.y", b"2", {"id": "a"})  # the subject is no part of it
            self.publish(client, "job.x", b"3", {"id": "b"})
            self.publish(client, "job.x", b"4")
            self.publish(client, "job.x", b"4")
        self.assertEqual([d.body for d in worker.wait(4)], [b"1", b"3", b"4", b"4"])
        self.assertEqual(self.counts(daemon), (4, 3))
        self.assertIn("\nbellhop_duplicates_total 3\n", daemon.http("/metrics")[1])
        self.stop(daemon)

    def test_in_one_burst(self):
        """Both may go into one commit: both are OK, one is delivered."""
        daemon = self.start()
        with daemon.connect() as client:
            ids = [client.start("PUB", "job.x", b"%d" % (i // 4), {"id": f"m{i // 4}"}) for i in range(400)]
            for id in ids:
                self.assertEqual(client.answer(id)[1].verb, "OK")
        self.assertEqual(self.counts(daemon), (100, 300))
        got = daemon.serve("worker").wait(100)
        self.assertEqual([d.body for d in got], [b"%d" % i for i in range(100)])
        self.stop(daemon)

    def test_after_kill(self):
        """S1: what was acknowledged twice is there once, whether it was delivered before the kill or not."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish(client, "job.x", b"done", {"id": "a"})
            worker.wait(1)
            wait_until(lambda: self.messages(daemon)["done"] == 1, "done")
            worker.close()
            self.publish(client, "job.x", b"open", {"id": "b"})
            self.written(daemon)
        daemon = self.again(daemon)
        with daemon.connect() as client:
            self.publish(client, "job.x", b"done", {"id": "a"})
            self.publish(client, "job.x", b"open", {"id": "b"})
        [got] = daemon.serve("worker").wait(1)
        self.assertEqual((got.body, got.headers["redelivered"]), (b"open", "crash"))
        wait_until(lambda: self.held(daemon) == 0, "all over")
        self.assertEqual(self.messages(daemon)["duplicates"], 2)
        daemon = self.again(daemon, signal.SIGTERM)
        with daemon.connect() as client:
            self.publish(client, "job.x", b"open", {"id": "b"})
        self.assertEqual(self.messages(daemon)["duplicates"], 1)
        self.stop(daemon)

    def test_by_header_and_window(self):
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish(client, "order.new", b"1", {"order": "7", "id": "a"})
            self.publish(client, "order.new", b"2", {"order": "7", "id": "b"})
            self.publish(client, "order.new", b"3", {"order": "8", "id": "a"})
            self.publish(client, "order.new", b"4", {"id": "a"})
            self.publish(client, "order.new", b"5", {"id": "a"})
            worker.wait(4)

            def anew():
                self.publish(client, "order.new", b"6", {"order": "7"})
                return any(d.body == b"6" for d in worker.deliveries)
            wait_until(anew, "the window is over")
        self.assertEqual([d.body for d in worker.deliveries], [b"1", b"3", b"4", b"5", b"6"])
        self.stop(daemon)

    def test_dead_letter_keeps_its_id(self):
        """A copy of what died is a copy: the redrive brings it back."""
        def refuse(_delivery, _service):
            raise Service.Err("failed", b"never", {"retry": "no"})
        daemon = self.start(with_policy=policy(attempts=1))
        worker = daemon.serve("worker", refuse)
        with daemon.connect() as client:
            self.publish(client, "job.x", b"1", {"id": "a"})
            wait_until(lambda: self.messages(daemon)["dead"] == 1, "dead")
            self.publish(client, "job.x", b"1", {"id": "a"})
        worker.close()
        self.assertEqual(self.counts(daemon), (1, 1))
        self.assertEqual(daemon.admin("dlq.redrive")["count"], 1)
        self.assertEqual([d.body for d in daemon.serve("worker").wait(1)], [b"1"])
        self.stop(daemon)

    def test_event_log(self):
        """A copy is not appended; a replay is no copy."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            first = client.publish("kept", b"x", {"id": "a"})
            copy = client.publish("kept", b"x", {"id": "a"})
            other = client.publish("kept", b"y", {"id": "b"})
        self.assertEqual([f.headers.get("offset") for f in (first, copy, other)], ["1", None, "2"])
        worker.wait(2)
        code, out, err = daemon.tool("replay", "kept", "-o", "json")
        self.assertEqual(code, 0, err)
        again = worker.wait(4)[2:]
        self.assertEqual([(d.body, d.headers["replayed"]) for d in again], [(b"x", "yes"), (b"y", "yes")])
        self.assertEqual(self.messages(daemon)["duplicates"], 1)
        self.stop(daemon)

    def test_full_is_not_a_first(self):
        """What was refused for want of room is no first copy."""
        daemon = self.start(store={"max_size": "5MiB"})
        body, refused = b"x" * 100000, None
        with daemon.connect() as client:
            for i in range(100):
                if client.publish("job.x", body, {"id": f"m{i}"}).verb != "OK":
                    refused = i
                    break
            self.assertIsNotNone(refused)
            self.assertEqual(client.publish("job.x", body, {"id": f"m{refused}"}).subject, "overloaded")
            worker = daemon.serve("worker")
            wait_until(lambda: client.publish("job.x", body, {"id": f"m{refused}"}).verb == "OK", "room again")
            worker.wait(refused + 1)
        self.assertEqual(self.messages(daemon)["duplicates"], 0)
        self.stop(daemon)
