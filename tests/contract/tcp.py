"""NestJS over TCP: the daemon listens for callers (`edge`) and connects to a server (`far`)."""
import contextlib
import json
import socket

from adapter import Adapter, Answer, Caller, Err, Got, Listener
from harness import NO_HANDLER, NestRaw, free_port


def error_of(err):
    return Answer([], json.dumps(err, ensure_ascii=False).encode(), "no-route" if err == NO_HANDLER else "failed")


class TcpCaller(Caller):
    def __init__(self, port, tls):
        self.raw = NestRaw(port, tls=tls)
        self.count = 0

    def packet(self, subject, body, headers):
        packet = {"pattern": subject, "data": json.loads(body)}
        return {**packet, "metadata": headers} if headers else packet

    def publish(self, subject, body, headers=None):
        self.raw.send(self.packet(subject, body, headers))

    def start(self, subject, body, headers=None):
        self.count += 1
        id = f"r{self.count}"
        self.raw.send({**self.packet(subject, body, headers), "id": id})
        return lambda timeout=20.0: self.answer(id, timeout)

    def request(self, subject, body, headers=None, timeout=20.0):
        return self.start(subject, body, headers)(timeout)

    def answer(self, id, timeout):
        items = []
        while True:
            got = self.raw.recv(timeout)
            if got is None or got["id"] != id:
                raise AssertionError(f"waiting for {id}: {got}")
            if got.get("err") is not None:
                return error_of(got["err"])._replace(items=items)
            if "response" in got:
                items.append(json.dumps(got["response"], ensure_ascii=False).encode())
            if got.get("isDisposed"):
                return Answer(items[:-1], items[-1] if items else b"")

    def close(self):
        self.raw.close()


class TcpServer(Listener):
    """A listener that can go, come back and stop reading."""

    def __init__(self, port, certs):
        super().__init__(port)
        self.certs, self.got, self.handler, self.peers = certs, [], None, []

    def took(self, sock):
        self.peers.append(sock)

    def drop(self):
        gone, self.peers = self.peers, []
        for peer in gone:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def serve(self, accepted):
        sock = accepted
        with contextlib.suppress(OSError, ValueError):
            if self.certs:
                sock = self.certs.context("peer", server=True).wrap_socket(sock, server_side=True)
            peer = NestRaw(sock=sock)
            while (packet := peer.recv(86400)) is not None:
                self.reading.wait()
                if accepted not in self.peers:
                    return
                self.one(peer, packet)

    def one(self, peer, packet):
        body = json.dumps(packet["data"], ensure_ascii=False).encode()
        # With `ack` events are requests: nothing but the handler's result tells them apart.
        got = Got(packet["pattern"], packet.get("metadata", {}), body, "id" not in packet)
        self.got.append(got)
        try:
            value = self.handler(got)
        except Err as err:
            answer = [{"err": json.loads(err.body), "isDisposed": True}]
        else:
            values = value if isinstance(value, list) else [value]
            answer = [{"response": json.loads(v)} for v in values] if value else [{}]
            answer[-1]["isDisposed"] = True
        with contextlib.suppress(OSError):
            for part in answer if "id" in packet else ():
                peer.send({**part, "id": packet["id"]})


class Tcp(Adapter):
    name = "tcp"
    cannot = {"ack": "NestJS's TCP packets have no acknowledgement of an event",
              "doctor": "a NestJS server keeps nothing and has no settings that it would tell"}

    def __init__(self, folder, certs=None):
        super().__init__(folder, certs)
        self.edge, self.port = free_port(), free_port()
        self.far = TcpServer(self.port, certs)

    def start(self):
        self.far.start()

    def stop(self):
        self.far.stop()

    def freeze(self):
        self.far.reading.clear()

    def thaw(self):
        self.far.reading.set()

    def endpoints(self):
        scheme, more = ("tls", {"tls": "mesh"}) if self.certs else ("tcp", {})
        return {"edge": {"listen": f"{scheme}://127.0.0.1:{self.edge}", **more},
                "far": {"connect": f"{scheme}://localhost:{self.port}", "ack": True, **more}}

    def source(self):
        return "edge"

    def target(self):
        return "far"

    def caller(self):
        return TcpCaller(self.edge, self.certs and self.certs.context("peer"))

    def server(self, handler):
        self.far.handler = handler
        return self.far
