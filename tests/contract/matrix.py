#!/usr/bin/env python3
"""The acceptance matrix of NestJS 12: matrix.py [tcp|redis|rabbit|nats…]. Real clients of @nestjs/microservices to a
local service, and a local caller to its real servers, over each transport; one table, and the closing line."""
import contextlib
import importlib.util
import itertools
import json
import os
import sys
import traceback

from adapter import HERE

import rooms
from harness import (NO_HANDLER, Daemon, NestClient, NestServer, free_port, policy, wait_until)
from nats_server import NatsServer
from rabbit_server import Rabbit
from redis_server import RedisServer

VERSION = "12"
WIDTH = 50  # of the table's first column
TEXT = "zażółć gęślą jaźń 🐢 \u2028"
KAPUT = {"code": "E_KAPUT", "detail": ["zażółć", 1]}
KEYS = (f"k{n}" for n in itertools.count())


def same(got, expected):
    if got != expected:
        raise AssertionError(f"{got!r} in place of {expected!r}")


# ---------------------------------------------------------------- a NestJS client calls a local service

def sees(client, pattern, data, values, error=None):
    got = client.send(pattern, data)
    same((got.values, got.error), (values, error))


def client_event(client, service):
    key = next(KEYS)
    same(client.emit("user.created", {"key": key}).error, None)
    wait_until(lambda: [d for d in list(service.deliveries) if key.encode() in d.body and d.verb == "PUB"], "the event")


IN = {
    "request": lambda c, s: sees(c, "echo", {"a": [1, 2.5, None]}, [{"a": [1, 2.5, None]}]),
    "event": client_event,
    "stream": lambda c, s: sees(c, "stream.delayed", 1, [1, 2, 3]),
    "error": lambda c, s: sees(c, "rpc.object", 1, [], KAPUT),
    "unknown pattern": lambda c, s: sees(c, "no.such", 1, [], NO_HANDLER),
    "object pattern": lambda c, s: sees(c, {"b": 1, "a": "x"}, 1, ["two keys"]),
    "non-ASCII": lambda c, s: sees(c, "echo", TEXT, [TEXT]),
}


# ---------------------------------------------------------------- a local caller calls a NestJS server

def replies(caller, subject, data, values):
    items, got = caller.request(subject, json.dumps(data, ensure_ascii=False).encode())
    same(([json.loads(b) for b in (*items, got.body) if b], got.verb), (values, "REP"))


def fails(caller, subject, codes, detail):
    items, got = caller.request(subject, b"1")
    same((items, got.verb, got.subject in codes), ([], "ERR", True))
    if detail is not None:
        same(json.loads(got.body), detail)
    return got.subject


def server_event(caller, server):
    key = next(KEYS)
    same(caller.publish("user.created", json.dumps({"key": key}).encode()).verb, "OK")
    server.expect_seen("event", "user.created", key, 1)


OUT = {
    "request": lambda c, s: replies(c, "echo", {"a": [1, 2.5, None]}, [{"a": [1, 2.5, None]}]),
    "event": server_event,
    "stream": lambda c, s: replies(c, "stream.sync", 1, [1, 2, 3]),
    "error": lambda c, s: fails(c, "rpc.object", ("failed",), KAPUT) and None,
    # Nobody subscribes to the channel at Redis: there is no handler to say that it has none.
    "unknown pattern": lambda c, s: fails(c, "no.such", ("no-route", "no-service"), None),
    "object pattern": lambda c, s: replies(c, '{"b":1,"a":"x"}', 1, ["two keys"]),
    "non-ASCII": lambda c, s: replies(c, "echo", TEXT, [TEXT]),
}


# ---------------------------------------------------------------- the transports

class Tcp:
    def __init__(self, stack):
        self.edge, self.server_port = free_port(), free_port()
        self.endpoints = {"edge": {"listen": f"tcp://127.0.0.1:{self.edge}"},
                          "stock": {"connect": f"tcp://127.0.0.1:{self.server_port}", "ack": True}}
        self.source, self.target = "edge", "stock"

    def client(self):
        return NestClient(VERSION, self.edge)

    def server(self):
        return NestServer(VERSION, self.server_port)


