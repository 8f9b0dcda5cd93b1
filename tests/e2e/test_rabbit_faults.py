"""What happens to a broker happens to its daemon: restarts, stops, cuts, refusals, alarms, garbage. In each: nothing that was
acknowledged is lost, no busy loop, bounded memory."""
import contextlib
import signal
import socket
import struct
import tempfile
import threading
import time

from amqp_raw import Refused, long, short, table
from harness import SANITIZED, Case, Certificates, policy, wait_until
from proxy import Proxy
from rabbit_server import Rabbit
from test_rabbit import Base

PATIENT = {"default": policy("2s", attempts=1000, delay="100ms")}


GARBAGE = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\xff" * 2000,
           b"\x01\0\0\xff\xff\xff\xff",                      # a frame of 4 GiB
           b"\x01\0\0\0\0\0\x02\0\x0a\xce",                 # half a method
           b"\x02\0\x01\0\0\0\x0e" + b"\0" * 14 + b"\xce",  # a header on a channel that is not open
           b"\x01\0\0\0\0\0\x0c\0\x0a\0\x1e\0\0\0\0\0\0\0\0\xce"]  # tune before start


class Garbled(Proxy):
    """The first connections get garbage for an answer, one after the other; then it is the broker."""

    def __init__(self, port):
        self.left = list(GARBAGE)
        super().__init__(port)

    @property
    def garbage(self):
        return self.left.pop(0) if self.left else None

    @garbage.setter
    def garbage(self, _):
        pass


def method(channel, klass, id, arguments=b""):
    return packed(1, channel, struct.pack(">HH", klass, id) + arguments)


def packed(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def delivered(tag, body=b"x", size=None):
    head = method(1, 60, 60, short("rabbit") + struct.pack(">QB", tag, 0) + short("") + short("key"))
    return head + packed(2, 1, struct.pack(">HHQH", 60, 0, len(body) if size is None else size, 0)) + packed(3, 1, body)


# What a broker may not say to a consumer whose prefetch is 10, and what is said of it.
LIES = [(b"".join(delivered(i) for i in range(1, 22)), "more than `prefetch`"),
        (packed(3, 1, b"body"), "out of order"),
        (delivered(1, b"123456", 5), "longer than it said"),
        (delivered(1)[:-9] + delivered(2), "in the middle of a content"),
        (method(9, 60, 21, short("x")), "not open"),
        (packed(2, 1, struct.pack(">HHQH", 61, 0, 0, 0)), "another class"),
        (method(0, 10, 30, struct.pack(">HIH", 0, 131072, 60)), "out of order"),
        (method(1, 60, 40, b"\0\0" + short("") + short("q") + b"\0"), "does not send")]


class Liar:
    """A broker that does the handshake right and then says one of LIES to each consumer."""

    REPLIES = {(10, 11): method(0, 10, 30, struct.pack(">HIH", 10, 131072, 60)), (10, 40): method(0, 10, 41, short("")),
               (20, 10): (20, 11, long(b"")), (85, 10): (85, 11, b""), (60, 10): (60, 11, b""),
               (60, 20): (60, 21, short("rabbit"))}

    def __init__(self):
        self.left = list(LIES)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.one, args=(self.listener.accept()[0],), daemon=True).start()

    def one(self, sock):
        reader = sock.makefile("rb")
        with contextlib.suppress(OSError, struct.error):
            reader.read(8)
            sock.sendall(method(0, 10, 10, b"\0\x09" + table({}) + long("PLAIN") + long("en_US")))
            while True:
                kind, channel, size = struct.unpack(">BHI", reader.read(7))
                payload = reader.read(size + 1)
                id = struct.unpack(">HH", payload[:4]) if kind == 1 else None
                answer = self.REPLIES.get(id)
                if answer:
                    sock.sendall(answer if isinstance(answer, bytes) else method(channel, *answer))
                if id == (60, 20) and b"reply-to" not in payload and self.left:
                    sock.sendall(self.left.pop(0)[0])
        sock.close()

    def close(self):
        self.listener.close()


