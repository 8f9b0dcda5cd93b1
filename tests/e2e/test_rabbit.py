"""RabbitMQ as source and destination, against the real broker: queues, bindings, acknowledgements, confirms, returns, headers."""
import itertools
import json
import socket
import threading
import time

from harness import Case, Daemon, Service, policy, wait_until
from rabbit_server import shared

NAMES = itertools.count(1)


class Base:
    """One broker for all; each test has names of its own."""

    @classmethod
    def setUpClass(cls):
        cls.rabbit = shared()

    def setUp(self):
        self.name = f"{type(self).__name__.lower()}{next(NAMES)}"
        self.client = self.keep(self.rabbit.connect())

    def start(self, routes, endpoint=None, **more):
        config = {"endpoints": {"rabbit": {"connect": self.rabbit.url(), **(endpoint or {})}},
                  "policies": {"default": policy(attempts=3, delay="50ms")}, "routes": routes, **more}
        return self.daemon(config)

    def durable(self, routes, folder=None, **more):
        return self.start(routes, store={"path": (folder or self.temporary()) + "/store"}, **more)

    def source(self, queue=None, codec="raw", **more):
        return {"endpoint": "rabbit", "codec": codec, **({"queue": queue} if queue else {}), **more}

    def target(self, codec="raw", **more):
        return {"endpoint": "rabbit", "codec": codec, **more}

    def up(self, daemon, sources=1):
        """The destination is there and so many sources consume."""
        wait_until(lambda: len(daemon.log("source_up")) >= sources and self.endpoint(daemon)["state"] == "up",
                   "the destination and the sources")

    def settled(self, queue):
        """Nothing is left in the queue, unacknowledged or not: the broker tells once its consumers have gone."""
        counts = self.rabbit.ctl("list_queues", "name", "messages").splitlines()
        return f"{queue}\t0" in counts

    def endpoint(self, daemon):
        [row] = [e for e in daemon.admin("status")["endpoints"] if e["name"] == "rabbit"]
        return row


