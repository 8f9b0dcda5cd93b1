"""The scenarios that every transport has to pass, written once. See adapter.py for what they ask of it."""
import json
import os
import random
import re
import shutil
import signal
import socket
import tempfile
import threading
import time

import adapter
from harness import SANITIZED, Case, Certificates, Daemon, Service, policy, wait_until

PEERS = ["spiffe://test/*"]
MIB = 1 << 20
DETAIL = b'{"code":"E_KAPUT","detail":["za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87",1]}'


def needs(*abilities):
    """The scenario runs where the protocol has all of these; elsewhere its reason stands in the table."""
    assert all(a in adapter.ABILITIES for a in abilities)

    def mark(function):
        function.needs = abilities
        return function
    return mark


def scenarios():
    return [name for name in dir(Contract) if name.startswith("test_")]


def reason(transport, scenario):
    """Why this transport cannot have the scenario; None where it has to pass."""
    lacking = [a for a in getattr(getattr(Contract, scenario), "needs", ()) if a in transport.cannot]
    return "; ".join(transport.cannot[a] for a in lacking) or None


def stamp(transport):
    """The suite for one transport: a test case with the scenarios that it can have."""
    assert all(a in adapter.ABILITIES and text for a, text in transport.cannot.items()), transport.cannot
    drop = {name: None for name in scenarios() if reason(transport, name)}
    return type(re.sub(r"\W", "_", transport.name), (Contract, Case), {"transport": transport, **drop})


