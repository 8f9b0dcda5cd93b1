"""Bad input: every refusal is a clear error to whoever caused it, and nobody else notices."""
import array
import contextlib
import json
import os
import pwd
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

from harness import (HERE, SANITIZED, Case, Daemon, FakeNestServer, Local, NestRaw, Service, frame,
                     free_port, nest_frame, policy, wait_until)

MIB = 1 << 20
FRAME_TIMEOUT = {"frame_timeout": "1s"}
ROUTES = [{"name": "echo", "from": "local", "match": "echo", "to": "echo"},
          {"name": "b", "from": "local", "match": "b.>", "to": "b"}]


class Watched:
    """A daemon of the class with an innocent pair, a service `echo` and a caller, which must never
    notice what the tests do."""

    config = {}

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.bellhop = cls.class_daemon({
            "endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{cls.port}", **cls.edge()}},
            "policies": {"default": policy(breaker={"failures": 1000000})},
            "limits": {"body": "64KiB"},
            "routes": ROUTES + [{"name": "edge", "from": "edge", "match": "echo", "to": "echo"}],
            **cls.config,
        })
        cls.service = cls.bellhop.serve("echo", credit=8)
        cls.innocent = cls.class_keep(cls.bellhop.connect("innocent"))
        cls.nest = cls.class_keep(NestRaw(cls.port))

    @classmethod
    def edge(cls):
        return {}

    def setUp(self):
        self.undisturbed()
        self.addCleanup(self.as_before, self.bellhop.fds())  # runs last, when everything is closed

    def as_before(self, fds):
        self.undisturbed()
        wait_until(lambda: self.bellhop.fds() <= fds, f"descriptors back at {fds}")

    def undisturbed(self):
        self.assertEqual(self.innocent.request("echo", b"1")[1].body, b"1")
        self.assertEqual(self.nest.ask("echo", "ż")[0]["response"], "ż")

    def client(self, name="bad", **more):
        return self.keep(Local(self.bellhop.socket, name, **more))

    def dropped(self, client, code):
        """ERR 0 CODE, then the end of the connection. The text of the error."""
        frames = client.ended()
        self.assertEqual([(f.verb, f.id, f.subject) for f in frames], [("ERR", 0, code)])
        return frames[0].body.decode()


