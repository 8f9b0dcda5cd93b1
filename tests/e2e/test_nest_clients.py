"""NestJS callers -> daemon -> a local service.

Each expectation of Answers is checked twice: Direct* has a real NestJS server behind a real client
and no daemon (so the expectation itself is a fact), Through* has the daemon and a local service."""
import json
import socket
import statistics
import time

import rooms
from harness import (NO_HANDLER, Case, NestClient, NestRaw, NestServer, free_port, nest_frame,
                     wait_until)

TEXTS = ["zażółć gęślą jaźń", "🐢", "a🐢b\u00e9\u4e2d", "\u2028\u2029", 'quote " back \\ slash / tab\t', "", "\u0000",
         "\ufeff", "x" * 70000, "🐢ż" * 20000]
BYTES = [("sum", {"cmd": "sum"}, [1, 2, 3]), ("echo", "echo", "zaż🐢"), ("undefined", "value.undefined", 1),
         ("null", "value.null", 1), ("zero", "value.zero", 1), ("late end", "stream.tail", 1),
         ("delayed", "stream.delayed", 1), ("empty", "stream.empty", 1),
         ("RpcException", "rpc.string", 1), ("RpcException object", "rpc.object", 1),
         ("error in stream", "stream.error", 1), ("Error", "plain.error", 1), ("unknown", "no.such", 1),
         ("two keys", {"b": 1, "a": "x"}, 1), ("keys turned", {"a": "x", "b": 1}, 1),
         ("pattern as text", '{ "cmd" : "sum" }', [1])]


class Answers:
    """What a NestJS client sees. self.client is one, self.port what it talks to."""

    def raw(self):
        return NestRaw(self.port)

    @classmethod
    def another(cls):
        return NestClient(cls.version, cls.port)

    def sees(self, pattern, data, values, error=None):
        got = self.client.send(pattern, data)
        self.assertEqual((got.values, got.error), (values, error), pattern)

    def test_request(self):
        self.sees({"cmd": "sum"}, [1, 2, 3], [6])

    def test_data_of_every_type(self):
        for data in (0, -1.5e300, "", "text", True, False, [], {}, [None], {"a": {"b": [1, "2"]}}, 2 ** 53 - 1):
            self.sees("echo", data, [data])

    def test_object_pattern_in_any_order(self):
        self.sees({"b": 1, "a": "x"}, 1, ["two keys"])
        self.sees({"a": "x", "b": 1}, 1, ["two keys"])

    def test_text_both_ways(self):
        for text in TEXTS:
            self.sees("echo", text, [text])

    def test_no_value_null_and_zero(self):
        self.sees("value.undefined", 1, [])
        self.sees("value.null", 1, [None])
        self.sees("value.zero", 1, [0])

    def test_streams(self):
        for name in ("stream.sync", "stream.delayed", "stream.tail"):
            self.sees(name, 1, [1, 2, 3])
        self.sees("stream.empty", 1, [])
        self.sees("stream.long", 500, list(range(500)))

    def test_errors_arrive_as_they_are(self):
        self.sees("rpc.string", 1, [], {"status": "error", "message": "kaput"})
        self.sees("rpc.object", 1, [], {"code": "E_KAPUT", "detail": ["zażółć", 1]})
        self.sees("rpc.number", 1, [], {"status": "error", "message": 7})
        self.sees("plain.error", 1, [], {"status": "error", "message": "Internal server error"})

    def test_error_after_values(self):
        self.sees("stream.error", 1, [1, 2], {"status": "error", "message": "late"})

    def test_unknown_pattern(self):
        for pattern in ("no.such", {"cmd": "nope"}, {"cmd": "sum", "v": 2}, 7):
            self.sees(pattern, 1, [], NO_HANDLER)

    def test_event_completes(self):
        self.assertEqual(self.client.emit("user.created", {"id": 1}).error, None)
        self.assertEqual(self.client.emit("no.such.event", {"id": 1}).error, None)
        self.sees("echo", "still there", ["still there"])

    def test_ids_of_any_type_are_echoed(self):
        with self.raw() as raw:
            for id in ("x", "", 7, 1.5, None, {"a": [1]}, "zażółć 🐢", [], False):
                self.assertEqual(raw.ask("echo", 1, id=id), [{"response": 1, "isDisposed": True, "id": id}])

    def test_foreign_members_are_ignored(self):
        with self.raw() as raw:
            self.assertEqual(raw.ask("echo", 1, extra={"pattern": "x"})[0]["response"], 1)
            raw.send('{"pattern":"no","data":0,"pattern":"echo","data":5,"id":"d"}')
            self.assertEqual(raw.recv()["response"], 5)

    def test_pipelined(self):
        with self.raw() as raw:
            raw.send(b"".join(nest_frame({"pattern": "echo", "data": f"ż{i}", "id": str(i)}) for i in range(200)))
            got = [raw.recv() for _ in range(200)]
            self.assertEqual({g["id"]: g["response"] for g in got}, {str(i): f"ż{i}" for i in range(200)})

    def test_split_at_every_byte(self):
        whole = nest_frame({"pattern": {"cmd": "sum"}, "data": [1, 2], "x": "ż🐢", "id": "s"})
        with self.raw() as raw:
            for at in range(1, len(whole)):
                raw.send(whole[:at])
                time.sleep(0.001)
                raw.send(whole[at:] + whole[:at])
                time.sleep(0.001)
                raw.send(whole[at:])
                self.assertEqual([raw.recv()["response"], raw.recv()["response"]], [3, 3], f"split at {at}")
            for i in range(len(whole)):
                raw.send(whole[i:i + 1])
            self.assertEqual(raw.recv()["response"], 3)

    def test_connection_lost_while_waiting(self):
        client = self.keep(self.another())
        client.send("echo", 1)
        call = client.start("send", "slow", 300)
        time.sleep(0.05)
        client.wait(client.start("close"))
        self.assertEqual(client.wait(call).error, "Connection closed")
        self.sees("echo", 1, [1])


