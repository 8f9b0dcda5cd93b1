import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import bellhop
import scenarios
from fake import Fake


def stopping(script, service):
    """The script, then the service is told to stop while the connection still stands."""
    def run(c):
        try:
            script(c)
        finally:
            service().stop()
        c.bye()
    return run


def add_handlers(s):
    """The handlers that the scripts expect; plain functions and generators serve both clients."""
    fates = []

    @s.on({"cmd": "sum"})
    def sum_(numbers, delivery):
        return sum(numbers)

    @s.on("retry")
    def retry(data, delivery):
        raise bellhop.Retry("later", after=1.5)

    @s.on("again")
    def again(data, delivery):
        raise bellhop.Retry("later")

    @s.on("reject")
    def reject(data, delivery):
        raise bellhop.Reject("invalid", {"why": "ż"})

    @s.on("release")
    def release(data, delivery):
        raise bellhop.Release

    @s.on("boom")
    def boom(data, delivery):
        raise ValueError("boom")

    s.on("none")(lambda data, delivery: None)
    s.on("text")(lambda data, delivery: "tekst ż")
    s.on("bytes")(lambda data, delivery: b"\x00\x01")
    s.on("big")(lambda data, delivery: bytes((1 << 20) + 1))
    s.on("filter.>")(lambda data, delivery: delivery.subject)
    s.on("attempt")(lambda data, delivery: [delivery.attempt, delivery.timeout])
    s.on("echo")(lambda data, delivery: bellhop.Response(delivery.body, delivery.headers))

    @s.on("count")
    def count(n, delivery):
        for i in range(n):
            yield i + 1

    @s.on("broken")
    def broken(data, delivery):
        yield 1
        raise ValueError

    @s.on("odd")
    def odd(data, delivery):
        if data == 2:
            raise bellhop.Reject("failed", {2})
        if data == 3:
            raise bellhop.Reject("no\nsuch", "x")
        if data == 4:
            raise bellhop.Retry("four", code="x" * 1025)
        raise ValueError(data)

    @s.on("endless")
    def endless(data, delivery):
        until = time.monotonic() + 5
        while time.monotonic() < until:
            yield "x" * 1000

    @s.on("stage")
    def stage(fail, delivery):
        delivery.extend()
        fates.append(delivery.publish("audit", "x"))
        if fail:
            raise bellhop.Reject("failed", "no")

    s.on("fates")(lambda data, delivery: [f.error.code if f.error else "ok" for f in fates if f.done])


