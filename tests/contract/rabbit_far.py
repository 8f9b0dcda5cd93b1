"""A real RabbitMQ: NestJS over queues, and an exchange in raw. Its start takes seconds: the scenarios share one."""
import atexit
import contextlib
import itertools
import json
import os
import queue
import signal
import threading
import time

from adapter import Adapter, Answer, Caller, Err, Got, as_event, from_event
from amqp_raw import Refused
from rabbit_server import Rabbit
from tcp import error_of

NUMBERS = itertools.count(1)
REPLY = "amq.rabbitmq.reply-to"


def text_of(value):
    return json.dumps(value, ensure_ascii=False).encode()


def texts(headers):
    return {k: v for k, v in headers.items() if isinstance(v, str)}


class Peer:
    """A server out there: consumes a queue, and comes back when the broker does."""

    def __init__(self, rabbit, queue):
        self.rabbit, self.queue, self.got, self.handler = rabbit, queue, [], None
        self.running, self.ended = threading.Event(), False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.ended:
            self.running.wait()
            with contextlib.suppress(OSError, ValueError, Refused), contextlib.closing(self.rabbit.connect()) as client:
                client.consume(self.queue)
                while not self.ended:
                    with contextlib.suppress(TimeoutError):
                        self.one(client, client.receive(1))
            time.sleep(0.05)

    def one(self, client, message):
        got = self.read(message)
        self.got.append(got)
        try:
            value = self.handler(got)
        except Err as err:
            value = err
        if "reply_to" not in message.properties:
            return
        values = value if isinstance(value, list) else [value]
        answer = [self.failure(message, v) if isinstance(v, Err) else self.reply(message, v, v is values[-1]) for v in values]
        for body, headers in answer:
            client.publish("", message.properties["reply_to"], body, confirm=False, headers=headers,
                           correlation_id=message.properties["correlation_id"], delivery_mode=1)


class RawPeer(Peer):
    def read(self, message):
        headers = {**texts(message.headers), "correlation-id": message.properties.get("correlation_id"),
                   "id": message.properties.get("message_id")}
        return Got(message.key, headers, message.body, "reply_to" not in message.properties)

    def reply(self, message, body, last):
        return body, {}

    def failure(self, message, err):
        return err.body, {"bellhop-error": err.code}


# The binding's two prefixes: one is sent here, the other is what the daemon sends.
SENT, READ = "cloudEvents:", "cloudEvents_"


def as_attributes(event):
    """Headers and content type of a CloudEvent, in the binding's own names."""
    event = dict(event)
    type = event.pop("content-type")
    return {(SENT + k[3:] if k.startswith("ce-") else k): v for k, v in event.items()}, type


class EventPeer(RawPeer):
    def read(self, message):
        got = super().read(message)
        return from_event(got._replace(headers={k.replace(READ, "ce-"): v for k, v in got.headers.items()}))

    def reply(self, message, body, last):
        return body, as_attributes(as_event("reply", {}))[0]

    def failure(self, message, err):
        return err.body, as_attributes(as_event("failure", {"bellhop-error": err.code}))[0]


class NestPeer(Peer):
    def read(self, message):
        packet = json.loads(message.body)
        headers = {**texts(message.headers), "correlation-id": message.properties.get("correlation_id"),
                   "id": message.properties.get("message_id"), **packet.get("metadata", {})}
        return Got(packet["pattern"], headers, text_of(packet["data"]), "id" not in packet)

    def reply(self, message, body, last):
        packet = {"response": json.loads(body), "id": json.loads(message.body)["id"]}
        return text_of({**packet, **({"isDisposed": True} if last else {})}), {}

    def failure(self, message, err):
        return text_of({"err": json.loads(err.body), "isDisposed": True, "id": json.loads(message.body)["id"]}), {}


class RabbitCaller(Caller):
    """One connection sends, one listens at the reply queue that the broker lends."""

    def __init__(self, far):
        self.far, self.count, self.waiting = far, 0, {}
        self.client = far.rabbit.connect()
        self.asker = far.rabbit.connect()
        self.asker.consume(REPLY)

    def publish(self, subject, body, headers=None):
        self.send(self.client, subject, body, headers)

    def send(self, client, subject, body, headers, **properties):
        headers = dict(headers or {})
        own = {"message_id": headers.pop("id", None), "correlation_id": headers.pop("correlation-id", None), **properties}
        body, exchange, key = self.packet(subject, body, own)
        client.publish(exchange, key, body, headers=headers, **{k: v for k, v in own.items() if v is not None})

    def start(self, subject, body, headers=None):
        self.count += 1
        id = f"r{self.count}"
        self.waiting[id] = queue.Queue()
        self.send(self.asker, subject, body, headers, reply_to=REPLY, correlation_id=id)
        return lambda timeout=20.0: self.answer(id, timeout)

    def request(self, subject, body, headers=None, timeout=20.0):
        return self.start(subject, body, headers)(timeout)

    def answer(self, id, timeout):
        items = []
        while True:
            while self.waiting[id].empty():
                got = self.asker.receive(timeout)
                self.waiting[got.properties["correlation_id"]].put(got)
            got = self.read(self.waiting[id].get())
            if got.code is not None:
                return got._replace(items=items)
            items += got.items
            if got.body is not None:
                return got._replace(items=items)

    def close(self):
        self.client.close()
        self.asker.close()