class Direct(Answers):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.class_keep(NestServer(cls.version))
        cls.port = cls.server.port
        cls.client = cls.class_keep(cls.another())


class Direct12Case(Direct, Case):
    version = "12"


class Direct11Case(Direct, Case):
    version = "11"


class Through(Answers):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.bellhop = cls.class_daemon(rooms.configuration(cls.port))
        cls.rooms = cls.bellhop.serve("rooms", rooms.handle)
        cls.client = cls.class_keep(cls.another())

    def test_texts_of_errors(self):
        self.sees("bare.string", 1, [], "just text")
        self.sees("plain.text", 1, [], {"status": "error", "message": "just text", "code": "failed"})

    def test_event_reaches_the_service(self):
        self.client.emit("user.created", {"key": "ż1"})
        self.client.emit({"kind": "x", "ev": "made"}, {"key": "m1"})

        def look():
            found = [d for d in list(self.rooms.deliveries) if b'"key"' in d.body]
            return found if len(found) == 2 else None
        got = wait_until(look, "two events")
        self.assertEqual({d.subject: json.loads(d.body) for d in got},
                         {"user.created": {"key": "ż1"}, '{"ev":"made","kind":"x"}': {"key": "m1"}})
        self.assertEqual({d.verb for d in got}, {"PUB"})

    def sent_headers(self, **more):
        got = self.client.send("headers", 1, **more)
        self.assertEqual(got.error, None)
        return got.values[0]

    def test_headers_made_where_absent(self):
        first, second = self.sent_headers(), self.sent_headers()
        uuid7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
        self.assertRegex(first["id"], uuid7)
        self.assertRegex(first["traceparent"], r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]$")
        self.assertEqual(first["source"], "edge")
        self.assertEqual(first["attempt"], "1")
        self.assertTrue(first["correlation-id"])
        self.assertRegex(first["timeout"], r"^\d+m?s$")
        self.assertNotEqual(first["id"], second["id"])
        self.assertNotEqual(first["traceparent"][3:35], second["traceparent"][3:35])

    def test_twenty_at_once_do_not_stall(self):
        medians = []
        for _ in range(3):
            replies = self.client.wait(self.client.start("many", "echo", n=20)).values[0]
            self.assertEqual([r["value"] for r in replies], list(range(20)))
            medians.append(statistics.median(r["ms"] for r in replies))
        self.assertLess(min(medians), 20, medians)

    def test_stream_does_not_stall(self):
        times = []
        for _ in range(5):
            begun = time.monotonic()
            self.sees("stream.sync", 1, [1, 2, 3])
            times.append(time.monotonic() - begun)
        self.assertLess(min(times), 0.035, times)

    def test_half_close_still_gets_the_reply(self):
        with self.raw() as raw:
            raw.send({"pattern": "slow", "data": 50, "id": "h"})
            time.sleep(0.02)
            raw.sock.shutdown(socket.SHUT_WR)
            got = raw.recv()
            self.assertIn(got, (None, {"response": "slow", "isDisposed": True, "id": "h"}))

    def test_same_bytes_as_nestjs(self):
        with NestServer(self.version) as real, NestRaw(real.port) as there, self.raw() as here:
            for name, pattern, data in BYTES:
                for peer in (there, here):
                    peer.send({"pattern": pattern, "data": data, "id": "c53124"})
                self.assertEqual(self.all_bytes(here), self.all_bytes(there), name)

    def all_bytes(self, peer):
        frames = []
        while True:
            frames.append(peer.recv_bytes())
            if b'"isDisposed":true' in frames[-1] or b'"err":' in frames[-1]:
                return frames

    def test_no_service_is_an_error_not_a_hang(self):
        port = free_port()
        daemon = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"}},
                              "policies": {"default": {"timeout": "300ms"}},
                              "routes": [{"from": "edge", "match": ">", "to": "nobody"}]})
        with NestRaw(port) as raw:
            got = raw.ask("a.b", 1)[-1]
            self.assertTrue(got["err"])
            self.assertEqual(set(got), {"id", "err", "isDisposed"})
        self.assert_alive(daemon)