class SourceCase(Base, Case):
    def test_queue_to_service(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q), "to": "worker"}])
        worker = daemon.serve("worker")
        self.up(daemon)
        self.client.publish("", q, b"\x00raw\xff", message_id="m1", content_type="application/x",
                            correlation_id="c1", headers={"X-Up": "1", "n": 5, "list": [1, {"a": "b"}]})
        [got] = worker.wait(1)
        self.assertEqual((got.verb, got.subject, got.body), ("PUB", q, b"\x00raw\xff"))
        expected = {"id": "m1", "content-type": "application/x", "correlation-id": "c1", "x-up": "1", "n": "5",
                    "list": '[1,{"a":"b"}]', "amqp-queue": q, "amqp-routing-key": q, "source": "rabbit"}
        self.assertEqual({k: got.headers.get(k) for k in expected}, expected)
        self.assertNotIn("amqp-redelivered", got.headers)
        wait_until(lambda: self.settled(q), "acknowledged")

    def test_declared_with_bindings(self):
        """A quorum queue with arguments, a topic exchange and bindings are made; the subject is the routing key."""
        q, x = self.name, self.name + ".x"
        declare = {"durable": True, "type": "quorum", "delivery_limit": 7, "message_ttl": "1h",
                   "dead_letter_routing_key": "dead"}
        daemon = self.start([{"from": self.source(q, exchange=x, bind=["order.*", "user.#"], declare=declare),
                              "match": "order.>", "to": "orders"},
                             {"from": self.source(q, exchange=x, bind=["order.*", "user.#"], declare=declare),
                              "to": "rest"}])
        orders, rest = daemon.serve("orders"), daemon.serve("rest")
        self.up(daemon)
        for key in ("order.made", "order.a.b", "user", "user.x.y", "other"):
            self.client.publish(x, key, key)
        rest.wait(2), orders.wait(1)
        self.assertEqual([d.subject for d in orders.deliveries], ["order.made"])
        self.assertEqual([d.subject for d in rest.deliveries], ["user", "user.x.y"])
        self.assertEqual(rest.deliveries[0].headers["amqp-exchange"], x)
        # The same arguments, or this is refused.
        self.client.declare(q, **{"x-queue-type": "quorum", "x-delivery-limit": 7, "x-dead-letter-routing-key": "dead",
                                  "x-message-ttl": 3600000, "x-dead-letter-exchange": ""})

    def test_captures_of_the_binding(self):
        """Without a `match`, of one binding; of several nobody could tell which."""
        q, x = self.name, self.name + ".x"
        source = self.source(q, exchange=x, bind=["site.*.#"], declare=True)
        daemon = self.start([{"from": source, "to": {"service": "w", "subject": "{2}.of.{1}"}}])
        worker = daemon.serve("w")
        self.up(daemon)
        self.client.publish(x, "site.7.temp.max", b"x")
        self.assertEqual([d.subject for d in worker.wait(1)], ["temp.max.of.7"])
        daemon.write({"endpoints": {"rabbit": {"connect": self.rabbit.url()}}, "routes": [
            {"from": {**source, "bind": ["site.*", "room.*"]}, "to": {"service": "w", "subject": "{1}"}}]})
        self.assertIn("a `match` could name them", daemon.tool("reload")[2])

    def test_a_queue_of_its_own(self):
        x = self.name
        daemon = self.start([{"from": self.source(exchange=x, bind=["#"], declare={
            "exclusive": True, "durable": False, "exchange_type": "fanout"}), "to": "worker"}])
        worker = daemon.serve("worker")
        self.up(daemon)
        self.client.publish(x, "", b"all")
        [got] = worker.wait(1)
        self.assertEqual(got.subject, x)
        self.assertTrue(got.headers["amqp-queue"].startswith("amq.gen-"))

    def test_failure_is_rejected_once(self):
        """Not back into the queue: to its dead letters. What comes from there says how often it has died."""
        q, dead = self.name, self.name + ".dead"
        self.client.declare(dead)
        self.client.declare(q, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        daemon = self.start([{"from": self.source(q), "match": q, "to": "bad"}, {"from": self.source(dead), "to": "morgue"}])

        def fail(_delivery, _service):
            raise Service.Err("failed", b"no")
        bad, morgue = daemon.serve("bad", fail), daemon.serve("morgue")
        self.up(daemon, 2)
        self.client.publish("", q, b"poison", message_id="p1")
        [got] = morgue.wait(1)
        self.assertEqual((got.body, got.headers["id"], got.headers["amqp-deaths"]), (b"poison", "p1", "1"))
        [death] = json.loads(got.headers["x-death"])
        self.assertEqual((death["count"], death["reason"], death["queue"]), (1, "rejected", q))
        self.assertEqual(len(bad.deliveries), 3)  # the policy's attempts
        self.assertEqual(self.client.depth(q), 0)

    def test_a_dead_letter_has_one_place(self):
        """Ours, once it is on disk; the queue's where the policy keeps none."""
        for kept in (True, False):
            with self.subTest(kept=kept):
                q, dead = f"{self.name}.{kept}", f"{self.name}.{kept}.dead"
                self.client.declare(dead)
                self.client.declare(q, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
                daemon = self.durable([{"from": self.source(q), "to": "bad"}],
                                      policies={"default": policy(attempts=2, delay="50ms", dead_letter=kept)})

                def fail(delivery, _service):
                    raise Service.Err("failed" if delivery.body == b"1" else "unavailable", b"no")
                daemon.serve("bad", fail)
                self.up(daemon)
                for body in (b"1", b"2"):
                    self.client.publish("", q, body, message_id="m" + body.decode())
                wait_until(lambda: self.settled(q), "both settled")
                ids = {r["id"] for r in daemon.admin("dlq.ls")["items"]}
                self.assertEqual((ids, self.client.depth(dead)), ({"m1", "m2"}, 0) if kept else (set(), 2))

    def test_a_killer_ends_in_the_dead_letters(self):
        """Whoever takes it dies: that is no passing trouble."""
        q, dead = self.name, self.name + ".dead"
        self.client.declare(dead)
        self.client.declare(q, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        daemon = self.start([{"from": self.source(q), "to": "w"}],
                            policies={"default": policy(attempts=2, breaker={"failures": 100, "open_for": "1s", "probes": 1})})
        victims = []

        def die(_delivery, service):
            service.client.sock.shutdown(socket.SHUT_RDWR)
            return Service.LATER

        def dead_at_last():
            if not victims or not victims[-1].thread.is_alive():
                victims.append(daemon.serve("w", die))
            return self.client.depth(dead) == 1
        self.up(daemon)
        self.client.publish("", q, b"killer")
        wait_until(dead_at_last, "in the dead letters")
        self.assertLessEqual(sum(len(v.deliveries) for v in victims), 4)

    def test_no_route_is_rejected(self):
        q, dead = self.name, self.name + ".dead"
        self.client.declare(dead)
        self.client.declare(q, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        daemon = self.start([{"from": self.source(q), "match": "nothing.like.this", "to": "worker"}])
        self.up(daemon)
        self.client.publish("", q, b"lost?")
        wait_until(lambda: self.client.depth(dead) == 1, "in the dead letters")
        self.assertEqual(len(daemon.log("message_rejected")), 1)

    def test_prefetch_bounds_what_is_out(self):
        """Nobody answers: no more than prefetch are handed out, and they come again when the daemon has gone."""
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q, prefetch=10), "to": "slow"}], policies={"default": policy("60s")})
        slow = daemon.serve("slow", lambda d, s: Service.LATER)
        self.up(daemon)
        for i in range(30):
            self.client.publish("", q, b"%d" % i)
        slow.wait(10)
        time.sleep(0.2)
        self.assertEqual(len(slow.deliveries), 10)
        first = slow.deliveries[0]
        slow.client.send("OK", first.id)
        slow.wait(11)
        for d in slow.deliveries[1:]:
            slow.client.send("OK", d.id)
        slow.wait(20)
        for d in slow.deliveries[11:]:
            slow.client.send("OK", d.id)
        slow.wait(30)

    def test_slow_one_does_not_hold_back_the_others(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q, prefetch=4), "to": "w"}], policies={"default": policy("60s")})
        late = threading.Event()

        def work(delivery, service):
            if delivery.body == b"0":
                late.set()
                return Service.LATER
            return b""
        worker = daemon.serve("w", work)
        self.up(daemon)
        for i in range(100):
            self.client.publish("", q, b"%d" % i)
        worker.wait(100)
        self.assertEqual(len({d.body for d in worker.deliveries}), 100)
        worker.client.send("OK", worker.deliveries[0].id)
        wait_until(lambda: self.settled(q), "all acknowledged")

    def test_unacknowledged_come_again(self):
        q = self.name
        self.client.declare(q, **{"x-queue-type": "quorum"})
        routes = [{"from": self.source(q), "to": "w"}]
        first = Daemon({"endpoints": {"rabbit": {"connect": self.rabbit.url()}}, "routes": routes,
                        "policies": {"default": policy("60s")}})
        self.addCleanup(first.remove)
        w = first.serve("w", lambda d, s: Service.LATER)
        self.up(first)
        self.client.publish("", q, b"again", message_id="a1")
        w.wait(1)
        first.process.kill()
        first.process.wait()
        second = self.start(routes)
        [got] = second.serve("w").wait(1)
        self.assertEqual((got.body, got.headers["id"], got.headers["amqp-redelivered"]), (b"again", "a1", "true"))
        self.assertEqual(got.headers["x-delivery-count"], "1")

    def test_durable_acknowledges_when_stored(self):
        """Nobody is there to take them: the queue is empty all the same, and the store has them."""
        q = self.name
        self.client.declare(q)
        daemon = self.durable([{"from": self.source(q, prefetch=20), "to": "w", "durable": True}])
        self.up(daemon)
        for i in range(200):
            self.client.publish("", q, b"%d" % i, confirm=False)
        self.client.confirm_all()
        wait_until(lambda: self.settled(q), "acknowledged")
        worker = daemon.serve("w")
        self.assertEqual([d.body for d in worker.wait(200)], [b"%d" % i for i in range(200)])

    def test_bodies(self):
        """From nothing to above frame_max; above limits.body it is rejected, and the connection goes on."""
        q, dead = self.name, self.name + ".dead"
        self.client.declare(dead)
        self.client.declare(q, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        daemon = self.start([{"from": self.source(q), "to": "w"}], limits={"body": "1MiB"})
        worker = daemon.serve("w")
        self.up(daemon)
        bodies = [b"", b"x", b"a" * 131064, b"b" * 131065, bytes(range(256)) * 4096]
        for body in bodies:
            self.client.publish("", q, body)
        self.client.publish("", q, b"z" * (1 << 20) + b"!")
        self.client.publish("", q, b"after")
        self.assertEqual([d.body for d in worker.wait(6)], [*bodies, b"after"])
        wait_until(lambda: self.client.depth(dead) == 1, "the one too large")

    def test_cloudevents(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q, codec="cloudevents"), "to": "w"}])
        worker = daemon.serve("w")
        self.up(daemon)
        event = {"specversion": "1.0", "id": "e1", "source": "/s", "type": "order.made"}
        self.client.publish("", q, b'{"a":1}', content_type="application/json",
                            headers={f"cloudEvents:{k}": v for k, v in event.items()})
        self.client.publish("", q, json.dumps({**event, "id": "e2", "data": {"a": 2}}),
                            content_type="application/cloudevents+json")
        binary, structured = worker.wait(2)
        self.assertEqual((binary.headers["id"], binary.headers["ce-type"], binary.body), ("e1", "order.made", b'{"a":1}'))
        self.assertEqual((structured.headers["id"], json.loads(structured.body)), ("e2", {"a": 2}))

    def test_two_sources_one_endpoint(self):
        a, b = self.name + "a", self.name + "b"
        self.client.declare(a), self.client.declare(b)
        daemon = self.start([{"from": self.source(a), "to": "x"}, {"from": self.source(b), "to": "y"}])
        x, y = daemon.serve("x"), daemon.serve("y")
        self.up(daemon, 2)
        self.client.publish("", a, b"1"), self.client.publish("", b, b"2")
        self.assertEqual(([d.body for d in x.wait(1)], [d.body for d in y.wait(1)]), ([b"1"], [b"2"]))

    def test_drain_leaves_the_rest_in_the_queue(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q, prefetch=5), "to": "w"}])
        worker = daemon.serve("w", lambda d, s: time.sleep(0.05) or b"")
        self.up(daemon)
        for i in range(50):
            self.client.publish("", q, b"%d" % i, confirm=False)
        self.client.confirm_all()
        worker.wait(3)
        daemon.stop()
        self._cleanups.pop()
        rest = self.client.drain(q)
        done = len(worker.deliveries)
        self.assertGreaterEqual(len(rest) + done, 50)
        self.assertLessEqual(len([m for m in rest if not m.redelivered]) + done, 50)
        self.assertEqual({m.body for m in rest} | {d.body for d in worker.deliveries}, {b"%d" % i for i in range(50)})


