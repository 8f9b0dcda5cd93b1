"""NATS: NestJS peers on both ends, and what can go wrong between us and a nats-server."""
import itertools
import json
import os
import socket
import threading
import time

import rooms
import test_nest_clients
import test_nest_servers
from harness import SANITIZED, Case, Certificates, Daemon, NestClient, NestServer, Service, free_port, policy, wait_until
from nats_server import NatsServer
from proxy import Proxy

MIB = 1 << 20


def endpoint(port, user="", **more):
    return {"bus": {"connect": f"nats://{user}127.0.0.1:{port}", "reconnect_max": "200ms", **more}}


def state(daemon, name="bus"):
    return next(e for e in daemon.admin("status")["endpoints"] if e["name"] == name)


def wait_state(daemon, wanted, name="bus"):
    wait_until(lambda: state(daemon, name)["state"] == wanted, f"{name} to be {wanted}")
    return state(daemon, name)["error"]


def servers(server):
    return {"transport": "NATS", "servers": [f"127.0.0.1:{server.port}"]}


class NatsRaw:
    """A requester by hand: ask() as NestRaw has it."""

    def __init__(self, server):
        self.client, self.count = server.client(), itertools.count()

    def ask(self, pattern, data, id="a1", **more):
        inbox = f"_INBOX.raw.{os.urandom(4).hex()}"
        self.client.sub(inbox)
        self.client.publish(pattern, json.dumps({"pattern": "counts for nothing", "data": data, **more, "id": id}, ensure_ascii=False),
                            reply=inbox)
        answer = []
        while not answer or not (answer[-1].get("isDisposed") or answer[-1].get("err")):
            answer.append(json.loads(self.client.message().body))
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


# ---------------------------------------------------------------- NestJS clients

class Clients(test_nest_clients.Answers):
    """NestJS clients on NATS -> daemon -> a local service."""
    test_pipelined = test_split_at_every_byte = test_connection_lost_while_waiting = None  # of TCP
    test_foreign_members_are_ignored = None

    @classmethod
    def setUpClass(cls):
        cls.server = cls.class_keep(NatsServer())
        config = rooms.configuration(0)
        config["endpoints"] = endpoint(cls.server.port)
        for route in config["routes"]:
            route["from"] = {"endpoint": "bus", "subject": ">", "queue": "rooms"}
        cls.bellhop = cls.class_daemon(config)
        cls.rooms = cls.bellhop.serve("rooms", rooms.handle)
        wait_state(cls.bellhop, "up")
        cls.client = cls.class_keep(NestClient(cls.version, 0, **servers(cls.server)))
        cls.tool = cls.class_keep(cls.server.client())

    def raw(self):
        return NatsRaw(self.server)

    def test_many_at_once(self):
        replies = self.client.wait(self.client.start("many", "echo", n=200)).values[0]
        self.assertEqual([r["value"] for r in replies], list(range(200)))

    def test_headers_say_where_it_was(self):
        got = self.client.send("headers", 1).values[0]
        self.assertEqual((got["nats-subject"], got["nats-queue"], got["source"], got["content-type"]),
                         ("headers", "rooms", "bus", "application/json"))

    def test_headers_of_nats_and_metadata(self):
        """NATS's own go before those of the packet; what we say ourselves is not believed from others."""
        packet = {"pattern": "headers", "data": 1, "metadata": {"x-a": "packet", "x-b": "packet"}}
        inbox = "_INBOX.headers"
        self.tool.sub(inbox)
        self.tool.publish("headers", json.dumps({**packet, "id": "1"}),
                          {"X-A": "nats", "Nats-Queue": "forged", "Nats-Msg-Id": "m-7", "traceparent": "no such"}, reply=inbox)
        got = json.loads(self.tool.message().body)["response"]
        self.assertEqual((got["x-a"], got["x-b"], got["nats-queue"], got["id"]), ("nats", "packet", "rooms", "m-7"))

    def test_what_is_no_request_is_an_event(self):
        packet = b'{"pattern":"user.created","data":"no id"}'
        for text, body, type in ((b'{"id":"A","x":1}', None, "application/json"), (b"plain text", None, "text/plain"),
                                 (b"\xff\x00", None, "text/plain"), (b"", None, "text/plain"), (packet, b'"no id"', "application/json")):
            before = len(self.rooms.deliveries)
            self.tool.publish("user.created", text, reply="_INBOX.nobody")
            got = self.rooms.wait(before + 1)[before]
            self.assertEqual((got.verb, got.body, got.headers["content-type"]), ("PUB", text if body is None else body, type))

    def test_answers_are_no_messages(self):
        """The source is `>`, which matches every inbox."""
        refused, before = len(self.bellhop.log()), len(self.rooms.deliveries)
        self.sees("echo", "once", ["once"])
        self.tool.publish("user.created", '{"pattern":"","data":{"key":"after"}}')
        self.rooms.wait(before + 2)
        self.assertEqual([d.subject for d in self.rooms.deliveries[before:]], ["echo", "user.created"])
        self.assertFalse([l for l in self.bellhop.log()[refused:] if "_INBOX" in str(l.get("subject"))])