class Load:
    """A local publisher that keeps going; acked: the bodies whose OK has come."""

    def __init__(self, daemon, subject, window=20):
        self.acked, self.refused, self.running = [], [], True
        self.client, self.subject, self.window = daemon.connect(), subject, window
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        waiting, n = {}, 0
        while self.running or waiting:
            while self.running and len(waiting) < self.window:
                body = b"%d" % n
                waiting[self.client.start("PUB", self.subject, body, {"id": f"m{n}"})] = body
                n += 1
            got = self.client.expect("OK", "ERR")
            (self.acked if got.verb == "OK" else self.refused).append(waiting.pop(got.id))
            time.sleep(0.005)

    def stop(self):
        self.running = False
        self.thread.join(30)
        self.client.close()
        return set(self.acked)


class Feed:
    """A publisher at the broker that comes back after each loss; confirmed: bodies that the broker has confirmed."""

    def __init__(self, rabbit, queue):
        self.rabbit, self.queue, self.confirmed, self.running = rabbit, queue, set(), True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        n = 0
        while self.running:
            with contextlib.suppress(OSError, Refused, struct.error):
                client = self.rabbit.connect(timeout=5)
                while self.running:
                    client.publish("", self.queue, b"%d" % n, message_id=f"f{n}")
                    self.confirmed.add(b"%d" % n)
                    n += 1
                    time.sleep(0.01)
                client.close()
            n += 1
            time.sleep(0.1)

    def stop(self):
        self.running = False
        self.thread.join(30)
        return self.confirmed


class Faults(Base):
    def through(self, routes, endpoint=None, **more):
        """A durable daemon behind a proxy."""
        self.proxy = self.keep(Proxy(self.rabbit.port))
        return self.durable(routes, endpoint={"connect": self.rabbit.url(port=self.proxy.port), "heartbeat": "1s",
                                              "reconnect_max": "500ms", **(endpoint or {})}, policies=PATIENT, **more)

    def both_ways(self, q, **more):
        """local -> queue q.out, queue q.in -> worker; all durable."""
        for name in (q + ".out", q + ".in"):
            self.client.declare(name, **{"x-queue-type": "quorum"})
        return [{"from": "local", "match": "go", "to": self.target(queue=q + ".out"), "durable": True, **more},
                {"from": self.source(q + ".in", prefetch=50), "to": "worker", "durable": True, **more}]

    def idle(self, daemon, seconds=1.0):
        """CPU used meanwhile, as a share of one core."""
        before = daemon.cpu()
        time.sleep(seconds)
        return (daemon.cpu() - before) / seconds

    def assert_all_out(self, queue, acked):
        """Everything acknowledged is in the queue; what is there twice has the same id twice."""
        client = self.keep(self.rabbit.connect())
        seen = {}

        def all_there():
            for m in client.drain(queue):
                seen.setdefault(m.body, set()).add(m.properties["message_id"])
            return acked <= set(seen)
        wait_until(all_there, f"{len(acked)} in {queue}, there are {len(seen)}", 60)
        self.assertEqual({len(ids) for ids in seen.values()}, {1})

    def assert_all_in(self, worker, confirmed):
        wait_until(lambda: confirmed <= {d.body for d in list(worker.deliveries)}, f"{len(confirmed)} at the worker", 60)

    def assert_books(self, daemon):
        wait_until(lambda: daemon.admin("status")["messages"]["unaccounted"] == 0, "the books")
        self.assertEqual(daemon.admin("status")["messages"]["dead"], 0)


