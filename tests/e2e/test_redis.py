"""Redis: NestJS peers on both ends, streams with consumer groups, and what else speaks to them."""
import json
import signal
import threading
import time

import rooms
import test_nest_clients
import test_nest_servers
from harness import SANITIZED, Case, Certificates, Daemon, Local, NestClient, NestServer, free_port, policy, wait_until
from proxy import Proxy
from redis_server import Redis, RedisError, RedisServer, Sentinel


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

    def test_places_are_not_forged(self):
        before = len(self.rooms.deliveries)
        packet = {"pattern": "user.created", "data": 1, "metadata": {"redis-channel": "x", "Redis-Mine": "x", "x-mine": "y"}}
        self.tool.call("PUBLISH", "user.created", json.dumps(packet))
        got = self.rooms.wait(before + 1)[before].headers
        self.assertEqual((got["redis-channel"], got.get("redis-mine"), got["x-mine"]), ("user.created", None, "y"))

    def test_replies_are_no_requests(self):
        """`*` matches `echo.reply` too."""
        before = len(self.rooms.deliveries)
        self.sees("echo", "once", ["once"])
        self.tool.call("PUBLISH", "user.created", '{"pattern":"user.created","data":{"key":"after"}}')
        self.rooms.wait(before + 2)
        self.assertEqual([d.subject for d in self.rooms.deliveries[before:]], ["echo", "user.created"])
        self.assertFalse([l for l in self.bellhop.log("message_refused") if l["channel"].endswith(".reply")])

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


class WildcardsCase(Case):
    def test_server_with_wildcards(self):
        """It answers on the reply channel of what it was asked, and hears its own replies: they are not ours to mind."""
        redis = self.keep(RedisServer())
        server = self.keep(NestServer("12", redis.port, transport="REDIS", wildcards=True))
        daemon = self.daemon({"endpoints": endpoint(redis), "policies": {"default": policy()},
                              "routes": [{"from": "local", "match": ">", "to": "cache"}]})
        caller = self.keep(daemon.connect())
        wait_until(lambda: endpoint_state(daemon)["state"] == "up", "the connection for commands")
        for subject in ("wild.one", "wild.two"):
            self.assertEqual(caller.request(subject, b"1")[1].body, json.dumps(subject).encode())
        self.assertEqual(caller.publish("user.created", b'{"key":"w"}').verb, "OK")
        server.expect_seen("event", "user.created", "w", 1)


# ---------------------------------------------------------------- what has no NestJS on it

class Server:
    """A server of its own for each class, and one client of it."""

    @classmethod
    def setUpClass(cls):
        cls.redis = cls.class_keep(RedisServer())
        cls.tool = cls.class_keep(cls.redis.client())

    def through(self, *routes, endpoint_more=None, **more):
        """A daemon with these routes; short policies unless told otherwise."""
        config = {"endpoints": endpoint(self.redis, **(endpoint_more or {})), "policies": {"default": policy(attempts=3)},
                  "routes": list(routes), **more}
        return self.daemon(config)

    def local(self, daemon, **more):
        return self.keep(daemon.connect(**more))


def durable(folder):
    return {"store": {"path": folder}}


