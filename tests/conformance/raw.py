"""The local protocol from its specification alone, on purpose without a line of the clients: parser, peer, recorder."""
import collections
import os
import queue
import random
import re
import socket
import threading
import time

Frame = collections.namedtuple("Frame", "verb id subject headers body")
LINE = re.compile(rb"([A-Z]+) (0|[1-9][0-9]{0,19}) (0|[1-9][0-9]*) (0|[1-9][0-9]*)(?: ([^\x00-\x1f\x7f]{1,1024}))?\Z")
HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+: ?[^\x00-\x1f\x7f]*\Z")
VERBS = {"HELLO", "PUB", "REQ", "OK", "MORE", "REP", "ERR", "SUB", "UNSUB", "WAIT", "CANCEL", "CREDIT", "PING", "PONG", "BYE"}


class Bad(Exception):
    pass


def parse(data):
    """(frame, bytes it took) of the first whole frame in data, or (None, 0). Raises Bad."""
    end = data.find(b"\n")
    if end < 0:
        return None, 0
    m = LINE.match(data[:end])
    if not m or m[1].decode() not in VERBS:
        raise Bad(f"bad line {bytes(data[:min(end, 120)])!r}")
    hlen, blen = int(m[3]), int(m[4])
    if hlen > 65536 or len(data) < end + 1 + hlen + blen:
        if hlen > 65536:
            raise Bad("headers above 64 KiB")
        return None, 0
    lines = bytes(data[end + 1:end + 1 + hlen]).decode().split("\n")
    if lines.pop() or len(lines) > 128 or not all(map(HEADER.match, lines)):
        raise Bad(f"bad headers {lines!r}")
    headers = [(n, v[1:] if v[:1] == " " else v) for n, _, v in (h.partition(":") for h in lines)]
    total = end + 1 + hlen + blen
    return Frame(m[1].decode(), int(m[2]), (m[5] or b"").decode(), headers, bytes(data[total - blen:total])), total


def build(verb, id=0, subject="", headers=(), body=b""):
    raw = "".join(f"{n}: {v}\n" for n, v in headers).encode()
    line = f"{verb} {id} {len(raw)} {len(body)}" + (f" {subject}" if subject else "")
    return line.encode() + b"\n" + raw + body


def header(frame, name):
    return next((v for n, v in frame.headers if n == name), None)


class Splitter:
    """Frames of a byte stream. The buffer keeps its place, so that a large body is not scanned again and again."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        frames = []
        while True:
            frame, took = parse(self.buffer)
            if frame is None:
                return frames
            del self.buffer[:took]
            frames.append(frame)


class Peer:
    """A service in the test's own process. `serve[subject or prefix ending in .]` = function(peer, frame), run by the
    reader's thread; deliveries that nothing serves are kept in `deliveries` and answered OK or REP."""

    def __init__(self, path, name, credit=64, serve=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.serve, self.frames, self.deliveries = serve or {}, [], []
        self.answers, self.last, self.lock = collections.defaultdict(queue.Queue), 0, threading.Lock()
        self.hello = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.send("HELLO", 0, name, [("version", "1"), ("credit", credit)])
        frame = self.hello.get(timeout=5)
        assert frame.verb == "HELLO", f"HELLO of {name} got {frame}"

    def send(self, *frame):
        with self.lock:
            self.sock.sendall(build(*frame))

    def ask(self, verb, subject, body=b"", headers=()):
        """Sends under a new id, which it returns."""
        with self.lock:
            self.last += 1
            ident = self.last
            self.answers[ident]
            self.sock.sendall(build(verb, ident, subject, headers, body))
        return ident

    def final(self, ident, timeout=5):
        """(the items of MORE, the final frame)."""
        items, until = [], time.monotonic() + timeout
        while True:
            try:
                frame = self.answers[ident].get(timeout=max(0.001, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no answer to {ident} in {timeout} s") from None
            if frame.verb != "MORE":
                return items, frame
            items.append(frame.body)

    def call(self, verb, subject, body=b"", headers=(), timeout=5):
        return self.final(self.ask(verb, subject, body, headers), timeout)[1]

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(5)
        self.sock.close()

    def _read(self):
        splitter = Splitter()
        try:
            while True:
                data = self.sock.recv(1 << 18)
                if not data:
                    break
                for frame in splitter.feed(data):
                    self._act(frame)
        except OSError:
            pass
        self.hello.put(Frame("END", 0, "", [], b""))
        for answers in list(self.answers.values()):
            answers.put(Frame("ERR", 0, "connection-lost", [], b""))

    def _act(self, frame):
        self.frames.append(frame)
        if frame.verb == "HELLO" or (frame.verb == "ERR" and frame.id == 0):
            self.hello.put(frame)
        elif frame.verb in ("OK", "REP", "MORE", "ERR"):
            self.answers[frame.id].put(frame)
        elif frame.verb == "PING":
            self.send("PONG", frame.id)
        elif frame.verb in ("PUB", "REQ"):
            act = next((a for s, a in self.serve.items() if frame.subject == s or
                        (s[-1] == "." and frame.subject.startswith(s))), None)
            if act:
                act(self, frame)
            else:
                self.deliveries.append(frame)
                if frame.id:
                    self.send("OK" if frame.verb == "PUB" else "REP", frame.id)


class Recorder:
    """A relay at `path` to the daemon's socket. `log` holds ("<" from the client or ">" from the daemon, connection
    number, Frame); what is no frame raises no error here but stands in `bad`. `chop` > 0: forwards in pieces of up to
    that many bytes."""

    def __init__(self, path, upstream):
        self.path, self.upstream, self.log, self.bad, self.chop, self.connections = path, upstream, [], [], 0, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.random = random.Random(5)
        threading.Thread(target=self._accept, daemon=True).start()

    def mark(self):
        return len(self.log)

    def frames(self, side, verb, since=0):
        return [f for s, _, f in self.log[since:] if s == side and f.verb == verb]

    def wait(self, side, verb, since=0, count=1, timeout=5):
        """Waits until so many such frames are there; returns them."""
        until = time.monotonic() + timeout
        while True:
            frames = self.frames(side, verb, since)
            if len(frames) >= count:
                return frames
            assert time.monotonic() < until, f"{len(frames)} of {count} {verb} seen {'from the client' if side == '<' else 'from the daemon'}"
            time.sleep(0.005)

    def close(self):
        self.listener.close()
        os.unlink(self.path)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            daemon = socket.socket(socket.AF_UNIX)
            try:
                daemon.connect(self.upstream)
            except OSError:
                client.close()
                continue
            self.connections += 1
            for side, a, b in (("<", client, daemon), (">", daemon, client)):
                threading.Thread(target=self._relay, args=(side, self.connections, a, b), daemon=True).start()

    def _relay(self, side, number, source, sink):
        splitter, broken = Splitter(), False
        try:
            while True:
                data = source.recv(1 << 18)
                if not data:
                    break
                try:
                    for frame in () if broken else splitter.feed(data):
                        self.log.append((side, number, frame))
                except (Bad, UnicodeDecodeError) as e:
                    self.bad.append((side, str(e)))
                    broken = True
                self._forward(sink, data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _forward(self, sink, data):
        while self.chop and data:
            size = self.random.randint(1, self.chop)
            sink.sendall(data[:size])
            data = data[size:]
            time.sleep(0)
        if data:
            sink.sendall(data)
