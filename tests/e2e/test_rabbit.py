"""RabbitMQ as source and destination, against the real broker: queues, bindings, acknowledgements, confirms, returns, headers."""
import itertools
import json
import threading
import time

from harness import Case, Daemon, Service, policy, wait_until
from rabbit_server import Rabbit

NAMES = itertools.count(1)


class Base:
    """One broker for the class; each test has names of its own."""

    @classmethod
    def setUpClass(cls):
        cls.rabbit = cls.class_keep(Rabbit())

    def setUp(self):
        self.name = f"t{next(NAMES)}"
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
        wait_until(lambda: len(daemon.log("source_up")) >= sources and len(daemon.log("link_up")) >= 1 + (sources > 0),
                   "the link and its sources")

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
        self.client.publish("", q, b"\x00raw\xff", message_id="m1", content_type="application/x", headers={"X-Up": "1", "n": 5})
        [got] = worker.wait(1)
        self.assertEqual((got.verb, got.subject, got.body), ("PUB", q, b"\x00raw\xff"))
        self.assertEqual(got.headers["id"], "m1")
        self.assertEqual(got.headers["content-type"], "application/x")
        self.assertEqual((got.headers["x-up"], got.headers["n"]), ("1", "5"))
        self.assertEqual((got.headers["amqp-queue"], got.headers["amqp-routing-key"]), (q, q))
        self.assertEqual(got.headers["source"], "rabbit")
        wait_until(lambda: self.settled(q), "acknowledged")