class PlainTest(unittest.TestCase):
    def serve(self, *scripts, handlers=None, **options):
        with Fake(*scripts[:-1], stopping(scripts[-1], lambda: service)) as fake:
            service = bellhop.Service("unit", fake.path, **options)
            add_handlers(service)

            @service.on("slow")
            def slow(seconds, delivery):
                time.sleep(seconds)
                return "slow"
            if handlers:
                handlers(service)
            service.run()

    def test_sum(self):
        self.serve(scenarios.sums)

    def test_outcomes(self):
        with self.assertLogs("bellhop", "WARNING"):
            self.serve(scenarios.outcomes)

    def test_odd_errors(self):
        with self.assertLogs("bellhop", "WARNING"):
            self.serve(scenarios.odd_errors)

    def test_lost_in_a_stream_then_reconnect(self):
        start = time.monotonic()
        self.serve(scenarios.lost_in_a_stream, scenarios.sums)
        self.assertLess(time.monotonic() - start, 4)

    def test_stream(self):
        with self.assertLogs("bellhop", "WARNING"):
            self.serve(scenarios.stream)

    def test_staged(self):
        self.serve(scenarios.staged)

    def test_cancel(self):
        self.serve(scenarios.cancels)

    def test_flood(self):
        self.serve(scenarios.flood)

    def test_greedy(self):
        self.serve(scenarios.greedy)

    def test_bad_frame_then_reconnect(self):
        self.serve(scenarios.bad_frame, scenarios.sums)

    def test_daemon_bye_then_reconnect(self):
        self.serve(scenarios.daemon_bye, scenarios.sums)

    def test_waits_out_a_draining_daemon(self):
        with self.assertLogs("bellhop", "WARNING") as logs:
            self.serve(scenarios.draining, scenarios.draining, scenarios.sums)
        self.assertEqual(len([r for r in logs.output if "trying again: draining" in r]), 1, logs.output)  # once, not each time

    def test_denied(self):
        with Fake(scenarios.denied) as fake, self.assertRaises(bellhop.Error) as e:
            bellhop.Service("unit", fake.path).run()
        self.assertEqual((e.exception.code, e.exception.detail), ("denied", "wrong token"))

    def test_sigterm_drains(self):
        with Fake(scenarios.drain_on_sigterm(lambda: os.kill(os.getpid(), signal.SIGTERM))) as fake:
            service = bellhop.Service("unit", fake.path)

            @service.on("slow")
            def slow(seconds, delivery):
                time.sleep(seconds)
            before = signal.getsignal(signal.SIGTERM)
            service.run()
            self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_caller(self):
        with Fake(scenarios.caller) as fake:
            with bellhop.Client("unit", fake.path, credit=7, token="s3cret", instance="one") as c:
                reply = c.request("sum", [1, 2, 3])
                self.assertEqual((reply.data, reply.body, reply.headers["x-took"]), (6, b"6", "3"))
                self.assertEqual([m.data for m in c.request_stream("stream")], [1, 2])
                self.assertEqual([m.data for m in c.request_stream("stream", 3)], [1, 2, 3])
                self.assertEqual(c.request("stream").data, 2)
                with self.assertRaises(bellhop.Error) as e:
                    c.request("error")
                self.assertEqual((e.exception.code, e.exception.detail, e.exception.retry), ("no-route", {"a": 1}, False))
                with self.assertRaises(bellhop.Error) as e:
                    c.request("later")
                self.assertEqual((e.exception.code, e.exception.detail, e.exception.retry), ("overloaded", "busy", 2.0))
                with self.assertRaises(bellhop.Error) as e:
                    c.request("silent", timeout=0.1)
                self.assertEqual(e.exception.code, "timeout")
                for item in c.request_stream("endless"):
                    break
                c.publish("event", "x")
                c.publish("forget", b"x", ack=False)
                with self.assertRaises(bellhop.Error) as e:
                    c.publish("refused")
                self.assertEqual(e.exception.code, "denied")
                for bad, code in ((lambda: c.publish("x", bytes((1 << 20) + 1)), "too-large"),
                                  (lambda: c.publish("a\nb"), "invalid"), (lambda: c.publish(""), "invalid"),
                                  (lambda: c.publish("x", headers={"a": "\n"}), "invalid")):
                    with self.assertRaises(bellhop.Error) as e:
                        bad()
                    self.assertEqual(e.exception.code, code)
                self.assertEqual(c.request("sum", [1]).data, 1)

    def test_a_slow_reader_holds_the_daemon_back(self):
        with Fake(scenarios.flood_of_items) as fake:
            with bellhop.Client("unit", fake.path) as c:
                count = 0
                for item in c.request_stream("flood"):
                    if count == 0:
                        time.sleep(0.4)
                        self.assertLess(len(scenarios.FLOODED), 5000)
                    self.assertEqual(int(item.body), count)
                    count += 1
                self.assertEqual(count, 20000)

    def test_what_a_slow_reader_has_waiting_is_bounded(self):
        def script(c):
            c.hello()
            flood = c.read("REQ")[1]
            c.send("MORE", flood, body=b"0")
            other = c.read("REQ")[1]
            c.sock.sendall(b"".join(b"MORE %d 0 1\nx" % flood for _ in range(70000)))
            assert c.read("CANCEL")[1] == flood
            c.send("REP", other, body=b"1")
            c.bye()
        with Fake(script) as fake:
            with bellhop.Client("unit", fake.path) as c:
                items, count = c.request_stream("flood"), 0
                self.assertEqual(next(items).data, 0)
                self.assertEqual(c.request("other").data, 1)
                with self.assertRaises(bellhop.Error) as e:
                    for _ in items:
                        count += 1
                self.assertEqual((e.exception.code, count), ("overloaded", 65537))

    def test_subscribe(self):
        with Fake(scenarios.subscriptions, scenarios.resubscribed) as fake:
            c, got = bellhop.Client("unit", fake.path), []

            def note(data, delivery):
                got.append((delivery.subject, data))
            c.subscribe("order.*", note, group="workers")
            c.subscribe("audit.>", note)
            c.on("stop")(note)
            while ("stop", None) not in got:
                c.poll(5)
            c.unsubscribe("order.*")
            while ("audit.again", 3) not in got:
                c.poll(5)
            c.close()
        self.assertEqual(got, [("order.new", 1), ("audit.x.y", 2), ("stop", None), ("audit.again", 3)])

    def test_disconnect_fails_what_is_in_flight(self):
        with Fake(scenarios.dies_in_request, scenarios.answers_sum) as fake:
            with bellhop.Client("unit", fake.path) as c:
                with self.assertRaises(bellhop.Error) as e:
                    c.request("sum", [1])
                self.assertEqual(e.exception.code, "unavailable")
                self.assertEqual(c.request("sum", [1, 2, 3]).data, 6)

    def test_more_credit(self):
        with Fake(scenarios.more_credit, scenarios.more_credit_again) as fake:
            c = bellhop.Client("unit", fake.path, credit=8)
            c.connect()
            c.add_credit(5)
            c.poll(5)                               # sends; then the fake closes
            c.connect()
            c.close()
            for bad in (0, 65535):
                with self.assertRaises(ValueError):
                    c.add_credit(bad)
        with self.assertRaises(ValueError):
            bellhop.Client("unit", credit=0)

    def test_nobody_there(self):
        with self.assertRaises(bellhop.Error) as e:
            bellhop.Client("unit", "/nonexistent/socket", connect_timeout=0.2).connect()
        self.assertEqual(e.exception.code, "unavailable")

    def test_nested_request(self):
        def script(c):
            c.hello()
            c.send("REQ", 1, "nested")
            ask = c.read("REQ")
            c.send("REQ", 2, "none")               # comes while the handler waits: handled after it
            c.send("REP", ask[1], "", {}, b"41")
            assert c.read("REP")[4] == b"42"
            assert c.read("REP")[1] == 2

        def handlers(service):
            service.on("nested")(lambda data, delivery: service.request("other").data + 1)
        self.serve(script, handlers=handlers)

    def test_environment(self):
        os.environ["BELLHOP_SOCKET"] = "/from/environment"
        try:
            self.assertEqual(bellhop.Client("x").socket, "/from/environment")
            self.assertEqual(bellhop.Client("x", "/given").socket, "/given")
        finally:
            del os.environ["BELLHOP_SOCKET"]
        self.assertEqual(bellhop.Client("x").socket, "/run/bellhop/bellhop.sock")


if __name__ == "__main__":
    unittest.main()
