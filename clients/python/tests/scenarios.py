"""What the fake daemon does in the tests that both clients share: one script per scenario. Each is run by
test_plain.py and test_async.py against its own client."""
import json
import logging
import threading
import time

logging.getLogger("bellhop").addHandler(logging.NullHandler())


def sums(c):
    c.hello()
    for i in range(1, 4):
        c.send("REQ", i, '{"cmd":"sum"}', {"attempt": "1"}, b"[1,2,%d]" % i)
    for i in range(1, 4):
        verb, ident, _, headers, body = c.read("REP")
        assert (ident, json.loads(body), headers["content-type"]) == (i, 3 + i, "application/json")
    c.send("PUB", 9, '{"cmd":"sum"}', {}, b"[1]")
    assert c.read("OK")[1] == 9


def outcomes(c):
    """One delivery per kind of outcome; checks what comes back."""
    c.hello()

    def ask(subject, verb="REQ", body=b"", **headers):
        c.send(verb, 5, subject, headers, body)
        frame = c.read()
        assert frame[1] == 5, frame
        return frame
    assert ask("retry")[2:4] == ("failed", {"retry": "after 1500ms", "content-type": "text/plain; charset=utf-8"})
    assert ask("retry")[4] == b"later"
    assert ask("again")[2:4] == ("failed", {"retry": "yes", "content-type": "text/plain; charset=utf-8"})
    assert ask("reject")[2:] == ("invalid", {"retry": "no", "content-type": "application/json"},
                                 '{"why":"ż"}'.encode())
    assert ask("release")[:5] == ("ERR", 5, "release", {}, b"")
    boom = ask("boom")
    assert boom[2] == "failed" and boom[4] == b"ValueError: boom" and "retry" not in boom[3], boom
    assert ask("no.such")[2:4] == ("no-route", {"retry": "no", "content-type": "text/plain; charset=utf-8"})
    assert ask("boom", "PUB")[0] == "ERR"
    assert ask("none")[:5] == ("REP", 5, "", {}, b"")
    assert ask("text")[3:] == ({"content-type": "text/plain; charset=utf-8"}, "tekst ż".encode())
    assert ask("bytes")[3:] == ({}, b"\x00\x01")
    assert ask("echo", **{"x-a": "ż"})[3]["x-a"] == "ż"
    bad = {"content-type": "application/json"}
    assert ask("echo", body=b"{", **bad)[2] == "invalid"
    assert ask("big")[2] == "too-large"
    assert ask("filter.a.b")[4] == b"filter.a.b"
    c.send("PUB", 0, "echo")                      # no answer is asked for
    c.send("PING", 77)
    assert c.read("PONG")[1] == 77
    c.send("FUTURE", 1, "verb")                   # a verb of a later version
    assert ask("attempt", attempt="3", timeout="1500ms")[4] == b"[3,1.5]"


def odd_errors(c):
    """What a handler raises is answered whatever it holds; some of it comes from who asked."""
    c.hello()
    c.send("REQ", 1, "odd", {}, b'"\\ud800"')       # JSON's way to a text that is no UTF-8
    for i in range(2, 5):
        c.send("REQ", i, "odd", {}, b"%d" % i)
    frames = sorted((c.read("ERR") for _ in range(4)), key=lambda f: f[1])
    assert [f[2] for f in frames] == ["failed", "failed", "failed", "failed"], frames
    assert b"ud800" in frames[0][4] and frames[1][4] == b"{2}" and frames[3][4] == b"four", frames
    c.send("REQ", 9, "text")
    assert c.read("REP")[1] == 9


def lost_in_a_stream(c):
    """The connection ends while a handler makes item after item."""
    c.hello()
    c.send("REQ", 1, "endless")
    c.read("MORE")


