"""What every client has to do. A scenario is function(t): t.ask(do, …) commands the client under test (service
`unit`), t.ref is the other service, t.tape the frames between the client and the daemon, t.daemon the daemon."""
import json
import signal
import time

from raw import Peer, header

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def refuse(peer, frame):
    peer.send("ERR", frame.id, "invalid", [("retry", "no")], b"no good")


def echo(peer, frame):
    peer.send("REP", frame.id, "", [h for h in frame.headers if h[0].startswith("x-")], frame.body)


def count(peer, frame):
    for i in range(int(frame.body)):
        peer.send("MORE", frame.id, "", [], b"%d" % (i + 1))
    peer.send("REP", frame.id)


def flood(peer, frame):
    for i in range(int(frame.body)):
        peer.send("MORE", frame.id, "", [], b"%-1024d" % i)
    peer.send("REP", frame.id)


def note(peer, frame):
    peer.deliveries.append(frame)
    if frame.id:
        peer.send("OK", frame.id)


# What `ref` serves; `ref.silent` never answers.
REF = {"ref.echo": echo, "ref.count": count, "ref.flood": flood, "ref.fail": refuse, "ref.silent": lambda peer, frame: None,
       "ref.event.": note, "żółw.": echo}


def expect(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def answered(frame, body):
    assert frame.verb == "REP", f"got {frame.verb} {frame.subject} {frame.body[:200]!r}"
    expect(frame.body, body)


def deliveries(t, subject, since):
    return [f for verb in ("REQ", "PUB") for f in t.tape.frames(">", verb, since) if f.subject == subject]


def events(t, wanted, timeout=5):
    """What the client noted, waiting until so many are there."""
    got, until = [], time.monotonic() + timeout
    while True:
        got += t.ask("events")["events"]
        if len(got) >= wanted or time.monotonic() > until:
            return got
        time.sleep(0.02)


def seen(t, subject, timeout=5):
    """The events of a subject that ref was given."""
    until = time.monotonic() + timeout
    while True:
        got = [f for f in t.ref.deliveries if f.subject == subject]
        if got or time.monotonic() > until:
            return got
        time.sleep(0.005)


@scenario
def hello(t):
    side, _, first = t.tape.log[0]
    expect((side, first.verb, first.id, first.subject), ("<", "HELLO", 0, "unit"))
    expect((header(first, "version"), header(first, "credit")), ("1", "4"))
    answer = t.tape.wait(">", "HELLO")[0]
    expect(header(answer, "version"), "1")
    for name in ("node", "limits.body", "session"):
        assert header(answer, name), f"HELLO of the daemon has no {name}: {answer.headers}"


@scenario
def serve_request(t):
    answered(t.ref.call("REQ", '{"cmd":"sum"}', b"[1,2,3]"), b"6")


@scenario
def serve_event(t):
    expect(t.ref.call("PUB", "conf.event.a", b"hi").verb, "OK")
    expect(events(t, 1), ["conf.event.a hi"])


@scenario
def request(t):
    expect(t.ask("request", subject="ref.echo", body="[1,2]")["body"], "[1,2]")


@scenario
def no_route(t):
    got = t.ask("request", subject="nowhere.at.all")
    expect((got["ok"], got.get("code")), (False, "no-route"))


@scenario
def publish_with_ack(t):
    mark = t.tape.mark()
    expect(t.ask("publish", subject="ref.event.ack", body="a", ack=True), {"ok": True})
    expect([f.body for f in seen(t, "ref.event.ack")], [b"a"])
    pub = t.tape.frames("<", "PUB", mark)[0]
    assert pub.id > 0 and pub.id in [f.id for f in t.tape.frames(">", "OK", mark)], "no OK under the id of the PUB"


@scenario
def publish_without_ack(t):
    mark = t.tape.mark()
    expect(t.ask("publish", subject="ref.event.noack", body="b"), {"ok": True})
    expect([f.body for f in seen(t, "ref.event.noack")], [b"b"])
    expect(t.tape.frames("<", "PUB", mark)[0].id, 0)


@scenario
def stream_served(t):
    items, last = t.ref.final(t.ref.ask("REQ", "conf.count", b"3"))
    expect(last.verb, "REP")
    expect(items + ([last.body] if last.body else []), [b"1", b"2", b"3"])


@scenario
def stream_asked(t):
    expect(t.ask("stream", subject="ref.count", body="3").get("items"), ["1", "2", "3"])


@scenario
def slow_reader(t):
    """Items of a stream that its reader does not take wait at the daemon and at their service, not in the client."""
    mark = t.tape.mark()
    t.send("stream", subject="ref.flood", body="10000", timeout_ms=20000, pause_ms=700)
    t.tape.wait(">", "MORE", mark)
    time.sleep(0.4)
    taken = len(t.tape.frames(">", "MORE", mark))
    assert taken < 5000, f"{taken} of 10,000 items of 1 KiB were taken while the first one was worked on"
    expect([int(i) for i in t.receive().get("items", [])], list(range(10000)))


@scenario
def error_served(t):
    mark = t.tape.mark()
    got = t.ref.call("REQ", "conf.fail")
    expect((got.verb, got.subject), ("ERR", "invalid"))
    expect(len(deliveries(t, "conf.fail", mark)), 1)
    sent = [f for f in t.tape.frames("<", "ERR", mark)]
    expect([(f.subject, header(f, "retry")) for f in sent], [("invalid", "no")])


@scenario
def error_asked(t):
    got = t.ask("request", subject="ref.fail")
    expect((got["ok"], got.get("code"), got.get("retry")), (False, "invalid", "no"))


@scenario
def retry_then_success(t):
    mark = t.tape.mark()
    answered(t.ref.call("REQ", "conf.flaky"), b"2")
    expect([header(f, "attempt") for f in deliveries(t, "conf.flaky", mark)], ["1", "2"])


@scenario
def release(t):
    mark = t.tape.mark()
    answered(t.ref.call("REQ", "conf.release"), b"1")
    expect(len(deliveries(t, "conf.release", mark)), 2)
    expect([(f.subject, f.body) for f in t.tape.frames("<", "ERR", mark)], [("release", b"")])


@scenario
def wait_extends(t):
    mark = t.tape.mark()
    answered(t.ref.call("REQ", "conf.extend", b"1200", [("timeout", "5000ms")]), b"done")
    expect(len(deliveries(t, "conf.extend", mark)), 1)
    assert len(t.tape.frames("<", "WAIT", mark)) >= 2, "fewer than 2 WAIT"


@scenario
def cancel_on_timeout(t):
    mark, before = t.tape.mark(), len(t.ref.frames)
    got = t.ask("request", subject="ref.silent", timeout_ms=200)
    expect((got["ok"], got.get("code")), (False, "timeout"))
    sent = t.tape.frames("<", "REQ", mark)[0]
    assert header(sent, "timeout") in ("199ms", "200ms"), f"timeout header {header(sent, 'timeout')}"
    # The daemon's own time-out runs at the same time; one of the two comes first.
    until = time.monotonic() + 2
    while True:
        cancelled = sent.id in [f.id for f in t.tape.frames("<", "CANCEL", mark)]
        if cancelled or sent.id in [f.id for f in t.tape.frames(">", "ERR", mark)]:
            break
        assert time.monotonic() < until, "neither CANCEL from the client nor ERR from the daemon"
        time.sleep(0.01)
    while cancelled and not [f for f in t.ref.frames[before:] if f.verb == "CANCEL"]:
        assert time.monotonic() < until, "CANCEL did not reach the service"
        time.sleep(0.01)


@scenario
def cancel_served(t):
    mark = t.tape.mark()
    ident = t.ref.ask("REQ", "conf.slow", b"200")
    delivery = t.tape.wait(">", "REQ", mark)[0]
    t.ref.send("CANCEL", ident)
    t.tape.wait(">", "CANCEL", mark)
    answered(t.ref.call("REQ", '{"cmd":"sum"}', b"[1,1]"), b"2")
    time.sleep(0.3)
    finals = [f for verb in ("REP", "ERR") for f in t.tape.frames("<", verb, mark) if f.id == delivery.id]
    assert len(finals) <= 1, f"{len(finals)} final answers to a cancelled delivery"


@scenario
def staged_sent(t):
    mark = t.tape.mark()
    answered(t.ref.call("REQ", "conf.stage", b"ref.event.staged"), b"done")
    expect([f.body for f in seen(t, "ref.event.staged")], [b"staged"])
    pub = t.tape.frames("<", "PUB", mark)[0]
    delivery = deliveries(t, "conf.stage", mark)[0]
    expect(header(pub, "with"), str(delivery.id))
    if pub.id:
        t.tape.wait(">", "OK", mark)


@scenario
def staged_dropped(t):
    mark = t.tape.mark()
    expect(t.ref.call("REQ", "conf.stagefail", b"ref.event.dropped").verb, "ERR")
    expect(seen(t, "ref.event.dropped", 0.3), [])
    pub = t.tape.frames("<", "PUB", mark)[0]
    if pub.id:
        expect([f.id for f in t.tape.wait(">", "ERR", mark)], [pub.id])


@scenario
def subscribe_in_a_group(t):
    mark = t.tape.mark()
    expect(t.ask("subscribe", filter="topic.*", group="workers"), {"ok": True})
    expect(header(t.tape.frames("<", "SUB", mark)[0], "group"), "workers")
    other = Peer(t.daemon.socket, "unit", serve={"topic.": note})
    try:
        expect(other.call("SUB", "topic.*", b"", [("group", "workers")]).verb, "OK")
        for i in range(10):
            t.ref.call("PUB", f"topic.{i}", b"%d" % i)
        time.sleep(0.1)
        mine, theirs = events(t, 0, 0), [f"{f.subject} {f.body.decode()}" for f in other.deliveries]
        expect(sorted(mine + theirs), [f"topic.{i} {i}" for i in range(10)])
    finally:
        other.close()
    expect(t.ref.call("PUB", "topic.alone", b"1").verb, "OK")
    expect(events(t, 1), ["topic.alone 1"])


@scenario
def unsubscribe(t):
    mark = t.tape.mark()
    expect(t.ask("unsubscribe", filter="topic.*"), {"ok": True})
    expect(len(t.tape.frames("<", "UNSUB", mark)), 1)
    t.ref.call("PUB", "topic.gone", b"1")
    time.sleep(0.1)
    expect(t.ask("events")["events"], [])


@scenario
def big_body(t):
    got = t.ask("request", subject="ref.echo", fill=1 << 20)
    expect((got["ok"], got.get("size")), (True, 1 << 20))
    body = bytes(range(256)) * 4096
    answered(t.ref.call("REQ", "conf.echo", body), body)


@scenario
def too_large(t):
    connections = t.tape.connections
    got = t.ask("publish", subject="ref.event.large", fill=(1 << 20) + 1, ack=True)
    expect((got["ok"], got.get("code")), (False, "too-large"))
    expect(t.ask("request", subject="ref.echo", body="x")["body"], "x")
    expect(t.tape.connections, connections)


@scenario
def credit(t):
    mark = t.tape.mark()
    asked = [t.ref.ask("REQ", "conf.slow", b"20", [("timeout", "5000ms")]) for _ in range(12)]
    for ident in asked:
        answered(t.ref.final(ident)[1], b"done")
    out, most = set(), 0
    for side, _, frame in t.tape.log[mark:]:
        if side == ">" and frame.verb in ("REQ", "PUB"):
            out.add(frame.id)
            most = max(most, len(out))
        elif side == "<" and frame.verb in ("REP", "OK", "ERR"):
            out.discard(frame.id)
    assert 1 <= most <= 4, f"{most} unanswered deliveries, the credit is 4"


@scenario
def not_ascii(t):
    got = t.ask("request", subject="żółw.🐢", body="zażółć 🐢", headers="x-name: gęślą jaźń 🐢\n")
    expect((got.get("body"), "x-name: gęślą jaźń 🐢\n" in got.get("headers", "")), ("zażółć 🐢", True))
    got = t.ref.call("REQ", "zażółć.🐢", "ąę".encode(), [("x-name", "gęślą 🐢")])
    answered(got, "ąę".encode())
    expect(header(got, "x-name"), "gęślą 🐢")


@scenario
def headers(t):
    sent = [("x-a", "1"), ("x-b", "with: colon and  spaces"), ("x-a", "2"), ("x-empty", "")]
    got = t.ask("request", subject="ref.echo", body="x", headers="".join(f"{n}: {v}\n" for n, v in sent))
    lines = [h for h in got.get("headers", "").split("\n") if h.startswith("x-")]
    expect([tuple(h.split(":", 1)) for h in lines], [(n, " " + v) for n, v in sent])
    reply = t.ref.call("REQ", "conf.echo", b"x", sent)
    expect([h for h in reply.headers if h[0].startswith("x-")], sent)


@scenario
def pieces(t):
    """Every byte boundary is a place where a read may end."""
    t.tape.chop = 5
    try:
        answered(t.ref.call("REQ", '{"cmd":"sum"}', json.dumps(list(range(50))).encode()), b"1225")
        items = t.ask("stream", subject="ref.count", body="20").get("items")
        expect(items, [str(i + 1) for i in range(20)])
        expect(t.ask("request", subject="ref.echo", body="y" * 500, headers="x-a: 1\n")["body"], "y" * 500)
    finally:
        t.tape.chop = 0


@scenario
def daemon_killed(t):
    """A request in flight fails with `unavailable`; then the client comes back by itself and serves."""
    mark = t.tape.mark()
    t.send("request", subject="ref.silent", timeout_ms=20000)
    t.tape.wait("<", "REQ", mark)
    time.sleep(0.05)
    t.daemon.stop(signal.SIGKILL)
    got = t.receive()
    expect((got["ok"], got.get("code")), (False, "unavailable"))
    back(t)


@scenario
def daemon_restarts(t):
    """SIGTERM drains the daemon (BYE): the client leaves and comes back with its subscriptions."""
    expect(t.ask("subscribe", filter="again.*"), {"ok": True})
    mark = t.tape.mark()
    expect(t.daemon.stop(), 0)
    expect(len(t.tape.frames(">", "BYE", mark)), 1)
    back(t)
    t.tape.wait("<", "SUB", mark)
    time.sleep(0.05)
    t.ref.call("PUB", "again.b", b"1")
    expect(events(t, 1), ["again.b 1"])


def back(t):
    """The daemon starts again; both services work again without being told to."""
    connections = t.tape.connections
    t.new_daemon()
    until = time.monotonic() + 10
    while t.tape.connections == connections:
        t.poke()
        assert time.monotonic() < until, "the client did not come back in 10 s"
        time.sleep(0.02)
    time.sleep(0.1)
    answered(t.ref.call("REQ", '{"cmd":"sum"}', b"[1,2,3]", [("timeout", "5000ms")]), b"6")
    expect(t.ask("request", subject="ref.echo", body="back")["body"], "back")


@scenario
def drain(t):
    """SIGTERM: BYE, what is taken is finished, exit 0."""
    mark = t.tape.mark()
    ident = t.ref.ask("REQ", "conf.slow", b"300")
    t.tape.wait(">", "REQ", mark)
    time.sleep(0.05)
    t.terminate()
    answered(t.ref.final(ident)[1], b"done")
    expect(t.exit_status(5), 0)
    expect(len(t.tape.frames("<", "BYE", mark)), 1)


@scenario
def well_formed(t):
    """Nothing that either side sent in all of this was anything but a frame."""
    expect(t.tape.bad, [])
