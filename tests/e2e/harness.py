"""What the end-to-end tests stand on: the real daemon, raw peers, real NestJS peers, certificates.

Python's standard library only. The raw clients are written from bellhop-protocol(7) and NestJS's wire
format alone; they share no code with clients/ or the daemon.
"""
import collections
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BELLHOPD = os.environ.get("BELLHOPD", os.path.join(ROOT, "build", "bellhopd"))
BELLHOP = os.path.join(os.path.dirname(BELLHOPD), "bellhop")
SANITIZED = "/san/" in BELLHOPD
PLAIN = BELLHOPD.replace("/san/", "/")  # for what a sanitizer hides
PATIENCE = 20.0  # seconds a test waits for what must come; never for what must not
PORTS = (10000, 31999)
NO_HANDLER = "There is no matching message handler defined in the remote service."
SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion")


def free_port():
    """A port that no other test gets and the kernel gives to no outgoing connection meanwhile: each process of the
    tests takes the next one below the ephemeral range."""
    with open(os.path.join(tempfile.gettempdir(), f"bellhop-test-ports.{os.getuid()}"), "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        port = int(f.read() or PORTS[0])
        while True:
            port = port + 1 if port < PORTS[1] else PORTS[0]
            with socket.socket() as s, contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                break
        f.seek(0)
        f.truncate()
        f.write(str(port))
        return port


def wait_until(condition, what, timeout=PATIENCE):
    """Returns the first true value of condition(). what: text, or a function that gives it when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(0.005)


# ---------------------------------------------------------------- the local protocol

Frame = collections.namedtuple("Frame", "verb id headers body subject pairs")


def frame(verb, id=0, subject=None, headers=None, body=b""):
    if isinstance(body, str):
        body = body.encode()
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    block = "".join(f"{k}: {v}\n" for k, v in pairs).encode()
    tail = "" if subject is None else " " + subject
    return f"{verb} {id} {len(block)} {len(body)}{tail}\n".encode() + block + body


class Local:
    """A raw client of the local protocol: one blocking socket."""

    def __init__(self, path, name="tester", credit=None, headers=None, hello=True, timeout=PATIENCE):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buffer = bytearray()
        self.last_id = 0
        self.lock = threading.Lock()
        self.hello = None
        if hello:
            more = {"version": "1", **({"credit": str(credit)} if credit else {}), **(headers or {})}
            self.send("HELLO", 0, name, more)
            self.hello = self.expect("HELLO")

    def raw(self, data):
        with self.lock:
            self.sock.sendall(data)

    def send(self, verb, id=0, subject=None, headers=None, body=b""):
        self.raw(frame(verb, id, subject, headers, body))

    def start(self, verb, subject, body=b"", headers=None):
        """Sends a PUB, REQ or SUB under a new id and returns that id."""
        with self.lock:
            self.last_id += 1
            id = self.last_id
        self.send(verb, id, subject, headers, body)
        return id

    def _fill(self, timeout):
        self.sock.settimeout(max(timeout, 0.001))
        try:
            piece = self.sock.recv(262144)
        except ConnectionResetError:
            piece = b""
        self.buffer += piece
        return bool(piece)

    def recv(self, timeout=PATIENCE):
        """The next frame; None at the end of the connection; TimeoutError."""
        end = time.monotonic() + timeout
        while True:
            line, found, rest = bytes(self.buffer[:4096]).partition(b"\n")
            if found:
                verb, id, hlen, blen, *subject = line.decode().split(" ", 4)
                start, hlen, blen = len(line) + 1, int(hlen), int(blen)
                if len(self.buffer) >= start + hlen + blen:
                    break
            if not self._fill(end - time.monotonic()):
                return None
        block = bytes(self.buffer[start:start + hlen]).decode()
        body = bytes(self.buffer[start + hlen:start + hlen + blen])
        del self.buffer[:start + hlen + blen]
        pairs = [tuple(text.split(": ", 1)) for text in block.splitlines()]
        return Frame(verb, int(id), dict(pairs), body, subject[0] if subject else None, pairs)

    def expect(self, *verbs, timeout=PATIENCE):
        got = self.recv(timeout)
        if got is None or got.verb not in verbs:
            raise AssertionError(f"expected {' or '.join(verbs)}, got {got}")
        return got

    def answer(self, id, timeout=PATIENCE):
        """(items of the stream, the final frame) of REQ or PUB id; other frames must not come."""
        items = []
        while True:
            got = self.expect("MORE", "REP", "OK", "ERR", timeout=timeout)
            if got.id != id:
                raise AssertionError(f"answer to {got.id}, waiting for {id}: {got}")
            if got.verb != "MORE":
                return items, got
            items.append(got.body)

    def request(self, subject, body=b"", headers=None, timeout=PATIENCE):
        return self.answer(self.start("REQ", subject, body, headers), timeout)

    def publish(self, subject, body=b"", headers=None, timeout=PATIENCE):
        return self.answer(self.start("PUB", subject, body, headers), timeout)[1]

    def silent(self, seconds):
        """True when nothing at all comes within that time."""
        try:
            got = self.recv(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"unexpected: {got}")

    def ended(self, timeout=PATIENCE):
        """Reads to the end of the connection; the frames that still came."""
        frames = []
        while (got := self.recv(timeout)) is not None:
            frames.append(got)
        return frames

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Service:
    """A local service in a thread. handler(delivery, service) returns the body of the answer (OK for
    an event), an Err, a list of bodies (a stream), or LATER when it answers by itself."""

    LATER = object()

    class Err(Exception):
        def __init__(self, code="failed", body=b"", headers=None):
            super().__init__(code)
            self.code, self.body, self.headers = code, body, headers

    def __init__(self, path, name, handler=lambda d, s: d.body, credit=None, headers=None):
        self.handler = handler
        self.deliveries = []  # PUB and REQ frames in order
        self.times = []
        self.others = []      # CANCEL, BYE, …
        self.client = Local(path, name, credit=credit, headers=headers)
        self.client.sock.settimeout(None)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError, ValueError):
            while (got := self.client.recv(86400)) is not None:
                if got.verb == "PING":
                    self.client.send("PONG", got.id)
                elif got.verb not in ("PUB", "REQ"):
                    self.others.append(got)
                else:
                    self.times.append(time.monotonic())
                    self.deliveries.append(got)
                    self._answer(got)

    def _answer(self, got):
        try:
            value = self.handler(got, self)
        except Service.Err as err:
            self.client.send("ERR", got.id, err.code, err.headers, err.body)
            return
        if value is Service.LATER:
            return
        if got.verb == "PUB":
            self.client.send("OK", got.id)
            return
        *items, last = value if isinstance(value, list) else [value]
        for item in items:
            self.client.send("MORE", got.id, body=item)
        self.client.send("REP", got.id, body=last)

    def wait(self, count, timeout=PATIENCE):
        wait_until(lambda: len(self.deliveries) >= count,
                   f"{count} deliveries, seen {len(self.deliveries)}", timeout)
        return self.deliveries

    def wait_other(self, verb):
        return wait_until(lambda: [f for f in self.others if f.verb == verb], verb)

    def close(self):
        with contextlib.suppress(OSError):
            self.client.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---------------------------------------------------------------- NestJS over TCP, by hand

def nest_frame(packet):
    """<UTF-16 units>#<JSON> as JSON.stringify would write it."""
    text = packet if isinstance(packet, str) else json.dumps(packet, ensure_ascii=False,
                                                            separators=(",", ":"))
    return f"{len(text.encode('utf-16-le')) // 2}#{text}".encode()


class NestRaw:
    """One end of a NestJS TCP connection."""

    def __init__(self, port=None, sock=None, tls=None, timeout=PATIENCE):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.settimeout(timeout)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def send(self, packet):
        self.sock.sendall(packet if isinstance(packet, bytes) else nest_frame(packet))

    def _whole(self):
        """The bytes of the frame at the start of the buffer: (text, its end), or None."""
        head, found, _ = bytes(self.buffer[:16]).partition(b"#")
        if not found:
            return None
        units, at = int(head), len(head) + 1
        while units > 0 and at < len(self.buffer):
            lead = self.buffer[at]
            size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            at += size
            units -= 2 if size == 4 else 1
        if units > 0 or at > len(self.buffer):
            return None
        return bytes(self.buffer[len(head) + 1:at]), at

    def recv_bytes(self, timeout=PATIENCE):
        """The JSON text of the next frame, b"" at the end of the connection."""
        end = time.monotonic() + timeout
        while (whole := self._whole()) is None:
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                piece = self.sock.recv(262144)
            except (ConnectionResetError, ssl.SSLEOFError):
                piece = b""
            if not piece:
                return b""
            self.buffer += piece
        del self.buffer[:whole[1]]
        return whole[0]

    def recv(self, timeout=PATIENCE):
        text = self.recv_bytes(timeout)
        return json.loads(text) if text else None

    def ask(self, pattern, data, id="a1", **more):
        """The frames of the answer to one request."""
        self.send({"pattern": pattern, "data": data, **more, "id": id})
        answer = []
        while True:
            got = self.recv()
            if got is None:
                raise AssertionError(f"connection closed, waiting for {id}")
            answer.append(got)
            if got.get("isDisposed") or got.get("err"):
                return answer

    def silent(self, seconds):
        try:
            got = self.recv_bytes(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"unexpected: {got!r}")

    def ended(self, timeout=PATIENCE):
        """Whether the other end closes within that time; what still comes is dropped."""
        try:
            while self.recv_bytes(timeout):
                pass
        except TimeoutError:
            return False
        return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class FakeNestServer:
    """A scripted TCP server: run(connection) in a thread for each connection, a NestRaw."""

    def __init__(self, run, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.run = run
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = NestRaw(sock=self.listener.accept()[0])
                self.connections.append(peer)
                threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer):
        with contextlib.suppress(OSError, ValueError):
            self.run(peer)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.connections:
            peer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---------------------------------------------------------------- real NestJS peers

UNDEFINED = type("Undefined", (), {"__repr__": lambda self: "undefined"})()
Outcome = collections.namedtuple("Outcome", "values error kind")


class Node:
    """A node program that speaks lines of JSON on its standard input and output."""

    def __init__(self, script, options):
        self.lines = []
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "nest", script), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # the rest is NestJS's own log
                self.lines.append(json.loads(line))

    def wait_line(self, matches, what, timeout=PATIENCE):
        def look():
            if self.process.poll() is not None:
                self.errors.seek(0)
                raise AssertionError(f"node ended: {self.errors.read()}")
            return [line for line in list(self.lines) if matches(line)]
        return wait_until(look, what, timeout)[0]

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(5)
        self.process.stdout.close()
        self.errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class NestServer(Node):
    def __init__(self, version, port=0, tls=None, **options):
        super().__init__(f"{version}/server.js", {"port": port, "tlsOptions": tls, **options})
        self.port = self.wait_line(lambda l: "ready" in l, "a NestJS server")["ready"]

    def seen(self, kind, pattern, key=None):
        """What its handlers of that pattern were called with."""
        return [l for l in list(self.lines) if l.get(kind) == pattern and
                (key is None or (l.get("data") or {}).get("key") == key)]

    def expect_seen(self, kind, pattern, key, count):
        """What seen() tells once there are so many of them (its lines come a little later than replies)."""
        wait_until(lambda: len(self.seen(kind, pattern, key)) >= count, f"{count} {kind}s {pattern} {key}")
        found = self.seen(kind, pattern, key)
        if len(found) != count:
            raise AssertionError(f"{len(found)} in place of {count}: {found}")
        return found

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.close()


