"""Real NestJS peers on RabbitMQ: clients of a local service, servers of a local caller, in queue mode and with wildcards."""
import json
import time

import rooms
import test_nest_clients
import test_nest_servers
from harness import NO_HANDLER, Case, NestClient, NestServer, wait_until
from rabbit_server import shared

QUEUE = {"durable": True}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def nest_options(rabbit, queue, **more):
    return {"transport": "RMQ", "urls": [rabbit.url()], "queue": queue, "queueOptions": QUEUE, **more}


def endpoint(rabbit, **more):
    return {"rabbit": {"connect": rabbit.url(), **more}}


class RabbitRaw:
    """A requester by hand: ask() as NestRaw has it."""

    def __init__(self, rabbit, queue):
        self.client, self.queue = rabbit.connect(), queue
        self.client.consume("amq.rabbitmq.reply-to")

    def ask(self, pattern, data, id="a1", **more):
        packet = {"pattern": pattern, "data": data, **more, "id": id}
        self.client.publish("", self.queue, json.dumps(packet, ensure_ascii=False), reply_to="amq.rabbitmq.reply-to",
                            correlation_id="corr")
        answer = []
        while True:
            got = self.client.receive()
            assert got.properties["correlation_id"] == "corr", got
            answer.append(json.loads(got.body))
            if answer[-1].get("isDisposed") or answer[-1].get("err"):
                return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


class Clients(test_nest_clients.Answers):
    """NestJS clients -> queue -> daemon -> a local service."""
    test_pipelined = test_split_at_every_byte = test_connection_lost_while_waiting = None  # of TCP
    test_foreign_members_are_ignored = None

    @classmethod
    def setUpClass(cls):
        cls.rabbit = shared()
        config = rooms.configuration(0)
        config["endpoints"] = endpoint(cls.rabbit)
        for route in config["routes"]:
            route["from"] = {"endpoint": "rabbit", "queue": "rooms", "declare": QUEUE}
        wild = {"endpoint": "rabbit", "queue": "wild", "exchange": "wild", "bind": ["#"], "declare": QUEUE}
        config["routes"].append({"name": "wild", "from": wild, "to": "rooms"})
        cls.bellhop = cls.class_daemon(config)
        cls.rooms = cls.bellhop.serve("rooms", rooms.handle)
        wait_until(lambda: len(cls.bellhop.log("source_up")) == 2, "both sources")
        cls.client = cls.class_keep(NestClient(cls.version, 0, **nest_options(cls.rabbit, "rooms")))
        cls.tool = cls.class_keep(cls.rabbit.connect())

    def raw(self):
        return RabbitRaw(self.rabbit, "rooms")

    def test_many_at_once(self):
        replies = self.client.wait(self.client.start("many", "echo", n=200)).values[0]
        self.assertEqual([r["value"] for r in replies], list(range(200)))

    def test_wildcards_mode(self):
        client = self.keep(NestClient(self.version, 0, **nest_options(self.rabbit, "wild", wildcards=True)))
        self.assertEqual(client.send("echo", [1]).values, [[1]])
        self.assertEqual(client.send({"cmd": "sum"}, [1, 2]).values, [3])
        before = len(self.rooms.deliveries)
        self.assertIsNone(client.emit("user.created", {"key": "w"}).error)
        got = self.rooms.wait(before + 1)[before]
        self.assertEqual((got.verb, got.subject, got.headers["amqp-exchange"]), ("PUB", "user.created", "wild"))

    def test_headers_and_places(self):
        with self.raw() as raw:
            raw.client.publish("", "rooms", json.dumps({"pattern": "headers", "data": 1, "id": "h"}), correlation_id="corr",
                               reply_to="amq.rabbitmq.reply-to", headers={"traceparent": TRACE, "X-Tenant": "ż blue", "n": 7})
            got = json.loads(raw.client.receive().body)["response"]
        expected = {"x-tenant": "ż blue", "n": "7", "amqp-queue": "rooms", "source": "rabbit", "correlation-id": "corr",
                    "content-type": "application/json"}
        self.assertEqual({k: got.get(k) for k in expected}, expected)
        self.assertEqual(got["traceparent"][:35], TRACE[:35])

    def test_places_are_not_forged(self):
        before = len(self.rooms.deliveries)
        packet = {"pattern": "user.created", "data": 1, "metadata": {"amqp-queue": "x", "amqp-exchange": "x", "x-mine": "y"}}
        self.tool.publish("", "rooms", json.dumps(packet), headers={"amqp-redelivered": "true"})
        got = self.rooms.wait(before + 1)[before].headers
        self.assertEqual((got["amqp-queue"], got.get("amqp-exchange"), got.get("amqp-redelivered"), got["x-mine"]),
                         ("rooms", None, None, "y"))

    def test_request_or_event_is_said_by_the_id(self):
        """reply_to without id is an event; an id without reply_to has nowhere to be answered."""
        before = len(self.rooms.deliveries)
        self.tool.publish("", "rooms", '{"pattern":"echo","data":1}', reply_to="amq.gen-nobody", correlation_id="x")
        self.tool.publish("", "rooms", '{"pattern":"echo","data":2,"id":"i"}')
        self.assertEqual([(d.verb, d.body) for d in self.rooms.wait(before + 2)[before:]], [("PUB", b"1"), ("PUB", b"2")])

    def test_what_has_no_pattern_is_an_event(self):
        """NestJS itself would throw these away."""
        for body, type in ((b'{"order":1}', "application/json"), (b"plain text", "text/plain"), (b"\xff\x00", None)):
            before = len(self.rooms.deliveries)
            self.tool.publish("wild", "user.created", body, reply_to="amq.gen-nobody", correlation_id="x",
                              **({"content_type": type} if type else {}))
            got = self.rooms.wait(before + 1)[before]
            self.assertEqual((got.verb, got.subject, got.body), ("PUB", "user.created", body))
            self.assertEqual(got.headers.get("content-type"), type)

    def test_exact_replies(self):
        """No member that NestJS 12 would take the whole object for the value for."""
        with self.raw() as raw:
            for pattern, expected in (("echo", {"response": 1, "isDisposed": True, "id": "a1"}),
                                      ("value.undefined", {"isDisposed": True, "id": "a1"}),
                                      ("no.such", {"id": "a1", "status": "error", "err": NO_HANDLER})):
                self.assertEqual(raw.ask(pattern, 1), [expected])

    def test_all_is_acknowledged(self):
        self.sees("echo", 1, [1])
        wait_until(lambda: "rooms\t0" in self.rabbit.ctl("list_queues", "name", "messages").splitlines(), "acknowledged")


