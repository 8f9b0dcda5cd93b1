"""A real redis-server: NestJS over pub/sub, and streams in raw."""
import contextlib
import json
import os
import queue
import threading
import time

from adapter import Answer, BrokerAdapter, Caller, Err, Got, as_event, from_event
from harness import wait_until
from redis_server import Redis, RedisServer
from tcp import error_of


def text_of(value):
    return json.dumps(value, ensure_ascii=False).encode()


class Far:
    """The server, and a peer of ours that comes back with it."""

    def __init__(self, port, folder, certs):
        self.port, self.certs = port, certs
        self.folder = os.path.join(folder, f"redis-{port}")
        os.mkdir(self.folder)
        self.server, self.got, self.handler, self.thread = None, [], None, None
        self.running = threading.Event()

    def client(self):
        return Redis(self.port, tls=self.certs and self.certs.context("bellhop"))

    def start(self):
        if self.server is None:
            tls = self.certs and [self.certs.path(n) for n in ("ca.pem", "peer.pem", "peer.key")]
            self.server = RedisServer(self.port, folder=self.folder, tls=tls)
        else:
            self.server.start()
        self.running.set()
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()
        self.wait_served()

    def stop(self):
        self.running.clear()
        if self.server is not None:
            self.server.kill()

    def wait_served(self):
        """Our peer is back."""

    def run(self):
        while True:
            self.running.wait()
            with contextlib.suppress(OSError, ValueError), self.client() as listener, self.client() as speaker:
                self.serve(listener, speaker)
            time.sleep(0.02)


class Channels(Far):
    """NestJS's server on channels out.…, by hand."""

    def wait_served(self):
        with self.client() as c:
            wait_until(lambda: c.call("PUBSUB", "NUMPAT") >= 1, "the subscription of the server")

    def serve(self, listener, speaker):
        listener.subscribe("out.*", pattern=True)
        while True:
            channel, payload = listener.message(86400)
            if not channel.endswith(".reply"):
                self.one(speaker, json.loads(payload))

    def one(self, speaker, packet):
        got = Got(packet["pattern"], packet.get("metadata", {}), text_of(packet["data"]), "id" not in packet)
        self.got.append(got)
        try:
            value = self.handler(got)
        except Err as err:
            answer = [{"err": json.loads(err.body), "isDisposed": True}]
        else:
            values = value if isinstance(value, list) else [value]
            answer = [{"response": json.loads(v)} for v in values]
            answer[-1]["isDisposed"] = True
        for part in answer if "id" in packet else ():
            speaker.call("PUBLISH", packet["pattern"] + ".reply", text_of({**part, "id": packet["id"]}))


class ChannelCaller(Caller):
    """NestJS's client, by hand: one connection sends, one listens to replies."""

    def __init__(self, far):
        self.commands, self.replies = far.client(), far.client()
        self.known, self.waiting, self.count = set(), {}, 0

    def send(self, subject, body, headers, **more):
        packet = {"pattern": subject, "data": json.loads(body), **more}
        payload = text_of({**packet, "metadata": headers} if headers else packet)
        # The server of the daemon may still be on its way to its subscription.
        wait_until(lambda: self.commands.call("PUBLISH", subject, payload), f"somebody at {subject}")

    def publish(self, subject, body, headers=None):
        self.send(subject, body, headers)

    def start(self, subject, body, headers=None):
        if subject not in self.known:
            self.known.add(subject)
            self.replies.send("SUBSCRIBE", subject + ".reply")
            wait_until(lambda: self.commands.call("PUBSUB", "NUMSUB", subject + ".reply")[1], "the reply channel")
        self.count += 1
        id = f"r{self.count}"
        self.waiting[id] = queue.Queue()
        self.send(subject, body, headers, id=id)
        return lambda timeout=20.0: self.answer(id, timeout)

    def request(self, subject, body, headers=None, timeout=20.0):
        return self.start(subject, body, headers)(timeout)

    def answer(self, id, timeout):
        items = []
        while True:
            got = self.packet(id, timeout)
            if got.get("err") is not None:
                return error_of(got["err"])._replace(items=items)
            if "response" in got:
                items.append(text_of(got["response"]))
            if got.get("isDisposed"):
                return Answer(items[:-1], items[-1] if items else b"")

    def packet(self, id, timeout):
        while self.waiting[id].empty():
            self.replies.sock.settimeout(timeout)
            got = self.replies.reply()
            if got[0] == b"message":
                packet = json.loads(got[-1])
                self.waiting[packet["id"]].put(packet)
        return self.waiting[id].get()

    def close(self):
        self.commands.close()
        self.replies.close()


class RedisNest(BrokerAdapter):
    name = "redis"
    cannot = {"ack": "Redis's pub/sub forgets a message when it has been sent to who listened",
              "pressure in": "Redis disconnects a subscriber that does not read, after client-output-buffer-limit"}
    peer = Channels

    def betray(self):
        with self.far.client() as c:
            c.call("CONFIG", "SET", "appendonly", "no")
        return "appendonly"

    def endpoints(self):
        url = f"{'rediss' if self.certs else 'redis'}://localhost:{self.port}"
        return {"far": {"connect": url, "ack": True, **({"tls": "mesh"} if self.certs else {})}}

    def source(self):
        return {"endpoint": "far", "pattern": "in.*"}

    def target(self):
        return "far"

    def caller(self):
        return ChannelCaller(self.far)

    def server(self, handler):
        self.far.handler = handler
        return self.far


class Streams(Far):
    """Reads the stream `out` from its beginning, once."""
    last = "0"

    def read(self, got):
        return got

    def serve(self, listener, speaker):
        while True:
            for _, entries in speaker.call("XREAD", "COUNT", 100, "BLOCK", 200, "STREAMS", "out", self.last) or ():
                for id, fields in entries:
                    pairs = dict(zip((f.decode() for f in fields[::2]), fields[1::2]))
                    body = pairs.pop("body")
                    headers = {k: v.decode() for k, v in pairs.items()}
                    self.got.append(self.read(Got(headers.pop("subject", "out"), headers, body, True)))
                    self.last = id.decode()


class StreamCaller(Caller):
    def __init__(self, far):
        self.client = far.client()

    def publish(self, subject, body, headers=None):
        fields = [word for pair in (headers or {}).items() for word in pair]
        self.client.call("XADD", "in", "*", "subject", subject, *fields, "body", body)

    def close(self):
        self.client.close()


class RedisStreams(RedisNest):
    name, peer = "redis stream", Streams
    cannot = {"request": "an entry of a stream has nobody to answer to"}

    def endpoints(self):
        endpoints = super().endpoints()
        return {"far": {k: v for k, v in endpoints["far"].items() if k != "ack"}}

    def source(self):
        return {"endpoint": "far", "stream": "in", "start": "0", "claim_idle": "1s"}

    def target(self):
        return {"endpoint": "far", "stream": "out"}

    def caller(self):
        return StreamCaller(self.far)


class StreamsOfEvents(Streams):
    def read(self, got):
        return from_event(got)


class EventCaller(StreamCaller):
    def publish(self, subject, body, headers=None):
        super().publish(subject, body, as_event(subject, headers))


class RedisEvents(RedisStreams):
    """The same in CloudEvents, binary mode."""
    name, peer = "redis events", StreamsOfEvents

    def endpoints(self):
        return {"far": {**super().endpoints()["far"], "codec": "cloudevents"}}

    def caller(self):
        return EventCaller(self.far)
