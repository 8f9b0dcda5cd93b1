"""A client of AMQP 0-9-1 by hand: what the tests put into the real broker and take out of it. Shares no code with the
daemon."""
import collections
import socket
import struct

Message = collections.namedtuple("Message", "body headers properties exchange key redelivered tag")
PROPERTIES = [("content_type", "s"), ("content_encoding", "s"), ("headers", "F"), ("delivery_mode", "o"), ("priority", "o"),
              ("correlation_id", "s"), ("reply_to", "s"), ("expiration", "s"), ("message_id", "s"), ("timestamp", "q"),
              ("type", "s"), ("user_id", "s"), ("app_id", "s"), ("cluster_id", "s")]


class Refused(Exception):
    """channel.close or connection.close; its arguments are the code and the text."""


def short(text):
    raw = text.encode()
    return bytes([len(raw)]) + raw


def long(raw):
    raw = raw.encode() if isinstance(raw, str) else raw
    return struct.pack(">I", len(raw)) + raw


def value(v):
    if isinstance(v, bool):
        return b"t" + bytes([v])
    if isinstance(v, int):
        return b"l" + struct.pack(">q", v)
    if isinstance(v, float):
        return b"d" + struct.pack(">d", v)
    if isinstance(v, dict):
        return b"F" + table(v)
    if isinstance(v, list):
        return b"A" + long(b"".join(map(value, v)))
    return b"S" + long(v)


def table(items):
    return long(b"".join(short(k) + value(v) for k, v in items.items()))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def short(self):
        return self.take(self.number("B")).decode()

    def value(self):
        kind = self.take(1)
        fixed = {b"b": "b", b"B": "B", b"s": "h", b"u": "H", b"I": "i", b"i": "I", b"l": "q", b"L": "Q", b"T": "Q",
                 b"f": "f", b"d": "d"}
        if kind in fixed:
            return self.number(fixed[kind])
        if kind == b"t":
            return bool(self.number("B"))
        if kind == b"F":
            return self.table()
        if kind == b"V":
            return None
        raw = self.take(self.number("I"))
        if kind == b"A":
            inner, items = Reader(raw), []
            while inner.at < len(raw):
                items.append(inner.value())
            return items
        return raw.decode("utf-8", "replace") if kind == b"S" else raw

    def table(self):
        inner, items = Reader(self.take(self.number("I"))), {}
        while inner.at < len(inner.data):
            name = inner.short()
            items[name] = inner.value()
        return items


