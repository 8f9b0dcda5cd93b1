"""Messages that services die of: real processes that end themselves, the pid in the dead letter, clean ends that count for nothing."""
import contextlib
import subprocess
import sys

from harness import HERE, Case, policy, wait_until
from test_durable import Base

SCRIPT = """
import os, sys, threading
sys.path.insert(0, {here!r})
from harness import Service
def handle(delivery, service):
    if b"boom" in delivery.body:
        os._exit(9)
    if b"bye" in delivery.body:
        service.client.send("BYE")
        os._exit(9)
    if b"slow" in delivery.body:
        return Service.LATER
    return b""
services = [Service({socket!r}, "worker", handle, credit={credit}) for _ in range({connections})]
sys.stdin.read()
"""


class PoisonCase(Base, Case):
    def spawn(self, daemon, credit=8, connections=1):
        text = SCRIPT.format(here=HERE, socket=daemon.socket, credit=credit, connections=connections)
        process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdin.close()

    def spawn_until(self, daemon, condition, **more):
        """As a supervisor does it; the pids of those that died."""
        pids = []
        while not condition():
            process = self.spawn(daemon, **more)
            wait_until(lambda: process.poll() is not None or condition(), "it dies, or all is over")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)  # the daemon may know before we do
            if process.poll() is not None:
                pids.append(process.pid)
            self.assertLess(len(pids), 10)
        return pids

    def dead(self, daemon):
        return [(row["id"], row["last_error"]) for row in daemon.admin("dlq.ls")["items"]]

    def test_the_guilty_one(self):
        """In a crowd: the others are delivered, it goes to the dead letters, and the pids are told."""
        daemon = self.start(with_policy=policy(attempts=50, delay="20ms", breaker={"failures": 1000}))
        with daemon.connect() as client:
            for i in range(12):
                self.publish(client, "job.x", b"boom" if i == 5 else b"fine", {"id": f"m{i}"})
        pids = self.spawn_until(daemon, lambda: self.held(daemon) == 0)
        [(id, error)] = self.dead(daemon)
        self.assertEqual((id, error), ("m5", f"unavailable: crashed its service 2 times (pid {pids[-2]}, {pids[-1]})"))
        self.assertEqual(self.messages(daemon)["done"], 11)
        self.assertLessEqual(len(pids), 3)
        self.stop(daemon)

    def test_two_connections_are_one_process(self):
        """What the process held on another connection is as suspect: neither is counted."""
        daemon = self.start(with_policy=policy(attempts=50, delay="20ms", breaker={"failures": 1000}))
        process = self.spawn(daemon, credit=1, connections=2)
        wait_until(lambda: daemon.admin("status")["clients"] == 2, "attached")
        with daemon.connect() as client:
            self.publish(client, "job.x", b"slow", {"id": "innocent"})
            wait_until(lambda: self.messages(daemon)["inflight"] == 1, "held")
            self.publish(client, "job.x", b"boom", {"id": "guilty"})
            process.wait(10)
            daemon.wait_log(lambda l: l.get("event") == "message_retry" and l["id"] == "innocent", "lost")
        errors = {l["id"]: l["error"] for l in daemon.log("message_retry")}
        self.assertEqual(errors, dict.fromkeys(
            ("innocent", "guilty"), f"unavailable: its service crashed with this and more in hand (pid {process.pid})"))
        self.stop(daemon)

    def test_a_clean_end_is_no_crash(self):
        daemon = self.start(with_policy=policy(attempts=4, delay="20ms", breaker={"failures": 1000}))
        with daemon.connect() as client:
            self.publish(client, "job.x", b"bye", {"id": "m"})
        pids = self.spawn_until(daemon, lambda: self.messages(daemon)["dead"] == 1)
        self.assertEqual(len(pids), 4)  # its attempts are used up
        self.assertNotIn("crashed", self.dead(daemon)[0][1])
        self.stop(daemon)

    def test_over_a_restart(self):
        daemon = self.start(with_policy=policy(attempts=50, delay="20ms", breaker={"failures": 1000}))
        with daemon.connect() as client:
            self.publish(client, "job.x", b"boom", {"id": "m"})
        first = self.spawn(daemon)
        first.wait(10)
        daemon.wait_log(lambda l: l.get("event") == "message_retry", "lost")
        self.written(daemon)
        daemon = self.again(daemon, with_policy=policy(attempts=50, delay="20ms", breaker={"failures": 1000}))
        [second] = self.spawn_until(daemon, lambda: self.messages(daemon)["dead"] == 1)
        self.assertEqual(self.dead(daemon), [("m", f"unavailable: crashed its service 2 times (pid {first.pid}, {second})")])
        story = daemon.tool("why", "m")[1]
        self.assertIn(f"(pid {first.pid}, {second})", story)
        self.stop(daemon)
