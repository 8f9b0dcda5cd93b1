"""What is done while calls fail. What stands before `yield` is preparation: nothing fails there."""
import json
import os
import signal
import socket


from world import PATIENCE, Ended, Peer, Wrong, harness

SCENARIOS = {}
BIG = bytes(range(256)) * 1200  # about 300 KiB: rows that overflow, buffers that grow


class Scenario:
    """A function of a World, a generator, with what its daemon is told beyond the basic configuration."""

    def __init__(self, act, targets, durable, more):
        self.name, self.act, self.targets, self.durable, self.more = act.__name__, act, targets, durable, more

    def config(self, world):
        more = self.more(world) if callable(self.more) else self.more
        store = {"store": {"path": os.path.join(world.folder, "store")}} if self.durable else {}
        return {
            "admin": {"http": None}, "drain_timeout": "2s",
            "policies": {"default": harness.policy("2s", attempts=3, delay="1ms", breaker={"failures": 1000})},
            "routes": [
                {"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": self.durable},
                {"name": "both", "from": "local", "match": "both.>", "to": ["worker", "other"], "durable": self.durable},
                {"name": "plain", "from": "local", "match": "plain.>", "to": "worker"}],
            **store, **more}


def scenario(targets=("worker",), durable=True, more=None):
    def add(act):
        SCENARIOS[act.__name__] = Scenario(act, targets, durable, more or {})
        return act
    return add


# ---------------------------------------------------------------- lives

@scenario()
def start(w):
    yield
    w.start()
    w.peer().send("PING", 1)


@scenario()
def start_after_kill(w):
    w.start()
    with w.peer() as client:
        for _ in range(3):
            w.publish(client, "job.x", ["worker"])
    w.end(signal.SIGKILL)
    yield
    w.start()
    w.serve(w.peer("worker"), "worker", 3)


