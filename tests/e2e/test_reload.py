"""A reload is read beside the loop: what happens meanwhile, and who is told. A FIFO in place of the file holds the reading up."""
import contextlib
import json
import os
import signal
import socket
import threading
import time

from harness import Case, Daemon, Local, wait_until

ECHO = {"name": "echo", "from": "local", "match": "echo", "to": "echo"}


def named(name):
    return {"routes": [ECHO, {"name": name, "from": "local", "match": name, "to": "echo"}]}


class Held:
    """The daemon's file as a FIFO: each give() lets one reading of it go on."""

    def __init__(self, daemon):
        self.daemon = daemon
        os.mkfifo(daemon.file + ".fifo")
        os.replace(daemon.file + ".fifo", daemon.file)

    def text(self, config):
        """What daemon.write() would have put there."""
        fifo, self.daemon.file = self.daemon.file, self.daemon.file + ".text"
        self.daemon.write(config)
        self.daemon.file = fifo
        with open(fifo + ".text") as f:
            return f.read()

    def reader(self):
        """A descriptor to write to whoever reads it, or None."""
        try:
            return os.open(self.daemon.file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    def give(self, config):
        text = config if isinstance(config, str) else self.text(config)
        fd = wait_until(self.reader, "the daemon to read its file")
        os.set_blocking(fd, True)
        with open(fd, "w") as f:
            f.write(text)


class Asker(threading.Thread):
    """`reload` on the admin socket; its answer in .reply."""

    def __init__(self, daemon, dry_run=False):
        super().__init__(daemon=True)
        self.client, self.reply = Local(daemon.admin_socket, "bellhop"), None
        self.id = self.client.start("REQ", "reload", json.dumps({"dry_run": dry_run}).encode())
        self.start()

    def run(self):
        with contextlib.suppress(AssertionError):  # it was hung up
            self.reply = self.client.answer(self.id)[1]
        self.client.close()

    def result(self):
        self.join(20)
        assert self.reply is not None, "no answer"
        return json.loads(self.reply.body) if self.reply.verb == "REP" else self.reply.body.decode()


class MeanwhileCase(Case):
    def held(self, **more):
        daemon = Daemon({"routes": [ECHO]}, **more)
        self.addCleanup(daemon.remove)
        daemon.serve("echo")
        return daemon, Held(daemon)

    def echo(self, daemon, subject="echo"):
        with daemon.connect() as caller:
            return caller.request(subject, b"1")[1].verb

    def routes(self, daemon):
        return [route["name"] for route in daemon.admin("routes")["routes"]]

    def test_goes_on_while_it_is_read(self):
        daemon, file = self.held()
        daemon.signal(signal.SIGHUP)
        for _ in range(5):
            self.assertEqual(self.echo(daemon), "REP")
            time.sleep(0.05)
        self.assertEqual((daemon.log("reloaded"), self.routes(daemon)), ([], ["echo"]))
        file.give(named("one"))
        daemon.wait_log(lambda l: l["event"] == "reloaded", "the reload")
        self.assertEqual((self.routes(daemon), self.echo(daemon, "one")), (["echo", "one"], "REP"))
        daemon.stop()

    def ask(self, daemon, **more):
        """Returns when the daemon has heard of it."""
        before = len(daemon.log("admin_command"))
        asker = Asker(daemon, **more)
        wait_until(lambda: len(daemon.log("admin_command")) > before, "the command")
        return asker

    def test_who_asks_meanwhile_is_served_by_one_more(self):
        daemon, file = self.held()
        first = self.ask(daemon)
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGHUP)
        others = [self.ask(daemon), self.ask(daemon, dry_run=True), self.ask(daemon)]
        file.give(named("one"))
        self.assertEqual(first.result(), {"generation": 2, "changes": ["route one: added"]})
        self.assertEqual([one.reply for one in others], [None] * 3)
        file.give(named("two"))
        for one in others:
            self.assertEqual(one.result(), {"generation": 3, "changes": ["route one: removed", "route two: added"]})
        self.assertEqual(len(daemon.log("reloaded")), 2)
        time.sleep(0.1)
        self.assertIsNone(file.reader())
        self.assertEqual(self.routes(daemon), ["echo", "two"])
        daemon.stop()

    def test_dry_runs_alone_change_nothing(self):
        daemon, file = self.held()
        first, second = self.ask(daemon, dry_run=True), self.ask(daemon, dry_run=True)
        for one in (first, second):
            file.give(named("one"))
            self.assertEqual(one.result(), {"generation": 1, "changes": ["route one: added"]})
        self.assertEqual((self.routes(daemon), daemon.log("reloaded")), (["echo"], []))
        daemon.stop()

    def test_bad_file_is_told_to_all(self):
        daemon, file = self.held()
        first, second, third = self.ask(daemon), self.ask(daemon), self.ask(daemon, dry_run=True)
        file.give("version: 1\nlokal: {}\n")
        self.assertIn("did you mean `local`", first.result())
        file.give("version: 1\nrouts: []\n")
        for one in (second, third):
            self.assertIn("did you mean `routes`", one.result())
        self.assertIn("did you mean `routes`", daemon.admin("status")["config"]["error"])
        self.assertEqual((self.routes(daemon), self.echo(daemon)), (["echo"], "REP"))
        good = self.ask(daemon)
        file.give(named("one"))
        self.assertEqual(good.result()["generation"], 2)
        self.assertIsNone(daemon.admin("status")["config"]["error"])
        daemon.stop()

    def test_who_asked_has_left(self):
        daemon, file = self.held()
        gone = [self.ask(daemon), self.ask(daemon), self.ask(daemon, dry_run=True)]
        for one in gone:
            one.client.sock.shutdown(socket.SHUT_RDWR)
            one.join(20)
        for generation, name in ((2, "one"), (3, "two")):
            file.give(named(name))
            daemon.wait_log(lambda l: l["event"] == "reloaded" and l["generation"] == str(generation), "the reload")
        daemon.stop()

    def test_systemd_hears_of_its_end(self):
        path = os.path.join(self.temporary(), "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.settimeout(10)
            daemon, file = self.held(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
            while "READY=1" not in receiver.recv(4096).decode():
                pass
            daemon.signal(signal.SIGHUP)
            heard = [receiver.recv(4096).decode() for _ in range(6)]
            self.assertEqual(len([text for text in heard if text.startswith("RELOADING=1")]), 1, heard)
            self.assertEqual(heard.count("WATCHDOG=1"), 5)
            file.give(named("one"))
            while (text := receiver.recv(4096).decode()) != "READY=1":
                self.assertEqual(text, "WATCHDOG=1")
            self.assertEqual(self.routes(daemon), ["echo", "one"])
            daemon.stop()

    def test_draining(self):
        daemon, _ = self.held()
        waiting = [self.ask(daemon), self.ask(daemon), self.ask(daemon, dry_run=True)]
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        for one in waiting:
            self.assertIn("draining", one.result())
        self.assertEqual(daemon.wait_exit(10), 0)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(len(daemon.log("reload_refused")), 1)
        daemon.check_clean()

    def test_draining_while_what_was_read_is_put_in_place(self):
        """Thousands of routes take some turns of the loop: a signal falls between them, sooner or later."""
        routes = [{"name": f"r{i}", "from": "local", "match": f"m.{i}.*", "to": f"s{i}"} for i in range(20000)]
        for wait in (0.02, 0.05):
            daemon = Daemon({"routes": [ECHO]})
            self.addCleanup(daemon.remove)
            file = Held(daemon)
            text = file.text({"routes": routes})
            asker = self.ask(daemon)
            file.give(text)
            time.sleep(wait)
            daemon.signal(signal.SIGTERM)
            self.assertIn("draining" if isinstance(asker.result(), str) else "changes", asker.result())
            self.assertEqual(daemon.wait_exit(10), 0)
            daemon.check_clean()
