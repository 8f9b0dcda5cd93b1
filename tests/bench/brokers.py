"""RabbitMQ and Redis with folders of their own, and the daemon in front of them."""

import json
import os
import shutil

import stacks
from harness import connect, converse, free_port

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class Broker:
    """What a row needs of either: where it is, as a port and as an endpoint of the daemon."""

    def __init__(self, name, port, url):
        self.name, self.port = name, port
        self.endpoint = f"  broker: {{ connect: {json.dumps(url)}, concurrency: %d }}\n"


def redis(h):
    """Nothing on disk: the client's part is what counts."""
    process, address = stacks.redis(h)
    process.wait_for(lambda: stacks.redis_ready(connect(address)))
    port = int(address.split(":")[1])
    return Broker("redis", port, f"redis://127.0.0.1:{port}")


def redis_too(h):
    """Another: of two listeners on a channel both would answer."""
    return redis(h)


def rabbit(h):
    h.find("rabbitmqctl", "rabbitmq-server")
    folder, port, dist, epmd = h.new_folder(), free_port(), free_port(), free_port()
    files = {"rabbitmq.conf": f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\n",
             "enabled_plugins": "[].\n"}
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    # RUNNING_UNDER_SYSTEMD: the script becomes the broker, so its CPU time is seen and its end is the broker's.
    environment = {
        "HOME": folder, "RUNNING_UNDER_SYSTEMD": "1", "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf", "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log", "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_DIST_PORT": str(dist),
        "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    h.start("epmd", [h.find("epmd", "rabbitmq-server"), "-port", str(epmd), "-address", "127.0.0.1"])
    process = h.start("rabbitmq-server", [RABBITMQ], env=environment)
    process.wait_for(lambda: rabbit_ready(port), timeout=90, pause=0.1)
    return Broker("rabbit", port, f"amqp://guest:guest@127.0.0.1:{port}/")


def rabbit_ready(port):
    with connect(f"tcp:{port}") as s:
        converse(s, b"AMQP\x00\x00\x09\x01", b"PLAIN")      # connection.start names the mechanisms


def straight(h, broker, verb, *args, timed=False):
    """Runs the official C client; its JSON. `cpu` is that of the client."""
    sample = h.load(f"straight-{broker.name}", verb, "-a", broker.port, *args, timed=timed)
    return {**sample, "cpu": sample.get("client_cpu_us")}


def daemon(h, broker, routes, window, store=None):
    return stacks.Daemon(h, routes, store=store, endpoints=broker.endpoint % window).ready()


class Queue:
    """A quorum queue that a sample has for itself. At the end it must hold as many messages as `left` says."""

    count = 0

    def __init__(self, h, broker):
        Queue.count += 1
        self.h, self.broker, self.name, self.left = h, broker, f"bench{Queue.count}", 0

    def straight(self, verb, *args, **more):
        return straight(self.h, self.broker, verb, "-q", self.name, *args, **more)

    def __enter__(self):
        self.straight("declare")
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.straight("expect", "-n", self.left)


class Store:
    """A folder for a store, gone afterwards."""

    def __init__(self, h):
        self.folder = h.new_folder()

    def __enter__(self):
        return self.folder

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def nest_options(broker, queue):
    """What a NestJS application, server or client, is told about the broker."""
    if broker.name == "redis":
        return {"transport": "REDIS", "host": "127.0.0.1", "port": broker.port}
    return {"transport": "RMQ", "urls": [f"amqp://guest:guest@127.0.0.1:{broker.port}"], "queue": queue,
            "queueOptions": {"durable": False}}


ECHO_CHANNEL = '{"cmd":"echo"}'
ECHO_SOURCE = {
    "redis": "channel: '%s'" % ECHO_CHANNEL,
    "rabbit": "queue: bench.bellhop, codec: nest, prefetch: 256, declare: { durable: false, type: classic }",
}


def await_listener(process, broker):
    """Redis forgets what is published before somebody listens; a queue keeps it."""
    command = b"*3\r\n$6\r\nPUBSUB\r\n$6\r\nNUMSUB\r\n$%d\r\n%s\r\n" % (len(ECHO_CHANNEL), ECHO_CHANNEL.encode())

    def listens():
        with connect(f"tcp:{broker.port}") as s:
            if b":1\r\n" not in converse(s, command, b"\r\n:"):
                raise OSError("nobody listens")
    if broker.name == "redis":
        process.wait_for(listens, pause=0.01)


def nest_pair(h, make):
    """NestJS on both ends of a broker: its client."""
    broker = h.once(make)
    options = nest_options(broker, "bench.nest")
    server = stacks.node(h, "nest-server.js", json.dumps(options)).wait_text("ready")
    await_listener(server, broker)
    return stacks.NestClient(h, options)


def nest_daemon(h, make):
    """NestJS's client, the broker, the daemon and a C service: the client, with the daemon's pid in it."""
    broker = h.once(make)
    routes = "  - { name: echo, from: { endpoint: broker, %s }, match: { cmd: echo }, to: echo }\n" % ECHO_SOURCE[broker.name]
    d = daemon(h, broker, routes, 1024).service()
    await_listener(d.process, broker)
    return stacks.NestClient(h, nest_options(broker, "bench.bellhop"))