def stream(c):
    c.hello()
    c.send("REQ", 1, "count", {}, b"3")
    frames = [c.read() for _ in range(4)]
    assert [f[0] for f in frames] == ["MORE", "MORE", "MORE", "REP"], frames
    assert [f[4] for f in frames] == [b"1", b"2", b"3", b""], frames
    c.send("REQ", 2, "broken")
    assert [c.read()[0] for _ in range(2)] == ["MORE", "ERR"]
    c.send("PUB", 3, "count", {}, b"3")           # items of an event go nowhere
    assert c.read()[:2] == ("OK", 3)


def staged(c):
    c.hello()
    for fail, final in ((b"false", "REP"), (b"true", "ERR")):
        c.send("REQ", 4, "stage", {}, fail)
        wait = c.read("WAIT")
        assert wait[1] == 4
        pub = c.read("PUB")
        assert pub[2] == "audit" and pub[3]["with"] == "4" and pub[1] > 0, pub
        assert c.read(final)[1] == 4
        if final == "REP":
            c.send("OK", pub[1])
        else:
            c.send("ERR", pub[1], "failed")
    c.send("REQ", 5, "fates")
    assert json.loads(c.read("REP")[4]) == ["ok", "failed"]


def caller(c):
    """Answers a caller by the subjects it uses."""
    name = c.hello()
    assert name[2] == "unit" and name[3]["version"] == "1" and name[3]["credit"] == "7", name
    assert name[3]["token"] == "s3cret" and name[3]["instance"] == "one", name
    seen = []
    while True:
        frame = c.read()
        if frame is None:
            return
        verb, ident, subject, headers, body = frame
        seen.append((verb, subject))
        if verb == "BYE":
            continue
        if verb == "PING":
            c.send("PONG", ident)
        elif subject == "sum":
            c.send("REP", ident, "", {"x-took": "3"}, b"%d" % sum(json.loads(body)))
        elif subject == "stream":
            for i in (b"1", b"2"):
                c.send("MORE", ident, "", {}, i)
            c.send("REP", ident, "", {}, body)
        elif subject == "error":
            c.send("ERR", ident, "no-route", {"retry": "no"}, b'{"a":1}')
        elif subject == "later":
            c.send("ERR", ident, "overloaded", {"retry": "after 2s"}, b"busy")
        elif subject == "silent":
            assert headers["timeout"] in ("100ms", "99ms"), headers
            assert c.read("CANCEL")[1] == ident
            c.send("REP", ident, "", {}, b"too late")
        elif subject == "endless":
            c.send("MORE", ident, "", {}, b"1")
            assert c.read("CANCEL")[1] == ident
        elif verb == "PUB" and ident:
            c.send(*(("OK", ident) if subject == "event" else ("ERR", ident, "denied", {}, b"not you")))
        elif verb == "PUB":
            assert subject == "forget" and body == b"x"
        else:
            raise AssertionError(frame)


def subscriptions(c):
    c.hello()
    for group in ("workers", None):
        verb, ident, subject, headers, _ = c.read("SUB")
        assert headers.get("group") == group, headers
        c.send("OK", ident)
        if group:
            first = ident
    c.send("PUB", 1, "order.new", {}, b"1")
    c.send("PUB", 2, "audit.x.y", {}, b"2")
    assert [c.read("OK")[1], c.read("OK")[1]] == [1, 2]
    c.send("PUB", 3, "stop")
    assert c.read("OK")[1] == 3
    unsub = c.read("UNSUB")
    assert unsub[1] == first
    c.send("OK", first)


def resubscribed(c):
    """The second connection: HELLO and the subscription left come again."""
    assert c.hello()[3]["credit"] == "64"
    sub = c.read("SUB")
    assert sub[2] == "audit.>", sub
    c.send("OK", sub[1])
    c.send("PUB", 1, "audit.again", {}, b"3")
    assert c.read("OK")[1] == 1
    c.bye()


def dies_in_request(c):
    c.hello()
    c.read("REQ")


def answers_sum(c):
    c.hello()
    frame = c.read("REQ")
    c.send("REP", frame[1], "", {}, b"6")
    c.bye()


def denied(c):
    c.read("HELLO")
    c.send("ERR", 0, "denied", {}, b"wrong token")


