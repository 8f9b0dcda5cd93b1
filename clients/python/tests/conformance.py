"""The adapters of the conformance suite (tests/conformance/README.md): `conformance.py plain` and
`conformance.py asyncio`."""
import asyncio
import json
import os
import select
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bellhop

EVENTS = []
RELEASED = []


def refuse():
    raise bellhop.Reject("invalid", "no good")


def common_handlers(s):
    """The handlers that need not wait; they serve both clients."""
    s.on({"cmd": "sum"})(lambda numbers, d: sum(numbers))
    s.on("conf.fail")(lambda data, d: refuse())

    @s.on("conf.echo")
    @s.on("zażółć.*")
    def echo(data, d):
        return bellhop.Response(d.body, [h for h in d.headers.pairs if h[0].startswith("x-")])

    @s.on("conf.count")
    def count(n, d):
        for i in range(n):
            yield i + 1

    @s.on("conf.flaky")
    def flaky(data, d):
        if d.attempt == 1:
            raise bellhop.Retry("not yet", after=0.02)
        return d.attempt

    @s.on("conf.release")
    def release(data, d):
        if not RELEASED:
            RELEASED.append(True)
            raise bellhop.Release
        return d.attempt

    @s.on("conf.stage")
    def stage(data, d):
        d.publish(d.body.decode(), b"staged")
        return b"done"

    @s.on("conf.stagefail")
    def stage_fail(data, d):
        d.publish(d.body.decode(), b"staged")
        refuse()

    s.on("conf.event.>")(note)


def note(data, d):
    EVENTS.append(f"{d.subject} {d.body.decode()}")


def content(m):
    """value, headers of a command."""
    body = b"x" * m["fill"] if m.get("fill") else m.get("body", "").encode()
    return body, [tuple(line.split(": ", 1)) for line in m.get("headers", "").split("\n") if line]


def options(m):
    return {"timeout": m["timeout_ms"] / 1000} if m.get("timeout_ms") else {}


def reply(message):
    body = message.body.decode() if len(message.body) <= 4096 else ""
    return {"body": body, "size": len(message.body), "headers": "".join(f"{n}: {v}\n" for n, v in message.headers.pairs)}


def refused(e):
    retry = "no" if e.retry is False else "" if e.retry is None else str(round(e.retry * 1000))
    return {"ok": False, "code": e.code, "retry": retry}


def client(m, kind):
    return kind(m["name"], m["socket"], credit=m.get("credit") or 64, token=m.get("token") or None)


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# --- blocking ---

class Plain:
    def start(self, m):
        self.client = client(m, bellhop.Service)
        common_handlers(self.client)

        @self.client.on("conf.slow")
        def slow(ms, d):
            time.sleep(ms / 1000)
            return b"done"

        @self.client.on("conf.extend")
        def extend(ms, d):
            until = time.monotonic() + ms / 1000
            while time.monotonic() < until:
                time.sleep(0.05)
                d.extend()
            return b"done"
        self.client.connect()

    def request(self, m):
        return reply(self.client.request(m["subject"], *content(m), **options(m)))

    def stream(self, m):
        items = []
        for item in self.client.request_stream(m["subject"], *content(m), **options(m)):
            time.sleep(0 if items else m.get("pause_ms", 0) / 1000)
            items.append(item.body.decode())
        return {"items": items}

    def publish(self, m):
        self.client.publish(m["subject"], *content(m), ack=m.get("ack", False))

    def subscribe(self, m):
        self.client.subscribe(m["filter"], note, group=m.get("group") or None)

    def unsubscribe(self, m):
        self.client.unsubscribe(m["filter"])

    def events(self, m):
        taken, EVENTS[:] = list(EVENTS), []
        return {"events": taken}

    def do(self, line):
        m = json.loads(line)
        try:
            return {"ok": True, **(getattr(self, m["do"])(m) or {})}
        except bellhop.Error as e:
            return refused(e)


def plain():
    adapter, buffer = Plain(), b""
    adapter.client = None
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGTERM, lambda *_: None)
    while True:
        files = [0, wake] + ([adapter.client] if adapter.client and adapter.client.connected else [])
        ready, _, _ = select.select(files, [], [], 0.1)
        if wake in ready:
            break
        if 0 in ready:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                if json.loads(line)["do"] == "quit":
                    say({"ok": True})
                    adapter.client.close()
                    return
                say(adapter.do(line))
        try:
            if adapter.client:
                adapter.client.poll(0)
        except bellhop.Error:
            pass                       # not connected: the next turn tries again
    if adapter.client:
        adapter.client.close()


# --- asyncio ---

class Async:
    async def start(self, m):
        self.client = client(m, bellhop.AsyncService)
        common_handlers(self.client)

        @self.client.on("conf.slow")
        async def slow(ms, d):
            await asyncio.sleep(ms / 1000)
            return b"done"

        @self.client.on("conf.extend")
        async def extend(ms, d):
            until = time.monotonic() + ms / 1000
            while time.monotonic() < until:
                await asyncio.sleep(0.05)
                d.extend()
            return b"done"
        await self.client.connect()

    async def request(self, m):
        return reply(await self.client.request(m["subject"], *content(m), **options(m)))

    async def stream(self, m):
        items = []
        async for item in self.client.request_stream(m["subject"], *content(m), **options(m)):
            await asyncio.sleep(0 if items else m.get("pause_ms", 0) / 1000)
            items.append(item.body.decode())
        return {"items": items}

    async def publish(self, m):
        await self.client.publish(m["subject"], *content(m), ack=m.get("ack", False))

    async def subscribe(self, m):
        await self.client.subscribe(m["filter"], note, group=m.get("group") or None)

    async def unsubscribe(self, m):
        await self.client.unsubscribe(m["filter"])

    async def events(self, m):
        taken, EVENTS[:] = list(EVENTS), []
        return {"events": taken}

    async def serve(self, lines):
        while True:
            line = await lines.readline()
            if not line:
                return
            m = json.loads(line)
            if m["do"] == "quit":
                say({"ok": True})
                return
            try:
                say({"ok": True, **(await getattr(self, m["do"])(m) or {})})
            except bellhop.Error as e:
                say(refused(e))


async def asynchronous():
    loop, lines, adapter = asyncio.get_running_loop(), asyncio.StreamReader(limit=8 << 20), Async()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    task = loop.create_task(adapter.serve(lines))
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    await adapter.client.close()


if __name__ == "__main__":
    plain() if sys.argv[1:] == ["plain"] else asyncio.run(asynchronous())
