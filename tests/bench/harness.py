"""Processes, ports, CPU time and waiting: what run.py's rows are made of."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Failed(Exception):
    """A program of the bench ended badly; the text says which and why."""


class Missing(Exception):
    """A yardstick that is not installed here."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(address, timeout=5.0):
    """A socket to `tcp:PORT` or `unix:PATH`; raises OSError at once if nobody listens."""
    kind, _, rest = address.partition(":")
    s = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
    s.settimeout(timeout)
    try:
        s.connect(("127.0.0.1", int(rest)) if kind == "tcp" else rest)
    except OSError:
        s.close()
        raise
    return s


def converse(sock, text, wanted):
    """Sends bytes and reads until `wanted` is in what came."""
    got = b""
    if text:
        sock.sendall(text)
    while wanted not in got:
        more = sock.recv(65536)
        if not more:
            raise OSError("closed after %r" % got[-200:])
        got += more
    return got


def cpu_seconds(pid):
    """CPU time so far of all threads of a process; 0 if it is gone."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return total / 1e9


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise Failed(f"no VmRSS for {pid}")


def busy_seconds():
    """CPU time of the whole machine so far, idle and waiting left out."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / os.sysconf("SC_CLK_TCK")


class Process:
    """One started program; its stderr goes to a file that failures quote."""

    def __init__(self, harness, name, args, env=None, stdin=None):
        self.name = name
        self.log = os.path.join(harness.dir, f"{name}.{len(harness.processes)}.log")
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(args, stdin=stdin or subprocess.DEVNULL, stderr=log,
                                          stdout=subprocess.PIPE if stdin else log, cwd=harness.dir,
                                          env={**os.environ, **(env or {})})
        self.pid = self.popen.pid
        harness.processes.append(self)

    def tail(self):
        with open(self.log, errors="replace") as f:
            return " ".join(f.read()[-500:].split())

    def wait_for(self, probe, timeout=20.0, pause=0.0005):
        """Calls probe until it does not raise OSError; returns its answer."""
        until = time.monotonic() + timeout
        while True:
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} ended with {self.popen.returncode}: {self.tail()}")
            try:
                return probe()
            except OSError as e:
                if time.monotonic() > until:
                    raise Failed(f"{self.name} is not ready after {timeout} s ({e}): {self.tail()}") from e
            time.sleep(pause)

    def wait_listening(self, address):
        self.wait_for(lambda: connect(address).close(), pause=0.005)
        return self

    def wait_text(self, text):
        def seen():
            with open(self.log, errors="replace") as f:
                if text not in f.read():
                    raise OSError(f"no {text!r} yet")
        self.wait_for(seen, pause=0.005)
        return self

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(3)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Harness:
    def __init__(self, build, seconds, backlog):
        self.build = os.path.abspath(build)
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.seconds = seconds
        self.backlog = backlog
        self.dir = tempfile.mkdtemp(prefix="bellhop-bench.")
        self.disk = tempfile.mkdtemp(prefix="bench-disk.", dir=self.build)    # /tmp may be in memory
        self.processes = []
        self.things = {}
        self.missing = {}
        self.cleanups = []      # run when the rows of one name are done
        self.foreign = []

    def tool(self, name):
        return os.path.join(self.build, "bench", name)

    def path(self, name):
        return os.path.join(self.dir, name)

    def new_folder(self):
        """An empty one on the disk, for a store."""
        return tempfile.mkdtemp(dir=self.disk)

    def disk_kind(self):
        r = subprocess.run(["stat", "-f", "-c", "%T", self.build], capture_output=True, text=True, check=False)
        return r.stdout.strip() or "an unknown file system"

    def find(self, program, package=None):
        found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not found:
            self.missing[program] = package or program
            raise Missing(program)
        return found

    def start(self, name, args, **more):
        return Process(self, name, args, **more)

    def once(self, make, *args):
        """make(self, *args) the first time, its result every time."""
        key = (make.__name__, *args)
        if key not in self.things:
            self.things[key] = make(self, *args)
        return self.things[key]

    def release(self):
        while self.cleanups:
            self.cleanups.pop()()

    def own_seconds(self):
        kids = resource.getrusage(resource.RUSAGE_CHILDREN)
        me = resource.getrusage(resource.RUSAGE_SELF)
        live = sum(cpu_seconds(p.pid) for p in self.processes if p.popen.poll() is None)
        return live + kids.ru_utime + kids.ru_stime + me.ru_utime + me.ru_stime

    def measured(self, f):
        """Runs f and notes how much CPU others took meanwhile, in cores."""
        t, busy, own = time.monotonic(), busy_seconds(), self.own_seconds()
        result = f()
        t, busy, own = time.monotonic() - t, busy_seconds() - busy, self.own_seconds() - own
        self.foreign.append(max(0.0, (busy - own) / t))
        return result

    def load(self, program, *args, pids=(), timed=True):
        """Runs a generator; its JSON, if it prints any. `cpu` is the sum over pids, µs per message."""
        args = [self.tool(program), *map(str, args)]
        if timed:
            args += ["-d", str(int(self.seconds * 1000))]
        for pid in pids:
            args += ["-p", str(pid)]
        r = subprocess.run(args, capture_output=True, text=True, timeout=60, check=False)
        if r.returncode:
            raise Failed(f"{' '.join(args[:1] + args[1:12])}: {r.stderr.strip()[-400:]}")
        sample = json.loads(r.stdout or '{"cpu_us": []}')
        sample["cpu"] = sum(sample["cpu_us"])
        return sample

    def finish(self, program, *args, timeout):
        """Runs a generator for its effect."""
        r = subprocess.run([self.tool(program), *map(str, args)], capture_output=True, text=True,
                           timeout=timeout, check=False)
        if r.returncode:
            raise Failed(f"{program}: {r.stderr.strip()[-400:]}")

    def close(self):
        self.release()
        for p in reversed(self.processes):
            p.stop()
        for folder in (self.dir, self.disk):
            shutil.rmtree(folder, ignore_errors=True)
