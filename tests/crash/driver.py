"""Lives of a daemon on one store: publishers and services around it, an end at some moment, and the next life.

The choices come from the seed; which of them meets which state of the daemon does not.
"""
import collections
import contextlib
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402
from oracle import STRICT, Message, Oracle  # noqa: E402

Service = harness.Service
READY_MAX = 1.0     # seconds from the start of the process to its ready line (P2)
BACKLOG_MAX = 3000  # acknowledged deliveries that no service has answered yet; above it nothing new is published
PER_LIFE = 120      # new messages of a publisher in one life
DRAIN = 60.0        # seconds for the last drain
CONFIG = {
    "log": {"level": "info", "format": "json"},
    "drain_timeout": "200ms",  # shorter than the time-out: something may be in flight at its end
    "services": {"open": True, STRICT: {"order_by": "header:key", "order": "strict"}},
    "policies": {"hard": harness.policy("2s", attempts=100000, delay="1ms", breaker={"failures": 1000000}, crashes=0)},
    "routes": [
        {"name": "direct", "from": "local", "match": "d.*", "to": "sink", "durable": True, "policy": "hard",
         "log": {"name": "direct", "keep": "unlimited", "max_size": "unlimited"}},
        {"name": "fan", "from": "local", "match": "f.*", "to": ["left", "right"], "durable": True, "policy": "hard"},
        {"name": "once", "from": "local", "match": "u.*", "to": "once", "durable": True, "policy": "hard",
         "dedupe": {"by": "id", "window": "1h"}},
        {"name": "outbox", "from": "local", "match": "o.*", "to": "last", "durable": True, "policy": "hard"}],
}
SERVICES = ("sink", "sink", "left", "right", "right", "last", "once")


class Publisher:
    """Sends in the order of its numbers; what has no OK when a life ends goes first in the next one."""

    def __init__(self, name, subject, seed, oracle):
        self.name, self.subject, self.oracle = name, subject, oracle
        self.rng = random.Random(f"{seed} {name}")
        self.seq = 0
        self.pending = {}  # seq -> Message, in order

    def _next(self, resend, budget):
        if resend:
            return resend.popleft()
        if budget <= 0 or self.oracle.open > BACKLOG_MAX:
            return None
        self.seq += 1
        message = Message(self.name, self.seq, f"{self.subject}.{self.rng.choice('abc')}")
        self.pending[self.seq] = message
        return message

    def run(self, path, fresh):
        """One life: resends, then `fresh` new messages, then waits for the end of the connection."""
        with contextlib.suppress(OSError, AssertionError):  # the daemon may be gone before it answers HELLO
            client = harness.Local(path, self.name)
            with client, contextlib.suppress(ValueError):
                self._publish(client, collections.deque(self.pending.values()), fresh)

    def _publish(self, client, resend, fresh):
        window, out, open_to_more = self.rng.choice((1, 4, 16, 64)), {}, True
        while True:
            burst = b""
            while open_to_more and len(out) < window:
                resent = bool(resend)
                message = self._next(resend, fresh)
                if message is None:
                    break
                fresh -= not resent
                client.last_id += 1
                out[client.last_id] = message
                burst += harness.frame("PUB", client.last_id, message.subject, {"id": message.id, "key": message.key},
                                       message.body(self.oracle.send(message)))
            if burst:
                client.raw(burst)
            try:
                got = client.recv(0.05 if open_to_more and not out else harness.PATIENCE)
            except TimeoutError:
                if out:
                    self.oracle.violate("every PUB is answered", f"{self.name}: {len(out)} are not")
                    return
                continue
            if got is None or got.verb == "BYE":
                open_to_more = False
            if got is None:
                return
            self._answered(client, got, out)

    def _answered(self, client, got, out):
        if got.verb == "PING":
            client.send("PONG", got.id)
        elif got.verb == "OK":
            message = out.pop(got.id)
            del self.pending[message.seq]
            self.oracle.acknowledge(message)
        elif got.verb == "ERR" and got.id:
            out.pop(got.id)  # stored or not: it is sent again in the next life
            if got.subject not in ("draining", "unavailable", "overloaded"):
                self.oracle.violate("every PUB is answered", f"{self.name}: {got}")