class Clients12Case(Clients, Case):
    version = "12"


class Clients11Case(Clients, Case):
    version = "11"


# ---------------------------------------------------------------- NestJS servers

class Servers(test_nest_servers.Calls):
    """A local caller -> daemon -> a NestJS server on NATS."""
    test_event_without_acknowledgement = None

    @classmethod
    def setUpClass(cls):
        cls.nats = cls.class_keep(NatsServer())
        cls.server = cls.class_keep(NestServer(cls.version, **servers(cls.nats)))
        config = test_nest_servers.configuration(0)
        config["endpoints"] = {"stock": endpoint(cls.nats.port, ack=True)["bus"]}
        cls.bellhop = cls.class_daemon(config)
        cls.caller = cls.class_keep(cls.bellhop.connect())
        cls.tool = cls.class_keep(cls.nats.client())
        wait_until(lambda: cls.caller.request("echo", b"1")[1].verb == "REP", "the first reply")

    def test_unknown_pattern(self):
        """Nobody subscribes, and NATS says so at once."""
        begun = time.monotonic()
        _, got = self.caller.request("no.such", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "no-service"))
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(self.caller.publish("no.such", b"1").subject, "no-service")

    def test_strangers_at_the_inbox(self):
        self.tool.sub("slow")
        call = self.caller.start("REQ", "slow", b"200")
        inbox = self.tool.message().reply
        prefix, _, number = inbox.rpartition(".")
        for subject in (f"{prefix}.{int(number) + 1}", f"{prefix}.x", f"{prefix}.{number}.1"):
            self.tool.publish(subject, '{"response":"stranger","isDisposed":true}')
        self.tool.publish(inbox, '{"id":"1"}')
        self.assertEqual(self.caller.answer(call)[1].body, b'"slow"')

    test_metadata = None  # NestJS does not show it on NATS

    def test_headers_are_nats_own(self):
        got = json.loads(self.caller.request("native.headers", b"1", {"x-tenant": "ż blue", "baggage": "k=v"})[1].body)
        self.assertEqual((got["x-tenant"], got["baggage"], got["traceparent"][:3]), ("ż blue", "k=v", "00-"))
        self.tool.sub("user.created")
        self.assertEqual(self.caller.publish("user.created", b'{"key":"h"}', {"x-tenant": "ż"}).verb, "OK")
        got = self.tool.message()
        self.assertEqual((got.headers["x-tenant"], set(json.loads(got.body))), ("ż", {"pattern", "data", "id"}))
        self.server.expect_seen("event", "user.created", "h", 1)


class Servers12Case(Servers, Case):
    version = "12"


class Servers11Case(Servers, Case):
    version = "11"


# ---------------------------------------------------------------- what has no NestJS on it

class Through:
    """A server of its own for each test, unless told otherwise."""

    def nats(self, **more):
        return self.keep(NatsServer(**more))

    def through(self, port, *routes, user="", endpoint_more=None, up=True, **more):
        """A daemon with these routes; short policies and codec raw unless told otherwise."""
        daemon = self.daemon({"endpoints": endpoint(port, user, **{"codec": "raw", **(endpoint_more or {})}),
                              "policies": {"default": policy(attempts=3)}, "routes": list(routes), **more})
        if up:
            wait_state(daemon, "up")
        return daemon

    def local(self, daemon, **more):
        return self.keep(daemon.connect(**more))

    def tool(self, server, **more):
        return self.keep(server.client(**more))


OUT = {"name": "out", "from": "local", "match": ">", "to": "bus"}
ACKED = {**OUT, "to": {"endpoint": "bus", "ack": "yes"}}
IN = {"name": "in", "from": {"endpoint": "bus", "subject": "in.>"}, "to": "room"}


