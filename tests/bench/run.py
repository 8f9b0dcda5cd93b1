#!/usr/bin/env python3
"""The speed table: Bellhop against yardsticks built and run in the same rounds.

Every round runs each yardstick and Bellhop one after the other, in turn first; a figure is the
median over the rounds, a ratio is taken per round. Not a test: it exits 1 only if something failed
to run."""

import argparse
import fnmatch
import os
import platform
import resource
import statistics
import sys
import time

from harness import Failed, Harness, Missing
from rows import all_rows

DISTURBED = 0.25    # cores taken by others, median over a row's runs

HEAD = ["what", "size", "yardstick", "Bellhop", "ratio (min–max)", "must", "aim", "verdict", "daemon CPU per message"]


def figure(v, unit):
    """Three digits and a unit."""
    for limit, prefix in ((1e6, "M"), (1e3, "k")):
        if unit == "/s" and v >= limit:
            return figure(v / limit, f"{prefix}/s")
    return f"{v:.3g} {unit}" if v < 99.95 else f"{v:.0f} {unit}"


def median(samples, metric):
    return statistics.median(s[metric] for s in samples)


class Result:
    """What the rounds of one row gave."""

    def __init__(self, row):
        self.row = row
        self.yards = {name: [] for name, _ in row.yards}
        self.bellhop = []
        self.failed = []
        self.foreign = []

    def round(self, h, number):
        sides = [(name, f, self.yards[name]) for name, f in self.row.yards if name in self.yards]
        sides.append(("Bellhop", self.row.bellhop, self.bellhop))
        if number % 2:
            sides.reverse()
        for name, f, samples in sides:
            try:
                samples.append(h.measured(lambda f=f: f(h)))
                self.foreign.append(h.foreign[-1])
            except Missing:
                self.yards.pop(name, None)
            except (Failed, OSError) as e:
                samples.append(None)
                self.failed.append(f"{name}: {e}")

    def per_round(self, view):
        """(Bellhop's figure, the best yardstick's) of each round in which both ran."""
        best = max if view.higher else min
        for i, b in enumerate(self.bellhop):
            y = [s[i][view.metric] for name, s in self.yards.items()
                 if name.startswith(view.against) and len(s) > i and s[i]]
            if b and (y or view.basis == "value"):
                yield b[view.metric], best(y) if y else None

    def cells(self, view):
        pairs = list(self.per_round(view))
        if not pairs:
            return [view.what, self.row.size, *["-"] * 2, "-", *goals(view), "not measured", "-"]
        ratios = sorted(b / y for b, y in pairs if y)
        added = sorted(b - y for b, y in pairs if y is not None)
        yards = ", ".join(f"{n} {figure(median([s for s in v if s], view.metric), view.unit)}"
                          for n, v in self.yards.items() if any(v))
        ours = statistics.median(b for b, _ in pairs)
        spread = added if view.basis == "added" else ratios
        unit = f" {view.unit}" if view.basis == "added" else ""
        text = f"{statistics.median(spread):.2f}{unit} ({spread[0]:.2f}–{spread[-1]:.2f})" if spread else "-"
        judged = ours if view.basis == "value" else statistics.median(spread)
        return [view.what, self.row.size, yards or "none here", figure(ours, view.unit), text, *goals(view),
                verdict(view, judged) + ("?" if self.disturbed() else ""), self.cpu()]

    def disturbed(self):
        return statistics.median(self.foreign) > DISTURBED

    def cpu(self):
        def of(samples):
            samples = [s for s in samples if s and s.get("cpu")]
            return f"{median(samples, 'cpu'):.2f} µs" if samples else ""
        ours = of(self.bellhop)
        others = ", ".join(f"{n} {of(v)}" for n, v in self.yards.items() if of(v))
        return (ours + (f" ({others})" if others else "")) if ours else "-"


def goals(view):
    sign, unit = "≥" if view.higher else "≤", "x" if view.basis == "ratio" else f" {view.unit}"
    return [f"{sign} {view.must:g}{unit}", f"{sign} {view.aim:g}{unit}"]


def verdict(view, v):
    def good(goal):
        return v >= goal if view.higher else v <= goal
    return "aim" if good(view.aim) else "must" if good(view.must) else "short"


def conditions(h, args):
    foreign = sorted(h.foreign) or [0]
    lines = [f"{args.rounds} rounds of {args.seconds:g} s, yardstick and Bellhop in turn; {os.cpu_count()} CPUs, "
             f"{platform.machine()}, Linux {platform.release()}, stores on {h.disk_kind()}; " + time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
             f"CPU taken by others meanwhile: median {statistics.median(foreign):.2f} cores, most {foreign[-1]:.2f}; "
             f"a verdict with a question mark had more than {DISTURBED} (median of its runs)."]
    for program, package in h.missing.items():
        lines.append(f"Not here, so not compared with: {program} (Debian package {package}).")
    return lines


def print_table(table):
    widths = [max(len(r[i]) for r in table) for i in range(len(HEAD))]
    for row in table:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip())


def markdown(table, notes):
    lines = ["| " + " | ".join(r) + " |" for r in table]
    lines.insert(1, "|" + " --- |" * len(HEAD))
    return "\n".join(lines + [""] + notes) + "\n"


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build", help="where bellhopd and bench/ are")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="measured time of a run")
    p.add_argument("--sizes", default="100,1024", help="bytes of data")
    p.add_argument("--backlog", type=int, default=1000000, help="messages of the rows with a backlog")
    p.add_argument("--rows", default="*", help="names or patterns, with commas; see --list")
    p.add_argument("--list", action="store_true", help="names of the rows")
    return p.parse_args()


def run(h, rows, args):
    results = [Result(row) for row in rows]
    for key in dict.fromkeys(row.key for row in rows):
        for number in range(args.rounds):
            print(f"{key}: round {number + 1} of {args.rounds}", file=sys.stderr)
            for r in results:
                if r.row.key == key and len(r.failed) < 2:
                    r.round(h, number)
        h.release()
    return results


def main():
    args = arguments()
    rows = all_rows([int(s) for s in args.sizes.split(",")])
    if args.list:
        print("\n".join(dict.fromkeys(r.key for r in rows)))
        return 0
    rows = [r for r in rows if any(fnmatch.fnmatch(r.key, p) for p in args.rows.split(","))]
    if not rows or args.rounds < 1:
        sys.exit("run.py: nothing to run (see --list)")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    h = Harness(args.build, args.seconds, args.backlog)
    try:
        results = run(h, rows, args)
    finally:
        h.close()
    table = [HEAD] + [r.cells(v) for r in results for v in r.row.views]
    notes = conditions(h, args)
    failed = [f"Failed: {text}" for r in results for text in r.failed]
    print_table(table)
    print("\n".join([""] + notes + failed))
    with open(os.path.join(args.build, "bench.md"), "w") as f:
        f.write(markdown(table, notes + failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
