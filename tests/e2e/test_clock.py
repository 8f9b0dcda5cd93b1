"""S10 in the real daemon: a wall clock that is set by years makes nothing early or late, in this life or the next."""
import mmap
import os
import signal
import struct
import subprocess
import time

from harness import Case, Daemon, Service, policy, wait_until

# What the daemon's wall clock says besides the truth, in seconds, lies in a file that both have mapped.
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *step;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (step == NULL) {
        void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, open(getenv("STEP_FILE"), O_RDONLY), 0);
        if (p == MAP_FAILED)
            abort();
        step = p;
    }
    int rc = (int)syscall(SYS_clock_gettime, id, ts);
    if (id == CLOCK_REALTIME)
        ts->tv_sec += *step;
    return rc;
}
"""
YEARS = 10 * 365 * 86400


class ClockCase(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.temporary()
        source, self.shim = os.path.join(self.folder, "clock.c"), os.path.join(self.folder, "clock.so")
        with open(source, "w") as f:
            f.write(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.shim, source], check=True)
        self.step_file = os.path.join(self.folder, "step")
        with open(self.step_file, "wb") as f:
            f.write(bytes(4096))
        with open(self.step_file, "r+b") as f:
            self.step = mmap.mmap(f.fileno(), 4096)
        self.addCleanup(self.step.close)

    def set_clock(self, seconds):
        self.step[:8] = struct.pack("=q", seconds)

    def start(self):
        env = {"LD_PRELOAD": self.shim, "STEP_FILE": self.step_file,
               "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
        daemon = Daemon({"store": {"path": os.path.join(self.folder, "store")},
                         "policies": {"p": policy(attempts=5, delay="2s")},
                         "routes": [{"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True,
                                     "policy": "p"}]}, env=env, folder=self.folder)
        self.addCleanup(daemon.remove)
        return daemon

    def again(self, daemon, how):
        daemon.signal(how)
        daemon.wait_exit(15)
        daemon.check_clean()
        daemon.remove()
        return self.start()

    def fail_once(self, daemon):
        """One waits on disk for its next attempt: since when."""
        def handle(_delivery, _service):
            raise Service.Err("failed", b"not yet")
        worker = daemon.serve("worker", handle)
        with daemon.connect() as client:
            self.assertEqual(client.publish("job.x").verb, "OK")
        worker.wait(1)
        begun = time.monotonic()
        wait_until(lambda: daemon.admin("status")["messages"]["stored"] == 1, "it is on disk")
        daemon.admin("audit")  # what it was asked for before is committed
        worker.close()
        return begun

    def test_set_while_down(self):
        for how in (signal.SIGKILL, signal.SIGTERM):
            self.set_clock(YEARS)
            daemon = self.start()
            self.fail_once(daemon)
            self.set_clock(0)
            daemon = self.again(daemon, how)
            worker = daemon.serve("worker")
            self.assertEqual(worker.wait(1)[0].headers["attempt"], "2")
            wait_until(lambda d=daemon: d.admin("status")["messages"]["stored"] == 0, "nothing waits")
            daemon.signal(signal.SIGTERM)
            self.assertEqual(daemon.wait_exit(15), 0)

    def test_set_while_it_runs(self):
        daemon = self.start()
        for step in (YEARS, -YEARS, 0):
            begun = self.fail_once(daemon)
            with daemon.connect() as client:
                client.publish("job.y", headers={"delay": "1500ms"})
                self.set_clock(step)
                client.publish("job.z", headers={"delay": "10ms"})
            worker = daemon.serve("worker")
            got = worker.wait(3, timeout=20)
            self.assertEqual([d.subject for d in got][:1], ["job.z"])
            self.assertGreater(time.monotonic() - begun, 1.9)
            worker.close()
            wait_until(lambda: daemon.admin("status")["messages"]["unaccounted"] == 0, "all is accounted for")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_exit(15), 0)
