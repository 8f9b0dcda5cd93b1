#!/usr/bin/env python3
"""Every client through the same scenarios and a real bellhopd. See README.md in this folder."""
import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon
from raw import Peer, Recorder
from scenarios import REF, SCENARIOS

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CLIENTS = {
    "python": [[sys.executable, "clients/python/tests/conformance.py", "plain"]],
    "python-asyncio": [[sys.executable, "clients/python/tests/conformance.py", "asyncio"]],
    "node": [["node", "clients/node/conformance.js"]],
    "c": [["clients/c/conformance"], ["build/clients/c/conformance"]],      # the first that is there
}
ANSWER_TIMEOUT = 30


class Bench:
    """One client under test: its adapter, the recorder, the other service, a daemon of its own."""

    def __init__(self, command, daemon_program, verbose):
        self.folder = tempfile.mkdtemp(prefix="bellhop-")
        self.daemon = Daemon(daemon_program, self.folder, verbose)
        self.daemon.start()
        self.tape = Recorder(os.path.join(self.folder, "unit.sock"), self.daemon.socket)
        self.ref = Peer(self.daemon.socket, "ref", serve=REF)
        self.errors = open(os.path.join(self.folder, "adapter"), "w+")
        self.adapter = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8", bufsize=1, stderr=self.errors)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        got = self.ask("start", socket=self.tape.path, name="unit", credit=4)
        if not got["ok"]:
            raise AssertionError(f"start: {got}")

    def _read(self):
        for line in self.adapter.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, do, **members):
        self.adapter.stdin.write(json.dumps({"do": do, **members}, ensure_ascii=False) + "\n")

    def receive(self):
        try:
            line = self.lines.get(timeout=ANSWER_TIMEOUT)
        except queue.Empty:
            raise AssertionError(f"the adapter gave no answer in {ANSWER_TIMEOUT} s") from None
        if line is None:
            raise AssertionError(f"the adapter ended: {self.stderr()}")
        return json.loads(line)

    def ask(self, do, **members):
        self.send(do, **members)
        return self.receive()

    def poke(self):
        """A command without effect: a blocking client may need the processor to notice a lost connection."""
        self.ask("events")

    def new_daemon(self):
        self.ref.close()
        self.daemon.start()
        self.ref = Peer(self.daemon.socket, "ref", serve=REF)

    def terminate(self):
        self.adapter.terminate()

    def exit_status(self, timeout):
        try:
            return self.adapter.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"still there after {timeout} s"

    def stderr(self):
        self.errors.flush()
        with open(self.errors.name, errors="replace") as f:
            return f.read()[-2000:]

    def close(self):
        self.ref.close()
        if self.adapter.poll() is None:
            self.adapter.kill()
            self.adapter.wait()
        self.adapter.stdin.close()
        self.tape.close()
        self.daemon.stop()
        self.errors.close()
        shutil.rmtree(self.folder)


def run_client(name, command, program, wanted, verbose):
    """{scenario: None or why it failed}"""
    results = {}
    try:
        bench = Bench(command, program, verbose)
    except Exception as e:
        return {s.__name__: f"cannot start: {e}" for s in wanted}
    try:
        for scenario in wanted:
            try:
                scenario(bench)
                results[scenario.__name__] = None
            except Exception as e:
                results[scenario.__name__] = f"{type(e).__name__}: {e}" if not isinstance(e, AssertionError) else str(e)
                if verbose:
                    traceback.print_exc()
            if verbose:
                print(f"{name} {scenario.__name__}: {results[scenario.__name__] or 'ok'}", flush=True)
        if verbose and any(results.values()):
            print(f"--- {name}: standard error\n{bench.stderr()}\n--- daemon\n{bench.daemon.tail(40)}")
    finally:
        bench.close()
    return results


def table(results, wanted):
    names = list(results)
    width = max(len(s.__name__) for s in wanted)
    print(" " * width, *names, sep="  ")
    for scenario in wanted:
        cells = ["ok" if results[n][scenario.__name__] is None else "FAILED" for n in names]
        print(scenario.__name__.ljust(width), *(c.ljust(len(n)) for c, n in zip(cells, names)), sep="  ")
    for name in names:
        for scenario in wanted:
            why = results[name][scenario.__name__]
            if why:
                print(f"{name} {scenario.__name__}: {why}")


def command_of(choices):
    """The first command whose program is there."""
    for command in choices:
        files = [c for c in command if "/" in c]
        if shutil.which(command[0]) or os.path.exists(os.path.join(ROOT, command[0])):
            if all(os.path.exists(os.path.join(ROOT, f)) for f in files):
                return command
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="clients, with commas between")
    parser.add_argument("--scenario", help="scenarios, with commas between")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    program = os.path.abspath(os.environ.get("BELLHOPD") or os.path.join(ROOT, "build/bellhopd"))
    if not os.access(program, os.X_OK):
        print(f"conformance: no daemon at {program}")
        return 77
    wanted = [s for s in SCENARIOS if not options.scenario or s.__name__ in options.scenario.split(",")]
    results, skipped = {}, []
    for name, choices in CLIENTS.items():
        if options.only and name not in options.only.split(","):
            continue
        command = command_of(choices)
        if command is None:
            skipped.append(name)
            continue
        results[name] = run_client(name, command, program, wanted, options.verbose)
    if results:
        table(results, wanted)
    failed = sum(1 for r in results.values() for why in r.values() if why)
    passed = sum(len(r) for r in results.values()) - failed
    missing = len(skipped) if os.environ.get("CI") == "true" else 0
    note = f", skipped (no adapter): {' '.join(skipped)}" if skipped else ""
    print(f"{passed} passed, {failed + missing} failed{note}")
    return 1 if failed + missing else 0


if __name__ == "__main__":
    sys.exit(main())