class ChannelsCase(Server, Case):
    def test_raw_out(self):
        caller = self.local(self.through({"from": "local", "match": "a.*", "to": {"endpoint": "cache", "codec": "raw"}}))
        with self.redis.client() as listener:
            listener.subscribe("a.b")
            self.assertEqual(caller.publish("a.b", b"\x00\xff raw", {"x-h": "is lost"}).verb, "OK")
            self.assertEqual(listener.message(), ("a.b", b"\x00\xff raw"))
            _, got = caller.request("a.b", b"1")
            self.assertEqual((got.verb, got.subject), ("ERR", "invalid"))
            self.assertTrue(listener.silent(0.1))

    def test_raw_in(self):
        daemon = self.through({"from": {"endpoint": "cache", "channel": "in.raw", "codec": "raw"}, "to": "room"},
                              {"from": {"endpoint": "cache", "pattern": "p.*", "codec": "raw"}, "to": "room"})
        room = daemon.serve("room")
        subscribed(self.tool, "in.raw")
        wait_until(lambda: self.tool.call("PUBSUB", "NUMPAT"), "the pattern")
        self.tool.call("PUBLISH", "in.raw", b"\xff1")
        self.tool.call("PUBLISH", "p.x.reply", b"2")
        first, second = room.wait(2)
        self.assertEqual((first.subject, first.body, first.headers["redis-channel"]), ("in.raw", b"\xff1", "in.raw"))
        self.assertEqual((second.subject, second.headers["redis-pattern"]), ("p.x.reply", "p.*"))

    def test_cloudevents_both_ways(self):
        daemon = self.through(
            {"from": "local", "match": "ce.>", "to": {"endpoint": "cache", "codec": "cloudevents"}},
            {"from": {"endpoint": "cache", "channel": "ce.a", "codec": "cloudevents"}, "to": "room"})
        room = daemon.serve("room")
        subscribed(self.tool, "ce.a")
        self.assertEqual(self.local(daemon).publish("ce.a", b'{"x":1}', {"content-type": "application/json"}).verb, "OK")
        got = room.wait(1)[0]
        self.assertEqual((json.loads(got.body), got.headers["ce-type"]), ({"x": 1}, "ce.a"))

    def test_a_receiver_can_be_required(self):
        daemon = self.through(
            {"from": "local", "match": "must.*", "to": {"endpoint": "cache", "receiver": "required"}},
            {"from": "local", "match": "may.*", "to": "cache"}, policies={"default": policy(attempts=100)})
        caller = self.local(daemon)
        self.assertEqual(caller.publish("may.a", b"1").verb, "OK")
        event = caller.start("PUB", "must.a", b"1")
        self.assertTrue(caller.silent(0.1))
        with self.redis.client() as listener:
            listener.subscribe("must.a")
            self.assertEqual(caller.answer(event)[1].verb, "OK")
            self.assertEqual(json.loads(listener.message()[1])["data"], 1)

    def test_nothing_is_asked_before_the_answer_can_be_heard(self):
        proxy = self.keep(Proxy(self.redis.port))
        daemon = self.daemon({"endpoints": {"cache": {"connect": f"redis://127.0.0.1:{proxy.port}", "reconnect_max": "100ms"}},
                              "routes": [{"from": "local", "match": ">", "to": "cache"}]})
        caller = self.local(daemon)
        wait_until(lambda: endpoint_state(daemon)["state"] == "up", "the connection for commands")
        proxy.refusing = True
        with self.redis.client() as server:
            server.subscribe("late")
            call = caller.start("REQ", "late", b"1")
            self.assertTrue(server.silent(0.2))
            proxy.refusing = False
            id = json.loads(server.message()[1])["id"]
            self.tool.call("PUBLISH", "late.reply", json.dumps({"response": 2, "isDisposed": True, "id": id}))
            self.assertEqual(caller.answer(call)[1].body, b"2")

    def test_reply_channels_are_bounded(self):
        daemon = self.through({"from": "local", "match": ">", "to": "cache"},
                              policies={"default": policy(attempts=1, breaker={"failures": 1000000})})
        caller = self.local(daemon)
        wait_until(lambda: endpoint_state(daemon)["state"] == "up", "the endpoint")
        for i in range(1100):
            caller.start("REQ", f"s.{i}", b"1")
        for _ in range(1100):
            self.assertEqual(caller.expect("ERR").subject, "no-service")
        channels = {c.decode() for c in self.tool.call("PUBSUB", "CHANNELS", "*.reply")}
        self.assertEqual(channels, {f"s.{i}.reply" for i in range(1100 - 1024, 1100)})
        self.assertEqual(caller.request("s.0", b"1")[1].subject, "no-service")

    def test_two_sources_of_one_channel_and_a_full_room(self):
        """The room takes one at a time and its queue one: what is read is bounded, nothing is lost or doubled."""
        daemon = self.through({"from": {"endpoint": "cache", "pattern": "bus?", "codec": "raw"}, "to": "quick"},
                              {"from": {"endpoint": "cache", "pattern": "bus?", "codec": "raw"}, "match": "none", "to": "none"},
                              {"from": {"endpoint": "cache", "channel": "busy"}, "to": "slow"},
                              {"from": {"endpoint": "cache", "channel": "busy", "codec": "raw"}, "to": "slow"},
                              limits={"queue": 1})
        slow = daemon.serve("slow", lambda d, s: time.sleep(0.002), credit=1)
        quick = daemon.serve("quick")
        subscribed(self.tool, "busy")
        wait_until(lambda: self.tool.call("PUBSUB", "NUMPAT"), "the pattern")
        for i in range(200):
            self.tool.call("PUBLISH", "busy", i)
        expected = [str(i).encode() for i in range(200)]
        self.assertEqual([d.body for d in slow.wait(400)][::2], expected)
        self.assertEqual([d.body for d in slow.deliveries][1::2], expected)
        self.assertEqual([d.body for d in quick.wait(200)], expected)

    def test_database_and_several_subjects_with_captures(self):
        caller = self.local(self.through({"from": "local", "match": "site.*.temp",
                                          "to": {"endpoint": "cache", "subject": "temp.{1}", "codec": "raw"}}))
        with self.redis.client() as listener:
            listener.subscribe("temp.7")
            caller.publish("site.7.temp", b"x")
            self.assertEqual(listener.message(), ("temp.7", b"x"))


    def test_captures_of_the_pattern(self):
        """Without a `match`; what stands for the `*` may have dots."""
        daemon = self.through({"from": {"endpoint": "cache", "codec": "raw", "pattern": "site.*"},
                               "to": {"service": "room", "subject": "got.{1}"}})
        room = daemon.serve("room")
        wait_until(lambda: self.tool.call("PUBSUB", "NUMPAT"), "the subscription")
        for name in ("site.7", "site.7.temp"):
            self.tool.call("PUBLISH", name, "x")
        self.assertEqual([d.subject for d in room.wait(2)], ["got.7", "got.7.temp"])


