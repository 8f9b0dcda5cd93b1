"""Redis: NestJS peers on both ends, streams with consumer groups, and what else speaks to them."""
import json
import time

import rooms
import test_nest_clients
import test_nest_servers
from harness import Case, Certificates, Local, NestClient, NestServer, free_port, policy, wait_until
from redis_server import Redis, RedisError, RedisServer


def endpoint(server, **more):
    return {"cache": {"connect": f"redis://127.0.0.1:{server.port}", **more}}


def subscribed(client, channel, count=1):
    """Waits until so many listen to a channel."""
    wait_until(lambda: client.call("PUBSUB", "NUMSUB", channel)[1] >= count, f"{count} subscribers of {channel}")


def grouped(client, stream, group="bellhop"):
    """Waits until a group reads a stream."""
    def look():
        try:
            return group.encode() in [g[1] for g in client.call("XINFO", "GROUPS", stream)]
        except RedisError:
            return False
    wait_until(look, f"the group {group} of {stream}")


def endpoint_state(daemon, name="cache"):
    return next(e for e in daemon.admin("status")["endpoints"] if e["name"] == name)


class RedisRaw:
    """A requester by hand: ask() as NestRaw has it."""

    def __init__(self, port):
        self.commands, self.replies, self.known = Redis(port), Redis(port), set()

    def ask(self, pattern, data, id="a1", **more):
        if pattern not in self.known:
            self.replies.subscribe(pattern + ".reply")
            self.known.add(pattern)
        self.commands.call("PUBLISH", pattern, json.dumps({"pattern": pattern, "data": data, **more, "id": id},
                                                          ensure_ascii=False))
        answer = []
        while True:
            got = json.loads(self.replies.message()[1])
            if got["id"] == id:
                answer.append(got)
            if got.get("isDisposed") or got.get("err"):
                return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.commands.close()
        self.replies.close()


# ---------------------------------------------------------------- NestJS clients

class Clients(test_nest_clients.Answers):
    """NestJS clients on Redis -> daemon -> a local service."""
    test_pipelined = test_split_at_every_byte = test_connection_lost_while_waiting = None  # of TCP
    test_foreign_members_are_ignored = None

    @classmethod
    def setUpClass(cls):
        cls.redis = cls.class_keep(RedisServer())
        config = rooms.configuration(0)
        config["endpoints"] = endpoint(cls.redis)
        for route in config["routes"]:
            route["from"] = {"endpoint": "cache", "pattern": "*"}
        cls.bellhop = cls.class_daemon(config)
        cls.rooms = cls.bellhop.serve("rooms", rooms.handle)
        cls.client = cls.class_keep(NestClient(cls.version, cls.redis.port, transport="REDIS"))
        cls.tool = cls.class_keep(cls.redis.client())
        wait_until(lambda: cls.tool.call("PUBSUB", "NUMPAT") == 1, "the subscription")

    def raw(self):
        return RedisRaw(self.redis.port)

    def test_many_at_once(self):
        replies = self.client.wait(self.client.start("many", "echo", n=200)).values[0]
        self.assertEqual([r["value"] for r in replies], list(range(200)))

    def test_headers_say_where_it_was(self):
        got = self.client.send("headers", 1).values[0]
        self.assertEqual((got["redis-channel"], got["redis-pattern"], got["source"]), ("headers", "*", "cache"))

    def test_replies_are_no_requests(self):
        """`*` matches `echo.reply` too."""
        before = len(self.rooms.deliveries)
        self.sees("echo", "once", ["once"])
        self.tool.call("PUBLISH", "user.created", '{"pattern":"user.created","data":{"key":"after"}}')
        self.rooms.wait(before + 2)
        self.assertEqual([d.subject for d in self.rooms.deliveries[before:]], ["echo", "user.created"])

    def test_what_is_no_packet_is_an_event(self):
        for text, type in ((b'{"id":"A","x":1}', "application/json"), (b"plain text", "text/plain"), (b"\xff\x00", "text/plain"),
                           (b"", "text/plain")):
            before = len(self.rooms.deliveries)
            self.tool.call("PUBLISH", "user.created", text)
            got = self.rooms.wait(before + 1)[before]
            self.assertEqual((got.verb, got.body, got.headers["content-type"]), ("PUB", text, type))

    def test_channel_says_what_it_is_about(self):
        self.tool.call("PUBLISH", "echo", '{"pattern":"no.such","data":"by channel","id":"x"}')
        wait_until(lambda: [d for d in list(self.rooms.deliveries) if d.body == b'"by channel"'], "the request")


class Clients12Case(Clients, Case):
    version = "12"

    def test_metadata_becomes_headers(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        got = self.client.send("headers", 1, metadata={"traceparent": trace, "x-tenant": "ż blue"}).values[0]
        self.assertEqual((got["traceparent"][:35], got["x-tenant"]), (trace[:35], "ż blue"))


class Clients11Case(Clients, Case):
    version = "11"


# ---------------------------------------------------------------- NestJS servers

class Servers(test_nest_servers.Calls):
    """A local caller -> daemon -> a NestJS server on Redis."""
    test_event_without_acknowledgement = None

    @classmethod
    def setUpClass(cls):
        cls.redis = cls.class_keep(RedisServer())
        cls.server = cls.class_keep(NestServer(cls.version, cls.redis.port, transport="REDIS"))
        config = test_nest_servers.configuration(0)
        config["endpoints"] = {"stock": endpoint(cls.redis, ack=True)["cache"]}
        cls.bellhop = cls.class_daemon(config)
        cls.caller = cls.class_keep(cls.bellhop.connect())
        cls.tool = cls.class_keep(cls.redis.client())
        wait_until(lambda: cls.caller.request("echo", b"1")[1].verb == "REP", "the first reply")

    def test_unknown_pattern(self):
        """Nobody listens: NestJS's own client would wait for ever."""
        begun = time.monotonic()
        _, got = self.caller.request("no.such", b"1")
        self.assertEqual((got.verb, got.subject), ("ERR", "no-service"))
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(self.caller.publish("no.such", b"1").subject, "no-service")

    def test_one_subscription_stays(self):
        for i in range(20):
            self.sees("echo", i, [], str(i).encode())
        self.assertEqual(self.tool.call("PUBSUB", "NUMSUB", "echo.reply")[1], 1)

    def test_strangers_on_the_reply_channel(self):
        call = self.caller.start("REQ", "slow", b"200")
        subscribed(self.tool, "slow.reply")
        for text in ('{"response":"stranger","isDisposed":true,"id":"never asked"}', "no json", "", '{"id":7}', "[]"):
            self.tool.call("PUBLISH", "slow.reply", text)
        self.assertEqual(self.caller.answer(call)[1].body, b'"slow"')


class Servers12Case(Servers, Case):
    version = "12"


class Servers11Case(Servers, Case):
    version = "11"