class TargetCase(Base, Case):
    def publish(self, daemon, subject, body=b"x", headers=None):
        with daemon.connect() as client:
            got = client.publish(subject, body, headers)
            self.assertEqual(got.verb, "OK", got)

    def test_into_a_queue(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": "local", "match": "to.queue", "to": self.target(queue=q)}])
        self.up(daemon, 0)
        self.publish(daemon, "to.queue", b"\x01\xff", {"id": "m1", "content-type": "text/x", "x-mine": "zażółć",
                                                        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})
        got = wait_until(lambda: self.client.get(q), "the message")
        self.assertEqual((got.body, got.exchange, got.key), (b"\x01\xff", "", q))
        self.assertEqual(got.properties["message_id"], "m1")
        self.assertEqual((got.properties["content_type"], got.properties["delivery_mode"]), ("text/x", 2))
        self.assertEqual(got.headers["x-mine"], "zażółć")
        self.assertTrue(got.headers["traceparent"].startswith("00-" + "a" * 32))

    def test_to_an_exchange(self):
        q, x = self.name, self.name + ".x"
        self.client.declare(q), self.client.exchange(x), self.client.bind(q, x, "order.*")
        daemon = self.start([
            {"from": "local", "match": "in.*", "to": self.target(exchange=x, subject="order.{1}")},
            {"from": "local", "match": "fixed", "to": self.target(exchange=x, routing_key="order.fixed", persistent=False)}])
        self.up(daemon, 0)
        self.publish(daemon, "in.made"), self.publish(daemon, "fixed")
        got = [wait_until(lambda: self.client.get(q), "a message") for _ in range(2)]
        self.assertEqual({m.key: m.properties["delivery_mode"] for m in got}, {"order.made": 2, "order.fixed": 1})

    def test_confirmed_before_done(self):
        """10,000 through the window: each there once, none left over, and OK means that the broker has it."""
        q = self.name
        self.client.declare(q, **{"x-queue-type": "quorum"})
        daemon = self.durable([{"from": "local", "match": ">", "to": self.target(queue=q), "durable": True}],
                              endpoint={"concurrency": 300})
        self.up(daemon, 0)
        with daemon.connect() as client:
            ids = [client.start("PUB", "x", b"%d" % i) for i in range(3000)]
            for _ in ids:
                client.expect("OK")
        wait_until(lambda: daemon.admin("status")["messages"]["done"] == 3000, "all confirmed")
        self.assertEqual(self.client.depth(q), 3000)
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    def test_returned_is_refused(self):
        """No queue takes it: dead-lettered at once, with the reason; one beside it under the same id goes through."""
        q = self.name
        self.client.declare(q)
        daemon = self.durable([{"name": "bad", "from": "local", "match": "bad", "to": self.target(queue=q + ".none"), "durable": True},
                               {"name": "good", "from": "local", "match": "good", "to": self.target(queue=q), "durable": True},
                               {"name": "quiet", "from": "local", "match": "quiet", "durable": True,
                                "to": self.target(queue=q + ".none", mandatory=False)}])
        self.up(daemon, 0)
        with daemon.connect() as client:
            for _ in range(5):
                client.start("PUB", "good", b"g", {"id": "same"})
                client.start("PUB", "bad", b"b", {"id": "same"})
            for _ in range(10):
                client.expect("OK")
            client.publish("quiet", b"")
        wait_until(lambda: daemon.admin("status")["messages"]["dead"] == 5, "five dead letters")
        wait_until(lambda: self.client.depth(q) == 5, "five through")
        code, out, _ = daemon.tool("dlq", "ls", "--route", "bad")
        self.assertEqual(code, 0)
        self.assertIn("no-route", out)

    def test_unknown_exchange_hurts_only_its_own(self):
        q = self.name
        self.client.declare(q)
        daemon = self.durable([
            {"name": "bad", "from": "local", "match": "bad", "to": self.target(exchange=q + ".none"), "durable": True, "policy": "once"},
            {"name": "good", "from": "local", "match": "good", "to": self.target(queue=q), "durable": True}],
            policies={"default": policy(attempts=1), "once": policy(attempts=1)})  # a good one that is blamed is dead
        self.up(daemon, 0)
        with daemon.connect() as client:
            for i in range(200):
                client.start("PUB", "good", b"%d" % i)
                if i % 50 == 0:
                    client.start("PUB", "bad", b"b")
            for _ in range(204):
                client.expect("OK")
        wait_until(lambda: daemon.admin("status")["messages"]["dead"] == 4, "the bad ones are dead")
        seen = set()

        def all_there():
            seen.update(m.body for m in self.client.drain(q))
            return len(seen) == 200
        wait_until(all_there, "the good ones are there")
        self.assertEqual(daemon.admin("status")["messages"]["dead"], 4)

    def test_bodies(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": "local", "match": ">", "to": self.target(queue=q)}], limits={"body": "1MiB"})
        self.up(daemon, 0)
        bodies = [b"", b"x", b"a" * 131064, b"b" * 131065, bytes(range(256)) * 4096]
        for body in bodies:
            self.publish(daemon, "x", body)
        self.assertEqual([wait_until(lambda: self.client.get(q), "a message").body for _ in bodies], bodies)

    def test_ttl_is_expiration(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": "local", "match": ">", "to": self.target(queue=q, priority=4)}])
        self.up(daemon, 0)
        self.publish(daemon, "x", b"", {"ttl": "1h"})
        got = wait_until(lambda: self.client.get(q), "a message")
        self.assertTrue(3590000 < int(got.properties["expiration"]) <= 3600000)
        self.assertEqual(got.properties["priority"], 4)

    def test_cloudevents(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": "local", "match": ">", "to": self.target(codec="cloudevents", queue=q)}])
        self.up(daemon, 0)
        self.publish(daemon, "order.made", b'{"a":1}', {"id": "e1", "content-type": "application/json"})
        got = wait_until(lambda: self.client.get(q), "a message")
        self.assertEqual(got.body, b'{"a":1}')
        self.assertEqual({k: got.headers.get("cloudEvents_" + k) for k in ("id", "type", "specversion")},
                         {"id": "e1", "type": "order.made", "specversion": "1.0"})
        self.assertEqual(got.properties["content_type"], "application/json")

    def test_bridge_keeps_what_came(self):
        """Queue to queue without a service: acknowledged only when the other one has confirmed."""
        a, b = self.name + "a", self.name + "b"
        self.client.declare(a), self.client.declare(b)
        daemon = self.start([{"from": self.source(a), "to": self.target(queue=b)}])
        self.up(daemon)
        for i in range(500):
            self.client.publish("", a, b"%d" % i, confirm=False, message_id=f"m{i}", headers={"k": "v"})
        self.client.confirm_all()
        wait_until(lambda: self.client.depth(b) == 500, "all bridged")
        got = self.client.drain(b)
        self.assertEqual([m.properties["message_id"] for m in got], [f"m{i}" for i in range(500)])
        self.assertEqual({m.headers["k"] for m in got}, {"v"})
        wait_until(lambda: self.settled(a), "acknowledged")

    def test_bridge_to_nowhere_rejects(self):
        a, dead = self.name, self.name + ".dead"
        self.client.declare(dead)
        self.client.declare(a, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        daemon = self.start([{"from": self.source(a), "to": self.target(queue=a + ".none")}])
        self.up(daemon)
        self.client.publish("", a, b"x", message_id="m")
        wait_until(lambda: self.client.depth(dead) == 1, "in the dead letters")
        self.assertEqual(self.client.get(dead).properties["message_id"], "m")

    def test_request_and_reply(self):
        """raw: a foreign server behind a queue, and a foreign client of ours; errors have a header of their own."""
        q, ask = self.name, self.name + ".ask"
        self.client.declare(q), self.client.declare(ask)
        daemon = self.start([{"from": "local", "match": "out", "to": self.target(queue=q)},
                             {"from": self.source(ask), "to": "w"}])

        def work(delivery, _service):
            if delivery.body == b"bad":
                raise Service.Err("failed", b"no such thing")
            return b"did " + delivery.body
        daemon.serve("w", work)
        self.up(daemon)
        server = self.keep(self.rabbit.connect())
        server.consume(q)

        def serve():
            for _ in range(2):
                m = server.receive()
                self.assertTrue(0 < int(m.properties["expiration"]) <= 5000)
                server.publish("", m.properties["reply_to"], b"re " + m.body, correlation_id=m.properties["correlation_id"],
                               headers={} if m.body == b"1" else {"bellhop-error": "denied"})
        thread = threading.Thread(target=serve)
        thread.start()
        with daemon.connect() as client:
            self.assertEqual(client.request("out", b"1")[1].body, b"re 1")
            _, refused = client.request("out", b"2")
            self.assertEqual((refused.verb, refused.subject, refused.body), ("ERR", "denied", b"re 2"))
        thread.join()
        self.client.consume("amq.rabbitmq.reply-to")
        for body, expected, error in ((b"x", b"did x", None), (b"bad", b"no such thing", "failed")):
            self.client.publish("", ask, body, reply_to="amq.rabbitmq.reply-to", correlation_id="c" + body.decode())
            got = self.client.receive()
            self.assertEqual((got.body, got.properties["correlation_id"]), (expected, "c" + body.decode()))
            self.assertEqual(got.headers.get("bellhop-error"), error)

    def test_a_reply_that_is_no_cloudevent(self):
        """The work is done: who asked gets what came of it."""
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": "local", "match": "out", "to": self.target(codec="cloudevents", queue=q)}])
        self.up(daemon, 0)
        server = self.keep(self.rabbit.connect())
        server.consume(q)
        for headers, verb, code in (({}, "REP", None), ({"bellhop-error": "denied"}, "ERR", "denied"),
                                    ({"cloudEvents_specversion": "1.0"}, "REP", None)):
            with daemon.connect() as client:
                id = client.start("REQ", "out", b"1")
                m = server.receive()
                server.publish("", m.properties["reply_to"], b"done", headers=headers, correlation_id=m.properties["correlation_id"],
                               content_type="text/plain")
                _, got = client.answer(id)
                self.assertEqual((got.verb, got.subject, got.body), (verb, code, b"done"))
                self.assertEqual(got.headers.get("content-type"), "text/plain")

    def test_request_to_no_queue(self):
        daemon = self.start([{"from": "local", "match": "out", "to": self.target(queue=self.name)}])
        self.up(daemon, 0)
        with daemon.connect() as client:
            begun = time.monotonic()
            _, got = client.request("out", b"1")
            self.assertEqual((got.verb, got.subject), ("ERR", "no-route"))
            self.assertLess(time.monotonic() - begun, 2)
