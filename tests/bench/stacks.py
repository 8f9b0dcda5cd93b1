"""How each yardstick, and the daemon with its service, is started. Every function takes the harness;
through Harness.once they are started at most once in a run."""

import json
import os
import subprocess

from harness import Failed, connect, converse, free_port

def hello(sock, name):
    """Attaches as a service of that name; raises OSError unless the daemon greets back."""
    headers = "version: 1\ncredit: 64\n"
    got = converse(sock, f"HELLO 0 {len(headers)} 0 {name}\n{headers}".encode(), b"\n")
    if not got.startswith(b"HELLO "):
        raise OSError(f"the daemon answered {got[:200]!r}")


def echo(h, kind, address):
    return h.start(f"echo-{kind}", [h.tool(f"echo-{kind}"), address]).wait_listening(address)


def relay(h, kind):
    """(address, pids): a bare relay and its echo service behind a Unix socket."""
    backend, address = f"unix:{h.path(kind + '.sock')}", f"tcp:{free_port()}"
    service = echo(h, {"pair": "nest", "mux": "mux"}[kind], backend)
    r = h.start(f"relay-{kind}", [h.tool(f"relay-{kind}"), address, backend]).wait_listening(address)
    return address, [r.pid], [service.pid]


def direct(h):
    """The C service itself, NestJS framing over TCP."""
    address = f"tcp:{free_port()}"
    return address, [echo(h, "nest", address).pid]


class Daemon:
    """bellhopd with an `edge` listener, open services, the given routes, and on demand a store and further endpoints."""

    count = 0

    def __init__(self, h, routes, clients=1000, store=None, endpoints=""):
        Daemon.count += 1
        self.h = h
        self.socket = h.path(f"d{Daemon.count}.sock")
        self.address = f"unix:{self.socket}"
        self.port = free_port()
        self.edge = f"tcp:{self.port}"
        config = h.path(f"d{Daemon.count}.yaml")
        with open(config, "w") as f:
            if store:
                f.write("store: { path: %s }\n" % json.dumps(store))
            f.write("version: 1\nlocal: { socket: %s }\nadmin: { socket: %s }\nlimits: { clients: %d }\n"
                    "services: { open: true, sink: {} }\nendpoints:\n  edge: { listen: \"tcp://127.0.0.1:%d\" }\n%s"
                    "routes:\n%s" % (json.dumps(self.socket), json.dumps(self.socket + ".admin"),
                                     clients, self.port, endpoints, routes))
        self.process = h.start("bellhopd", [os.path.join(h.build, "bellhopd"), "-c", config])
        self.pid = self.process.pid

    def ready(self):
        def greet():
            with connect(self.address) as s:
                hello(s, "probe")
        self.process.wait_for(greet)
        return self

    def service(self, name="echo", count=1, credit=65535):
        p = self.h.start("service", [self.h.tool("service"), self.address, name, str(credit), str(count)])
        p.wait_text("attached")
        return self

    def admin(self):
        return self.address + ".admin"

    def stop(self):
        self.process.stop()


ECHO_ROUTE = "  - { name: echo, from: edge, match: { cmd: echo }, to: echo }\n"


def daemon_echo(h):
    """The daemon with one C service: what the first rows measure."""
    return Daemon(h, ECHO_ROUTE).ready().service()


def daemon_events(h, subjects_cold=0):
    """The daemon for local events on bench.*; optionally many more routes that nothing uses."""
    cold = "".join(f"  - {{ name: r{i}, from: local, match: cold.{i}, to: sink }}\n" for i in range(subjects_cold))
    hot = "".join(f"  - {{ name: hot{i}, from: local, match: bench.{i}, to: sink }}\n" for i in range(10))
    return Daemon(h, cold + hot).ready()


DURABLE_ROUTE = "  - { name: durable, from: local, match: \"bench.>\", to: sink, durable: true }\n"


def daemon_durable(h, folder):
    """The daemon for durable events on bench.*, which `sink` gets once it attaches."""
    d = Daemon(h, DURABLE_ROUTE, store=folder)
    return d.process, d.address


def daemon_both(h, folder):
    """The same, and one C service for requests that are not durable."""
    return Daemon(h, ECHO_ROUTE + DURABLE_ROUTE, store=folder).ready().service()


def daemon_backlog(h):
    """The daemon that has stored as many durable events as --backlog says; `sink` never attaches."""
    d = Daemon(h, DURABLE_ROUTE, store=h.new_folder()).ready()
    h.finish("durable", "-m", "local", "-a", d.address, "-W", 4096, "-w", 0, "-d", 600000, "-n", h.backlog, timeout=660)
    return d


def nats(h, *more, procs="1"):
    port = free_port()
    p = h.start("nats-server", [h.find("nats-server"), "-a", "127.0.0.1", "-p", str(port), *more],
                env={"GOMAXPROCS": procs})
    return p, f"tcp:{port}"


