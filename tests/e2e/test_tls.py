"""TLS and mutual TLS of both roles, against real NestJS peers and Python's ssl."""
import contextlib
import os
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import time

import rooms
import test_nest_clients
import test_nest_servers
from harness import (Case, Certificates, NestClient, NestRaw, NestServer, free_port, nest_frame, policy,
                     wait_until)

PEERS = ["spiffe://test/*"]


class Mutual:
    """Certificates of a class: self.certs, `bellhop` is the daemon's own, `peer` the other's."""

    @classmethod
    def make_certificates(cls):
        folder = tempfile.mkdtemp(prefix="bellhop-e2e-tls-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.certs = Certificates(folder)
        cls.certs.issue("bellhop")
        cls.certs.issue("peer")

    @classmethod
    def mesh(cls, **more):
        return {"mesh": cls.certs.profile("bellhop", verify="mutual", peers=PEERS, **more)}


class Callers(Mutual, test_nest_clients.Through):
    """The cases of test_nest_clients over tls://."""

    test_half_close_still_gets_the_reply = None  # Python's SSLSocket forgets TLS when it is shut down

    @classmethod
    def setUpClass(cls):
        cls.make_certificates()
        cls.port = free_port()
        config = rooms.configuration(cls.port, f"tls://127.0.0.1:{cls.port}", tls="mesh")
        cls.bellhop = cls.class_daemon({**config, "tls": cls.mesh()})
        cls.rooms = cls.bellhop.serve("rooms", rooms.handle)
        cls.client = cls.class_keep(cls.another())

    def raw(self):
        return NestRaw(self.port, tls=self.certs.context("peer"))

    @classmethod
    def another(cls):
        return NestClient(cls.version, cls.port, tls=cls.certs.node("peer"), host="localhost")


class Callers12Case(Callers, Case):
    version = "12"


class Callers11Case(Callers, Case):
    version = "11"


class Called(Mutual, test_nest_servers.Calls):
    """The cases of test_nest_servers over tls://."""

    @classmethod
    def setUpClass(cls):
        cls.make_certificates()
        cls.server = cls.class_keep(NestServer(cls.version, tls=cls.certs.node(
            "peer", requestCert=True, rejectUnauthorized=True)))
        config = test_nest_servers.configuration(cls.server.port, tls=cls.mesh())
        config["endpoints"]["stock"] = {"connect": f"tls://localhost:{cls.server.port}", "tls": "mesh",
                                        "ack": True}
        cls.bellhop = cls.class_daemon(config)
        cls.caller = cls.class_keep(cls.bellhop.connect())
        wait_until(lambda: cls.caller.request("echo", b"1")[1].verb == "REP", "the first reply")

    test_event_without_acknowledgement = None  # nothing of it depends on TLS


class Called12Case(Called, Case):
    version = "12"


class Called11Case(Called, Case):
    version = "11"


class Certified(Mutual):
    @classmethod
    def setUpClass(cls):
        cls.make_certificates()
        certs = cls.certs
        certs.authority("other-ca")
        certs.issue("stranger", ca="other-ca")
        certs.issue("expired", start="20200101000000Z", end="20200102000000Z")
        certs.issue("early", start="20400101000000Z", end="20400102000000Z")
        certs.issue("elsewhere", san="DNS:elsewhere.test,URI:spiffe://elsewhere/peer")
        certs.issue("prefix", san="DNS:localhost,URI:spiffe://test.evil/peer")
        certs.issue("twofold", san="DNS:localhost,URI:spiffe://test/a,URI:spiffe://test/b")
        certs.issue("nameless", san="DNS:localhost")
        certs.issue("server only", usage="serverAuth")
        certs.issue("weak", weak=True)

    def listening(self, profile=None, **endpoint):
        port = free_port()
        daemon = self.daemon({
            "tls": {"mesh": profile} if profile else self.mesh(),
            "endpoints": {"edge": {"listen": f"tls://127.0.0.1:{port}", "tls": "mesh", **endpoint}},
            "policies": {"default": policy()},
            "routes": [{"from": "edge", "match": ">", "to": "echo"}],
        })
        daemon.serve("echo")
        return daemon, port

    def works(self, port, name="peer", ca="ca", **more):
        with NestRaw(port, tls=self.certs.context(name, ca, **more)) as raw:
            self.assertEqual(raw.ask("a", 5)[0]["response"], 5)

    def refused(self, port, name, **more):
        """The handshake, or the first read after it (TLS 1.3), fails; no answer comes."""
        with self.assertRaises((ssl.SSLError, ConnectionError, AssertionError)):
            self.works(port, name, **more)


class AcceptingCase(Certified, Case):
    def test_wrong_certificates(self):
        daemon, port = self.listening()
        names = (None, "stranger", "expired", "early", "elsewhere", "prefix", "twofold", "nameless", "ca",
                 "server only", "weak")
        for name in names:
            with self.subTest(certificate=name):
                before = len(daemon.log())
                self.refused(port, name)
                wait_until(lambda: [l for l in daemon.log()[before:] if "tls" in str(l).lower()],
                           "a log line with the reason")
                self.works(port)
        self.assertEqual(len(daemon.services[0].deliveries), len(names))

    def test_real_nestjs_client_without_a_certificate(self):
        _, port = self.listening()
        tls = self.certs.node("peer")
        with NestClient("12", port, tls={"ca": tls["ca"]}, host="localhost") as client:
            self.assertTrue(client.send("a", 1).error)
        with NestClient("12", port, tls=tls, host="localhost") as client:
            self.assertEqual(client.send("a", 1).values, [1])

    def test_tls_1_2(self):
        _, port = self.listening()
        self.refused(port, "peer", version=ssl.TLSVersion.TLSv1_2)
        _, port = self.listening(self.certs.profile("bellhop", min_version="1.2"))
        self.works(port, version=ssl.TLSVersion.TLSv1_2)
        self.works(port)

    def test_verify_server_needs_no_client_certificate(self):
        _, port = self.listening(self.certs.profile("bellhop", verify="server"))
        self.works(port, None)

    def test_plain_text_on_a_tls_port(self):
        daemon, port = self.listening()
        with NestRaw(port) as raw:
            raw.send({"pattern": "a", "data": 1, "id": "x"})
            with contextlib.suppress(ValueError):  # a TLS alert is no frame
                self.assertTrue(raw.ended())
        self.works(port)
        self.assertEqual(len(daemon.services[0].deliveries), 1)

    def test_handshake_in_pieces(self):
        _, port = self.listening()
        context = self.certs.context("peer")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def flush():
                data = outgoing.read()
                for at in range(0, len(data), 100):
                    s.sendall(data[at:at + 100])
                    time.sleep(0.002)

            def step(action):
                while True:
                    try:
                        value = action()
                        flush()
                        return value
                    except ssl.SSLWantReadError:
                        flush()
                        incoming.write(s.recv(37))
            step(tls.do_handshake)
            step(lambda: tls.write(nest_frame({"pattern": "a", "data": 1, "id": "pieces"})))
            self.assertIn(b'"response":1', step(lambda: tls.read(1000)))


class Reload(Mutual):
    def load(self, port, stop, errors, served):
        """One connection that lives through everything, asking all the time."""
        with NestRaw(port, tls=self.certs.context("peer")) as raw:
            n = 0
            while not stop.is_set():
                n += 1
                try:
                    if raw.ask("a", n, id=str(n))[0].get("response") != n:
                        errors.append(n)
                except Exception as e:  # whatever it is, the test reports it
                    errors.append(repr(e))
                    return
                served.append(n)
                time.sleep(0.002)

    @contextlib.contextmanager
    def under_load(self, port):
        stop, errors, served = threading.Event(), [], []
        thread = threading.Thread(target=self.load, args=(port, stop, errors, served))
        thread.start()
        try:
            wait_until(lambda: served or errors, "load")
            yield
            seen = len(served)
            wait_until(lambda: errors or len(served) > seen + 5, "load that goes on")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(errors, [])

    def shown(self, port):
        """Serial number of the certificate that the daemon shows."""
        with NestRaw(port, tls=self.certs.context("peer")) as raw:
            return raw.sock.getpeercert()["serialNumber"]


class ReloadCase(Reload, Certified, Case):
    def setUp(self):
        self.certs.issue("bellhop")

    def test_file_change(self):
        daemon, port = self.listening()
        before = self.shown(port)
        with self.under_load(port):
            self.certs.issue("bellhop")  # key, then certificate: mismatched for a moment
            wait_until(lambda: self.shown(port) != before, "the new certificate")
        self.assert_alive(daemon)

    def test_sighup(self):
        daemon, port = self.listening()
        before = self.shown(port)
        with self.under_load(port):
            self.certs.issue("bellhop")
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: self.shown(port) != before, "the new certificate")

    def test_many_rotations(self):
        """No handshake fails meanwhile, whatever moment it meets."""
        daemon, port = self.listening()
        stop, failed, done = threading.Event(), [], []

        def handshakes():
            while not stop.is_set():
                try:
                    self.works(port)
                    done.append(1)
                except Exception as e:  # the test reports it
                    failed.append(repr(e))
        thread = threading.Thread(target=handshakes)
        with self.under_load(port):
            thread.start()
            for n in range(20):
                self.certs.issue("bellhop")
                daemon.signal(signal.SIGHUP)
                time.sleep(0.03)
            stop.set()
            thread.join()
        self.assertEqual(failed, [])
        self.assertGreater(len(done), 20)

    def test_swapped_link(self):
        """As Kubernetes does it: files are links through `..data`, which is replaced."""
        folder = self.temporary()
        for n in ("1", "2"):
            self.certs.issue("bellhop")
            os.mkdir(f"{folder}/{n}")
            for name in ("bellhop.pem", "bellhop.key", "ca.pem"):
                shutil.copy(self.certs.path(name), f"{folder}/{n}/{name}")
        os.symlink("1", f"{folder}/..data")
        for name in ("bellhop.pem", "bellhop.key", "ca.pem"):
            os.symlink(f"..data/{name}", f"{folder}/{name}")
        _, port = self.listening({"ca": f"{folder}/ca.pem", "cert": f"{folder}/bellhop.pem",
                                  "key": f"{folder}/bellhop.key", "verify": "mutual"})
        before = self.shown(port)
        with self.under_load(port):
            os.symlink("2", f"{folder}/..next")
            os.replace(f"{folder}/..next", f"{folder}/..data")
            wait_until(lambda: self.shown(port) != before, "the new certificate")

    def test_bad_files_keep_the_old_pair(self):
        daemon, port = self.listening()
        before = self.shown(port)
        good = open(self.certs.path("bellhop.pem")).read()
        with self.under_load(port):
            for name, content in (("half written", good[:len(good) // 2]), ("empty", ""),
                                  ("of another key", open(self.certs.path("peer.pem")).read())):
                with self.subTest(certificate=name):
                    lines = len(daemon.log())
                    with open(self.certs.path("bellhop.pem"), "w") as f:
                        f.write(content)
                    wait_until(lambda: [l for l in daemon.log()[lines:]
                                        if l["level"] in ("warn", "error") and "tls" in str(l).lower()
                                        or "cert" in str(l).lower()], "a loud log line")
                    self.assertEqual(self.shown(port), before)
            with open(self.certs.path("bellhop.pem"), "w") as f:
                f.write(good)
        self.works(port)

    def test_change_while_a_reload_reads(self):
        """A file that changes between its reading and the watch on it is read again. A FIFO holds the reading up."""
        daemon, port = self.listening()
        folder = self.temporary()
        profile = {"ca": self.certs.path("ca.pem"), "cert": f"{folder}/cert", "key": self.certs.path("bellhop.key"),
                   "verify": "mutual"}
        os.mkfifo(profile["cert"])
        daemon.write({"tls": {"mesh": profile}, "policies": {"default": policy()},
                      "endpoints": {"edge": {"listen": f"tls://127.0.0.1:{port}", "tls": "mesh"}},
                      "routes": [{"from": "edge", "match": ">", "to": "echo"}]})
        daemon.signal(signal.SIGHUP)

        def reader():
            try:
                return os.open(profile["cert"], os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return None  # nobody has opened it
        with open(wait_until(reader, "the daemon to read the certificate"), "w") as fifo:
            self.works(port)
            shutil.copy(self.certs.path("bellhop.pem"), f"{folder}/new")
            os.replace(f"{folder}/new", profile["cert"])
            fifo.write(open(self.certs.path("bellhop.pem")).read())
        daemon.wait_log(lambda l: l["event"] == "reloaded", "the reload")
        daemon.wait_log(lambda l: l["event"] == "certificates_renewed", "the file that took its place")
        self.works(port)

    def test_reload_names_a_bad_certificate(self):
        """The rest of the file is taken, and the old pair is kept; the tool and the log say so."""
        daemon, port = self.listening()
        before = self.shown(port)
        shutil.copy(self.certs.path("peer.pem"), self.certs.path("bellhop.pem"))
        code, out, _ = daemon.tool("reload")
        self.assertEqual(code, 0)
        self.assertIn("tls profile mesh", out)
        self.assertIn("; the old one is kept", out)
        self.assertTrue(daemon.log("certificate_error"))
        self.assertEqual(self.shown(port), before)

    def test_rotated_authority(self):
        _, port = self.listening()
        certs = self.certs
        shutil.copy(certs.path("ca.pem"), certs.path("ca.old"))
        self.addCleanup(os.replace, certs.path("ca.old"), certs.path("ca.pem"))
        with self.under_load(port):
            self.refused(port, "stranger")
            with open(certs.path("ca.new"), "w") as f:
                f.write(open(certs.path("ca.pem")).read() + open(certs.path("other-ca.pem")).read())
            os.replace(certs.path("ca.new"), certs.path("ca.pem"))

            def accepted():
                try:
                    self.works(port, "stranger")
                    return True
                except (OSError, AssertionError):
                    return False
            wait_until(accepted, "certificates of the new authority")
            self.works(port)


class ConnectingCase(Certified, Case):
    def caller(self, server_port, profile=None, host="localhost", **more):
        daemon = self.daemon({
            "tls": {"mesh": profile or self.certs.profile("bellhop", verify="mutual", peers=PEERS)},
            "endpoints": {"stock": {"connect": f"tls://{host}:{server_port}", "tls": "mesh", **more}},
            "policies": {"default": policy()},
            "routes": [{"from": "local", "match": ">", "to": "stock"}],
        })
        return daemon, self.keep(daemon.connect())

    def test_wrong_servers(self):
        for name, reason in (("stranger", None), ("expired", "expired"), ("elsewhere", None), ("prefix", None),
                             ("twofold", None)):
            with self.subTest(certificate=name):
                server = self.keep(NestServer("12", tls=self.certs.node(name)))
                daemon, caller = self.caller(server.port)
                wait_until(lambda: [l for l in daemon.log() if "tls" in str(l).lower() and
                                    (reason or "") in str(l)], "the reason in the log")
                _, got = caller.request("echo", b"1")
                self.assertEqual((got.verb, got.subject), ("ERR", "unavailable"))
                self.assertEqual(server.seen("request", "echo"), [])

    def test_name_of_the_server_counts_where_no_peers_are_named(self):
        profile = self.certs.profile("bellhop", verify="mutual")
        for name, good in (("elsewhere", False), ("peer", True)):
            server = self.keep(NestServer("12", tls=self.certs.node(name)))
            daemon, caller = self.caller(server.port, profile)
            daemon.wait_log(lambda l: l["event"] in ("link_up", "link_down"), "a first attempt")
            self.assertEqual(caller.request("echo", b"1")[1].verb, "REP" if good else "ERR", name)

    def test_server_that_wants_a_certificate_we_do_not_have(self):
        server = self.keep(NestServer("12", tls=self.certs.node("peer", requestCert=True,
                                                                rejectUnauthorized=True)))
        _, caller = self.caller(server.port, {"ca": self.certs.path("ca.pem"), "verify": "server"})
        time.sleep(0.3)
        _, got = caller.request("echo", b"1")
        self.assertEqual(got.verb, "ERR")
        self.assertEqual(server.seen("request", "echo"), [])

    def test_reload_keeps_the_connection(self):
        self.certs.issue("bellhop")
        server = self.keep(NestServer("12", tls=self.certs.node("peer", requestCert=True,
                                                                rejectUnauthorized=True)))
        daemon, caller = self.caller(server.port)
        wait_until(lambda: caller.request("echo", b"1")[1].verb == "REP", "the first reply")
        hanging = caller.start("REQ", "slow", b"600")
        self.certs.issue("bellhop")
        daemon.signal(signal.SIGHUP)
        self.assertEqual(caller.answer(hanging)[1].body, b'"slow"')
        self.assertEqual(caller.request("echo", b"2")[1].body, b"2")
        self.assertEqual(len([l for l in server.lines if l.get("kind") == "secureConnection"]), 1)
