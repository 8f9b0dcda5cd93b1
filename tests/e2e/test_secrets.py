"""Tokens and passwords: no copy of one is left in the daemon's memory behind what was read or written with it. Always the
plain build: a sanitizer keeps what was freed."""
import socket
import struct
import threading

from harness import PATIENCE, PLAIN, Case, free_port, frame, wait_until

SECRET = "canary-" + "7f3a9c" * 6


def copies(daemon, text=SECRET):
    """How often it is in what the daemon can write: heap, stacks, data."""
    found = 0
    with open(f"/proc/{daemon.pid}/maps") as maps, open(f"/proc/{daemon.pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            start, end = (int(x, 16) for x in place.split("-"))
            if "w" not in rights or end - start > 1 << 28:
                continue
            memory.seek(start)
            try:
                found += memory.read(end - start).count(text.encode())
            except OSError:
                pass
    return found


class FarEnd:
    """Accepts one connection, says and hears what `talk` does with it, and keeps it open."""

    def __init__(self, port, talk):
        self.heard = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.talk, self.connection = talk, None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(PATIENCE)
        self.talk(self.connection)
        self.heard.set()

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.close()


def until(connection, part):
    text = b""
    while part not in text:
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    return text


def redis(connection):
    assert SECRET.encode() in until(connection, b"PING")
    connection.sendall(b"+OK\r\n+PONG\r\n")


def nats(connection):
    connection.sendall(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n')
    assert SECRET.encode() in until(connection, b"PING")
    connection.sendall(b"PONG\r\n")


def amqp(connection):
    until(connection, b"AMQP\x00\x00\x09\x01")
    words = b"".join(struct.pack(">I", len(w)) + w for w in (b"PLAIN", b"en_US"))
    start = struct.pack(">HHBBI", 10, 10, 0, 9, 0) + words
    connection.sendall(struct.pack(">BHI", 1, 0, len(start)) + start + b"\xce")
    assert SECRET.encode() in until(connection, b"en_US\xce")


class SecretsCase(Case):
    def test_token_of_a_client(self):
        """The configuration has one of its own; a wrong one is nowhere."""
        daemon = self.daemon({"services": {"shop": {"token": "another-token"}}}, program=PLAIN)
        hello = frame("HELLO", 0, "shop", {"version": "1", "token": SECRET})
        middle = hello.index(SECRET.encode()) + len(SECRET)
        for first in (len(hello), middle, middle + 1, middle - 20):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(daemon.socket)
                client.sendall(hello[:first])
                if first < len(hello):
                    wait_until(lambda: copies(daemon, SECRET[:10]) == 1, "what has come of it")
                    client.sendall(hello[first:])
                self.assertIn(b"denied", until(client, b"denied"))
                self.assertEqual(copies(daemon, SECRET[:16]), 0, first)

    def password(self, scheme, talk):
        port = free_port()
        daemon = self.daemon({"endpoints": {"far": {"connect": f"{scheme}://user:{SECRET}@127.0.0.1:{port}"}},
                              "routes": [{"from": "local", "match": "x", "to": {"redis": {"endpoint": "far"}, "nats": "far",
                                          "amqp": {"endpoint": "far", "queue": "q"}}[scheme]}]}, program=PLAIN)
        before = copies(daemon)
        self.assertGreaterEqual(before, 1)  # the configuration's
        far = FarEnd(port, talk)
        self.addCleanup(far.close)
        self.assertTrue(far.heard.wait(PATIENCE))
        daemon.admin("status")
        self.assertEqual(copies(daemon), before)

    def test_password_for_redis(self):
        self.password("redis", redis)

    def test_password_for_nats(self):
        self.password("nats", nats)

    def test_password_for_amqp(self):
        self.password("amqp", amqp)