@scenario(targets=("worker", "other"))
def stop(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    w.publish(client, "both.x", ["worker", "other"])
    got = w.delivery(worker, "worker")
    yield
    w.settle(worker, got, "worker")
    w.end()


@scenario()
def drain(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    w.publish(client, "job.x", ["worker"])
    got = w.delivery(worker, "worker")
    yield
    w.admin("drain")
    client.send("PUB", 99, "job.x", {"id": "late"}, b"late")
    w.bodies["late"] = {b"late"}
    if client.recv().verb == "OK":
        w.promised.add(("worker", "late"))
    w.settle(worker, got, "worker")
    if worker.recv().verb != "BYE":
        raise Wrong("no BYE")
    w.daemon.wait_exit(PATIENCE)


# ---------------------------------------------------------------- durable events

@scenario()
def publish(w):
    w.start()
    yield
    w.publish(w.peer(), "job.x", ["worker"])


@scenario()
def publish_many(w):
    """One group commit or a few."""
    w.start()
    client = w.peer()
    yield
    sent = [w.publish(client, "job.x", ["worker"], wait=False) for _ in range(12)]
    for number, id in sent:
        w.acknowledged(client, number, id, ["worker"])


@scenario()
def publish_deliver_settle(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"])
    w.serve(worker, "worker")
    w.done(1)


@scenario(targets=("worker", "other"))
def fan_out(w):
    w.start()
    client, worker, other = w.peer(), w.peer("worker"), w.peer("other")
    yield
    w.publish(client, "both.x", ["worker", "other"])
    w.serve(worker, "worker")
    w.serve(other, "other")
    w.done(2)


@scenario()
def big_body(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"], BIG)
    w.serve(worker, "worker")
    w.done(1)


@scenario()
def retry_then_ok(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"])
    got = w.delivery(worker, "worker")
    worker.send("ERR", got.id, "failed", None, b"not yet")
    w.serve(worker, "worker")
    w.done(1)


@scenario()
def reject(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"])
    got = w.delivery(worker, "worker")
    worker.send("ERR", got.id, "failed", {"retry": "no"}, b"never")
    w.until(lambda: w.messages()["dead"] == 1, "a dead letter")


@scenario()
def release_and_wait(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"])
    got = w.delivery(worker, "worker")
    worker.send("WAIT", got.id)
    worker.send("ERR", got.id, "release")
    worker.send("CREDIT", 3)
    w.serve(worker, "worker")
    w.done(1)


@scenario()
def delay(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    w.publish(client, "job.x", ["worker"], headers={"delay": "15ms"})
    w.serve(worker, "worker")
    w.done(1)


@scenario()
def expiry(w):
    w.start()
    client = w.peer()
    yield
    w.publish(client, "job.x", [], headers={"ttl": "5ms"})
    w.until(lambda: w.messages()["expired"] == 1, "it expires")


@scenario(targets=("worker", "other"))
def outbox(w):
    w.start()
    client, worker, other = w.peer(), w.peer("worker"), w.peer("other")
    w.bodies["staged"] = {b"staged"}
    yield
    w.publish(client, "job.x", ["worker"])
    got = w.delivery(worker, "worker")
    worker.send("PUB", 77, "both.x", {"with": got.id, "id": "staged"}, b"staged")
    w.settle(worker, got, "worker")
    frames = {worker.expect("OK", "PUB").verb for _ in range(2)}
    if frames != {"OK", "PUB"}:
        raise Wrong(f"got {frames}")
    w.promised |= {("worker", "staged"), ("other", "staged")}
    w.serve(other, "other")


@scenario()
def service_dies_in_flight(w):
    w.start()
    client, first, second = w.peer(), w.peer("worker", credit=1), None
    yield
    w.publish(client, "job.x", ["worker"])
    w.delivery(first, "worker")
    first.close()
    second = w.peer("worker")
    w.serve(second, "worker")
    w.done(1)


@scenario()
def backlog(w):
    """What lies on disk is read as the service takes it."""
    w.start()
    with w.peer() as client:
        sent = [w.publish(client, "job.x", ["worker"], wait=False) for _ in range(20)]
        for number, id in sent:
            w.acknowledged(client, number, id, ["worker"])
    w.again()
    yield
    w.serve(w.peer("worker", credit=4), "worker", 20)
    w.done(20)


@scenario(more={"services": {"open": True, "worker": {"order_by": "header:key", "order": "strict"}}})
def lanes(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    ids = [w.publish(client, "job.x", ["worker"], headers={"key": key}) for key in "aab"]
    seen, held = [], {}
    for _ in range(2):
        got = w.delivery(worker, "worker")
        held[got.headers["id"]] = got
    if set(held) != {ids[0], ids[2]}:
        raise Wrong(f"not the first of each key: {set(held)}")
    for id in (ids[2], ids[0]):
        w.settle(worker, held[id], "worker")
    got = w.delivery(worker, "worker")
    seen.append(got.headers["id"])
    w.settle(worker, got, "worker")
    w.done(3)
    if seen != [ids[1]]:
        raise Wrong(f"then {seen}")


# ---------------------------------------------------------------- dead letters

def with_dead_letters(w, count=2):
    """Their ids."""
    w.start()
    with w.peer() as client, w.peer("worker") as worker:
        for _ in range(count):
            w.publish(client, "job.x", ["worker"])
            got = w.delivery(worker, "worker")
            worker.send("ERR", got.id, "failed", {"retry": "no"}, b"never")
        w.until(lambda: w.messages()["dead"] == count, "dead letters")
        w.audit()  # comes after what was handed to the store before
    w.dead = {id for _, id in w.promised}
    return sorted(w.dead)


@scenario()
def dlq_ls_and_show(w):
    ids = with_dead_letters(w)
    yield
    if {row["id"] for row in w.admin("dlq.ls")["items"]} != set(ids):
        raise Wrong("not all are listed")
    if w.admin("dlq.ls", group=True)["total"] != 2:
        raise Wrong("not all are grouped")
    if w.admin("dlq.show", id=ids[0])["body"].encode() not in w.bodies[ids[0]]:
        raise Wrong("shown altered")


@scenario()
def dlq_redrive(w):
    ids = with_dead_letters(w)
    yield
    if w.admin("dlq.redrive", route="jobs")["count"] != 2:
        raise Wrong("not all are redriven")
    w.serve(w.peer("worker"), "worker", len(ids))
    w.done(2)


@scenario()
def dlq_purge(w):
    ids = with_dead_letters(w)
    yield
    w.dead.discard(ids[0])  # from now on it may be gone
    w.promised.discard(("worker", ids[0]))
    if w.admin("dlq.purge", id=ids[0])["count"] != 1:
        raise Wrong("it is not purged")
    w.gone.add(ids[0])


@scenario()
def dlq_edit(w):
    ids = with_dead_letters(w)
    yield
    w.bodies[ids[0]].add(b"edited")
    if w.admin("dlq.edit", id=ids[0], body="edited")["count"] != 1:
        raise Wrong("it is not edited")
    w.bodies[ids[0]] = {b"edited"}
    if w.admin("dlq.redrive", id=ids[0])["count"] != 1:
        raise Wrong("it is not redriven")
    w.dead.discard(ids[0])
    w.serve(w.peer("worker"), "worker")


# ---------------------------------------------------------------- event logs

FACTS = {"routes": [{"name": "facts", "from": "local", "match": "fact.>", "log": {"name": "facts", "keep": "unlimited"}},
                    {"name": "kept", "from": "local", "match": "kept.>", "to": "worker", "durable": True,
                     "log": {"name": "facts", "keep": "unlimited"}}]}


@scenario(more=FACTS)
def log_append(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    for version in range(3):
        w.append(client, "fact.a", b"fact %d" % version, {"key": "a", "expected-version": str(version)})
    w.bodies["kept"] = {b"kept"}
    w.append(client, "kept.a", b"kept", {"id": "kept"})
    w.promised.add(("worker", "kept"))
    w.serve(worker, "worker")


@scenario(more=FACTS)
def log_read(w):
    w.start()
    client = w.peer()
    for i in range(4):
        w.append(client, "fact.a", b"fact %d" % i * 200)
    yield
    if len(w.read_log(client)) != 4:
        raise Wrong("not all are read")


# ---------------------------------------------------------------- requests, and what is not kept

@scenario(durable=False)
def request(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    number = client.start("REQ", "plain.x", b"question")
    got = worker.expect("REQ")
    worker.send("REP", got.id, body=b"answer to " + got.body)
    if client.expect("REP").body != b"answer to question":
        raise Wrong("altered")
    client.send("PUB", number + 1, "nowhere", None, b"x")
    if client.expect("ERR").subject != "no-route":
        raise Wrong("routed")


@scenario(durable=False)
def streamed_reply(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    client.start("REQ", "plain.x", b"question")
    got = worker.expect("REQ")
    for i in range(3):
        worker.send("MORE", got.id, body=b"%d" % i)
        if client.expect("MORE").body != b"%d" % i:
            raise Wrong("altered")
    worker.send("REP", got.id, body=b"end")
    client.expect("REP")


@scenario(durable=False)
def request_with_timeout_is_cancelled(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    client.start("REQ", "plain.x", b"question", {"timeout": "10ms"})
    got = worker.expect("REQ")
    if client.expect("ERR").subject != "timeout":
        raise Wrong("no time-out")
    worker.expect("CANCEL")
    worker.send("REP", got.id, body=b"late")


@scenario(durable=False)
def subscribe(w):
    w.start()
    client, one, two = w.peer(), w.peer("one"), w.peer("two")
    yield
    one.start("SUB", "news.>", headers={"group": "g"})
    one.expect("OK")
    number = two.start("SUB", "news.*")
    two.expect("OK")
    client.start("PUB", "news.x", b"read all about it")
    for peer in (one, two):
        got = peer.expect("PUB")
        peer.send("OK", got.id)
    client.expect("OK")
    two.send("UNSUB", number)
    two.expect("OK")


@scenario(durable=False)
def bad_frame(w):
    w.start()
    client = w.peer()
    yield
    client.send("PING", 1)
    client.expect("PONG")
    client.raw(b"NONSENSE 1 2\n")
    if client.expect("ERR").subject != "bad-frame":
        raise Wrong("taken for a frame")
    try:
        while True:
            client.recv()
    except Ended:
        pass


# ---------------------------------------------------------------- NestJS over TCP and TLS

def nest(w, tls=False, durable=False):
    scheme, more = ("tls", {"tls": "mesh"}) if tls else ("tcp", {})
    profile = {"tls": {"mesh": w.lane.certificates.profile("bellhop", verify="mutual", peers=["spiffe://test/*"])}}
    return {"endpoints": {"edge": {"listen": f"{scheme}://127.0.0.1:{w.lane.port}", **more}},
            "routes": [{"from": "edge", "match": {"cmd": "sum"}, "to": "worker"},
                       {"name": "jobs", "from": "edge", "match": "job.*", "to": "worker", "durable": durable}],
            **(profile if tls else {})}


class NestPeer(harness.NestRaw):
    def __init__(self, w, **more):
        try:
            super().__init__(timeout=PATIENCE, **more)
        except OSError as error:
            raise Ended(str(error)) from None
        w.peers.append(self)

    def send(self, packet):
        try:
            super().send(packet)
        except OSError as error:
            raise Ended(str(error)) from None

    def recv(self, timeout=PATIENCE):
        try:
            got = super().recv(timeout)
        except TimeoutError:
            raise Wrong("a NestJS peer waits for an answer") from None
        except OSError as error:
            raise Ended(str(error)) from None
        if got is None:
            raise Ended("the end of the connection")
        return got


def ask_sum(w, worker, caller):
    """A request whose answer needs both ends: the service's part is done before the answer is waited for."""
    caller.send({"pattern": {"cmd": "sum"}, "data": [1, 2], "id": "s"})
    got = worker.expect("REQ")
    worker.send("REP", got.id, body=str(sum(json.loads(got.body))).encode())
    reply = caller.recv()
    if reply.get("response") != 3 and not (reply.get("err") and w.failed()):
        raise Wrong(f"answer {reply}")


@scenario(durable=False, more=nest)
def nest_request(w):
    w.start()
    worker = w.peer("worker")
    yield
    caller = NestPeer(w, port=w.lane.port)
    ask_sum(w, worker, caller)


@scenario(more=lambda w: nest(w, durable=True))
def nest_event(w):
    """An event has no acknowledgement upstream: nothing is promised, only that it is not altered."""
    w.start()
    worker = w.peer("worker")
    w.anonymous = {b'"work"'}
    yield
    caller = NestPeer(w, port=w.lane.port)
    caller.send({"pattern": "job.x", "data": "work"})
    got = w.delivery(worker, "worker")
    w.settle(worker, got, "worker")
    w.done(1)


@scenario(durable=False, more=lambda w: nest(w, tls=True))
def tls_request(w):
    w.start()
    worker = w.peer("worker")
    yield
    caller = NestPeer(w, port=w.lane.port, tls=w.lane.certificates.context("peer"))
    ask_sum(w, worker, caller)


def stock(w):
    w.listener = w.listener if hasattr(w, "listener") else socket.create_server(("127.0.0.1", 0))
    w.listener.settimeout(PATIENCE)
    return {"endpoints": {"stock": {"connect": f"tcp://localhost:{w.listener.getsockname()[1]}"}},
            "routes": [{"from": "local", "match": "stock.>", "to": "stock"}]}


@scenario(durable=False, more=stock)
def call_a_nest_server(w):
    yield
    w.start()
    client = w.peer()
    client.start("REQ", "stock.reserve", b'{"n":1}')
    try:
        server = NestPeer(w, sock=w.listener.accept()[0])
    except TimeoutError:
        raise (Ended if w.daemon.process.poll() is not None else Wrong)("it does not call") from None
    asked = server.recv()
    server.send({"response": "yes", "isDisposed": True, "id": asked["id"]})
    if client.expect("REP").body != b'"yes"':
        raise Wrong("altered")


# ---------------------------------------------------------------- operations

@scenario(more={"routes": [{"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True}]})
def reload(w):
    w.start()
    client = w.peer()
    w.daemon.write({**w.scenario.config(w), "node": "renamed", "routes": [
        {"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True},
        {"name": "more", "from": "local", "match": "more.>", "to": "worker", "durable": True}]})
    yield
    w.admin("reload")
    w.publish(client, "more.x", ["worker"])
    w.publish(client, "job.x", ["worker"])


def page(w, path):
    try:
        with socket.create_connection(("127.0.0.1", w.lane.port), PATIENCE) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while piece := s.recv(65536):
                data += piece
    except TimeoutError:
        raise Wrong(f"no answer to GET {path}") from None
    except OSError as error:
        raise Ended(str(error)) from None
    if not data:
        raise Ended("no page")
    if not data.startswith(b"HTTP/1.1 200"):
        raise Wrong(f"{path}: {data[:80]}")
    return data


@scenario(more=lambda w: {"admin": {"http": f"127.0.0.1:{w.lane.port}"}})
def status_and_pages(w):
    w.start()
    with w.peer() as client:
        w.publish(client, "job.x", ["worker"])
    yield
    if w.messages()["accepted"] != 1:
        raise Wrong("not counted")
    if len(w.admin("routes")["routes"]) != 3:
        raise Wrong("not all routes")
    w.admin("explain", subject="job.x")
    for path in ("/livez", "/readyz", "/metrics"):
        page(w, path)


@scenario(more={"routes": [{"name": "jobs", "from": "local", "match": "job.>", "to": "worker", "durable": True,
                            "dedupe": {"by": "header:order", "window": "1h"}}]})
def audit(w):
    w.start()
    with w.peer() as client:
        w.publish(client, "job.x", ["worker"], headers={"order": "7"})
        w.publish(client, "job.x", ["worker"], headers={"delay": "1ms"})
    yield
    w.audit()


@scenario()
def tap(w):
    w.start()
    client, worker = w.peer(), w.peer("worker")
    yield
    watcher = Peer(w, w.daemon.admin_socket, "bellhop")
    watcher.start("REQ", "tap", json.dumps({"match": "job.>", "bodies": True}))
    w.publish(client, "job.x", ["worker"])
    w.serve(worker, "worker")
    line = json.loads(watcher.expect("MORE").body)
    if line.get("subject") != "job.x":
        raise Wrong(f"tapped {line}")
