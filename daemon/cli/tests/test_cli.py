#!/usr/bin/env python3
"""The tool bellhop as its user meets it: words in, words and exit codes out, against a fake daemon.
    python3 daemon/cli/tests/test_cli.py            (BELLHOP_BIN names another binary than build/bellhop)"""
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import fake_daemon  # noqa: E402
from fake_daemon import FakeDaemon  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
BIN = os.path.abspath(os.environ.get("BELLHOP_BIN", os.path.join(ROOT, "build", "bellhop")))


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.daemon = FakeDaemon(self.folder.name)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("BELLHOP_") and k != "NO_COLOR"}
        self.env["BELLHOP_SOCKET"] = self.daemon.service_path

    def tearDown(self):
        self.daemon.close()
        self.folder.cleanup()

    def run_tool(self, *args, stdin=b"", env=None):
        done = subprocess.run([BIN, *args], input=stdin, capture_output=True, timeout=30, env=env or self.env)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()

    def ok(self, *args, **more):
        code, out, err = self.run_tool(*args, **more)
        self.assertEqual((code, err), (0, ""), out)
        return out

    def on_terminal(self, *args):
        mine, its = pty.openpty()
        with open(mine, "rb", buffering=0) as end:
            done = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stdout=its, env=self.env, timeout=30)
            os.close(its)
            self.assertEqual(done.returncode, 0)
            return end.read(65536).decode()

    def fails(self, code, *args, **more):
        got, out, err = self.run_tool(*args, **more)
        self.assertEqual(got, code, (out, err))
        return err

    def start_tool(self, *args, **more):
        p = subprocess.Popen([BIN, *args], env=self.env, **more)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def frames(self, verb):
        return [frame for frame in self.daemon.seen if frame and frame[0] == verb]

    def wait_for(self, verb, count=1):
        end = time.monotonic() + 10
        while len(self.frames(verb)) < count:
            self.assertLess(time.monotonic(), end, f"no {verb} came: {self.daemon.seen}")
            time.sleep(0.01)
        return self.frames(verb)

    # ---- usage

    def test_help_of_everything(self):
        out = self.ok("--help")
        self.assertIn("request", out)
        for command in ("request publish subscribe serve status routes explain why dlq log replay tap check reload drain bench version "
                        "completion").split():
            self.assertIn(f"Usage: bellhop {command} ", self.ok(command, "--help"))
            self.assertIn("Example:", self.ok(command, "-h"))
        for sub in "ls show redrive purge".split():
            self.assertIn(f"Usage: bellhop dlq {sub} ", self.ok("dlq", sub, "--help"))
        for sub in "ls show".split():
            self.assertIn(f"Usage: bellhop log {sub} ", self.ok("log", sub, "--help"))

    def test_wrong_usage(self):
        for args, text in (((), ""), (("frob",), "no command “frob”"), (("statsu",), "did you mean “status”"),
                           (("dlq",), ""), (("dlq", "lss"), "did you mean “ls”"), (("request",), "too few arguments"),
                           (("request", "a", "b", "c"), "one argument too many"), (("request", "a", "--frob"), "--frob"),
                           (("request", "a", "-t", "5"), "not a duration"), (("request", "a", "-H", "x"), "NAME:VALUE"),
                           (("publish", "a", "-n", "0"), "above 0"), (("status", "-o", "xml"), "not json or table"),
                           (("bench",), "--subject"), (("bench", "x", "--subject", "s"), "not request or publish"),
                           (("serve", "x"), "too few"), (("completion", "ksh"), "not bash, zsh or fish"),
                           (("drain",), "--yes"), (("dlq", "purge"), "--yes"), (("explain",), "too few")):
            self.assertIn(text, self.fails(2, *args), args)

    def test_no_daemon(self):
        missing = os.path.join(self.folder.name, "none.sock")
        for args in (("request", "a"), ("status",), ("tap",), ("serve", "x", "true"), ("bench", "--subject", "s")):
            err = self.fails(1, "-s", missing, *args)
            self.assertIn(f"no daemon listens on {missing}: start it with `bellhopd -c FILE`", err)

    @unittest.skipUnless(os.getuid() == 0, "has to become another user")
    def test_socket_of_others(self):
        os.chmod(self.folder.name, 0o755)
        for mode, hint in ((0o660, "join the group"), (0o600, "only its owner")):
            os.chmod(self.daemon.admin_path, mode)
            done = subprocess.run([BIN, "status"], env=self.env, user=65533, group=65533, extra_groups=[], capture_output=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"permission denied: {hint}", done.stderr.decode())

    def test_denied(self):
        self.assertIn("denied: this uid may not be intruder", self.fails(1, "request", "a", "--name", "intruder"))

    # ---- messages

    def test_request(self):
        self.assertEqual(self.ok("request", '{"cmd":"sum"}', "[1,2,3]"), "6")
        self.assertEqual(self.ok("request", "echo", "-", "-H", "a-b: c", "--timeout", "1500ms", stdin=b"in"), "in")
        self.assertEqual(self.frames("REQ")[1][3], [("a-b", "c"), ("timeout", "1500ms")])
        reply = json.loads(self.ok("-o", "json", "request", "echo", "hi"))
        self.assertEqual((reply["body"], reply["last"]), ("hi", True))
        self.assertEqual(json.loads(self.ok("request", "binary", "-o", "json"))["body_base64"], "/wA=")

    def test_request_stream(self):
        self.assertEqual(self.ok("request", "count", "3", "--stream"), "1\n2\n3\n")
        code, out, err = self.run_tool("request", "count", "3")
        self.assertEqual((code, out), (0, ""))
        self.assertIn("3 items of a stream were not shown", err)

    def test_request_fails(self):
        self.assertIn("overloaded: later [2J (try again in 5s)", self.fails(1, "request", "busy"))
        self.assertIn("timeout", self.fails(1, "request", "silence", "-t", "50ms"))
        self.assertIn("unavailable: the daemon closed the connection", self.fails(1, "request", "vanish"))
        self.assertIn("too-large: the daemon takes bodies up to 1000B", self.fails(1, "request", "a", "x" * 1001))
        self.assertIn("invalid: a subject", self.fails(1, "request", "a\nb"))

    def test_publish(self):
        self.assertEqual(self.ok("publish", "a", "b", "-H", "k:v"), "accepted 1 event\n")
        self.assertEqual(self.frames("PUB")[0][2:], ("a", [("k", "v")], b"b"))
        self.assertEqual(self.ok("publish", "a", "-n", "2000"), "accepted 2000 events\n")
        self.assertEqual(self.ok("publish", "a", "--no-ack", "-n", "3"), "sent 3 events\n")
        self.assertEqual(json.loads(self.ok("publish", "a", "-o", "json")), {"accepted": 1, "refused": 0})
        self.assertIn("no-route", self.fails(1, "publish", "refuse"))
        self.assertIn("timeout: 2 not answered", self.fails(1, "publish", "silence", "-n", "2", "-t", "100ms"))
        before = len(self.frames("PUB"))
        self.assertEqual(json.loads(self.ok("publish", "a", "b", "--dry-run"))["subject"], "a")
        self.assertEqual(len(self.frames("PUB")), before)

    def test_subscribe(self):
        self.assertEqual(self.ok("subscribe", "news.*", "-g", "team", "-n", "2"), "news.0  event 0\nnews.1  event 1\n")
        self.assertEqual(self.frames("SUB")[0][2:4], ("news.*", [("group", "team")]))
        self.wait_for("ERR")
        self.assertEqual([f[1] for f in self.wait_for("OK", 2)], [100, 101])
        self.assertEqual((self.frames("ERR")[0][1], self.frames("ERR")[0][2]), (102, "release"))
        self.assertIn("denied: not yours", self.fails(1, "subscribe", "secret"))
        lines = self.ok("subscribe", "x", "-n", "1", "-o", "json").splitlines()
        self.assertEqual(json.loads(lines[0])["headers"], {"id": "m0"})

    def test_subscribe_ends_at_sigterm(self):
        p = self.start_tool("subscribe", "x", stdout=subprocess.PIPE)
        self.wait_for("OK", 3)
        p.send_signal(signal.SIGTERM)
        out, _ = p.communicate(timeout=10)
        self.assertEqual((p.returncode, out.count(b"\n")), (0, 3))
        self.assertEqual(len(self.wait_for("BYE")), 1)

    def test_output_that_cannot_be_written(self):
        for arguments in (("status",), ("request", "echo", "x"), ("log", "show", "orders"), ("subscribe", "x"), ("tap",)):
            with self.subTest(arguments), open("/dev/full", "w") as full:
                done = subprocess.run([BIN, *arguments], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                                      env=self.env, timeout=10)
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"standard output cannot be written", done.stderr)
        self.assertEqual(self.frames("OK"), [])  # the event that was not written is not settled

    # ---- serve

    def serve(self, *args, answers=1, code=0):
        p = self.start_tool("serve", *args, stderr=subprocess.PIPE)
        end = time.monotonic() + 10
        while len(self.frames("OK") + self.frames("REP") + self.frames("ERR")) < answers:
            self.assertLess(time.monotonic(), end, self.daemon.seen)
            time.sleep(0.01)
        p.send_signal(signal.SIGTERM)
        _, err = p.communicate(timeout=10)
        self.assertEqual(p.returncode, code, err)
        return err.decode()

    def test_serve(self):
        self.daemon.deliver = [
            ("REQ", 1, "s.t", [("id", "m1"), ("x-y", "1"), ("x-y", "2"), ("attempt", "3")], b"body"),
            ("PUB", 2, "e", [], b""),
        ]
        script = ('cat; echo " $BELLHOP_SUBJECT $BELLHOP_KIND $BELLHOP_ID $BELLHOP_ATTEMPT $BELLHOP_HEADER_X_Y '
                  '${BELLHOP_HEADER_ID-none} $BELLHOP_SOCKET"')
        self.serve("svc", "--credit", "3", "--", "sh", "-c", script, answers=2)
        self.assertEqual(self.frames("HELLO")[0][2:4], ("svc", [("version", "1"), ("credit", "3")]))
        self.assertEqual(self.frames("REP")[0][4].decode(), f"body s.t request m1 3 1, 2 m1 {self.daemon.service_path}\n")
        self.assertEqual(self.frames("OK")[0][1], 2)
        self.assertEqual(len(self.frames("BYE")), 1)

    def test_serve_outcomes(self):
        self.daemon.deliver = [("REQ", 1, "0", [], b""), ("REQ", 2, "75", [], b""), ("REQ", 3, "9", [], b""),
                               ("REQ", 4, "kill", [], b""), ("REQ", 5, "large", [], b"")]
        script = ('case $BELLHOP_SUBJECT in kill) kill -9 $$;; large) head -c 5000 /dev/zero; exit 0;; esac; '
                  'echo "why $BELLHOP_SUBJECT" >&2; echo more >&2; exit $BELLHOP_SUBJECT')
        said = self.serve("svc", "--", "sh", "-c", script, answers=5)
        for line in ("why 0\n", "why 75\n", "why 9\n"):  # logs are not swallowed
            self.assertIn(line, said)
        errors = {f[1]: (f[2], f[3], f[4].decode()) for f in self.frames("ERR")}
        self.assertEqual(errors[2], ("failed", [("retry", "yes")], "why 75"))
        self.assertEqual(errors[3], ("failed", [("retry", "no")], "why 9"))
        self.assertEqual(errors[4], ("failed", [("retry", "yes")], "the command was ended by signal 9"))
        self.assertEqual(errors[5][:2], ("too-large", [("retry", "no")]))
        self.assertEqual([f[1] for f in self.frames("REP")], [1])

    def test_serve_large_body_both_ways(self):
        body = os.urandom(400) * 2
        self.daemon.deliver = [("REQ", i, "s", [], body) for i in range(1, 20)]
        self.serve("svc", "--credit", "4", "--", "cat", answers=19)
        self.assertEqual([f[4] for f in self.frames("REP")], [body] * 19)

    def test_serve_command_that_does_not_read(self):
        self.daemon.deliver = [("REQ", 1, "s", [], b"x" * 900)]
        self.serve("svc", "--", "true")
        self.assertEqual(len(self.frames("REP")), 1)

    def test_serve_command_that_does_not_exist(self):
        self.daemon.deliver = [("REQ", 1, "s", [], b"")]
        err = self.serve("svc", "--", "/no/such/command")
        self.assertIn("/no/such/command cannot be started: No such file or directory", err)
        self.assertEqual(self.frames("ERR")[0][2], "unavailable")

    def test_serve_finishes_what_runs(self):
        self.daemon.deliver = [("REQ", 1, "s", [], b"")]
        p = self.start_tool("serve", "svc", "--", "sh", "-c", "touch $0/on; sleep 0.5; echo late", self.folder.name)
        end = time.monotonic() + 10
        while not os.path.exists(os.path.join(self.folder.name, "on")):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(10), 0)
        self.assertEqual(self.frames("REP")[0][4], b"late\n")

    def test_serve_cancel_ends_the_command(self):
        self.daemon.deliver = [("REQ", 1, "s", [], b""), ("CANCEL", 1, None, [], b"")]
        start = time.monotonic()
        self.serve("svc", "--", "sleep", "20")
        self.assertLess(time.monotonic() - start, 8)

    # ---- administration

    def test_status(self):
        out = self.ok("status")
        for text in ("fake", "9.9.9", "1h2m3s", "4.0MiB", "/etc/x.yaml", "math", "128", "listening", "connection refused"):
            self.assertIn(text, out)
        self.assertEqual(json.loads(self.ok("status", "-o", "json"))["pid"], 42)
        self.assertNotIn("\033", out)
        hello = self.frames("HELLO")[0]
        self.assertEqual(hello[2], "bellhop")

    def test_admin_socket_is_found(self):
        other = dict(self.env)
        del other["BELLHOP_SOCKET"]
        self.ok("-s", self.daemon.admin_path, "status", env=other)
        self.ok("status", "-s", self.daemon.service_path, env=other)
        self.ok("status", env=dict(other, BELLHOP_ADMIN_SOCKET=self.daemon.admin_path))

    def test_routes_and_explain(self):
        self.assertRegex(self.ok("routes"), r"math, audit .* events ")
        out = self.ok("explain", "--from", "edge", "s")
        self.assertIn("30s", out)
        self.assertIn("math", out)
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]), {"from": "edge", "subject": "s"})

    def test_why(self):
        lines = self.ok("why", "01").splitlines()
        self.assertEqual(lines[:4], ["id       01", "subject  order.created", "kind     event", "from     shop"])
        self.assertEqual([" ".join(word for word in line.split() if word != "-") for line in lines[6:]],
                         ["2026-01-01T00:00:00.000Z accepted route orders of configuration 3; on disk, then its source was told",
                          "2026-01-01T00:00:00.001Z handed over billing 1 pid 7, client 2",
                          "2026-01-01T00:00:00.009Z retry billing failed: no; after 8ms; again in 100ms",
                          "2026-01-01T00:00:00.109Z handed over billing 2 pid 8, client 3 redelivered: failed",
                          "2026-01-01T00:00:00.110Z done billing after 1ms"])
        code, _, err = self.run_tool("why", "gone")
        self.assertEqual(code, 1)
        self.assertIn("nothing is known of gone", err)
        self.assertIn("there is more than this", self.run_tool("why", "cut")[2])
        self.assertEqual(json.loads(self.ok("why", "01", "-o", "json"))["id"], "01")

    def test_dlq(self):
        code, out, err = self.run_tool("dlq", "ls", "--route", "orders", "--match", "order.*", "--limit", "1")
        self.assertEqual(code, 0)
        self.assertIn("order.créé", out)
        self.assertIn("timeout ✓", out)
        self.assertNotIn("\x1b", out)
        self.assertIn("1 of 3 shown", err)
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]),
                         {"route": "orders", "match": "order.*", "limit": 1, "dry_run": False})
        self.assertEqual(self.run_tool("dlq", "ls"), (0, self.ok("dlq", "ls"), ""))  # fewer than the limit
        self.assertEqual(self.run_tool("dlq", "ls", "--route", "other"), (0, "no dead letter matches\n", ""))
        out = self.ok("dlq", "show", "01")
        self.assertIn("key: 7", out)
        self.assertIn("last error   timeout ✓ [2J\n", out)  # what a service says of it cannot either
        self.assertIn("the body\x1b[2J\n\tover", out)
        self.assertIn("the body [2J\r\n\tover", self.on_terminal("dlq", "show", "01"))  # it cannot steer the terminal
        self.assertEqual(self.ok("dlq", "redrive", "01"), "sent again: 2 dead letters\n")
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]), {"id": "01", "dry_run": False})
        self.assertEqual(self.ok("dlq", "purge", "--dry-run"), "would drop 1 dead letter\n")
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]), {"dry_run": True})
        self.assertEqual(self.ok("dlq", "purge", "--yes"), "dropped 1 dead letter\n")
        for arguments in (("redrive", "gone"), ("purge", "gone", "--yes"), ("purge", "gone", "--dry-run")):
            self.assertIn("no dead letter has the id gone", self.fails(1, "dlq", *arguments))
        self.assertEqual(json.loads(self.ok("dlq", "show", "01", "-o", "json"))["headers"], {"id": "01", "key": "7"})
        before = len(self.frames("REQ"))
        self.assertIn("not UTF-8", self.fails(2, "dlq", "purge", "--yes", "--match", b"\xff"))
        self.assertEqual(len(self.frames("REQ")), before)

    def test_log(self):
        out = self.ok("log", "ls")
        for text in ("orders", "1200", "2.0MiB", "2026-01-31T08:00:00.000Z"):
            self.assertIn(text, out)
        out = self.ok("log", "show", "orders", "--from", "2h", "-m", "order.*", "-k", "7", "-n", "5", "--bodies")
        self.assertEqual(out, "      12  2026-01-31T08:00:00.000Z  order.new  7@3  4B  a [2Jb\n"
                              "      13  2026-01-31T08:00:00.000Z  order.new  2B  (binary)\n")
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]),
                         {"name": "orders", "from": "2h", "match": "order.*", "key": "7", "limit": 5, "follow": False,
                          "bodies": True})
        lines = self.ok("log", "show", "orders", "-o", "json").splitlines()
        self.assertEqual([json.loads(line)["offset"] for line in lines], [12, 13])
        self.assertEqual(json.loads(lines[0])["headers"], {"id": "a", "key": "7"})

    def test_replay(self):
        self.assertEqual(self.ok("replay", "orders", "--from", "10", "--to", "2026-02-01T00:00:00Z", "--rate", "100/s",
                                 "--to-service", "billing", "-n", "7"), "replayed 7 events\n")
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]),
                         {"name": "orders", "from": "10", "to": "2026-02-01T00:00:00Z", "limit": 7, "rate": "100/s",
                          "service": "billing", "dry_run": False})
        self.assertEqual(self.ok("replay", "orders", "--dry-run"), "would replay 7 events\n")
        self.assertEqual(json.loads(self.ok("replay", "orders", "-o", "json"))["offset"], 20)
        code, out, err = self.run_tool("replay", "partly")
        self.assertEqual((code, out), (1, "replayed 7 events\n"))
        self.assertIn("2 left out: no route of the log takes them any more", err)
        self.assertIn("ended early: the daemon is shutting down; it had read up to offset 20", err)
        before = len(self.frames("REQ"))
        for arguments in ((b"\xff",), ("x", "--match", b"\xff"), ("x", "--to-service", b"\xff")):
            self.assertIn("not UTF-8", self.fails(2, "replay", *arguments))
        self.assertEqual(len(self.frames("REQ")), before)
        self.assertIn("too few", self.fails(2, "replay"))

    def test_replay_ends_at_sigint(self):
        p = self.start_tool("replay", "endless", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_for("REQ")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=10)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"interrupted", err)
        self.wait_for("CANCEL")

    def test_tap(self):
        out = self.ok("tap", "-n", "4", "--bodies")
        self.assertIn("10:00:00.123  accepted", out)
        self.assertIn("attempt 4", out)
        self.assertNotIn("\033", out)
        self.wait_for("CANCEL")
        self.assertEqual(json.loads(self.frames("REQ")[0][4]), {"bodies": True})
        lines = self.ok("tap", "-n", "2", "-o", "json", "--match", "a.*").splitlines()
        self.assertEqual([json.loads(line)["event"] for line in lines], ["accepted", "delivered"])

    def test_tap_ends_at_sigint(self):
        p = self.start_tool("tap", stdout=subprocess.PIPE)
        for _ in range(4):
            p.stdout.readline()
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(10), 0)
        p.stdout.close()
        self.wait_for("CANCEL")

    def test_reload_and_drain(self):
        self.assertEqual(self.ok("reload"), "endpoint edge: changed\nnow generation 4\n")
        self.assertIn("still generation", self.ok("reload", "--dry-run"))
        self.assertEqual(json.loads(self.frames("REQ")[-1][4]), {"dry_run": True})
        self.assertEqual(self.ok("drain", "--dry-run"), "would drain: 2 services, 9 deliveries in flight\n")
        self.assertEqual(self.ok("drain", "--yes"), "draining: 2 services, 9 deliveries in flight\n")
        os.environ["FAKE_RELOAD"] = "bad"
        try:
            self.assertIn("invalid: x.yaml:3:1: unknown key", self.fails(1, "reload"))
        finally:
            del os.environ["FAKE_RELOAD"]

    def test_doctor(self):
        out = self.ok("doctor")
        self.assertEqual(out, "warning  cache: appendonly is off\n         turn it on\n"
                              "note  messages: 3 dead letters\n      bellhop dlq ls\n")
        with mock.patch.dict(fake_daemon.STATUS, store={"path": self.folder.name, "bytes": 0, "max_bytes": 1}), \
                mock.patch.object(fake_daemon, "FINDINGS", []):
            self.assertEqual(self.ok("doctor"), "nothing to see to\n")
            os.chmod(self.folder.name, 0o755)
            self.assertIn("other users of this host may read the store", self.ok("doctor"))
            os.chmod(self.folder.name, 0o700)
            fake_daemon.STATUS["store"]["max_bytes"] = 1 << 60
            self.assertIn("the disk has room for", self.ok("doctor"))
            fake_daemon.STATUS["store"] = {"path": "/dev/shm", "bytes": 0, "max_bytes": 1}
            code, out, _ = self.run_tool("doctor", "-o", "json")
            self.assertEqual(code, 1)
            self.assertIn("error", {f["level"] for f in json.loads(out)["findings"]})
            self.assertIn("tmpfs", out)
            fake_daemon.STATUS["store"]["path"] = "/nonexistent"
            self.assertEqual(self.ok("doctor"), "nothing to see to\n")

    def test_version(self):
        self.assertIn("bellhopd 9.9.9", self.ok("version"))
        self.assertIn("(not reached)", self.ok("version", "-s", "/nonexistent"))
        self.assertEqual(self.ok("--version"), self.ok("version"))
        self.assertEqual(self.ok("help"), self.ok("--help"))

    def test_bench(self):
        report = json.loads(self.ok("bench", "--subject", "echo", "-n", "500", "-i", "16", "-o", "json"))
        self.assertEqual((report["done"], report["failed"]), (500, 0))
        self.assertGreaterEqual(report["max_us"], report["p50_us"])
        self.assertIn("200 events", self.ok("bench", "publish", "--subject", "e", "-n", "200"))
        self.assertIn("per second", self.ok("bench", "--subject", "echo", "-d", "200ms"))
        p = self.start_tool("bench", "--subject", "silence", stdout=subprocess.PIPE)
        self.wait_for("REQ", len(self.frames("REQ")) + 1)
        p.send_signal(signal.SIGINT)
        self.assertIn(b"0 requests of 100 B, 64 in flight, in 0.00 s", p.communicate(timeout=10)[0])
        code, out, _ = self.run_tool("bench", "--subject", "busy", "-n", "5")
        self.assertEqual(code, 1)
        self.assertIn("failed   5, the first with overloaded: later [2J", out)

    # ---- without a daemon

    def test_completion(self):
        script = self.ok("completion", "bash")
        ask = script + ('\nCOMP_WORDS=(bellhop "$@"); COMP_CWORD=$#; _bellhop; echo "${COMPREPLY[@]}"\n')
        for words, expected in ((["st"], "status"), (["dlq", "re"], "redrive"), (["dlq", "purge", "--y"], "--yes"),
                                (["request", "--str"], "--stream")):
            done = subprocess.run(["bash", "-c", ask, "bash", *words], capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout.strip(), expected, words)
        self.assertIn("complete -c bellhop", self.ok("completion", "fish"))
        self.assertIn("#compdef bellhop", self.ok("completion", "zsh"))

    def test_check(self):
        path = os.path.join(self.folder.name, "x.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("version: 1\nlocal: { socket: /tmp/x.sock }\nfrobs: 1\nservices:\n  a: { credit: -1 }\n")
        err = self.fails(78, "check", path)
        self.assertIn(f"{path}:3:1:", err)
        self.assertIn(f"{path}:5:", err)
        self.assertFalse(json.loads(self.run_tool("check", path, "-o", "json")[1])["ok"])
        with open(path, "w", encoding="utf-8") as f:
            f.write("version: 1\nlocal: { socket: /tmp/x.sock }\nservices:\n  math: {}\n"
                    "routes:\n  - { name: sum, from: local, match: sum, to: math }\n")
        self.assertIn("1 service, 1 route", self.run_tool("check", path)[1])
        self.assertIn("No such file", self.fails(78, "check", path + ".none"))


if __name__ == "__main__":
    unittest.main()
