"""One scenario with one call that fails: a daemon on a store of its own, its peers, and what must hold after.

What is acknowledged is noted as *promised*, what a service has answered as *settled*. The daemon may end by what its
manual calls its exit codes, or go on; then it starts once more, without failing calls, and everything that was promised
and not settled comes, or lies among the dead letters.
"""
import contextlib
import json
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402

PATIENCE = 10.0
KINDS = ("allocation", "store call", "room")
WORDS = struct.Struct("6Q3Q64s4096s")  # struct control of fail.c
EX_OSERR, EX_CONFIG = 71, 78
# How a PUB or REQ may be refused once a call has failed.
REFUSALS = {"unavailable", "overloaded", "draining"}
BASE = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Ended(Exception):
    """The connection or the daemon has ended, or it refused: as it may once a call has failed."""


class Wrong(AssertionError):
    """What must not be, whatever has failed."""


class Control:
    """The file that tells fail.c what to do and what came of it."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "control")
        with open(self.path, "w+b") as f:
            f.truncate(WORDS.size)
            self.map = mmap.mmap(f.fileno(), WORDS.size)

    def arm(self, fault):
        kind, number, lasting, error = (KINDS.index(fault.kind), fault.number, fault.lasting, fault.error)
        self.fault = fault
        self.map[8:WORDS.size] = WORDS.pack(0, kind, number, lasting, error, 0, 0, 0, 0, b"", b"")[8:]
        self.map[0:8] = struct.pack("Q", 1)

    def disarm(self):
        self.map[0:8] = bytes(8)

    def read(self):
        """(how many calls failed, calls of each kind, name of the first that failed, its stack)"""
        words = WORDS.unpack(self.map[:])
        text = [w.partition(b"\0")[0].decode() for w in words[9:]]
        return words[5], words[6:9], text[0], text[1].splitlines()


class Peer(harness.Local):
    """A raw client that knows how a connection may end, and that nothing hangs."""

    def __init__(self, world, path, name, **more):
        self.world = world
        try:
            super().__init__(path, name, **more)
        except OSError as error:
            raise Ended(f"{name}: {error}") from None
        world.peers.append(self)

    def raw(self, data):
        try:
            super().raw(data)
        except OSError as error:
            raise Ended(str(error)) from None

    def recv(self, timeout=PATIENCE):
        try:
            got = super().recv(timeout)
        except TimeoutError:
            raise Wrong(f"no answer within {timeout:g} s") from None
        except OSError as error:
            raise Ended(str(error)) from None
        if got is None:
            raise Ended("the end of the connection")
        return got

    def expect(self, *verbs, timeout=PATIENCE):
        while (got := self.recv(timeout)).verb == "PING":
            self.send("PONG", got.id)
        if got.verb in verbs:
            return got
        if got.verb == "BYE" or (got.verb == "ERR" and got.subject in REFUSALS and self.world.failed()):
            raise Ended(f"{got.verb} {got.subject}")
        raise Wrong(f"expected {' or '.join(verbs)}, got {got}")


class Daemon(harness.Daemon):
    """Without the port of pages, where no scenario asks for them: another process might have it."""

    def write_text(self, text):
        config = json.loads(text)
        if config["admin"]["http"] is None:
            del config["admin"]["http"]
        super().write_text(json.dumps(config))


class World:
    def __init__(self, scenario, lane):
        self.scenario, self.lane = scenario, lane
        self.folder = tempfile.mkdtemp(prefix="bellhop-torture-", dir=BASE)
        self.control = Control(self.folder)
        self.peers, self.daemon, self.ready, self.lives = [], None, False, []
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.folder, "notify"))
        self.anonymous = ()                  # bodies of messages whose ids the daemon gives
        self.bodies, self.promised, self.settled, self.seen = {}, set(), set(), []
        self.dead, self.gone = set(), set()  # ids that lie among the dead letters, or were purged, as far as was told
        self.logged, self.appended = {}, set()  # of the log `facts`: offset -> body as acknowledged; every body sent
        self.clean = False                   # the last life said that all was recorded
        self.count = 0

    # ---- the daemon

    def failed(self):
        return self.control.read()[0] > 0

    def start(self):
        """Comes back when it is ready."""
        config = self.scenario.config(self)
        store = os.path.join(self.folder, "store")
        env = {"BELLHOP_TORTURE": self.control.path, "BELLHOP_TORTURE_STORE": store,
               "NOTIFY_SOCKET": os.path.join(self.folder, "notify")}
        self.ready = False
        while self.notify in select.select([self.notify], [], [], 0)[0]:
            self.notify.recv(256)
        self.daemon = Daemon(config, env=env, wait=False, folder=self.folder)
        self.lives.append(self.daemon)
        pid = os.pidfd_open(self.daemon.pid)
        try:
            while not self.ready:
                found = select.select([self.notify, pid], [], [], PATIENCE)[0]
                if not found:
                    raise Wrong("neither ready nor ended")
                if self.notify not in found:
                    raise Ended(f"no start: {self.daemon.wait_exit()}")
                self.ready = b"READY=1" in self.notify.recv(256)
        finally:
            os.close(pid)

    def end(self, how=signal.SIGTERM):
        """Its exit status, once it has been told to end."""
        self.daemon.signal(how)
        try:
            return self.daemon.wait_exit(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong("it does not end") from None

    def again(self, how=signal.SIGTERM):
        """Another life on the same store: a part of a preparation."""
        self.end(how)
        self.drop_peers()
        self.start()

    def peer(self, name="tester", **more):
        return Peer(self, self.daemon.socket, name, **more)

    def admin(self, command, **arguments):
        with Peer(self, self.daemon.admin_socket, "bellhop") as admin:
            got = admin.answer(admin.start("REQ", command, json.dumps(arguments)))[1]
            if got.verb == "ERR" and self.failed() and got.subject in REFUSALS:
                raise Ended(f"{command}: {got.subject}")
            if got.verb != "REP":
                raise Wrong(f"{command}: {got}")
            answer = json.loads(got.body)
            if not isinstance(answer, dict):
                raise Wrong(f"{command}: {got}")
            return answer

    def messages(self):
        return self.admin("status")["messages"]

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not (value := condition()):
            if time.monotonic() > end:
                raise Wrong(f"not within {PATIENCE:g} s: {what}")
            time.sleep(0.002)
        return value

    def drop_peers(self):
        for peer in self.peers:
            peer.close()
        self.peers.clear()

    def close(self):
        self.drop_peers()
        for daemon in self.lives:
            daemon.remove()
        self.notify.close()
        self.control.map.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- messages

    def publish(self, peer, subject, targets, body=None, headers=None, wait=True):
        """Its id, which is promised once it is acknowledged."""
        self.count += 1
        id = f"m{self.count}"
        body = body if body is not None else f"body of {id}".encode()
        self.bodies[id] = {body}
        number = peer.start("PUB", subject, body, {"id": id, **(headers or {})})
        if wait:
            self.acknowledged(peer, number, id, targets)
        return (number, id) if not wait else id

    def acknowledged(self, peer, number, id, targets):
        got = peer.expect("OK")
        if got.id != number:
            raise Wrong(f"OK of {got.id}, waiting for {number}")
        self.promised |= {(target, id) for target in targets}

    def append(self, peer, subject, body, headers=None):
        """An entry of the log `facts`, which is promised at its offset once it is acknowledged."""
        self.appended.add(body)
        peer.start("PUB", subject, body, headers)
        self.logged[int(peer.expect("OK").headers["offset"])] = body

    def read_log(self, peer):
        """{offset: body}, whole."""
        peer.start("REQ", "$log/facts")
        entries = {}
        while (got := peer.expect("MORE", "REP")).verb == "MORE":
            entries[int(got.headers["offset"])] = got.body
        if self.logged.items() - entries.items():
            raise Wrong(f"lost or altered in the log: {self.logged.items() - entries.items()}")
        if set(entries.values()) - self.appended or sorted(entries) != list(range(1, len(entries) + 1)):
            raise Wrong(f"nobody has appended: {entries}")
        return entries

    def delivery(self, peer, target):
        """The next one for this service; it is as it was sent."""
        got = peer.expect("PUB", "REQ")
        self.note(got, target)
        return got

    def note(self, got, target):
        id = got.headers["id"]
        if got.body not in self.bodies.get(id, self.anonymous):
            raise Wrong(f"{id} came altered to {target}: {got.body[:80]}")
        self.seen.append((target, id))

    def settle(self, peer, got, target):
        self.settled.add((target, got.headers["id"]))
        self.dead.discard(got.headers["id"])  # it has been redriven
        peer.send("OK", got.id)

    def serve(self, peer, target, count=1):
        for _ in range(count):
            got = self.delivery(peer, target)
            self.settle(peer, got, target)

    def done(self, count):
        self.until(lambda: self.messages()["done"] == count, f"{count} done")

    # ---- judgement

    def survives(self):
        """What it does after the failed call: "went on", or how it ended."""
        if self.daemon.process.poll() is None and self.ready:
            with contextlib.suppress(Ended):
                self.still_works()
        told = self.daemon.process.poll() is None
        try:
            code = self.end() if told else self.daemon.wait_exit(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong("it neither works nor ends") from None
        self.clean = code == 0
        return self.judge_exit(code)

    def still_works(self):
        with self.peer("alive") as peer:
            peer.send("PING", 7)
            peer.expect("PONG")
        self.audit()

    def audit(self):
        books = self.admin("audit") if self.scenario.durable else {"findings": [], "unaccounted": 0}
        faulted = books["findings"] == ["the store is faulted"] and self.failed()
        if not faulted and (books["findings"] or books["unaccounted"]):
            raise Wrong(f"audit: {books}")

    def judge_exit(self, code):
        text = self.daemon.log_text()
        with contextlib.suppress(AssertionError):
            self.daemon.check_clean()
            errors = {l["event"] for l in self.daemon.log() if l.get("level") == "error"}
            return self.judge_words(code, errors, text)
        raise Wrong(f"exit {code}: {text[-600:]}")

    def judge_words(self, code, errors, text):
        """Each exit status is told in words; nothing else is called an error."""
        if errors - {"store_faulted"}:
            raise Wrong(f"exit {code}, errors {errors}: {text[-600:]}")
        blames = ["not YAML", "(null)", "quarantine"]
        fault = self.control.fault
        reads_fail = fault.kind == "store call" and (fault.lasting or self.control.read()[2] == "pread")
        if not reads_fail:  # SQLite takes a page that cannot be read for one that is damaged
            blames.append("damaged")
        if any(word in text for word in blames):
            raise Wrong(f"exit {code}, blames what is whole: {text[-400:]}")
        if code == 0:
            return "went on"
        if code == EX_OSERR and "out of memory" in text and self.control.fault.kind == "allocation":
            return "exit 71"
        if code == 1 and "store_faulted" in errors:
            return "store fault"
        if code == 1 and not self.ready and self.failed() and text.strip():
            return "no start"
        raise Wrong(f"exit {code}: {text[-600:]}")

    def next_life(self):
        """Starts on what the last one left; everything that is due comes."""
        self.drop_peers()
        self.start()
        self.audit()
        again = self.drain()
        lying = {row["id"] for row in self.admin("dlq.ls")["items"]}
        self.audit()
        self.judge(again, lying)
        if self.appended:
            with self.peer() as reader:
                self.read_log(reader)
        code = self.end()
        if code != 0 or self.judge_exit(code) != "went on":
            raise Wrong(f"the next life ends with {code}")

    def drain(self):
        """What comes to all services until nothing is left."""
        before = len(self.seen)
        services = {self.peer(t, credit=1000): t for t in self.scenario.targets}
        end = time.monotonic() + PATIENCE
        while True:
            for peer in [p for p in services if p.buffer] or select.select(list(services), [], [], 0.003)[0]:
                got = self.delivery(peer, services[peer])
                peer.send("REP" if got.verb == "REQ" else "OK", got.id)
            now = self.messages()
            if not any(now[state] for state in ("stored", "ready", "waiting", "inflight")):
                return self.seen[before:]
            if time.monotonic() > end:
                raise Wrong(f"not drained: {now}")

    def judge(self, again, lying):
        twice = self.settled & set(again)
        if self.clean and twice:
            raise Wrong(f"settled before a clean end, and delivered again: {twice}")
        for target, id in sorted(self.promised - self.settled - set(again)):
            if id not in lying and id not in self.gone:
                raise Wrong(f"lost: {id} for {target} was acknowledged")
        for id in self.gone & lying:
            raise Wrong(f"{id} was purged and is there")
        for id in self.dead - lying - {id for _, id in again}:
            raise Wrong(f"{id} was a dead letter and is gone")


harness.Local.fileno = lambda self: self.sock.fileno()  # for select()
