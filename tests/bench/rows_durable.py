"""The rows about durable messages. Every sample starts its server on an empty store: nothing that an
earlier one left behind is in its way."""

import shutil

import stacks
from harness import Failed, connect, rss_kib
from row import Row, View, size_text

# dialect -> (how it is started, how one sees that it is ready)
STORES = {
    "local": (stacks.daemon_durable, stacks.bellhop_ready),
    "jetstream": (stacks.jetstream, stacks.nats_ready),
    "jetstream 1P": (stacks.jetstream_1p, stacks.nats_ready),
    "redis": (stacks.redis_synced, stacks.redis_ready),
    "beanstalkd": (stacks.beanstalkd_synced, stacks.beanstalkd_ready),
}


def durable(name, conns, window, size, *more):
    make, greet = STORES[name]

    def run(h):
        folder = h.new_folder()
        process, address = make(h, folder)
        try:
            process.wait_for(lambda: greet(connect(address)))
            return h.load("durable", "-m", name.split()[0], "-a", address, "-c", conns, "-W", window,
                          "-s", size, *more, pids=[process.pid])
        finally:
            process.stop()
            shutil.rmtree(folder)
    return run


def bare(batch, size, *more):
    """Writes and syncs in a loop; no process between."""
    def run(h):
        folder = h.new_folder()
        try:
            return h.load("sync", "-f", f"{folder}/file", "-b", batch, "-s", size, *more)
        finally:
            shutil.rmtree(folder)
    return run


def disk(batch, size):
    return [("growing file", bare(batch, size)), ("preallocated", bare(batch, size, "-P"))]


def jetstream(conns, window, size, *more):
    """On all cores and on one: now this, now that is faster."""
    return [("JetStream", durable("jetstream", conns, window, size, *more)),
            ("JetStream 1P", durable("jetstream 1P", conns, window, size, *more))]


def one_rows(sizes):
    for size in sizes:
        yield Row("durable-1", size_text(size), disk(1, size), durable("local", 1, 1, size),
                  [View("durable publish, 1 in flight: p50", "p50_us", "µs", False, 1.6, 1.2, against="growing")])


def window_rows(sizes):
    size = sizes[-1]
    yield Row("durable-256", size_text(size),
              jetstream(1, 256, size) + [("Redis", durable("redis", 1, 256, size))], durable("local", 1, 256, size),
              [View("durable publish, window 256", "rate", "/s", True, 0.7, 1.2, against="JetStream"),
               View("the same against Redis", "rate", "/s", True, 3, 3, against="Redis")])


def settle_rows(sizes):
    for size in sizes:
        yield Row("durable-settle", size_text(size), jetstream(1, 256, size, "-S"),
                  durable("local", 1, 256, size, "-S"),
                  [View("durable publish, deliver, settle, window 256", "rate", "/s", True, 1.5, 4)])


def producer_rows(sizes):
    for size in sizes:
        yield Row("durable-64", size_text(size),
                  [("Redis", durable("redis", 64, 1, size)), ("beanstalkd", durable("beanstalkd", 64, 1, size))],
                  durable("local", 64, 1, size),
                  [View("durable publish, 64 producers x 1", "rate", "/s", True, 1.2, 2.5, against="Redis")])


def limit_rows(sizes):
    size = sizes[-1]
    for conns, window, what in [(1, 256, "window 256"), (64, 1, "64 producers x 1")]:
        yield Row("durable-limit", size_text(size), disk(conns * window, size), durable("local", conns, window, size),
                  [View(f"durable publish, {what}: of the group-commit limit", "rate", "/s", True, 0.2, 0.5,
                        against="growing")])


def requests(*durable_load):
    """Requests to a service, 1,000 a second, while that load of durable events goes as fast as it can."""
    def run(h):
        folder = h.new_folder()
        d = stacks.daemon_both(h, folder)
        load = h.start("durable", [h.tool("durable"), "-m", "local", "-a", d.address, "-s", "1024",
                                   "-d", "600000", *durable_load]) if durable_load else None
        try:
            sample = h.load("nestload", "-a", d.edge, "-c", 16, "-f", 16, "-s", 100, "-r", 1000)
            if load and load.popen.poll() is not None:
                raise Failed(f"the durable load ended: {load.tail()}")
            return sample
        finally:
            if load:
                load.stop()
            d.stop()
            shutil.rmtree(folder)
    return run


def beside_rows(sizes):
    for load, what in [(("-c", "16"), "16 producers x 1"), (("-W", "256"), "window 256")]:
        yield Row("durable-beside", size_text(sizes[0]), [("alone", requests())], requests(*load),
                  [View(f"1,000 requests/s beside durable publish, {what}: p99", "p99_us", "µs", False, 2, 1.2)])


def with_memory(process, address, h, size):
    s = h.load("durable", "-m", "local", "-a", address, "-W", 256, "-s", size, pids=[process.pid])
    return {**s, "us": 1e6 / s["rate"], "rss_mib": rss_kib(process.pid) / 1024}


def backlog_rows(sizes):
    size = sizes[0]

    def empty(h):
        folder = h.new_folder()
        process, address = stacks.daemon_durable(h, folder)
        try:
            process.wait_for(lambda: stacks.bellhop_ready(connect(address)))
            return with_memory(process, address, h, size)
        finally:
            process.stop()
            shutil.rmtree(folder)

    def full(h):
        d = h.once(stacks.daemon_backlog)
        return with_memory(d.process, d.address, h, size)

    yield Row("durable-backlog", size_text(size), [("empty store", empty)], full,
              [View("durable publish, window 256, onto a backlog: time per message", "us", "µs", False, 1.5, 1.1),
               View("the same: resident memory", "rss_mib", "MiB", False, 64, 16, "added")])


def durable_rows(sizes):
    for group in (one_rows, window_rows, settle_rows, producer_rows, limit_rows, beside_rows, backlog_rows):
        yield from group(sizes)
