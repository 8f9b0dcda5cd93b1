"""Event logs: appended with the acceptance, read and followed by services, replayed; through kill -9 too."""
import json
import signal
import subprocess
import threading
import time

from harness import BELLHOP, Case, wait_until
from test_durable import Base


class LogBase(Base):
    ROUTES = [{"name": "orders", "from": "local", "match": "order.>", "to": "worker", "log": {"name": "orders"}},
              {"name": "safe", "from": "local", "match": "safe.>", "to": "worker", "durable": True,
               "log": {"name": "safe"}},
              {"name": "facts", "from": "local", "match": "fact.>", "log": {"name": "facts", "keep": "unlimited"}}]

    def read(self, client, log, **headers):
        """(offset, subject, body) of each entry, and the headers of the last frame."""
        id = client.start("REQ", "$log/" + log, headers={k.strip("_"): str(v) for k, v in headers.items()})
        entries = []
        while True:
            got = client.expect("MORE", "REP", "ERR")
            self.assertEqual(got.id, id)
            if got.verb != "MORE":
                self.assertEqual(got.verb, "REP", got)
                return entries, got.headers
            entries.append((int(got.headers["offset"]), got.subject, got.body))

    def fact(self, client, key, body, expected=None):
        headers = {"key": key}
        if expected is not None:
            headers["expected-version"] = str(expected)
        return client.publish("fact." + key, body, headers)


class RemoveCase(LogBase, Case):
    def without(self, daemon, route):
        daemon.write({"store": {"path": self.folder + "/store"}, "routes": [r for r in self.ROUTES if r["name"] != route],
                      "policies": {"p": {}}})
        self.assertEqual(daemon.tool("reload")[0], 0)

    def rm(self, daemon, *arguments):
        code, out, err = daemon.tool("log", "rm", *arguments)
        return code, out + err

    def test_rm(self):
        daemon = self.start()
        with daemon.connect() as client:
            for i in range(2500):
                client.start("PUB", "fact.a", b"%d" % i, {"key": "k"})
            for _ in range(2500):
                client.expect("OK")
            self.assertEqual(client.publish("safe.x").verb, "OK")
            code, text = self.rm(daemon, "facts", "--yes")
            self.assertEqual(code, 1)
            self.assertIn("a route appends to it: facts", text)
            self.assertNotEqual(self.rm(daemon, "facts")[0], 0)
            self.assertIn("no such log", self.rm(daemon, "fact", "--yes")[1])
            self.without(daemon, "facts")
            follower = client.start("REQ", "$log/facts", headers={"from": "next", "follow": "yes"})
            wait_until(lambda: "somebody reads" in self.rm(daemon, "facts", "--yes")[1], "the reader is seen")
            client.send("CANCEL", follower)
            wait_until(lambda: "somebody reads" not in self.rm(daemon, "facts", "--dry-run")[1], "the reader has gone")
            code, out, err = daemon.tool("log", "rm", "facts", "--dry-run", "-o", "json")
            self.assertEqual((code, json.loads(out)["entries"]), (0, 2500), err)
            self.assertEqual(len(self.read(client, "facts", limit=5)[0]), 5)
            code, text = self.rm(daemon, "facts", "--yes")
            self.assertEqual(code, 0, text)
            self.assertRegex(text, r"removed\nENTRIES +SIZE\n +2500 ")
            self.assertNotIn("facts", daemon.tool("log", "ls")[1])
            self.assertIn("safe", daemon.tool("log", "ls")[1])
            self.assertNotIn('log="facts"', daemon.http("/metrics")[1])
            self.assertIn("no such log", self.rm(daemon, "facts", "--yes")[1])
            id = client.start("REQ", "$log/facts")
            self.assertEqual(client.expect("ERR").id, id)
        self.assertEqual(daemon.admin("audit")["findings"], [])
        self.ROUTES, routes = [r for r in self.ROUTES if r["name"] != "facts"], self.ROUTES
        daemon = self.again(daemon)
        self.assertNotIn("facts", daemon.tool("log", "ls")[1])
        self.ROUTES = routes
        daemon = self.again(daemon)
        with daemon.connect() as client:  # the route is back: offsets go on, versions begin anew
            self.assertEqual(client.publish("fact.a", b"x", {"key": "k"}).headers, {"offset": "2501", "version": "1"})
            self.assertEqual([o for o, *_ in self.read(client, "facts")[0]], [2501])
        self.stop(daemon)