class Redis:
    """Names of callers and servers are apart: both directions meet at one broker."""

    def __init__(self, stack):
        self.callers, self.servers = (stack.enter_context(contextlib.closing(RedisServer())) for _ in range(2))
        self.endpoints = {"edge": {"connect": f"redis://127.0.0.1:{self.callers.port}"},
                          "stock": {"connect": f"redis://127.0.0.1:{self.servers.port}", "ack": True}}
        self.source, self.target = {"endpoint": "edge", "pattern": "*"}, "stock"

    def client(self):
        with self.callers.client() as c:
            wait_until(lambda: c.call("PUBSUB", "NUMPAT"), "the subscription")
        return NestClient(VERSION, self.callers.port, transport="REDIS")

    def server(self):
        return NestServer(VERSION, self.servers.port, transport="REDIS")


class RabbitMq:
    QUEUE = {"durable": True}

    def __init__(self, stack):
        self.rabbit = stack.enter_context(contextlib.closing(Rabbit()))
        self.endpoints = {"edge": {"connect": self.rabbit.url()}, "stock": {"connect": self.rabbit.url(), "ack": True}}
        self.source = {"endpoint": "edge", "queue": "rooms", "declare": self.QUEUE}
        self.target = {"endpoint": "stock", "queue": "stock"}

    def options(self, queue):
        return {"transport": "RMQ", "urls": [self.rabbit.url()], "queue": queue, "queueOptions": self.QUEUE}

    def client(self):
        return NestClient(VERSION, 0, **self.options("rooms"))

    def server(self):
        return NestServer(VERSION, **self.options("stock"))


class Nats:
    def __init__(self, stack):
        self.callers, self.servers = (stack.enter_context(contextlib.closing(NatsServer())) for _ in range(2))
        self.endpoints = {"edge": {"connect": f"nats://127.0.0.1:{self.callers.port}"},
                          "stock": {"connect": f"nats://127.0.0.1:{self.servers.port}", "ack": True}}
        self.source, self.target = {"endpoint": "edge", "subject": ">", "queue": "rooms"}, "stock"

    def client(self):
        return NestClient(VERSION, 0, transport="NATS", servers=[f"127.0.0.1:{self.callers.port}"])

    def server(self):
        return NestServer(VERSION, transport="NATS", servers=[f"127.0.0.1:{self.servers.port}"])


TRANSPORTS = {"tcp": Tcp, "redis": Redis, "rabbit": RabbitMq, "nats": Nats}


def configuration(transport):
    config = rooms.configuration(0)
    for route in config["routes"]:
        route["from"] = transport.source
    return {"endpoints": transport.endpoints, "policies": {"default": policy("20s", attempts=4, delay="100ms")},
            "routes": config["routes"] + [{"name": "out", "from": "local", "match": ">", "to": transport.target}]}


def check(function, *arguments):
    try:
        return True, function(*arguments) or "ok"
    except Exception:  # whatever it is, it is what the cell has to say
        traceback.print_exc(file=sys.stdout)
        return False, "FAILED"


def column(transport_class):
    """(direction, row) -> (passed, text)"""
    with contextlib.ExitStack() as stack:
        transport = transport_class(stack)
        server = stack.enter_context(transport.server())
        daemon = Daemon(configuration(transport))
        stack.callback(daemon.stop)
        service = daemon.serve("rooms", rooms.handle)
        wait_until(lambda: all(e["state"] in ("up", "listening") for e in daemon.admin("status")["endpoints"]), "every endpoint up")
        client = stack.enter_context(transport.client())
        caller = stack.enter_context(daemon.connect())
        return {**{("NestJS client -> local service", row): check(f, client, service) for row, f in IN.items()},
                **{("local service -> NestJS server", row): check(f, caller, server) for row, f in OUT.items()}}


def prepare():
    """The NestJS peers and a Node.js for them, as the end-to-end tests have it."""
    spec = importlib.util.spec_from_file_location("e2e_run", os.path.join(os.path.dirname(HERE), "e2e", "run.py"))
    e2e = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(e2e)
    e2e.find_node()
    e2e.install(VERSION)


def main():
    names = sys.argv[1:] or list(TRANSPORTS)
    if set(names) - set(TRANSPORTS):
        sys.exit(__doc__)
    prepare()
    columns = {name: column(TRANSPORTS[name]) for name in names}
    print(" " * WIDTH + "".join(f"{name:>14}" for name in names))
    for key in columns[names[0]]:
        print(f"{key[0]}  {key[1]}".ljust(WIDTH) + "".join(f"{columns[name][key][1]:>14}" for name in names))
    cells = [cell for c in columns.values() for cell in c.values()]
    print(f"{sum(ok for ok, _ in cells)} passed, {sum(not ok for ok, _ in cells)} failed")
    return 0 if all(ok for ok, _ in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