class MessagesCase(Through, Case):
    def test_queue_groups_share_and_others_do_not(self):
        server = self.nats()
        shared = {"from": {"endpoint": "bus", "subject": "shared", "queue": "g"}, "to": "room"}
        each = {"from": {"endpoint": "bus", "subject": "each"}, "to": "room"}
        rooms_ = [self.through(server.port, shared, each).serve("room") for _ in range(2)]
        tool = self.tool(server)
        for i in range(100):
            tool.publish("shared", str(i))
            tool.publish("each", str(i))
        tool.flush()
        seen = lambda room, subject: [int(d.body) for d in list(room.deliveries) if d.subject == subject]
        wait_until(lambda: all(len(seen(r, "each")) == 100 for r in rooms_), "all of them at each")
        wait_until(lambda: sum(len(seen(r, "shared")) for r in rooms_) == 100, "each of them once")
        self.assertEqual(sorted(seen(rooms_[0], "shared") + seen(rooms_[1], "shared")), list(range(100)))
        self.assertTrue(all(seen(r, "shared") for r in rooms_))

    def test_subjects_that_nats_does_not_have(self):
        server = self.nats()
        local = self.local(self.through(server.port, OUT))
        tool = self.tool(server)
        tool.sub(">")
        for subject in ("a b", "a..b", ".a", "a.", "a.*", ">", '{"cmd":"get user"}'):
            self.assertEqual(local.publish(subject, b"1").subject, "invalid", subject)
            self.assertEqual(local.request(subject, b"1")[1].subject, "invalid", subject)
        self.assertEqual(local.publish("a.b", b"1").verb, "OK")
        self.assertEqual(tool.message().subject, "a.b")
        self.assertTrue(tool.silent(0.1))

    def test_max_payload(self):
        """Of the server, both ways: refused here, where it would cost the connection there."""
        server = self.nats(max_payload=2000)
        daemon = self.through(server.port, OUT, {**IN, "from": {**IN["from"], "codec": "nest"}},
                              {"from": {"endpoint": "bus", "subject": "raw.>"}, "to": "room"})

        def answer(delivery, service):
            size = json.loads(delivery.body)
            if size < 0:
                raise Service.Err("failed", b'"' + b"x" * -size + b'"')
            return b'"' + b"x" * size + b'"'
        daemon.serve("room", answer)
        local, tool = self.local(daemon), self.tool(server)
        self.assertEqual(local.publish("a", b"x" * 2000).subject, "too-large")
        self.assertEqual(local.publish("a", b"x" * 1500).verb, "OK")
        self.assertEqual(len(tool.request("raw.a", "1000").body), 1002)
        self.assertEqual(tool.request("raw.a", "3000").headers["bellhop-error"], "too-large")
        self.assertEqual(len(tool.request("raw.a", "-1000").body), 1002)
        got = tool.request("raw.a", "-3000")  # what an error says of itself may be left out
        self.assertEqual((got.headers["bellhop-error"], got.body), ("failed", b""))
        packet = lambda n: json.dumps({"pattern": "in.a", "data": n, "id": "1"})
        self.assertEqual(len(json.loads(tool.request("in.a", packet(1000)).body)["response"]), 1000)
        for size in (3000, -3000):
            self.assertEqual(json.loads(tool.request("in.a", packet(size)).body)["err"]["code"], "too-large")
        self.assertEqual(len(daemon.log("link_up")), 2)

    def test_limits_body(self):
        """Everybody may publish too much: it is passed over, who asks is told, and nobody else is held up."""
        server = self.nats(max_payload="4MB")
        daemon = self.through(server.port, IN, OUT, limits={"body": "64KiB"})
        room, tool = daemon.serve("room"), self.tool(server)
        for size in (65537, 200000, 3000000):
            self.assertEqual(tool.request("in.a", b"x" * size).headers["bellhop-error"], "too-large")
            tool.publish("in.a", b"x" * size, {"a": "b"})
        self.assertEqual(tool.request("in.a", b"x" * 65536).body, b"x" * 65536)
        self.assertEqual((len(room.deliveries), state(daemon)["bad"], len(daemon.log("link_up"))), (1, 6, 2))
        tool.sub("far")
        local = self.local(daemon)
        call = local.start("REQ", "far", b"1")
        tool.publish(tool.message().reply, b"x" * 65537)
        self.assertEqual(local.answer(call)[1].subject, "too-large")

    def test_replies_to_us_are_no_messages(self):
        """A source of `>` hears our own inbox too."""
        server = self.nats()
        daemon = self.through(server.port, OUT, {"from": {"endpoint": "bus", "subject": ">"}, "to": "room"})
        room, local, tool = daemon.serve("room"), self.local(daemon), self.tool(server)
        tool.sub("far")
        call = local.start("REQ", "far", b"1")
        tool.publish(tool.message().reply, b"2")
        self.assertIn(local.answer(call)[1].body, (b"1", b"2"))  # the room hears it as well
        self.assertEqual(tool.request("near", b"3").body, b"3")
        tool.publish("last", b"4")
        wait_until(lambda: [d for d in list(room.deliveries) if d.subject == "last"], "the last one")
        self.assertEqual([d.subject for d in room.deliveries], ["far", "near", "last"])

    def test_a_stream_has_no_room_in_raw(self):
        server = self.nats()
        daemon = self.through(server.port, IN)
        daemon.serve("room", lambda d, s: [b"1", b"2", b"3"])
        got = self.tool(server).request("in.a", b"1")
        self.assertEqual(got.headers["bellhop-error"], "invalid")
        self.assertIn(b"codec: nest", got.body)

    def test_who_does_not_read_a_stream_holds_nobody_up(self):
        server = self.nats()
        daemon = self.through(server.port, OUT, endpoint_more={"codec": "nest"}, policies={"default": policy("60s")})
        lazy, local, tool = self.local(daemon), self.local(daemon), self.tool(server)
        tool.sub("far")
        call = lazy.start("REQ", "far", b"1")
        got = tool.message()
        item = json.dumps({"response": "x" * 60000, "id": json.loads(got.body)["id"]})
        for _ in range(300):
            tool.publish(got.reply, item)
        tool.flush()
        self.assertEqual(local.publish("other", b"1", timeout=10).verb, "OK")
        self.assertEqual(lazy.answer(call)[1].subject, "overloaded")

    def test_errors_of_the_services_framework(self):
        server = self.nats()
        local, tool = self.local(self.through(server.port, OUT)), self.tool(server)
        tool.sub("far")
        call = local.start("REQ", "far", b"1")
        tool.publish(tool.message().reply, b"", {"Nats-Service-Error": "no stock", "Nats-Service-Error-Code": "409"})
        got = local.answer(call)[1]
        self.assertEqual((got.verb, got.subject, got.body), ("ERR", "failed", b"no stock"))

    def test_an_event_with_ack_is_sent_until_somebody_answers(self):
        server = self.nats()
        daemon = self.through(server.port, ACKED, policies={"default": policy(attempts=100, breaker={"failures": 1000000})})
        local = self.local(daemon)
        event = local.start("PUB", "late", b"1")
        self.assertTrue(local.silent(0.2))
        tool = self.tool(server)
        tool.sub("late")
        ids = []
        for answer in ({"bellhop-error": "failed"}, None):
            got = tool.message()
            ids.append(got.headers["id"])
            tool.publish(got.reply, b"", answer)
        self.assertEqual(local.answer(event)[1].verb, "OK")
        self.assertEqual(ids[0], ids[1])

    def test_cloudevents_have_percent_encoding(self):
        server = self.nats()
        local, tool = self.local(self.through(server.port, OUT, endpoint_more={"codec": "cloudevents"})), self.tool(server)
        tool.sub("a.b")
        local.publish("a.b", b'{"x":1}', {"content-type": "application/json", "ce-subject": "zażółć"})
        headers = tool.message().headers
        self.assertEqual((headers["ce-type"], headers["ce-specversion"], headers["ce-datacontenttype"], headers["ce-subject"]),
                         ("a.b", "1.0", "application/json", "za%C5%BC%C3%B3%C5%82%C4%87"))


