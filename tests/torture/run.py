#!/usr/bin/env python3
"""Torture in curl's manner: every allocation and every store call of some scenarios failed in turn.

run.py [--every] [--cases N] [--seed N] [--daemon FILE] [--scenario NAME [--fault KIND:NUMBER]]
"""
import argparse
import collections
import concurrent.futures
import errno
import itertools
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import scenarios
import world
from world import KINDS, Ended, World, Wrong, harness

QUICK = 600   # cases without --every
SHOWN = 12    # findings with their stack
OUTCOMES = ("went on", "exit 71", "store fault", "no start", "not reached", "wrong")

Fault = collections.namedtuple("Fault", "kind number lasting error")
# Which calls, whether all from there on fail too, how; and which part of the numbers a full run takes.
MODES = (
    ("allocation", False, errno.ENOMEM, 1), ("allocation", True, errno.ENOMEM, 5),
    ("store call", False, errno.EIO, 1), ("store call", True, errno.EIO, 1),
    ("room", False, errno.ENOSPC, 1), ("room", True, errno.ENOSPC, 1),
)
Result = collections.namedtuple("Result", "scenario fault outcome why calls call trace")


class Lane:
    """What a process that runs cases has for itself: a port below those that the system hands out."""

    def __init__(self, certificates):
        self.certificates = certificates
        rng = random.Random(os.getpid())
        while True:
            self.port = rng.randrange(10000, 30000)
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", self.port))
                    return
                except OSError:
                    continue


class Certificates(harness.Certificates):
    def __init__(self, folder, make):
        self.folder = folder
        if make:
            super().__init__(folder)
            self.issue("bellhop")
            self.issue("peer")


def enter(folder, daemon):
    global lane
    harness.BELLHOPD = daemon
    lane = Lane(Certificates(folder, make=False))


def torture(w, fault):
    """How one case comes out."""
    act = w.scenario.act(w)
    next(act)
    w.control.arm(fault)
    try:
        next(act)
    except StopIteration:
        pass
    except Ended as end:
        if not w.failed():
            raise Wrong(f"ended, and no call has failed: {end}") from None
    w.control.disarm()
    outcome = w.survives()
    if w.scenario.durable:
        w.next_life()
    return outcome if w.failed() else "not reached"


def case(name, fault):
    w = World(scenarios.SCENARIOS[name], lane)
    outcome, why = "wrong", ""
    try:
        outcome = torture(w, fault)
    except (Wrong, AssertionError) as wrong:
        why = str(wrong)
    except Ended as end:
        why = f"ended where nothing may fail: {end}"
    except Exception as error:  # an answer of another shape than the scenario takes for granted
        why = f"{type(error).__name__}: {error}, {traceback.format_exc().splitlines()[-3:]}"
    try:
        failed, calls, call, trace = w.control.read()
        if outcome == "wrong":
            why += "\n" + "\n".join("    | " + line for d in w.lives for line in d.log_text()[-1200:].splitlines()[-5:])
        return Result(name, fault, outcome, why, calls, call, trace)
    finally:
        w.close()


# ---------------------------------------------------------------- which cases

def counting(kind="allocation"):
    return Fault(kind, 0, False, 0)


def plan(counts, seed):
    """What a full run takes; in an order that the seed chooses within each scenario."""
    cases = []
    for name, calls in counts.items():
        rng, mine = random.Random(f"{seed} {name}"), []
        for kind, lasting, error, every in MODES:
            for number in range(rng.randrange(every) + 1, calls[KINDS.index(kind)] + 1, every):
                mine.append((name, Fault(kind, number, lasting, error)))
        rng.shuffle(mine)
        cases.append(mine)
    return cases


def sample(cases, size):
    """So many of all, evenly from the scenarios as far as they have them."""
    turns = [case for turn in itertools.zip_longest(*cases) for case in turn if case is not None]
    return turns[:size]


# ---------------------------------------------------------------- what is told

def frame_text(line, daemon):
    path, _, offset = line.rpartition("+")
    if os.path.basename(path) != os.path.basename(daemon):
        return f"{os.path.basename(path)}+{offset}"
    done = subprocess.run(["addr2line", "-sfe", daemon, hex(int(offset, 16) - 1)], capture_output=True, text=True)
    return " ".join(done.stdout.split()) or line


