import asyncio
import os
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import bellhop
import scenarios
from fake import Fake
from test_plain import add_handlers


class AsyncTest(unittest.IsolatedAsyncioTestCase):
    async def serve(self, *scripts, handlers=None, **options):
        loop = asyncio.get_running_loop()

        def last(c):
            try:
                scripts[-1](c)
            finally:
                loop.call_soon_threadsafe(service.stop)
            c.bye()
        fake = Fake(*scripts[:-1], last)
        service = bellhop.AsyncService("unit", fake.path, **options)
        add_handlers(service)

        @service.on("slow")
        async def slow(seconds, delivery):
            await asyncio.sleep(seconds)
            return "slow"
        if handlers:
            handlers(service)
        fake.__enter__()
        await asyncio.wait_for(service.serve(), 20)
        fake.__exit__(None)

    async def test_sum(self):
        await self.serve(scenarios.sums)

    async def test_outcomes(self):
        with self.assertLogs("bellhop", "WARNING"):
            await self.serve(scenarios.outcomes)

    async def test_odd_errors(self):
        with self.assertLogs("bellhop", "WARNING"):
            await self.serve(scenarios.odd_errors)

    async def test_lost_in_a_stream_then_reconnect(self):
        await self.serve(scenarios.lost_in_a_stream, scenarios.sums)

    async def test_stream(self):
        with self.assertLogs("bellhop", "WARNING"):
            await self.serve(scenarios.stream)

    async def test_stream_of_an_async_generator(self):
        def handlers(service):
            @service.on("count")
            async def count(n, delivery):
                for i in range(n):
                    await asyncio.sleep(0.001)
                    yield i + 1
        with self.assertLogs("bellhop", "WARNING"):
            await self.serve(scenarios.stream, handlers=handlers)

    async def test_staged(self):
        await self.serve(scenarios.staged)

    async def test_cancel(self):
        await self.serve(scenarios.cancels)

    async def test_flood(self):
        await self.serve(scenarios.flood)

    async def test_greedy(self):
        await self.serve(scenarios.greedy)

    async def test_bad_frame_then_reconnect(self):
        await self.serve(scenarios.bad_frame, scenarios.sums)

    async def test_daemon_bye_then_reconnect(self):
        await self.serve(scenarios.daemon_bye, scenarios.sums)

    async def test_waits_out_a_draining_daemon(self):
        with self.assertLogs("bellhop", "WARNING") as logs:
            await self.serve(scenarios.draining, scenarios.draining, scenarios.sums)
        self.assertEqual(len([r for r in logs.output if "trying again: draining" in r]), 1, logs.output)  # once, not each time

    async def test_handlers_run_at_once(self):
        def script(c):
            c.hello()
            for i in range(1, 65):
                c.send("REQ", i, "slow", {}, b"0.2")
            for _ in range(64):
                c.read("REP")
        start = asyncio.get_running_loop().time()
        await self.serve(script)
        self.assertLess(asyncio.get_running_loop().time() - start, 5)

    async def test_denied(self):
        with Fake(scenarios.denied) as fake, self.assertRaises(bellhop.Error) as e:
            await bellhop.AsyncService("unit", fake.path).serve()
        self.assertEqual((e.exception.code, e.exception.detail), ("denied", "wrong token"))

    async def test_sigterm_drains(self):
        with Fake(scenarios.drain_on_sigterm(lambda: os.kill(os.getpid(), signal.SIGTERM))) as fake:
            service = bellhop.AsyncService("unit", fake.path)

            @service.on("slow")
            async def slow(seconds, delivery):
                await asyncio.sleep(seconds)
            await asyncio.wait_for(service.serve(), 10)

    async def test_drain_timeout_releases(self):
        def script(c):
            c.hello()
            c.send("REQ", 1, "slow", {}, b"60")
            loop.call_soon_threadsafe(loop.call_later, 0.1, service.stop)
            c.read("BYE")
            c.send("PONG", c.read("PING")[1])
            assert c.read("ERR")[1:3] == (1, "release")
        loop = asyncio.get_running_loop()
        with Fake(script) as fake:
            service = bellhop.AsyncService("unit", fake.path, drain_timeout=0.3)

            @service.on("slow")
            async def slow(seconds, delivery):
                await asyncio.sleep(seconds)
            await asyncio.wait_for(service.serve(), 5)

    async def test_caller(self):
        with Fake(scenarios.caller) as fake:
            async with bellhop.AsyncClient("unit", fake.path, credit=7, token="s3cret", instance="one") as c:
                reply = await c.request("sum", [1, 2, 3])
                self.assertEqual((reply.data, reply.body, reply.headers["x-took"]), (6, b"6", "3"))
                self.assertEqual([m.data async for m in c.request_stream("stream")], [1, 2])
                self.assertEqual([m.data async for m in c.request_stream("stream", 3)], [1, 2, 3])
                self.assertEqual((await c.request("stream")).data, 2)
                replies = await asyncio.gather(*(c.request("sum", [i, 1]) for i in range(50)))
                self.assertEqual([r.data for r in replies], [i + 1 for i in range(50)])
                for subject, want in (("error", ("no-route", {"a": 1}, False)), ("later", ("overloaded", "busy", 2.0))):
                    with self.assertRaises(bellhop.Error) as e:
                        await c.request(subject)
                    self.assertEqual((e.exception.code, e.exception.detail, e.exception.retry), want)
                with self.assertRaises(bellhop.Error) as e:
                    await c.request("silent", timeout=0.1)
                self.assertEqual(e.exception.code, "timeout")
                stream = c.request_stream("endless")
                async for item in stream:
                    break
                await stream.aclose()
                task = asyncio.ensure_future(c.request("endless"))
                await asyncio.sleep(0.05)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                await c.publish("event", "x")
                await c.publish("forget", b"x", ack=False)
                for bad, code in ((lambda: c.publish("refused"), "denied"), (lambda: c.publish("a\nb"), "invalid"),
                                  (lambda: c.publish("x", bytes((1 << 20) + 1)), "too-large"),
                                  (lambda: c.publish("x", headers={"a": "\n"}), "invalid")):
                    with self.assertRaises(bellhop.Error) as e:
                        await bad()
                    self.assertEqual(e.exception.code, code)
                self.assertEqual((await c.request("sum", [1])).data, 1)

    async def test_a_slow_reader_holds_the_daemon_back(self):
        with Fake(scenarios.flood_of_items) as fake:
            async with bellhop.AsyncClient("unit", fake.path) as c:
                count = 0
                async for item in c.request_stream("flood"):
                    if count == 0:
                        await asyncio.sleep(0.4)
                        self.assertLess(len(scenarios.FLOODED), 5000)
                    self.assertEqual(int(item.body), count)
                    count += 1
                self.assertEqual(count, 20000)

    async def test_what_a_slow_reader_has_waiting_is_bounded(self):
        with Fake(scenarios.endless_items) as fake:
            async with bellhop.AsyncClient("unit", fake.path) as c:
                items = c.request_stream("flood")
                first = asyncio.ensure_future(items.__anext__())
                self.assertEqual((await c.request("other")).data, 1)   # it is waited for: nothing stops the reading
                self.assertEqual((await first).data, 0)
                count = 1
                with self.assertRaises(bellhop.Error) as e:
                    async for item in items:
                        self.assertEqual(item.data, count)
                        count += 1
                self.assertEqual(e.exception.code, "overloaded")
                self.assertGreater(count, 65536)
                self.assertLess(count, 65540)

    async def test_subscribe(self):
        with Fake(scenarios.subscriptions, scenarios.resubscribed) as fake:
            c, got, stop, again = bellhop.AsyncClient("unit", fake.path), [], asyncio.Event(), asyncio.Event()

            async def note(data, delivery):
                got.append((delivery.subject, data))
                (stop if delivery.subject == "stop" else again if delivery.subject == "audit.again" else asyncio.Event()).set()
            await c.subscribe("order.*", note, group="workers")
            await c.subscribe("audit.>", note)
            c.on("stop")(note)
            await asyncio.wait_for(stop.wait(), 5)
            await c.unsubscribe("order.*")
            await asyncio.wait_for(again.wait(), 5)
            await c.close()
        self.assertEqual(got, [("order.new", 1), ("audit.x.y", 2), ("stop", None), ("audit.again", 3)])

    async def test_disconnect_fails_what_is_in_flight(self):
        with Fake(scenarios.dies_in_request, scenarios.answers_sum) as fake:
            async with bellhop.AsyncClient("unit", fake.path) as c:
                with self.assertRaises(bellhop.Error) as e:
                    await c.request("sum", [1])
                self.assertEqual(e.exception.code, "unavailable")
                self.assertEqual((await c.request("sum", [1, 2, 3])).data, 6)

    async def test_more_credit(self):
        with Fake(scenarios.more_credit, scenarios.more_credit_again) as fake:
            c = bellhop.AsyncClient("unit", fake.path, credit=8)
            await c.connect()
            first = c._wire
            c.add_credit(5)
            await asyncio.wait_for(first.closed, 5)
            await asyncio.wait_for(c._up.wait(), 5)
            await c.close()

    async def test_nobody_there(self):
        with self.assertRaises(bellhop.Error) as e:
            await bellhop.AsyncClient("unit", "/nonexistent/socket", connect_timeout=0.2).connect()
        self.assertEqual(e.exception.code, "unavailable")


if __name__ == "__main__":
    unittest.main()