class RightsCase(Through, Case):
    USERS = """authorization { users = [
        { user: bell, password: "hop %", permissions: { publish: ["ok.>", "{\\"cmd\\":\\"sum\\"}", "box.>"], subscribe: ["in.>", "box.>"] } }
        { user: all, password: all } ] }"""

    def test_credentials(self):
        """A refusal is told, tried again slowly, and over once the password is right; no password is in any log line."""
        server = self.nats(more=self.USERS)
        secret = os.path.join(self.temporary(), "password")
        with open(secret, "w") as f:
            f.write("wrong password\n")
        daemon = self.through(server.port, OUT, user=f"bell:${{file:{secret}}}@", up=False)
        self.assertIn("Authorization Violation", wait_state(daemon, "refused"))
        used, begun = daemon.cpu(), time.monotonic()
        time.sleep(1)
        self.assertLess((daemon.cpu() - used) / (time.monotonic() - begun), 0.1 if SANITIZED else 0.05)
        self.assertEqual(self.local(daemon).request("ok.a", b"1")[1].subject, "unavailable")
        with open(secret, "w") as f:
            f.write("hop %\n")
        self.assertEqual(daemon.tool("reload")[0], 0)
        wait_state(daemon, "up")
        for word in ("wrong password", "hop %"):
            self.assertNotIn(word, daemon.log_text())
            self.assertNotIn(word, daemon.tool("status", "-o", "json")[1])

    def test_token(self):
        server = self.nats(more='authorization { token: "s3cr3t" }')
        daemon = self.through(server.port, OUT, endpoint_more={"token": "wrong"}, up=False)
        self.assertIn("Authorization Violation", wait_state(daemon, "refused"))
        right = self.through(server.port, OUT, endpoint_more={"token": "s3cr3t"})
        self.assertEqual(self.local(right).publish("a", b"1").verb, "OK")
        self.assertNotIn("s3cr3t", right.log_text())

    def test_no_right_to_publish(self):
        """What the server does not take is refused, and what it takes beside it is not."""
        server = self.nats(more=self.USERS)
        daemon = self.through(server.port, OUT, user="bell:hop%20%25@", endpoint_more={"inbox": "box"})
        local, tool = self.local(daemon), self.tool(server, user="all", **{"pass": "all"})
        tool.sub(">")
        numbers = {local.start("PUB", subject, b"1"): subject for subject in ("ok.1", "no.1", "ok.2", "no.2", "no.1", '{"cmd":"x"}', '{"cmd":"sum"}')}
        answers = {}
        while len(answers) < len(numbers):
            got = local.expect("OK", "ERR")
            answers[got.id] = got.subject or "ok"
        self.assertEqual([answers[n] for n in numbers], ["ok", "denied", "ok", "denied", "denied", "denied", "ok"])
        self.assertEqual(local.request("no.1", b"1")[1].subject, "denied")
        call = local.start("REQ", "ok.3", b"1")
        while (got := tool.message()).subject != "ok.3":
            self.assertIn(got.subject, ("ok.1", "ok.2", '{"cmd":"sum"}'))
        self.assertTrue(got.reply.startswith("box."))
        tool.publish(got.reply, b"2")
        self.assertEqual(local.answer(call)[1].body, b"2")
        self.assertEqual(len(daemon.log("link_up")), 1)

    def test_no_right_to_subscribe(self):
        """The source is refused; what we publish goes on."""
        server = self.nats(more=self.USERS)
        daemon = self.through(server.port, OUT, {"from": {"endpoint": "bus", "subject": "secret"}, "to": "room"},
                              user="bell:hop%20%25@", endpoint_more={"inbox": "box"}, up=False)
        self.assertIn('Permissions Violation for Subscription to "secret"', wait_state(daemon, "refused"))
        self.assertEqual(self.local(daemon).publish("ok.a", b"1").verb, "OK")

    def test_no_right_to_an_inbox(self):
        """Who only publishes needs none; a request says what is missing."""
        server = self.nats(more=self.USERS)
        daemon = self.through(server.port, OUT, user="bell:hop%20%25@")
        local = self.local(daemon)
        self.assertEqual(local.publish("ok.a", b"1").verb, "OK")
        self.assertEqual(local.request("ok.a", b"1")[1].subject, "unavailable")
        self.assertIn("Permissions Violation for Subscription to \"_INBOX", wait_state(daemon, "refused"))