class Consumer:
    """One instance of a service: mostly OK; now and then it fails, gives back, or dies with what it holds."""

    def __init__(self, life, target, number, calm):
        self.life, self.target, self.number, self.calm = life, target, number, calm
        self.rng = random.Random(f"{life.seed} {life.number} {number}")
        self.held, self.dead = 0, False
        self.service = Service(life.daemon.socket, target, self.handle, credit=self.rng.choice((1, 8, 64)))

    def handle(self, got, service):
        if self.dead:
            return Service.LATER
        if self.target == "last":
            return self.life.oracle.staged_delivered(got) or b""
        message, send = self.life.oracle.delivered(self.life.number, self.number, self.target, got)
        if message is None:
            return b""
        answer = self._choose(message, got.headers.get("redelivered"))
        self.life.oracle.answered(message, self.target, send, answer)
        if answer == "OK" and message.stages(self.target):
            id, body = self.life.oracle.stage(message, send)
            service.client.start("PUB", "o.x", body, {"with": got.id, "id": id})
        if answer == "refused":
            raise Service.Err("failed", b"never", {"retry": "no"})
        if answer in ("failed", "release"):
            raise Service.Err(answer)
        if answer == "held":
            self._hold(service)
        return b"" if answer == "OK" else Service.LATER

    def _choose(self, message, redelivered):
        dice = self.rng.random()
        if message.poison and redelivered != "redrive":
            return "refused"
        if self.calm or dice < 0.93:
            return "OK"
        return "failed" if dice < 0.96 else "release" if dice < 0.98 else "held"

    def _hold(self, service):
        self.held += 1
        if self.held > 2:
            self.dead = True
            with contextlib.suppress(OSError):
                service.client.sock.shutdown(2)
            self.life.replace(self)


