"""A daemon small enough to read in one go: speaks bellhop-protocol(7) on a service socket and the administrative commands on
admin.sock beside it, with canned answers. For tests of the tool only."""
import json
import os
import socket
import threading

STATUS = {
    "version": "9.9.9", "node": "fake", "pid": 42, "uptime_ms": 3723000, "state": "running",
    "config": {"file": "/etc/x.yaml", "generation": 3, "error": None},
    "messages": dict.fromkeys("accepted ready waiting inflight done dead expired dropped unaccounted".split(), 7),
    "services": [{"name": "math", "instances": 2, "credit": 128, "inflight": 1, "queued": 0, "done": 5, "failed": 0,
                  "breaker": "closed"}],
    "endpoints": [{"name": "edge", "url": "tcp://127.0.0.1:4000", "role": "listen", "state": "listening", "connections": 3,
                   "error": None},
                  {"name": "stock", "url": "tls://stock:4443", "role": "connect", "state": "down", "connections": 0,
                   "error": "connection refused"}],
    "memory_bytes": 4 << 20, "store": None,
}
FINDINGS = [{"level": "note", "where": "messages", "what": "3 dead letters", "do": "bellhop dlq ls"},
            {"level": "warning", "where": "cache", "what": "appendonly is off", "do": "turn it on"}]
LETTER = {"id": "01", "route": "orders", "destination": "billing", "subject": "order.créé", "kind": "event",
          "reason": "attempts", "attempts": 5, "first_error": "failed: no", "last_error": "timeout ✓\x1b[2J", "time":
          "2026-11-22T10:00:00.000Z", "source": "rabbit", "size": 12}


WHY = [dict({"accepted": "2026-01-01T00:00:00.000Z", "accepted_ms": 1767225600000, "stored": True, "request": False, "told": False, "generation": 3,
             "source": "shop", "subject": "order.created", "route": "orders", "destination": "billing"}, **more) for more in (
    {"event": "retry", "time": "2026-01-01T00:00:00.009Z", "handed_over": "2026-01-01T00:00:00.001Z", "attempt": 1,
     "peer": "pid 7, client 2", "detail": "failed: no", "took_ms": 8, "pause_ms": 100},
    {"event": "done", "time": "2026-01-01T00:00:00.110Z", "handed_over": "2026-01-01T00:00:00.109Z", "attempt": 2, "took_ms": 1,
     "peer": "pid 8, client 3", "redelivered": "failed"})]


class Peer:
    """One connection: frames in, frames out."""

    def __init__(self, sock):
        self.sock, self.file, self.lock = sock, sock.makefile("rb"), threading.Lock()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            return None
        parts = line[:-1].decode().split(" ", 4)
        verb, ident, hlen, blen = parts[0], int(parts[1]), int(parts[2]), int(parts[3])
        block = self.file.read(hlen).decode()
        headers = [tuple(row.split(": ", 1)) for row in block.splitlines()]
        return verb, ident, parts[4] if len(parts) > 4 else "", headers, self.file.read(blen)

    def send(self, verb, ident, body=b"", subject=None, headers=()):
        block = "".join(f"{name}: {value}\n" for name, value in headers).encode()
        body = body.encode() if isinstance(body, str) else body
        line = f"{verb} {ident} {len(block)} {len(body)}" + (f" {subject}" if subject is not None else "") + "\n"
        with self.lock:
            self.sock.sendall(line.encode() + block + body)

    def greet(self):
        hello = self.read()
        self.send("HELLO", 0, subject="bellhopd", headers=[("version", "1"), ("node", "fake"), ("limits.body", "1000"),
                                                           ("session", "s1")])
        return hello