class AppendCase(LogBase, Case):
    def test_ok_tells_where_it_stands(self):
        daemon = self.start()
        with daemon.connect() as client:
            for n in (1, 2):
                got = self.fact(client, "a", b"x")
                self.assertEqual((got.verb, got.headers), ("OK", {"offset": str(n), "version": str(n)}))
            self.assertEqual(self.fact(client, "b", b"x").headers, {"offset": "3", "version": "1"})
            self.assertEqual(client.publish("order.new").headers, {"offset": "1"})  # nobody has to be there
        self.assertEqual([d.subject for d in daemon.serve("worker").wait(1)], ["order.new"])
        self.stop(daemon)

    def test_ok_then_kill(self):
        """S1 for logs: what was acknowledged is there after kill -9, and offsets and versions go on from it."""
        daemon = self.start()
        with daemon.connect() as client:
            for i in range(50):
                self.assertEqual(self.fact(client, "k", b"%d" % i).verb, "OK")
                self.publish(client, "safe.x", b"%d" % i)
        daemon = self.again(daemon)
        with daemon.connect() as client:
            for log in "facts", "safe":
                entries, end = self.read(client, log)
                self.assertEqual([(o, b) for o, _, b in entries], [(i + 1, b"%d" % i) for i in range(50)])
                self.assertEqual(end, {"next": "51"})
            self.assertEqual(self.fact(client, "k", b"x", expected=50).headers, {"offset": "51", "version": "51"})
        self.assertEqual(len(daemon.serve("worker").wait(50)), 50)
        self.written(daemon)
        self.stop(daemon)

    def test_expected_version(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.assertEqual(self.fact(client, "a", b"1", expected=0).verb, "OK")
            got = self.fact(client, "a", b"2", expected=0)
            self.assertEqual((got.verb, got.subject), ("ERR", "invalid"))
            self.assertEqual(json.loads(got.body)["version"], 1)
            self.assertEqual(self.fact(client, "a", b"2", expected=1).verb, "OK")
            for subject, headers in (("fact.x", {"expected-version": "0"}), ("fact.x", {"expected-version": "x"})):
                got = client.publish(subject, b"", headers)
                self.assertEqual((got.verb, got.subject), ("ERR", "invalid"), got)
            self.assertEqual([b for _, _, b in self.read(client, "facts")[0]], [b"1", b"2"])
        self.stop(daemon)

    def test_expected_version_under_concurrency(self):
        """Of those who append at the same version exactly one wins; nothing is lost or doubled."""
        daemon = self.start()
        failures = []

        def add(name):
            with daemon.connect(name) as client:
                version, done = 0, 0
                while done < 20:
                    got = self.fact(client, "acc", f"{name} {done}".encode(), expected=version)
                    if got.verb == "OK":
                        version, done = int(got.headers["version"]), done + 1
                    elif got.subject == "invalid":
                        version = json.loads(got.body)["version"]
                    else:
                        failures.append(got)
                        return
        threads = [threading.Thread(target=add, args=(f"w{i}",)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        with daemon.connect() as client:
            entries = [b.decode().split() for _, _, b in self.read(client, "facts", key="acc")[0]]
        self.assertEqual(len(entries), 80)
        for i in range(4):
            self.assertEqual([n for w, n in entries if w == f"w{i}"], [str(n) for n in range(20)])
        self.stop(daemon)

    def test_a_refused_append_delivers_nothing(self):
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish(client, "order.a", b"1", {"key": "k", "expected-version": "0"})
            self.publish(client, "safe.a", b"2", {"key": "k", "expected-version": "0"})
            for subject in "order.a", "safe.a":
                got = client.publish(subject, b"no", {"key": "k", "expected-version": "5"})
                self.assertEqual(got.subject, "invalid")
            self.publish(client, "order.end")
        worker.wait(3)
        self.assertEqual(sorted(d.body for d in worker.deliveries), [b"1", b"2", b"x"])
        self.assertNotIn("expected-version", worker.deliveries[0].headers)
        self.stop(daemon)


class ReadCase(LogBase, Case):
    def fill(self, client, count, body=b"%d"):
        ids = [client.start("PUB", "fact.x", body % i if b"%" in body else body, {"key": "ab"[i % 2]})
               for i in range(1, count + 1)]
        for id in ids:
            self.assertEqual(client.answer(id)[1].verb, "OK")

    def test_from_where(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.fill(client, 10)
            offsets = {}
            for name, headers in {"all": {}, "offset": {"from_": 8}, "last": {"from_": "last"}, "next": {"from_": "next"},
                                  "age": {"from_": "1h"}, "future": {"from_": "2100-01-01T00:00:00Z"},
                                  "key": {"key": "b", "from_": 4}, "limit": {"limit": 3},
                                  "match": {"match": "fact.*", "limit": 2}, "other": {"match": "order.*"},
                                  "beyond": {"from_": 99}}.items():
                entries, end = self.read(client, "facts", **headers)
                offsets[name] = ([o for o, _, _ in entries], int(end["next"]))
        self.assertEqual(offsets, {
            "all": (list(range(1, 11)), 11), "offset": ([8, 9, 10], 11), "last": ([10], 11), "next": ([], 11),
            "age": (list(range(1, 11)), 11), "future": ([], 11), "key": ([5, 7, 9], 11), "limit": ([1, 2, 3], 4),
            "match": ([1, 2], 3), "other": ([], 11), "beyond": ([], 99)})
        self.stop(daemon)

    def test_what_an_entry_shows(self):
        daemon = self.start()
        with daemon.connect() as client:
            client.publish("fact.x", b"body", {"key": "k", "id": "m1", "mine": "yes"})
            client.start("REQ", "$log/facts")
            got = client.expect("MORE")
        self.assertEqual((got.subject, got.body), ("fact.x", b"body"))
        headers = dict(got.headers)
        self.assertRegex(headers.pop("log-time"), r"^20..-..-..T..:..:..\....Z$")
        self.assertRegex(headers.pop("traceparent"), "^00-")
        self.assertEqual(headers, {"offset": "1", "version": "1", "id": "m1", "correlation-id": "m1", "key": "k",
                                   "mine": "yes", "source": "tester"})
        self.stop(daemon)

    def test_refused(self):
        daemon = self.start(services={"open": True, "limited": {"subscribe": ["order.>", "$log/orders"]}})
        with daemon.connect() as client, daemon.connect("limited") as limited:
            for subject, headers, code in (("$log/none", {}, "no-route"), ("$log/", {}, "no-route"),
                                           ("$log/facts", {"from": "soon"}, "invalid"),
                                           ("$log/facts", {"limit": "0"}, "invalid"),
                                           ("$log/facts", {"follow": "maybe"}, "invalid"),
                                           ("$log/facts", {"match": "a..b"}, "invalid")):
                self.assertEqual(client.request(subject, headers=headers)[1].subject, code)
            self.assertEqual(limited.request("$log/facts")[1].subject, "denied")
            self.assertEqual(limited.request("$log/orders")[1].verb, "REP")
            ids = [client.start("REQ", "$log/facts", headers={"follow": "yes"}) for _ in range(9)]
            self.assertEqual(client.answer(ids[8])[1].subject, "overloaded")
        self.stop(daemon)

    def test_follow(self):
        """What comes while a log is followed is sent at once, to the end of the request; then it goes on by offset."""
        daemon = self.start()
        with daemon.connect() as client, daemon.connect("other") as other:
            self.fill(other, 3)
            id = client.start("REQ", "$log/facts", headers={"from": "2", "follow": "yes"})
            self.assertEqual([client.expect("MORE").headers["offset"] for _ in range(2)], ["2", "3"])
            for n in range(4, 30):
                self.fact(other, "a", b"%d" % n)
                self.assertEqual(client.expect("MORE").headers["offset"], str(n))
            client.send("CANCEL", id)
            client.send("PING", 1)
            client.expect("PONG")
            self.fact(other, "a", b"30")
            self.assertTrue(client.silent(0.1))
            self.assertEqual(self.read(client, "facts", from_=30)[0], [(30, "fact.a", b"30")])
            following = client.start("REQ", "$log/facts", headers={"from": "next", "follow": "yes", "key": "b"})
            self.fact(other, "a", b"no")
            self.fact(other, "b", b"yes")
            got = client.expect("MORE")
            self.assertEqual((got.id, got.body), (following, b"yes"))
        self.stop(daemon)

    def test_a_reader_that_does_not_read(self):
        """A log far above the memory limits: what is not read is not in memory, and nobody else notices."""
        daemon = self.start(limits={"memory": "16MiB"})
        with daemon.connect() as client, daemon.connect("slow") as slow:
            for _ in range(8):
                self.fill(client, 1000, b"x" * 8000)
            before = daemon.rss()
            id = slow.start("REQ", "$log/facts", headers={"follow": "yes"})
            self.fill(client, 1000, b"y" * 8000)
            self.assertEqual(len(self.read(client, "facts", limit=5)[0]), 5)
            self.assertLess(daemon.rss() - before, 24 << 20)
            for n in range(1, 9001):
                got = slow.expect("MORE")
                self.assertEqual((got.id, got.headers["offset"]), (id, str(n)))
        self.stop(daemon)

    def test_reload(self):
        """A log comes, goes and comes back with the configuration; its entries stay."""
        daemon = self.start()
        config = {"store": {"path": self.folder + "/store"}, "policies": {"p": {}}}
        route = {"name": "late", "from": "local", "match": "late.>", "log": {"name": "late"}}
        with daemon.connect() as client:
            for routes in (self.ROUTES + [route], [], [route]):
                daemon.write({**config, "routes": routes})
                self.assertEqual(daemon.tool("reload")[0], 0)
                if routes:
                    self.publish(client, "late.x")
                else:
                    self.assertEqual(client.publish("late.x").subject, "no-route")
            self.assertEqual([o for o, _, _ in self.read(client, "late")[0]], [1, 2])
            self.assertEqual(self.read(client, "facts")[0], [])  # no route names it any more
        self.stop(daemon)

    def test_retention(self):
        routes = [{"name": "small", "from": "local", "match": "small.>", "log": {"name": "small", "max_size": "64KiB"}},
                  {"name": "young", "from": "local", "match": "young.>", "log": {"name": "young", "keep": "1s"}}]
        self.ROUTES = routes
        daemon = self.start()
        with daemon.connect() as client:
            for _ in range(100):
                self.publish(client, "small.x", b"x" * 1000)
                self.publish(client, "young.x", b"y")
            wait_until(lambda: len(self.read(client, "small")[0]) <= 64, "small enough")
            entries = self.read(client, "small")[0]
            self.assertGreater(len(entries), 40)
            self.assertEqual(entries[-1][0], 100)
            wait_until(lambda: self.read(client, "young")[0] == [], "all too old")
            self.assertEqual(client.publish("young.x").headers, {"offset": "101"})
        self.written(daemon)
        daemon = self.again(daemon)
        self.stop(daemon)


class ReplayCase(LogBase, Case):
    def replay(self, daemon, *arguments, code=0):
        got, out, err = daemon.tool("replay", *arguments, "-o", "json")
        self.assertEqual(got, code, err)
        return json.loads(out)

    def publish_some(self, client, subject, count, key="k"):
        for i in range(1, count + 1):
            self.publish(client, subject, b"%d" % i, {"id": f"{subject}-{i}", "key": key})

    def test_marked_and_not_logged_again(self):
        """S12: what is replayed is marked, keeps its id, and is not appended; on a durable route it is durable."""
        for log, subject in ("orders", "order.x"), ("safe", "safe.x"):
            with self.subTest(log=log):
                daemon = self.start()
                worker = daemon.serve("worker")
                with daemon.connect() as client:
                    self.publish_some(client, subject, 20)
                    worker.wait(20)
                    wait_until(lambda: self.held(daemon) == 0, "all done")
                    self.assertEqual(self.replay(daemon, log, "--from", "6", "--to", "15")["count"], 10)
                    worker.wait(30)
                    wait_until(lambda: self.held(daemon) == 0, "all done")
                    self.assertEqual(len(self.read(client, log)[0]), 20)
                first, again = worker.deliveries[:20], worker.deliveries[20:]
                self.assertEqual([d.headers["id"] for d in again], [f"{subject}-{i}" for i in range(6, 16)])
                self.assertEqual({d.headers["replayed"] for d in again}, {"yes"})
                self.assertTrue(all("replayed" not in d.headers for d in first))
                for d in again:  # nothing else of it has changed
                    was = dict(first[int(d.body) - 1].headers, replayed="yes", **{"replayed-from": log + "@" + d.body.decode()})
                    self.assertEqual((dict(d.headers), d.subject), (was, subject))
                self.stop(daemon)

    def test_why_tells_of_it(self):
        """A replay is known by its log and offset, whether its route is durable or not, and after a kill."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish_some(client, "safe.x", 3)
            self.publish_some(client, "order.x", 3)
        worker.wait(6)
        for log, id in ("safe", "safe.x-2"), ("orders", "order.x-2"):
            self.assertNotIn("replay", daemon.tool("why", id)[1])
            self.assertEqual(self.replay(daemon, log, "--from", "2", "--to", "2")["count"], 1)
            wait_until(lambda: f"replay of {log}@2" in daemon.tool("why", id)[1], "the story of the replay")
        worker.close()
        self.assertEqual(self.replay(daemon, "safe", "--from", "3")["count"], 1)
        daemon = self.again(daemon)
        daemon.serve("worker").wait(1)
        wait_until(lambda: "replay of safe@3" in daemon.tool("why", "safe.x-3")[1], "the same after a kill")
        self.stop(daemon)

    def test_nothing_to_replay_is_said(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.publish_some(client, "order.x", 3)
        code, out, err = daemon.tool("replay", "orders", "--match", "other.*")
        self.assertEqual((code, out), (0, "replayed 0 events\n"))
        self.assertIn("nothing matched", err)
        renamed = [dict(r, name="orders2") if r["name"] == "orders" else r for r in self.ROUTES]
        daemon.write({"store": {"path": self.folder + "/store"}, "routes": renamed, "policies": {"p": {}}})
        self.assertEqual(daemon.tool("reload")[0], 0)
        code, out, err = daemon.tool("replay", "orders")
        self.assertEqual((code, out), (0, "replayed 0 events\n"))
        self.assertIn("3 left out: no route of the log takes them any more", err)
        self.assertIn("the first of these took the route orders;", err)
        code, out, err = daemon.tool("replay", "orders", "--dry-run", "-o", "json")
        self.assertEqual((json.loads(out)["skipped_route"], json.loads(out)["skipped"]), ("orders", 3))
        self.stop(daemon)

    def test_durable_replay_survives(self):
        """S12: the deliveries of a replay on a durable route are as safe as those of a publisher."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish_some(client, "safe.x", 30)
        worker.wait(30)
        wait_until(lambda: self.held(daemon) == 0, "all done")
        worker.close()
        wait_until(lambda: not [s for s in daemon.admin("status")["services"] if s["name"] == "worker" and s["instances"]],
                   "nobody there")
        self.assertEqual(self.replay(daemon, "safe")["count"], 30)
        self.written(daemon)
        daemon = self.again(daemon)
        got = daemon.serve("worker").wait(30)
        self.assertEqual([d.headers["replayed"] for d in got], ["yes"] * 30)
        self.stop(daemon)

    def test_selection(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.publish_some(client, "order.a", 5, key="a")
            self.publish_some(client, "order.b", 5, key="b")
            for arguments, count in (((), 10), (("--match", "order.b"), 5), (("--key", "a"), 5), (("--limit", "3"), 3),
                                     (("--from", "last"), 1), (("--from", "1h"), 10), (("--to", "1h"), 0),
                                     (("--from", "9", "--to", "2100-01-01T00:00:00Z"), 2), (("--to-service", "worker"), 10)):
                self.assertEqual(self.replay(daemon, "orders", "--dry-run", *arguments)["count"], count, arguments)
            self.assertEqual(self.replay(daemon, "orders", "--to-service", "other")["skipped"], 10)
            self.publish_some(client, "fact.x", 2)
            self.assertEqual(self.replay(daemon, "facts")["skipped"], 2)  # a route without targets
            code, out, err = daemon.tool("replay", "orders", "--dry-run")
            self.assertEqual((code, out), (0, "would replay 10 events\n"), err)
            for arguments, text in (("none",), "no log named"), (("orders", "--from", "x"), "`from` has to be"):
                code, _, err = daemon.tool("replay", *arguments)
                self.assertEqual(code, 1)
                self.assertIn(text, err)
        self.assertEqual(len(daemon.serve("worker").wait(10)), 10)  # none of them twice
        self.stop(daemon)

    def test_rate_and_cancel(self):
        """Paced; and when the tool goes, so does the replay."""
        daemon = self.start()
        worker = daemon.serve("worker")
        with daemon.connect() as client:
            self.publish_some(client, "order.x", 300)
            worker.wait(300)
            start = time.monotonic()
            self.assertEqual(self.replay(daemon, "orders", "--limit", "20", "--rate", "50/s")["count"], 20)
            self.assertGreater(time.monotonic() - start, 0.25)  # 0.38, of which 0.1 may be made up for
            worker.wait(320)
            tool = subprocess.Popen([BELLHOP, "replay", "orders", "--rate", "50/s", "-s", daemon.admin_socket],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            worker.wait(350)
            tool.send_signal(signal.SIGINT)
            out, err = tool.communicate(timeout=10)
            self.assertEqual(tool.returncode, 1)
            self.assertIn("interrupted", err)
            tool = subprocess.Popen([BELLHOP, "replay", "orders", "--rate", "50/s", "-s", daemon.admin_socket],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seen = len(worker.deliveries)
            worker.wait(seen + 5)
            tool.kill()
            tool.wait()
            self.publish(client, "order.end", b"end")
            wait_until(lambda: worker.deliveries[-1].body == b"end", "the end")
            count = len(worker.deliveries)
            self.publish(client, "order.end", b"end")
            worker.wait(count + 1)
            self.assertLess(count, 500)
        self.stop(daemon)

    def test_a_destination_that_is_slow_holds_it_back(self):
        """More than a queue takes: the replay waits for room, loses nothing and keeps the order."""
        daemon = self.start(limits={"queue": 50})
        with daemon.connect() as client:
            worker = daemon.serve("worker")
            self.publish_some(client, "order.x", 400)
            worker.wait(400)
            worker.close()
            tool = subprocess.Popen([BELLHOP, "replay", "orders", "-s", daemon.admin_socket, "-o", "json"],
                                    stdout=subprocess.PIPE, text=True)
            wait_until(lambda: self.messages(daemon)["ready"] >= 50, "the queue is full")
            worker = daemon.serve("worker")
            worker.wait(400)
            self.assertEqual([int(d.body) for d in worker.deliveries], list(range(1, 401)))
            self.assertEqual(json.loads(tool.communicate(timeout=10)[0])["count"], 400)
        self.stop(daemon)

    def test_log_ls_and_show(self):
        daemon = self.start()
        with daemon.connect() as client:
            self.publish_some(client, "fact.x", 3)
            rows = {r["name"]: r for r in daemon.admin("log.ls")["logs"]}
            self.assertEqual(sorted(rows), ["facts", "orders", "safe"])
            self.assertEqual([rows["facts"][k] for k in ("entries", "first", "last")], [3, 1, 3])
            self.assertEqual(rows["orders"]["entries"], 0)
            self.assertIn("facts", daemon.tool("log", "ls")[1])
            self.assertIn('bellhop_log_entries{log="facts"} 3', daemon.http("/metrics")[1])
            code, out, err = daemon.tool("log", "show", "facts", "--bodies")
            self.assertEqual((code, len(out.splitlines())), (0, 3), err)
            self.assertRegex(out, r"       2  .*Z  fact.x  k@2  1B  2\n")
            lines = daemon.tool("log", "show", "facts", "--from", "last", "--bodies", "-o", "json")[1].splitlines()
            self.assertEqual([json.loads(line)["body"] for line in lines], ["3"])
            tool = subprocess.Popen([BELLHOP, "log", "show", "facts", "--from", "next", "--follow", "-s",
                                     daemon.admin_socket], stdout=subprocess.PIPE, text=True)
            self.addCleanup(tool.stdout.close)
            thread = threading.Thread(target=lambda: lines.append(tool.stdout.readline()))
            thread.start()
            while thread.is_alive():  # until it follows
                self.fact(client, "k", b"more")
                thread.join(0.05)
            self.assertIn("fact.k", lines[-1])
            tool.kill()
            tool.wait()
        self.stop(daemon)


if __name__ == "__main__":
    import unittest
    unittest.main()