class Life:
    """One process of the daemon."""

    def __init__(self, run, env=None, calm=False):
        self.number, self.seed, self.oracle, self.calm = run.lives, run.seed, run.oracle, calm
        self.run, self.ended, self.last_words = run, False, ""
        self.consumers, self.threads = [], []
        self.lock = threading.Lock()
        self.started = time.monotonic()
        self.daemon = harness.Daemon(run.config(), env=env, wait=False, folder=run.folder)

    def ready(self):
        """Whether it came up; its books are looked at before it has anything to do."""
        try:
            self.daemon.wait_ready()
        except AssertionError:
            return False
        self.run.ready_times.append(time.monotonic() - self.started)
        with contextlib.suppress(OSError, AssertionError):
            books = self.daemon.admin("audit")  # counts every row
            self.run.audits += 1
            if books["unaccounted"] != 0 or books["findings"]:
                self.oracle.violate("books add up at every start (S2)", f"life {self.number}: {books}")
        return True

    def serve(self):
        for target in SERVICES:
            self._attach(target)

    def publish(self, fresh):
        for publisher in self.run.publishers:
            thread = threading.Thread(target=publisher.run, args=(self.daemon.socket, fresh), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _attach(self, target):
        with self.lock, contextlib.suppress(OSError, AssertionError):
            if not self.ended:
                self.consumers.append(Consumer(self, target, len(self.consumers), self.calm))

    def replace(self, consumer):
        """Another instance in the place of one that died; in a thread of its own, as it dies in its own."""
        threading.Thread(target=self._attach, args=(consumer.target,), daemon=True).start()

    def redrive(self):
        with contextlib.suppress(OSError, AssertionError):
            self.run.redriven += self.daemon.admin("dlq.redrive", b'{"limit": 100}')["count"]

    def alive_until(self, moment):
        while time.monotonic() < moment and self.daemon.process.poll() is None:
            time.sleep(min(0.003, max(moment - time.monotonic(), 0)))
        return self.daemon.process.poll() is None

    def kill(self):
        """Whether it was still there to be killed."""
        there = self.daemon.process.poll() is None
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.last_words = self.daemon.log_text()[-600:]
        self._close()
        return there

    def stop(self):
        """SIGTERM under load (P5): it ends with 0 in its time."""
        self.daemon.signal(signal.SIGTERM)
        try:
            code = self.daemon.wait_exit(15)
        except subprocess.TimeoutExpired:
            code = "no exit within 15 s"
        if code != 0:
            self.oracle.violate("SIGTERM ends cleanly (P5)", f"life {self.number}: {code}")
        self.kill()

    def _close(self):
        with self.lock:
            self.ended = True
        for consumer in self.consumers:
            consumer.service.close()
        for thread in self.threads:
            thread.join(harness.PATIENCE)
        self.oracle.forget_life(self.number)
        log = self.daemon.log()
        self.run.timeouts += [self.number for line in log if line.get("event") == "delivery_timeout"]
        bad = [line for line in log if line.get("level") in ("error", "ERROR")]
        for line in bad:
            self.oracle.violate("no error in the log", f"life {self.number}: {line}")
        with contextlib.suppress(AssertionError):
            self.daemon.check_clean()
            if not bad:
                os.unlink(self.daemon.log_path)
            return
        self.oracle.violate("no sanitizer report", self.daemon.log_path)


class Run:
    """Many lives on one folder, and the judgement at the end."""

    def __init__(self, seed, env=None):
        self.seed, self.env = seed, env
        self.rng = random.Random(f"{seed} main")
        self.folder = tempfile.mkdtemp(prefix="bellhop-crash-")
        self.oracle = Oracle()
        self.publishers = [Publisher("p1", "d", seed, self.oracle), Publisher("p2", "d", seed, self.oracle),
                           Publisher("p3", "f", seed, self.oracle), Publisher("p4", "u", seed, self.oracle)]
        self.lives = self.kills = self.stops = self.audits = self.redriven = self.lost = 0
        self.ready_times, self.dead_rows = [], []
        self.timeouts = []  # lives in which a service took longer than the policy's time-out, once for each delivery

    def config(self):
        return {**CONFIG, "store": {"path": os.path.join(self.folder, "store")}}

    def life(self, **more):
        self.lives += 1
        if self.lives % 20 == 0:  # nothing runs now; what is left of the lives before are rings
            gc.collect()
            gc.freeze()  # what the oracle knows need not be looked at again
        return Life(self, **more)

    def random_life(self, longest=0.06):
        """Ends by kill -9, within `longest` of having something to do; now and then while it starts, or by SIGTERM."""
        life = self.life()
        how = self.rng.random()
        if how < 0.05:
            life.alive_until(life.started + self.rng.uniform(0.001, 0.03))
        elif not life.ready():
            self.oracle.violate("it starts", f"life {life.number}: {life.daemon.log_text()[-600:]}")
        else:
            self._work(life, self.rng.uniform(0.001, longest))
            if how > 0.97:
                self.stops += 1
                life.stop()
                return
        if life.kill():
            self.kills += 1
        else:
            self.oracle.violate("it ends only when it is told to", f"life {life.number}: "
                                f"{life.daemon.process.returncode} {life.last_words}")

    def _work(self, life, span):
        until = time.monotonic() + span
        redrive = self.rng.random() < 0.1
        life.publish(PER_LIFE)
        life.serve()
        if redrive:
            life.redrive()
        life.alive_until(until)

    def finish(self):
        """No more kills: everything is sent, delivered and counted; then once more after a clean stop."""
        life = self.life(calm=True)
        if not life.ready():
            self.oracle.violate("it starts", life.daemon.log_text()[-2000:])
            life.kill()
            return
        life.publish(20)
        life.serve()
        books = self._drained(life)
        self.oracle.judge_log("d", self._read_log(life, "direct"))
        life.stop()
        life = self.life(calm=True)
        life.ready()
        after = life.daemon.admin("status")["messages"]
        self.dead_rows = life.daemon.admin("dlq.ls")["items"]
        if after["stored"] or after["dead"] != len(self.dead_rows) or after["dead"] != books["dead"]:
            self.oracle.violate("books add up at every start (S2)", f"{books}, then {after}, {len(self.dead_rows)} dead")
        life.stop()
        self.lost = self.oracle.judge(self.dead_rows)

    @staticmethod
    def _read_log(life, name):
        """(offset, number of the PUB) of each entry."""
        entries = []
        with harness.Local(life.daemon.socket, "auditor") as client:
            client.start("REQ", "$log/" + name)
            while (got := client.expect("MORE", "REP")).verb == "MORE":
                entries.append((int(got.headers["offset"]), int(got.body.split(b" ", 3)[2])))
        return entries

    def _drained(self, life):
        def books():
            return life.daemon.admin("status")["messages"]

        def idle():
            now = books()
            left = sum(now[state] for state in ("stored", "ready", "waiting", "inflight"))
            return left == 0 and not any(p.pending for p in self.publishers)
        try:
            harness.wait_until(idle, "the last drain", DRAIN)
        except AssertionError:
            self.oracle.violate("drained", f"{books()}, unanswered {[len(p.pending) for p in self.publishers]}")
        return books()

    def close(self):
        """The folder is kept where something was found."""
        slow = [t for t in self.ready_times if t > READY_MAX]
        if slow:
            self.oracle.violate("restart to ready under 1 s (P2)", f"{len(slow)} took longer, up to {max(slow):.2f} s")
        if self.oracle.violations:
            print(f"        kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
