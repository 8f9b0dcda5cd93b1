#!/usr/bin/env python3
"""Runs the end-to-end tests, two at a time: run.py [-j N] [-v] [name…], where a name is a file, class
or test such as test_tls or test_tls.Reload.test_file_change. Installs the NestJS peers where their
lock files have changed. BELLHOPD names the daemon (build/bellhopd)."""
import argparse
import concurrent.futures
import glob
import hashlib
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# The slow ones first, so that the last to end is a quick one.
ORDER = ["test_rabbit_restart", "test_rabbit_faults", "test_rabbit_nest", "test_delivery", "test_nest_servers", "test_bad_input", "test_nest_clients", "test_operations"]

# Modules whose classes run in one process: they share a broker that takes long to start.
TOGETHER = {"test_rabbit", "test_rabbit_nest", "test_rabbit_faults"}
# Those that wait most of the time: beside the others.
ASIDE = {"test_frozen"}


def install(version):
    """npm ci, once per content of the lock file."""
    folder = os.path.join(HERE, "nest", version)
    stamp = os.path.join(folder, "node_modules", ".stamp")
    with open(os.path.join(folder, "package-lock.json"), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    if os.path.exists(stamp):
        with open(stamp) as f:
            if f.read() == digest:
                return
    subprocess.run(["npm", "ci", "--ignore-scripts", "--silent"], cwd=folder, check=True)
    with open(stamp, "w") as f:
        f.write(digest)


def find_node():
    """Puts a Node.js that NestJS 12 runs on first in PATH: the host's own, or one from the registry."""
    try:
        version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
        if int(version.strip().lstrip("v").split(".")[0]) >= 20:
            return
    except (FileNotFoundError, ValueError):
        pass
    install("node")
    [folder] = glob.glob(os.path.join(HERE, "nest", "node", "node_modules", "node-linux-*", "bin"))
    os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]


def units(names):
    """One unit of work per test class, or per module of TOGETHER."""
    found = []
    for path in glob.glob(os.path.join(HERE, "test_*.py")):
        module = os.path.basename(path)[:-3]
        if module in TOGETHER:
            found.append(module)
            continue
        with open(path) as f:
            found += [f"{module}.{name}" for name in re.findall(r"^class (\w+)\(.*Case\)", f.read(), re.M)]
    def rank(unit):
        module = unit.partition(".")[0]
        return ORDER.index(module) if module in ORDER else len(ORDER)
    found.sort(key=rank)
    if not names:
        return found
    chosen = [unit for unit in found if any(unit == n or unit.startswith(n + ".") for n in names)]
    return chosen + [n for n in names if n.count(".") == 2 or n.partition(".")[0] in TOGETHER - {n}]


def run(unit, verbose):
    """(unit, tests run, what failed, skipped, seconds, output)"""
    begun = time.monotonic()
    command = [sys.executable, "-m", "unittest", *(["-v"] if verbose else []), unit]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ran = re.search(r"^Ran (\d+) test", done.stdout, re.M)
    bad = sorted(set(re.findall(r"^(?:FAIL|ERROR): (\S+ \([^)]*\))", done.stdout, re.M)))  # subtests count once
    skipped = sum(map(int, re.findall(r"skipped=(\d+)", done.stdout)))
    if done.returncode != 0 and not bad:
        bad = [f"{unit}: exit {done.returncode}"]
    return unit, int(ran[1]) if ran else 0, bad, skipped, time.monotonic() - begun, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--install", action="store_true", help="only the NestJS peers")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    find_node()
    for version in ("12", "11"):
        install(version)
    if options.install:
        return
    total, failures, skips = 0, [], 0
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool, concurrent.futures.ThreadPoolExecutor(1) as aside:
        jobs = [(aside if unit.partition(".")[0] in ASIDE else pool).submit(run, unit, options.v)
                for unit in units(options.names)]
        for job in concurrent.futures.as_completed(jobs):
            unit, ran, bad, skipped, seconds, output = job.result()
            total, skips = total + ran, skips + skipped
            failures += bad
            print(f"{unit}: {ran} tests, {len(bad)} failed, {seconds:.1f} s", flush=True)
            if bad or options.v:
                print(output, flush=True)
    for name in failures:
        print("FAILED", name)
    if skips:
        print(f"{skips} skipped")
    print(f"{max(total - len(failures), 0) - skips} passed, {len(failures)} failed")
    if total == 0 or failures or (skips and os.environ.get("CI") == "true"):
        sys.exit(1)


if __name__ == "__main__":
    main()
