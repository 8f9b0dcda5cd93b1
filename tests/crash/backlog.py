#!/usr/bin/env python3
"""A backlog on disk: filled, kill -9, ready again, taken in order, and the file is small again.

backlog.py [--messages N] [--daemon FILE]
"""
import argparse
import os
import signal
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402

SIZE = 100           # bytes of a body; it begins with the message's number
WINDOW = 4096        # unacknowledged, and unanswered
READY_MAX = 5.0      # seconds from the start of the process to its ready line
RSS_MAX = 64 << 20   # bytes above the daemon that has an empty store
SMALL = 12 << 20     # bytes of the file afterwards: 4 MiB of free pages are kept
SILENCE = 60.0       # seconds without a byte: it stands still
CONFIG = {
    "log": {"level": "info", "format": "json"},
    "services": {"open": True},
    "limits": {"history": "1MiB"},  # what `bellhop why` knows is not what the file has to give back
    "routes": [{"name": "backlog", "from": "local", "match": "b", "to": "sink", "durable": True}],
}
PADDING = b"." * (SIZE - 16)


class Wrong(Exception):
    pass


class Peer:
    """A connection read in large pieces: harness.Local is too slow for millions."""

    def __init__(self, path, name):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SILENCE)
        self.sock.connect(path)
        self.data = b""
        self.sock.sendall(harness.frame("HELLO", subject=name, headers={"version": "1", "credit": str(WINDOW)}))
        while b"\n" not in self.data:
            self.more()
        line, self.data = self.data.split(b"\n", 1)
        verb, _, headers, body = line.split()[:4]
        while len(self.data) < int(headers) + int(body):
            self.more()
        self.data = self.data[int(headers) + int(body):]
        if verb != b"HELLO":
            raise Wrong(f"HELLO was answered with {line!r}")

    def more(self):
        piece = self.sock.recv(1 << 20)
        if not piece:
            raise Wrong("the daemon has closed the connection")
        self.data += piece


def publish(path, count):
    peer, sent, acked = Peer(path, "publisher"), 0, 0
    while acked < count:
        burst = min(WINDOW - (sent - acked), count - sent)
        if burst >= WINDOW // 4 or (burst and sent + burst == count):
            peer.sock.sendall(b"".join(b"PUB %d 0 %d b\n%016d%b" % (n + 1, SIZE, n, PADDING)
                                       for n in range(sent, sent + burst)))
            sent += burst
        peer.more()
        lines, _, peer.data = peer.data.rpartition(b"\n")
        for line in lines.split(b"\n"):
            if not line.startswith(b"OK "):
                raise Wrong(f"message {acked} was answered with {line!r}")
            acked += 1
    peer.sock.close()


def taken(peer, at):
    """Answers every whole delivery that is there; each must be the next one. Returns the number after them."""
    data, start, answers = peer.data, 0, []
    while (end := data.find(b"\n", start)) >= 0:
        verb, number, headers, body = data[start:end].split(b" ", 4)[:4]
        first = end + 1 + int(headers)
        if len(data) < first + int(body):
            break
        if verb != b"PUB" or data[first:first + SIZE] != b"%016d%b" % (at, PADDING):
            raise Wrong(f"instead of message {at} came {data[start:first + 16]!r}")
        answers.append(b"OK %b 0 0\n" % number)
        at, start = at + 1, first + SIZE
    peer.data = data[start:]
    if answers:
        peer.sock.sendall(b"".join(answers))
    return at


def drain(daemon, count):
    """Returns the most resident bytes that were seen."""
    peer, at, most, look = Peer(daemon.socket, "sink"), 0, 0, 0
    while at < count:
        peer.more()
        at = taken(peer, at)
        if at >= look:
            most, look = max(most, daemon.rss()), at + count // 100
    harness.wait_until(lambda: daemon.admin("status")["messages"]["done"] >= count, "every answer booked", SILENCE)
    peer.sock.close()
    return most


class Run:
    def __init__(self, folder, count):
        self.folder, self.count = folder, count
        self.config = {**CONFIG, "store": {"path": os.path.join(folder, "store"), "max_size": "64GiB"}}
        self.empty = 0  # resident bytes with an empty store
        self.passed = self.failed = 0

    def check(self, what, good, figure):
        print(f"{'ok' if good else 'FAILED':7} {what}: {figure}", flush=True)
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)

    def rate(self, start):
        return f"{self.count:,} messages at {self.count / (time.monotonic() - start) / 1e3:.0f} k/s"

    def fill(self):
        daemon = harness.Daemon(self.config, folder=self.folder)
        try:
            self.empty, start = daemon.rss(), time.monotonic()
            publish(daemon.socket, self.count)
            self.check("filled", True, self.rate(start))
            added = daemon.rss() - self.empty
            self.check("memory while it fills", added < RSS_MAX, f"+ {added / 2**20:.1f} MiB")
        finally:
            daemon.signal(signal.SIGKILL)
            daemon.wait_exit()

    def empty_it(self):
        start = time.monotonic()
        daemon = harness.Daemon(self.config, folder=self.folder)
        try:
            ready = time.monotonic() - start
            self.check("ready after kill -9", ready < READY_MAX, f"{ready:.2f} s, at most {READY_MAX:.0f}")
            full, start = self.file_size(), time.monotonic()
            added = drain(daemon, self.count) - self.empty
            self.check("all of them taken, in order", True, self.rate(start))
            self.check("memory while they are taken", added < RSS_MAX, f"+ {added / 2**20:.1f} MiB")
            books = daemon.admin("audit")
            self.check("the books add up", books["unaccounted"] == 0 and not books["findings"], books["findings"])
            harness.wait_until(lambda: self.file_size() < SMALL, "the file to shrink", SILENCE)
            self.check("the file is small again", full > 2 * SMALL, f"{full / 2**20:.0f} MiB, now {self.file_size() / 2**20:.0f} MiB")
            daemon.stop()
        finally:
            if daemon.process.poll() is None:
                daemon.signal(signal.SIGKILL)
                daemon.wait_exit()

    def file_size(self):
        with os.scandir(self.config["store"]["path"]) as entries:
            return sum(e.stat().st_size for e in entries if e.name.endswith(".db"))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--messages", type=int, default=10_000_000)
    options.add_argument("--daemon", default=harness.BELLHOPD)
    options = options.parse_args()
    harness.BELLHOPD = os.path.abspath(options.daemon)
    with tempfile.TemporaryDirectory(prefix="bellhop-backlog-") as folder:
        run = Run(folder, options.messages)
        try:
            run.fill()
            run.empty_it()
        except (Wrong, AssertionError, OSError) as error:
            run.check("the backlog", False, error)
    print(f"{run.passed} passed, {run.failed} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