class TlsCase(Through, Case):
    def certificates(self):
        certs = Certificates(self.temporary())
        certs.issue("bellhop")
        certs.issue("peer")
        return certs

    def secure(self, port, certs, **more):
        return self.daemon({"endpoints": {"bus": {"connect": f"natss://localhost:{port}", "tls": "mesh", "codec": "raw",
                                                  "reconnect_max": "200ms"}},
                            "tls": {"mesh": certs.profile("bellhop")}, "routes": [OUT], **more})

    def test_tls_on_one_side_alone(self):
        certs = self.certificates()
        plain = self.nats()
        self.assertEqual(wait_state(self.secure(plain.port, certs), "refused"), "the server offers no TLS")
        secure = self.nats(tls=[certs.path(n) for n in ("ca.pem", "peer.pem", "peer.key")])
        self.assertIn("natss://", wait_state(self.through(secure.port, OUT, up=False), "refused"))
        daemon = self.secure(secure.port, certs)
        wait_state(daemon, "up")
        self.assertEqual(self.local(daemon).publish("a", b"1").verb, "OK")

    def test_words_in_the_clear_behind_info_are_no_servers(self):
        """Whoever sits between us may not put a word in before TLS begins."""
        certs = self.certificates()
        server = self.nats(tls=[certs.path(n) for n in ("ca.pem", "peer.pem", "peer.key")])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def talk():
                while True:
                    try:
                        peer = listener.accept()[0]
                        with socket.create_connection(("127.0.0.1", server.port)) as far:
                            peer.sendall(far.recv(65536) + b"PONG\r\n")
                        peer.recv(1)
                        peer.close()
                    except OSError:
                        return
            threading.Thread(target=talk, daemon=True).start()
            daemon = self.secure(listener.getsockname()[1], certs)
            wait_until(lambda: "in the clear" in (state(daemon)["error"] or ""), "the error")
            self.assertNotEqual(state(daemon)["state"], "up")
            listener.shutdown(socket.SHUT_RDWR)

    def test_cut_at_every_byte_of_the_greeting(self):
        certs = self.certificates()
        server = self.nats(tls=[certs.path(n) for n in ("ca.pem", "peer.pem", "peer.key")])
        proxy = self.keep(Proxy(server.port))
        proxy.limits = iter(range(1, 800, 9))
        daemon = self.secure(proxy.port, certs)
        wait_until(lambda: proxy.accepted > 20, "20 connections that were cut")
        proxy.limits = None
        wait_state(daemon, "up")
        self.assertEqual(self.local(daemon).publish("a", b"1").verb, "OK")


