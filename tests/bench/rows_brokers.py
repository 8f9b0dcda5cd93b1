"""The rows about brokers: the official C client straight, or NestJS, against Bellhop over the same broker."""

import functools

import brokers
from row import Row, View, size_text

WINDOW = 512        # RabbitMQ: unconfirmed, or delivered and not acknowledged
READ_COUNT = 256    # Redis streams: entries of a read, and in hand
PUBSUB_WINDOW = 1024
# Messages that a sample takes from a queue or stream filled before, for each second asked for.
QUEUED, STREAMED = 60000, 250000

OUT_ROUTE = "  - { name: out, from: local, match: bench.0, to: { endpoint: broker, codec: raw, queue: %s }%s }\n"
IN_ROUTE = "  - { name: in, from: { endpoint: broker, codec: raw, %s }, to: sink }\n"


def views(what, must, aim):
    return [View(what, "rate", "/s", True, must, aim),
            View("the same: CPU per message, daemon to C client", "cpu", "µs", False, 1.0, 0.5)]


# ---- RabbitMQ

def rabbit_publish(h, size):
    with brokers.Queue(h, h.once(brokers.rabbit)) as q:
        sample = q.straight("publish", "-W", WINDOW, "-s", size, timed=True)
        q.left = sample["done"]
        return sample


def daemon_publish(h, size, durable=", durable: true"):
    with brokers.Queue(h, h.once(brokers.rabbit)) as q, brokers.Store(h) as store:
        d = brokers.daemon(h, q.broker, OUT_ROUTE % (q.name, durable), WINDOW, store)
        try:
            sample = h.load("forward", "-a", d.address, "-A", d.admin(), "-W", WINDOW,
                            "-B", 2 * WINDOW, "-s", size, pids=[d.pid])
        finally:
            d.stop()
        q.left = sample["done"]
        return sample


def filled_queue(h, size):
    q = brokers.Queue(h, h.once(brokers.rabbit))
    q.straight("declare")
    q.straight("publish", "-W", WINDOW, "-s", size, "-n", count(h, QUEUED))
    return q


def count(h, each_second):
    return int(h.seconds * each_second)


def rabbit_consume(h, size):
    with filled_queue(h, size) as q:
        return q.straight("consume", "-W", WINDOW, "-s", size, "-n", count(h, QUEUED))


def daemon_consume(h, size):
    with filled_queue(h, size) as q:
        d = brokers.daemon(h, q.broker, IN_ROUTE % f"queue: {q.name}, prefetch: {WINDOW}", WINDOW)
        try:
            return sink(h, d, size, QUEUED)
        finally:
            d.stop()        # what it has not acknowledged is back in the queue then


def sink(h, d, size, each_second):
    return h.load("sink", "-a", d.address, "-s", size, "-n", count(h, each_second), pids=[d.pid], timed=False)


def rabbit_rows(sizes):
    for size in sizes:
        yield Row("rabbit-publish", size_text(size), [("rabbitmq-c", functools.partial(rabbit_publish, size=size))],
                  functools.partial(daemon_publish, size=size),
                  views("RabbitMQ: durable publish to confirmed by a quorum queue", 0.8, 0.95))
    for size in sizes:
        yield Row("rabbit-publish", size_text(size), [("rabbitmq-c", functools.partial(rabbit_publish, size=size))],
                  functools.partial(daemon_publish, size=size, durable=""),
                  views("RabbitMQ: publish to confirmed, no store between", 0.8, 0.95))
    for size in sizes:
        yield Row("rabbit-consume", size_text(size), [("rabbitmq-c", functools.partial(rabbit_consume, size=size))],
                  functools.partial(daemon_consume, size=size),
                  views("RabbitMQ: quorum queue to settled by a service", 0.8, 0.95))


# ---- Redis

def straight_pubsub(h, size):
    sample = brokers.straight(h, h.once(brokers.redis), "pubsub", "-W", PUBSUB_WINDOW, "-s", size, timed=True)
    return {**sample, "cpu": sample["subscriber_cpu_us"]}


def daemon_pubsub(h, size):
    broker = h.once(brokers.redis)
    d = brokers.daemon(h, broker, IN_ROUTE % "channel: bench", WINDOW)
    try:
        return h.load("straight-redis", "pubsub", "-a", broker.port, "-l", d.address, "-W", PUBSUB_WINDOW, "-s", size,
                      pids=[d.pid])
    finally:
        d.stop()


class Stream:
    """A Redis of its own with a stream that every sample reads from the first entry, each as another group."""

    def __init__(self, h, size):
        self.broker, self.samples = brokers.redis(h), 0
        brokers.straight(h, self.broker, "fill", "-s", size, "-n", count(h, STREAMED))

    def group(self):
        self.samples += 1
        return f"g{self.samples}"


def filled_stream(h, size):
    return h.once(Stream, size)


def straight_stream(h, size):
    s = filled_stream(h, size)
    return brokers.straight(h, s.broker, "stream", "-g", s.group(), "-s", size, "-n", count(h, STREAMED))


def daemon_stream(h, size):
    s = filled_stream(h, size)
    source = f"stream: bench, group: {s.group()}, start: \"0\", count: {READ_COUNT}"
    d = brokers.daemon(h, s.broker, IN_ROUTE % source, WINDOW)
    try:
        return sink(h, d, size, STREAMED)
    finally:
        d.stop()


def redis_rows(sizes):
    for size in sizes:
        yield Row("redis-pubsub", size_text(size), [("hiredis", functools.partial(straight_pubsub, size=size))],
                  functools.partial(daemon_pubsub, size=size),
                  views(f"Redis: channel to a service, window {PUBSUB_WINDOW:,}", 0.5, 0.8))
    for size in sizes:
        yield Row("redis-stream", size_text(size), [("hiredis", functools.partial(straight_stream, size=size))],
                  functools.partial(daemon_stream, size=size),
                  views("Redis: stream to settled by a service, XACK", 0.5, 0.8))


# ---- NestJS

def nest(pair, make, size):
    return lambda h: h.once(pair, make).run(64, size)


def nest_rows(sizes):
    for make, ours, key, name in ((brokers.redis, brokers.redis_too, "redis-nest", "Redis"),
                                  (brokers.rabbit, brokers.rabbit, "rabbit-nest", "RabbitMQ")):
        for size in sizes:
            yield Row(key, size_text(size), [("NestJS server", nest(brokers.nest_pair, make, size))],
                      nest(brokers.nest_daemon, ours, size),
                      [View(f"{name}: NestJS client to a C service, 64 in flight", "rate", "/s", True, 1.2, 1.6)])


def broker_rows(sizes):
    for group in (rabbit_rows, redis_rows, nest_rows):
        yield from group(sizes)
