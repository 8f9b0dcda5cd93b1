"""The daemon's side of the local protocol, scripted: a Unix socket whose connections run `script(connection)` in a
thread, one after the other. It parses on its own (not with the client's decoder)."""
import os
import socket
import tempfile
import threading


class Connection:
    def __init__(self, sock):
        self.sock, self.file = sock, sock.makefile("rb")
        self.sent = []

    def read(self, want=None):
        """The next frame (verb, id, subject, headers dict, body); fails if it is not the verb wanted. None at the end."""
        line = self.file.readline()
        if not line:
            return None
        parts = line[:-1].decode().split(" ", 4)
        raw, body = self.file.read(int(parts[2])), self.file.read(int(parts[3]))
        headers = dict(h.split(": ", 1) for h in raw.decode().splitlines())
        assert want is None or parts[0] == want, f"wanted {want}, got {line!r} {headers} {body!r}"
        return parts[0], int(parts[1]), parts[4] if len(parts) == 5 else "", headers, body

    def send(self, verb, id=0, subject="", headers=None, body=b""):
        raw = "".join(f"{n}: {v}\n" for n, v in (headers or {}).items()).encode()
        line = f"{verb} {id} {len(raw)} {len(body)}" + (f" {subject}" if subject else "")
        self.sock.sendall(line.encode() + b"\n" + raw + body)

    def hello(self, **headers):
        """Takes the client's HELLO and answers it."""
        frame = self.read("HELLO")
        self.send("HELLO", 0, "bellhopd", {"version": "1", "node": "fake", "limits.body": "1048576", **headers})
        return frame

    def bye(self):
        """Answers what a draining client sends until it closes; returns the frames between."""
        frames = []
        while True:
            frame = self.read()
            if frame is None:
                return frames
            if frame[0] == "PING":
                self.send("PONG", frame[1])
            else:
                frames.append(frame)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.file.close()
        self.sock.close()


class Fake:
    """`with Fake(script, script2, …) as fake:` the n-th connection runs the n-th script; join() raises what one raised."""

    def __init__(self, *scripts):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "s")
        self.scripts, self.error = scripts, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.listener.settimeout(10)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *exc):
        try:
            if kind is None:
                self.join()
        finally:
            self.listener.close()
            self.folder.cleanup()

    def _run(self):
        for script in self.scripts:
            connection = None
            try:
                sock, _ = self.listener.accept()
                sock.settimeout(10)
                connection = Connection(sock)
                script(connection)
            except Exception as e:
                self.error = self.error or e
            finally:
                if connection:
                    connection.close()

    def join(self):
        self.thread.join(15)
        if self.error:
            raise self.error
        assert not self.thread.is_alive(), "the fake's script did not end"