def draining(c):
    c.read("HELLO")
    c.send("ERR", 0, "draining")


def bad_frame(c):
    c.hello()
    c.sock.sendall(b"REP x 0 0\n")
    error = c.read("ERR")
    assert error[1:3] == (0, "bad-frame") and b"offset" in error[4], error
    assert c.read() is None


def daemon_bye(c):
    """The daemon drains while a delivery is being handled: it is answered, then the client leaves."""
    c.hello()
    c.send("REQ", 1, "slow", {}, b"0.2")
    time.sleep(0.05)
    c.send("BYE")
    assert c.read("REP")[1] == 1
    assert c.read() is None


def drain_on_sigterm(signal_me):
    def script(c):
        c.hello()
        c.send("REQ", 1, "slow", {}, b"0.3")
        time.sleep(0.1)
        signal_me()
        frames = []
        while True:
            frame = c.read()
            if frame is None:
                break
            frames.append(frame[0])
            if frame[0] == "BYE":
                c.send("REQ", 2, "slow", {}, b"0")     # was under way when BYE was read
            elif frame[0] == "PING":
                c.send("PONG", frame[1])
        assert sorted(frames) == ["BYE", "PING", "REP", "REP"], frames
    return script


def more_credit(c):
    assert c.hello()[3]["credit"] == "8"
    assert c.read("CREDIT")[1] == 5


def more_credit_again(c):
    assert c.hello()[3]["credit"] == "13"
    c.bye()


def cancels(c):
    """CANCEL of one that waits or works still gets its one answer."""
    c.hello()
    c.send("REQ", 1, "slow", {}, b"0.2")
    c.send("REQ", 2, "slow", {}, b"1")
    c.send("CANCEL", 2)
    c.send("CANCEL", 99)
    answers = sorted((c.read() for _ in range(2)), key=lambda f: f[1])
    assert [(f[0], f[1]) for f in answers] == [("REP", 1), ("ERR", 2)], answers


def flood(c, count=2000):
    """Many deliveries in pieces that split anywhere, answers read by another thread at the same time."""
    c.hello()
    errors = []

    def read():
        try:
            for i in range(1, count + 1):
                assert c.read("REP")[1] == i
        except Exception as e:
            errors.append(e)
    reader = threading.Thread(target=read)
    reader.start()
    data = b"".join(b"REQ %d 5 8 echo\nx: 1\n%08d" % (i, i) for i in range(1, count + 1))
    for i in range(0, len(data), 997):
        c.sock.sendall(data[i:i + 997])
    reader.join(10)
    assert not reader.is_alive() and not errors, errors


def greedy(c):
    """Does not read until it has sent 8 MiB of requests whose answers are as large: nobody may deadlock."""
    c.hello()
    body = bytes(512 * 1024)
    sender = threading.Thread(target=lambda: [c.send("REQ", i, "echo", {"content-type": "a/b"}, body) for i in range(1, 17)])
    sender.start()
    time.sleep(0.3)
    for i in range(1, 17):
        frame = c.read("REP")
        assert frame[1] == i and frame[4] == body
    sender.join(10)


FLOODED = []


def flood_of_items(c):
    """20,000 items of 1 KiB; FLOODED says how many have been taken from us."""
    FLOODED[:] = []
    c.hello()
    req = c.read("REQ")[1]
    for i in range(20000):
        c.send("MORE", req, body=b"%-1024d" % i)
        FLOODED.append(i)
    c.send("REP", req)
    c.bye()


def endless_items(c):
    """More than a client lets wait, while it waits for the answer of another request."""
    c.hello()
    asked = {}
    while len(asked) < 2:
        _, number, subject, *_ = c.read("REQ")
        asked[subject] = number
    piece = b"".join(b"MORE %d 0 %d\n%d" % (asked["flood"], len(str(i)), i) for i in range(70000))
    c.sock.sendall(piece)
    assert c.read("CANCEL")[1] == asked["flood"]
    c.send("REP", asked["other"], body=b"1")
    c.bye()
