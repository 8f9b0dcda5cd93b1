"""A real redis-server in a folder of its own, and a client of it by hand (RESP2)."""
import contextlib
import socket

from broker_process import BrokerProcess
from harness import PATIENCE


class RedisError(Exception):
    pass


class Redis:
    """One connection: call("SET", "a", 1); subscribe() and message() for pub/sub."""

    def __init__(self, port, timeout=PATIENCE, tls=None):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.settimeout(timeout)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = bytearray()

    def send(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed by redis")
        self.buffer += data

    def _parse(self, at):
        """(reply, where it ends), or None while it is not whole."""
        end = self.buffer.find(b"\r\n", at)
        if end < 0:
            return None
        mark, rest, at = self.buffer[at:at + 1], bytes(self.buffer[at + 1:end]), end + 2
        if mark == b"+":
            return rest.decode(), at
        if mark == b"-":
            return RedisError(rest.decode()), at
        if mark == b":":
            return int(rest), at
        if rest == b"-1":
            return None, at
        if mark == b"$":
            end = at + int(rest)
            return (bytes(self.buffer[at:end]), end + 2) if len(self.buffer) >= end + 2 else None
        items = []
        for _ in range(int(rest)):
            item = self._parse(at)
            if item is None:
                return None
            items.append(item[0])
            at = item[1]
        return items, at

    def reply(self):
        while (found := self._parse(0)) is None:
            self._more()
        del self.buffer[:found[1]]
        if isinstance(found[0], RedisError):
            raise found[0]
        return found[0]

    def call(self, *words):
        self.send(*words)
        return self.reply()

    def subscribe(self, *channels, pattern=False):
        for channel in channels:
            self.call("PSUBSCRIBE" if pattern else "SUBSCRIBE", channel)
        return self

    def message(self, timeout=PATIENCE):
        """(channel, payload) of the next message."""
        self.sock.settimeout(timeout)
        got = self.reply()
        return got[-2].decode(), got[-1]

    def silent(self, seconds):
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"unexpected: {self.message(seconds)}")
        return True

    def entries(self, stream):
        """The entries of a stream: [(id, {field: value})]."""
        return [(i.decode(), dict(zip((f.decode() for f in fields[::2]), fields[1::2])))
                for i, fields in self.call("XRANGE", stream, "-", "+")]

    def pending(self, stream, group="bellhop"):
        return self.call("XPENDING", stream, group)[0]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RedisServer(BrokerProcess):
    """Durable (appendonly, always) unless told otherwise; options are redis.conf's."""
    program = "redis-server"

    def __init__(self, port=None, folder=None, tls=None, **options):
        super().__init__(port, folder, tls)
        self.options = {"bind": "127.0.0.1", "port": self.port, "dir": self.folder, "save": '""', "appendonly": "yes",
                        "appendfsync": "always", "daemonize": "no", "loglevel": "warning", **options}
        if tls:
            self.options |= {"port": 0, "tls-port": self.port, "tls-ca-cert-file": tls[0], "tls-cert-file": tls[1],
                             "tls-key-file": tls[2], "tls-auth-clients": "yes"}
        self.start()

    def command(self):
        return [word for k, v in self.options.items() for word in ("--" + k.replace("_", "-"), *str(v).split(" "))]

    def answers(self):
        try:
            with Redis(self.port, timeout=2, tls=self.context()) as client:
                return client.call("PING") == "PONG"
        except RedisError as error:
            return not str(error).startswith("LOADING")  # NOAUTH and its like are answers

    def client(self, **more):
        return Redis(self.port, **more)


class Sentinel(BrokerProcess):
    """It watches what `sentinel.conf` in its folder says."""
    program = "redis-server"

    def __init__(self, folder):
        super().__init__(folder=folder)
        self.start()

    def command(self):
        return f"{self.folder}/sentinel.conf", "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"

    def answers(self):
        with Redis(self.port, timeout=2) as client:
            return client.call("PING") == "PONG"
