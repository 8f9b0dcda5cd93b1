"""A real nats-server: NestJS, raw and CloudEvents over core NATS."""
import contextlib
import json
import os
import threading
import time

from adapter import Answer, BrokerAdapter, Caller, Err, Got, as_event, from_event
from harness import wait_until
from nats_server import NatsServer
from tcp import error_of


def text_of(value):
    return json.dumps(value, ensure_ascii=False).encode()


class Far:
    """The server, and a peer of ours at out.…, which comes back with it."""

    def __init__(self, port, folder, certs):
        self.folder = os.path.join(folder, f"nats-{port}")
        os.mkdir(self.folder)
        tls = certs and [certs.path(n) for n in ("ca.pem", "peer.pem", "peer.key")]
        # A subscriber that does not read is given time: it is the daemon that is looked at here.
        self.server = NatsServer(port, self.folder, tls, start=False, max_payload="8MB", max_pending="64MB", write_deadline='"60s"')
        self.got, self.handler, self.running = [], None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.server.start()
        self.running.set()
        if not self.thread.is_alive():
            self.thread.start()
        wait_until(lambda: self.subscribed("out"), "the subscription of the server")

    def subscribed(self, name):
        found = [c.get("subscriptions_list", ()) for c in self.server.connections(name)]
        return any(s.startswith(("in.", "out.")) for subs in found for s in subs)

    def stop(self):
        self.running.clear()
        if self.server.process is not None:
            self.server.kill()

    def run(self):
        while True:
            self.running.wait()
            with contextlib.suppress(OSError, ValueError), self.server.client(name="out") as client:
                client.sub("out.>")
                while True:
                    self.one(client, client.message(86400))
            time.sleep(0.02)

    def one(self, client, message):
        got = self.read(message)
        self.got.append(got)
        try:
            value = self.handler(got)
        except Err as err:
            value = err
        if message.reply:
            self.answer(client, message, value)
            client.flush()

    def read(self, message):
        headers = {k.lower(): v for k, v in message.headers.items()}
        return Got(message.subject, headers, message.body, message.reply is None)

    def answer(self, client, message, value):
        if isinstance(value, Err):
            client.publish(message.reply, value.body, {"bellhop-error": value.code})
        else:
            client.publish(message.reply, value)


class NestFar(Far):
    """NestJS's server, by hand."""

    def read(self, message):
        return super().read(message)._replace(body=text_of(json.loads(message.body)["data"]))

    def answer(self, client, message, value):
        if isinstance(value, Err):
            answer = [{"err": json.loads(value.body), "isDisposed": True}]
        else:
            answer = [{"response": json.loads(v)} for v in (value if isinstance(value, list) else [value])]
            answer[-1]["isDisposed"] = True
        for part in answer:
            client.publish(message.reply, text_of({**part, "id": json.loads(message.body)["id"]}))


class EventsFar(Far):
    def read(self, message):
        got = super().read(message)
        if got.headers.pop("ce-datacontenttype", None) != got.headers.get("content-type"):
            raise AssertionError(f"two content types: {got}")
        return from_event(got)


class NatsCaller(Caller):
    def __init__(self, far):
        wait_until(lambda: far.subscribed("bellhop"), "the subscription of the daemon")
        self.client, self.inbox, self.count, self.answers = far.server.client(name="caller"), f"_INBOX.{os.urandom(4).hex()}", 0, {}
        self.client.sub(self.inbox + ".*")

    def publish(self, subject, body, headers=None):
        self.client.publish(subject, *self.pack(subject, body, headers, {}))
        self.client.flush()

    def start(self, subject, body, headers=None):
        self.count += 1
        inbox = f"{self.inbox}.{self.count}"
        self.answers[inbox] = []
        self.client.publish(subject, *self.pack(subject, body, headers, {"id": f"r{self.count}"}), inbox)
        return lambda timeout=20.0: self.answer(inbox, timeout)

    def request(self, subject, body, headers=None, timeout=20.0):
        return self.start(subject, body, headers)(timeout)

    def next(self, inbox, timeout):
        while not self.answers[inbox]:
            got = self.client.message(timeout)
            self.answers[got.subject].append(got)
        return self.answers[inbox].pop(0)

    def pack(self, subject, body, headers, more):
        return body, headers

    def answer(self, inbox, timeout):
        got = self.next(inbox, timeout)
        return Answer([], got.body, got.headers.get("bellhop-error"))

    def close(self):
        self.client.close()


class EventCaller(NatsCaller):
    def pack(self, subject, body, headers, more):
        return body, as_event(subject, headers)

    def next(self, inbox, timeout):
        got = super().next(inbox, timeout)
        required = [got.headers.get("ce-" + k) for k in ("specversion", "id", "source")]
        if required != ["1.0", "m-0", "/far"] or not got.headers.get("ce-type", "").startswith("in."):
            raise AssertionError(f"an answer that is no CloudEvent about what was asked: {got}")
        return got


class NestCaller(NatsCaller):
    def pack(self, subject, body, headers, more):
        return text_of({"pattern": subject, "data": json.loads(body), **more}), headers

    def answer(self, inbox, timeout):
        items = []
        while True:
            got = json.loads(self.next(inbox, timeout).body)
            if got.get("err") is not None:
                return error_of(got["err"])._replace(items=items)
            if "response" in got:
                items.append(text_of(got["response"]))
            if got.get("isDisposed"):
                return Answer(items[:-1], items[-1] if items else b"")


class NatsNest(BrokerAdapter):
    name, codec, peer, calls = "nats", "nest", NestFar, NestCaller
    cannot = {"ack": "core NATS forgets a message when it has been sent to who listened"}

    def betray(self):
        self.far.stop()
        self.far.server.options["max_payload"] = "100KB"
        self.far.start()
        wait_until(lambda: len(self.far.server.connections()) == 2, "both connections of the daemon")
        return "max_payload"

    def endpoints(self):
        url = f"{'natss' if self.certs else 'nats'}://localhost:{self.port}"
        return {"far": {"connect": url, "codec": self.codec, **({"tls": "mesh"} if self.certs else {})}}

    def source(self):
        return {"endpoint": "far", "subject": "in.>"}

    def target(self):
        return {"endpoint": "far", "ack": "yes"}

    def caller(self):
        return self.calls(self.far)

    def server(self, handler):
        self.far.handler = handler
        return self.far


class NatsRaw(NatsNest):
    name, codec, peer, calls = "nats raw", "raw", Far, NatsCaller
    cannot = {**NatsNest.cannot, "stream": "a reply in raw is one message: NATS has no word for `more is to come`"}


class NatsEvents(NatsRaw):
    """CloudEvents in binary mode, and without `ack`."""
    name, codec, peer, calls = "nats events", "cloudevents", EventsFar, EventCaller
    cannot = {**NatsRaw.cannot, "confirm": "a PONG says that the server has taken an event, not that a subscriber has it"}

    def target(self):
        return "far"