class Scripted:
    """A server by script: lines(sock) in a thread for each connection."""

    def __init__(self, talk):
        self.listener, self.talk, self.accepted = socket.create_server(("127.0.0.1", 0)), talk, 0
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.one, args=(sock,), daemon=True).start()

    def one(self, sock):
        try:
            self.talk(sock)
            while sock.recv(65536):
                pass
        except OSError:
            pass
        sock.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


INFO = b'INFO {"max_payload":1048576,"headers":true}\r\n'


def greet(sock):
    sock.sendall(INFO)
    data = b""
    while not data.endswith(b"PING\r\n"):
        data += sock.recv(65536)
    sock.sendall(b"PONG\r\n")


class BadServersCase(Through, Case):
    def sees(self, talk, words):
        server = self.keep(Scripted(talk))
        daemon = self.through(server.port, OUT, IN, up=False, endpoint_more={"reply_timeout": "300ms"})
        wait_until(lambda: words in (state(daemon)["error"] or ""), words)
        used, begun = daemon.cpu(), time.monotonic()
        time.sleep(0.5)
        self.assertLess((daemon.cpu() - used) / (time.monotonic() - begun), 0.2 if SANITIZED else 0.1)
        self.assert_alive(daemon)
        return daemon

    def test_greetings_that_are_none(self):
        for answer, words in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "no NATS server says"), (b"x" * 9000, "8 KiB"),
                              (b"INFO {" + b" " * 70000, "INFO above 64 KiB"), (b"INFO []\r\n", "an INFO that is none"),
                              (b'INFO {"max_payload":1}\r\n', "no headers"),
                              (b"INFO " + b"[" * 5000 + b"\r\n", "an INFO that is none"),
                              (INFO + b"-ERR 'Authorization Violation \x1b[1m\xff'\r\n", "Authorization Violation ?[1m?")):
            with self.subTest(words):
                self.sees(lambda sock: sock.sendall(answer), words)

    def test_garbage_after_the_greeting(self):
        for answer, words in ((b"MSG _INBOX.x 1 2\r\nabc\r\n", "its length says"), (b"MSG a 1 99999999999\r\n", "line is none"),
                              (b"-ERR 'Slow Consumer'\r\n", "Slow Consumer")):
            with self.subTest(words):
                self.sees(lambda sock: (greet(sock), sock.sendall(answer)), words)

    def test_strange_messages_cost_nothing(self):
        """Of subscriptions that we do not have, subjects that are no text, headers that are none."""
        def talk(sock):
            greet(sock)
            for sid in (0, 1, 2, 77, 18446744073709551615):
                for subject in (b"\xff\xfe", b"x" * 2000, b"in.a"):
                    sock.sendall(b"MSG %s %d r 2\r\nhi\r\n" % (subject, sid))
                    sock.sendall(b"HMSG %s %d 4 6\r\nnonehi\r\n" % (subject, sid))
            while data := sock.recv(65536):
                sock.sendall(b"PONG\r\n" * data.count(b"PING\r\n"))
        daemon = self.through(self.keep(Scripted(talk)).port, OUT, IN)
        room = daemon.serve("room")
        wait_until(lambda: state(daemon)["bad"] >= 4, "messages that are none")
        self.assertEqual(self.local(daemon).publish("a", b"1").verb, "OK")
        self.assertLessEqual({d.subject for d in room.deliveries}, {"in.a"})

    def test_a_pong_is_for_what_was_sent_before_its_ping(self):
        """The server takes two events, and answers the PING behind the first: the second is not delivered."""
        seen = {"a": threading.Event(), "b": threading.Event()}

        def talk(sock):
            greet(sock)
            data = b""
            while not (b"PUB b" in data and data.count(b"PING") == 2):
                data += sock.recv(65536)
                for name, event in seen.items():
                    if b"PUB " + name.encode() in data and b"PING" in data:
                        event.set()
            sock.sendall(b"PONG\r\n")
            checked.wait(20)
            sock.sendall(b"PONG\r\n")
        daemon = self.through(self.keep(Scripted(talk)).port, OUT, endpoint_more={"reply_timeout": "1h"})  # no PING of its own
        local, numbers, checked = self.local(daemon), [], threading.Event()
        for name, event in seen.items():
            numbers.append(local.start("PUB", name, b"1"))
            self.assertTrue(event.wait(20))
        self.assertEqual((local.expect("OK").id, local.silent(0.3)), (numbers[0], True))
        checked.set()
        self.assertEqual(local.expect("OK").id, numbers[1])

    def test_a_drain_waits_for_the_end_of_the_subscription(self):
        """What the server has sent before it reads our UNSUB is taken."""
        def talk(sock):
            greet(sock)
            data = b""
            while piece := sock.recv(65536):
                data += piece
                if b"UNSUB 1" in data:
                    time.sleep(0.3)
                    sock.sendall(b"MSG in.late 1 2\r\nhi\r\n")
                sock.sendall(b"PONG\r\n" * piece.count(b"PING\r\n"))
        port = self.keep(Scripted(talk)).port
        daemon = Daemon({"endpoints": endpoint(port, codec="raw"), "routes": [IN]})
        self.addCleanup(daemon.remove)
        wait_state(daemon, "up")
        room = daemon.serve("room")
        daemon.signal(15)
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertEqual([d.subject for d in room.deliveries], ["in.late"])

    def test_a_drain_does_not_wait_for_the_pong_of_a_lost_connection(self):
        def talk(sock):
            greet(sock)
            while piece := sock.recv(65536):
                if b"SUB in.>" in piece and attached.wait(20):
                    sock.sendall(b"MSG in.a 1 r 2\r\nhi\r\n")
                if b"UNSUB 1" in piece:
                    return sock.shutdown(socket.SHUT_RDWR)
        attached = threading.Event()
        port = self.keep(Scripted(talk)).port
        daemon = Daemon({"endpoints": endpoint(port, codec="raw", reply_timeout="1h"), "routes": [IN]})
        self.addCleanup(daemon.remove)
        wait_state(daemon, "up")
        room = daemon.serve("room", lambda d, s: time.sleep(2) or b"")
        attached.set()
        room.wait(1)
        daemon.signal(15)
        self.assertEqual(daemon.wait_exit(timeout=10), 0)

    def test_the_endpoint_goes_while_a_stream_waits_for_it(self):
        """The server does not read, the service's items wait for room, and the configuration has the endpoint no more."""
        def talk(sock):
            greet(sock)
            if b"SUB in.>" in sock.recv(65536) and attached.wait(20):
                sock.sendall(b"MSG in.a 1 r %d\r\n%s\r\n" % (len(packet), packet))
            gone.wait(60)
        packet, attached, gone = b'{"pattern":"in.a","data":1,"id":"7"}', threading.Event(), threading.Event()
        self.addCleanup(gone.set)
        daemon = self.through(self.keep(Scripted(talk)).port, IN, up=False, endpoint_more={"codec": "nest", "reply_timeout": "1h"},
                              drain_timeout="100ms")
        room = daemon.serve("room", lambda d, s: [b'"%s"' % (b"x" * 100000)] * 100)
        attached.set()
        room.wait(1)
        time.sleep(0.5)
        daemon.write({"routes": [{**OUT, "to": "room"}], "drain_timeout": "100ms"})
        daemon.signal(1)
        wait_until(lambda: daemon.log("reloaded"), "the reload")
        time.sleep(3)  # longer than the patience with such a stream
        self.assert_alive(daemon)
        self.assertEqual(self.local(daemon).publish("x", b"1").verb, "OK")

    def test_a_server_that_says_nothing_more(self):
        def talk(sock):
            greet(sock)
            while sock.recv(65536):
                pass
        daemon = self.sees(talk, "no PONG within reply_timeout")
        wait_until(lambda: len(daemon.log("link_down")) >= 2, "both connections given up")