def tell(result, daemon):
    f = result.fault
    print(f"WRONG   {result.scenario}: {f.kind} {f.number}{' and on' if f.lasting else ''} "
          f"({result.call}, {errno.errorcode.get(f.error, 'none')})\n        {result.why}")
    for line in result.trace[:16]:
        text = frame_text(line, daemon)
        if "fail.c" not in text:
            print("          " + text)
    sys.stdout.flush()


def table(counts, results):
    print(f"{'scenario':34} {'alloc.':>6} {'store':>6} {'room':>5} |{'cases':>6}"
          + "".join(f"{o:>12}" for o in OUTCOMES))
    sums = collections.Counter()
    for name, calls in counts.items():
        mine = collections.Counter(r.outcome for r in results if r.scenario == name)
        sums += mine
        print(f"{name:34} {calls[0]:6} {calls[1]:6} {calls[2]:5} |{sum(mine.values()):6}"
              + "".join(f"{mine[o] or '':>12}" for o in OUTCOMES))
    totals = [sum(c[i] for c in counts.values()) for i in range(3)]
    print(f"{'all':34} {totals[0]:6} {totals[1]:6} {totals[2]:5} |{sum(sums.values()):6}"
          + "".join(f"{sums[o] or '':>12}" for o in OUTCOMES))
    return sums


# ---------------------------------------------------------------- run

def count_calls(pool, names):
    """{scenario: calls of each kind}, of a run in which nothing fails; and what went wrong even so."""
    results = list(pool.map(case, names, [counting()] * len(names)))
    return {r.scenario: r.calls for r in results}, [r for r in results if r.outcome == "wrong"]


def run_cases(pool, cases, daemon):
    """Findings are told as they come."""
    begun, results = time.monotonic(), []
    for result in pool.map(case, *zip(*cases), chunksize=4):
        results.append(result)
        if result.outcome == "wrong" and sum(r.outcome == "wrong" for r in results) <= SHOWN:
            tell(result, daemon)
        if len(results) % 1000 == 0:
            print(f"        {len(results)} of {len(cases)}, {time.monotonic() - begun:.0f} s, "
                  f"{sum(r.outcome == 'wrong' for r in results)} wrong", file=sys.stderr, flush=True)
    return results


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--every", action="store_true", help="every call, not a sample")
    options.add_argument("--cases", type=int, default=QUICK, help="how large the sample is")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--daemon", default=os.path.join(harness.ROOT, "build", "tests", "torture", "bellhopd"))
    options.add_argument("--scenario", action="append", choices=scenarios.SCENARIOS, help="only this one")
    options.add_argument("--fault", help="only this call, as in `allocation:12`, `store call:3+` (and all after it)")
    options.add_argument("-j", type=int, default=2 * (os.cpu_count() or 1),
                         help="how many at once (much of a case is waiting)")
    options = options.parse_args()
    daemon, folder = os.path.abspath(options.daemon), tempfile.mkdtemp(prefix="bellhop-torture-", dir=world.BASE)
    try:
        Certificates(folder, make=True)
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(options.j, context, enter, (folder, daemon)) as pool:
            return torment(pool, options, daemon)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def chosen(options, counts):
    if options.fault:
        kind, _, number = options.fault.partition(":")
        error = next(e for k, _, e, _ in MODES if k == kind)
        return [(n, Fault(kind, int(number.rstrip("+")), number.endswith("+"), error)) for n in counts]
    cases = plan(counts, options.seed)
    return sample(cases, None if options.every else options.cases)


def torment(pool, options, daemon):
    begun = time.monotonic()
    counts, results = count_calls(pool, options.scenario or list(scenarios.SCENARIOS))
    for result in results:
        tell(result, daemon)
    if not results:
        results = run_cases(pool, chosen(options, counts), daemon)
    sums = table(counts, results)
    passed = sum(sums[outcome] for outcome in OUTCOMES[:4])
    print(f"seed {options.seed}, {len(counts)} scenarios, {sums['not reached']} calls not reached, "
          f"{time.monotonic() - begun:.0f} s")
    print(f"torture: {passed} passed, {sums['wrong']} failed")
    return 1 if sums["wrong"] or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
