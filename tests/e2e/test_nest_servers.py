"""A local caller -> daemon -> a real NestJS server (12 and 11)."""
import json
import time

from harness import (NO_HANDLER, Case, FakeNestServer, NestRaw, NestServer, free_port, policy, wait_until)

TEXTS = ["zażółć gęślą jaźń", "🐢", "a🐢b\u00e9\u4e2d", "", "\u0000", "\ufeff", "x" * 70000, "🐢ż" * 20000]


def configuration(port, **more):
    return {
        "endpoints": {"stock": {"connect": f"tcp://127.0.0.1:{port}", "ack": True}},
        "policies": {"default": policy(attempts=4)},
        "routes": [{"name": "all", "from": "local", "match": ">", "to": "stock"}],
        **more,
    }


def as_json(body):
    return json.loads(body) if body else None


class Calls:
    """self.caller is a local client; everything it sends goes to self.server."""

    def sees(self, subject, data, items, reply, headers=None):
        """items and reply: bodies as the server wrote them; reply b"" is no value."""
        body = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
        got_items, got = self.caller.request(subject, body, headers)
        self.assertEqual((got_items, got.verb, got.body), (items, "REP", reply), subject)
        return got

    def fails(self, subject, items, error):
        got_items, got = self.caller.request(subject, b"1")
        self.assertEqual((got_items, got.verb, as_json(got.body)), (items, "ERR", error), subject)
        self.assertEqual(got.subject, "failed")

    def test_request(self):
        self.sees('{"cmd":"sum"}', [1, 2, 3], [], b"6")

    def test_object_pattern_in_any_order(self):
        for subject in ('{"a":"x","b":1}', '{"b":1,"a":"x"}', '{ "b" : 1, "a" : "x" }'):
            self.sees(subject, 1, [], b'"two keys"')

    def test_data_passes_as_it_is(self):
        for text in (b"0", b"-1.5e300", b'""', b"true", b"[]", b"{}", b"[null]", b'{"a":{"b":[1,"2"]}}'):
            self.sees("echo", text, [], json.dumps(json.loads(text), separators=(",", ":")).encode()
                      if text != b"-1.5e300" else b"-1.5e+300")

    def test_text_both_ways(self):
        for text in TEXTS:
            _, got = self.caller.request("echo", json.dumps(text, ensure_ascii=False).encode())
            self.assertEqual(json.loads(got.body), text)

    def test_bodies_that_are_no_json_go_as_text(self):
        self.sees("echo", "zażółć, 🐢".encode(), [], '"zażółć, 🐢"'.encode())
        self.sees("type", b"12 monkeys", [], b'"string"')
        self.sees("type", b"12", [], b'"number"')
        self.sees("type", b"12", [], b'"string"', {"content-type": "text/plain"})
        self.sees("type", b"", [], b'"null"')

    def test_bodies_that_cannot_go_are_refused(self):
        _, got = self.caller.request("echo", b"\xff\xfe\x00")
        self.assertEqual((got.verb, got.subject), ("ERR", "invalid"))
        self.sees("echo", 1, [], b"1")

    def test_no_value_null_and_zero(self):
        self.sees("value.undefined", 1, [], b"")
        self.sees("value.null", 1, [], b"null")
        self.sees("value.zero", 1, [], b"0")

    def test_streams(self):
        self.sees("stream.sync", 1, [b"1", b"2"], b"3")
        self.sees("stream.tail", 1, [b"1", b"2", b"3"], b"")
        self.sees("stream.empty", 1, [], b"")
        items, got = self.caller.request("stream.delayed", b"1")
        self.assertEqual([i for i in items + [got.body] if i], [b"1", b"2", b"3"])
        items, got = self.caller.request("stream.long", b"500")
        self.assertEqual([int(i) for i in items + [got.body] if i], list(range(500)))

    def test_errors_arrive_as_they_are(self):
        self.fails("rpc.string", [], {"status": "error", "message": "kaput"})
        self.fails("rpc.object", [], {"code": "E_KAPUT", "detail": ["zażółć", 1]})
        self.fails("rpc.number", [], {"status": "error", "message": 7})
        self.fails("plain.error", [], {"status": "error", "message": "Internal server error"})
        self.fails("stream.error", [b"1", b"2"], {"status": "error", "message": "late"})

    def test_an_error_is_not_tried_again(self):
        self.sees("echo", 0, [], b"0")
        before = len(self.server.seen("request", "rpc.number"))
        self.fails("rpc.number", [], {"status": "error", "message": 7})
        self.sees("echo", 1, [], b"1")
        self.server.expect_seen("request", "rpc.number", None, before + 1)

    def test_unknown_pattern(self):
        _, got = self.caller.request("no.such", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "no-route"))
        self.assertEqual(as_json(got.body), NO_HANDLER)
        self.assertEqual(self.caller.publish("no.such", b"1").subject, "no-route")

    def test_many_at_once(self):
        begun = time.monotonic()
        ids = {self.caller.start("REQ", "echo", str(i)): str(i).encode() for i in range(200)}
        got = [self.caller.expect("REP") for _ in ids]
        self.assertEqual({g.id: g.body for g in got}, ids)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertLessEqual(len([l for l in self.server.lines if l.get("kind") == "connection"]), 8)

    def test_no_stalls(self):
        times = []
        for _ in range(5):
            begun = time.monotonic()
            self.sees("stream.sync", 1, [b"1", b"2"], b"3")
            times.append(time.monotonic() - begun)
        self.assertLess(min(times), 0.035, times)

    def test_event_that_succeeds(self):
        got = self.caller.publish("user.created", '{"key":"good ż"}')
        self.assertEqual(got.verb, "OK")
        self.assertEqual([e["data"] for e in self.server.expect_seen("event", "user.created", "good ż", 1)],
                         [{"key": "good ż"}])
        self.assertEqual(self.caller.publish('{"kind":"x","ev":"made"}', '{"key":"o"}').verb, "OK")

    def test_event_that_fails_twice_then_succeeds(self):
        got = self.caller.publish("order.flaky", '{"key":"twice","fail":2}')
        self.assertEqual(got.verb, "OK")
        self.server.expect_seen("event", "order.flaky", "twice", 3)

    def test_event_that_always_fails_becomes_a_dead_letter(self):
        got = self.caller.publish("order.flaky", '{"key":"always","fail":99}', {"x-mark": "dead"})
        self.assertEqual((got.verb, got.subject), ("ERR", "failed"))
        self.server.expect_seen("event", "order.flaky", "always", 4)
        dead = json.dumps(self.bellhop.admin("dlq.ls"))
        self.assertIn("order.flaky", dead)
        self.assertIn("failed", dead)

    def test_event_without_acknowledgement(self):
        port = self.server.port
        config = configuration(port)
        config["endpoints"]["stock"]["ack"] = False
        with self.daemon(config).connect() as caller:
            self.assertEqual(caller.publish("order.flaky", '{"key":"plain","fail":9}').verb, "OK")
            wait_until(lambda: self.server.seen("event", "order.flaky", "plain"), "the event")
            time.sleep(0.1)
            self.server.expect_seen("event", "order.flaky", "plain", 1)

    def test_metadata(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        _, got = self.caller.request("metadata", b"1", {"traceparent": trace, "x-tenant": "ż blue",
                                                        "baggage": "k=v"})
        metadata = as_json(got.body)
        if self.version == "11":  # it has no place to show them
            self.assertIsNone(metadata)
            return
        self.assertEqual(metadata["traceparent"][:35], trace[:35])
        self.assertEqual((metadata["x-tenant"], metadata["baggage"]), ("ż blue", "k=v"))


class Real(Calls):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.class_keep(NestServer(cls.version))
        cls.bellhop = cls.class_daemon(configuration(cls.server.port))
        cls.caller = cls.class_keep(cls.bellhop.connect())
        wait_until(lambda: cls.caller.request("echo", b"1")[1].verb == "REP", "the first reply")


class Real12Case(Real, Case):
    version = "12"


class Real11Case(Real, Case):
    version = "11"


class AbsentCase(Case):
    def test_absent_requests_fail_at_once_and_events_wait(self):
        port = free_port()
        caller = self.keep(self.daemon(configuration(port)).connect())
        time.sleep(0.2)
        begun = time.monotonic()
        _, got = caller.request("echo", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "unavailable"))
        self.assertLess(time.monotonic() - begun, 0.5)
        event = caller.start("PUB", "user.created", '{"key":"waited"}')
        self.assertTrue(caller.silent(0.3))
        server = self.keep(NestServer("12", port))
        self.assertEqual(caller.answer(event)[1].verb, "OK")
        server.expect_seen("event", "user.created", "waited", 1)
        self.assertEqual(caller.request("echo", b"2")[1].body, b"2")

    def test_restarted_server(self):
        server = self.keep(NestServer("12"))
        daemon = self.daemon(configuration(server.port))
        caller = self.keep(daemon.connect())
        wait_until(lambda: caller.request("echo", b"1")[1].verb == "REP", "the first reply")
        for _ in range(2):
            hanging = caller.start("REQ", "slow", b"60000", {"timeout": "8s"})
            wait_until(lambda: server.seen("request", "slow"), "the slow request")
            server.kill()
            begun = time.monotonic()
            _, got = caller.answer(hanging)
            self.assertEqual((got.verb, got.subject), ("ERR", "unavailable"))
            self.assertLess(time.monotonic() - begun, 3)
            event = caller.start("PUB", "user.created", '{"key":"meanwhile"}')
            server = self.keep(NestServer("12", server.port))
            self.assertEqual(caller.answer(event)[1].verb, "OK")
            self.assertEqual(caller.request("echo", b"2")[1].body, b"2")

    def test_server_that_never_answers(self):
        replies = []

        def run(peer):
            while request := peer.recv():
                replies.append((peer, request["id"]))
        server = self.keep(FakeNestServer(run))
        config = configuration(server.port)
        config["policies"]["default"] = policy("200ms", breaker={"failures": 50})
        daemon = self.daemon(config)
        caller = self.keep(daemon.connect())
        begun = time.monotonic()
        _, got = caller.request("a", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "timeout"))
        self.assertLess(time.monotonic() - begun, 2)
        for peer, id in replies:  # too late
            peer.send({"response": "late", "isDisposed": True, "id": id})
        self.assertTrue(caller.silent(0.1))
        self.assertEqual(caller.publish("b", b"1", {"x": "y"}).subject, "timeout")

    def test_reply_forms_of_other_servers(self):
        forms = {
            "bare end": ([{"isDisposed": True}], [], "REP", b""),
            "value, then end": ([{"response": 1}, {"isDisposed": True}], [b"1"], "REP", b""),
            "truthy end": ([{"response": 1, "isDisposed": "yes"}], [], "REP", b"1"),
            "falsy err": ([{"err": "", "isDisposed": True}], [], "REP", b""),
            "err alone": ([{"err": "E"}], [], "ERR", b'"E"'),
            "err and value": ([{"err": "E", "response": 5, "isDisposed": True}], [], "ERR", b'"E"'),
            "after the end": ([{"response": 1, "isDisposed": True}, {"response": 2}], [], "REP", b"1"),
        }

        def run(peer):
            while request := peer.recv():
                peer.send({"response": "stranger", "isDisposed": True, "id": "never asked"})
                for packet in forms[request["pattern"]][0]:
                    peer.send({**packet, "id": request["id"]})
        server = self.keep(FakeNestServer(run))
        caller = self.keep(self.daemon(configuration(server.port)).connect())
        for name, (_, items, verb, body) in forms.items():
            got_items, got = caller.request(name, b"1")
            self.assertEqual((got_items, got.verb), (items, verb), name)
            self.assertIn(got.body, (body, body.strip(b'"')), name)

    def test_what_goes_out_is_what_nestjs_writes(self):
        seen = []

        def run(peer):
            while text := peer.recv_bytes():
                seen.append(text)
                peer.send({"response": 0, "isDisposed": True, "id": json.loads(text)["id"]})
        server = self.keep(FakeNestServer(run))
        caller = self.keep(self.daemon(configuration(server.port)).connect())
        caller.request('{"b":{"c":1},"a":"ż"}', '{"z": [1, 2.50]}')
        caller.request("plain.pattern", b'"t"')
        caller.publish("an.event", b"5")
        first, second, third = map(json.loads, seen)
        self.assertEqual(first["pattern"], {"a": "ż", "b": {"c": 1}})
        self.assertIn(b'"data":{"z": [1, 2.50]}', seen[0])
        self.assertEqual((second["pattern"], second["data"]), ("plain.pattern", "t"))
        self.assertEqual((third["pattern"], third["data"]), ("an.event", 5))
        self.assertEqual(len({p["id"] for p in (first, second, third)}), 3)
        for packet in (first, second, third):
            self.assertLessEqual(set(packet), {"pattern", "data", "metadata", "id"})
            self.assertIsInstance(packet["id"], str)

    def test_bridge_with_captures(self):
        seen = []

        def run(peer):
            while packet := peer.recv():
                seen.append(packet)
                peer.send({"response": "far", "isDisposed": True, "id": packet["id"]})
        server, edge = self.keep(FakeNestServer(run)), free_port()
        daemon = self.daemon({
            "endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{edge}"},
                          "far": {"connect": f"tcp://127.0.0.1:{server.port}", "ack": True}},
            "routes": [{"from": "edge", "match": "site.*.temp", "to": {"endpoint": "far", "subject": "temp.{1}"}},
                       {"from": "edge", "match": "site.>", "to": {"endpoint": "far", "subject": "rest.{1}"}}],
        })
        wait_until(lambda: [e for e in daemon.admin("status")["endpoints"] if (e["name"], e["state"]) == ("far", "up")],
                   "the connection to far")
        with NestRaw(edge) as raw:
            self.assertEqual(raw.ask("site.7.temp", 1)[0]["response"], "far")
            self.assertEqual(raw.ask("site.7.hum.x", 1)[0]["response"], "far")
        self.assertEqual([p["pattern"] for p in seen], ["temp.7", "rest.7.hum.x"])
