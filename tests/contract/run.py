#!/usr/bin/env python3
"""The contract suite on every transport: run.py [-j N] [-v] [transport[.scenario]…]. Prints one table, transports by
scenarios; where a protocol cannot have one the reason stands below. BELLHOPD names the daemon (build/bellhopd)."""
import argparse
import concurrent.futures
import os
import subprocess
import sys
import time
import unittest

import fake
import redis_far
import suite
import tcp
from adapter import HERE
from harness import BELLHOPD

# One line for each transport.
TRANSPORTS = [
    tcp.Tcp,
    redis_far.RedisNest,
    redis_far.RedisStreams,
    fake.Fake,
    fake.FakeEvents,
]


def named(names):
    """(transport, scenario) of each name."""
    for transport in TRANSPORTS:
        for scenario in suite.scenarios():
            full = f"{transport.name}.{scenario.removeprefix('test_')}"
            if not names or transport.name in names or full in names:
                yield transport, scenario


def one(transport, scenario):
    """In a process of its own: exit 0 when the scenario passes."""
    case = suite.stamp(transport)(scenario)
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(unittest.TestSuite([case]))
    return 0 if result.wasSuccessful() and not result.skipped else 1


def run(transport, scenario):
    begun = time.monotonic()
    daemon = os.path.join(os.path.dirname(BELLHOPD), transport.daemon)
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--one", transport.name, scenario], cwd=HERE,
                          env={**os.environ, "BELLHOPD": daemon}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0, time.monotonic() - begun, done.stdout


def table(marks):
    transports = [t for t in TRANSPORTS if any(m[0] is t for m in marks)]
    width = max(len(s) for _, s in marks) - len("test_")
    lines = [" " * width + "".join(f"  {t.name:>12}" for t in transports)]
    for scenario in dict.fromkeys(s for _, s in marks):
        cells = [f"  {marks.get((t, scenario), ''):>12}" for t in transports]
        lines.append(scenario.removeprefix("test_").replace("_", " ").ljust(width) + "".join(cells))
    for t in transports:
        lines += [f"{t.name} has no `{a}` ({suite.adapter.ABILITIES[a]}): {why}" for a, why in t.cannot.items()]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.one:
        return one(next(t for t in TRANSPORTS if t.name == options.names[0]), options.names[1])
    marks, failed = {}, []
    chosen = list(named(options.names))
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        jobs = {key: pool.submit(run, *key) for key in chosen if not suite.reason(*key)}
        for key in chosen:
            if key not in jobs:
                marks[key] = "-"
                continue
            ok, seconds, output = jobs[key].result()
            marks[key] = f"{seconds:.1f} s" if ok else "FAILED"
            if not ok:
                failed.append(f"{key[0].name}.{key[1].removeprefix('test_')}")
            if not ok or options.v:
                print(output, flush=True)
    if not marks:
        sys.exit(f"no such transport or scenario: {' '.join(options.names)}")
    print(table(marks))
    for name in failed:
        print("FAILED", name)
    print(f"{len(jobs) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