class CutCase(Faults, Case):
    def test_reset_again_and_again(self):
        """Also the lost confirms: what was published and not confirmed goes out again under its id."""
        q = self.name
        daemon = self.through(self.both_ways(q))
        worker = daemon.serve("worker")
        self.up(daemon)
        load, feed = Load(daemon, "go"), Feed(self.rabbit, q + ".in")
        for _ in range(15):
            time.sleep(0.15)
            self.proxy.cut()
        acked, confirmed = load.stop(), feed.stop()
        self.assertGreater(len(acked), 100)
        self.assert_all_out(q + ".out", acked)
        self.assert_all_in(worker, confirmed)
        self.assert_books(daemon)

    def test_split_at_every_byte(self):
        q = self.name
        routes = self.both_ways(q)
        daemon = self.through(routes)
        self.proxy.piece = 1
        worker = daemon.serve("worker")
        self.proxy.cut()
        load, feed = Load(daemon, "go", 5), Feed(self.rabbit, q + ".in")
        time.sleep(2)
        acked, confirmed = load.stop(), feed.stop()
        self.assertTrue(acked and confirmed)
        self.assert_all_out(q + ".out", acked)
        self.assert_all_in(worker, confirmed)
        self.assertEqual(self.endpoint(daemon)["bad"], 0)

    def test_half_open(self):
        """The port is open and nothing comes: noticed by the heartbeats that are missing."""
        q = self.name
        daemon = self.through(self.both_ways(q))
        daemon.serve("worker")
        self.up(daemon)
        load = Load(daemon, "go")
        self.proxy.stall()
        begun = time.monotonic()
        daemon.wait_log(lambda l: l.get("event") == "link_down" and "heartbeat" in l["reason"], "noticed", 10)
        self.assertLess(time.monotonic() - begun, 6)
        acked = load.stop()
        self.assertLess(self.idle(daemon), 0.05)
        self.assertLess(daemon.rss(), (400 if SANITIZED else 100) << 20)
        self.proxy.cut()
        self.proxy.go_on()
        self.assert_all_out(q + ".out", acked)
        self.assert_books(daemon)

    def test_lies(self):
        """Each costs the broker its connection, and is counted."""
        liar = self.keep(Liar())
        daemon = self.start([{"from": self.source("q", prefetch=10), "to": "w"}],
                            endpoint={"connect": self.rabbit.url(port=liar.port), "reconnect_max": "100ms"})
        for _, said in LIES:
            daemon.wait_log(lambda l: l.get("event") == "link_down" and said in l["reason"], said)
        self.assertEqual(self.endpoint(daemon)["bad"], len(LIES))

    def test_broker_stopped(self):
        """SIGSTOP: the kernel takes what we send, nobody reads it."""
        q = self.name
        daemon = self.durable(self.both_ways(q), endpoint={"heartbeat": "1s"}, policies=PATIENT)
        worker = daemon.serve("worker")
        self.up(daemon)
        load, feed = Load(daemon, "go"), Feed(self.rabbit, q + ".in")
        time.sleep(0.3)
        self.rabbit.stop_signal(signal.SIGSTOP)
        try:
            time.sleep(3.5)
            acked = load.stop()
            self.assertLess(self.idle(daemon), 0.05)
        finally:
            self.rabbit.stop_signal(signal.SIGCONT)
        confirmed = feed.stop()
        self.assert_all_out(q + ".out", acked)
        self.assert_all_in(worker, confirmed)
        self.assert_books(daemon)

    def test_no_broker_at_start(self):
        q = self.name
        self.client.declare(q)
        proxy = self.keep(Proxy(self.rabbit.port))
        proxy.refuse()
        daemon = self.durable([{"from": "local", "match": "go", "to": self.target(queue=q), "durable": True}],
                              endpoint={"connect": self.rabbit.url(port=proxy.port)})
        with daemon.connect() as client:
            for i in range(20):
                self.assertEqual(client.publish("go", b"%d" % i, {"id": f"m{i}"}).verb, "OK")
        self.assertIn(self.endpoint(daemon)["state"], ("down", "connecting"))
        self.assertLess(self.idle(daemon), 0.05)
        tried = proxy.accepted
        self.assertLess(tried, 40)
        proxy.refuse(False)
        self.assert_all_out(q, {b"%d" % i for i in range(20)})

    def test_second_address(self):
        q = self.name
        self.client.declare(q)
        proxy = self.keep(Proxy(self.rabbit.port))
        daemon = self.start([{"from": self.source(q), "to": "w"}],
                            endpoint={"connect": [self.rabbit.url(port=proxy.port), self.rabbit.url()]})
        worker = daemon.serve("w")
        self.up(daemon)
        proxy.refuse()
        wait_until(lambda: self.endpoint(daemon)["state"] == "up" and len(daemon.log("source_up")) >= 2, "on the other one")
        self.client.publish("", q, b"x")
        worker.wait(1)

    def test_garbage(self):
        proxy = self.keep(Garbled(self.rabbit.port))
        daemon = self.start([{"from": "local", "match": "go", "to": self.target(queue="q")}],
                            endpoint={"connect": self.rabbit.url(port=proxy.port), "reconnect_max": "200ms"})
        wait_until(lambda: self.endpoint(daemon)["state"] == "up", "up when the broker is one", 40)
        self.assertEqual(proxy.left, [])
        self.assertEqual(self.endpoint(daemon)["bad"], len(GARBAGE))
        self.assertLess(daemon.cpu(), 1)


