"""`schedules:`: events by the clock."""
import re
import signal
import subprocess
import time

from harness import BELLHOPD, Case, Daemon, Service, wait_until

TOOL = BELLHOPD.removesuffix("d")
ROUTE = {"name": "ticks", "from": "local", "match": "tick.*", "to": "clock"}


def every_second(subject="tick.a", **more):
    return {"every": "1s", "subject": subject, **more}


class ScheduleCase(Case):
    def reload(self, daemon, config):
        before = daemon.admin("status")["config"]["generation"]
        daemon.write(config)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.admin("status")["config"]["generation"] == before + 1, "the next generation")

    def test_reaches_a_service(self):
        daemon = self.daemon({"routes": [ROUTE], "schedules": {"a": every_second(body='{"n": 1}')}})
        service = daemon.serve("clock")
        deliveries = service.wait(3)[:3]
        seconds = []
        for got in deliveries:
            self.assertEqual((got.verb, got.subject, got.body), ("PUB", "tick.a", b'{"n": 1}'))
            self.assertEqual((got.headers["schedule"], got.headers["source"]), ("a", "local"))
            self.assertRegex(got.headers["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$")
            self.assertEqual(got.headers["id"], "a@" + got.headers["time"])
            seconds.append(int(got.headers["time"][17:19]))
        self.assertEqual([(b - a) % 60 for a, b in zip(seconds, seconds[1:])], [1, 1])
        counts = daemon.http("/metrics")[1]
        self.assertIn("messages_unaccounted 0", counts)

    def test_time_is_now(self):
        daemon = self.daemon({"routes": [ROUTE], "schedules": {"a": every_second()}})
        late = []

        def look(delivery, service):
            late.append(time.time() % 86400 - sum(int(n) * s for n, s in zip(
                re.findall(r"\d+", delivery.headers["time"])[3:6], (3600, 60, 1))))
        daemon.serve("clock", look).wait(3)
        for seconds in late[:3]:  # the clock may pass midnight between the two
            self.assertGreaterEqual(seconds % 86400, 0)
            self.assertLess(seconds % 86400, 1)

    def test_subscribers_get_it_too(self):
        daemon = self.daemon({"routes": [], "schedules": {"a": every_second()}})
        with daemon.connect() as client:
            client.answer(client.start("SUB", "tick.>"))
            self.assertEqual(client.expect("PUB").headers["schedule"], "a")

    def test_nobody_takes_it(self):
        daemon = self.daemon({"routes": [ROUTE], "schedules": {"a": every_second("other")}})
        line = daemon.wait_log(lambda l: l["event"] == "schedule_refused", "the refusal")
        self.assertEqual((line["level"], line["schedule"], line["subject"], line["reason"]),
                         ("warn", "a", "other", "no-route"))
        self.assert_alive(daemon)

    def test_refused_is_offered_again(self):
        schedules = {"a": {"every": "5s", "subject": "tick.a", "headers": {"tenant": "7", "ttl": "1h"}, "body": "one\ntwo\n"},
                     "b": {"cron": "0 3 1 1 *", "subject": "tick.b"}}
        daemon = self.daemon({"routes": [], "schedules": schedules})
        service = daemon.serve("clock")
        line = daemon.wait_log(lambda l: l["event"] == "schedule_refused", "the refusal")
        self.reload(daemon, {"routes": [ROUTE], "schedules": schedules})
        got = service.wait(1)[0]
        self.assertEqual(got.headers["time"], line["scheduled"])
        self.assertEqual((got.headers["tenant"], got.headers["ttl"], got.body), ("7", "1h", b"one\ntwo\n"))
        one, two = daemon.admin("status")["schedules"]
        self.assertEqual((one["name"], one["state"], one["published"], one["lost"]), ("a", "good", 1, 0))
        self.assertGreaterEqual(one["refused"], 1)
        self.assertEqual(one["last"], line["scheduled"])
        self.assertGreater(one["next"], one["last"])
        self.assertGreater(one["drift_ms"], 900)
        self.assertEqual((two["last"], two["drift_ms"]), (None, None))
        self.assertRegex(two["next"], r"^20\d\d-01-01T03:00:00.000Z$")
        text = daemon.tool("status")[1]
        self.assertRegex(text, r"(?m)^SCHEDULE +SUBJECT +STATE +NEXT +LAST +DRIFT")
        metrics = daemon.http("/metrics")[1]
        self.assertIn('bellhop_schedule_published_total{schedule="a"} 1\n', metrics)
        self.assertIn('bellhop_schedule_drift_ms{schedule="a"} %d\n' % one["drift_ms"], metrics)

    def test_lost_when_the_next_is_due(self):
        daemon = self.daemon({"routes": [], "schedules": {"a": every_second()}})
        line = daemon.wait_log(lambda l: l["event"] == "schedule_lost", "the loss")
        self.assertEqual((line["level"], line["schedule"]), ("warn", "a"))
        wait_until(lambda: daemon.admin("status")["schedules"][0]["lost"] >= 2, "two lost")
        [row] = daemon.admin("status")["schedules"]
        self.assertEqual((row["state"], row["published"], row["last"]), ("refused", 0, None))

    def test_durable_is_published_when_on_disk(self):
        folder = self.temporary()
        daemon = self.daemon({"routes": [{**ROUTE, "durable": True}], "schedules": {"a": every_second()},
                              "store": {"path": folder + "/store"}})
        wait_until(lambda: daemon.admin("status")["schedules"][0]["published"] >= 2, "two are on disk")
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.assertGreaterEqual(daemon.admin("audit")["books"]["accepted"], 2)
        self.assertGreaterEqual(len({d.headers["time"] for d in daemon.serve("clock").wait(3)}), 3)

    def test_reload(self):
        daemon = self.daemon({"routes": [ROUTE], "schedules": {"a": every_second(), "b": every_second("tick.b")}})
        service = daemon.serve("clock")
        service.wait(4)
        self.reload(daemon, {"routes": [ROUTE], "schedules": {"b": every_second("tick.b"), "c": every_second("tick.c")}})
        begun = len(service.deliveries)
        changes = {l["what"] for l in daemon.log("config_change")}
        self.assertEqual(changes, {"schedule a: removed", "schedule c: added"})
        service.wait(begun + 4)
        self.assertEqual({d.subject for d in service.deliveries[begun:]}, {"tick.b", "tick.c"})
        self.reload(daemon, {"routes": [ROUTE]})
        begun = len(service.deliveries)
        time.sleep(2.2)
        self.assertEqual(len(service.deliveries), begun)
        ids = [d.headers["id"] for d in service.deliveries]
        self.assertEqual(len(set(ids)), len(ids), "a time came twice")
        times = sorted(d.headers["time"] for d in service.deliveries if d.subject == "tick.b")
        seconds = [int(t[17:19]) for t in times]
        self.assertEqual({(b - a) % 60 for a, b in zip(seconds, seconds[1:])}, {1}, "the reload cost a period")

    def test_drain_stops_them(self):
        daemon = Daemon({"routes": [ROUTE], "schedules": {"a": every_second()}})
        self.addCleanup(daemon.remove)
        service = daemon.serve("clock", lambda d, s: Service.LATER)
        service.wait(1)
        daemon.signal(signal.SIGTERM)
        daemon.wait_log(lambda l: l["event"] == "draining", "draining")
        held = len(service.deliveries)
        time.sleep(2.2)
        self.assertEqual(len(service.deliveries), held)
        for delivery in service.deliveries:
            service.client.send("OK", delivery.id)
        self.assertEqual(daemon.wait_exit(), 0)
        daemon.check_clean()

    def check(self, text):
        folder = self.temporary()
        with open(f"{folder}/b.yaml", "w") as f:
            f.write(text)
        return subprocess.run([TOOL, "check", f"{folder}/b.yaml"], capture_output=True, text=True, timeout=10)

    def test_check(self):
        done = self.check('schedules:\n  night: { cron: "0 3 * * mon-fri", subject: report }\n'
                          '  week: { cron: "@weekly", subject: report }\n')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = self.check('schedules:\n  night: { cron: "0 3 30 2 *", subject: report }\n')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("b.yaml:2:18: ", done.stdout + done.stderr)