class LocalFramesCase(Watched, Case):
    BAD = [
        b"\n", b" 1 0 0\n", b"pub 1 0 0 echo\n", b"NOPE 1 0 0\n", b"PUBX 1 0 0 echo\n", b"PUB\n", b"PUB 1\n",
        b"PUB x 0 0 echo\n", b"PUB -1 0 0 echo\n", b"PUB 1 -1 0 echo\n", b"PUB 1 0 -1 echo\n", b"PUB 1 0 0x5 echo\n",
        b"PUB 18446744073709551616 0 0 echo\n", b"PUB 1 0 99999999999999999999999 echo\n",
        b"PUB 1 65537 0 echo\n" + b"a: b\n" * 100, b"REQ 1 0 0 \n", b"PUB  1 0 0 echo\n",
        b"PUB 1 0 0 ec\x00ho\n", b"PUB 1 0 0 ec\x7fho\n", b"PUB 1 0 0 ec\tho\n", b"PUB 1 0 0 ec\xffho\n",
        b"PUB 1 0 0 ec\xc0\xafho\n", b"PUB 1 0 0 ec\xed\xa0\x80ho\n", b"PUB 1 0 0 " + b"x" * 1025 + b"\n",
        b"x" * 5000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
        b"\x00" * 100, b"42#{\"pattern\":\"user.created\",\"data\":{\"id\":1}}\n",
        b"PUB 1 4 0 echo\nabcd", b"PUB 1 5 0 echo\nA: b\n", b"PUB 1 4 0 echo\na:b\n", b"PUB 1 4 0 echo\n: b\n",
        b"PUB 1 6 0 echo\na: \xff\xfe\n", b"PUB 1 6 0 echo\na: \x00\x00\n", b"PUB 1 4 0 echo\na: b",
        b"PUB 1 645 0 echo\n" + b"a: b\n" * 129,
    ]

    def test_bad_frames(self):
        for bad in self.BAD:
            with self.subTest(frame=bad[:60]):
                client = self.client()
                client.raw(frame("REQ", 5, "echo", None, b"before"))
                self.assertEqual(client.answer(5)[1].body, b"before")
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.raw(bad)
                text = self.dropped(client, "bad-frame")
                self.assertRegex(text, r"\d+", "names the offset")
                client.close()

    def test_offset_is_exact(self):
        client = self.client(hello=False)
        good = frame("HELLO", 0, "bad", {"version": "1"}) + frame("PING", 1)
        client.raw(good + b"PUB 1 0 x echo\n")
        client.expect("HELLO")
        client.expect("PONG")
        self.assertIn(f"byte {len(good) + 8}:", self.dropped(client, "bad-frame"))

    def test_the_largest_that_is_legal(self):
        client = self.client()
        client.raw(b"PUB 18446744073709551615 0 0 b." + "ż".encode() * 511 + b"\n")
        service = self.bellhop.serve("b")
        self.addCleanup(service.close)
        got = client.expect("OK")
        self.assertEqual((got.id, len(service.deliveries[0].subject.encode())), (2 ** 64 - 1, 1024))
        lines = [(f"x-{n}", "v" * 400) for n in range(100)]
        self.assertEqual(client.request("b.x", b"1", lines)[1].verb, "REP")
        self.assertEqual([p for p in service.deliveries[1].pairs if p[0].startswith("x-")], lines)
        twice = [("x-a", "1"), ("x-a", "2"), ("x-a", "")]
        self.assertEqual(client.request("b.x", b"\0\xff" * 30000, twice)[1].body, b"\0\xff" * 30000)
        self.assertEqual([p for p in service.deliveries[2].pairs if p[0] == "x-a"], twice)
        client.send("CREDIT", 2 ** 64 - 1)
        self.assertEqual(client.request("b.x")[1].verb, "REP")

    def test_no_subject(self):
        client = self.client()
        for verb in ("PUB", "REQ", "SUB"):
            got = client.answer(client.start(verb, None))[1]
            self.assertEqual((got.verb, got.subject), ("ERR", "invalid"), verb)

    def test_id_0_asks_for_no_answer(self):
        client = self.client()
        client.send("PUB", 0, None)
        client.send("PUB", 0, "nowhere")
        client.send("PUB", 0, "echo", {"with": "77"})
        client.send("PUB", 0, "{bad")
        client.raw(frame("PUB", 0, "echo", None, b"x" * 70000))
        client.send("PING", 5)
        self.assertEqual(client.recv().verb, "PONG")

    def test_what_was_accepted_is_not_lost(self):
        client = self.client()
        client.raw(b"".join(frame("PUB", i, "b.x", None, str(i).encode()) for i in range(1, 51)) + b"junk\n")
        client.ended()
        service = self.bellhop.serve("b")
        self.addCleanup(service.close)
        self.assertEqual([d.body for d in service.wait(50)], [str(i).encode() for i in range(1, 51)])

    def test_split_at_every_byte(self):
        whole = frame("REQ", 3, "echo", {"x-a": "ż", "content-type": "text/plain"}, "zażółć 🐢")
        client = self.client()
        for at in range(1, len(whole)):
            client.raw(whole[:at])
            time.sleep(0.0005)
            client.raw(whole[at:] + frame("PING", 1))
            got = sorted(client.expect("REP", "PONG").verb for _ in range(2))
            self.assertEqual(got, ["PONG", "REP"], f"split at {at}")
        for i in range(len(whole)):
            client.raw(whole[i:i + 1])
        self.assertEqual(client.expect("REP").body, "zażółć 🐢".encode())

    def test_too_large_body_is_refused_and_skipped(self):
        client = self.client()
        for size in (65537, 200000):
            client.raw(frame("REQ", 8, "echo", None, b"x" * size) + frame("PING", 2))
            got = client.expect("ERR")
            self.assertEqual((got.id, got.subject), (8, "too-large"))
            client.expect("PONG")
        self.assertEqual(client.request("echo", b"x" * 65536)[1].body, b"x" * 65536)

    def test_gigabytes_announced(self):
        before = self.bellhop.rss()
        for size in (10 ** 9, 2 ** 31, 2 ** 63, 2 ** 64 - 1):
            client = self.client()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.raw(f"PUB 1 0 {size} echo\n".encode() + b"x" * 100000)
            got = client.expect("ERR")
            self.assertIn(got.subject, ("too-large", "bad-frame"))
            client.close()
        self.assertLess(self.bellhop.rss() - before, (60 if SANITIZED else 8) * MIB)

    def test_too_large_reply(self):
        def giant(delivery, service):
            return b"x" * 200000
        service = self.bellhop.serve("b", giant)
        self.addCleanup(service.close)
        got = self.client().request("b.x")[1]
        self.assertEqual(got.verb, "ERR")
        self.assertIn(got.subject, ("too-large", "failed"))

    def test_hello(self):
        hello = frame("HELLO", 0, "bad", {"version": "1"})
        client = self.client()
        client.raw(hello)
        self.assertEqual(client.ended()[0].verb, "ERR")
        for first, code in ((frame("PUB", 1, "echo"), None), (frame("PING", 1), None),
                            (frame("HELLO", 0, "bad", {"version": "2"}), "version"),
                            (frame("HELLO", 0, None, {"version": "1"}), None),
                            (frame("HELLO", 0, "bad", {"version": "1", "credit": "0"}), None),
                            (frame("HELLO", 0, "bad", {"version": "1", "credit": "65536"}), None),
                            (frame("HELLO", 0, "bad", {"version": "1", "credit": "many"}), None)):
            client = self.client(hello=False)
            client.raw(first + frame("PUB", 2, "echo", None, b"never"))
            frames = client.ended()
            self.assertEqual([f.verb for f in frames], ["ERR"], first)
            if code:
                self.assertEqual(frames[0].subject, code)
        self.assertNotIn(b"never", [d.body for d in self.service.deliveries])

    def test_answers_that_make_no_sense(self):
        """Unknown ids, answers twice, other clients' ids: ignored, counted, no effect on others."""
        waiting = self.bellhop.serve("b", lambda d, s: Service.LATER)
        self.addCleanup(waiting.close)
        caller = self.client("caller")
        id = caller.start("REQ", "b.x", b"mine")
        delivery = waiting.wait(1)[0]
        thief = self.client("thief")
        for verb in ("REP", "OK", "MORE"):
            thief.send(verb, delivery.id, body=b"" if verb == "OK" else b"stolen")
        thief.send("ERR", delivery.id, "failed")
        for verb in ("WAIT", "CANCEL"):
            thief.send(verb, delivery.id)
        for unknown in (0, 10 ** 6, 2 ** 64 - 1):
            for verb in ("REP", "OK", "MORE", "WAIT", "CANCEL"):
                thief.send(verb, unknown)
        thief.send("PING", 3)
        thief.expect("PONG")
        self.assertTrue(caller.silent(0.05))
        waiting.client.send("REP", delivery.id, body=b"first")
        waiting.client.send("REP", delivery.id, body=b"second")
        waiting.client.send("ERR", delivery.id, "failed")
        self.assertEqual(caller.answer(id)[1].body, b"first")
        self.assertTrue(caller.silent(0.05))
        self.assertEqual(thief.request("echo", b"x")[1].body, b"x")

    def test_wrong_kind_of_answer(self):
        """OK to a request, REP to an event: one final answer all the same."""
        def wrong(delivery, service):
            service.client.send("REP" if delivery.verb == "PUB" else "OK", delivery.id)
            return Service.LATER
        service = self.bellhop.serve("b", wrong)
        self.addCleanup(service.close)
        client = self.client()
        self.assertIn(client.publish("b.x").verb, ("OK", "ERR"))
        self.assertIn(client.request("b.x")[1].verb, ("REP", "ERR"))

    def test_ids_in_use(self):
        service = self.bellhop.serve("b", lambda d, s: Service.LATER)
        self.addCleanup(service.close)
        client = self.client()
        client.send("REQ", 5, "b.x")
        client.send("REQ", 5, "b.x")
        service.wait(1)
        got = client.recv()
        self.assertEqual(got.verb, "ERR")

    def test_descriptors_are_closed_at_once(self):
        client = self.client()
        before = self.bellhop.settled_fds()
        pipes = [os.pipe() for _ in range(20)]
        for n in range(10):
            fds = array.array("i", [end for pair in pipes for end in pair])
            client.sock.sendmsg([frame("PING", n)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            with contextlib.suppress(ConnectionError):
                if client.recv() is None:
                    client = self.client()
        for pair in pipes:
            os.close(pair[1])
        for read, _ in pipes:  # end of file: nobody else holds the other end
            self.assertEqual(os.read(read, 1), b"")
            os.close(read)
        self.assertLessEqual(self.bellhop.fds(), before + 1)

    def test_half_close_and_reset_at_every_byte(self):
        whole = frame("PUB", 3, "b.half", {"x-a": "1"}, b"0123456789")
        for at in range(len(whole)):
            client = self.client()
            client.raw(whole[:at])
            if at % 2:
                client.sock.shutdown(socket.SHUT_WR)
                client.ended()
            client.close()
        service = self.bellhop.serve("b")
        self.addCleanup(service.close)
        self.assertEqual(self.client().request("b.alive")[1].verb, "REP")
        self.assertEqual([d.subject for d in service.deliveries], ["b.alive"])

    def test_flood_of_tiny_frames(self):
        count = 20000 if SANITIZED else 100000
        before = self.bellhop.rss()
        client = self.client()
        block = frame("PING", 1) * count
        thread = threading.Thread(target=client.raw, args=(block,))
        thread.start()
        worst, pongs = 0, 0
        while pongs < count:
            got = client.recv()
            self.assertEqual(got.verb, "PONG")
            pongs += 1
            if pongs % (count // 20) == 0:
                begun = time.monotonic()
                self.undisturbed()
                worst = max(worst, time.monotonic() - begun)
        thread.join()
        self.assertLess(worst, 0.5)
        self.assertLess(self.bellhop.rss() - before, (100 if SANITIZED else 16) * MIB)

    def test_never_reading_client(self):
        """It asks for far more than it reads: the daemon stops reading from it."""
        before = self.bellhop.rss()
        deaf = self.client()
        deaf.sock.settimeout(0.5)
        block = b"".join(frame("REQ", i, "echo", None, b"x" * 60000) for i in range(1, 2001))
        sent = 0
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            while sent < len(block):
                sent += deaf.sock.send(block[sent:sent + 500000])
        self.undisturbed()
        self.assertLess(sent, 60 * MIB)
        self.assertLess(self.bellhop.rss() - before, (150 if SANITIZED else 48) * MIB)
        deaf.close()

    def test_log_lines_stay_lines(self):
        client = self.client()
        self.assertEqual(client.request('evil"subject\\with é %n $(x)')[1].verb, "ERR")
        client.raw(b"PUB 1 0 0 \xff\"}\\\n")
        client.ended()
        with NestRaw(self.port) as raw:
            raw.ask('evil"pattern\\with é %n $(x)\n\u2028', 1)
        for line in self.bellhop.log_text().rstrip("\n").split("\n"):
            json.loads(line)


class GreetingCase(Case):
    """Who may attach, and as what."""

    def start(self, services, **more):
        return self.daemon({"services": services, "routes": [{"from": "local", "match": ">", "to": "a"}], **more})

    def refused(self, daemon, name, headers=None, code="denied"):
        with Local(daemon.socket, hello=False) as client:
            client.send("HELLO", 0, name, {"version": "1", **(headers or {})})
            self.assertEqual([(f.verb, f.subject) for f in client.ended()], [("ERR", code)])

    def as_nobody(self, daemon, name, groups="[]"):
        """What another user of the host gets: the verb and code of the first frame."""
        program = ("import os, sys\nsys.path.insert(0, sys.argv[1])\nimport harness\n"
                   "os.setgroups(%s); os.setgid(65533); os.setuid(65533)\n"
                   "c = harness.Local(sys.argv[2], hello=False)\n"
                   "c.send('HELLO', 0, sys.argv[3], {'version': '1'})\n"
                   "f = c.recv()\nprint(f.verb, f.subject)\n") % groups
        done = subprocess.run([sys.executable, "-c", program, HERE, daemon.socket, name],
                              capture_output=True, text=True)
        return done.stdout.split() or done.stderr

    def test_unknown_service(self):
        daemon = self.start({"a": {}})
        self.refused(daemon, "stranger")
        daemon.connect("a").close()

    def test_token(self):
        daemon = self.start({"a": {"token": "open sesame"}})
        self.refused(daemon, "a")
        for token in ("open sesam", "open sesamee", "OPEN SESAME", "x" * 4000):
            self.refused(daemon, "a", {"token": token})
        daemon.connect("a", headers={"token": "open sesame"}).close()
        self.assertNotIn("sesam", daemon.log_text())

    @unittest.skipUnless(os.getuid() == 0, "has to become another user")
    def test_wrong_uid(self):
        daemon = self.start({"a": {"users": ["root"]}, "b": {"groups": ["root"]}, "c": {}})
        self.assertEqual(self.as_nobody(daemon, "a"), ["ERR", "denied"])
        self.assertEqual(self.as_nobody(daemon, "b"), ["ERR", "denied"])
        self.assertEqual(self.as_nobody(daemon, "c")[0], "HELLO")
        self.assertEqual(self.as_nobody(daemon, "b", "[0]")[0], "HELLO", "a member of the group")
        daemon.connect("a").close()
        daemon.connect("b").close()

    @unittest.skipUnless(os.getuid() == 0, "has to become another user")
    def test_wrong_uid_is_refused_before_anything_is_read(self):
        daemon = self.start({"a": {"users": ["root"]}})
        program = ("import os, sys\nsys.path.insert(0, sys.argv[1])\nimport harness\n"
                   "os.setgroups([]); os.setgid(65533); os.setuid(65533)\n"
                   "c = harness.Local(sys.argv[2], hello=False)\n"
                   "print([f.subject for f in c.ended(5)])\n")
        done = subprocess.run([sys.executable, "-c", program, HERE, daemon.socket],
                              capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "['denied']", done.stderr)

    def test_unknown_user(self):
        """Nobody attaches by it, and the log says so; looked up again at a reload."""
        daemon = self.start({"a": {"users": ["no-such.user"]}})
        self.assertIn("no user `no-such.user`", daemon.log("config_warning")[0]["warning"])
        self.refused(daemon, "a")
        for number, name in enumerate(("no-such.user", pwd.getpwuid(os.getuid()).pw_name), 1):
            daemon.write({"services": {"a": {"users": [name], "publish": []}}})
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: len(daemon.log("reloaded")) == number, "the reload")
            self.assertEqual(len(daemon.log("config_warning")), 2)  # of the start, and of the first reload
        daemon.connect("a").close()

    def test_admin_socket_is_not_for_everybody(self):
        daemon = self.start({"open": True})
        self.assertEqual(os.stat(daemon.admin_socket).st_mode & 0o007, 0)

    def test_publish_and_subscribe_lists(self):
        daemon = self.start({"a": {}, "audit": {"publish": ["audit.>"], "subscribe": ["order.*"]}})
        daemon.serve("a")
        with daemon.connect("audit") as audit:
            self.assertEqual(audit.publish("audit.x").verb, "OK")
            self.assertEqual(audit.publish("other.x").subject, "denied")
            self.assertEqual(audit.request("other.x")[1].subject, "denied")
            self.assertEqual(audit.answer(audit.start("SUB", "order.*"))[1].verb, "OK")
            self.assertEqual(audit.answer(audit.start("SUB", "order.1"))[1].verb, "OK")
            for wide in ("order.>", ">", "*.x", "other"):
                self.assertEqual(audit.answer(audit.start("SUB", wide))[1].subject, "denied", wide)

    def test_limit_of_clients(self):
        daemon = self.start({"open": True}, limits={"clients": 5})
        clients = [self.keep(daemon.connect(f"c{i}")) for i in range(5)]
        with Local(daemon.socket, hello=False) as sixth:
            with contextlib.suppress(OSError):
                sixth.send("HELLO", 0, "x", {"version": "1"})
            self.assertEqual([f.verb for f in sixth.ended()], ["ERR"])
        clients[0].close()
        wait_until(lambda: self.attaches(daemon), "room again")

    @unittest.skipUnless(os.getuid() == 0, "has to become another user")
    def test_limit_of_a_user(self):
        daemon = self.start({"open": True}, limits={"clients": 20, "clients_per_user": 3})
        program = ("import os, sys\nsys.path.insert(0, sys.argv[1])\nimport harness\n"
                   "os.setgroups([]); os.setgid(65533); os.setuid(int(sys.argv[3]))\n"
                   "mine = [harness.Local(sys.argv[2], f'c{i}') for i in range(3)]\n"
                   "fourth = harness.Local(sys.argv[2], hello=False)\n"
                   "print([(f.verb, f.subject) for f in fourth.ended(5)], flush=True)\n"
                   "def again():\n"
                   "    try:\n        return harness.Local(sys.argv[2], 'again')\n"
                   "    except (AssertionError, OSError):\n        pass\n"
                   "mine.pop().close()\nmine.append(harness.wait_until(again, 'room'))\n"
                   "print('room', flush=True)\ninput()\n")
        for uid in (65533, 65532):  # each has its own share, while the one before still holds its
            other = subprocess.Popen([sys.executable, "-c", program, HERE, daemon.socket, str(uid)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.addCleanup(other.communicate)
            self.assertEqual(other.stdout.readline().strip(), "[('ERR', 'overloaded')]")
            self.assertEqual(other.stdout.readline().strip(), "room")
        for n in range(5):  # the daemon's own user is not counted
            self.keep(daemon.connect(f"own{n}"))
        self.assertIn("limits.clients_per_user", daemon.log("client_dropped")[0]["reason"])

    @unittest.skipUnless(os.getuid() == 0, "has to become another user")
    def test_the_user_nobody(self):
        """What a process of a foreign user namespace looks like: it is refused even where anybody may attach."""
        daemon = self.start({"open": True})
        program = ("import os, sys\nsys.path.insert(0, sys.argv[1])\nimport harness\nos.setuid(65534)\n"
                   "print([f.body.decode() for f in harness.Local(sys.argv[2], hello=False).ended(5)])\n")
        out = subprocess.run([sys.executable, "-c", program, HERE, daemon.socket], capture_output=True, text=True)
        self.assertIn("uid 65534 (nobody) does not tell who this is", out.stdout, out.stderr)

    def attaches(self, daemon):
        try:
            daemon.connect("again").close()
            return True
        except (AssertionError, OSError):
            return False


class SilentPeersCase(Case):
    """Those who say nothing, or stop in the middle, are dropped; all of them tested at the same time."""

    def test_they_are_dropped(self):
        port = free_port()
        daemon = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}", **FRAME_TIMEOUT}},
                              "routes": [{"from": "edge", "match": ">", "to": "a"}]})
        daemon.serve("a")
        begun = time.monotonic()
        peers = {
            "no HELLO": self.keep(Local(daemon.socket, hello=False)),
            "half a HELLO": self.keep(Local(daemon.socket, hello=False)),
            "half a length": self.keep(NestRaw(port)),
            "half a frame": self.keep(NestRaw(port)),
            "a drop at a time": self.keep(NestRaw(port)),
        }
        idle = self.keep(NestRaw(port))
        peers["half a HELLO"].raw(b"HELLO 0 ")
        peers["half a length"].send(b"4")
        peers["half a frame"].send(b'400#{"pattern":"x"')
        peers["a drop at a time"].send(b'400#{"pattern":"x","data":"')
        stop = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not stop.wait(0.2):
                    peers["a drop at a time"].send(b"x")
        thread = threading.Thread(target=drip)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        for name, peer in peers.items():
            if isinstance(peer, NestRaw):
                self.assertTrue(peer.ended(20), name)
            else:
                peer.ended(20)
            self.assertLess(time.monotonic() - begun, 20, name)
        self.assertEqual(idle.ask("x", 1)[0]["response"], 1)  # between frames one may be silent


    def test_half_open_connections_are_probed(self):
        """A peer whose host has gone sends no FIN: the kernel has to ask (within 30 s of silence)."""
        port, server = free_port(), self.keep(FakeNestServer(lambda peer: peer.recv()))
        daemon = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"},
                                            "far": {"connect": f"tcp://127.0.0.1:{server.port}"}},
                              "routes": [{"from": "edge", "match": ">", "to": "far"}]})
        with NestRaw(port):
            wait_until(lambda: server.connections, "the connection to the far end")
            time.sleep(0.3)
            for what, column, end in (("accepted", 1, port), ("dialled", 2, server.port)):
                with open("/proc/net/tcp") as f:
                    rows = [row.split() for row in f if row.split()[3] == "01"]
                timers = [row[5] for row in rows if int(row[column].split(":")[-1], 16) == end]
                self.assertEqual(len(timers), 1, what)
                kind, _, ticks = timers[0].partition(":")
                self.assertEqual(kind, "02", f"a keep-alive timer runs on the {what} connection")
                self.assertLessEqual(int(ticks, 16) / os.sysconf("SC_CLK_TCK"), 30)
        self.assert_alive(daemon)