class Contract:
    def setUp(self):
        self.folder = self.temporary()
        self.far = self.make()

    def make(self, certs=None):
        far = self.transport(self.folder, certs)
        self.addCleanup(far.close)
        return far

    def configuration(self, far=None, **more):
        far = far or self.far
        return {"endpoints": far.endpoints(),
                "drain_timeout": "8s",  # what was seen may not be answered yet when a test ends, and its service goes first
                "store": {"path": os.path.join(self.folder, "store")},
                "policies": {"default": policy("60s", attempts=10, delay="100ms")},
                "routes": [{"name": "in", "from": far.source(), "to": "room"},
                           {"name": "out", "from": "local", "match": "out.now.>", "to": far.target()},
                           {"name": "kept", "from": "local", "match": "out.kept.>", "to": far.target(), "durable": True}],
                **more}

    def both(self, handler=lambda d, s: d.body, far_handler=lambda got: got.body, config=None, ends=False):
        """A far end, a daemon, a service of its own and a server out there: (daemon, service, server).
        ends: the test ends the daemon."""
        self.far.start()
        server = self.far.server(far_handler)
        daemon = self.ending(config or self.configuration()) if ends else self.daemon(config or self.configuration())
        service = daemon.serve("room", handler)
        self.wait_up(daemon)
        return daemon, service, server

    def ending(self, config):
        daemon = Daemon(config)
        self.addCleanup(daemon.remove)
        return daemon

    def wait_up(self, daemon):
        wait_until(lambda: all(e["state"] in ("up", "listening") for e in daemon.admin("status")["endpoints"]),
                   "every endpoint up", 60)  # a broker may be slow to start, and the pauses between two tries long

    def states(self, daemon):
        return {e["name"]: e["state"] for e in daemon.admin("status")["endpoints"]}

    def caller(self, far=None):
        return self.keep((far or self.far).caller())

    def seen(self, things, subject):
        return [t for t in list(things) if t.subject == subject]

    def wait_seen(self, things, subject, count=1):
        wait_until(lambda: len(self.seen(things, subject)) >= count, f"{count} of {subject}")
        return self.seen(things, subject)

    def quiet(self, daemon, seconds=1.0):
        """Nothing is done for nothing: below 5 % of a core (a sanitized daemon gets twice that)."""
        time.sleep(0.2)
        used, begun = daemon.cpu(), time.monotonic()
        time.sleep(seconds)
        share = (daemon.cpu() - used) / (time.monotonic() - begun)
        self.assertLess(share, 0.10 if SANITIZED else 0.05, "share of a core while there is nothing to do")

    # ---- starting

    def test_start_before_the_far_end(self):
        self.far.stop()
        server = self.far.server(lambda got: got.body)
        daemon = self.daemon(self.configuration())
        self.assertEqual(daemon.http("/readyz")[0], 200)
        local = self.keep(daemon.connect())
        self.assertEqual(local.publish("out.kept.a", b"1").verb, "OK")
        if "request" not in self.transport.cannot:
            got = local.request("out.now.a", b"1")[1]
            self.assertEqual((got.verb, got.subject), ("ERR", "unavailable"))
        wait_until(lambda: any(e["error"] for e in daemon.admin("status")["endpoints"]), "an error in the status")
        self.assertTrue(set(self.states(daemon).values()) & {"down", "connecting", "refused"})
        self.quiet(daemon)
        self.far.start()
        self.wait_up(daemon)
        self.assertEqual(json.loads(self.wait_seen(server.got, "out.kept.a")[0].body), 1)
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    # ---- what crosses

    @needs("request")
    def test_request_in(self):
        _, service, _ = self.both(lambda d, s: json.dumps([d.subject, json.loads(d.body)]).encode())
        got = self.caller().request("in.sum", json.dumps([1, 2.5, "zażółć 🐢"]).encode())
        self.assertEqual((got.items, json.loads(got.body), got.code), ([], ["in.sum", [1, 2.5, "zażółć 🐢"]], None))

    @needs("request")
    def test_request_out(self):
        daemon, _, server = self.both(far_handler=lambda got: json.dumps([got.subject, json.loads(got.body)]).encode())
        items, got = self.keep(daemon.connect()).request("out.now.sum", '[1,2.5,"zażółć 🐢"]'.encode())
        self.assertEqual((items, got.verb), ([], "REP"))
        self.assertEqual(json.loads(got.body), ["out.now.sum", [1, 2.5, "zażółć 🐢"]])

    @needs("request")
    def test_many_requests_at_once(self):
        daemon, _, _ = self.both()
        caller, local = self.caller(), self.keep(daemon.connect())
        waiting = [caller.start(f"in.{i % 7}", json.dumps(i).encode()) for i in range(200)]
        numbers = [local.start("REQ", f"out.now.{i % 7}", json.dumps(i).encode()) for i in range(200)]
        answers = {}
        while len(answers) < len(numbers):
            got = local.expect("REP")
            answers[got.id] = json.loads(got.body)
        self.assertEqual([answers[n] for n in numbers], list(range(200)))
        self.assertEqual(sorted(json.loads(w().body) for w in waiting), list(range(200)))

    def test_event_in(self):
        _, service, _ = self.both()
        caller = self.caller()
        for i in range(20):
            caller.publish("in.event", json.dumps({"n": i}).encode())
        got = self.wait_seen(service.deliveries, "in.event", 20)
        self.assertEqual({d.verb for d in got}, {"PUB"})
        self.assertEqual(sorted(json.loads(d.body)["n"] for d in got), list(range(20)))

    def test_event_out(self):
        daemon, _, server = self.both()
        local = self.keep(daemon.connect())
        for name in ("now", "kept"):
            for i in range(20):
                self.assertEqual(local.publish(f"out.{name}.event", json.dumps({"n": i}).encode()).verb, "OK")
            got = self.wait_seen(server.got, f"out.{name}.event", 20)
            self.assertEqual(sorted(json.loads(g.body)["n"] for g in got), list(range(20)))

    @needs("request", "stream")
    def test_stream_in(self):
        self.both(lambda d, s: [b"1", b'"two"', b"3"])
        got = self.caller().request("in.stream", b"0")
        self.assertEqual([json.loads(b) for b in (*got.items, got.body)], [1, "two", 3])

    @needs("request", "stream")
    def test_stream_out(self):
        daemon, _, _ = self.both(far_handler=lambda got: [b"1", b'"two"', b"3"])
        items, got = self.keep(daemon.connect()).request("out.now.stream", b"0")
        self.assertEqual((got.verb, [json.loads(b) for b in (*items, got.body)]), ("REP", [1, "two", 3]))

    @needs("request", "error")
    def test_error_in(self):
        def fail(delivery, service):
            raise Service.Err("failed", DETAIL)
        self.both(fail)
        got = self.caller().request("in.error", b"1")
        self.assertEqual((got.code, json.loads(got.body)), ("failed", json.loads(DETAIL)))

    @needs("request", "error")
    def test_error_out(self):
        def fail(got):
            raise adapter.Err("failed", DETAIL)
        daemon, _, _ = self.both(far_handler=fail)
        got = self.keep(daemon.connect()).request("out.now.error", b"1")[1]
        self.assertEqual((got.verb, got.subject, json.loads(got.body)), ("ERR", "failed", json.loads(DETAIL)))

    @needs("request", "error", "unknown")
    def test_unknown_subject(self):
        config = self.configuration()
        config["routes"][0]["match"] = "in.known"
        self.both(config=config)
        caller = self.caller()
        self.assertEqual(caller.request("in.nobody", b"1").code, "no-route")
        self.assertEqual(caller.request("in.known", b"1").code, None)

    @needs("headers")
    def test_headers_in(self):
        _, service, _ = self.both()
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        sent = {"x-tenant": "zażółć 🐢", "traceparent": trace, "correlation-id": "c-1", "id": "m-1"}
        self.caller().publish("in.headers", b"1", sent)
        got = self.wait_seen(service.deliveries, "in.headers")[0].headers
        self.assertEqual({k: got.get(k) for k in sent}, sent)
        self.assertIn("source", got)

    @needs("headers")
    def test_headers_out(self):
        daemon, _, server = self.both()
        sent = {"x-tenant": "zażółć 🐢", "correlation-id": "c-1", "id": "m-1"}
        self.keep(daemon.connect()).publish("out.now.headers", b"1", sent)
        got = self.wait_seen(server.got, "out.now.headers")[0].headers
        self.assertEqual({k: got.get(k) for k in sent}, sent)
        self.assertRegex(got["traceparent"], "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")

    def test_big_body(self):
        daemon, service, server = self.both(config=self.configuration(limits={"body": "4MiB"}))
        body = json.dumps("".join(random.Random(1).choices("abc żółw🐢", k=MIB)), ensure_ascii=False).encode()
        local, caller = self.keep(daemon.connect()), self.caller()
        self.assertEqual(local.publish("out.kept.big", body).verb, "OK")
        self.assertEqual(json.loads(self.wait_seen(server.got, "out.kept.big")[0].body), json.loads(body))
        caller.publish("in.big", body)
        self.assertEqual(json.loads(self.wait_seen(service.deliveries, "in.big")[0].body), json.loads(body))

    def test_what_is_refused_at_the_door_is_counted(self):
        """A body above limits.body never reaches the core."""
        daemon, service, _ = self.both(config=self.configuration(limits={"body": "16KiB"}))
        caller = self.caller()
        caller.publish("in.large", json.dumps("x" * 17000).encode())
        caller.publish("in.small", b"1")
        self.wait_seen(service.deliveries, "in.small")
        self.assertEqual(self.seen(service.deliveries, "in.large"), [])
        self.assertIn('\nbellhop_refused_total{code="too-large"} 1\n', daemon.http("/metrics")[1])

    # ---- too fast, too slow

    @needs("pressure out")
    def test_backpressure_out(self):
        """A far end that does not read costs a bounded amount of memory, and nothing that was promised."""
        config = self.configuration(limits={"memory": "4MiB"})
        daemon, _, server = self.both(config=config)
        local = self.keep(daemon.connect())
        before, body = daemon.rss(), json.dumps("x" * 20000).encode()
        self.far.freeze()
        sender = threading.Thread(target=lambda: [local.start("PUB", "out.now.flood", body) for _ in range(2000)],
                                  daemon=True)
        sender.start()
        last = wait_until(lambda: self.stands_still(daemon), "a daemon that takes no more")
        self.assertLess(last, 4 * MIB + 2 * len(body))
        self.assertLess(daemon.rss() - before, (96 if SANITIZED else 24) * MIB)
        self.far.thaw()
        verbs = [local.expect("OK", "ERR") for _ in range(2000)]
        sender.join()
        taken = sum(v.verb == "OK" for v in verbs)
        self.assertLessEqual({v.subject for v in verbs if v.verb == "ERR"}, {"overloaded"})
        self.assertGreater(taken, 0)
        wait_until(lambda: len(self.seen(server.got, "out.now.flood")) >= taken, f"{taken} at the far end")

    def stands_still(self, daemon):
        """memory_bytes, once it is above 0 and does not change any more."""
        first = daemon.admin("status")["memory_bytes"]
        time.sleep(0.5)
        return first if first == daemon.admin("status")["memory_bytes"] else None

    @needs("pressure in")
    def test_backpressure_in(self):
        """A service that does not settle stops the source; nothing is lost."""
        gate = threading.Event()
        config = self.configuration(limits={"memory": "4MiB"})
        daemon, service, _ = self.both(lambda d, s: gate.wait() and d.body, config=config)
        caller, body = self.caller(), json.dumps("x" * 200000).encode()
        sender = threading.Thread(target=lambda: [caller.publish("in.flood", body) for _ in range(100)], daemon=True)
        sender.start()
        self.assertLess(wait_until(lambda: self.stands_still(daemon), "a source that waits"), 4 * MIB + 2 * len(body))
        gate.set()
        sender.join()
        self.wait_seen(service.deliveries, "in.flood", 100)
        self.assertEqual(len(service.deliveries), 100)

    @needs("request")
    def test_a_full_source_holds_up_no_reply(self):
        """A service that asks through the same far end before it settles: what waits at the source is in nobody's way."""
        self.far.start()
        self.far.server(lambda got: got.body)
        daemon = self.daemon(self.configuration(limits={"queue": 4}))
        local = self.keep(daemon.connect())
        service = daemon.serve("room", lambda d, s: local.request("out.now.inner", d.body)[1].body, credit=1)
        self.wait_up(daemon)
        caller = self.caller()
        for i in range(100):
            caller.publish("in.full", json.dumps(i).encode())
        self.wait_seen(service.deliveries, "in.full", 100)
        wait_until(lambda: daemon.admin("status")["messages"]["done"] >= 200, "the last answer")

    # ---- coming and going

    @needs("confirm")
    def test_reconnect(self):
        """The far end goes and comes back under load: what was promised arrives."""
        daemon, service, server = self.both()
        local, promised, stop = self.keep(daemon.connect()), [], threading.Event()

        def load():
            while not stop.is_set():
                n = len(promised)
                if local.publish("out.kept.load", json.dumps(n).encode()).verb == "OK":
                    promised.append(n)
                time.sleep(0.002)
        loader = threading.Thread(target=load)
        loader.start()
        self.addCleanup(stop.set)
        for _ in range(1 if self.transport.shared else 3):
            wait_until(lambda n=len(promised): len(promised) > n + 20, "load that goes on")
            self.far.freeze()  # what is on its way now is lost with it
            wait_until(lambda n=len(promised): len(promised) > n + 20, "load that goes on to a frozen far end")
            self.far.stop()
            wait_until(lambda: set(self.states(daemon).values()) - {"up", "listening"}, "an endpoint that is not up")
            wait_until(lambda n=len(promised): len(promised) > n + 20, "load that goes on without the far end")
            self.far.start()
            self.wait_up(daemon)
        stop.set()
        loader.join()
        numbers = lambda: {json.loads(g.body) for g in self.seen(server.got, "out.kept.load")}
        wait_until(lambda: numbers() >= set(promised), lambda: f"{len(promised)} promised messages, of which are missing "
                   f"{sorted(set(promised) - numbers())}; the daemon says {daemon.admin('status')['messages']}")
        self.caller().publish("in.after", b"1")
        self.wait_seen(service.deliveries, "in.after")
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    def test_down_is_quiet(self):
        daemon, _, _ = self.both()
        self.far.stop()
        wait_until(lambda: set(self.states(daemon).values()) - {"up", "listening"}, "an endpoint that is not up")
        self.quiet(daemon, 2.0)
        self.assert_alive(daemon)

    def test_garbage(self):
        """Somebody else answers at the address: the endpoint is not up for long, and nothing spins."""
        self.far.stop()
        noise = random.Random(2).randbytes(65536)
        listener = socket.create_server(("127.0.0.1", self.far.port))
        self.addCleanup(listener.close)

        def talk():
            while True:
                try:
                    peer = listener.accept()[0]
                except OSError:
                    return
                try:
                    peer.sendall(noise)
                    peer.recv(1)
                except OSError:
                    pass
                peer.close()
        threading.Thread(target=talk, daemon=True).start()
        daemon = self.daemon(self.configuration())
        wait_until(lambda: any(e["error"] for e in daemon.admin("status")["endpoints"]), "an error in the status")
        self.quiet(daemon, 2.0)
        self.assert_alive(daemon)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.far.start()
        self.wait_up(daemon)

    @needs("ack")
    def test_unsettled_comes_again(self):
        """What no service has settled is the source's still when the daemon dies."""
        config = self.configuration()
        self.far.start()
        daemon = self.ending(config)
        service = daemon.serve("room", lambda d, s: Service.LATER)
        self.wait_up(daemon)
        self.caller().publish("in.once", b"1")
        self.wait_seen(service.deliveries, "in.once")
        daemon.signal(signal.SIGKILL)
        daemon.wait_exit()
        again = self.daemon(config)
        settled = again.serve("room")
        self.wait_seen(settled.deliveries, "in.once")
        wait_until(lambda: again.admin("status")["messages"]["done"] >= 1, "a settled message")
        again.tool("reload")
        self.assertEqual(len(self.seen(settled.deliveries, "in.once")), 1)

    # ---- what is wrong

    def findings(self, daemon, code):
        status, out, err = daemon.tool("doctor", "-o", "json")
        self.assertEqual((status, err), (code, ""), out)
        return json.loads(out)["findings"]

    def about_far(self, daemon, code):
        return [f["what"] for f in self.findings(daemon, code) if f["where"] == "far" and f["level"] != "note"]

    def test_doctor_sees_what_is_down(self):
        self.far.stop()
        self.far.server(lambda got: got.body)
        daemon = self.daemon(self.configuration())
        wait_until(lambda: any(e["error"] for e in daemon.admin("status")["endpoints"]), "an error in the status")
        self.assertNotEqual(self.about_far(daemon, 1), [])
        self.far.start()
        self.wait_up(daemon)
        self.assertEqual(self.about_far(daemon, 0), [])

    @needs("doctor")
    def test_doctor_asks_the_far_end(self):
        """What it says is told; one that does not answer holds nobody up, nor does one that goes away meanwhile."""
        daemon, _, _ = self.both()
        self.assertEqual(self.about_far(daemon, 0), [])
        words = self.far.betray()
        self.assertTrue([f for f in self.findings(daemon, 0) if f["where"] == "far" and words in f["what"]])
        self.far.freeze()
        silent = [f["what"] for f in self.findings(daemon, 0) if f["where"] == "far"]
        self.assertIn("it did not answer within 5 s", silent)
        self.far.thaw()

    # ---- ending

    @needs("request")
    def test_drain(self):
        """SIGTERM: what is in flight ends well both ways, nothing new is taken, exit 0."""
        gate, there = threading.Event(), threading.Event()

        def slow(got):
            there.set()
            gate.wait(20)
            return b'"far"'
        daemon, service, _ = self.both(lambda d, s: gate.wait(20) and b'"near"', slow, ends=True)
        caller, local = self.caller(), self.keep(daemon.connect())
        waiting = caller.start("in.slow", b"1")
        id = local.start("REQ", "out.now.slow", b"1")
        self.wait_seen(service.deliveries, "in.slow")
        self.assertTrue(there.wait(20))
        daemon.signal(signal.SIGTERM)
        daemon.wait_log(lambda l: l.get("event") == "draining", "draining")
        gate.set()
        self.assertEqual([json.loads(f.body) for f in local.ended() if (f.verb, f.id) == ("REP", id)], ["far"])
        self.assertEqual(json.loads(waiting().body), "near")
        self.assertEqual(daemon.wait_exit(), 0)
        daemon.check_clean()
        self.assertEqual(len(service.deliveries), 1)

    # ---- TLS

    def certificates(self):
        folder = tempfile.mkdtemp(prefix="bellhop-contract-tls-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        certs = Certificates(folder)
        certs.issue("bellhop")
        certs.issue("peer")
        return certs

    @needs("tls")
    def test_tls(self):
        """Mutual TLS both ways; a far end of another authority is refused."""
        certs = self.certificates()
        mesh = {"mesh": certs.profile("bellhop", verify="mutual", peers=PEERS)}
        self.far = self.make(certs)
        daemon, service, server = self.both(config=self.configuration(tls=mesh))
        self.keep(daemon.connect()).publish("out.kept.tls", b"1")
        self.wait_seen(server.got, "out.kept.tls")
        self.caller().publish("in.tls", b"1")
        self.wait_seen(service.deliveries, "in.tls")
        certs.authority("other")
        daemon.write(self.configuration(tls={"mesh": certs.profile("bellhop", ca="other", verify="mutual", peers=PEERS)}))
        self.far.stop()
        daemon.tool("reload")
        self.far.start()
        error = wait_until(lambda: [e["error"] for e in daemon.admin("status")["endpoints"] if "certificate" in (e["error"] or "")],
                           "an error about the certificate")
        self.assertTrue(error)

    @needs("tls", "confirm")
    def test_new_certificates(self):
        """Every certificate is replaced, the authority too: new connections use the new ones, nothing is reloaded by hand."""
        certs = self.certificates()
        self.far = self.make(certs)
        daemon, service, server = self.both(config=self.configuration(
            tls={"mesh": certs.profile("bellhop", verify="mutual", peers=PEERS)}))
        self.far.stop()
        certs.authority("ca")
        for name in [n[:-4] for n in os.listdir(certs.folder) if n.endswith(".cnf")]:
            certs.issue(name)
        daemon.wait_log(lambda l: "certificates" in l.get("event", ""), "the new certificates")
        self.keep(daemon.connect()).publish("out.kept.tls", b"1")
        self.far.start()
        self.wait_up(daemon)
        self.wait_seen(server.got, "out.kept.tls")
        self.caller().publish("in.tls", b"1")
        self.wait_seen(service.deliveries, "in.tls")

    # ---- reload

    @needs("confirm")
    def test_reload(self):
        """Routes come and go under load: connections stay, nothing is lost; a changed endpoint is opened anew."""
        daemon, service, server = self.both()
        caller, local = self.caller(), self.keep(daemon.connect())
        local.publish("out.kept.first", b"1")
        self.wait_seen(server.got, "out.kept.first")  # whatever is connected late is connected now
        connects = len(daemon.log("link_up"))
        config = self.configuration()
        for i in range(5):
            config["routes"].append({"name": f"more{i}", "from": "local", "match": f"out.more{i}.>", "to": self.far.target()})
            daemon.write(config)
            self.assertEqual(daemon.tool("reload")[0], 0)
            caller.publish("in.reload", json.dumps(i).encode())
            self.assertEqual(local.publish(f"out.more{i}.x", json.dumps(i).encode()).verb, "OK")
            self.assertEqual(local.publish("out.kept.reload", json.dumps(i).encode()).verb, "OK")
            self.wait_seen(server.got, f"out.more{i}.x")
        self.wait_seen(service.deliveries, "in.reload", 5)
        self.wait_seen(server.got, "out.kept.reload", 5)
        self.assertEqual(len(daemon.log("link_up")), connects, "an unchanged endpoint was connected again")
        config["routes"] = config["routes"][:1]
        daemon.write(config)
        self.assertEqual(daemon.tool("reload")[0], 0)
        self.assertEqual(local.publish("out.more0.x", b"1").subject, "no-route")
        caller.publish("in.reload", b"5")
        self.wait_seen(service.deliveries, "in.reload", 6)

    def moved(self, config, turn):
        """The configuration with the far end under another name: its endpoint has changed, and is opened anew."""
        host = "127.0.0.1" if turn % 2 == 0 else "localhost"
        for endpoint in config["endpoints"].values():
            if "connect" in endpoint:
                endpoint["connect"] = re.sub(r"(?<=[/@])(localhost|127\.0\.0\.1)(?=:)", host, endpoint["connect"])
        return config

    def move(self, daemon, config, turn):
        before = len(daemon.log("link_up"))
        daemon.write(self.moved(config, turn))
        self.assertEqual(daemon.tool("reload")[0], 0)
        wait_until(lambda: len(daemon.log("link_up")) > before, "the new connection")
        self.wait_up(daemon)

    @needs("request")
    def test_reload_lets_what_is_on_its_way_end(self):
        """The endpoint changes while requests wait for their answers, both ways: each is worked on once, and answered. What is
        new goes over the new connection meanwhile."""
        gate, there = threading.Event(), threading.Event()

        def slow(got):
            there.set()
            gate.wait(20)
            return b'"far"'
        config = self.configuration()
        daemon, service, server = self.both(lambda d, s: gate.wait(20) and b'"near"', slow, config=config)
        caller, local = self.caller(), self.keep(daemon.connect())
        waiting, id = caller.start("in.slow", b"1"), local.start("REQ", "out.now.slow", b"1")
        self.wait_seen(service.deliveries, "in.slow")
        self.assertTrue(there.wait(20))
        self.move(daemon, config, 0)
        other = self.keep(daemon.connect())
        later = other.start("REQ", "out.now.later", b"2")
        time.sleep(0.2)
        self.assertEqual(daemon.log("endpoint_closed"), [])
        gate.set()
        self.assertEqual(json.loads(local.answer(id)[1].body), "far")
        self.assertEqual(json.loads(waiting().body), "near")
        self.assertEqual(json.loads(other.answer(later)[1].body), "far")
        closed = wait_until(lambda: daemon.log("endpoint_closed"), "the end of the old connection")
        self.assertEqual([l["unfinished"] for l in closed], ["0"])
        self.assertEqual((len(self.seen(service.deliveries, "in.slow")), len(self.seen(server.got, "out.now.slow"))), (1, 1))
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    @needs("confirm")
    def test_reload_moves_the_endpoint_under_load(self):
        """The endpoint changes four times: nothing that was promised is lost, no request is refused, no event comes twice."""
        config = self.configuration()
        daemon, service, server = self.both(config=config)
        stop, promised, failed, asked = threading.Event(), [], [], [0]

        def publish(local):
            while not stop.is_set():
                n = len(promised)
                if local.publish("out.kept.load", json.dumps(n).encode()).verb == "OK":
                    promised.append(n)

        def request(local):
            while not stop.is_set():
                got = local.request("out.now.load", json.dumps(asked[0]).encode())[1]
                failed.extend([got] if got.verb != "REP" else [])
                asked[0] += 1
        loads = [publish] + ([request] if "request" not in self.transport.cannot else [])
        threads = [threading.Thread(target=load, args=(self.keep(daemon.connect()),), daemon=True) for load in loads]
        for thread in threads:
            thread.start()
        self.addCleanup(stop.set)
        for turn in range(4):
            wait_until(lambda n=len(promised): len(promised) > n + 20, "load that goes on")
            self.move(daemon, config, turn)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        numbers = lambda: [json.loads(g.body) for g in self.seen(server.got, "out.kept.load")]
        wait_until(lambda: set(numbers()) >= set(promised), f"{len(promised)} promised messages")
        self.assertEqual(len(numbers()), len(set(numbers())), "an event came twice")
        self.assertEqual(len(self.seen(server.got, "out.now.load")), asked[0])
        self.caller().publish("in.after", b"1")
        self.wait_seen(service.deliveries, "in.after")
        wait_until(lambda: len(daemon.log("endpoint_closed")) == 4, "the ends of the old connections")
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)