class RawCaller(RabbitCaller):
    def packet(self, subject, body, own):
        return body, self.far.exchange, subject

    def read(self, message):
        return Answer([], message.body, message.headers.get("bellhop-error"))


class EventCaller(RawCaller):
    def send(self, client, subject, body, headers, **properties):
        headers, type = as_attributes(as_event(subject, headers))
        super().send(client, subject, body, headers, content_type=type, **properties)

    def read(self, message):
        required = [message.headers.get(READ + k) for k in ("specversion", "id", "source")]
        if required != ["1.0", "m-0", "/far"] or not message.headers.get(READ + "type", "").startswith("in."):
            raise AssertionError(f"an answer that is no CloudEvent about what was asked: {message}")
        return super().read(message)


class NestCaller(RabbitCaller):
    def packet(self, subject, body, own):
        packet = {"pattern": subject, "data": json.loads(body)}
        if own.get("reply_to"):
            packet["id"] = own["correlation_id"]
        return text_of(packet), "", self.far.inbox

    def read(self, message):
        packet = json.loads(message.body)
        if packet.get("err") is not None:
            return error_of(packet["err"])
        value = [text_of(packet["response"])] if "response" in packet else []
        if not packet.get("isDisposed"):
            return Answer(value, None)
        return Answer([], value[0] if value else b"")


class RabbitRaw(Adapter):
    name, shared, codec, peer, client = "rabbit", True, "raw", RawPeer, RawCaller
    cannot = {"stream": "a reply in raw is one message: AMQP has no word for `more is to come`",
              "doctor": "AMQP does not tell a client how a queue was declared"}
    broker = None

    def __init__(self, folder, certs=None):
        super().__init__(folder, certs)
        if certs:
            certs.issue("broker")
            self.rabbit = Rabbit(certs)
        else:
            self.rabbit = RabbitRaw.broker = RabbitRaw.broker or Rabbit()
            atexit.register(self.rabbit.close)
        self.port = self.rabbit.tls_port if certs else self.rabbit.port
        number = f"{os.getpid()}-{next(NUMBERS)}"
        self.exchange, self.inbox, self.outbox = f"x-{number}", f"in-{number}", f"out-{number}"
        self.far = self.peer(self.rabbit, self.outbox)
        if self.running():
            self.declare()  # before the daemon: what has no queue yet is refused for good

    def running(self):
        return self.rabbit.process.poll() is None

    def declare(self):
        with contextlib.closing(self.rabbit.connect()) as c:
            c.exchange(self.exchange)
            for queue_name, key in ((self.inbox, "in.#"), (self.outbox, "out.#")):
                c.declare(queue_name)
                c.bind(queue_name, self.exchange, key)

    def start(self):
        if not self.running():
            self.rabbit.start()
        self.declare()
        self.far.running.set()

    def stop(self):
        self.far.running.clear()
        if self.running():
            self.rabbit.end(signal.SIGKILL)

    def freeze(self):
        self.rabbit.stop_signal(signal.SIGSTOP)

    def thaw(self):
        self.rabbit.stop_signal(signal.SIGCONT)

    def close(self):
        self.far.ended = True
        self.far.running.set()
        if self.certs:
            self.rabbit.close()

    def endpoints(self):
        scheme, more = ("amqps", {"tls": "mesh"}) if self.certs else ("amqp", {})
        return {"far": {"connect": f"{scheme}://guest:guest@localhost:{self.port}/", "codec": self.codec, **more}}

    def source(self):
        return {"endpoint": "far", "queue": self.inbox}

    def target(self):
        return {"endpoint": "far", "exchange": self.exchange}

    def caller(self):
        return self.client(self)

    def server(self, handler):
        self.far.handler = handler
        return self.far


class RabbitEvents(RabbitRaw):
    """The same in CloudEvents, binary mode."""
    name, codec, peer, client = "rabbit events", "cloudevents", EventPeer, EventCaller


class RabbitNest(RabbitRaw):
    name, codec, peer, client = "rabbit nest", "nest", NestPeer, NestCaller
    cannot = {"doctor": RabbitRaw.cannot["doctor"]}

    def target(self):
        return {"endpoint": "far", "queue": self.outbox}