class CrowdCase(Case):
    def test_ten_thousand_idle_clients(self):
        count = 2000 if SANITIZED else 10000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        count = min(count, hard - 200)
        daemon = self.daemon({"log": {"level": "info"}, "limits": {"clients": 10100},
                              "routes": [{"from": "local", "match": "echo", "to": "echo"}]})
        daemon.serve("echo")
        caller = self.keep(daemon.connect("caller"))
        caller.request("echo", b"warm")
        fds, before = daemon.settled_fds(), daemon.rss()
        crowd = []
        try:
            for i in range(count):
                s = socket.socket(socket.AF_UNIX)
                crowd.append(s)
                s.connect(daemon.socket)
                s.sendall(frame("HELLO", 0, f"idle{i % 50}", {"version": "1"}))
            for s in crowd:
                s.settimeout(20)
                self.assertTrue(s.recv(1000).startswith(b"HELLO"))
            each = (daemon.rss() - before) / count
            self.assertLess(each, 64000 if SANITIZED else 8192)
            begun = time.monotonic()
            for i in range(100):
                self.assertEqual(caller.request("echo", str(i))[1].body, str(i).encode())
            self.assertLess(time.monotonic() - begun, 2)
            used = daemon.cpu()
            time.sleep(0.5)
            self.assertLess(daemon.cpu() - used, 0.1)
        finally:
            for s in crowd:
                s.close()
        wait_until(lambda: daemon.fds() == fds, f"descriptors back at {fds}")

    def test_out_of_descriptors(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            daemon = Daemon({"routes": [{"from": "local", "match": "echo", "to": "echo"}]})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.addCleanup(daemon.stop)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, 64))
        daemon.serve("echo")
        caller = self.keep(daemon.connect("caller"))
        crowd = []
        for _ in range(100):
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect(daemon.socket)
            crowd.append(s)
        time.sleep(0.3)
        used = daemon.cpu()
        time.sleep(1)
        self.assertLess(daemon.cpu() - used, 0.3, "it spins")
        self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
        for s in crowd:
            s.close()
        wait_until(lambda: self.attaches(daemon), "accepting again")

    def attaches(self, daemon):
        try:
            with Local(daemon.socket, "again", timeout=1) as again:
                return again.request("echo", b"2", timeout=1)[1].body == b"2"
        except (OSError, AssertionError):
            return False

    def test_churn(self):
        daemon = self.daemon({"log": {"level": "info"}, "routes": []})
        self.assert_alive(daemon)
        fds = daemon.settled_fds()
        for i in range(500):
            client = Local(daemon.socket, f"churn{i}")
            if i % 3 == 0:
                client.start("SUB", f"x.{i}")
            client.close()
        wait_until(lambda: daemon.fds() == fds, f"descriptors back at {fds}")
        left = [s["name"] for s in daemon.admin("status")["services"]]
        self.assertLess(len(left), 50, "names that nobody uses any more are forgotten")


