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
import nats_far
import rabbit_far
import redis_far
import suite
import tcp
from adapter import HERE
from harness import BELLHOPD

END = "=end="
# One line for each transport.
TRANSPORTS = [
    tcp.Tcp,
    redis_far.RedisNest,
    redis_far.RedisStreams,
    redis_far.RedisEvents,
    rabbit_far.RabbitRaw,
    rabbit_far.RabbitEvents,
    rabbit_far.RabbitNest,
    nats_far.NatsNest,
    nats_far.NatsRaw,
    nats_far.NatsEvents,
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


def portions(keys):
    """What one process runs: a scenario, or all of a transport that shares its far end; the long ones first."""
    possible = [(t, s) for t, s in keys if not suite.reason(t, s)]
    for transport in TRANSPORTS:
        if transport.shared and (scenarios := [s for t, s in possible if t is transport]):
            yield transport, scenarios
    yield from ((t, [s]) for t, s in possible if not t.shared)


def few(transport, scenarios):
    """In a process of its own: one line for each, behind its output."""
    for scenario in scenarios:
        begun = time.monotonic()
        result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(
            unittest.TestSuite([suite.stamp(transport)(scenario)]))
        ok = result.wasSuccessful() and not result.skipped
        print(f"{END} {scenario} {'ok' if ok else 'failed'} {time.monotonic() - begun:.1f}", flush=True)


def run(transport, scenarios):
    """scenario -> (passed, seconds, output)"""
    daemon = os.path.join(os.path.dirname(BELLHOPD), transport.daemon)
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--few", transport.name, *scenarios], cwd=HERE,
                          env={**os.environ, "BELLHOPD": daemon}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    results, output = {}, []
    for line in done.stdout.splitlines():
        words = line.split()
        if words[:1] == [END]:
            results[words[1]] = (words[2] == "ok", float(words[3]), "\n".join(output))
            output = []
        else:
            output.append(line)
    lost = (False, 0.0, f"exit {done.returncode}: " + "\n".join(output))
    return {scenario: results.get(scenario, lost) for scenario in scenarios}


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
    parser.add_argument("--few", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.few:
        return few(next(t for t in TRANSPORTS if t.name == options.names[0]), options.names[1:])
    marks, failed = {key: "-" for key in named(options.names)}, []
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        jobs = [(t, pool.submit(run, t, scenarios)) for t, scenarios in portions(marks)]
        for transport, job in jobs:
            for scenario, (ok, seconds, output) in job.result().items():
                marks[transport, scenario] = f"{seconds:.1f} s" if ok else "FAILED"
                failed += [] if ok else [f"{transport.name}.{scenario.removeprefix('test_')}"]
                if not ok or options.v:
                    print(output, flush=True)
    if not marks:
        sys.exit(f"no such transport or scenario: {' '.join(options.names)}")
    print(table(marks))
    for name in failed:
        print("FAILED", name)
    print(f"{sum(m != '-' for m in marks.values()) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