class Clients12Case(Clients, Case):
    version = "12"

    def test_metadata_becomes_headers(self):
        got = self.client.send("headers", 1, metadata={"traceparent": TRACE, "x-meta": "m"}).values[0]
        self.assertEqual((got["traceparent"][:35], got["x-meta"]), (TRACE[:35], "m"))


class Clients11Case(Clients, Case):
    version = "11"


class Servers(test_nest_servers.Calls):
    """A local caller -> daemon -> queue -> a NestJS server."""
    test_event_without_acknowledgement = None
    test_metadata = None  # NestJS does not show it on RabbitMQ

    @classmethod
    def setUpClass(cls):
        cls.rabbit = shared()
        cls.server = cls.class_keep(NestServer(cls.version, **nest_options(cls.rabbit, "stock")))
        config = test_nest_servers.configuration(0)
        config["endpoints"] = endpoint(cls.rabbit, ack=True)
        config["routes"] = [
            {"name": "wild", "from": "local", "match": "wild.>", "to": {"endpoint": "rabbit", "exchange": "out", "subject": "{1}"}},
            {"name": "none", "from": "local", "match": "none", "to": {"endpoint": "rabbit", "queue": "none"}},
            {"name": "noack", "from": "local", "match": "noack.>", "to": {"endpoint": "rabbit", "queue": "stock", "ack": "no",
                                                                          "subject": "{1}"}},
            {"name": "all", "from": "local", "match": ">", "to": {"endpoint": "rabbit", "queue": "stock"}}]
        cls.bellhop = cls.class_daemon(config)
        cls.caller = cls.class_keep(cls.bellhop.connect())
        wait_until(lambda: cls.caller.request("echo", b"1")[1].verb == "REP", "the first reply")

    def test_wildcards_mode(self):
        server = self.keep(NestServer(self.version, **nest_options(self.rabbit, "wildq", wildcards=True, exchange="out")))
        self.assertTrue(server.port)
        self.sees("wild.echo", [1, 2], [], b"[1,2]")
        self.assertEqual(self.caller.publish("wild.user.created", '{"key":"w"}').verb, "OK")
        server.expect_seen("event", "user.created", "w", 1)

    def test_event_is_done_when_the_broker_has_it(self):
        self.assertEqual(self.caller.publish("noack.order.flaky", '{"key":"plain","fail":99}').verb, "OK")
        self.server.expect_seen("event", "order.flaky", "plain", 1)

    def test_no_server_no_queue(self):
        begun = time.monotonic()
        _, got = self.caller.request("none", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "no-route"))
        self.assertLess(time.monotonic() - begun, 2)

    def test_headers_are_native(self):
        spy = self.keep(self.rabbit.connect())
        spy.declare("none.spy", exclusive=True)
        spy.exchange("out")
        spy.bind("none.spy", "out", "spied")
        spy.consume("none.spy")
        other = self.keep(self.bellhop.connect("other"))
        other.start("PUB", "wild.spied", b"{}", {"traceparent": TRACE, "x-tenant": "ż", "id": "native"})
        got = spy.receive()
        self.assertEqual(got.headers["traceparent"][:35], TRACE[:35])
        self.assertEqual((got.headers["x-tenant"], got.properties["message_id"]), ("ż", "native"))


class Servers12Case(Servers, Case):
    version = "12"


class Servers11Case(Servers, Case):
    version = "11"