class NestFramesCase(Watched, Case):
    LENGTHS = [b"abc#{}", b"0x10#{}", b"-5#{}", b"#{}", b"+5#{}", b"2147483648#{", b"9223372036854775808#{",
               b"18446744073709551616#{", b"9" * 30 + b"#{", b"9" * 100000, b"0#", b"1e3#{}", b"5",
               b"\xef\xbb\xbf2#{}", b"\x00\x00\x00\x10{}", b"70000000000000#{}", b"GET / HTTP/1.1\r\n\r\n"]
    PACKETS = ['{"pattern":"echo","data":1,"id":"x"', '{"pattern":"echo","data":NaN,"id":"x"}',
               '{"pattern":"echo","data":01,"id":"x"}', "{'pattern':1}", '{"pattern":"echo",}', "{]", "hello",
               '{"pattern":"echo","data":"\x01","id":"x"}', '{"pattern":"echo","data":1,"id":"x"} x',
               '\ufeff{"pattern":"echo","data":1,"id":"x"}']

    def bad(self, data):
        """Nothing but an error or a close may follow; True when the connection was closed."""
        with NestRaw(self.port) as raw:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                raw.send(data)
            try:
                got = raw.recv(3)
            except (TimeoutError, ConnectionError):
                return False
            if got is not None:
                self.assertTrue(got.get("err"), got)
            return got is None

    def test_lengths(self):
        before = self.bellhop.rss()
        for data in self.LENGTHS:
            if data == b"5":
                continue  # half a frame: SilentPeersCase
            with self.subTest(data=data[:40]):
                self.assertTrue(self.bad(data + b"x" * 100))
        self.assertLess(self.bellhop.rss() - before, (60 if SANITIZED else 8) * MIB)

    def test_bad_json(self):
        for packet in self.PACKETS:
            with self.subTest(packet=packet):
                self.assertTrue(self.bad(nest_frame(packet)))

    def test_what_was_answered_before_a_bad_frame_arrives(self):
        with NestRaw(self.port) as raw:
            for n in range(3):
                raw.send({"pattern": "echo", "data": n, "id": "good"})
            self.assertEqual([raw.recv()["response"] for _ in range(3)], [0, 1, 2])
            raw.send(b"junk#")
            self.assertIsNone(raw.recv())

    def test_packets_that_mean_nothing(self):
        """NestJS takes them for unknown events: the connection lives, or is closed; never an answer."""
        for packet in ("null", "42", "[1]", '"hi"', "{}", '{"id":"x"}', '{"data":1}', '{"pattern":null,"data":1}',
                       '{"pattern":{},"data":1}', '{"pattern":[],"data":1}', '{"pattern":true,"data":1}'):
            with self.subTest(packet=packet), NestRaw(self.port) as raw:
                raw.send(nest_frame(packet))
                with contextlib.suppress(OSError):
                    raw.send(nest_frame({"pattern": "echo", "data": 2, "id": "after"}))
                with contextlib.suppress(ConnectionError):
                    got = raw.recv()
                    if got is not None:
                        self.assertEqual(got.get("response", 2), 2)

    def test_depth(self):
        def nested(depth):
            return '{"pattern":"echo","data":%s1%s,"id":"d"}' % ("[" * depth, "]" * depth)
        with NestRaw(self.port) as raw:
            raw.send(nest_frame(nested(60)))
            self.assertIn("response", raw.recv())
        for depth in (65, 1000, 20000):
            self.bad(nest_frame(nested(depth)))
        self.assertTrue(self.bad(nest_frame(nested(65))))
        self.assertNotIn(b"[" * 65, b"".join(d.body for d in self.service.deliveries))

    def test_invalid_utf8(self):
        for data in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            text = b'{"pattern":"echo","data":"' + data + b'","id":"x"}'
            units = len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2
            with self.subTest(data=data):
                closed = self.bad(f"{units}#".encode() + text + b" ")
                self.assertTrue(closed)

    def test_odd_but_legal_json(self):
        with NestRaw(self.port) as raw:
            for text, value in (('"\\ud800"', "\ud800"), ('"\\u0000"', "\u0000"), ("1e400", float("inf")),
                                ("-0", 0), ('"\ufeff"', "\ufeff"), ('{"a":1,"a":2}', {"a": 2}),
                                ("123456789012345678901234567890", 123456789012345678901234567890)):
                raw.send('{"pattern":"echo","data":%s,"id":"o"}' % text)
                self.assertEqual(raw.recv()["response"], value, text)

    def test_flood_of_tiny_frames(self):
        count = 20000 if SANITIZED else 100000
        before = self.bellhop.rss()
        for tiny in (b"4#null", b'14#{"pattern":1}', b"2#{}"):
            with self.subTest(frame=tiny), NestRaw(self.port) as raw:
                thread = threading.Thread(target=self.pour, args=(raw, tiny * count))
                thread.start()
                worst = 0
                for _ in range(20):
                    begun = time.monotonic()
                    self.undisturbed()
                    worst = max(worst, time.monotonic() - begun)
                raw.sock.settimeout(5)
                thread.join()
                self.assertLess(worst, 0.5)
        self.assertLess(self.bellhop.rss() - before, (100 if SANITIZED else 16) * MIB)

    def pour(self, raw, data):
        with contextlib.suppress(OSError):
            raw.send(data)

    def test_too_large(self):
        with NestRaw(self.port) as raw:
            with contextlib.suppress(OSError):
                raw.send({"pattern": "echo", "data": "x" * 200000, "id": "big"})
            with contextlib.suppress(ConnectionError):
                got = raw.recv()
                self.assertTrue(got is None or got.get("err"))
        self.assertLess(max(len(d.body) for d in self.service.deliveries), 65537)

    def test_never_reading_peer(self):
        before = self.bellhop.rss()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # else the kernel takes 32 MiB of replies for it
        sock.connect(("127.0.0.1", self.port))
        with NestRaw(sock=sock) as deaf:
            deaf.sock.settimeout(0.5)
            one = nest_frame({"pattern": "echo", "data": "x" * 60000, "id": "x"})
            sent = 0
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    deaf.sock.sendall(one)
                    sent += len(one)
            self.undisturbed()
            self.assertLess(sent, 60 * MIB)  # of it 36 MiB in the kernel's buffers for requests
            self.assertLess(self.bellhop.rss() - before, (150 if SANITIZED else 80) * MIB)

    def test_reset_at_every_byte(self):
        whole = nest_frame({"pattern": "echo", "data": "reset", "id": "r"})
        before = len(self.service.deliveries)
        for at in range(len(whole)):
            with NestRaw(self.port) as raw:
                raw.send(whole[:at])
                raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.undisturbed()
        self.assertEqual([d for d in self.service.deliveries[before:] if b"reset" in d.body], [])