class StreamsCase(Server, Case):
    def setUp(self):
        self.tool.call("FLUSHALL")

    def source(self, to="room", stream="orders", **more):
        durable = {"durable": True} if more.pop("durable", False) else {}
        return {"from": {"endpoint": "cache", "stream": stream, **more}, "to": to, **durable}

    def reading(self, *routes, **more):
        daemon = self.through(*(routes or [self.source(**more)]))
        grouped(self.tool, "orders", more.get("group", "bellhop"))
        return daemon

    def done(self, group="bellhop"):
        wait_until(lambda: self.tool.pending("orders", group) == 0, "everything acknowledged")

    def test_fields_become_a_message(self):
        room = self.reading().serve("room")
        id = self.tool.call("XADD", "orders", "*", "body", b"\xff1", "subject", "order.made", "content-type", "x/y",
                            "x-tenant", "ż", "Upper", "u", "bad name", "1", "timeout", "30", "redis-stream", "forged").decode()
        got = room.wait(1)[0]
        self.assertEqual((got.verb, got.subject, got.body), ("PUB", "order.made", b"\xff1"))
        headers = got.headers
        self.assertEqual((headers["content-type"], headers["x-tenant"], headers["upper"]), ("x/y", "ż", "u"))
        self.assertEqual((headers["redis-stream"], headers["redis-entry"], headers["id"]), ("orders", id, f"orders/{id}"))
        self.assertFalse({"bad name", "timeout", "redis-deliveries"} & set(headers))
        self.done()

    def test_fields_of_others_are_json(self):
        room = self.reading().serve("room")
        self.tool.call("XADD", "orders", "*", "sensor", "7", "temp", '"hot" 🐢')
        got = room.wait(1)[0]
        self.assertEqual((got.subject, json.loads(got.body)), ("orders", {"sensor": "7", "temp": '"hot" 🐢'}))
        self.assertEqual(got.headers["content-type"], "application/json")

    def test_out_and_in_again(self):
        daemon = self.reading(self.source(), {"from": "local", "match": "o.*", "to": {"endpoint": "cache", "stream": "orders"}})
        room = daemon.serve("room")
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        sent = {"id": "m-1", "traceparent": trace, "content-type": "application/json", "x-tenant": "ż blue", "key": "k"}
        for body in (b"", b"\x00\xff\r\n$5\r\n", b"x" * 1_000_000):
            self.assertEqual(self.local(daemon).publish("o.made", body, sent).verb, "OK")
            got = room.wait(1)[0]
            self.assertEqual((got.subject, got.body), ("o.made", body))
            self.assertEqual({k: got.headers[k] for k in sent if k != "traceparent"},
                             {k: v for k, v in sent.items() if k != "traceparent"})
            self.assertEqual(got.headers["traceparent"][:35], trace[:35])
            room.deliveries.clear()

    def test_cloudevents_in_fields(self):
        daemon = self.reading(self.source(codec="cloudevents"),
                              {"from": "local", "match": "o.*",
                               "to": {"endpoint": "cache", "stream": "orders", "codec": "cloudevents"}})
        room = daemon.serve("room")
        self.local(daemon).publish("o.made", b"1", {"id": "e-1"})
        fields = self.tool.entries("orders")[0][1]
        self.assertEqual((fields["ce-id"], fields["ce-type"], fields["ce-specversion"]), (b"e-1", b"o.made", b"1.0"))
        self.assertEqual(room.wait(1)[0].headers["id"], "e-1")

    def test_acknowledged_after_the_service_only(self):
        held = []
        daemon = self.reading()
        room = daemon.serve("room", lambda d, s: (held.append(d.id), s.LATER)[1])
        self.tool.call("XADD", "orders", "*", "body", "1")
        room.wait(1)
        time.sleep(0.1)
        self.assertEqual(self.tool.pending("orders"), 1)
        room.client.send("OK", held[0])
        self.done()

    def test_durable_is_acknowledged_when_it_is_on_disk(self):
        folder = self.temporary()
        self.through(self.source(durable=True, start="0"), **durable(folder))
        self.tool.call("XADD", "orders", "*", "body", "1")
        grouped(self.tool, "orders")
        wait_until(lambda: self.tool.call("XINFO", "GROUPS", "orders")[0][7] != b"0-0", "the reading")
        self.done()  # nobody serves `room` yet

    def test_no_more_in_hand_than_count(self):
        held = []
        daemon = self.reading(count=7)
        room = daemon.serve("room", lambda d, s: (held.append(d.id), s.LATER)[1], credit=1000)
        for i in range(50):
            self.tool.call("XADD", "orders", "*", "body", i)
        room.wait(7)
        time.sleep(0.1)
        self.assertEqual((len(held), self.tool.pending("orders")), (7, 7))
        for i in range(50):
            wait_until(lambda i=i: len(held) > i, "the next")
            room.client.send("OK", held[i])
        self.assertEqual([d.body for d in room.deliveries], [str(i).encode() for i in range(50)])
        self.done()

    def test_acknowledgement_that_was_lost_is_repeated(self):
        """Its connection alone ends while XACK waits at the server."""
        daemon = self.reading()
        room = daemon.serve("room")
        self.tool.call("XADD", "orders", "*", "body", "1")
        room.wait(1)
        self.done()
        clients = [dict(word.split("=", 1) for word in line.split())
                   for line in self.tool.call("CLIENT", "LIST").decode().splitlines()]
        commands = [c["id"] for c in clients if c["cmd"] == "xack"]
        self.tool.call("XADD", "orders", "*", "body", "2")
        self.tool.call("CLIENT", "PAUSE", "400", "WRITE")
        room.wait(1)
        time.sleep(0.1)
        self.tool.call("CLIENT", "KILL", "ID", commands[0])
        self.tool.call("CLIENT", "UNPAUSE")
        room.wait(2)
        self.done()
        self.assertEqual([d.body for d in room.deliveries], [b"1", b"2"])

    def test_dead_letters_are_acknowledged(self):
        daemon = self.reading()
        room = daemon.serve("room", lambda d, s: (_ for _ in ()).throw(s.Err()))
        self.tool.call("XADD", "orders", "*", "body", "poison")
        room.wait(3)
        self.done()
        self.assertIn("orders", json.dumps(daemon.admin("dlq.ls")))

    def test_a_dead_letter_on_disk_is_no_longer_pending(self):
        """Whatever the last error was: it would come again, and die again."""
        daemon = self.through(self.source(claim_idle="300ms"), store={"path": self.temporary() + "/store"})
        grouped(self.tool, "orders")
        room = daemon.serve("room", lambda d, s: (_ for _ in ()).throw(s.Err("unavailable", b"no")))
        self.tool.call("XADD", "orders", "*", "body", "poison")
        room.wait(3)
        self.done()
        self.assertEqual(len(daemon.admin("dlq.ls")["items"]), 1)

    def test_what_cannot_be_a_message_is_named_and_acknowledged(self):
        daemon = self.reading(self.source(codec="cloudevents"))
        daemon.serve("room")
        self.tool.call("XADD", "orders", "*", "a", b"\xff")
        self.tool.call("XADD", "orders", "*", "body", "no event")
        self.tool.call("XADD", "orders", "*", "body", "x" * 1_048_577, "ce-id", "1")
        wait_until(lambda: len(daemon.log("message_refused")) == 3, "three refusals")
        self.assertEqual({l["stream"] for l in daemon.log("message_refused")}, {"orders"})
        self.done()
        self.assertEqual(len(self.tool.entries("orders")), 3)

    def test_entries_too_long_to_read(self):
        """Far above limits.body, in the middle of others: left out by name, the rest arrives once."""
        daemon = self.reading()
        room = daemon.serve("room")
        self.tool.call("MULTI")
        for i in range(30):
            self.tool.call("XADD", "orders", "*", "body", i)
            if i in (3, 17):
                self.tool.call("XADD", "orders", "*", "body", b"x" * 3_000_000)
        self.tool.call("EXEC")
        room.wait(30)
        self.done()
        self.assertEqual(sorted(int(d.body) for d in room.deliveries), list(range(30)))
        self.assertEqual([l["code"] for l in daemon.log("message_refused")], ["too-large"] * 2)

    def test_start(self):
        self.tool.call("XADD", "orders", "*", "body", "old")
        daemon = self.reading(self.source("end"), self.source("all", group="all", start="0"))
        grouped(self.tool, "orders", "all")
        end, every = daemon.serve("end"), daemon.serve("all")
        self.tool.call("XADD", "orders", "*", "body", "new")
        self.assertEqual([d.body for d in every.wait(2)], [b"old", b"new"])
        self.assertEqual([d.body for d in end.wait(1)], [b"new"])

    def test_trim(self):
        daemon = self.reading(trim="delete")
        daemon.serve("room").deliveries
        for i in range(5):
            self.tool.call("XADD", "orders", "*", "body", i)
        wait_until(lambda: self.tool.call("XLEN", "orders") == 0, "an empty stream")

    def test_maxlen(self):
        caller = self.local(self.through({"from": "local", "match": "m",
                                          "to": {"endpoint": "cache", "stream": "log", "maxlen": 100}}))
        for _ in range(500):
            caller.start("PUB", "m", b"1")
        for _ in range(500):
            caller.expect("OK")
        self.assertLess(self.tool.call("XLEN", "log"), 250)

    def test_two_daemons_share_a_group(self):
        routes = [self.source(consumer="a")], [self.source(consumer="b")]
        rooms_of = [self.reading(*r).serve("room", lambda d, s: time.sleep(0.001), credit=4) for r in routes]
        for i in range(300):
            self.tool.call("XADD", "orders", "*", "body", i)
        wait_until(lambda: sum(len(r.deliveries) for r in rooms_of) >= 300, "all of them")
        self.done()
        self.assertEqual(sorted(int(d.body) for r in rooms_of for d in r.deliveries), list(range(300)))
        self.assertTrue(all(r.deliveries for r in rooms_of))

    def left_by_another(self, *fields):
        """An entry that a consumer has read and not acknowledged."""
        self.tool.call("XGROUP", "CREATE", "orders", "bellhop", "0", "MKSTREAM")
        self.tool.call("XADD", "orders", "1-1", *fields)
        self.tool.call("XREADGROUP", "GROUP", "bellhop", "gone", "STREAMS", "orders", ">")

    def test_what_another_consumer_left_is_taken_over(self):
        self.left_by_another("body", "left")
        room = self.reading(claim_idle="200ms", block="20ms").serve("room")
        got = room.wait(1)[0]
        self.assertEqual((got.body, got.headers["redis-deliveries"], got.headers["id"]), (b"left", "2", "orders/1-1"))
        self.done()

    def test_what_takes_long_is_not_taken_over(self):
        """Two daemons; the one that has the message works longer than claim_idle."""
        rooms_of = [self.reading(self.source(consumer=c, claim_idle="200ms", block="20ms"))
                    .serve("room", lambda d, s: time.sleep(1)) for c in "ab"]
        self.tool.call("XADD", "orders", "*", "body", "long")
        wait_until(lambda: sum(len(r.deliveries) for r in rooms_of), "the delivery")
        self.done()
        self.assertEqual(sum(len(r.deliveries) for r in rooms_of), 1)

    def test_what_was_in_hand_comes_again_after_a_crash(self):
        first = Daemon({"endpoints": endpoint(self.redis), "routes": [self.source(consumer="me")]})
        self.addCleanup(first.remove)
        grouped(self.tool, "orders")
        room = first.serve("room", lambda d, s: s.LATER)
        id = self.tool.call("XADD", "orders", "*", "body", "1").decode()
        room.wait(1)
        first.process.kill()
        second = self.through(self.source(consumer="me")).serve("room")
        got = second.wait(1)[0]
        self.assertEqual((got.headers["id"], got.headers["redis-deliveries"]), (f"orders/{id}", "2"))
        self.done()

    def test_stream_deleted_while_in_use(self):
        daemon = self.reading(block="100ms")
        room = daemon.serve("room")
        self.tool.call("XADD", "orders", "*", "body", "before")
        room.wait(1)
        self.done()
        self.tool.call("DEL", "orders")
        self.tool.call("XADD", "orders", "*", "body", "after")
        self.assertEqual([d.body for d in room.wait(2)], [b"before", b"after"])
        self.done()
        self.assertTrue(daemon.log("stream_recreated"))
        self.tool.call("XGROUP", "DESTROY", "orders", "bellhop")
        self.tool.call("XADD", "orders", "*", "body", "third")
        self.assertEqual([d.body for d in room.wait(3)], [b"before", b"after", b"third"])
        self.done()

    def test_entry_deleted_while_pending(self):
        self.left_by_another("body", "gone")
        self.tool.call("XDEL", "orders", "1-1")
        daemon = self.reading(claim_idle="100ms", block="20ms")
        wait_until(lambda: daemon.log("entries_lost"), "the loss")
        self.done()

    def test_wrong_type_is_shown_and_tried_again(self):
        self.tool.call("SET", "orders", "a string")
        daemon = self.through(self.source())
        wait_until(lambda: endpoint_state(daemon)["state"] == "refused", "the refusal")
        self.assertIn("WRONGTYPE", endpoint_state(daemon)["error"])
        caller = self.local(daemon)
        self.assertEqual(caller.publish("nothing", b"").subject, "no-route")

    def test_bridge_is_acknowledged_end_to_end(self):
        """To a stream of a server that is away: nothing is acknowledged before that one has it."""
        far = self.keep(RedisServer())
        far.kill()
        daemon = self.daemon({"endpoints": {**endpoint(self.redis), "far": endpoint(far)["cache"]},
                              "routes": [self.source({"endpoint": "far", "stream": "copies"})]})
        grouped(self.tool, "orders")
        ids = [self.tool.call("XADD", "orders", "*", "body", i).decode() for i in range(20)]
        wait_until(lambda: self.tool.pending("orders") == 20, "the reading")
        time.sleep(0.2)
        self.assertEqual(self.tool.pending("orders"), 20)
        far.start()
        self.done()
        with far.client() as copies:
            got = copies.entries("copies")
        self.assertEqual([f["body"] for _, f in got], [str(i).encode() for i in range(20)])
        self.assertEqual([f["id"].decode() for _, f in got], [f"orders/{id}" for id in ids])
        self.assertEqual(endpoint_state(daemon, "far")["state"], "up")


