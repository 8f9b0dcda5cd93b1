"""RabbitMQ and Redis are both stopped (SIGSTOP) for 30 s, FROZEN_SECONDS: the kernel takes what we send, nobody reads it."""
import contextlib
import os
import signal
import threading
import time

from harness import SANITIZED, Case, policy, wait_until
from redis_server import RedisServer
from test_rabbit_faults import Faults, Feed, Load
from test_redis import grouped

SECONDS = float(os.environ.get("FROZEN_SECONDS", "30"))
BODY = b" " * 4000  # behind the number: more is taken meanwhile than may be held in memory
HELD = 16 << 20  # twice what two destinations that stand still keep in memory of what is on disk


class StreamFeed:
    """A publisher at Redis that waits for each answer, however long it takes; confirmed: what was answered."""

    def __init__(self, redis, stream):
        self.client, self.stream, self.confirmed, self.running = redis.client(timeout=90), stream, set(), True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        n = 0
        while self.running:
            self.client.call("XADD", self.stream, "*", "body", n)
            self.confirmed.add(b"%d" % n)
            n += 1
            time.sleep(0.01)

    def stop(self):
        self.running = False
        self.thread.join(90)
        self.client.close()
        return self.confirmed


class BigLoad(Load):
    """Numbers with BODY behind them, as fast as the daemon takes them."""

    def run(self):
        waiting, n = {}, 0
        while self.running or waiting:
            while self.running and len(waiting) < self.window:
                waiting[self.client.start("PUB", self.subject, b"%d" % n + BODY, {"id": f"m{n}"})] = b"%d" % n + BODY
                n += 1
            got = self.client.expect("OK", "ERR")
            (self.acked if got.verb == "OK" else self.refused).append(waiting.pop(got.id))
            time.sleep(0.001)


class FrozenCase(Faults, Case):
    def standing(self):
        """Durable both ways at both brokers, and requests to both."""
        q, self.redis = self.name, self.keep(RedisServer())
        for name in (q + ".out", q + ".in"):
            self.client.declare(name, **{"x-queue-type": "quorum"})
        self.client.declare(q + ".ask", durable=False)
        cache = {"connect": f"redis://127.0.0.1:{self.redis.port}"}
        daemon = self.daemon({
            "endpoints": {"rabbit": {"connect": self.rabbit.url()}, "cache": cache},
            "store": {"path": self.temporary() + "/store"}, "limits": {"memory": f"{HELD >> 20}MiB"},
            "policies": {"default": policy("2s", attempts=1000, delay="100ms")},
            "routes": [{"from": "local", "match": "out.rabbit", "to": self.target(queue=q + ".out"), "durable": True},
                       {"from": "local", "match": "out.redis", "to": {"endpoint": "cache", "stream": "out"}, "durable": True},
                       {"from": "local", "match": "ask.rabbit", "to": self.target(queue=q + ".ask")},
                       {"from": "local", "match": "ask.redis", "to": "cache"},
                       {"from": self.source(q + ".in", prefetch=50), "to": "rabbits", "durable": True},
                       {"from": {"endpoint": "cache", "stream": "in"}, "to": "reds", "durable": True}]})
        self.workers = [daemon.serve(name) for name in ("rabbits", "reds")]
        self.up(daemon)
        with self.redis.client() as tool:
            grouped(tool, "in")
        return daemon

    @contextlib.contextmanager
    def frozen(self):
        self.rabbit.stop_signal(signal.SIGSTOP)
        self.redis.freeze()
        try:
            yield
        finally:
            self.redis.thaw()
            self.rabbit.stop_signal(signal.SIGCONT)

    def asked(self, daemon, codes):
        """A request to each broker is answered by its deadline, with one of these codes."""
        for broker in ("rabbit", "redis"):
            with daemon.connect() as client:
                begun = time.monotonic()
                _, got = client.request(f"ask.{broker}", b"1", {"timeout": "500ms"}, timeout=10)
                self.assertEqual(got.verb, "ERR")
                self.assertIn(got.subject, codes, f"{broker}: {got}")
                self.assertLess(time.monotonic() - begun, 2, broker)

    def assert_in_stream(self, acked):
        """Everything acknowledged is in the stream; what is there twice has the same id twice."""
        with self.redis.client() as tool:
            wait_until(lambda: tool.call("XLEN", "out") >= len(acked), f"{len(acked)} entries", 60)
            seen = {}

            def all_there():
                for _, fields in tool.entries("out"):
                    seen.setdefault(fields["body"], set()).add(fields["id"])
                return acked <= set(seen)
            wait_until(all_there, f"{len(acked)} in the stream, there are {len(seen)}", 60)
            self.assertEqual({len(ids) for ids in seen.values()}, {1})

    def test_both_stopped(self):
        daemon = self.standing()
        feeds = [Feed(self.rabbit, self.name + ".in"), StreamFeed(self.redis, "in")]
        loads = [BigLoad(daemon, "out.rabbit"), BigLoad(daemon, "out.redis")]
        wait_until(lambda: all(len(l.acked) > 50 for l in loads) and all(len(f.confirmed) > 10 for f in feeds), "some progress")
        rss = daemon.rss()
        with self.frozen():
            begun, before = time.monotonic(), [len(l.acked) for l in loads]
            self.asked(daemon, ("timeout",))  # nobody knows yet that nobody is there
            wait_until(lambda: all(len(l.acked) > n + 2500 for l, n in zip(loads, before)), "durable messages are taken", 60)
            acked = [load.stop() for load in loads]
            used, since = daemon.cpu(), time.monotonic()
            time.sleep(max(SECONDS - (since - begun) - 2, 2))
            self.assertLess((daemon.cpu() - used) / (time.monotonic() - since), 0.10 if SANITIZED else 0.05)
            self.assertLess(daemon.rss() - rss, (200 << 20 if SANITIZED else 2 * HELD))
            self.asked(daemon, ("timeout", "unavailable"))
            self.assertEqual([l.refused for l in loads], [[], []])
            time.sleep(max(SECONDS - (time.monotonic() - begun), 0))
        confirmed = [feed.stop() for feed in feeds]
        self.assert_all_out(self.name + ".out", acked[0])
        self.assert_in_stream(acked[1])
        for worker, all_of_it in zip(self.workers, confirmed):
            self.assert_all_in(worker, all_of_it)
        self.assert_books(daemon)