class Amqp:
    """A connection with one channel, blocking."""

    def __init__(self, port, user="guest", password="guest", vhost="/", timeout=20):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.delivered, self.returned, self.confirmed, self.tag = [], [], set(), 0
        self.incoming = None
        self.sock.sendall(b"AMQP\0\0\x09\x01")
        self.wait(10, 10)
        self.method(0, 10, 11, table({}) + short("PLAIN") + long(f"\0{user}\0{password}") + short("en_US"))
        _, args = self.wait(10, 30)
        self.method(0, 10, 31, args.data[:8])
        self.method(0, 10, 40, short(vhost) + short("") + b"\0")
        self.wait(10, 41)
        self.open()

    # ---- frames

    def frame(self, kind, channel, payload):
        return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"

    def method(self, channel, klass, id, args=b""):
        self.sock.sendall(self.frame(1, channel, struct.pack(">HH", klass, id) + args))

    def fill(self, n):
        while len(self.buffer) < n:
            piece = self.sock.recv(262144)
            if not piece:
                raise ConnectionError("closed by the broker")
            self.buffer += piece

    def next_frame(self):
        self.fill(7)
        kind, channel, size = struct.unpack(">BHI", self.buffer[:7])
        self.fill(size + 8)
        payload = bytes(self.buffer[7:size + 7])
        del self.buffer[:size + 8]
        return kind, channel, payload

    def step(self):
        """Reads one frame; (class, method), arguments where it is a method that nobody here has dealt with."""
        kind, channel, payload = self.next_frame()
        if kind == 1:
            args = Reader(payload)
            id = (args.number("H"), args.number("H"))
            args.data, args.at = payload[4:], 0
            return self.on_method(id, args)
        if kind == 2:
            self.on_header(Reader(payload))
        elif kind == 3:
            self.incoming["body"] += payload
        elif kind == 8:
            self.sock.sendall(self.frame(8, 0, b""))
        if self.incoming and self.incoming.get("size") == len(self.incoming["body"]):
            self.on_content()
        return None

    def on_method(self, id, args):
        if id in ((10, 50), (20, 40)):
            code, text = args.number("H"), args.short()
            self.method(1 if id[0] == 20 else 0, id[0], id[1] + 1)
            raise Refused(code, text)
        if id == (60, 60):
            args.short()
            self.incoming = {"kind": self.delivered, "tag": args.number("Q"), "redelivered": bool(args.number("B")),
                             "exchange": args.short(), "key": args.short(), "body": b""}
        elif id == (60, 71):
            self.incoming = {"kind": self.delivered, "tag": args.number("Q"), "redelivered": bool(args.number("B")),
                             "exchange": args.short(), "key": args.short(), "body": b""}
        elif id == (60, 50):
            code = args.number("H")
            args.short()
            self.incoming = {"kind": self.returned, "tag": code, "redelivered": False, "exchange": args.short(),
                             "key": args.short(), "body": b""}
        elif id == (60, 80):
            tag, multiple = args.number("Q"), args.number("B")
            self.confirmed |= set(range(1, tag + 1)) if multiple else {tag}
        else:
            return id, args
        return None

    def on_header(self, raw):
        raw.number("H"), raw.number("H")
        self.incoming["size"] = raw.number("Q")
        flags, properties = raw.number("H"), {}
        for i, (name, form) in enumerate(PROPERTIES):
            if flags & (0x8000 >> i):
                read = {"s": raw.short, "F": raw.table, "o": lambda: raw.number("B"), "q": lambda: raw.number("Q")}
                properties[name] = read[form]()
        self.incoming["properties"] = properties

    def on_content(self):
        m, self.incoming = self.incoming, None
        headers = m["properties"].pop("headers", {})
        m["kind"].append(Message(m["body"], headers, m["properties"], m["exchange"], m["key"], m["redelivered"], m["tag"]))

    def wait(self, klass, id):
        while True:
            got = self.step()
            if got and got[0] == (klass, id):
                return got

    # ---- what tests ask for

    def open(self):
        """A channel with confirms, also after one was refused."""
        self.method(1, 20, 10, short(""))
        self.wait(20, 11)
        self.method(1, 85, 10, b"\0")
        self.wait(85, 11)
        self.tag, self.confirmed = 0, set()

    def declare(self, queue, durable=True, exclusive=False, passive=False, **arguments):
        """(messages, consumers)"""
        bits = passive | durable << 1 | exclusive << 2
        self.method(1, 50, 10, b"\0\0" + short(queue) + bytes([bits]) + table(arguments))
        _, args = self.wait(50, 11)
        args.short()
        return args.number("I"), args.number("I")

    def exists(self, queue):
        try:
            self.declare(queue, passive=True)
        except Refused:
            self.open()
            return False
        return True

    def delete(self, queue):
        self.method(1, 50, 40, b"\0\0" + short(queue) + b"\0")
        self.wait(50, 41)

    def exchange(self, name, kind="topic", durable=True):
        self.method(1, 40, 10, b"\0\0" + short(name) + short(kind) + bytes([durable << 1]) + table({}))
        self.wait(40, 11)

    def delete_exchange(self, name):
        self.method(1, 40, 20, b"\0\0" + short(name) + b"\0")
        self.wait(40, 21)

    def bind(self, queue, exchange, key):
        self.method(1, 50, 20, b"\0\0" + short(queue) + short(exchange) + short(key) + b"\0" + table({}))
        self.wait(50, 21)

    def publish(self, exchange, key, body=b"", confirm=True, headers=None, **properties):
        body = body.encode() if isinstance(body, str) else body
        all = {**({"headers": headers} if headers else {}), "delivery_mode": 2, **properties}
        flags, raw = 0, b""
        for i, (name, form) in enumerate(PROPERTIES):
            if name in all:
                flags |= 0x8000 >> i
                pack = {"s": short, "F": table, "o": lambda v: bytes([v]), "q": lambda v: struct.pack(">Q", v)}
                raw += pack[form](all[name])
        data = self.frame(1, 1, struct.pack(">HHH", 60, 40, 0) + short(exchange) + short(key) + b"\0")
        data += self.frame(2, 1, struct.pack(">HHQH", 60, 0, len(body), flags) + raw)
        for at in range(0, len(body), 131000):
            data += self.frame(3, 1, body[at:at + 131000])
        self.sock.sendall(data)
        self.tag += 1
        while confirm and self.tag not in self.confirmed:
            self.step()

    def confirm_all(self):
        while len(self.confirmed) < self.tag:
            self.step()

    def get(self, queue):
        """The next message, acknowledged; None where there is none."""
        self.method(1, 60, 70, b"\0\0" + short(queue) + b"\1")
        before = len(self.delivered)
        while len(self.delivered) == before:
            got = self.step()
            if got and got[0] == (60, 72):
                return None
        return self.delivered.pop()

    def drain(self, queue):
        """All that is in it, at least; acknowledged."""
        count = self.depth(queue)
        if count == 0:
            return []
        self.consume(queue, tag="drain")
        while len(self.delivered) < count:
            self.step()
        self.method(1, 60, 30, short("drain") + b"\0")
        self.wait(60, 31)
        messages, self.delivered[:] = list(self.delivered), []
        return messages

    def consume(self, queue, no_ack=True, tag=""):
        self.method(1, 60, 20, b"\0\0" + short(queue) + short(tag) + bytes([no_ack << 1]) + table({}))
        self.wait(60, 21)

    def receive(self, timeout=20):
        self.sock.settimeout(timeout)
        while not self.delivered:
            self.step()
        return self.delivered.pop(0)

    def depth(self, queue):
        return self.declare(queue, passive=True)[0]

    def close(self):
        self.sock.close()