class FaultsCase(Through, Case):
    def test_several_addresses(self):
        first, second = self.nats(), self.nats()
        daemon = self.daemon({"endpoints": {"bus": {"connect": [f"nats://127.0.0.1:{p}" for p in (free_port(), first.port, second.port)],
                                                    "codec": "raw", "reconnect_max": "100ms"}}, "routes": [OUT]})
        wait_state(daemon, "up")
        local, tool = self.local(daemon), self.tool(second)
        tool.sub(">")
        first.kill()
        wait_until(lambda: local.publish("a", b"1").verb == "OK" and (tool.flush() or tool.queue), "a message at the second")

    def test_a_stalled_server(self):
        """Nothing is lost of what has no PONG; the connection is given up and made anew."""
        server = self.nats()
        proxy = self.keep(Proxy(server.port))
        daemon = self.through(proxy.port, {**OUT, "durable": True}, endpoint_more={"reply_timeout": "300ms"},
                              store={"path": self.temporary()}, policies={"default": policy("60s", attempts=100)})
        local, tool = self.local(daemon), self.tool(server)
        tool.sub(">")
        proxy.stall()
        for i in range(20):
            self.assertEqual(local.publish("a", str(i).encode()).verb, "OK")
        wait_until(lambda: state(daemon)["state"] != "up", "the connection given up")
        proxy.cut()
        proxy.go_on()
        seen = set()
        while len(seen) < 20:
            seen.add(int(tool.message().body))

    def test_slow_consumer(self):
        """A service that does not settle stops the source; the server ends it, and it comes back by itself, memory bounded."""
        server = self.nats(max_pending="4MB", write_deadline='"500ms"')
        gate = threading.Event()
        self.addCleanup(gate.set)
        daemon = self.through(server.port, IN, OUT, limits={"memory": "4MiB"})
        room = daemon.serve("room", lambda d, s: gate.wait())
        tool, before = self.tool(server), daemon.rss()
        for _ in range(200):
            tool.publish("in.flood", b"x" * 200000)
        tool.flush()
        wait_until(lambda: "slow consumer" in open(os.path.join(server.folder, "log")).read().lower(), "the server's patience to end")
        self.assertLess(daemon.rss() - before, (96 if SANITIZED else 24) * MIB)
        self.assertEqual(self.local(daemon).publish("other", b"1").verb, "OK")  # the other connection is not held up
        gate.set()
        wait_until(lambda: daemon.log("subscription_gap"), "the gap to be told")
        wait_state(daemon, "up")
        tool.publish("in.after", b"1")
        tool.flush()
        wait_until(lambda: [d for d in list(room.deliveries) if d.subject == "in.after"], "what was sent afterwards")

    def test_a_source_that_waits_is_not_given_up(self):
        """Its PONGs stand behind what is not read."""
        server, gate = self.nats(), threading.Event()
        self.addCleanup(gate.set)
        daemon = self.through(server.port, IN, endpoint_more={"reply_timeout": "100ms"}, limits={"queue": 1})
        room, tool = daemon.serve("room", lambda d, s: gate.wait(), credit=1), self.tool(server)
        for i in range(100):
            tool.publish("in.a", str(i))
        tool.flush()
        room.wait(1)
        time.sleep(1)
        gate.set()
        self.assertEqual([d.body for d in room.wait(100)], [str(i).encode() for i in range(100)])
        self.assertEqual((len(daemon.log("link_up")), daemon.log("link_down")), (2, []))

    def test_restarts_under_load(self):
        """The server is killed 20 times: what a durable route has taken reaches the one who answers."""
        server = self.nats()
        got, ended = set(), threading.Event()

        def serve():
            while not ended.is_set():
                try:
                    with server.client() as client:
                        client.sub("load")
                        while not ended.is_set():
                            message = client.message(0.5)
                            got.add(int(message.body))
                            client.publish(message.reply, b"")
                except (OSError, ValueError):
                    time.sleep(0.01)
        peer = threading.Thread(target=serve, daemon=True)
        peer.start()
        self.addCleanup(peer.join)
        self.addCleanup(ended.set)
        daemon = self.through(server.port, {**ACKED, "durable": True}, store={"path": self.temporary()},
                              policies={"default": policy("1s", attempts=10000, delay="50ms", breaker={"failures": 1000000})})
        local, promised, stop = self.local(daemon), [], threading.Event()

        def load():
            while not stop.is_set():
                if local.publish("load", str(len(promised)).encode()).verb == "OK":
                    promised.append(len(promised))
                time.sleep(0.001)
        loader = threading.Thread(target=load)
        loader.start()
        self.addCleanup(stop.set)
        for _ in range(20):
            wait_until(lambda n=len(promised): len(promised) > n + 20, "load that goes on")
            server.restart()
        stop.set()
        loader.join()
        wait_until(lambda: got >= set(promised), f"{len(promised)} promised messages", 60)
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    def test_a_drain_takes_what_is_on_its_way(self):
        """SIGTERM while others publish: what the server has handed to us reaches the service; the rest goes to the others of the group."""
        server = self.nats()
        source = {"from": {"endpoint": "bus", "subject": "in.>", "queue": "g"}, "to": "room"}
        first = Daemon({"endpoints": endpoint(server.port, codec="raw"), "routes": [source]})
        self.addCleanup(first.remove)
        wait_state(first, "up")
        here = first.serve("room")
        second = self.through(server.port, source)
        there, tool, stop, sent = second.serve("room"), self.tool(server), threading.Event(), []

        def load():
            while not stop.is_set():
                tool.publish("in.a", str(len(sent)))
                sent.append(len(sent))
                if len(sent) % 50 == 0:
                    tool.flush()
        loader = threading.Thread(target=load)
        loader.start()
        self.addCleanup(stop.set)
        wait_until(lambda: len(here.deliveries) > 200 and len(there.deliveries) > 200, "both at work")
        first.signal(15)
        self.assertEqual(first.wait_exit(), 0)
        wait_until(lambda n=len(there.deliveries): len(there.deliveries) > n + 200, "the other one goes on")
        stop.set()
        loader.join()
        tool.flush()
        numbers = lambda: sorted(int(d.body) for d in (*here.deliveries, *there.deliveries))
        wait_until(lambda: len(numbers()) >= len(sent), f"{len(sent)} messages")
        self.assertEqual(numbers(), sent)
