"""Delivery: time-outs, retries, dead letters, breakers, credit, sharing, life times, cancelling, waiting,
staging, fan-out, subscriptions, backpressure."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from harness import (SANITIZED, Case, Local, NestClient, NestRaw, Service, frame, free_port, policy,
                     wait_until)

ROUTES = [{"name": f"to-{name}", "from": "local", "match": f"{name}.>", "to": name, "policy": "p"}
          for name in ("a", "b", "c")]
MIB = 1 << 20


def never(_delivery, _service):
    return Service.LATER


def milliseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) * (1000 if unit == "s" else 1)


class Base:
    """Services a, b and c behind the routes a.>, b.> and c.>, all with the policy of the test."""

    def start(self, with_policy=None, routes=None, **more):
        daemon = self.daemon({"policies": {"p": with_policy or policy()},
                              "routes": (routes or []) + ROUTES, **more})
        return daemon, self.keep(daemon.connect())

    def instances(self, daemon, name="a"):
        return sum(s["instances"] for s in daemon.admin("status")["services"] if s["name"] == name)

    def error(self, got, code):
        self.assertEqual((got.verb, got.subject), ("ERR", code), got)


class ShareCase(Base, Case):
    def test_one_that_is_down_leaves_memory_to_the_others(self):
        """limits.queue has room for far more than limits.memory."""
        daemon, flooder = self.start(limits={"memory": "4MiB"})
        caller = self.keep(daemon.connect())
        daemon.serve("b")
        for _ in range(600):
            flooder.start("PUB", "a.x", b"x" * 8192)
        refused = flooder.expect("ERR")
        self.error(refused, "overloaded")
        self.assertRegex(refused.body.decode(), r"^a holds \d+KiB of limits.memory \(4MiB\).* down$")
        for _ in range(100):
            self.assertEqual(caller.request("b.x", b"y" * 8192)[1].verb, "REP")
            self.assertEqual(caller.publish("b.x", b"y" * 8192).verb, "OK")
        metrics = daemon.http("/metrics")[1]
        self.assertIn('bellhop_destination_memory_bytes{destination="b"} 0', metrics)
        self.assertRegex(metrics, r'bellhop_destination_memory_bytes\{destination="a"\} [12]\d{6}')


class TimeoutCase(Base, Case):
    def test_silent_service(self):
        daemon, caller = self.start(policy("200ms"))
        service = daemon.serve("a", never)
        begun = time.monotonic()
        id = caller.start("REQ", "a.x", b"1")
        self.error(caller.answer(id)[1], "timeout")
        self.assertTrue(0.15 < time.monotonic() - begun < 2)
        self.assertEqual(service.wait_other("CANCEL")[0].id, service.deliveries[0].id)
        service.client.send("REP", service.deliveries[0].id, body=b"late")
        self.assertTrue(caller.silent(0.1))
        service.client.send("PING", 9)
        wait_until(lambda: [f for f in service.others if f.verb == "PONG"], "PONG after a late answer")

    def test_askers_own_timeout(self):
        daemon, caller = self.start(policy("20s"))
        service = daemon.serve("a", never)
        begun = time.monotonic()
        self.error(caller.request("a.x", b"1", {"timeout": "250ms"})[1], "timeout")
        self.assertLess(time.monotonic() - begun, 3)
        self.assertTrue(0 < milliseconds(service.deliveries[0].headers["timeout"]) <= 250)

    def test_deadline_counts_down_across_hops(self):
        """caller -> first daemon -> NestJS framing -> second daemon -> service"""
        port = free_port()
        second = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"}},
                              "policies": {"default": policy("20s")},
                              "routes": [{"from": "edge", "match": ">", "to": "far"}]})
        first = self.daemon({"endpoints": {"next": {"connect": f"tcp://127.0.0.1:{port}"}},
                             "policies": {"default": policy("20s")},
                             "routes": [{"from": "local", "match": "near.>", "to": "near"},
                                        {"from": "local", "match": ">", "to": "next"}]})

        def pass_on(delivery, service):
            time.sleep(0.1)
            with first.connect("near-out") as out:
                keep = {k: v for k, v in delivery.headers.items() if k in ("timeout", "traceparent")}
                return out.request("far.x", delivery.body, keep)[1].body
        first.serve("near", pass_on)
        far = second.serve("far")
        caller = self.keep(first.connect())
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        wait_until(lambda: caller.request("warm", b"1")[1].verb == "REP", "the second daemon")
        _, got = caller.request("near.x", '"ż"', {"timeout": "1500ms", "traceparent": trace})
        self.assertEqual(got.body, '"ż"'.encode())
        seen = far.deliveries[-1].headers
        self.assertEqual(seen["traceparent"][:35], trace[:35])
        self.assertTrue(0 < milliseconds(seen["timeout"]) <= 1500)

    def test_wait_starts_the_time_again(self):
        daemon, caller = self.start(policy("300ms"))

        def slow(delivery, service):
            for _ in range(6):
                time.sleep(0.12)
                service.client.send("WAIT", delivery.id)
            return b"done"
        daemon.serve("a", slow)
        self.assertEqual(caller.request("a.x", b"")[1].body, b"done")
        self.assertEqual(caller.publish("a.x", b"").verb, "OK")

    def test_storm(self):
        """Thousands of deadlines in the same moment: each is answered once."""
        count = 1000 if SANITIZED else 5000
        daemon, caller = self.start(policy("600ms", breaker={"failures": 1000000}))
        daemon.serve("a", never, credit=65535)
        caller.raw(b"".join(frame("REQ", i, "a.x", None, b"x") for i in range(1, count + 1)))
        got = [caller.expect("ERR") for _ in range(count)]
        self.assertEqual(sorted(g.id for g in got), list(range(1, count + 1)))
        self.assertEqual({g.subject for g in got}, {"timeout"})
        self.assertTrue(caller.silent(0.1))

    def test_stopped_daemon_recovers(self):
        daemon, caller = self.start(policy("400ms"))
        service = daemon.serve("a", never)
        ids = [caller.start("REQ", "a.x", b"") for _ in range(3)]
        service.wait(3)
        daemon.signal(signal.SIGSTOP)
        time.sleep(1)
        for delivery in service.deliveries[:2]:
            service.client.send("REP", delivery.id, body=b"in time or not")
        daemon.signal(signal.SIGCONT)
        answers = {got.id: got.verb for got in (caller.expect("REP", "ERR") for _ in ids)}
        self.assertEqual(set(answers), set(ids))
        self.assertTrue(caller.silent(0.1))
        service.handler = lambda d, s: b"well"
        self.assertEqual(caller.request("a.x", b"")[1].body, b"well")


class RetryCase(Base, Case):
    def failing(self, times, code="failed", **more):
        def handler(delivery, service):
            if len(service.deliveries) <= times:
                raise Service.Err(code, b"no luck", **more)
            return b"at last"
        return handler

    def test_event_until_it_succeeds(self):
        daemon, caller = self.start(policy(attempts=5))
        service = daemon.serve("a", self.failing(2))
        self.assertEqual(caller.publish("a.x", b"1", {"x-mine": "kept"}).verb, "OK")
        self.assertEqual([d.headers["attempt"] for d in service.deliveries], ["1", "2", "3"])
        self.assertEqual(len({d.headers["id"] for d in service.deliveries}), 1)
        self.assertEqual({(d.body, d.headers["x-mine"]) for d in service.deliveries}, {(b"1", "kept")})
        self.assertTrue(caller.silent(0.05))

    def test_back_off_grows(self):
        more = policy(attempts=4, delay="60ms")
        more["retry"]["factor"] = 2
        daemon, caller = self.start(more)
        service = daemon.serve("a", self.failing(3))
        self.assertEqual(caller.publish("a.x").verb, "OK")
        gaps = [b - a for a, b in zip(service.times, service.times[1:])]
        for gap, least in zip(gaps, (0.06, 0.12, 0.24)):
            self.assertTrue(least - 0.005 <= gap < least + 1, gaps)

    def test_attempts_used_up(self):
        daemon, caller = self.start(policy(attempts=3))
        service = daemon.serve("a", self.failing(99))
        got = caller.publish("a.x", b"the body", {"id": "mine-1", "x-mine": "kept"})
        self.error(got, "failed")
        self.assertEqual(len(service.deliveries), 3)
        [dead] = daemon.admin("dlq.ls")["items"]
        self.assertEqual((dead["id"], dead["subject"], dead["attempts"], dead["route"], dead["destination"]),
                         ("mine-1", "a.x", 3, "to-a", "a"))
        self.assertIn("no luck", json.dumps(dead))

    def test_retry_no(self):
        daemon, caller = self.start(policy(attempts=5))
        service = daemon.serve("a", self.failing(9, headers={"retry": "no"}))
        self.error(caller.publish("a.x"), "failed")
        self.assertEqual(len(service.deliveries), 1)
        self.assertEqual(len(daemon.admin("dlq.ls")["items"]), 1)

    def test_retry_after(self):
        daemon, caller = self.start(policy(attempts=5))
        service = daemon.serve("a", self.failing(1, headers={"retry": "after 400ms"}))
        self.assertEqual(caller.publish("a.x").verb, "OK")
        self.assertTrue(0.39 < service.times[1] - service.times[0] < 2, service.times)

    def test_no_dead_letter_where_not_wanted(self):
        daemon, caller = self.start(policy(attempts=2, dead_letter=False))
        daemon.serve("a", self.failing(9))
        self.error(caller.publish("a.x"), "failed")
        self.assertEqual(daemon.admin("dlq.ls")["items"], [])

    def test_a_request_that_failed_is_not_repeated(self):
        daemon, caller = self.start(policy(attempts=5))
        service = daemon.serve("a", self.failing(1))
        items, got = caller.request("a.x")
        self.error(got, "failed")
        self.assertEqual((got.body, len(service.deliveries)), (b"no luck", 1))

    def test_release_counts_no_attempt(self):
        daemon, caller = self.start(policy(attempts=2))
        given = []

        def handler(delivery, service):
            given.append(delivery)
            if len(given) <= 4:
                raise Service.Err("release")
            return b"kept"
        daemon.serve("a", handler)
        self.assertEqual(caller.publish("a.x").verb, "OK")
        self.assertEqual([d.headers["attempt"] for d in given], ["1"] * 5)
        given.clear()
        self.assertEqual(caller.request("a.x")[1].body, b"kept")

    def test_redrive(self):
        daemon, caller = self.start(policy(attempts=2))
        service = daemon.serve("a", self.failing(2))
        self.error(caller.publish("a.x", b"again"), "failed")
        daemon.admin("dlq.redrive", b'{"yes":true}')
        got = service.wait(3)[2]
        self.assertEqual((got.body, got.headers["attempt"]), (b"again", "1"))
        wait_until(lambda: daemon.admin("dlq.ls")["items"] == [], "an empty list of dead letters")


class KilledCase(Base, Case):
    PROGRAM = ("import sys, time\nsys.path.insert(0, sys.argv[1])\nimport harness\n"
               "s = harness.Service(sys.argv[2], 'a', lambda d, s: s.LATER)\n"
               "s.wait(1, 60)\nprint('got', flush=True)\ntime.sleep(60)\n")

    def victim(self, daemon):
        here = os.path.dirname(os.path.abspath(__file__))
        process = subprocess.Popen([sys.executable, "-c", self.PROGRAM, here, daemon.socket],
                                   stdout=subprocess.PIPE)

        def reap():
            process.kill()
            process.wait()
            process.stdout.close()
        self.addCleanup(reap)
        wait_until(lambda: self.instances(daemon) == 1, "the service")
        return process

    def test_request_fails_when_nobody_else_is_there(self):
        daemon, caller = self.start(policy(attempts=3))
        victim = self.victim(daemon)
        id = caller.start("REQ", "a.x", b"")
        victim.stdout.readline()
        begun = time.monotonic()
        victim.kill()
        got = caller.answer(id)[1]
        self.error(got, "unavailable")  # it may have been done: "no-service" would say that it was not
        self.assertLess(time.monotonic() - begun, 2)

    def test_event_goes_to_the_next(self):
        daemon, caller = self.start(policy(attempts=3))
        victim = self.victim(daemon)
        id = caller.start("PUB", "a.x", b"precious")
        victim.stdout.readline()
        victim.kill()
        self.assertTrue(caller.silent(0.1))
        service = daemon.serve("a")
        self.assertEqual(caller.answer(id)[1].verb, "OK")
        self.assertEqual((service.deliveries[0].body, service.deliveries[0].headers["attempt"]),
                         (b"precious", "2"))

    def test_request_goes_to_another_instance(self):
        daemon, caller = self.start(policy(attempts=3))
        victim = self.victim(daemon)
        id = caller.start("REQ", "a.x", b"q")
        victim.stdout.readline()
        daemon.serve("a")
        wait_until(lambda: self.instances(daemon) == 2, "two instances")
        victim.kill()
        self.assertEqual(caller.answer(id)[1].body, b"q")

    def test_not_repeated_where_not_idempotent(self):
        daemon, caller = self.start(policy(attempts=3, idempotent=False))
        victim = self.victim(daemon)
        id = caller.start("REQ", "a.x", b"q")
        victim.stdout.readline()
        second = daemon.serve("a")
        wait_until(lambda: self.instances(daemon) == 2, "two instances")
        victim.kill()
        self.error(caller.answer(id)[1], "unavailable")
        self.assertEqual(second.deliveries, [])


class BreakerCase(Base, Case):
    def state(self, daemon):
        return [s["breaker"] for s in daemon.admin("status")["services"] if s["name"] == "a"][0]

    def test_opens_probes_and_closes(self):
        daemon, caller = self.start(policy("100ms", breaker={"failures": 3, "open_for": "500ms", "probes": 1}))
        service = daemon.serve("a", never)
        self.assertEqual(self.state(daemon), "closed")
        for _ in range(3):
            self.error(caller.request("a.x")[1], "timeout")
        opened = time.monotonic()
        self.assertEqual(self.state(daemon), "open")
        self.error(caller.request("a.x")[1], "unavailable")
        self.assertLess(time.monotonic() - opened, 0.3)
        self.assertEqual(len(service.deliveries), 3)
        # the probe fails: open again
        time.sleep(max(opened + 0.55 - time.monotonic(), 0))
        first, second = caller.start("REQ", "a.x"), caller.start("REQ", "a.x")
        got = {g.id: g.subject for g in (caller.expect("ERR"), caller.expect("ERR"))}
        self.assertEqual(got, {first: "timeout", second: "unavailable"})
        self.assertEqual(len(service.deliveries), 4)
        self.assertEqual(self.state(daemon), "open")
        # the next one succeeds: closed
        service.handler = lambda d, s: b"well"
        time.sleep(0.6)
        self.assertEqual(caller.request("a.x")[1].body, b"well")
        self.assertEqual(self.state(daemon), "closed")
        self.assertEqual(caller.request("a.x")[1].body, b"well")

    def test_events_wait_while_it_is_open(self):
        daemon, caller = self.start(policy("100ms", breaker={"failures": 2, "open_for": "400ms", "probes": 1}))
        service = daemon.serve("a", never)
        for _ in range(2):
            self.error(caller.request("a.x")[1], "timeout")
        service.handler = lambda d, s: b""
        ids = [caller.start("PUB", "a.x", str(i)) for i in range(10)]
        self.assertTrue(caller.silent(0.15))
        self.assertEqual([caller.expect("OK").id for _ in ids], ids)
        self.assertEqual([d.headers["attempt"] for d in service.deliveries[2:]], ["1"] * 10)

    def test_answers_with_an_error_do_not_open_it(self):
        daemon, caller = self.start(policy(breaker={"failures": 2, "open_for": "10s"}))

        def handler(delivery, service):
            raise Service.Err("failed", b"my own affair")
        daemon.serve("a", handler)
        for _ in range(6):
            self.error(caller.request("a.x")[1], "failed")
        self.assertEqual(self.state(daemon), "closed")

    def test_other_destinations_are_not_touched(self):
        daemon, caller = self.start(policy("100ms", breaker={"failures": 1, "open_for": "10s"}))
        daemon.serve("a", never)
        daemon.serve("b")
        self.error(caller.request("a.x")[1], "timeout")
        self.error(caller.request("a.x")[1], "unavailable")
        self.assertEqual(caller.request("b.x", b"1")[1].body, b"1")


class CreditCase(Base, Case):
    def test_never_more_than_the_credit(self):
        daemon, caller = self.start()
        service = daemon.serve("a", never, credit=3)
        ids = [caller.start("PUB", "a.x", str(i)) for i in range(12)]
        service.wait(3)
        time.sleep(0.1)
        self.assertEqual(len(service.deliveries), 3)
        service.client.send("OK", service.deliveries[0].id)
        service.wait(4)
        service.client.send("CREDIT", 2)
        service.wait(6)
        time.sleep(0.1)
        self.assertEqual(len(service.deliveries), 6)
        for n in range(1, 12):
            service.client.send("OK", service.wait(n + 1)[n].id)
        self.assertEqual([caller.expect("OK").id for _ in ids], ids)
        self.assertEqual([d.body for d in service.deliveries], [str(i).encode() for i in range(12)])

    def test_cap_of_the_configuration(self):
        daemon, caller = self.start(services={"a": {"credit": 2}, "open": True})
        service = daemon.serve("a", never, credit=100)
        for i in range(6):
            caller.start("PUB", "a.x", str(i))
        service.wait(2)
        time.sleep(0.1)
        self.assertEqual(len(service.deliveries), 2)

    def test_one_who_never_answers_stops_only_himself(self):
        daemon, caller = self.start(policy("20s"))
        stuck, fine = daemon.serve("a", never, credit=1), daemon.serve("b")
        for i in range(50):
            caller.start("PUB", "a.x", str(i))
        other = self.keep(daemon.connect("other"))
        for i in range(50):
            self.assertEqual(other.request("b.x", str(i))[1].body, str(i).encode())
        self.assertEqual(len(stuck.deliveries), 1)
        self.assertEqual(len(fine.deliveries), 50)

    def test_load_is_shared_by_least_outstanding(self):
        daemon, caller = self.start()
        one = daemon.serve("a", never)
        two = daemon.serve("a", never)
        wait_until(lambda: self.instances(daemon) == 2, "two instances")
        for i in range(10):
            caller.start("REQ", "a.x", str(i))
        wait_until(lambda: len(one.deliveries) + len(two.deliveries) == 10, "ten deliveries")
        self.assertEqual((len(one.deliveries), len(two.deliveries)), (5, 5))
        for delivery in two.deliveries:  # two is idle again, one still has five
            two.client.send("REP", delivery.id)
        for _ in range(5):
            caller.expect("REP")
        for i in range(5):
            caller.start("REQ", "a.x", str(i))
        two.wait(10)
        self.assertEqual(len(one.deliveries), 5)

    def test_instance_that_leaves_settles_what_it_has(self):
        daemon, caller = self.start()

        def handler(delivery, service):
            service.client.send("BYE", 0)
            time.sleep(0.1)
            return b"settled"
        daemon.serve("a", handler)
        self.assertEqual(caller.request("a.x")[1].body, b"settled")
        self.error(caller.request("a.x")[1], "no-service")

    def test_instance_that_leaves_gets_no_more(self):
        daemon, caller = self.start()
        one, two = daemon.serve("a"), daemon.serve("a")
        wait_until(lambda: self.instances(daemon) == 2, "two instances")
        one.client.send("BYE", 0)
        wait_until(lambda: self.instances(daemon) == 1, "one instance")
        before = len(one.deliveries)
        for _ in range(10):
            self.assertEqual(caller.request("a.x")[1].verb, "REP")
        self.assertEqual(len(one.deliveries), before)
        self.assertGreaterEqual(len(two.deliveries), 10)


class LifeCase(Base, Case):
    def test_ttl(self):
        daemon, caller = self.start()
        begun = time.monotonic()
        self.error(caller.publish("a.x", b"old", {"ttl": "150ms"}), "expired")
        self.assertTrue(0.1 < time.monotonic() - begun < 2)
        fresh = caller.start("PUB", "a.x", b"fresh", {"ttl": "30s"})
        service = daemon.serve("a")
        self.assertEqual(caller.answer(fresh)[1].verb, "OK")
        self.assertEqual([d.body for d in service.deliveries], [b"fresh"])

    def test_ttl_of_the_policy(self):
        daemon, caller = self.start(policy(ttl="150ms"))
        self.error(caller.publish("a.x"), "expired")

    def test_events_wait_for_a_service_that_is_not_there(self):
        daemon, caller = self.start()
        ids = [caller.start("PUB", "a.x", str(i)) for i in range(5)]
        self.assertTrue(caller.silent(0.1))
        daemon.serve("a")
        self.assertEqual([caller.expect("OK").id for _ in ids], ids)

    def test_requests_do_not(self):
        _, caller = self.start()
        begun = time.monotonic()
        self.error(caller.request("a.x")[1], "no-service")
        self.assertLess(time.monotonic() - begun, 0.5)

    def test_no_route(self):
        _, caller = self.start()
        self.error(caller.request("nowhere.x")[1], "no-route")
        self.error(caller.publish("nowhere.x"), "no-route")

    def test_publisher_without_interest_in_the_answer(self):
        daemon, caller = self.start()
        service = daemon.serve("a")
        caller.send("PUB", 0, "a.x", None, b"quiet")
        caller.send("PUB", 0, "nowhere.x", None, b"quiet")
        service.wait(1)
        caller.send("PING", 4)
        self.assertEqual(caller.expect("PONG").id, 4)

    def test_messages_of_a_publisher_who_leaves_are_delivered(self):
        daemon, _ = self.start()
        with daemon.connect("short") as short:
            short.start("PUB", "a.x", b"left behind")
            short.send("PING", 1)
            short.expect("PONG")
        self.assertEqual(daemon.serve("a").wait(1)[0].body, b"left behind")


class CancelCase(Base, Case):
    def test_cancel(self):
        daemon, caller = self.start()
        service = daemon.serve("a", never)
        id = caller.start("REQ", "a.x")
        delivery = service.wait(1)[0]
        caller.send("CANCEL", id)
        self.assertEqual(service.wait_other("CANCEL")[0].id, delivery.id)
        service.client.send("REP", delivery.id, body=b"too late")
        again = caller.start("REQ", "a.x")
        service.client.send("REP", service.wait(2)[1].id, body=b"second")
        self.assertEqual(caller.answer(again)[1].body, b"second")

    def test_cancel_of_what_is_unknown_or_over(self):
        daemon, caller = self.start()
        daemon.serve("a")
        id = caller.start("REQ", "a.x", b"1")
        caller.answer(id)
        for other in (id, 77, 0, 2 ** 64 - 1):
            caller.send("CANCEL", other)
        self.assertEqual(caller.request("a.x", b"2")[1].body, b"2")

    def test_caller_disconnects(self):
        daemon, _ = self.start()
        service = daemon.serve("a", never)
        with daemon.connect("gone") as gone:
            gone.start("REQ", "a.x")
            service.wait(1)
        self.assertEqual(service.wait_other("CANCEL")[0].id, service.deliveries[0].id)

    def test_nestjs_caller_disconnects(self):
        port = free_port()
        daemon = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"}},
                              "routes": [{"from": "edge", "match": ">", "to": "a"}]})
        service = daemon.serve("a", never)
        client = NestClient("12", port)
        client.start("send", "x", 1)
        service.wait(1)
        client.close()
        self.assertEqual(service.wait_other("CANCEL")[0].id, service.deliveries[0].id)
        with NestRaw(port) as raw:
            raw.send({"pattern": "x", "data": 1, "id": "r"})
            service.wait(2)
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: len(service.wait_other("CANCEL")) == 2, "CANCEL after a reset")

    def test_cancel_before_it_was_delivered(self):
        daemon, caller = self.start(policy("20s"))
        service = daemon.serve("a", never, credit=1)
        caller.start("REQ", "a.x", b"first")
        waits = caller.start("REQ", "a.x", b"cancelled")
        caller.start("REQ", "a.x", b"third")
        service.wait(1)
        caller.send("CANCEL", waits)
        caller.send("PING", 1)
        caller.expect("PONG")
        service.client.send("REP", service.deliveries[0].id)
        self.assertEqual(service.wait(2)[1].body, b"third")


class StagedCase(Base, Case):
    """PUB with `with: N`."""

    def run_with(self, finish):
        daemon, caller = self.start(policy(attempts=1))

        def handler(delivery, service):
            service.client.send("PUB", 71, "b.done", {"with": str(delivery.id)}, b"staged")
            service.client.send("PUB", 72, "b.done", {"with": str(delivery.id)}, b"staged too")
            service.client.send("PING", 1)
            time.sleep(0.15)
            self.seen_before = len(target.deliveries)
            return finish(delivery, service)
        target = daemon.serve("b")
        service = daemon.serve("a", handler)
        return caller, service, target

    def settled(self, service, verb):
        wait_until(lambda: len([f for f in service.others if f.verb in ("OK", "ERR")]) == 2, "two answers")
        self.assertEqual([(f.verb, f.id) for f in service.others if f.verb in ("OK", "ERR")],
                         [(verb, 71), (verb, 72)])

    def test_sent_with_ok(self):
        caller, service, target = self.run_with(lambda d, s: b"")
        self.assertEqual(caller.publish("a.x").verb, "OK")
        self.assertEqual([d.body for d in target.wait(2)], [b"staged", b"staged too"])
        self.assertEqual(self.seen_before, 0)
        self.settled(service, "OK")

    def test_sent_with_rep(self):
        caller, service, target = self.run_with(lambda d, s: b"reply")
        self.assertEqual(caller.request("a.x")[1].body, b"reply")
        target.wait(2)
        self.assertEqual(self.seen_before, 0)
        self.settled(service, "OK")

    def test_dropped_with_err(self):
        def fail(delivery, service):
            raise Service.Err("failed", b"no")
        caller, service, target = self.run_with(fail)
        self.error(caller.publish("a.x"), "failed")
        self.settled(service, "ERR")
        time.sleep(0.1)
        self.assertEqual(target.deliveries, [])

    def test_dropped_when_the_service_dies(self):
        def die(delivery, service):
            service.client.sock.shutdown(socket.SHUT_RDWR)
            return Service.LATER
        caller, service, target = self.run_with(die)
        self.assertEqual(caller.publish("a.x").verb, "ERR")
        time.sleep(0.1)
        self.assertEqual(target.deliveries, [])

    def test_unknown_delivery(self):
        _, caller = self.start()
        got = caller.publish("b.x", b"", {"with": "12345"})
        self.assertEqual(got.verb, "ERR")
        got = caller.publish("b.x", b"", {"with": "junk"})
        self.assertEqual(got.verb, "ERR")


class FanOutCase(Base, Case):
    ALL = [{"name": "all", "from": "local", "match": "all.>", "to": ["a", "b", "c"], "policy": "p"}]

    def test_each_gets_its_own(self):
        daemon, caller = self.start(policy(attempts=4), self.ALL)

        def flaky(delivery, service):
            if len(service.deliveries) < 3:
                raise Service.Err("failed")
            return b""
        a, b, c = daemon.serve("a"), daemon.serve("b", flaky), daemon.serve("c")
        self.assertEqual(caller.publish("all.x", b"1").verb, "OK")
        self.assertEqual([len(s.deliveries) for s in (a, b, c)], [1, 3, 1])
        self.assertEqual(len({d.headers["id"] for s in (a, b, c) for d in s.deliveries}), 1)

    def test_ok_only_when_all_are_well(self):
        daemon, caller = self.start(policy(attempts=2), self.ALL)

        def bad(delivery, service):
            raise Service.Err("failed", b"only me")
        daemon.serve("a"), daemon.serve("b", bad), daemon.serve("c")
        got = caller.publish("all.x", b"1")
        self.error(got, "failed")
        self.assertEqual([d["destination"] for d in daemon.admin("dlq.ls")["items"]], ["b"])

    def test_first_match_wins(self):
        daemon, caller = self.start(None, [
            {"from": "local", "match": "order.*.paid", "to": "a"},
            {"from": "local", "match": "order.>", "to": "b"},
            {"from": "local", "match": "order.7.paid", "to": "c"},
        ])
        a, b, c = (daemon.serve(n) for n in "abc")
        for subject in ("order.7.paid", "order.8.paid", "order.7", "order.7.paid.twice"):
            self.assertEqual(caller.publish(subject).verb, "OK")
        self.assertEqual([d.subject for d in a.deliveries], ["order.7.paid", "order.8.paid"])
        self.assertEqual([d.subject for d in b.deliveries], ["order.7", "order.7.paid.twice"])
        self.assertEqual(c.deliveries, [])


class SubscribeCase(Base, Case):
    def subscribed(self, daemon, name, filter, group=None):
        client = self.keep(daemon.connect(name))
        id = client.start("SUB", filter, b"", {"group": group} if group else None)
        self.assertEqual(client.answer(id)[1].verb, "OK")
        return client, id

    def take(self, client, count):
        bodies = []
        for _ in range(count):
            got = client.expect("PUB")
            bodies.append(got.body)
            client.send("OK", got.id)
        return bodies

    def test_each_subscriber_gets_all(self):
        daemon, caller = self.start()
        one, _ = self.subscribed(daemon, "one", "news.*")
        two, _ = self.subscribed(daemon, "two", "news.>")
        for i in range(5):
            id = caller.start("PUB", "news.x", str(i))
            self.assertEqual(self.take(one, 1) + self.take(two, 1), [str(i).encode()] * 2)
            self.assertEqual(caller.answer(id)[1].verb, "OK")
        caller.start("PUB", "news.x.y", b"deep")
        self.assertEqual(self.take(two, 1), [b"deep"])
        self.assertTrue(one.silent(0.05))

    def test_group_shares(self):
        daemon, caller = self.start()
        members = [self.subscribed(daemon, f"m{i}", "news.>", "g")[0] for i in range(2)]
        alone, _ = self.subscribed(daemon, "alone", "news.>")
        for i in range(20):
            caller.send("PUB", 0, "news.x", None, str(i))
        self.assertEqual(self.take(alone, 20), [str(i).encode() for i in range(20)])
        got = []
        for member in members:
            bodies = []
            while True:
                try:
                    bodies += self.take_one(member)
                except TimeoutError:
                    break
            self.assertGreater(len(bodies), 0)
            got += bodies
        self.assertEqual(sorted(map(int, got)), list(range(20)))

    def take_one(self, client):
        got = client.recv(0.15)
        client.send("OK", got.id)
        return [got.body]

    def test_unsub(self):
        daemon, caller = self.start()
        one, id = self.subscribed(daemon, "one", "news.>")
        one.send("UNSUB", id)
        one.send("PING", 5)
        one.expect("OK", "PONG")
        self.error(caller.publish("news.x"), "no-route")

    def test_disconnect_ends_it(self):
        daemon, caller = self.start()
        one, _ = self.subscribed(daemon, "one", "news.>")
        one.close()
        wait_until(lambda: caller.publish("news.x").verb == "ERR", "the end of the subscription")

    def test_bad_filters(self):
        _, caller = self.start()
        for filter in ("a..b", "a.>.b", "a.b*", ">.a"):
            got = caller.answer(caller.start("SUB", filter))[1]
            self.assertEqual(got.verb, "ERR", filter)

    def test_route_and_subscription_both_get_it(self):
        daemon, caller = self.start()
        service = daemon.serve("a")
        one, _ = self.subscribed(daemon, "one", "a.>")
        id = caller.start("PUB", "a.x", b"both")
        self.assertEqual(self.take(one, 1), [b"both"])
        self.assertEqual(caller.answer(id)[1].verb, "OK")
        self.assertEqual(service.deliveries[0].body, b"both")


class PressureCase(Base, Case):
    LIMITS = {"limits": {"queue": 1000, "memory": "16MiB"}, "log": {"level": "info"}}

    def flood(self, daemon, subject, size, stop, sent):
        body = b"x" * size
        one = frame("PUB", 0, subject, None, body)
        with daemon.connect("flooder") as flooder:
            flooder.sock.settimeout(0.2)
            block, at = one * max(65536 // len(one), 1), 0
            while not stop.is_set():
                try:
                    at += flooder.sock.send(block[at:])
                except TimeoutError:
                    continue
                if at == len(block):
                    sent.append(len(block))
                    at = 0

    def test_slow_service(self):
        daemon, caller = self.start(policy("60s"), **self.LIMITS)
        slow = daemon.serve("a", lambda d, s: time.sleep(0.002), credit=4)
        daemon.serve("b")
        caller.request("b.x", b"warm")
        before, stop, sent = daemon.rss(), threading.Event(), []
        threads = [threading.Thread(target=self.flood, args=(daemon, "a.x", 2000, stop, sent))
                   for _ in range(3)]
        for thread in threads:
            thread.start()
        worst, end = 0, time.monotonic() + 2
        while time.monotonic() < end:
            begun = time.monotonic()
            self.assertEqual(caller.request("b.x", b"1")[1].body, b"1")
            worst = max(worst, time.monotonic() - begun)
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertGreater(len(slow.deliveries), 100)
        self.assertLess(worst, 0.5)
        self.assertLess(daemon.rss() - before, (200 if SANITIZED else 40) * MIB)
        self.assertLess(sum(sent), 60 * MIB)  # the flooders were held back

    def test_reader_that_stops(self):
        """A service with much credit that does not read: bounded memory, others live."""
        daemon, caller = self.start(policy("60s"), **self.LIMITS)
        with Local(daemon.socket, "a", credit=65535) as deaf:
            daemon.serve("b")
            before, stop, sent = daemon.rss(), threading.Event(), []
            thread = threading.Thread(target=self.flood, args=(daemon, "a.x", 20000, stop, sent))
            thread.start()
            for _ in range(50):
                self.assertEqual(caller.request("b.x", b"1")[1].body, b"1")
                time.sleep(0.02)
            stop.set()
            thread.join()
            self.assertLess(daemon.rss() - before, (200 if SANITIZED else 60) * MIB)
            self.assertEqual(deaf.expect("PUB").body, b"x" * 20000)

    def test_service_that_writes_before_it_reads_on(self):
        """A plain blocking loop (read, handle, write) with more work on its way than buffers hold."""
        daemon, caller = self.start(policy("4s"))
        daemon.serve("a", credit=64)
        sender = threading.Thread(target=caller.raw, args=(b"".join(
            frame("REQ", i, "a.x", None, b"x" * 60000) for i in range(1, 301)),))
        sender.start()
        got = [caller.expect("REP", "ERR") for _ in range(300)]
        sender.join()
        self.assertEqual({(g.verb, len(g.body)) for g in got}, {("REP", 60000)})

    def test_caller_that_does_not_read_its_stream(self):
        """It can hold up the service no longer than its own time-out."""
        port = free_port()
        daemon = self.daemon({"endpoints": {"edge": {"listen": f"tcp://127.0.0.1:{port}"}},
                              "policies": {"default": policy("1s", breaker={"failures": 100000})},
                              "routes": [{"from": "edge", "match": ">", "to": "a"},
                                         {"from": "local", "match": ">", "to": "a"}]})

        def pour(delivery, service):
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    service.client.send("MORE", delivery.id, body=b"1" * 50000)

        def handler(delivery, service):
            if delivery.body != b'"flood"':
                return delivery.body
            threading.Thread(target=pour, args=(delivery, service), daemon=True).start()
            return Service.LATER
        service = daemon.serve("a", handler)
        caller, deaf, deaf_nest = (self.keep(daemon.connect("caller")), self.keep(daemon.connect("deaf")),
                                   self.keep(NestRaw(port)))
        for n, ask in enumerate((lambda: deaf.start("REQ", "x", b'"flood"'),
                                 lambda: deaf_nest.send({"pattern": "x", "data": "flood", "id": "f"}))):
            ask()
            wait_until(lambda: len([d for d in service.deliveries if d.body == b'"flood"']) == n + 1, "the flood")
            wait_until(lambda: caller.request("x", b"1")[1].verb == "REP", "answers again", 4)

    def test_flood_for_a_service_that_is_not_there(self):
        daemon, caller = self.start(policy("60s"), **self.LIMITS)
        daemon.serve("b")
        before = daemon.rss()
        codes = set()
        for n in range(40):
            ids = [caller.start("PUB", "a.x", b"x" * 2000) for _ in range(100)]
            caller.send("PING", n)
            while (got := caller.expect("ERR", "PONG")).verb != "PONG":
                codes.add(got.subject)
                self.assertIn(got.id, ids)
        self.assertEqual(codes, {"overloaded"})
        self.assertLess(daemon.rss() - before, (100 if SANITIZED else 24) * MIB)
        self.assertEqual(caller.request("b.x", b"1")[1].body, b"1")
        self.assertEqual(daemon.admin("status")["messages"]["ready"], 1000)

    def test_dead_letters_are_bounded(self):
        def bad(delivery, service):
            raise Service.Err("failed", headers={"retry": "no"})
        daemon, caller = self.start(limits={"dead": 10})
        daemon.serve("a", bad)
        for n in range(25):
            self.error(caller.publish("a.x", str(n), {"id": f"m{n}"}), "failed")
        self.assertEqual([d["id"] for d in daemon.admin("dlq.ls")["items"]], [f"m{n}" for n in range(15, 25)])
        self.assertEqual(daemon.admin("status")["messages"]["unaccounted"], 0)

    def test_large_bodies_both_ways(self):
        daemon, caller = self.start(None, limits={"body": "16MiB"})
        daemon.serve("a")
        body = os.urandom(8 * MIB)
        self.assertEqual(caller.request("a.x", body)[1].body, body)
        items = [os.urandom(100000) for _ in range(50)]
        daemon.serve("b", lambda d, s: items)
        got, last = caller.request("b.x")
        self.assertEqual(got + [last.body], items)

    def test_everything_is_accounted_for(self):
        daemon, caller = self.start(policy(attempts=2, delay="1ms"))

        def mixed(delivery, service):
            n = int(delivery.body)
            if n % 5 == 0:
                raise Service.Err("failed", headers={"retry": "no"} if n % 2 else None)
            return b""
        daemon.serve("a", mixed)
        ids = [caller.start("PUB" if i % 2 else "REQ", "a.x", str(i)) for i in range(300)]
        got = sorted(caller.expect("OK", "REP", "ERR").id for _ in ids)
        self.assertEqual(got, ids)
        messages = daemon.admin("status")["messages"]
        self.assertEqual((messages["accepted"], messages["unaccounted"]), (300, 0))
        self.assertEqual((messages["ready"], messages["waiting"], messages["inflight"]), (0, 0, 0))
        self.assertEqual((messages["done"], messages["dead"]), (270, 30))
