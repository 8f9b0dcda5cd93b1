"""The rows of the table: what is run, against what, and which figures count."""

import time

import stacks
from harness import connect, rss_kib
from row import Row, View, size_text
from rows_brokers import broker_rows
from rows_durable import durable_rows

IDLE_CLIENTS = 10000
IDLE_CLIENTS_OTHERS = 1000
COLD_ROUTES = 99990


def nestload(conns, in_flight, size, *more):
    """A sample taken by nestload against stack(h) = (address, pids of the hop, pids of the service)."""
    def on(stack):
        def run(h):
            address, pids = stack(h)
            return h.load("nestload", "-a", address, "-c", conns, "-f", in_flight, "-s", size, *more, pids=pids)
        return run
    return on


def on_relay(kind):
    return lambda h: h.once(stacks.relay, kind)[:2]


def on_daemon(make, *args):
    def stack(h):
        d = h.once(make, *args)
        return d.edge, [d.pid]
    return stack


def relay_rows(sizes):
    kinds = [
        ("p50", "pair", 1, 1, View("NestJS frame in, C service, 1 in flight: p50", "p50_us", "µs", False, 1.25, 1.10)),
        ("c64", "mux", 64, 64, View("the same, 64 connections x 1", "rate", "/s", True, 0.75, 1.0)),
        ("pipe64", "mux", 1, 64, View("the same, 1 connection x 64", "rate", "/s", True, 0.45, 0.90)),
        ("c1000", "mux", 1000, 1000, View("the same, 1,000 connections", "rate", "/s", True, 0.75, 0.95)),
    ]
    for key, relay, conns, in_flight, view in kinds:
        for size in sizes:
            run = nestload(conns, in_flight, size)
            yield Row(key, size_text(size), [(f"relay {relay}", run(on_relay(relay)))],
                      run(on_daemon(stacks.daemon_echo)), [view])


def node_rows(sizes):
    for size in sizes:
        run = nestload(64, 64, size, "-w", 500)
        yield Row("node", size_text(size), [("NestJS server", run(lambda h: h.once(stacks.nest_server)))],
                  run(on_daemon(stacks.daemon_node)),
                  [View("64 connections to a Node service on our client", "rate", "/s", True, 2.5, 3.5)])


def by_nest_client(in_flight, size, port):
    def run(h):
        client = h.once(stacks.nest_client, port(h))
        return client.run(in_flight, size)
    return run


def nest_rows(sizes):
    def server(h):
        return int(h.once(stacks.nest_server)[0].split(":")[1])

    def daemon(h):
        return h.once(stacks.daemon_echo).port

    for in_flight, view in [
            (1, View("NestJS client to a C service, 1 in flight: p50", "p50_us", "µs", False, 1.2, 1.0)),
            (64, View("the same, 64 in flight", "rate", "/s", True, 1.2, 2.0))]:
        for size in sizes:
            yield Row("nest", size_text(size), [("NestJS server", by_nest_client(in_flight, size, server))],
                      by_nest_client(in_flight, size, daemon), [view])


def pubsub(dialect, server, window, size, *more):
    """server(h) -> (address, pid)"""
    def run(h):
        address, pid = server(h)
        s = h.load("pubsub", "-m", dialect, "-a", address, "-W", window, "-s", size, *more, pids=[pid])
        s["us"] = 1e6 / s["rate"]
        return s
    return run


def broker(make, greet):
    def ready(h):
        process, address = make(h)
        process.wait_for(lambda: greet(connect(address)))
        return address, process.pid
    ready.__name__ = make.__name__ + "_ready"
    return lambda h: h.once(ready)


def local(*args):
    def server(h):
        d = h.once(stacks.daemon_events, *args)
        return d.address, d.pid
    return server


def event_rows(sizes):
    nats = broker(stacks.nats, stacks.nats_ready)
    redis = broker(stacks.redis, stacks.redis_ready)
    for window in (64, 1024, 8192):
        for size in sizes:
            yield Row("event", size_text(size),
                      [("nats", pubsub("nats", nats, window, size)), ("redis", pubsub("redis", redis, window, size))],
                      pubsub("local", local(), window, size),
                      [View(f"local event, publisher to subscriber, window {window:,}", "rate", "/s", True, 1.0, 1.5)])


