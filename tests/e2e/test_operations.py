"""Starting, reloading, stopping, systemd's protocols, health pages, logs."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from harness import (BELLHOPD, NO_HANDLER, Case, Daemon, FakeNestServer, Local, NestClient, NestRaw, Service, free_port,
                     nest_frame, policy, wait_until)

ECHO = {"name": "echo", "from": "local", "match": "echo", "to": "echo"}
SECOND = {"name": "second", "from": "local", "match": "second", "to": "echo"}
CANARY = "canary-7f3a91"


def edge(port, **more):
    return {"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"}},
            "policies": {"default": policy("20s")},
            "routes": [ECHO, {"name": "edge", "from": "edge", "match": ">", "to": "echo"}], **more}


class Load:
    """Calls that go on until the end of the `with`; each must succeed."""

    def __init__(self, ask):
        self.ask, self.done, self.errors, self.stop = ask, 0, [], threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stop.is_set():
            try:
                self.ask(self.done)
            except Exception as e:  # the test reports whatever it is
                self.errors.append(repr(e))
                return
            self.done += 1

    def go_on(self, count=20):
        seen = self.done
        wait_until(lambda: self.errors or self.done >= seen + count, "load that goes on")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class ReloadCase(Case):
    def loads(self, daemon, port):
        local, raw = self.keep(daemon.connect("load")), self.keep(NestRaw(port))

        def by_local(n):
            got = local.request("echo", str(n))[1]
            assert got.body == str(n).encode(), got

        def by_nest(n):
            got = raw.ask("echo", n, id=str(n))
            assert got[0].get("response") == n, got
        return Load(by_local), Load(by_nest)

    def generation(self, daemon):
        return daemon.admin("status")["config"]["generation"]

    def test_good_file_under_load(self):
        port, other = free_port(), free_port()
        daemon = self.daemon(edge(port))
        daemon.serve("echo")
        first, second = self.loads(daemon, port)
        before, fds = self.generation(daemon), None
        with first, second:
            for n in range(1, 7):
                config = edge(port)
                if n % 2:
                    config["endpoints"]["more"] = {"listen": f"tcp://127.0.0.1:{other}"}
                    config["routes"] = [SECOND, *config["routes"]]
                daemon.write(config)
                daemon.signal(signal.SIGHUP)
                wait_until(lambda: self.generation(daemon) == before + n, "the next generation")
                first.go_on()
                second.go_on()
                with daemon.connect() as caller:
                    self.assertEqual(caller.request("second", b"1")[1].verb, "REP" if n % 2 else "ERR")
                self.assertEqual(self.listens(other), bool(n % 2))
                if n == 2:
                    fds = daemon.fds()
            wait_until(lambda: daemon.fds() <= fds, f"descriptors back at {fds}")
        self.assertEqual((first.errors, second.errors), ([], []))

    def listens(self, port):
        try:
            NestRaw(port).close()
            return True
        except ConnectionRefusedError:
            return False

    def test_bad_file_changes_nothing(self):
        port = free_port()
        daemon = self.daemon(edge(port))
        daemon.serve("echo")
        first, second = self.loads(daemon, port)
        before = self.generation(daemon)
        bad = {
            "no yaml": "version: 1\nroutes: [",
            "unknown key": "version: 1\nlokal: {}\n",
            "other version": "version: 2\n",
            "bad target": json.dumps({"routes": [{"from": "local", "match": "a", "to": {"endpoint": "nope"}}]}),
        }
        with first, second:
            for name, text in bad.items():
                with self.subTest(file=name):
                    lines = len(daemon.log())
                    daemon.write_text(text)
                    daemon.signal(signal.SIGHUP)
                    wait_until(lambda: [l for l in daemon.log()[lines:] if l["level"] in ("warn", "error") and
                                        "bellhop.yaml" in str(l)], "the reason, with the file's name")
                    self.assertEqual(self.generation(daemon), before)
                    first.go_on()
                    second.go_on()
            lines = len(daemon.log())
            os.unlink(daemon.file)
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: [l for l in daemon.log()[lines:] if l["event"] == "reload_refused"], "a missing file is refused")
            self.assertEqual(self.generation(daemon), before)
            first.go_on()
        self.assertEqual((first.errors, second.errors), ([], []))
        daemon.write(edge(port))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: self.generation(daemon) == before + 1, "the good file again")

    def test_port_in_use_changes_nothing(self):
        port, moved, more = free_port(), free_port(), free_port()
        daemon = self.daemon(edge(port))
        daemon.serve("echo")
        before = self.generation(daemon)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = edge(moved)
            config["endpoints"]["more"] = {"listen": f"tcp://127.0.0.1:{more}"}
            config["endpoints"]["taken"] = {"listen": f"tcp://127.0.0.1:{taken.getsockname()[1]}"}
            daemon.write(config)
            daemon.signal(signal.SIGHUP)
            daemon.wait_log(lambda l: l["event"] == "reload_refused", "the refusal")
        self.assertEqual(self.generation(daemon), before)
        with NestRaw(port) as raw:
            self.assertEqual(raw.ask("x", 1)[0]["response"], 1)
        self.assertEqual((self.listens(moved), self.listens(more)), (False, False))

    def test_requests_in_flight_survive(self):
        port = free_port()
        daemon = self.daemon(edge(port))
        daemon.serve("echo", lambda d, s: (time.sleep(0.5), d.body)[1])
        with daemon.connect() as caller, NestRaw(port) as raw:
            id = caller.start("REQ", "echo", b"local")
            raw.send({"pattern": "x", "data": "nest", "id": "n"})
            time.sleep(0.1)
            daemon.write(edge(port, policies={"default": policy("19s")}, routes=[
                {"name": "renamed", "from": "edge", "match": "y", "to": "echo"}]))
            daemon.signal(signal.SIGHUP)
            self.assertEqual(caller.answer(id)[1].body, b"local")
            self.assertEqual(raw.recv()["response"], "nest")

    def test_messages_of_a_removed_route_are_kept(self):
        daemon = self.daemon({"routes": [ECHO], "policies": {"default": policy("20s")}})
        caller = self.keep(daemon.connect())
        id = caller.start("PUB", "echo", b"kept")
        self.assertTrue(caller.silent(0.1))
        daemon.write({"routes": []})
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(lambda l: l["event"] == "reloaded", "the reload")
        self.assertEqual(caller.publish("echo", b"new").subject, "no-route")
        service = daemon.serve("echo")
        self.assertEqual(caller.answer(id)[1].verb, "OK")
        self.assertEqual(service.deliveries[0].body, b"kept")

    def test_service_that_becomes_an_endpoint(self):
        """What went to a local service goes to a peer under the same name from now on."""
        routes = {"routes": [{"name": "pay", "from": "local", "match": "pay", "to": "billing"}]}
        daemon = self.daemon(routes)
        service, caller = daemon.serve("billing"), self.keep(daemon.connect())
        self.assertEqual(caller.request("pay", b"1")[1].body, b"1")

        def answers(peer):
            while True:
                peer.send({"response": "far", "isDisposed": True, "id": peer.recv()["id"]})
        with FakeNestServer(answers) as far:
            daemon.write({"endpoints": {"billing": {"connect": f"tcp://127.0.0.1:{far.port}"}}, **routes})
            status, _, err = daemon.tool("reload")
            self.assertEqual(status, 1)
            self.assertIn("billing", err)
            self.assertIn("attached", err)
            self.assertEqual(caller.request("pay", b"2")[1].body, b"2")  # nothing has changed
            service.close()
            wait_until(lambda: daemon.tool("reload")[0] == 0, "the reload, now that nobody is attached")
            wait_until(lambda: caller.request("pay", b"3")[1].body == b'"far"', "an answer from the far end")

    def test_by_command(self):
        port, other = free_port(), free_port()
        daemon = self.daemon(edge(port))
        before = self.generation(daemon)
        config = edge(port)
        config["endpoints"]["more"] = {"listen": f"tcp://127.0.0.1:{other}"}
        config["routes"] = [ECHO, SECOND, config["routes"][1]]
        daemon.write(config)
        changes = "endpoint more: added\nroute second: added\n"
        self.assertEqual(daemon.tool("reload", "--dry-run"), (0, f"{changes}still generation {before}\n", ""))
        self.assertEqual((self.generation(daemon), self.listens(other)), (before, False))
        self.assertEqual(daemon.tool("reload"), (0, f"{changes}now generation {before + 1}\n", ""))
        self.assertEqual((self.generation(daemon), self.listens(other)), (before + 1, True))
        self.assertEqual([l["what"] for l in daemon.log("config_change")], changes.splitlines())
        self.assertEqual(daemon.log("reloaded")[-1]["generation"], str(before + 1))
        self.assertEqual(daemon.tool("reload"), (0, f"nothing changes\nnow generation {before + 2}\n", ""))

    def test_what_needs_a_restart_is_not_shown_as_done(self):
        config = {"routes": [ECHO], "store": {"path": self.temporary() + "/store"}, "node": "old"}
        daemon = self.daemon(config)
        before = daemon.admin("status")["store"]
        daemon.write({**config, "store": {"path": self.temporary() + "/other", "max_size": "6MiB"}, "node": "new",
                      "limits": {"body": "2MiB"}})
        for _ in range(2):  # it is not forgotten either
            status, out, _ = daemon.tool("reload")
            self.assertEqual((status, out.count("(needs a restart)")), (0, 4), out)
        with daemon.connect() as client:
            self.assertEqual((client.hello.headers["node"], client.hello.headers["limits.body"]), ("old", "1048576"))
        now = daemon.admin("status")["store"]
        self.assertEqual((now["path"], now["max_bytes"]), (before["path"], before["max_bytes"]))

    def test_bad_file_by_command(self):
        port = free_port()
        daemon = self.daemon(edge(port))
        before = daemon.admin("status")["config"]
        daemon.write_text("version: 1\nlokal: {}\nlimits: { body: 7 apples }\n")
        for arguments in (["reload", "--dry-run"], ["reload"]):
            with self.subTest(arguments):
                status, out, err = daemon.tool(*arguments)
                self.assertEqual((status, out), (1, ""))
                for part in (f"{daemon.file}:2:1:", "did you mean `local`", f"{daemon.file}:3:"):
                    self.assertIn(part, err)
        self.assertEqual(daemon.admin("status")["config"]["generation"], before["generation"])
        self.assertEqual(len(daemon.log("reload_refused")), 1)  # the dry run is none
        self.assertTrue(self.listens(port))
        daemon.write(edge(port))
        self.assertEqual(daemon.tool("reload")[0], 0)


class ExplainCase(Case):
    def test_where_a_message_would_go(self):
        daemon = self.daemon(edge(free_port()))
        for arguments, expected in ((("echo",), "the first route from `local`"),
                                    (("-f", "edge", "echo"), "the first route from `edge`"),
                                    (("-f", "egde", "echo"), "no route is from `egde`"),
                                    (("other",), "no route from `local` matches this subject")):
            status, out, _ = daemon.tool("explain", *arguments)
            self.assertEqual(status, 0)
            self.assertIn(expected, out)


class StopCase(Case):
    def ending(self, config=None, **more):
        """A daemon that the test ends itself."""
        daemon = Daemon(config, **more)
        self.addCleanup(daemon.remove)
        return daemon

    def test_finishes_what_is_in_flight(self):
        port = free_port()
        daemon = self.ending(edge(port, drain_timeout="10s"))
        service = daemon.serve("echo", lambda d, s: (time.sleep(0.4), d.body)[1])
        caller, raw = self.keep(daemon.connect()), self.keep(NestRaw(port))
        client = self.keep(NestClient("12", port))
        id = caller.start("REQ", "echo", b"local")
        service.wait(1)
        raw.send({"pattern": "x", "data": "nest", "id": "n"})
        call = client.start("send", "y", "real")
        wait_until(lambda: daemon.admin("status")["messages"]["accepted"] == 3, "three requests")
        daemon.signal(signal.SIGTERM)
        frames = {f.verb: f for f in (caller.recv(), caller.recv())}
        self.assertEqual(set(frames), {"BYE", "REP"})
        self.assertEqual((frames["REP"].id, frames["REP"].body), (id, b"local"))
        self.assertEqual(raw.recv()["response"], "nest")
        self.assertEqual(client.wait(call).values, ["real"])
        service.wait_other("BYE")
        self.assertEqual(daemon.wait_exit(8), 0)
        daemon.check_clean()
        for path in (daemon.socket, daemon.admin_socket):
            self.assertFalse(os.path.exists(path), path)

    def test_takes_nothing_new_while_draining(self):
        port = free_port()
        daemon = self.ending(edge(port, drain_timeout="5s"))
        service = daemon.serve("echo", lambda d, s: (time.sleep(1.5), d.body)[1])
        caller = self.keep(daemon.connect())
        old = caller.start("REQ", "echo", b"old")
        service.wait(1)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(caller.expect("BYE").id, 0)
        self.assertNotEqual(daemon.http("/readyz")[0], 200)
        new = caller.start("REQ", "echo", b"new")
        got = caller.expect("ERR")
        self.assertEqual((got.id, got.subject), (new, "draining"))
        late = []
        with contextlib.suppress(OSError):
            late.append(self.keep(Local(daemon.socket, hello=False)))
            late[0].send("HELLO", 0, "late", {"version": "1"})
        with contextlib.suppress(OSError):
            late.append(self.keep(NestRaw(port)))
            late[-1].send({"pattern": "x", "data": "late", "id": "l"})
        self.assertEqual(caller.answer(old)[1].body, b"old")
        self.assertEqual(daemon.wait_exit(5), 0)
        for peer in late:  # refused, or closed without an answer
            if isinstance(peer, Local):
                self.assertLessEqual({f.verb for f in peer.ended()}, {"ERR", "BYE"})
            else:
                self.assertIsNone(peer.recv())
        self.assertEqual([d.body for d in service.deliveries], [b"old"])

    def test_drain_timeout(self):
        daemon = self.ending({"routes": [ECHO], "policies": {"default": policy("60s")}, "drain_timeout": "500ms"})
        service = daemon.serve("echo", lambda d, s: Service.LATER)
        caller = self.keep(daemon.connect())
        id = caller.start("REQ", "echo")
        service.wait(1)
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_exit(10), 0)
        self.assertTrue(0.4 < time.monotonic() - begun < 4)
        self.assertTrue([f for f in caller.ended() if f.verb == "BYE" or f.id == id])
        daemon.check_clean()

    def test_second_signal_exits_now(self):
        daemon = self.ending({"routes": [ECHO], "policies": {"default": policy("60s")}, "drain_timeout": "60s"})
        service = daemon.serve("echo", lambda d, s: Service.LATER)
        caller = self.keep(daemon.connect())
        caller.start("REQ", "echo")
        service.wait(1)
        daemon.signal(signal.SIGTERM)
        caller.expect("BYE")
        self.assertIsNone(daemon.process.poll())
        daemon.signal(signal.SIGTERM)
        begun = time.monotonic()
        daemon.wait_exit(5)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertFalse(os.path.exists(daemon.socket))

    def test_drain_by_command(self):
        daemon = self.ending({"routes": [ECHO], "policies": {"default": policy("20s")}, "drain_timeout": "10s"})
        release = threading.Event()
        service = daemon.serve("echo", lambda d, s: (release.wait(10), d.body)[1])
        caller = self.keep(daemon.connect())
        id = caller.start("REQ", "echo", b"kept")
        service.wait(1)
        status, out, err = daemon.tool("drain")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("--yes", err)
        self.assertEqual(daemon.tool("drain", "--dry-run"),
                         (0, "would drain: 2 services, 1 delivery in flight\n", ""))
        self.assertEqual(daemon.admin("status")["state"], "running")
        self.assertEqual(daemon.tool("drain", "--yes"), (0, "draining: 2 services, 1 delivery in flight\n", ""))
        caller.expect("BYE")
        self.assertIsNone(daemon.process.poll())
        release.set()
        self.assertEqual(caller.answer(id)[1].body, b"kept")
        self.assertEqual(daemon.wait_exit(8), 0)
        self.assertEqual(daemon.tool("drain", "--yes")[0], 1)
        daemon.check_clean()

    def test_no_reload_while_draining(self):
        port, other = free_port(), free_port()
        daemon = self.ending(edge(port, drain_timeout="10s"))
        release = threading.Event()
        service = daemon.serve("echo", lambda d, s: (release.wait(10), d.body)[1])
        caller = self.keep(daemon.connect())
        caller.start("REQ", "echo")
        service.wait(1)
        self.assertEqual(daemon.tool("drain", "--yes")[0], 0)
        daemon.write({"endpoints": {"other": {"listen": f"tcp://127.0.0.1:{other}"}}})
        status, _, err = daemon.tool("reload")
        self.assertEqual(status, 1)
        self.assertIn("draining", err)
        with self.assertRaises(ConnectionRefusedError):
            NestRaw(other)
        release.set()
        self.assertEqual(daemon.wait_exit(8), 0)
        daemon.check_clean()

    def test_idle_daemon_is_quick(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            port = free_port()
            daemon = self.ending(edge(port, drain_timeout="30s"))
            idle, raw = self.keep(daemon.connect()), self.keep(NestRaw(port))
            self.assertTrue(raw.ask("x", 1)[0]["err"])
            begun = time.monotonic()
            daemon.signal(number)
            self.assertEqual(daemon.wait_exit(10), 0)
            self.assertLess(time.monotonic() - begun, 3)
            self.assertEqual([f.verb for f in idle.ended()], ["BYE"])
            self.assertIsNone(raw.recv())

    def test_under_load(self):
        """Each request gets an answer, or the end of its connection: none a wrong one."""
        port = free_port()
        daemon = self.ending(edge(port, drain_timeout="5s"))
        daemon.serve("echo")
        answers = []

        def ask(n):
            got = local.request("echo", str(n))[1]
            answers.append((got.verb, got.subject if got.verb == "ERR" else int(got.body) == n))
        local = self.keep(daemon.connect("load"))
        with Load(ask) as load:
            load.go_on()
            daemon.signal(signal.SIGTERM)
            self.assertEqual(daemon.wait_exit(8), 0)
        self.assertLessEqual(set(answers), {("REP", True), ("ERR", "draining")})
        daemon.check_clean()


class InstanceCase(Case):
    def second(self, folder):
        return subprocess.run([BELLHOPD, "-c", os.path.join(folder, "bellhop.yaml")], capture_output=True,
                              text=True, timeout=10)

    def test_second_instance(self):
        daemon = self.daemon({"routes": [ECHO]})
        daemon.serve("echo")
        done = self.second(daemon.folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("local.sock", done.stdout + done.stderr)
        with daemon.connect() as caller:
            self.assertEqual(caller.request("echo", b"1")[1].body, b"1")

    def test_stale_socket(self):
        folder = self.temporary()
        for name in ("local.sock", "admin.sock"):
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(os.path.join(folder, name))
        self.assert_alive(self.daemon({}, folder=folder))

    def test_after_kill(self):
        folder = self.temporary()
        first = Daemon({}, folder=folder)
        first.process.kill()
        first.wait_exit()
        self.assertTrue(os.path.exists(first.socket))
        self.assert_alive(self.daemon({}, folder=folder))

    def test_what_is_no_socket_is_left_alone(self):
        for kind in ("file", "symlink", "dangling symlink", "folder"):
            with self.subTest(kind=kind):
                folder = self.temporary()
                path, target = os.path.join(folder, "local.sock"), os.path.join(folder, "precious")
                if kind == "folder":
                    os.mkdir(path)
                elif kind == "dangling symlink":
                    os.symlink(target, path)
                else:
                    open(target if kind == "symlink" else path, "w").write("precious")
                    if kind == "symlink":
                        os.symlink(target, path)
                daemon = Daemon({}, folder=folder, wait=False)
                self.addCleanup(daemon.remove)
                self.assertNotEqual(daemon.wait_exit(5), 0)
                self.assertIn("local.sock", daemon.log_text())
                self.assertTrue(os.path.lexists(path))
                if os.path.isfile(path):
                    self.assertEqual(open(path).read(), "precious")

    def test_mode_of_the_sockets(self):
        daemon = self.daemon({"local": {"mode": "0640"}})
        self.assertEqual(os.stat(daemon.socket).st_mode & 0o777, 0o640)
        self.assertEqual(os.stat(daemon.admin_socket).st_mode & 0o777, 0o600)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            daemon = Daemon(edge(port), wait=False)
            self.addCleanup(daemon.remove)
            self.assertNotEqual(daemon.wait_exit(5), 0)
            self.assertIn(str(port), daemon.log_text())
            self.assertFalse(os.path.exists(daemon.socket))

    def test_bad_configuration_is_78_with_all_errors(self):
        daemon = Daemon({}, wait=False)
        self.addCleanup(daemon.remove)
        daemon.process.kill()
        daemon.wait_exit()
        with open(daemon.file, "w") as f:
            f.write("version: 1\nlocl:\n  socket: /x\nlimits:\n  body: 7 apples\n"
                    "routes:\n  - from: nowhere\n    match: a\n    to: b\nnode: [1]\n")
        done = self.second(daemon.folder)
        self.assertEqual(done.returncode, 78)
        for place in (":2:1:", ":5:", ":7:", ":10:"):
            self.assertIn(f"bellhop.yaml{place}", done.stdout + done.stderr)
        self.assertIn("local", done.stdout + done.stderr)

    def test_plain_listener_beyond_loopback(self):
        port = free_port()
        endpoint = {"listen": f"tcp://0.0.0.0:{port}"}
        daemon = Daemon({"endpoints": {"edge": endpoint}, "routes": []}, wait=False)
        self.addCleanup(daemon.remove)
        self.assertEqual(daemon.wait_exit(5), 78)
        self.assertIn("insecure", daemon.log_text())
        self.assert_alive(self.daemon({"endpoints": {"edge": {**endpoint, "insecure": True}}}))


class SystemdCase(Case):
    def notified(self):
        folder = self.temporary()
        path = os.path.join(folder, "notify")
        receiver = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        receiver.bind(path)
        receiver.settimeout(10)
        return receiver, path

    def until(self, receiver, word):
        """Messages up to the one that says word; watchdog ones are left out."""
        seen = []
        while True:
            text = receiver.recv(4096).decode()
            seen.append(text)
            if word in text:
                return text

    def test_notify(self):
        receiver, path = self.notified()
        daemon = Daemon({"routes": [ECHO]}, env={"NOTIFY_SOCKET": path})
        self.addCleanup(daemon.remove)
        self.until(receiver, "READY=1")
        daemon.signal(signal.SIGHUP)
        text = self.until(receiver, "RELOADING=1")
        self.assertRegex(text, r"MONOTONIC_USEC=\d+")
        self.until(receiver, "READY=1")
        daemon.signal(signal.SIGTERM)
        self.until(receiver, "STOPPING=1")
        self.assertEqual(daemon.wait_exit(), 0)

    def test_abstract_notify_socket(self):
        name = f"bellhop-e2e-{os.getpid()}"
        receiver = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        receiver.bind("\0" + name)
        receiver.settimeout(10)
        self.daemon({}, env={"NOTIFY_SOCKET": "@" + name})
        self.until(receiver, "READY=1")

    def test_watchdog(self):
        receiver, path = self.notified()
        self.daemon({}, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000"})
        self.until(receiver, "READY=1")
        begun = time.monotonic()
        for _ in range(4):
            self.until(receiver, "WATCHDOG=1")
        self.assertLess(time.monotonic() - begun, 4 * 0.3)

    def test_socket_activation(self):
        folder = self.temporary()
        path = os.path.join(folder, "handed.sock")
        listener = self.keep(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(16)
        os.set_inheritable(listener.fileno(), True)
        with Local.__new__(Local) as early:  # connects before the daemon is there: it waits in the backlog
            Local.__init__(early, path, hello=False)
            early.send("HELLO", 0, "early", {"version": "1"})
            daemon = Daemon({"routes": [ECHO]}, env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "local"},
                            fds=(listener.fileno(),))
            self.addCleanup(daemon.remove)
            self.assertEqual(early.expect("HELLO").verb, "HELLO")
        with Service(path, "echo"), Local(path) as caller:
            self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertTrue(os.path.exists(path), "a socket handed over is not removed")
        daemon.check_clean()


class PagesCase(Case):
    def test_health(self):
        daemon = self.daemon({"routes": [ECHO]})
        for path in ("/livez", "/readyz", "/startupz"):
            self.assertEqual(daemon.http(path)[0], 200, path)
        self.assertEqual(daemon.http("/nothing")[0], 404)
        self.assertEqual(daemon.http("/../etc/passwd")[0], 404)

    def test_metrics(self):
        daemon = self.daemon({"routes": [ECHO]})
        daemon.serve("echo")
        with daemon.connect() as caller:
            for _ in range(3):
                caller.request("echo")
            caller.request("nowhere")
            caller.send("SUB", 77, "made.up.by.a.client")  # labels are the configuration's: clients make up any number
            caller.expect("OK")
            status, text = daemon.http("/metrics")
            self.assertIn('bellhop_inflight{destination="echo"}', text)
            self.assertNotIn("made.up", text)
        status, text = daemon.http("/metrics")
        self.assertEqual(status, 200)
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)', line)
                self.assertIsNotNone(match, line)
                samples[match[1] + (match[2] or "")] = float(match[3])
        unaccounted = [v for k, v in samples.items() if "messages_unaccounted" in k]
        self.assertEqual(unaccounted, [0])
        self.assertIn(3, samples.values())

    def test_hostile_requests(self):
        daemon = self.daemon({})
        for data in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /metrics HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 99999999999\r\n\r\n", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n"):
            with socket.create_connection(("127.0.0.1", daemon.http_port), 10) as s, \
                    contextlib.suppress(ConnectionError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            self.assertEqual(daemon.http("/livez")[0], 200)


class LogCase(Case):
    def test_every_line_is_json_with_the_basics(self):
        daemon = self.daemon({"routes": [ECHO]})
        daemon.serve("echo")
        with daemon.connect() as caller:
            caller.request("echo", b"1")
        for text in daemon.log_text().splitlines():
            line = json.loads(text)
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")
            self.assertIn(line["level"], ("error", "warn", "info", "debug"))
            self.assertRegex(line["event"], r"^[a-z0-9_]+$")

    def test_callers_are_no_destinations(self):
        daemon = self.daemon({"routes": [ECHO], "log": {"level": "info"}})
        daemon.serve("echo")
        daemon.connect("caller").close()
        daemon.wait_log(lambda l: l["event"] == "client_detached" and l["service"] == "caller", "the end of the caller")
        self.assertEqual([l["destination"] for l in daemon.log("destination_up")], ["echo"])

    def test_text(self):
        daemon = self.daemon({"log": {"format": "text", "level": "info"}}, wait=False)
        wait_until(lambda: re.search(r" ready( |$)", daemon.log_text(), re.M), "ready")

    def test_ids_in_every_line_of_a_message(self):
        daemon = self.daemon({"routes": [ECHO], "policies": {"default": policy("100ms", attempts=2)}})
        daemon.serve("echo", lambda d, s: Service.LATER)
        trace = "0af7651916cd43dd8448eb211c80319c"
        with daemon.connect() as caller:
            caller.publish("echo", b"1", {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "id": "message-77",
                                          "correlation-id": "correlated-8"})
        lines = [l for l in daemon.log() if "message-77" in str(l) or trace in str(l)]
        self.assertGreaterEqual(len({l["event"] for l in lines}), 2, lines)
        for line in lines:
            for part in ("message-77", trace, "correlated-8"):
                self.assertIn(part, str(line))

    def test_no_payloads_and_no_secrets(self):
        token = self.temporary() + "/token"
        with open(token, "w") as f:
            f.write(CANARY + "-token\n")
        config = {"routes": [ECHO], "policies": {"default": policy("100ms")},
                  "services": {"echo": {"token": "${file:%s}" % token}, "other": {"token": "${SECRET_TOKEN}"},
                               "tester": {}}}
        env = {"SECRET_TOKEN": CANARY + "-env"}
        daemon = self.daemon(config, env=env)
        with Local(daemon.socket, "echo", headers={"token": CANARY + "-token"}) as service:
            with Local(daemon.socket, "echo", hello=False) as wrong:
                wrong.send("HELLO", 0, "echo", {"version": "1", "token": CANARY + "-wrong"})
                wrong.ended()
            with daemon.connect() as caller:
                caller.publish("echo", CANARY + "-body")  # times out, dies
            self.assertEqual(service.expect("PUB").body, (CANARY + "-body").encode())
        daemon.write({**config, "node": "renamed"})
        daemon.signal(signal.SIGHUP)
        shown = subprocess.run([BELLHOPD, "--print-config", "-c", daemon.file], capture_output=True, text=True,
                               env={**os.environ, **env})
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("echo", shown.stdout)
        everything = {"log": daemon.log_text(), "--print-config": shown.stdout + shown.stderr,
                      "status": json.dumps(daemon.admin("status")), "routes": json.dumps(daemon.admin("routes")),
                      "metrics": daemon.http("/metrics")[1]}
        for where, text in everything.items():
            self.assertNotIn(CANARY, text, where)

    def test_usr1_reopens_the_file(self):
        folder = self.temporary()
        path = os.path.join(folder, "bellhop.log")
        daemon = self.daemon({"log": {"file": path, "level": "info"}}, wait=False)
        wait_until(lambda: os.path.exists(path) and '"ready"' in open(path).read(), "ready in the file")
        os.rename(path, path + ".1")
        daemon.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(path), "a new file")
        before = open(path + ".1").read()
        with contextlib.suppress(AssertionError), Local(daemon.socket, "x") as client:
            client.raw(b"junk\n")
            client.ended()
        wait_until(lambda: open(path).read(), "lines in the new file")
        self.assertEqual(open(path + ".1").read(), before)

    def test_rate_limit(self):
        port = free_port()
        daemon = self.daemon(edge(port, log={"level": "info"}, routes=[ECHO]))
        unknown = nest_frame({"pattern": "no.such", "data": 1})
        with NestRaw(port) as raw:
            raw.send(unknown * 2000)
            self.assertEqual(raw.ask("no.such", 1)[0]["err"], NO_HANDLER)
            time.sleep(1.1)
            raw.send(unknown)
            suppressed = daemon.wait_log(lambda l: l["event"] == "suppressed", "the count of those left out")
        self.assertGreater(int(suppressed["lines"]), 1000)
        self.assertLess(len(daemon.log()), 300)