class FakeDaemon:
    def __init__(self, folder):
        self.service_path, self.admin_path = os.path.join(folder, "bellhop.sock"), os.path.join(folder, "admin.sock")
        self.seen = []        # every frame that came, as read
        self.deliver = []     # (verb, id, subject, headers, body) sent to whoever attaches
        self.delay_admin = 0
        self.sockets = []
        for path, handler in ((self.service_path, self.service), (self.admin_path, self.admin)):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(8)
            self.sockets.append(listener)
            threading.Thread(target=self.accept, args=(listener, handler), daemon=True).start()

    def close(self):
        for listener in self.sockets:
            listener.close()

    def accept(self, listener, handler):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(handler, Peer(sock)), daemon=True).start()

    def run(self, handler, peer):
        try:
            hello = peer.read()
            self.seen.append(hello)
            if hello[2] == "intruder":
                peer.send("ERR", 0, "this uid may not be intruder", subject="denied")
                return
            peer.send("HELLO", 0, subject="bellhopd", headers=[("version", "1"), ("node", "fake"),
                                                               ("limits.body", "1000"), ("session", "s1")])
            handler(peer)
        except (OSError, TypeError, ValueError):
            pass
        finally:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            peer.sock.close()

    def service(self, peer):
        for verb, ident, subject, headers, body in self.deliver:
            peer.send(verb, ident, body, subject, headers)
        while True:
            frame = peer.read()
            if frame is None:
                return
            self.seen.append(frame)
            verb, ident, subject, headers, body = frame
            if verb == "PING":
                peer.send("PONG", ident)
            elif verb == "REQ":
                self.answer(peer, ident, subject, body)
            elif verb == "PUB" and ident and subject != "silence":
                peer.send("ERR" if subject == "refuse" else "OK", ident, subject="no-route" if subject == "refuse" else None)
            elif verb == "SUB" and subject == "secret":
                peer.send("ERR", ident, "not yours", subject="denied")
            elif verb == "SUB":
                peer.send("OK", ident)
                for i in range(3):
                    peer.send("PUB", 100 + i, f"event {i}", subject=f"news.{i}", headers=[("id", f"m{i}")])

    @staticmethod
    def answer(peer, ident, subject, body):
        if subject == '{"cmd":"sum"}':
            peer.send("REP", ident, str(sum(json.loads(body))))
        elif subject == "count":
            for i in range(int(body)):
                peer.send("MORE", ident, str(i + 1))
            peer.send("REP", ident)
        elif subject == "binary":
            peer.send("REP", ident, b"\xff\x00")
        elif subject == "vanish":
            peer.sock.shutdown(socket.SHUT_RDWR)
        elif subject == "busy":
            peer.send("ERR", ident, "later\x1b[2J", subject="overloaded", headers=[("retry", "after 5s")])
        elif subject != "silence":
            peer.send("REP", ident, body)

    def admin(self, peer):
        while True:
            frame = peer.read()
            if frame is None:
                return
            self.seen.append(frame)
            verb, ident, command, _, body = frame
            if verb != "REQ":
                continue
            args = json.loads(body)
            if command == "tap":
                for i, event in enumerate(("accepted", "delivered", "retry", "dead")):
                    item = {"time": "2026-11-22T10:00:00.123Z", "event": event, "id": f"m{i}", "subject": "a.b", "from": "edge",
                            "route": "r", "to": "math", "attempt": 1 + i, "size": 3}
                    if args["bodies"]:
                        item["body"] = "x\x1b[2Jy"
                    peer.send("MORE", ident, json.dumps(item))
            elif command == "log.show":
                for i, more in enumerate(({"key": "7", "version": 3, "body": "a\x1b[2Jb", "size": 4},
                                          {"key": "", "version": 0, "body_base64": "/wA=", "size": 2})):
                    peer.send("MORE", ident, json.dumps({"offset": 12 + i, "time": "2026-01-31T08:00:00.000Z",
                                                         "headers": "id: a\nkey: 7\n",
                                                         "subject": "order.new", **more}))
                peer.send("REP", ident, "{}")
            elif command == "replay":
                self.replay(peer, ident, args)
            elif command == "reload" and os.environ.get("FAKE_RELOAD") == "bad":
                peer.send("ERR", ident, "x.yaml:3:1: unknown key", subject="invalid")
            else:
                reply = self.admin_reply(command, args)
                if reply is None:
                    peer.send("ERR", ident, f"unknown command {command}", subject="invalid")
                else:
                    peer.send("REP", ident, json.dumps(reply))

    @staticmethod
    def replay(peer, ident, args):
        row = {"count": 3, "skipped": 0, "refused": 0, "damaged": 0, "offset": 15}
        peer.send("MORE", ident, json.dumps(row))
        row.update(count=7, offset=20, done=True)
        if args["name"] == "endless":
            return
        if args["name"] == "partly":
            row.update(skipped=2, stopped="the daemon is shutting down")
        peer.send("MORE", ident, json.dumps(row))
        peer.send("REP", ident, json.dumps(row))

    @staticmethod
    def admin_reply(command, args):
        return {
            "log.ls": {"logs": [{"name": "orders", "entries": 1200, "bytes": 2 << 20, "first": 1, "last": 1200,
                                 "first_time": "2026-01-31T08:00:00.000Z", "last_time": "2026-01-31T09:00:00.000Z"}]},
            "status": STATUS, "version": {"version": "9.9.9"},
            "routes": {"routes": [{"name": "sum", "from": "edge", "match": '{"cmd":"sum"}', "to": ["math", "audit"],
                                   "durable": False, "log": "events", "policy": "default", "matched": 12}]},
            "explain": {"route": "sum", "why": "matches", "captures": ["x"], "to": [{"destination": "math", "subject": "s"}],
                        "policy": {"timeout_ms": 5000, "attempts": 5, "worst_case_ms": 30500}},
            "why": {"id": args.get("id"), "complete": args.get("id") != "cut", "items": [] if args.get("id") == "gone" else WHY},
            "dlq.ls": {"total": 3, "items": [] if args.get("route") == "other" else [LETTER]},
            "dlq.show": dict(LETTER, headers="id: 01\nkey: 7\n", body="the body\x1b[2J\n\tover"),
            "dlq.redrive": {"count": 0 if args.get("id") == "gone" else 2},
            "dlq.purge": {"count": 0 if args.get("id") == "gone" else 1},
            "reload": {"generation": 4, "changes": ["endpoint edge: changed"]},
            "drain": {"services": 2, "inflight": 9},
            "doctor": {"findings": FINDINGS},
        }.get(command)