def route_rows(sizes):
    size = sizes[0]
    yield Row("routes", size_text(size), [("10 routes", pubsub("local", local(), 1024, size, "-n", 10))],
              pubsub("local", local(COLD_ROUTES), 1024, size, "-n", 10),
              [View("100,000 routes, 10 hot: time per event", "us", "µs", False, 1.2, 1.05),
               View("the same: daemon's CPU per event", "cpu", "µs", False, 1.2, 1.05)])


def attach_idle(greet, address, count):
    """Connections that have said hello and then say nothing."""
    socks = []
    for _ in range(count):
        s = connect(address, 20)
        socks.append(s)
        greet(s)
    return socks


def memory_per_client(name, count):
    def run(h):
        make, greet = stacks.SERVERS[name]
        process, address = make(h)
        process.wait_for(lambda: greet(connect(address)))
        time.sleep(0.3)
        before = rss_kib(process.pid)
        socks = attach_idle(greet, address, count)
        time.sleep(0.3)
        sample = {"kib": (rss_kib(process.pid) - before) / count}
        for s in socks:
            s.close()
        process.stop()
        return sample
    return run


def daemon_crowd(h):
    d = stacks.Daemon(h, stacks.ECHO_ROUTE, clients=20000).ready().service(count=100)
    socks = attach_idle(stacks.bellhop_ready_named, d.address, IDLE_CLIENTS)
    h.cleanups += [d.stop] + [s.close for s in socks]
    return d


def crowd_rows(sizes):
    run = nestload(64, 64, sizes[0])

    def timed(stack):
        def sample(h):
            s = run(stack)(h)
            s["us"] = 1e6 / s["rate"]
            return s
        return sample

    yield Row("crowd", size_text(sizes[0]), [("1 service", timed(on_daemon(stacks.daemon_echo)))],
              timed(on_daemon(daemon_crowd)),
              [View("100 services, 10,000 idle clients: time per request", "us", "µs", False, 1.2, 1.0)])
    others = [(n, memory_per_client(n, IDLE_CLIENTS_OTHERS)) for n in ("mosquitto", "beanstalkd", "nats-server")]
    yield Row("memory", "-", others, memory_per_client("bellhopd", IDLE_CLIENTS),
              [View("memory per idle client, all of one service", "kib", "KiB", False, 4, 1, "value")])
    yield Row("memory", "-", others, memory_per_client("bellhopd, names", IDLE_CLIENTS),
              [View("the same, each a service of its own", "kib", "KiB", False, 4, 1, "value")])


def start_up(name):
    def run(h):
        make, greet = stacks.SERVERS[name]
        process, address = make(h)
        process.wait_for(lambda: greet(connect(address)), pause=0.0002)
        ready = time.monotonic() - process.started
        time.sleep(0.5)
        sample = {"ready_ms": ready * 1000, "rss_mib": rss_kib(process.pid) / 1024}
        process.stop()
        return sample
    return run


def start_rows(_sizes):
    yield Row("start", "-", [(n, start_up(n)) for n in ("nats-server", "mosquitto", "beanstalkd")],
              start_up("bellhopd"),
              [View("idle RSS", "rss_mib", "MiB", False, 8, 4, "value"),
               View("ready after exec", "ready_ms", "ms", False, 25, 10, "value")])


def cpu_rows(_sizes):
    run = nestload(16, 16, 1024, "-r", 1000)

    def sample(stack):
        def f(h):
            s = run(stack)(h)
            s["mcpu"] = s["cpu"] * s["rate"] / 1000
            return s
        return f

    yield Row("cpu", "1 KiB", [("relay mux", sample(on_relay("mux")))], sample(on_daemon(stacks.daemon_echo)),
              [View("1,000 requests/s on 16 connections: CPU", "mcpu", "mCPU", False, 40, 20, "value")])
    yield Row("cpu", "1 KiB", [("no hop", sample(lambda h: h.once(stacks.direct)))],
              sample(on_daemon(stacks.daemon_echo)),
              [View("the same: added p50", "p50_us", "µs", False, 100, 50, "added")])


GROUPS = [relay_rows, node_rows, nest_rows, event_rows, route_rows, crowd_rows, start_rows, cpu_rows, durable_rows,
          broker_rows]


def all_rows(sizes):
    return [row for group in GROUPS for row in group(sizes)]