# ---------------------------------------------------------------- who may

class AccessCase(Case):
    def server(self, **options):
        return self.keep(RedisServer(**options))

    def through(self, url, *routes, attempts=3):
        return self.daemon({"endpoints": {"cache": {"connect": url}},
                            "policies": {"default": policy(attempts=attempts, breaker={"failures": 1000})},
                            "routes": list(routes) or [{"from": "local", "match": "a", "to": "cache"}]})

    def state(self, daemon, wanted):
        return wait_until(lambda: (s := endpoint_state(daemon))["state"] == wanted and s, f"state {wanted}")

    def test_user_and_password_from_a_file(self):
        server = self.server(user="bell on >p%40ss ~* &* +@all")
        secret = self.temporary() + "/secret"
        with open(secret, "w") as f:
            f.write("p%40ss\n")
        daemon = self.through("redis://bell:${file:%s}@127.0.0.1:%d/3" % (secret, server.port),
                              {"from": "local", "match": "a", "to": {"endpoint": "cache", "stream": "s"}})
        self.assertEqual(self.keep(daemon.connect()).publish("a", b"1").verb, "OK")
        with server.client() as tool:
            self.assertEqual(tool.call("XLEN", "s"), 0)
            tool.call("SELECT", 3)
            self.assertEqual(tool.call("XLEN", "s"), 1)
            self.assertIn(b"name=bellhop:cache", tool.call("CLIENT", "LIST"))
        self.assertNotIn("p%", daemon.log_text())
        self.assertNotIn("p%", json.dumps(daemon.admin("status")))

    def test_refused_then_let_in(self):
        """Shown, tried again slowly, and let in without a restart once the server knows us."""
        server = self.server(requirepass="right")
        daemon = self.through(f"redis://:wrong@127.0.0.1:{server.port}")
        self.assertIn("WRONGPASS", self.state(daemon, "refused")["error"])
        cpu = daemon.cpu()
        time.sleep(1)
        with server.client() as tool:
            tool.call("AUTH", "right")
            self.assertLess(int(tool.call("INFO", "stats").split(b"total_connections_received:")[1].split()[0]), 10)
            self.assertLess(daemon.cpu() - cpu, 0.05)
            tool.call("CONFIG", "SET", "requirepass", "wrong")
        self.state(daemon, "up")

    def test_no_password_given(self):
        server = self.server(requirepass="right")
        daemon = self.through(f"redis://127.0.0.1:{server.port}")
        self.assertIn("NOAUTH", self.state(daemon, "refused")["error"])

    def test_rights_that_lack(self):
        """An ACL that knows some channels and streams: the others are refused by name, these go on."""
        server = self.server(user="bell on >x resetchannels &yes ~yes +@all")
        route = {"match": "*", "to": "room"}
        daemon = self.through(f"redis://bell:x@127.0.0.1:{server.port}",
                              {"from": {"endpoint": "cache", "channel": "no", "codec": "raw"}, **route},
                              {"from": {"endpoint": "cache", "channel": "yes", "codec": "raw"}, **route},
                              {"from": {"endpoint": "cache", "stream": "no"}, **route},
                              {"from": {"endpoint": "cache", "stream": "yes"}, **route},
                              {"from": "local", "match": "yes", "to": "cache"}, {"from": "local", "match": "no", "to": "cache"},
                              {"from": "local", "match": "add", "to": {"endpoint": "cache", "stream": "no"}}, attempts=1)
        room, caller = daemon.serve("room"), self.keep(daemon.connect())
        self.assertIn("NOPERM", self.state(daemon, "refused")["error"])
        with server.client() as tool:
            subscribed(tool, "yes")
            grouped(tool, "yes")
            tool.call("PUBLISH", "yes", "1")
            tool.call("XADD", "yes", "*", "body", "2")
            self.assertEqual({d.body for d in room.wait(2)}, {b"1", b"2"})
            self.assertEqual(caller.publish("yes", b"3").verb, "OK")
            self.assertEqual(json.loads(room.wait(3)[2].body)["data"], 3)
            for subject in ("no", "add"):
                self.assertEqual(caller.publish(subject, b"4").subject, "denied")
                self.assertTrue(any("NOPERM" in l["reason"] for l in daemon.log("command_denied")))
                self.assertEqual(caller.publish("yes", b"5").verb, "OK")
            time.sleep(0.5)
            self.assertLess(int(tool.call("INFO", "errorstats").split(b"NOPERM:count=")[1].split()[0]), 30)
        self.assertLess(len(daemon.log()), 200)

    def test_tls_with_client_certificate(self):
        pki = Certificates(self.temporary())
        for name in ("redis", "node", "stranger"):
            pki.issue(name)
        server = self.server(tls=[pki.path(f) for f in ("ca.pem", "redis.pem", "redis.key")])
        nest = self.keep(NestServer("12", server.port, transport="REDIS", tls=pki.node("node")))
        daemon = self.daemon({
            "tls": {"mesh": pki.profile("node")},
            "endpoints": {"cache": {"connect": f"rediss://localhost:{server.port}", "tls": "mesh"}},
            "routes": [{"from": {"endpoint": "cache", "stream": "orders"}, "to": "room"},
                       {"from": {"endpoint": "cache", "channel": "in", "codec": "raw"}, "to": "room"},
                       {"from": "local", "match": ">", "to": "cache"}]})
        room = daemon.serve("room")
        with server.client(tls=pki.context("node")) as tool:
            grouped(tool, "orders")
            subscribed(tool, "in")
            tool.call("XADD", "orders", "*", "body", "x" * 500_000)
            tool.call("PUBLISH", "in", "y" * 500_000)
            self.assertEqual({len(d.body) for d in room.wait(2)}, {500_000})
            self.assertEqual(self.keep(daemon.connect()).request('{"cmd":"sum"}', b"[1,2]")[1].body, b"3")
        nest.expect_seen("request", {"cmd": "sum"}, None, 1)

    def test_tls_without_a_certificate_is_refused(self):
        pki = Certificates(self.temporary())
        pki.issue("redis")
        server = self.server(tls=[pki.path(f) for f in ("ca.pem", "redis.pem", "redis.key")])
        daemon = self.daemon({"tls": {"mesh": {"ca": pki.path("ca.pem"), "verify": "server"}},
                              "endpoints": {"cache": {"connect": f"rediss://localhost:{server.port}", "tls": "mesh"}},
                              "routes": [{"from": "local", "match": ">", "to": "cache"}]})
        wait_until(lambda: "certificate" in (endpoint_state(daemon)["error"] or ""), "the reason")

    def test_other_addresses(self):
        """The first is a replica: what it will not write goes to the next address."""
        first = self.server()
        second = self.server()
        with second.client() as tool:
            tool.call("REPLICAOF", "127.0.0.1", first.port)
        with first.client() as tool:
            tool.call("CONFIG", "SET", "maxclients", "100")
        urls = [f"redis://127.0.0.1:{s.port}" for s in (second, first)]
        daemon = self.through(urls, {"from": "local", "match": "a", "to": {"endpoint": "cache", "stream": "s"}})
        self.assertEqual(self.keep(daemon.connect()).publish("a", b"1").verb, "OK")
        with first.client() as tool:
            self.assertEqual(tool.call("XLEN", "s"), 1)