class RefusalCase(Faults, Case):
    def refused(self, url, text):
        """The daemon is told no: it says so, tries seldom, and does not print the password."""
        daemon = self.start([{"from": "local", "match": "go", "to": self.target(queue="q")}], endpoint={"connect": url})
        row = wait_until(lambda: (r := self.endpoint(daemon))["state"] == "refused" and r, "the refusal")
        self.assertIn(text, row["error"])
        self.assertLess(self.idle(daemon), 0.05)
        self.assertNotIn("secret-word", daemon.log_text())
        self.assertLessEqual(len(daemon.log("link_down")), 2)

    def test_wrong_password(self):
        self.refused(self.rabbit.url(password="secret-word"), "403 ACCESS_REFUSED")

    def test_no_rights_in_the_vhost(self):
        self.refused(self.rabbit.url("nobody", "n"), "vhost '/' refused")

    def test_unknown_vhost(self):
        self.refused(self.rabbit.url(vhost="nowhere"), "530 NOT_ALLOWED - vhost nowhere not found")

    def test_vhost_with_a_slash(self):
        other = self.keep(self.rabbit.connect(vhost="shop/eu"))
        other.declare("q")
        daemon = self.start([{"from": self.source("q"), "to": "w"}], endpoint={"connect": self.rabbit.url(vhost="shop%2Feu")})
        worker = daemon.serve("w")
        self.up(daemon)
        other.publish("", "q", b"x")
        worker.wait(1)

    def test_queue_that_is_not_there(self):
        """Shown, tried again with longer pauses, and taken up when somebody makes it."""
        q = self.name
        daemon = self.start([{"from": self.source(q), "to": "w"}])
        worker = daemon.serve("w")
        row = wait_until(lambda: (r := self.endpoint(daemon))["state"] == "refused" and r, "the refusal")
        self.assertIn(f"404 NOT_FOUND - no queue '{q}'", row["error"])
        self.assertLess(self.idle(daemon), 0.05)
        self.client.declare(q)
        self.client.publish("", q, b"x")
        worker.wait(1)
        self.assertEqual(self.endpoint(daemon)["state"], "up")
        self.assertEqual(len(daemon.log("source_down")), 1)

    def test_queue_with_other_arguments(self):
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q, declare={"type": "quorum"}), "to": "w"}])
        row = wait_until(lambda: (r := self.endpoint(daemon))["state"] == "refused" and r, "the refusal")
        self.assertIn("406 PRECONDITION_FAILED", row["error"])

    def test_reader_without_rights(self):
        """Two sources of one endpoint: the one that may not be declared does not keep the other from its work."""
        q = self.name
        self.client.declare(q)
        daemon = self.start([{"from": self.source(q), "to": "w"},
                             {"from": self.source(q + ".new", declare={"durable": True}), "to": "w"}],
                            endpoint={"connect": self.rabbit.url("reader", "r")})
        worker = daemon.serve("w")
        wait_until(lambda: "ACCESS_REFUSED" in (self.endpoint(daemon)["error"] or ""), "the refusal")
        self.client.publish("", q, b"x")
        worker.wait(1)

    def test_queue_deleted_while_in_use(self):
        """What was out is answered to nobody; with `declare` it is made again, and what comes then is taken."""
        for kind in ("classic", "quorum"):
            q = f"{self.name}.{kind}"
            daemon = self.durable([{"from": self.source(q, declare={"type": kind}), "to": "w", "durable": True}])
            worker = daemon.serve("w")
            self.up(daemon)
            self.client.publish("", q, b"before")
            worker.wait(1)
            self.client.delete(q)
            wait_until(lambda: len(daemon.log("source_up")) == 2, "consumed again")
            self.client.publish("", q, b"after")
            self.assertEqual([d.body for d in worker.wait(2)], [b"before", b"after"])
            self.assertEqual(len(daemon.log("link_down")), 0)

    def test_memory_alarm(self):
        """connection.blocked holds the destination back; the source goes on, so that the broker gets rid of what it has."""
        q = self.name
        daemon = self.durable(self.both_ways(q), endpoint={"heartbeat": "1s"}, policies=PATIENT)
        worker = daemon.serve("worker")
        self.up(daemon)
        for i in range(20):
            self.client.publish("", q + ".in", b"%d" % i)
        worker.wait(20)
        for i in range(300):
            self.client.publish("", q + ".in", b"late%d" % i, confirm=False)
        self.rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            load = Load(daemon, "go")
            daemon.wait_log(lambda l: l.get("event") == "broker_blocked", "blocked")
            sent = self.endpoint(daemon)["sent"]
            worker.wait(320)
            time.sleep(2.5)  # longer than an attempt may take
            acked = load.stop()
            self.assertEqual(self.endpoint(daemon)["sent"], sent)
            self.assertEqual(daemon.log("breaker_open"), [])
            self.assertLess(self.idle(daemon), 0.05)
            self.assertEqual(len(daemon.log("link_down")), 0)
        finally:
            self.rabbit.ctl("set_vm_memory_high_watermark", "0.9")
        self.assertGreater(len(acked), 100)
        self.client.close()
        self.assert_all_out(q + ".out", acked)
        self.assert_books(daemon)


