"""`bellhop doctor`: what betrays the promise here, and what the brokers can be asked."""
import json
import os
import shutil
import tempfile
import time

from harness import Case, Certificates, Local, Service, frame, free_port, policy, wait_until
from rabbit_server import Rabbit
from redis_server import RedisServer

ROUTE = {"from": "local", "match": ">", "to": "room"}


class Examined:
    def examine(self, daemon, code):
        """level and what of each finding, by where it is."""
        status, out, err = daemon.tool("doctor", "-o", "json")
        self.assertEqual((status, err), (code, ""), out)
        findings = json.loads(out)["findings"]
        for f in findings:
            self.assertTrue(f["what"] and f["do"], f)
        return [(f["where"], f["level"], f["what"]) for f in findings]

    def found(self, daemon, code, where, level, part):
        seen = self.examine(daemon, code)
        self.assertTrue([f for f in seen if f[:2] == (where, level) and part in f[2]], (where, level, part, seen))


class DoctorCase(Examined, Case):
    def healthy(self, **more):
        folder = self.temporary()
        os.chmod(folder, 0o700)
        return {"store": {"path": folder + "/store", "max_size": "16MiB"}, "local": {"mode": "0660"}, "services": {"room": {}},
                "routes": [ROUTE], **more}

    def test_nothing_to_see_to(self):
        daemon = self.daemon(self.healthy())
        self.assertEqual(daemon.tool("doctor"), (0, "nothing to see to\n", ""))

    def test_what_is_set(self):
        daemon = self.daemon({"routes": [ROUTE], "limits": {"clients": 1000000}, "admin": {"mode": "0666"}})
        self.found(daemon, 0, "admin", "warning", "every user of this host may drain")
        self.found(daemon, 0, "services", "warning", "every user of this host")
        self.found(daemon, 0, "store", "note", "there is no store")
        self.found(daemon, 0, "limits.clients", "warning", "limits.clients is 1000000")

    def test_store_on_memory(self):
        folder = tempfile.mkdtemp(prefix="bellhop-doctor-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        daemon = self.daemon(self.healthy(store={"path": folder + "/store", "max_size": "100000GiB"}))
        self.found(daemon, 1, "store", "error", "tmpfs")
        self.found(daemon, 1, "store", "warning", "the disk has room for")

    def test_dead_letters(self):
        def fail(delivery, service):
            raise Service.Err("failed", b"no")
        daemon = self.daemon(self.healthy(policies={"default": policy(attempts=1)}))
        daemon.serve("room", fail)
        with daemon.connect("room", credit=1) as client:
            client.send("PUB", 0, "x")
            wait_until(lambda: daemon.admin("status")["dead_letters"] == 1, "a dead letter")
        self.found(daemon, 0, "messages", "note", "1 dead letter")

    def test_certificate_and_what_is_down(self):
        folder = self.temporary()
        certs = Certificates(folder)
        certs.issue("bellhop")  # for three days
        certs.issue("long", end=time.strftime("%Y%m%d000000Z", time.gmtime(time.time() + 86400 * 40)))
        daemon = self.daemon(self.healthy(
            tls={"short": certs.profile("bellhop", verify="mutual"), "long": certs.profile("long", verify="mutual")},
            endpoints={"short": {"listen": f"tls://127.0.0.1:{free_port()}", "tls": "short"},
                       "long": {"listen": f"tls://127.0.0.1:{free_port()}", "tls": "long"},
                       "gone": {"connect": f"tcp://127.0.0.1:{free_port()}"}},
            routes=[ROUTE, {"from": "short", "to": "room"}, {"from": "long", "to": "room"},
                    {"from": "local", "match": "none", "to": "gone"}]))
        self.found(daemon, 1, "short", "warning", "its certificate expires in")
        wait_until(lambda: any(e["error"] for e in daemon.admin("status")["endpoints"]), "a refused connection")
        self.found(daemon, 1, "gone", "error", "down: 127.0.0.1")
        self.assertEqual([f for f in self.examine(daemon, 1) if f[0] == "long"], [])

    def test_one_at_a_time(self):
        daemon = self.daemon(self.healthy())
        with Local(daemon.admin_socket, "bellhop") as admin:
            admin.raw(frame("REQ", 1, "doctor") + frame("REQ", 2, "doctor"))  # read at once
            answers = {got.id: got.verb for got in (admin.expect("REP", "ERR") for _ in range(2))}
            self.assertEqual(answers, {1: "REP", 2: "ERR"})
            admin.send("REQ", 3, "doctor")
            self.assertEqual(admin.expect("REP").id, 3)
        self.assertEqual(daemon.tool("doctor")[0], 0)


class BrokersCase(Examined, Case):
    def through(self, url, source):
        daemon = self.daemon({"endpoints": {"far": {"connect": url, "codec": "raw"}},
                              "routes": [{"from": {"endpoint": "far", **source}, "to": "room"}]})
        wait_until(lambda: daemon.admin("status")["endpoints"][0]["state"] == "up", "the endpoint up")
        return daemon

    def test_redis(self):
        server = self.keep(RedisServer(appendonly="no", maxmemory_policy="allkeys-lru"))
        url = f"redis://127.0.0.1:{server.port}"
        streams = self.through(url, {"stream": "s"})
        self.found(streams, 0, "far", "warning", "appendonly is off")
        self.found(streams, 0, "far", "warning", "may evict streams")
        with server.client() as c:
            c.call("CONFIG", "SET", "appendonly", "yes")
            c.call("CONFIG", "SET", "appendfsync", "everysec")
            c.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
            self.assertEqual([f[2][:11] for f in self.examine(streams, 0) if f[0] == "far"], ["appendfsync"])
            c.call("CONFIG", "SET", "appendfsync", "always")
            self.assertEqual([f for f in self.examine(streams, 0) if f[0] == "far"], [])
            c.call("ACL", "SETUSER", "default", "-config")
            self.found(streams, 0, "far", "note", "CONFIG GET is denied")
            c.call("ACL", "SETUSER", "default", "+config")
            c.call("CONFIG", "SET", "appendonly", "no")
        channels = self.through(url, {"channel": "c"})
        self.found(channels, 0, "far", "note", "appendonly is off")

    def test_who_leaves_meanwhile(self):
        """The far end says nothing, whoever asked has gone: the next one is served, and the daemon ends well."""
        server = self.keep(RedisServer())
        daemon = self.through(f"redis://127.0.0.1:{server.port}", {"stream": "s"})
        server.freeze()
        with Local(daemon.admin_socket, "bellhop") as admin:
            admin.send("REQ", 1, "doctor")
            daemon.admin("version")
        wait_until(lambda: daemon.tool("doctor")[0] == 0, "an examination of our own")
        server.thaw()
        self.assertEqual([f for f in self.examine(daemon, 0) if f[0] == "far"], [])

    def test_rabbit(self):
        rabbit = self.keep(Rabbit())
        transient = self.through(rabbit.url(), {"queue": "a", "declare": {"durable": False}})
        self.found(transient, 0, "far", "warning", "queue `a` is transient")
        self.found(transient, 0, "far", "warning", "queue `a` has no dead-letter exchange")
        quorum = self.through(rabbit.url(), {"queue": "b", "declare": {"type": "quorum", "dead_letter_exchange": "amq.topic"}})
        far = [f for f in self.examine(quorum, 0) if f[0] == "far"]
        old = int(rabbit.ctl("version").split(".")[0]) < 4
        self.assertEqual(["has no delivery limit" in f[2] for f in far], [True] if old else [])
        best = self.through(rabbit.url(), {"queue": "c", "declare": {"type": "quorum", "dead_letter_exchange": "amq.topic",
                                                                     "delivery_limit": 20}})
        self.assertEqual([f for f in self.examine(best, 0) if f[0] == "far"], [])
        elsewhere = self.through(rabbit.url(), {"queue": "c"})
        self.found(elsewhere, 0, "far", "note", "was made elsewhere")
