"""The broker of the fake transport (fake/internal.h has its protocol), for a daemon that has it: a queue `in`, and a server
that answers what is sent."""
import collections
import contextlib
import itertools
import queue
import socket
import threading

from adapter import Adapter, Answer, Caller, Err, Got, Listener, as_event, from_event
from harness import Local, free_port

Message = collections.namedtuple("Message", "verb subject headers body answers")


class Connection(Local):
    """One daemon at the broker: Local's frames, from the other end."""

    def __init__(self, broker, sock):
        self.sock, self.broker = sock, broker
        self.buffer, self.lock, self.last_id = bytearray(), threading.Lock(), 0
        self.credit, self.held, self.sub, self.dead = 0, {}, None, False

    def say(self, *arguments, **more):
        with contextlib.suppress(OSError):
            self.send(*arguments, **more)

    def serve(self):
        with contextlib.suppress(OSError, ValueError):
            while (got := self.recv(86400)) is not None:
                self.broker.reading.wait()
                if self.dead:
                    return
                self.take(got)

    def take(self, got):
        if got.verb == "HELLO":
            self.say("HELLO")
        elif got.verb == "SUB":
            self.sub, self.credit = got.id, int(got.headers["credit"])
        elif got.verb == "UNSUB":
            self.sub = None
        elif got.verb in ("PUB", "REQ"):
            self.answer(got)
        elif got.verb == "PING":
            self.say("PONG", got.id, body=self.broker.trouble)
        elif got.id in self.held:
            self.settle(got)
        self.broker.deliver()

    def settle(self, got):
        message = self.held[got.id]
        if got.verb != "MORE":
            del self.held[got.id]
        if message.answers:
            message.answers.put(got)

    def answer(self, got):
        event = got.verb == "PUB"
        self.broker.got.append(self.broker.read(Got(got.subject, got.headers, got.body, event)))
        try:
            value = self.broker.handler(self.broker.got[-1])
        except Err as err:
            self.say("ERR", got.id, err.code, body=err.body)
            return
        if event:
            self.say("OK", got.id)
            return
        *items, last = value if isinstance(value, list) else [value]
        for item in items:
            self.say("MORE", got.id, body=item)
        self.say("REP", got.id, body=last)


class Broker(Listener):
    def __init__(self, port, certs):
        super().__init__(port)
        self.certs, self.got, self.handler, self.read = certs, [], None, lambda got: got
        self.connections, self.stored, self.lock = [], collections.deque(), threading.RLock()
        self.trouble = ""
        self.numbers = itertools.count(1)

    def drop(self):
        with self.lock:
            for c in self.connections:
                c.dead = True
                with contextlib.suppress(OSError):
                    c.sock.shutdown(socket.SHUT_RDWR)

    def serve(self, sock):
        try:
            tls = self.certs and self.certs.context("peer", server=True)
            connection = Connection(self, tls.wrap_socket(sock, server_side=True) if tls else sock)
        except OSError:
            sock.close()
            return
        with self.lock:
            self.connections.append(connection)
        connection.serve()
        with self.lock:
            self.connections.remove(connection)
            self.stored.extendleft(reversed(connection.held.values()))
        connection.close()
        self.deliver()

    def put(self, message):
        with self.lock:
            self.stored.append(message)
        self.deliver()

    def deliver(self):
        """What is stored goes to whoever has credit."""
        with self.lock:
            for c in self.connections:
                while self.stored and c.sub is not None and len(c.held) < c.credit and self.reading.is_set():
                    message, number = self.stored.popleft(), next(self.numbers)
                    c.held[number] = message
                    c.say(message.verb, number, message.subject, {"sub": str(c.sub), **message.headers}, message.body)


class FakeCaller(Caller):
    def __init__(self, broker):
        self.broker = broker

    def publish(self, subject, body, headers=None):
        self.broker.put(Message("PUB", subject, headers or {}, body, None))

    def start(self, subject, body, headers=None):
        answers = queue.Queue()
        self.broker.put(Message("REQ", subject, headers or {}, body, answers))

        def wait(timeout=20.0):
            items = []
            while (got := answers.get(timeout=timeout)).verb == "MORE":
                items.append(got.body)
            return Answer(items, got.body, got.subject if got.verb == "ERR" else None)
        return wait

    def request(self, subject, body, headers=None, timeout=20.0):
        return self.start(subject, body, headers)(timeout)


class EventCaller(FakeCaller):
    def publish(self, subject, body, headers=None):
        super().publish(subject, body, as_event(subject, headers))

    def start(self, subject, body, headers=None):
        return super().start(subject, body, as_event(subject, headers))


class Fake(Adapter):
    name, daemon, codec = "fake", "bellhopd-fake", "raw"

    def __init__(self, folder, certs=None):
        super().__init__(folder, certs)
        self.port = free_port()
        self.broker = Broker(self.port, certs)

    def start(self):
        self.broker.start()

    def stop(self):
        self.broker.stop()

    def freeze(self):
        self.broker.reading.clear()

    def thaw(self):
        self.broker.reading.set()
        self.broker.deliver()

    def betray(self):
        self.broker.trouble = "it forgets at a restart"
        return self.broker.trouble

    def endpoints(self):
        url = f"{'fakes' if self.certs else 'fake'}://localhost:{self.port}"
        return {"far": {"connect": url, "codec": self.codec, **({"tls": "mesh"} if self.certs else {})}}

    def source(self):
        return {"endpoint": "far", "queue": "in"}

    def target(self):
        return "far"

    def caller(self):
        return FakeCaller(self.broker)

    def server(self, handler):
        self.broker.handler = handler
        return self.broker


class FakeEvents(Fake):
    """The same in CloudEvents, binary mode."""
    name, codec = "fake events", "cloudevents"

    def caller(self):
        return EventCaller(self.broker)

    def server(self, handler):
        self.broker.read = from_event
        return super().server(handler)