# ---------------------------------------------------------------- sets of servers

class SetsCase(Case):
    """Replicas, a failover, Sentinel, a cluster: real servers, none of which the daemon was told about but by their addresses."""

    def server(self, **options):
        return self.keep(RedisServer(**options))

    def daemon_at(self, *servers, stream="orders", **more):
        """What is published locally goes into the stream; what is in the stream goes to `room`. An attempt that is used up is gone."""
        return self.daemon({
            "endpoints": {"cache": {"connect": [f"redis://127.0.0.1:{s.port}" for s in servers], "reconnect_max": "200ms"}},
            "store": {"path": self.temporary()},
            "policies": {"default": policy("5s", attempts=2)},
            "routes": [{"from": "local", "match": "out", "to": {"endpoint": "cache", "stream": stream}, "durable": True},
                       {"from": {"endpoint": "cache", "stream": stream, "start": "0", "block": "200ms"}, "to": "room"}], **more})

    def replica_of(self, replica, primary):
        with replica.client() as tool:
            tool.call("REPLICAOF", "127.0.0.1", primary.port)
            wait_until(lambda: b"master_link_status:up" in tool.call("INFO", "replication"), "the replica")

    def refused(self, daemon):
        return wait_until(lambda: (s := endpoint_state(daemon))["state"] == "refused" and s["error"], "the refusal")

    def test_failover(self):
        """The primary becomes the replica of its replica: the next address is tried, and no attempt is used up by it."""
        first, second = self.server(), self.server()
        self.replica_of(second, first)
        daemon = self.daemon_at(first, second)
        room, flow = daemon.serve("room", credit=256), Flow(daemon.socket, "out")
        wait_until(lambda: flow.acked > 50, "some progress")
        with first.client() as old, second.client() as new:
            old.call("CLIENT", "PAUSE", 10000, "WRITE")
            wait_until(lambda: new.call("XLEN", "orders") == old.call("XLEN", "orders"), "the replica to have all")
            new.call("REPLICAOF", "NO", "ONE")
            old.call("REPLICAOF", "127.0.0.1", second.port)
            old.call("CLIENT", "UNPAUSE")
            wait_until(lambda n=flow.acked: flow.acked > n + 50, "load that goes on")
            count = flow.stop()
            wait_until(lambda: {int(d.body) for d in list(room.deliveries)} >= set(range(count)), f"all of {count}")
            self.assertEqual({int(f["body"]) for _, f in new.entries("orders")}, set(range(count)))
            wait_until(lambda: new.pending("orders") == 0, "all acknowledged there")
        self.assertEqual(daemon.admin("status")["messages"]["dead"], 0)
        self.assertEqual(endpoint_state(daemon)["state"], "up")

    def test_a_replica_alone(self):
        """It says what is wrong, is tried seldom, and what is to be written waits."""
        first, second = self.server(), self.server()
        self.replica_of(second, first)
        daemon = self.daemon_at(second)
        self.assertEqual(self.keep(daemon.connect()).publish("out", b"1").verb, "OK")
        self.assertIn("replica", self.refused(daemon))
        with second.client() as tool:
            time.sleep(1)
            self.assertLess(int(tool.call("INFO", "errorstats").split(b"READONLY:count=")[1].split()[0]), 10)
        messages = daemon.admin("status")["messages"]
        self.assertEqual((messages["dead"], messages["done"]), (0, 0))

    def test_a_sentinel(self):
        first = self.server()
        folder = self.temporary()
        with open(folder + "/sentinel.conf", "w") as f:
            f.write(f"sentinel monitor mine 127.0.0.1 {first.port} 1\n")
        sentinel = self.keep(Sentinel(folder=folder))
        daemon = self.daemon_at(sentinel)
        self.assertEqual(self.keep(daemon.connect()).publish("out", b"1").verb, "OK")
        self.assertRegex(self.refused(daemon), "Sentinel.*`connect`")
        self.assertEqual(daemon.admin("status")["messages"]["dead"], 0)

    def test_a_cluster(self):
        """One address: told what to do. All of them: the one that has the stream is found."""
        nodes = [self.server(cluster_enabled="yes", cluster_port=free_port()) for _ in range(2)]
        slots = ((0, 8191), (8192, 16383))
        with nodes[0].client() as tool:
            for node, (low, high) in zip(nodes, slots):
                with node.client() as other:
                    other.call("CLUSTER", "ADDSLOTSRANGE", low, high)
            tool.call("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, nodes[1].options["cluster_port"])
            stream = next(s for s in map(str, range(100)) if tool.call("CLUSTER", "KEYSLOT", s) > 8191)
            wait_until(lambda: b"cluster_state:ok" in tool.call("CLUSTER", "INFO"), "the cluster")
        daemon = self.daemon_at(nodes[0], stream=stream)
        self.keep(daemon.connect()).publish("out", b"1")
        self.assertRegex(self.refused(daemon), f"MOVED.*{nodes[1].port}.*cluster.*`connect`")
        daemon = self.daemon_at(*nodes, stream=stream)
        room = daemon.serve("room")
        self.assertEqual(self.keep(daemon.connect()).publish("out", b"2").verb, "OK")
        self.assertIn(b"2", [d.body for d in room.wait(1, 40)])
        self.assertEqual(daemon.admin("status")["messages"]["dead"], 0)


# ---------------------------------------------------------------- faults

class Flow:
    """Numbered events, each acknowledged to its publisher, and what came out at the other end."""

    def __init__(self, path, subject):
        self.client = Local(path, "flow")
        self.subject, self.sent, self.acked = subject, 0, 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        waiting = 0
        while not self.stopping.is_set() or waiting:
            if not self.stopping.is_set() and waiting < 32:
                self.client.start("PUB", self.subject, str(self.sent).encode())
                self.sent += 1
                waiting += 1
                continue
            got = self.client.expect("OK", timeout=60)
            assert got
            waiting -= 1
            self.acked += 1
            time.sleep(0.0005)

    def stop(self):
        self.stopping.set()
        self.thread.join(60)
        self.client.close()
        return self.acked


class Standing:
    """What local services publish goes durably into a stream; what is in the stream `orders` goes durably to `room`."""

    def setUp(self):
        self.redis = self.keep(RedisServer())

    def standing(self, port=None, **more):
        folder = self.temporary()
        daemon = self.daemon({
            "endpoints": {"cache": {"connect": f"redis://127.0.0.1:{port or self.redis.port}", "reply_timeout": "1s",
                                    "reconnect_max": "200ms", **more}},
            "store": {"path": folder},
            "policies": {"default": {"timeout": "2s", "retry": {"attempts": 1000, "delay": "5ms", "max_delay": "50ms"},
                                     "breaker": {"failures": 1000000}}},
            "routes": [{"from": "local", "match": "out", "to": {"endpoint": "cache", "stream": "orders"}, "durable": True},
                       {"from": {"endpoint": "cache", "stream": "orders", "start": "0", "block": "200ms", "claim_idle": "1s"},
                        "to": "room", "durable": True}]})
        return daemon, daemon.serve("room", credit=256)

    def all_came(self, daemon, room, count, timeout=30):
        """Every number that was acknowledged, at least once."""
        def look():
            return {int(d.body) for d in list(room.deliveries)} >= set(range(count))
        wait_until(look, f"all of {count}; {len({d.body for d in room.deliveries})} came", timeout)
        with self.redis.client() as tool:
            wait_until(lambda: tool.pending("orders") == 0, "all acknowledged")
        wait_until(lambda: endpoint_state(daemon)["state"] == "up", "the endpoint")


class FaultsCase(Standing, Case):
    def test_restarted_20_times_under_load(self):
        daemon, room = self.standing()
        flow = Flow(daemon.socket, "out")
        for _ in range(20):
            wait_until(lambda n=flow.acked: flow.acked > n + 20, "some progress")
            self.redis.restart()
        count = flow.stop()
        self.all_came(daemon, room, count)
        self.assertGreater(count, 400)
        self.assertLess(len(room.deliveries), count * 1.5)
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    def test_frozen_for_5_seconds(self):
        daemon, room = self.standing()
        flow = Flow(daemon.socket, "out")
        wait_until(lambda: flow.acked > 100, "some progress")
        self.redis.freeze()
        cpu, rss = daemon.cpu(), daemon.rss()
        acked = flow.acked
        wait_until(lambda: flow.acked > acked + 200, "durable messages are taken meanwhile")
        count = flow.stop()
        idle, begun = daemon.cpu(), time.monotonic()
        time.sleep(5 - (idle - cpu) if idle - cpu < 5 else 0)
        self.assertLess((daemon.cpu() - idle) / (time.monotonic() - begun), 0.10 if SANITIZED else 0.05)
        self.assertLess(daemon.rss() - rss, 64 << 20)
        self.redis.thaw()
        self.all_came(daemon, room, count)

    def test_away_costs_no_cpu_and_starts_without_it(self):
        self.redis.kill()
        daemon, room = self.standing()
        flow = Flow(daemon.socket, "out")
        wait_until(lambda: flow.acked > 500, "durable messages are taken")
        count = flow.stop()
        cpu, begun = daemon.cpu(), time.monotonic()
        time.sleep(2)
        self.assertLess((daemon.cpu() - cpu) / (time.monotonic() - begun), 0.10 if SANITIZED else 0.05)
        self.assertNotEqual(endpoint_state(daemon)["state"], "up")
        self.redis.start()
        self.all_came(daemon, room, count)

    def test_cut_stalled_and_refused(self):
        proxy = self.keep(Proxy(self.redis.port))
        daemon, room = self.standing(proxy.port)
        flow = Flow(daemon.socket, "out")
        for fault in (proxy.cut, proxy.stall, proxy.refuse, proxy.stall, proxy.cut):
            wait_until(lambda: daemon.admin("status") and endpoint_state(daemon)["state"] == "up", "the endpoint")
            fault()
            if fault != proxy.cut:
                wait_until(lambda: endpoint_state(daemon)["state"] != "up", "the loss is noticed")
            proxy.go_on()
            proxy.refuse(False)
        count = flow.stop()
        self.all_came(daemon, room, count)

    def test_split_at_every_byte(self):
        proxy = self.keep(Proxy(self.redis.port, piece=1))
        daemon, room = self.standing(proxy.port)
        caller = self.keep(daemon.connect())
        for i in range(20):
            self.assertEqual(caller.publish("out", str(i).encode()).verb, "OK")
        self.all_came(daemon, room, 20)
        self.assertEqual(len(room.deliveries), 20)


class UpkeepCase(Standing, Case):
    def test_reset_at_every_byte(self):
        """Of what the server says: its greeting, its answers, entries."""
        proxy = self.keep(Proxy(self.redis.port))
        daemon, room = self.standing(proxy.port, reconnect_max="100ms")
        caller = self.keep(daemon.connect())
        proxy.limits = iter(range(1, 160, 2))
        proxy.cut()
        for i in range(40):
            self.assertEqual(caller.publish("out", str(i).encode()).verb, "OK")
            time.sleep(0.05)
        proxy.limits = None
        proxy.cut()
        self.all_came(daemon, room, 40)
        self.assertGreater(proxy.accepted, 20)

    def test_garbage(self):
        proxy = self.keep(Proxy(self.redis.port))
        proxy.garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        daemon, room = self.standing(proxy.port)
        caller = self.keep(daemon.connect())
        self.assertEqual(caller.publish("out", b"0").verb, "OK")
        for garbage in (b"*2147483647\r\n", b"$536870912\r\n" + b"x" * 3_000_000, b"%2\r\n", b"+OK\r\n" * 10, b":1\r\n*-1\r\n",
                        b"*1\r\n" * 50, bytes(range(256)) * 100, b"-ERR max number of clients reached\r\n", b"-", b""):
            before = proxy.accepted
            proxy.garbage = garbage
            wait_until(lambda b=before: proxy.accepted > b + 1, "another try")
            self.assertLess(daemon.rss(), 400 << 20 if SANITIZED else 64 << 20)
        self.assertNotEqual(endpoint_state(daemon)["state"], "up")
        proxy.garbage = None
        self.all_came(daemon, room, 1)

    def test_pubsub_resubscribes_and_names_the_gap(self):
        daemon = self.daemon({"endpoints": endpoint(self.redis, reconnect_max="200ms"),
                              "routes": [{"from": {"endpoint": "cache", "channel": "c", "codec": "raw"}, "to": "room"},
                                         {"from": "local", "match": ">", "to": "cache"}]})
        room, caller = daemon.serve("room"), self.keep(daemon.connect())
        for i in range(2):
            nest = NestServer("12", self.redis.port, transport="REDIS")
            with nest, self.redis.client() as tool:
                subscribed(tool, "c")
                tool.call("PUBLISH", "c", i)
                room.wait(i + 1)
                self.assertEqual(caller.request("no.such", b"1", {"timeout": "1s"})[1].subject, "no-service")
                wait_until(lambda: caller.request("echo", b"1", {"timeout": "300ms"})[1].verb == "REP", "a reply")
                self.assertEqual([caller.request("echo", b"2")[1].body for _ in range(20)], [b"2"] * 20)
            self.redis.restart()
            wait_until(lambda n=i: len(daemon.log("subscription_gap")) > n, "the gap")

    def test_full_server_is_waited_for(self):
        daemon, room = self.standing()
        with self.redis.client() as tool:
            grouped(tool, "orders")
            tool.call("CONFIG", "SET", "maxmemory", "1")
            caller = self.keep(daemon.connect())
            for i in range(10):
                self.assertEqual(caller.publish("out", str(i).encode()).verb, "OK")
            time.sleep(0.2)
            self.assertEqual(tool.call("XLEN", "orders"), 0)
            tool.call("CONFIG", "SET", "maxmemory", "0")
        self.all_came(daemon, room, 10)

    def test_draining_leaves_what_nobody_can_take(self):
        """It stays pending in the stream; waiting for a service that is away would only take time."""
        daemon = Daemon({"drain_timeout": "15s", "endpoints": endpoint(self.redis),
                         "routes": [{"from": {"endpoint": "cache", "stream": "orders", "start": "0"}, "to": "room"}]})
        self.addCleanup(daemon.remove)
        with self.redis.client() as tool:
            tool.call("XADD", "orders", "*", "body", "1")
            wait_until(lambda: daemon.admin("status")["messages"]["ready"] == 1, "the entry is in hand")
            begun = time.monotonic()
            daemon.signal(signal.SIGTERM)
            self.assertEqual(daemon.wait_exit(), 0)
            self.assertLess(time.monotonic() - begun, 5)
            self.assertEqual(tool.pending("orders"), 1)

    def test_draining_finishes_what_is_in_hand(self):
        held = []
        daemon = Daemon({"endpoints": endpoint(self.redis),
                         "routes": [{"from": {"endpoint": "cache", "stream": "orders", "start": "0"}, "to": "room"}]})
        self.addCleanup(daemon.remove)
        room = daemon.serve("room", lambda d, s: (held.append(d.id), s.LATER)[1])
        with self.redis.client() as tool:
            tool.call("XADD", "orders", "*", "body", "1")
            room.wait(1)
            daemon.signal(signal.SIGTERM)
            wait_until(lambda: daemon.log("draining"), "the drain")
            tool.call("XADD", "orders", "*", "body", "2")
            time.sleep(0.1)
            room.client.send("OK", held[0])
            self.assertEqual(daemon.wait_exit(), 0)
            self.assertEqual((len(room.deliveries), tool.pending("orders")), (1, 0))
            self.assertEqual(tool.call("XINFO", "GROUPS", "orders")[0][11], 1)  # its lag: "2" was not taken

    def test_a_changed_endpoint_brings_no_entry_twice(self):
        """What is in hand at the reload is acknowledged by the endpoint that has it; the new one reads what comes after it."""
        config = {"endpoints": endpoint(self.redis),
                  "routes": [{"from": {"endpoint": "cache", "stream": "orders", "start": "0"}, "to": "room"}]}
        daemon = self.daemon(config)
        held = []
        room = daemon.serve("room", lambda d, s: (held.append(d.id), s.LATER)[1])
        with self.redis.client() as tool:
            for i in range(3):
                tool.call("XADD", "orders", "*", "body", i)
            room.wait(3)
            daemon.write({**config, "endpoints": endpoint(self.redis, reconnect_max="1s")})
            self.assertEqual(daemon.tool("reload")[0], 0)
            tool.call("XADD", "orders", "*", "body", "3")
            room.wait(4)
            for id in held:
                room.client.send("OK", id)
            wait_until(lambda: tool.pending("orders") == 0, "all acknowledged")
            wait_until(lambda: [l["unfinished"] for l in daemon.log("endpoint_closed")] == ["0"], "the end of the old one")
            self.redis.restart()  # what is pending then is this consumer's own, and comes at once
            tool = self.keep(self.redis.client())
            tool.call("XADD", "orders", "*", "body", "4")
            room.wait(5)
        self.assertEqual([d.body for d in room.deliveries], [b"0", b"1", b"2", b"3", b"4"])
        room.client.send("OK", held[-1])

    def test_an_endpoint_that_is_removed_ends_what_it_has(self):
        config = {"endpoints": endpoint(self.redis), "routes": [{"from": "local", "match": ">", "to": "cache"}]}
        daemon = self.daemon(config)
        caller = self.keep(daemon.connect())
        with self.redis.client() as listener, self.redis.client() as speaker:
            listener.subscribe("slow")
            wait_until(lambda: endpoint_state(daemon)["state"] == "up", "the endpoint")
            id = caller.start("REQ", "slow", b"1")
            packet = json.loads(listener.message()[1])
            daemon.write({**config, "endpoints": {}, "routes": []})
            self.assertEqual(daemon.tool("reload")[0], 0)
            self.assertEqual(daemon.admin("status")["endpoints"], [])
            late = caller.start("REQ", "slow", b"2")
            self.assertEqual(caller.answer(late)[1].subject, "no-route")
            speaker.call("PUBLISH", "slow.reply", json.dumps({"response": 3, "isDisposed": True, "id": packet["id"]}))
        self.assertEqual(caller.answer(id)[1].body, b"3")
        wait_until(lambda: [l["unfinished"] for l in daemon.log("endpoint_closed")] == ["0"], "its end")

    def test_reload_keeps_what_is_unchanged(self):
        config = {"endpoints": endpoint(self.redis),
                  "routes": [{"from": {"endpoint": "cache", "stream": "orders"}, "to": "room"}]}
        daemon = self.daemon(config)
        room = daemon.serve("room")
        with self.redis.client() as tool:
            grouped(tool, "orders")
            ups = len(daemon.log("link_up"))
            config["routes"].append({"from": {"endpoint": "cache", "stream": "orders"}, "match": "never", "to": "other"})
            daemon.write(config)
            self.assertEqual(daemon.tool("reload")[0], 0)
            tool.call("XADD", "orders", "*", "body", "1")
            room.wait(1)
            self.assertEqual(len(daemon.log("link_up")), ups)
            config["routes"].append({"from": {"endpoint": "cache", "stream": "more"}, "to": "room"})
            daemon.write(config)
            self.assertEqual(daemon.tool("reload")[0], 0)
            grouped(tool, "more")
            tool.call("XADD", "more", "*", "body", "2")
            tool.call("XADD", "orders", "*", "body", "3")
            room.wait(3)
            wait_until(lambda: tool.pending("orders") == 0 and tool.pending("more") == 0, "all acknowledged")
        self.assertEqual(len(room.deliveries), 3)