class Through12Case(Through, Case):
    version = "12"

    def test_metadata_becomes_headers(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        got = self.sent_headers(metadata={"traceparent": trace, "tracestate": "a=b", "baggage": "k=v",
                                     "correlation-id": "c-77", "X-Tenant": "ż blue", "bad name": "x",
                                     "two": "lines\nhere"})
        self.assertEqual(got["traceparent"][:35], trace[:35])
        self.assertEqual(got["traceparent"][-2:], "01")
        self.assertEqual((got["tracestate"], got["baggage"], got["correlation-id"]), ("a=b", "k=v", "c-77"))
        self.assertEqual(got["x-tenant"], "ż blue")
        self.assertNotIn("bad name", got)
        self.assertNotIn("two", got)

    def test_timeout_in_metadata(self):
        got = self.sent_headers(metadata={"timeout": "700ms"})
        self.assertTrue(0 < int(got["timeout"].removesuffix("ms")) <= 700, got["timeout"])
        call = self.client.start("send", "slow", 3000, metadata={"timeout": "200ms"})
        begun = time.monotonic()
        self.assertEqual(self.client.wait(call).error["code"], "timeout")
        self.assertLess(time.monotonic() - begun, 1.5)

    def test_hostile_traceparent_starts_a_new_trace(self):
        for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "junk", "00-0AF7651916CD43DD8448EB211C80319C-x-01"):
            got = self.sent_headers(metadata={"traceparent": bad})
            self.assertRegex(got["traceparent"], r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]$")
            self.assertNotEqual(got["traceparent"], bad)


class Through11Case(Through, Case):
    version = "11"
