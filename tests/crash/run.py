#!/usr/bin/env python3
"""The crash loop: kill -9 at random moments and at named points, an oracle of what was acknowledged.

run.py [--kills N] [--seed N] [--daemon FILE] [--points FILE] [--point NAME]
"""
import argparse
import gc
import os
import signal
import statistics
import sys
import time

import driver
import harness

CHECKS = ("nothing acknowledged is lost (S1, S3)", "books add up at every start (S2)", "attempts never decrease (S6)",
          "duplicates explained (S7)", "one copy where there is dedupe", "in order within a life (S8)", "strict order by key (S8)",
          "dead letters (S11)", "settled and staged together",
          "the log holds what was accepted, once each (S1, S3)",
          "as it was sent",
          "one answer", "every PUB is answered", "it starts", "it ends only when it is told to", "drained",
          "no error in the log", "no sanitizer report", "SIGTERM ends cleanly (P5)", "restart to ready under 1 s (P2)")

# name of the point: at which passes the daemon is killed, one life each
POINTS = {
    "store.migrating": (1, 1), "store.opened": (1, 1), "durable.adopted": (1, 1), "store.checkpointed": (1,),
    "store.run": (1, 30), "store.commit": (1, 30), "store.committed": (1, 30), "store.synced": (1, 30),
    "store.posted": (1, 30),
    "durable.accepting": (1, 40), "durable.stored": (1, 40), "durable.acknowledged": (1, 40),
    "delivery.handed-over": (1, 40), "durable.settle": (1, 40), "durable.settling": (1, 40),
    "durable.retrying": (1, 4), "durable.burying": (1, 3), "durable.redriving": (1, 3), "durable.armed": (1, 3),
}


def closing(run):
    o = run.oracle
    return (f"crash: {run.kills} kills, {o.acknowledged} acknowledged, {run.lost} lost, {o.duplicates} duplicates "
            f"({o.explained} explained), {o.duplicates - o.explained} unexplained")


def reached(run):
    """A loop that meets nothing proves nothing."""
    o = run.oracle
    met = {"messages": o.acknowledged, "duplicates": o.duplicates, "deliveries marked crash": o.after_crash,
           "resends": o.sent - len(o.messages), "books looked at": run.audits,
           "copies that were not delivered": o.copies}
    for what, count in met.items():
        if count == 0:
            o.violate("the load reached what it is to test", f"no {what}")


def random_kills(kills, seed):
    start, run = time.monotonic(), driver.Run(seed)
    while run.kills < kills and len(run.oracle.violations.get("it starts", ())) < 3:
        run.random_life()
        if run.lives % 100 == 0:
            print(f"        {run.kills} kills, {time.monotonic() - start:.0f} s, {closing(run)}", file=sys.stderr)
    run.finish()
    reached(run)
    run.close()
    passed, failed = run.oracle.report([*CHECKS, "the load reached what it is to test"])
    if run.ready_times:
        print(f"        seed {seed}, {run.lives} lives, {run.stops} SIGTERM, {run.redriven} redriven, {len(run.dead_rows)} "
              f"dead letters, {run.oracle.deliveries} deliveries, ready after {statistics.median(run.ready_times) * 1e3:.0f}"
              f" ms (at most {max(run.ready_times) * 1e3:.0f}), time-outs in lives {sorted(set(run.timeouts))}, "
              f"{time.monotonic() - start:.0f} s")
    print(closing(run), flush=True)
    return passed, failed


def at_point(point, counts, seed):
    """The daemon ends itself at that point, at its count-th pass; one check that it does, and all of the oracle's."""
    run, hits = driver.Run(f"{seed} {point}"), 0
    for _ in range(3 if point != "store.migrating" else 0):
        run.random_life(0.1)  # something is on disk, some of it in flight
    for count in counts:
        life = run.life(env={"BELLHOP_FAULT": f"{point}@{count}"})
        if life.ready():
            life.publish((40 if point == "store.checkpointed" else 10) * driver.PER_LIFE)
            life.serve()
            end = time.monotonic() + 15  # the point ends it sooner, unless it is not reached
            while life.alive_until(min(end, time.monotonic() + 0.02)) and time.monotonic() < end:
                life.redrive()
        if life.kill():
            continue
        if life.daemon.process.returncode == -9:
            hits += 1
            run.kills += 1
        else:
            run.oracle.violate("it ends only when it is told to", f"{point}: {life.last_words}")
    if hits < len(counts):
        run.oracle.violate("the point is reached", f"{point}: {hits} of {len(counts)} times")
    run.finish()
    run.close()
    _, failed = run.oracle.report([*CHECKS, "the point is reached"])
    print(f"{'FAILED' if failed else 'ok':7} {point}: {closing(run)}", flush=True)
    return failed == 0


def stopped(seed):
    """P4: a daemon that stood still for longer than its time-outs, as a machine that was asleep. What was answered
    meanwhile has not timed out; what was not comes once more."""
    run, got = driver.Run(seed), []
    try:
        stop_and_go(run, got)
    except AssertionError as error:
        run.oracle.violate("no storm after a stop (P4)", f"{error}")
    run.close()
    _, failed = run.oracle.report(["no storm after a stop (P4)"])
    print(f"{'FAILED' if failed else 'ok':7} SIGSTOP and SIGCONT: {len(got)} deliveries of 50", flush=True)
    return failed == 0


def stop_and_go(run, got):
    life = run.life()
    life.ready()
    sink = life.daemon.serve("sink", lambda d, s: got.append(d) or s.LATER)
    with life.daemon.connect() as client:
        for i in range(50):
            client.publish("d.a", b"x", {"id": f"s{i}"})
    sink.wait(50)
    life.daemon.signal(signal.SIGSTOP)
    for delivery in got[:40]:
        sink.client.send("OK", delivery.id)
    time.sleep(2.5)  # the policy's time-out is 2 s
    life.daemon.signal(signal.SIGCONT)
    sink.wait(60)
    for delivery in got[50:]:
        sink.client.send("OK", delivery.id)
    harness.wait_until(lambda: life.daemon.admin("status")["messages"]["done"] == 50, "all done")
    again = sorted((d.headers["id"], d.headers["attempt"], d.headers.get("redelivered")) for d in got[50:])
    if again != [(f"s{i}", "2", "timeout") for i in range(40, 50)]:
        run.oracle.violate("no storm after a stop (P4)", f"{len(again)} came again: {again}")
    sink.close()
    life.stop()


def main():
    gc.disable()  # a collection over millions of objects stops every service for longer than its time-out: driver.py does it
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--daemon", default=harness.BELLHOPD)
    options.add_argument("--points", help="the daemon with the named points")
    options.add_argument("--point", choices=POINTS, help="only this one")
    options = options.parse_args()
    passed = failed = 0
    if options.kills and not options.point:
        harness.BELLHOPD = os.path.abspath(options.daemon)
        passed, failed = random_kills(options.kills, options.seed)
        good = stopped(options.seed)
        passed, failed = passed + good, failed + (not good)
    if options.points:
        harness.BELLHOPD = os.path.abspath(options.points)
        for point in [options.point] if options.point else POINTS:
            good = at_point(point, POINTS[point], options.seed)
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