class BadServersCase(Case):
    """What a NestJS server, as the far end, may not do to us."""

    def start(self, run, **more):
        server = self.keep(FakeNestServer(run))
        daemon = self.daemon({
            "endpoints": {"far": {"connect": f"tcp://127.0.0.1:{server.port}", **more}},
            "policies": {"default": policy("700ms", breaker={"failures": 1000, "open_for": "10ms"})},
            "routes": [{"from": "local", "match": "far.>", "to": "far"},
                       {"from": "local", "match": "echo", "to": "echo"}],
        })
        daemon.serve("echo")
        return daemon, self.keep(daemon.connect())

    def test_garbage_for_an_answer(self):
        answers = {
            "garbage": b"\x00\xff garbage", "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "length": b"99999999999999999999#{}", "json": b'9#{"id": x}', "array": b"3#[1]", "null": b"4#null",
            "half": b'80#{"response":1', "close": None, "empty": b"2#{}", "deep": nest_frame("[" * 70 + "]" * 70),
            "strange": nest_frame('{"id":{"a":1},"response":1,"isDisposed":true}'),
        }

        def run(peer):
            while request := peer.recv():
                kind = request["pattern"][4:]
                if kind not in answers:
                    peer.send({"response": kind, "isDisposed": True, "id": request["id"]})
                elif answers[kind] is None:
                    peer.sock.shutdown(socket.SHUT_RDWR)
                    return
                else:
                    peer.send(answers[kind])
        for kind in answers:  # a daemon each: the pauses between its connections grow
            with self.subTest(answer=kind):
                daemon, caller = self.start(run)
                wait_until(lambda: caller.request("far.fine")[1].verb == "REP", "the first reply")
                fds = daemon.settled_fds()
                got = caller.request(f"far.{kind}")[1]
                self.assertEqual(got.verb, "ERR")
                self.assertIn(got.subject, ("unavailable", "timeout", "failed", "invalid"))
                self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
                wait_until(lambda: caller.request("far.fine")[1].verb == "REP", "a reply again")
                wait_until(lambda: daemon.fds() <= fds, "descriptors back")

    def test_server_that_speaks_first_and_for_ever(self):
        def run(peer):
            peer.sock.settimeout(30)
            while True:
                peer.send(nest_frame({"id": "nobody", "response": "x" * 1000}) * 100)
        daemon, caller = self.start(run)
        before = daemon.rss()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            begun = time.monotonic()
            self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
            self.assertLess(time.monotonic() - begun, 0.5)
        self.assertLess(daemon.rss() - before, (100 if SANITIZED else 16) * MIB)

    def test_server_that_never_reads(self):
        daemon, caller = self.start(lambda peer: time.sleep(30), ack=True)
        before = daemon.rss()
        other = self.keep(daemon.connect("other"))
        block = b"".join(frame("REQ", i, "far.x", None, b'"' + b"x" * 500000 + b'"') for i in range(1, 101))

        def pour():
            with contextlib.suppress(OSError):
                other.raw(block)
        threading.Thread(target=pour, daemon=True).start()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
            time.sleep(0.02)
        self.assertLess(daemon.rss() - before, (300 if SANITIZED else 100) * MIB)

    def test_endless_reply(self):
        """A frame that announces gigabytes, or simply never ends."""
        def run(peer):
            peer.recv()
            peer.send(b"2000000000#" + b'{"response":"')
            while True:
                peer.send(b"x" * 65536)
        daemon, caller = self.start(run)
        before = daemon.rss()
        wait_until(lambda: caller.request("far.x")[1].verb == "ERR", "an error")
        self.assertEqual(caller.request("echo", b"1")[1].body, b"1")
        self.assertLess(daemon.rss() - before, (100 if SANITIZED else 24) * MIB)
