"""A real nats-server in a folder of its own, and a client of it by hand."""
import collections
import json
import os
import signal
import socket
import urllib.request

from broker_process import BrokerProcess
from harness import PATIENCE, free_port

Message = collections.namedtuple("Message", "subject reply headers body status")


class NatsError(Exception):
    pass


def block(headers, status=""):
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return f"NATS/1.0{status}\r\n{lines}\r\n".encode()


class Nats:
    """One connection: sub(), publish(), message(); flush() returns when the server has taken all of it."""

    def __init__(self, port, timeout=PATIENCE, tls=None, **login):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.queue, self.sids, self.pongs = bytearray(), collections.deque(), 0, 0
        self.info = json.loads(self.line().partition(" ")[2])
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1, **login}
        self.send(f"CONNECT {json.dumps(options)}\r\n")
        self.flush()

    def send(self, *parts):
        self.sock.sendall(b"".join(p.encode() if isinstance(p, str) else p for p in parts))

    def more(self):
        data = self.sock.recv(1 << 20)
        if not data:
            raise ConnectionError("closed by nats-server")
        self.buffer += data

    def line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            self.more()
        line = self.buffer[:end].decode()
        del self.buffer[:end + 2]
        return line

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def read(self):
        """One operation; messages go into the queue."""
        words = self.line().split(" ")
        if words[0] in ("MSG", "HMSG"):
            size = int(words[-1])
            head = int(words[-2]) if words[0] == "HMSG" else 0
            reply = words[3] if len(words) == (6 if head else 5) else None
            data = self.take(size + 2)[:-2]
            first, *lines = data[:head].decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            self.queue.append(Message(words[1], reply, headers, data[head:], first[8:].strip() or None))
        elif words[0] == "PING":
            self.send("PONG\r\n")
        elif words[0] == "PONG":
            self.pongs += 1
        elif words[0] == "-ERR":
            raise NatsError(" ".join(words[1:]))

    def flush(self):
        wanted = self.pongs + 1
        self.send("PING\r\n")
        while self.pongs < wanted:
            self.read()

    def sub(self, subject, queue=None):
        self.sids += 1
        self.send(f"SUB {subject} {queue or ''} {self.sids}\r\n")
        self.flush()
        return self.sids

    def publish(self, subject, body=b"", headers=None, reply=None):
        body = body if isinstance(body, bytes) else body.encode()
        if headers:
            head = block(headers)
            self.send(f"HPUB {subject} {reply or ''} {len(head)} {len(head) + len(body)}\r\n", head, body, b"\r\n")
        else:
            self.send(f"PUB {subject} {reply or ''} {len(body)}\r\n", body, b"\r\n")

    def message(self, timeout=PATIENCE):
        self.sock.settimeout(timeout)
        while not self.queue:
            self.read()
        return self.queue.popleft()

    def request(self, subject, body=b"", headers=None, timeout=PATIENCE):
        inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.sub(inbox)
        self.publish(subject, body, headers, inbox)
        return self.message(timeout)

    def silent(self, seconds):
        try:
            raise AssertionError(f"unexpected: {self.message(seconds)}")
        except TimeoutError:
            return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class NatsServer(BrokerProcess):
    """Options are lines of nats.conf, `more` further ones."""
    program = "nats-server"

    def __init__(self, port=None, folder=None, tls=None, more="", start=True, **options):
        super().__init__(port, folder, tls)
        self.monitor, self.more = free_port(), more
        self.options = {"max_payload": 1048576, **options}
        if start:
            self.start()

    def write(self):
        lines = [f"listen: 127.0.0.1:{self.port}", f"http: 127.0.0.1:{self.monitor}"]
        lines += [f"{k}: {v}" for k, v in self.options.items()]
        if self.tls:
            lines.append(f'tls {{ ca_file: "{self.tls[0]}", cert_file: "{self.tls[1]}", key_file: "{self.tls[2]}", verify: true }}')
        with open(os.path.join(self.folder, "nats.conf"), "w") as f:
            f.write("\n".join(lines + [self.more, ""]))

    def command(self):
        self.write()
        return "-c", os.path.join(self.folder, "nats.conf")

    def answers(self):
        with socket.create_connection(("127.0.0.1", self.port), 2) as sock:
            return sock.recv(5) == b"INFO "

    def connections(self, name="bellhop"):
        """Those whose name begins like that, from the monitoring port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/connz?subs=true", timeout=PATIENCE) as answer:
            return [c for c in json.load(answer)["connections"] if c.get("name", "").startswith(name)]

    def client(self, **more):
        return Nats(self.port, tls=self.context(), **more)

    def reload(self, **options):
        self.options |= options
        self.write()
        self.process.send_signal(signal.SIGHUP)
