"""A TCP proxy that misbehaves on demand: between the daemon and a broker."""
import contextlib
import socket
import struct
import threading


class Proxy:
    """Forwards connections to 127.0.0.1:port. While `stalled`, nothing is forwarded and nothing closed (a half-open
    peer, a partition); with `piece`, what comes is forwarded in pieces of so many bytes, one write each."""

    def __init__(self, port, piece=None):
        self.target, self.piece = port, piece
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = []
        self.flow = threading.Event()
        self.flow.set()
        self.refusing = False
        self.accepted = 0
        self.limits = None   # an iterator: how many bytes of the broker each new connection gets before it is reset
        self.garbage = None  # what a new connection is answered with, in place of the broker
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                self.accepted += 1
                threading.Thread(target=self._open, args=(near,), daemon=True).start()

    def _open(self, near):
        if self.refusing:
            reset(near)
            return
        garbage = self.garbage
        if garbage is not None:
            with contextlib.suppress(OSError):
                near.sendall(garbage)
                near.settimeout(0.2)
                while near.recv(65536):
                    pass
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            reset(near)
            return
        far.settimeout(None)
        for s in (near, far):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.pairs.append((near, far))
        limit = next(self.limits, None) if self.limits else None
        for a, b, most in ((near, far, None), (far, near, limit)):
            threading.Thread(target=self._copy, args=(a, b, most), daemon=True).start()

    def _copy(self, a, b, limit):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                self.flow.wait()
                if limit is not None and len(data) >= limit:
                    b.sendall(data[:limit])
                    reset(b)
                    break
                limit = limit and limit - len(data)
                size = self.piece or len(data)
                for at in range(0, len(data), size):
                    b.sendall(data[at:at + size])
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    @property
    def stalled(self):
        return not self.flow.is_set()

    def stall(self):
        self.flow.clear()

    def go_on(self):
        self.flow.set()

    def cut(self):
        """Resets every connection that there is."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for s in pair:
                reset(s)

    def refuse(self, refusing=True):
        """New connections are reset at once, and those there are now."""
        self.refusing = refusing
        self.cut()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.go_on()
        self.cut()


def reset(s):
    """Ends a connection with RST."""
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
    with contextlib.suppress(OSError):
        s.close()
