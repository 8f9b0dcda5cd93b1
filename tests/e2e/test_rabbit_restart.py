"""The broker restarts under load, RABBIT_RESTARTS times (3)."""
import os
import signal
import time

from harness import Case, wait_until
from test_rabbit_faults import PATIENT, Faults, Feed, Load

RESTARTS = int(os.environ.get("RABBIT_RESTARTS", "3"))


class RestartCase(Faults, Case):
    def test_restarts_under_load(self):
        q = self.name
        daemon = self.durable(self.both_ways(q), endpoint={"reconnect_max": "1s"}, policies=PATIENT)
        worker = daemon.serve("worker")
        self.up(daemon)
        load, feed = Load(daemon, "go"), Feed(self.rabbit, q + ".in")
        for i in range(RESTARTS):
            time.sleep(0.5)
            self.rabbit.restart(signal.SIGKILL if i % 2 else signal.SIGTERM)
            wait_until(lambda: self.endpoint(daemon)["state"] == "up", "up again", 60)
        time.sleep(0.5)
        acked, confirmed = load.stop(), feed.stop()
        self.assertGreater(len(acked), 100)
        self.assertGreater(len(confirmed), 100)
        self.assert_all_out(q + ".out", acked)
        self.assert_all_in(worker, confirmed)
        self.assert_books(daemon)
