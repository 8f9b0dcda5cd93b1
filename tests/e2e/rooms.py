"""The handlers of nest/server.js once more, as a local service: what a NestJS caller sees must not
depend on which of the two answers."""
import json
import time

from harness import Service, policy

KAPUT = '{"status":"error","message":"kaput"}'
OBJECT = '{"code":"E_KAPUT","detail":["zażółć",1]}'


def fail(body):
    def handler(_delivery, _service):
        raise Service.Err("failed", body.encode())
    return handler


def stream_delayed(delivery, service):
    for n in (b"1", b"2"):
        service.client.send("MORE", delivery.id, body=n)
        time.sleep(0.02)
    return b"3"


def stream_tail(delivery, service):
    for n in (b"1", b"2", b"3"):
        service.client.send("MORE", delivery.id, body=n)
    time.sleep(0.03)
    return b""


def stream_error(delivery, service):
    for n in (b"1", b"2"):
        service.client.send("MORE", delivery.id, body=n)
    time.sleep(0.01)
    raise Service.Err("failed", b'{"status":"error","message":"late"}')


HANDLERS = {
    '{"cmd":"sum"}': lambda d, s: str(sum(json.loads(d.body))).encode(),
    '{"a":"x","b":1}': lambda d, s: b'"two keys"',
    "echo": lambda d, s: d.body,
    "value.undefined": lambda d, s: b"",
    "value.null": lambda d, s: b"null",
    "value.zero": lambda d, s: b"0",
    "stream.sync": lambda d, s: [b"1", b"2", b"3"],
    "stream.delayed": stream_delayed,
    "stream.tail": stream_tail,
    "stream.empty": lambda d, s: b"",
    "stream.error": stream_error,
    "stream.long": lambda d, s: [str(i).encode() for i in range(json.loads(d.body))],
    "rpc.string": fail(KAPUT),
    "rpc.object": fail(OBJECT),
    "rpc.number": fail('{"status":"error","message":7}'),
    "plain.error": fail('{"status":"error","message":"Internal server error"}'),
    "bare.string": fail('"just text"'),
    "plain.text": fail("just text"),
    "headers": lambda d, s: json.dumps(d.headers).encode(),
    "slow": lambda d, s: (time.sleep(json.loads(d.body) / 1000), b'"slow"')[1],
    "user.created": lambda d, s: b"",
    '{"ev":"made","kind":"x"}': lambda d, s: b"",
}
OBJECT_PATTERNS = [{"cmd": "sum"}, {"b": 1, "a": "x"}, {"kind": "x", "ev": "made"}]


def handle(delivery, service):
    return HANDLERS[delivery.subject](delivery, service)


def configuration(port, url=None, **endpoint):
    """NestJS clients at `edge`, everything that HANDLERS knows to the service `rooms`."""
    patterns = [name for name in HANDLERS if not name.startswith("{")] + OBJECT_PATTERNS
    return {
        "endpoints": {"edge": {"listen": url or f"tcp://127.0.0.1:{port}", **endpoint}},
        "policies": {"default": policy()},
        "routes": [{"name": f"r{i}", "from": "edge", "match": p, "to": "rooms"}
                   for i, p in enumerate(patterns)],
    }