class NestClient(Node):
    def __init__(self, version, port, tls=None, host="127.0.0.1", **options):
        super().__init__(f"{version}/client.js", {"host": host, "port": port, "tlsOptions": tls, **options})
        self.calls = 0
        self.wait_line(lambda l: "ready" in l, "a NestJS client")

    def start(self, op, pattern=None, data=None, **more):
        self.calls += 1
        task = {"call": self.calls, "op": op, "pattern": pattern, "data": data, **more}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return self.calls

    def wait(self, call, timeout=PATIENCE):
        self.wait_line(lambda l: l.get("call") == call and ("done" in l or "error" in l),
                       f"the end of call {call}", timeout)
        values, error, kind = [], None, None
        for line in [l for l in list(self.lines) if l.get("call") == call]:
            if "undefined" in line:
                values.append(UNDEFINED)
            elif "next" in line:
                values.append(line["next"])
            elif "error" in line:
                error, kind = line["error"], line["kind"]
        return Outcome(values, error, kind)

    def send(self, pattern, data, **more):
        return self.wait(self.start("send", pattern, data, **more))

    def emit(self, pattern, data, **more):
        return self.wait(self.start("emit", pattern, data, **more))


# ---------------------------------------------------------------- certificates

class Certificates:
    """A folder of keys and certificates made by openssl(1)."""

    def __init__(self, folder):
        self.folder = folder
        self.authority("ca")

    def path(self, name):
        return os.path.join(self.folder, name)

    def _run(self, *arguments):
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            raise AssertionError(f"openssl {' '.join(arguments)}: {done.stderr}")

    def _key(self, name, weak=False):
        if weak:
            self._run("genrsa", "-out", f"{name}.key", "1024")
        else:
            self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def authority(self, name):
        self._key(name)
        self._run("req", "-x509", "-new", "-key", f"{name}.key", "-days", "2", "-out", f"{name}.pem",
                  "-subj", f"/CN={name} {os.path.basename(self.folder)}",
                  "-addext", "basicConstraints=critical,CA:TRUE",
                  "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, san=None, ca="ca", start=None, end=None, usage="serverAuth,clientAuth", weak=False):
        """NAME.key and NAME.pem. start, end: as openssl-ca(1) wants them, YYYYMMDDHHMMSSZ."""
        san = san or f"DNS:localhost,IP:127.0.0.1,URI:spiffe://test/{name}"
        self._key(name, weak)
        self._run("req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(self.path(f"{name}.cnf"), "w") as f:
            f.write("[ca]\ndefault_ca=x\n[x]\nnew_certs_dir=.\ndatabase=%(n)s.db\nrand_serial=yes\n"
                    "default_md=sha256\npolicy=p\nunique_subject=no\nx509_extensions=e\n"
                    "[p]\ncommonName=supplied\n[e]\nbasicConstraints=CA:FALSE\n"
                    "keyUsage=critical,digitalSignature\nextendedKeyUsage=%(u)s\n"
                    "subjectAltName=%(s)s\n" % {"n": name, "s": san, "u": usage})
        open(self.path(f"{name}.db"), "w").close()
        when = ["-startdate", start or time.strftime("%Y%m%d000000Z", time.gmtime(time.time() - 86400)),
                "-enddate", end or time.strftime("%Y%m%d000000Z", time.gmtime(time.time() + 86400 * 3))]
        self._run("ca", "-batch", "-config", f"{name}.cnf", "-cert", f"{ca}.pem", "-keyfile", f"{ca}.key",
                  "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext", *when)

    def profile(self, name, ca="ca", **more):
        """A row of `tls:` in the configuration."""
        return {"ca": self.path(f"{ca}.pem"), "cert": self.path(f"{name}.pem"),
                "key": self.path(f"{name}.key"), **more}

    def node(self, name, ca="ca", **more):
        """tlsOptions of a NestJS peer."""
        return self.profile(name, ca, **more)

    def context(self, name=None, ca="ca", server=False, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path(f"{ca}.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        if version:
            context.maximum_version = version
        if name:
            context.set_ciphers("DEFAULT@SECLEVEL=0")  # a test may want to show a weak key
            context.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        return context


# ---------------------------------------------------------------- the daemon

class Daemon:
    """The real daemon in a temporary folder. config: what the test adds to the basic configuration."""

    def __init__(self, config=None, env=None, wait=True, folder=None, fds=(), program=None):
        self.program = program or BELLHOPD
        self.folder = folder or tempfile.mkdtemp(prefix="bellhop-e2e-")
        self.own_folder = folder is None
        os.chmod(self.folder, 0o755)
        self.socket = os.path.join(self.folder, "local.sock")
        self.admin_socket = os.path.join(self.folder, "admin.sock")
        self.file = os.path.join(self.folder, "bellhop.yaml")
        self.log_path = os.path.join(self.folder, f"log.{time.monotonic_ns()}")
        self.log_lock, self.log_read, self.log_lines = threading.Lock(), 0, []
        self.services = []
        self.http_port = free_port()
        self.write(config or {})
        self._start(env or {}, fds)
        if wait:
            self.wait_ready()

    def write(self, config):
        whole = {
            "version": 1,
            "node": "test",
            "local": {"socket": self.socket, "mode": "0666"},
            "admin": {"socket": self.admin_socket, "http": f"127.0.0.1:{self.http_port}"},
            "log": {"level": "debug", "format": "json"},
            "services": {"open": True},
        }
        for key, value in config.items():
            merge = isinstance(whole.get(key), dict) and key != "services"
            whole[key] = {**whole[key], **value} if merge else value
        self.write_text(json.dumps(whole, indent=1, ensure_ascii=False))

    def write_text(self, text):
        with open(self.file + ".new", "w") as f:
            f.write(text)
        os.replace(self.file + ".new", self.file)

    def _start(self, env, fds):
        environment = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "LISTEN_FDS")}
        environment.update({"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=48", "UBSAN_OPTIONS": "print_stacktrace=1"}, **env)
        command = [self.program, "-c", self.file]
        if fds:  # as systemd does it: descriptors from 3 on, LISTEN_PID is the daemon's own
            moves = "".join(f"exec {3 + i}<&{fd}; " for i, fd in enumerate(fds))
            command = ["bash", "-c", moves + 'export LISTEN_PID=$$; exec "$@"', "bash", *command]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment, pass_fds=fds)

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        self.wait_log(lambda l: l.get("event") == "ready", "the ready line")

    # ---- its log

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log(self, event=None):
        """The lines as objects; of one event where it is named."""
        with self.log_lock, open(self.log_path, "rb") as f:
            f.seek(self.log_read)
            text = f.read()
            text = text[:text.rfind(b"\n") + 1]
            self.log_read += len(text)
            for line in text.splitlines():
                with contextlib.suppress(ValueError):
                    self.log_lines.append(json.loads(line, parse_int=str))  # compared with text
            return [l for l in self.log_lines if isinstance(l, dict) and event in (None, l.get("event"))]

    def wait_log(self, matches, what, timeout=PATIENCE):
        def look():
            found = [line for line in self.log() if matches(line)]
            if not found and self.process.poll() is not None:
                raise AssertionError(f"bellhopd ended with {self.process.returncode}, waiting for {what}:\n"
                                     + self.log_text()[-4000:])
            return found
        return wait_until(look, what, timeout)[0]

    # ---- its peers

    def connect(self, name="tester", **more):
        return Local(self.socket, name, **more)

    def serve(self, name, handler=lambda d, s: d.body, **more):
        service = Service(self.socket, name, handler, **more)
        self.services.append(service)
        return service

    def admin(self, command, body=b"", headers=None):
        """REQ command on the admin socket; the JSON of its reply."""
        with Local(self.admin_socket, "bellhop") as admin:
            items, last = admin.request(command, body, headers)
            if last.verb != "REP":
                raise AssertionError(f"{command}: {last}")
            return json.loads(last.body)

    def tool(self, *arguments):
        """Runs bellhop against this daemon: (exit status, standard output, standard error)."""
        done = subprocess.run([BELLHOP, *arguments, "-s", self.admin_socket], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def http(self, path):
        """(status, text) of a page of the admin address."""
        with socket.create_connection(("127.0.0.1", self.http_port), PATIENCE) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while piece := s.recv(65536):
                data += piece
        head, _, text = data.decode().partition("\r\n\r\n")
        return int(head.split()[1]), text

    # ---- its process

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settled_fds(self):
        """The count once it has stood still: what was closed a moment ago may not be gone yet."""
        last, since = self.fds(), time.monotonic()
        while time.monotonic() - since < 0.3:
            time.sleep(0.02)
            if self.fds() != last:
                last, since = self.fds(), time.monotonic()
        return last

    def rss(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self):
        """Seconds of CPU used."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=PATIENCE):
        return self.process.wait(timeout)

    def check_clean(self):
        text = self.log_text()
        for mark in SANITIZER_MARKS:
            if mark in text:
                at = max(text.index(mark) - 500, 0)
                raise AssertionError(f"{mark} in the daemon's output:\n{text[at:at + 6000]}")

    def stop(self):
        """SIGTERM; the daemon must end with 0 and without a sanitizer's report."""
        for service in self.services:
            service.close()
        code = self.process.poll()
        died = code is not None
        if not died:
            self.signal(signal.SIGTERM)
            try:
                code = self.wait_exit(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("bellhopd ignores SIGTERM:\n" + self.log_text()[-3000:]) from None
        self.check_clean()
        if code != 0 or died:
            raise AssertionError(f"bellhopd {'had ended' if died else 'ended'} with {code}:\n"
                                 + self.log_text()[-3000:])
        self.remove()

    def remove(self):
        """For tests that end the daemon themselves."""
        for service in self.services:
            service.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Case(unittest.TestCase):
    """Tests with daemons, peers and folders that end with the test or with the class."""

    longMessage = True

    def daemon(self, config=None, **more):
        daemon = Daemon(config, **more)
        self.addCleanup(daemon.stop)
        return daemon

    def keep(self, closable):
        self.addCleanup(closable.close)
        return closable

    def temporary(self):
        folder = tempfile.mkdtemp(prefix="bellhop-e2e-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    @classmethod
    def class_daemon(cls, config=None, **more):
        daemon = Daemon(config, **more)
        cls.addClassCleanup(daemon.stop)
        return daemon

    @classmethod
    def class_keep(cls, closable):
        cls.addClassCleanup(closable.close)
        return closable

    def assert_alive(self, daemon):
        """The daemon still does its work for somebody else."""
        name = f"alive{time.monotonic_ns()}"
        with daemon.connect(name) as client:
            client.send("PING", 7)
            self.assertEqual(client.expect("PONG").id, 7)


def policy(timeout="5s", attempts=1, delay="10ms", **more):
    """A policy with short, certain times."""
    return {"timeout": timeout,
            "retry": {"attempts": attempts, "delay": delay, "factor": 1, "max_delay": "5s", "jitter": "none"},
            **more}