def jetstream(h, folder):
    """The file store as it comes: it acknowledges at once and syncs every two minutes."""
    return nats(h, "-js", "-sd", folder, procs=str(os.cpu_count()))


def jetstream_1p(h, folder):
    return nats(h, "-js", "-sd", folder)


def nats_ready(sock):
    converse(sock, b"CONNECT {\"verbose\":false}\r\nPING\r\n", b"PONG\r\n")


def redis(h, *more):
    port = free_port()
    p = h.start("redis-server", [h.find("redis-server"), "--port", str(port), "--bind", "127.0.0.1",
                                 "--save", "", *(more or ("--appendonly", "no"))])
    return p, f"tcp:{port}"


def redis_synced(h, folder):
    """Every acknowledgement after a sync; no rewriting of the file while it is measured."""
    return redis(h, "--dir", folder, "--appendonly", "yes", "--appendfsync", "always",
                 "--auto-aof-rewrite-percentage", "0")


def redis_ready(sock):
    converse(sock, b"PING\r\n", b"PONG\r\n")


def mosquitto(h):
    port = free_port()
    config = h.path(f"mosquitto.{port}.conf")
    with open(config, "w") as f:
        f.write(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    p = h.start("mosquitto", [h.find("mosquitto"), "-c", config])
    return p, f"tcp:{port}"


def mosquitto_ready(sock):
    name = b"bench%d" % sock.fileno()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + bytes([0, len(name)]) + name
    converse(sock, bytes([0x10, len(body)]) + body, b"\x20\x02\x00\x00")


def beanstalkd(h, *more):
    port = free_port()
    p = h.start("beanstalkd", [h.find("beanstalkd"), "-l", "127.0.0.1", "-p", str(port), *more])
    return p, f"tcp:{port}"


def beanstalkd_synced(h, folder):
    return beanstalkd(h, "-b", folder, "-f0")


def beanstalkd_ready(sock):
    converse(sock, b"list-tubes\r\n", b"default")


def bellhop_idle(h):
    d = Daemon(h, ECHO_ROUTE, clients=20000)
    return d.process, d.address


def bellhop_ready(sock):
    hello(sock, "idle")


def bellhop_ready_named(sock):
    hello(sock, f"idle{sock.fileno()}")


# What is compared when idle: start(h) -> (process, address), greet(socket).
SERVERS = {
    "bellhopd": (bellhop_idle, bellhop_ready),
    "bellhopd, names": (bellhop_idle, bellhop_ready_named),
    "nats-server": (nats, nats_ready),
    "mosquitto": (mosquitto, mosquitto_ready),
    "beanstalkd": (beanstalkd, beanstalkd_ready),
}


def node_modules(h):
    """npm ci for the NestJS yardsticks, once per change of the lock file."""
    folder = os.path.join(h.here, "node")
    stamp = os.path.join(folder, "node_modules", ".package-lock.json")
    lock = os.path.join(folder, "package-lock.json")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < os.path.getmtime(lock):
        r = subprocess.run([h.find("npm"), "ci", "--no-audit", "--no-fund"], cwd=folder,
                           capture_output=True, text=True, check=False)
        if r.returncode:
            raise Failed(f"npm ci: {r.stderr[-800:]}")
        os.utime(stamp)
    return folder


def node(h, script, *args, **more):
    folder = h.once(node_modules)
    return h.start(script, [h.find("node", "nodejs"), os.path.join(folder, script), *map(str, args)], **more)


def nest_tcp(port):
    return {"transport": "TCP", "host": "127.0.0.1", "port": port}


def nest_server(h):
    port = free_port()
    p = node(h, "nest-server.js", json.dumps(nest_tcp(port))).wait_listening(f"tcp:{port}")
    return f"tcp:{port}", [p.pid]


class NestClient:
    """A real ClientProxy in its own process, told over stdin what to run."""

    def __init__(self, h, options):
        self.h = h
        self.process = node(h, "nest-client.js", json.dumps(options), stdin=subprocess.PIPE)
        self.line()
        self.run(64, 100)   # the compiler warms up on both sides

    def line(self):
        text = self.process.popen.stdout.readline()
        if not text:
            raise Failed(f"nest-client.js: {self.process.tail()}")
        return text

    def run(self, in_flight, size):
        task = {"inFlight": in_flight, "size": size, "warmMs": 300, "runMs": int(self.h.seconds * 1000)}
        self.process.popen.stdin.write(json.dumps(task).encode() + b"\n")
        self.process.popen.stdin.flush()
        return json.loads(self.line())


def nest_client(h, port):
    return NestClient(h, nest_tcp(port))


def daemon_node(h):
    """The daemon with a Node service on our own Node client."""
    d = Daemon(h, ECHO_ROUTE).ready()
    node(h, "bellhop-service.js", d.socket).wait_text("attached")
    return d