class TlsCase(Base, Case):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="bellhop-e2e-")
        cls.addClassCleanup(folder.cleanup)
        cls.certificates = Certificates(folder.name)
        for name in ("broker", "node", "stranger"):
            cls.certificates.issue(name)
        cls.rabbit = cls.class_keep(Rabbit(cls.certificates))

    def secure(self, profile, **endpoint):
        q = self.name
        self.client.declare(q)
        user = "" if endpoint.get("auth") == "external" else "guest:guest@"
        return self.start([{"from": self.source(q), "to": "w"}, {"from": "local", "match": ">", "to": self.target(queue=q)}],
                          endpoint={"connect": f"amqps://{user}localhost:{self.rabbit.tls_port}", "tls": "mesh", **endpoint},
                          tls={"mesh": profile})

    def works(self, daemon):
        worker = daemon.serve("w")
        self.up(daemon)
        with daemon.connect() as client:
            self.assertEqual(client.publish("x", b"body").verb, "OK")
        self.assertEqual(worker.wait(1)[0].body, b"body")

    def test_certificate_is_the_user(self):
        self.works(self.secure(self.certificates.profile("node"), auth="external"))
        self.assertIn("node", self.rabbit.ctl("list_connections", "user"))

    def test_password_within_tls(self):
        self.works(self.secure(self.certificates.profile("node")))

    def test_certificate_of_no_user(self):
        daemon = self.secure(self.certificates.profile("stranger"), auth="external")
        row = wait_until(lambda: (r := self.endpoint(daemon))["state"] == "refused" and r, "the refusal")
        self.assertIn("403 ACCESS_REFUSED", row["error"])

    def test_broker_of_another_authority(self):
        self.certificates.authority("other")
        self.certificates.issue("foreign", ca="other")
        daemon = self.secure(self.certificates.profile("node", ca="other"))
        daemon.wait_log(lambda l: l.get("event") == "link_down" and "TLS" in l["reason"], "refused")
