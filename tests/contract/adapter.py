"""What the suite needs to know of a transport. A transport is stamped by one line in run.py; its adapter is
the only code of its own. Both directions are asked for:

    in    a caller out there -> daemon -> local service
    out   a local caller -> daemon -> a server out there

The far end (the broker, or the peer itself where there is none) lives at one address for the adapter's life and can
be stopped and started there. Bodies are JSON texts, subjects words with dots: every codec carries those."""
import collections
import contextlib
import os
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from harness import Service, free_port  # noqa: E402

Err = Service.Err  # a server's handler raises it

# What a server out there got. event: no answer was asked for.
Got = collections.namedtuple("Got", "subject headers body event")
# What a caller out there got: items and the last body of a stream, or the detail of an error and its code as far as the
# protocol tells one ("no-route", else "failed").
Answer = collections.namedtuple("Answer", "items body code", defaults=(None,))

# What a scenario may need. An adapter names in `cannot` those that its protocol does not have, and why.
ABILITIES = {
    "request": "requests with replies",
    "stream": "replies of several items",
    "error": "a reply that says it is an error",
    "unknown": "a caller is told that nobody serves its subject",
    "headers": "headers beside the body",
    "ack": "the source is told when a message is settled, and sends it again otherwise",
    "confirm": "the target says that it has taken an event",
    "pressure in": "a source that waits when it is not read",
    "pressure out": "a target that stops reading is noticed before memory is",
    "tls": "TLS",
    "doctor": "settings of the far end can be asked for",
}


def as_event(subject, headers):
    """Headers as a CloudEvents producer would send them."""
    headers = dict(headers or {})
    event = {"ce-specversion": "1.0", "ce-type": subject, "ce-source": "/contract", "ce-id": headers.pop("id", "m-0")}
    return {**event, "content-type": "application/json", **headers}


def from_event(got):
    """What came as a CloudEvent, under the names that the suite asks for."""
    required = {k: got.headers.pop(f"ce-{k}") for k in ("specversion", "id", "source", "type")}
    if (required["specversion"], required["type"], required["source"]) != ("1.0", got.subject, "/tester"):
        raise AssertionError(f"no CloudEvent: {required} {got}")
    return got._replace(headers={**got.headers, "id": required["id"]})


class Listener:
    """A port that a far end listens on, gives up and takes again. serve(sock) runs in a thread for each connection;
    took(sock) is called before it, drop() ends all of them. `reading` is unset while it is not to read."""

    def __init__(self, port):
        self.port, self.listener, self.reading = port, None, threading.Event()
        self.reading.set()

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        if self.listener is not None:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self.drop()
        self.reading.set()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                sock = listener.accept()[0]
                self.took(sock)
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def took(self, sock):
        pass


class Adapter:
    name = None  # as the table shows it
    shared = False  # its scenarios run one after the other in one process: a far end that is slow to start
    daemon = "bellhopd"  # beside BELLHOPD: the fake has one of its own
    cannot = {}  # ability -> the reason, a sentence about the protocol

    def __init__(self, folder, certs=None):
        """folder: for its files. certs: harness.Certificates with `bellhop` and `peer` issued: use TLS, and ask
        the daemon for its certificate. Who needs it down calls stop()."""
        self.folder, self.certs = folder, certs

    def start(self):
        """The far end serves when this returns; the same address each time."""

    def stop(self):
        """The far end is gone at once, its connections too and what it had not read or answered; what it had stored may
        stay. Frozen or not."""

    def freeze(self):
        """The far end reads no more, and answers nobody."""

    def thaw(self):
        pass

    def betray(self):
        """Gives the far end a setting that betrays the promise; words of what `bellhop doctor` has to say about it."""

    def close(self):
        self.stop()

    port = None  # of the far end, for a scenario that puts something else there

    def endpoints(self):
        """The endpoints of the configuration. Where certs are given, `tls: mesh` is a profile of the daemon's."""

    def source(self):
        """`from` of a route that takes what callers send under in.…"""

    def target(self):
        """`to` of a route whose messages (out.…) reach the server; as safe as the transport can."""

    def caller(self):
        """A Caller, connected."""

    def server(self, handler):
        """Has handler(got) answer what the daemon sends: a body, a list of bodies (a stream), or Err. At most one server at
        a time; it stays through stop() and start(). Its .got is the list of what came."""


class BrokerAdapter(Adapter):
    """A far end that is a broker of its own, with what answers there. peer: its class, of (port, folder, certificates), whose
    `server` is the broker's process."""
    peer = None

    def __init__(self, folder, certs=None):
        super().__init__(folder, certs)
        self.port = free_port()
        self.far = self.peer(self.port, folder, certs)

    def start(self):
        self.far.start()

    def stop(self):
        self.far.stop()

    def freeze(self):
        self.far.server.freeze()

    def thaw(self):
        self.far.server.thaw()


class Caller:
    def publish(self, subject, body, headers=None):
        """An event; returns when it is sent (and confirmed, where the protocol confirms)."""

    def request(self, subject, body, headers=None, timeout=20.0):
        """An Answer."""

    def start(self, subject, body, headers=None):
        """The same without waiting: a function that waits for the Answer."""

    def close(self):
        pass
