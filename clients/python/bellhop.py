"""Bellhop client: the local protocol of bellhopd in one file, standard library only, Python 3.9 or newer.

    import bellhop
    service = bellhop.Service("math")

    @service.on({"cmd": "sum"})            # a subject, a filter with * and >, or a NestJS object pattern
    def sum_(numbers, delivery):
        return sum(numbers)

    service.run()                          # until SIGTERM or SIGINT, then drains

`Client` (alias `Service`) blocks and uses no thread; `AsyncClient` (alias `AsyncService`) is the same for
asyncio. Both stand on `Decoder` and `encode`, which do no I/O. The socket is the argument, else the
environment's BELLHOP_SOCKET, else /run/bellhop/bellhop.sock. All times are seconds (float), all sizes bytes.

Values (what handlers return, what request and publish send): bytes go as they are, str as text/plain,
None as an empty body, anything else as JSON. What arrives is decoded by its content-type: JSON to objects,
text/* to str, other types stay bytes; without a content-type, JSON if it parses (empty: None), else bytes.
`.body` always holds the bytes as they came.

A handler is `handler(data, delivery)`. It returns a value, or is a generator (each item goes out as it is
made), or raises: Retry, Reject, Release, or anything else (code `failed`, retried as the route's policy says;
the exception's type and text travel as the detail). On events the returned value is not sent.
"""
from __future__ import annotations

import asyncio
import collections
import inspect
import json
import logging
import os
import random
import re
import select
import signal
import socket as socketlib
import threading
import time
from collections.abc import Mapping

__all__ = ["AsyncClient", "AsyncService", "Client", "Decoder", "Delivery", "Error", "Frame", "FrameError", "Headers",
           "Message", "Reject", "Release", "Response", "Retry", "Service", "Staged", "encode", "pattern"]

DEFAULT_SOCKET = "/run/bellhop/bellhop.sock"
MAX_LINE, MAX_SUBJECT, MAX_HEADERS, MAX_HEADER_LINES, MAX_NAME = 2048, 1024, 64 * 1024, 128, 128
DEFAULT_BODY, MAX_BODY = 1 << 20, 64 << 20
READ_SIZE, FLUSH_SIZE = 256 * 1024, 256 * 1024
HELLO_TIMEOUT, PONG_TIMEOUT, FLUSH_AFTER = 10.0, 1.0, 0.001
ID_MAX = (1 << 64) - 1
# Items of a stream that wait for who reads it, and their bytes. Above HIGH an AsyncClient reads nothing for PAUSE seconds
# at most, so that the daemon holds the stream's service back; above LIMIT the stream ends with `overloaded`.
STREAM_HIGH, STREAM_HIGH_BYTES, STREAM_LIMIT, STREAM_LIMIT_BYTES, STREAM_PAUSE = 256, 1 << 20, 65536, 16 << 20, 0.5
# Refusals of HELLO that time may cure; any other one is raised by the first connect.
PASSING = ("draining", "overloaded", "unavailable")

log = logging.getLogger("bellhop")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+\Z")
_SEPARATOR = re.compile("[./]")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


# --- errors -----------------------------------------------------------------------------------------------

class Error(Exception):
    """A refusal or failure. `code` is one of the protocol's codes (`no-route`, `timeout`, `unavailable`,
    `too-large`, …), `detail` text or decoded JSON, `retry` None (not said), False (do not) or seconds."""

    def __init__(self, code, detail="", retry=None):
        super().__init__(code, detail)
        self.code, self.detail, self.retry = code, detail, retry

    def __str__(self):
        return f"{self.code}: {self.detail}" if self.detail else self.code


class FrameError(Error):
    """Bytes that are no frame; `offset` counts from the first byte of the connection."""

    def __init__(self, offset, what):
        super().__init__("bad-frame", f"offset {offset}: {what}")
        self.offset = offset


class Retry(Exception):
    """Raised by a handler: failed, try again, requests too; after `after` seconds where given, else as the
    policy says."""

    def __init__(self, detail="", *, after=None, code="failed"):
        super().__init__(detail)
        self.detail, self.after, self.code = detail, after, code


class Reject(Exception):
    """Raised by a handler: refused for good (`retry: no`). `detail` is text or anything JSON can hold."""

    def __init__(self, code="failed", detail=""):
        super().__init__(code, detail)
        self.code, self.detail = code, detail


class Release(Exception):
    """Raised by a handler: give the delivery back; no attempt is counted."""


# --- codec: bytes <-> frames, no I/O --------------------------------------------------------------------------

Frame = collections.namedtuple("Frame", "verb id subject headers body")
Frame.__doc__ = "One frame: verb (str), id (int), subject (str, may be empty), headers (raw bytes), body (bytes)."


def encode(verb, id, subject="", headers=b"", body=b""):
    """The bytes of one frame. `headers` is a raw block (see encode_headers); nothing is checked here."""
    tail = f" {subject}\n" if subject else "\n"
    line = f"{verb} {id} {len(headers)} {len(body)}{tail}"
    return b"".join((line.encode(), headers, body))


class Decoder:
    """Bytes in, frames out, split and glued as they may be. `limit` bounds the body of one frame."""

    def __init__(self, limit=MAX_BODY):
        self.limit = limit
        self._buffer, self._offset, self._need = bytearray(), 0, 0

    def feed(self, data):
        """Frames completed by `data`, in order. Raises FrameError; the decoder is of no use after that."""
        buffer = self._buffer
        buffer += data
        frames, pos = [], 0
        while len(buffer) - pos >= self._need:
            end = buffer.find(b"\n", pos, pos + MAX_LINE)
            if end < 0:
                if len(buffer) - pos >= MAX_LINE:
                    raise FrameError(self._offset + pos, f"line longer than {MAX_LINE} bytes")
                break
            verb, ident, hlen, blen, subject = self._line(bytes(buffer[pos:end]), self._offset + pos)
            total = end + 1 + hlen + blen
            if total > len(buffer):
                self._need = total - pos
                break
            body = end + 1 + hlen
            frames.append(Frame(verb, ident, subject, bytes(buffer[end + 1:body]), bytes(buffer[body:total])))
            pos, self._need = total, 0
        if pos:
            del buffer[:pos]
            self._offset += pos
        return frames

    def _line(self, line, offset):
        parts = line.split(b" ", 4)
        if len(parts) < 4 or not (parts[0].isalpha() and parts[0].isupper()):
            raise FrameError(offset, "expected VERB ID HLEN BLEN [SUBJECT]")
        if not (parts[1].isdigit() and parts[2].isdigit() and parts[3].isdigit()) or max(map(len, parts[1:4])) > 20:
            raise FrameError(offset, "ID, HLEN and BLEN are decimal numbers")
        ident, hlen, blen = int(parts[1]), int(parts[2]), int(parts[3])
        if ident > ID_MAX or hlen > MAX_HEADERS or blen > self.limit:
            raise FrameError(offset, "ID, HLEN or BLEN above its limit")
        try:
            subject = parts[4].decode() if len(parts) == 5 else ""
        except UnicodeDecodeError:
            raise FrameError(offset, "subject is not UTF-8") from None
        if (len(parts) == 5 and len(parts[4]) > MAX_SUBJECT) or _CONTROL.search(subject):
            raise FrameError(offset, "subject too long or with control characters")
        return parts[0].decode(), ident, hlen, blen, subject


class Headers(Mapping):
    """Headers in order; `h[name]` is the first value of a name, `h.get_all(name)` all of them, `h.pairs` the list."""

    def __init__(self, pairs=()):
        self.pairs = list(pairs)

    @classmethod
    def parse(cls, raw):
        """From a raw block. Raises Error `bad-frame`."""
        try:
            lines = raw.decode().split("\n")
        except UnicodeDecodeError:
            raise Error("bad-frame", "headers are not UTF-8") from None
        if lines.pop() or len(lines) > MAX_HEADER_LINES:
            raise Error("bad-frame", "headers: last line without an end, or too many lines")
        headers = cls()
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _NAME.match(name) or _CONTROL.search(value):
                raise Error("bad-frame", f"bad header line {line[:80]!r}")
            headers.pairs.append((name, value[1:] if value[:1] == " " else value))
        return headers

    def get_all(self, name):
        return [v for n, v in self.pairs if n == name]

    def __getitem__(self, name):
        for n, v in self.pairs:
            if n == name:
                return v
        raise KeyError(name)

    def __iter__(self):
        return iter(dict(self.pairs))

    def __len__(self):
        return len(dict(self.pairs))

    def __repr__(self):
        return f"Headers({self.pairs!r})"


def encode_headers(headers):
    """A raw block from a Headers, a mapping (a value may be a list) or pairs. Raises Error `invalid`, `too-large`."""
    if not headers:
        return b""
    if isinstance(headers, Headers):
        pairs = headers.pairs
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        pairs = [(n, v) for n, vs in pairs for v in (vs if isinstance(vs, (list, tuple)) else (vs,))]
    lines = []
    for name, value in pairs:
        name, value = str(name).lower(), str(value)
        if not _NAME.match(name) or len(name) > MAX_NAME or _CONTROL.search(value):
            raise Error("invalid", f"header {name[:80]!r}: a name is a token of at most {MAX_NAME} characters, a value "
                        "has no control characters", False)
        lines.append(f"{name}: {value}\n")
    return _bounded(_utf8("".join(lines)))


def _bounded(raw):
    """A raw block as it goes out: beyond the limits the daemon would end the connection."""
    if len(raw) > MAX_HEADERS or raw.count(b"\n") > MAX_HEADER_LINES:
        raise Error("too-large", f"headers above {MAX_HEADERS} bytes or {MAX_HEADER_LINES} lines", False)
    return raw


def _utf8(text):
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Error("invalid", "text with lone surrogates is no UTF-8", False) from None


# --- values ---------------------------------------------------------------------------------------------------

def pattern(subject):
    """The subject of a NestJS pattern: text and numbers as text, an object as JSON with sorted keys and no spaces.
    Keys sort by code point, which is NestJS's own order for plain lower-case ASCII keys."""
    if isinstance(subject, str):
        return subject
    return json.dumps(subject, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _subject(subject):
    text = pattern(subject)
    if not text or _CONTROL.search(text) or len(_utf8(text)) > MAX_SUBJECT:
        raise Error("invalid", f"a subject is 1 to {MAX_SUBJECT} bytes of UTF-8 without control characters", False)
    return text


def _to_body(value):
    """(bytes, content-type or None) of a value."""
    if value is None:
        return b"", None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), None
    if isinstance(value, str):
        return _utf8(value), "text/plain; charset=utf-8"
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _utf8(text), "application/json"


def _error_body(detail):
    """_to_body of what a handler raised with: what is no value goes as its repr, for an answer there must be."""
    try:
        return _to_body(detail)
    except (Error, TypeError, ValueError, RecursionError):
        text = detail if isinstance(detail, str) else repr(detail)
        return text.encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8"


def _error_code(code):
    try:
        return _subject(str(code))
    except Error:
        return "failed"


def _from_body(body, content_type):
    """The value of a body. Raises Error `invalid` where the content-type promises what the bytes are not."""
    kind = content_type.split(";", 1)[0].strip().lower() if content_type else ""
    try:
        if kind == "application/json" or kind.endswith("+json"):
            return json.loads(body) if body else None
        if kind.startswith("text/"):
            return body.decode()
    except (ValueError, RecursionError) as e:
        raise Error("invalid", f"body is not {kind}: {e}", False) from None
    if kind:
        return body
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body


def _duration(text):
    """Seconds of `1500ms`, `1h30m`; None for what is no duration."""
    parts = _DURATION.findall(text or "")
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(n) * _UNIT[u] for n, u in parts)


def _milliseconds(seconds):
    return f"{max(1, round(seconds * 1000))}ms"


def _limit(text):
    """Bytes of `1048576` or `1MiB`; the default for what is neither."""
    m = re.match(r"(\d+)\s*([A-Za-z]*)\Z", text or "")
    return int(m[1]) * _SIZE[m[2]] if m and m[2] in _SIZE else DEFAULT_BODY


def backoff(attempt, rand=random.random, base=0.1, cap=5.0):
    """Full jitter: seconds to wait before connect attempt number `attempt` (0, 1, …)."""
    return rand() * min(cap, base * 2 ** min(attempt, 16))


class Message:
    """What came: `subject`, `body` (bytes), `headers` (Headers), `data` (the body decoded; may raise Error)."""

    def __init__(self, subject, raw, body):
        self.subject, self.body, self._raw = subject, body, raw
        self._headers = None

    @property
    def headers(self):
        if self._headers is None:
            self._headers = Headers.parse(self._raw)
        return self._headers

    @property
    def data(self):
        return _from_body(self.body, self.headers.get("content-type") if self._raw else None)

    def __repr__(self):
        return f"<{type(self).__name__} {self.subject!r} {len(self.body)} bytes>"


class Delivery(Message):
    """A message handed to a handler. `is_request`: an answer is wanted (REQ); `cancelled`: the asker has gone, or
    the connection."""

    def __init__(self, client, frame):
        super().__init__(frame.subject, frame.headers, frame.body)
        self.number, self.is_request, self.cancelled = frame.id, frame.verb == "REQ", False
        self._client, self._epoch, self._settled, self._task = client, client._epoch, False, None

    @property
    def attempt(self):
        """1 at first, then 2, …"""
        text = self.headers.get("attempt", "1")
        return int(text) if text.isdigit() else 1

    @property
    def timeout(self):
        """Seconds that the asker had left when the delivery was sent, or None."""
        return _duration(self.headers.get("timeout"))

    def extend(self):
        """Tells the daemon that work goes on (WAIT): the delivery's time-out starts again."""
        self._client._extend(self)

    def publish(self, subject, value=None, headers=None):
        """Stages an event under this delivery: sent on only if it ends well, in one transaction with it; dropped if
        it does not. Returns a Staged at once; its fate is known only after the handler has ended."""
        return self._client._stage(self, subject, value, headers)


class Response:
    """A value with headers, for handlers that want to send both: `return Response(value, {"x-took": "3"})`."""

    def __init__(self, value=None, headers=None):
        self.value, self.headers = value, headers


class Staged:
    """One of our PUB, REQ, SUB under way. `done`; `error` is an Error or None; `items` the replies so far."""

    __slots__ = ("id", "done", "error", "items", "last", "wake", "size")

    def __init__(self, id, keep=None):
        self.id, self.done, self.error, self.wake, self.last = id, False, None, None, None
        self.items, self.size = collections.deque(maxlen=keep), 0

    def _take(self):
        item = self.items.popleft()
        self.size -= len(item.body)
        return item

    def _above(self, count, size):
        return self.items.maxlen is None and len(self.items) > 1 and (len(self.items) > count or self.size > size)

    def _end(self, error=None):
        self.done, self.error = True, error
        if self.wake:
            self.wake()

    def _result(self):
        if self.error:
            raise self.error
        return self.items[-1] if self.items else self.last


class _Router:
    """Subject -> handler: the exact text, then filters in the order of registration, then the default."""

    def __init__(self):
        self._exact, self._filters, self._cache, self.default = {}, {}, {}, None

    def add(self, subject, handler):
        self._cache.clear()
        tokens = _SEPARATOR.split(subject)
        if subject[:1] == "{" or not ("*" in tokens or tokens[-1] == ">"):
            self._exact[subject] = handler
        else:
            self._filters[subject] = (tokens, handler)

    def remove(self, subject):
        self._cache.clear()
        self._exact.pop(subject, None)
        self._filters.pop(subject, None)

    def find(self, subject):
        handler = self._exact.get(subject) or self._cache.get(subject)
        if handler:
            return handler
        tokens = _SEPARATOR.split(subject)
        handler = next((h for f, h in self._filters.values() if _matches(f, tokens)), self.default)
        if handler and len(self._cache) < 1024:
            self._cache[subject] = handler
        return handler


def _matches(filter_tokens, tokens):
    for i, token in enumerate(filter_tokens):
        if token == ">" and i == len(filter_tokens) - 1:
            return len(tokens) > i
        if i >= len(tokens) or (token != "*" and token != tokens[i]):
            return False
    return len(tokens) == len(filter_tokens)


# --- what both clients share: everything but I/O ----------------------------------------------------------------

class _Base:
    """name: the service's name (HELLO). socket: path. credit: unanswered deliveries taken at once, 1 to 65535.
    token, instance: sent with HELLO. connect_timeout: how long connect, request and publish wait for a connection
    (None: for ever). drain_timeout: how long close() waits for handlers before it releases their deliveries."""

    def __init__(self, name, socket=None, *, credit=64, token=None, instance=None, connect_timeout=10.0,
                 drain_timeout=10.0):
        if not 1 <= credit <= 65535:
            raise ValueError("credit is 1 to 65535")
        self.name, self.credit, self.token = _subject(name), credit, token
        self.socket = socket or os.environ.get("BELLHOP_SOCKET") or DEFAULT_SOCKET
        self.instance = instance or f"{socketlib.gethostname()}-{os.getpid()}"
        self.connect_timeout, self.drain_timeout = connect_timeout, drain_timeout
        self.limit, self.node = DEFAULT_BODY, ""          # as the daemon's HELLO says
        self._router, self._subs = _Router(), {}          # filter -> (group, id)
        self._calls, self._open, self._pongs = {}, {}, set()
        self._last_id, self._epoch = 0, 0
        self._hello, self._refusal, self._draining, self._closing = False, None, False, False
        self._verbs = {"PUB": self._on_delivery, "REQ": self._on_delivery, "OK": self._on_reply, "REP": self._on_reply,
                       "MORE": self._on_more, "ERR": self._on_err, "HELLO": self._on_hello, "CANCEL": self._on_cancel,
                       "PING": self._on_ping, "PONG": self._on_pong, "BYE": self._on_bye}

    # handlers

    def on(self, subject):
        """Decorator: the handler of a subject, a filter (`order.*`, `audit.>`) or a NestJS object pattern."""
        def add(handler):
            self._router.add(_subject(subject), handler)
            return handler
        return add

    def default(self, handler):
        """Decorator: the handler of what no other takes. Without one such deliveries end with `no-route`."""
        self._router.default = handler
        return handler

    def add_credit(self, more):
        """Lets the daemon have `more` deliveries more outstanding than now, here and after each reconnect."""
        if more < 1 or self.credit + more > 65535:
            raise ValueError("credit is 1 to 65535")
        self.credit += more
        if self._hello:
            self._emit(encode("CREDIT", more))

    # frames in

    def _receive(self, data):
        for frame in self._decoder.feed(data):
            act = self._verbs.get(frame.verb)
            if act:                            # verbs of later versions are skipped
                act(frame)

    def _on_hello(self, frame):
        headers = Headers.parse(frame.headers)
        self.limit, self.node = _limit(headers.get("limits.body")), headers.get("node", "")
        self._hello = True

    def _on_delivery(self, frame):
        delivery = Delivery(self, frame)
        if frame.id:
            self._open[frame.id] = delivery
        self._deliver(delivery)

    def _on_more(self, frame):
        call = self._calls.get(frame.id)
        if call:
            call.items.append(Message(frame.subject, frame.headers, frame.body))
            call.size += len(frame.body)
            if call.wake:
                call.wake()
            if call._above(STREAM_LIMIT, STREAM_LIMIT_BYTES):
                self._drop_call(call)
                call._end(Error("overloaded", f"the stream is read too slowly: {len(call.items)} items of "
                                f"{call.size} bytes wait"))

    def _on_reply(self, frame):
        call = self._calls.pop(frame.id, None)
        if call:
            call.last = Message(frame.subject, frame.headers, frame.body)
            if frame.body:                     # an empty REP only ends a stream
                call.items.append(call.last)
                call.size += len(frame.body)
            call._end()

    def _on_err(self, frame):
        error = _to_error(frame)
        call = self._calls.pop(frame.id, None)
        if call:
            call._end(error)
        elif frame.id == 0:
            self._refusal = error

    def _on_cancel(self, frame):
        delivery = self._open.get(frame.id)
        if delivery:
            delivery.cancelled = True
            self._cancel(delivery)

    def _on_ping(self, frame):
        self._emit(encode("PONG", frame.id))

    def _on_pong(self, frame):
        self._pongs.add(frame.id)

    def _on_bye(self, frame):
        self._draining = True

    # frames out

    def _hello_frame(self):
        headers = {"version": "1", "credit": self.credit, "instance": self.instance}
        if self.token:
            headers["token"] = self.token
        return encode("HELLO", 0, self.name, encode_headers(headers))

    def _call(self, verb, subject, value=None, headers=None, timeout=None, keep=1, ack=True):
        """Emits a frame of ours; returns its Staged (finished at once where no answer is asked for)."""
        raw, body = self._content(value, headers)
        if timeout is not None:
            raw = _bounded(raw + b"timeout: %s\n" % _milliseconds(timeout).encode())
        subject = _subject(subject)
        self._last_id += 1
        call = Staged(self._last_id if ack else 0, keep)
        if ack:
            self._calls[call.id] = call
        else:
            call._end()
        self._emit(encode(verb, call.id, subject, raw, body))
        return call

    def _content(self, value, headers):
        if isinstance(value, Response):
            value, headers = value.value, value.headers
        body, kind = _to_body(value)
        if len(body) > self.limit:
            raise Error("too-large", f"body of {len(body)} bytes, the limit is {self.limit}", False)
        raw = encode_headers(headers)
        if kind and not (raw and Headers.parse(raw).get("content-type")):
            raw = _bounded(raw + b"content-type: " + kind.encode() + b"\n")
        return raw, body

    def _settle(self, delivery, verb, subject="", raw=b"", body=b""):
        """The one final answer; nothing where the delivery's connection is gone."""
        if delivery._settled:
            return
        delivery._settled = True
        if delivery._epoch == self._epoch and delivery.number:
            self._open.pop(delivery.number, None)
            self._emit(encode(verb, delivery.number, subject, raw, body))

    def _answer(self, delivery, value):
        if not delivery.is_request:
            return self._settle(delivery, "OK")
        raw, body = self._content(value, None)
        self._settle(delivery, "REP", "", raw, body)

    def _item(self, delivery, value):
        if delivery.is_request and not delivery._settled and delivery._epoch == self._epoch:
            raw, body = self._content(value, None)
            self._emit(encode("MORE", delivery.number, "", raw, body))

    def _fail(self, delivery, e):
        """Answers with what a handler raised."""
        if isinstance(e, Release):
            return self._settle(delivery, "ERR", "release")
        code, detail, retry = getattr(e, "code", "failed"), getattr(e, "detail", None), None
        if isinstance(e, Reject):
            retry = "no"
        elif isinstance(e, Retry):
            retry = "yes" if e.after is None else "after " + _milliseconds(e.after)
        elif isinstance(e, Error):
            retry = "no" if e.retry is False else None
        else:
            code, detail = "failed", f"{type(e).__name__}: {e}"
            log.warning("handler of %r failed", delivery.subject, exc_info=e)
        body, kind = _error_body(detail)
        raw = encode_headers([(n, v) for n, v in (("retry", retry), ("content-type", kind)) if v])
        self._settle(delivery, "ERR", _error_code(code), raw, body[:self.limit])

    def _handler(self, delivery):
        handler = self._router.find(delivery.subject)
        if handler is None:
            raise Reject("no-route", f"service {self.name} has no handler for {delivery.subject}")
        return handler

    def _extend(self, delivery):
        if not delivery._settled and delivery._epoch == self._epoch and delivery.number:
            self._emit(encode("WAIT", delivery.number))

    def _stage(self, delivery, subject, value, headers):
        if delivery._settled or delivery._epoch != self._epoch:
            raise Error("unavailable", "the delivery is settled or its connection gone", False)
        pairs = Headers.parse(encode_headers(headers)).pairs
        return self._call("PUB", subject, value, Headers(pairs + [("with", str(delivery.number))]))

    def _drop_call(self, call):
        """The local end of waiting for a request: CANCEL where the daemon still works on it."""
        if self._calls.pop(call.id, None) is not None:
            self._emit(encode("CANCEL", call.id))

    def _start(self):
        """State of a fresh connection."""
        self._epoch += 1
        self._decoder, self._hello, self._refusal, self._draining = Decoder(), False, None, False
        self._pongs.clear()
        self._open.clear()
        self._emit(self._hello_frame())

    def _lost(self, why):
        """The connection is gone: everything of ours in flight fails with `unavailable`."""
        self._epoch += 1
        self._hello = False
        for delivery in self._open.values():
            delivery.cancelled = True          # nobody waits: a handler that makes items may stop
        self._open.clear()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call._end(Error("unavailable", why))

    def _resubscribe(self):
        for filter_, (group, _) in list(self._subs.items()):
            call = self._call("SUB", filter_, None, {"group": group} if group else None)
            self._subs[filter_] = (group, call.id)

    def _unreachable(self, error):
        return Error("unavailable", f"no connection to {self.socket}: {error}")


def _to_error(frame):
    message = Message("", frame.headers, frame.body)
    try:
        retry, detail = message.headers.get("retry"), message.data
    except Error:
        retry, detail = None, frame.body
    if isinstance(detail, bytes):
        detail = detail.decode("utf-8", "replace")
    wait = False if retry == "no" else _duration(retry[6:]) if retry and retry.startswith("after ") else None
    return Error(frame.subject or "internal", "" if detail is None else detail, wait)


# --- the blocking client ------------------------------------------------------------------------------------------

def _say_away(socket, error, attempt):
    """Once for each time that the daemon is away: whoever waits for it wants to know what for."""
    log.log(logging.DEBUG if attempt else logging.WARNING, "no connection to %s, trying again: %s", socket, error)


class Client(_Base):
    """The blocking client; no threads, and not to be shared between threads. Handlers run one after the other in
    run() or poll(), never inside request(); deliveries that come meanwhile wait. A handler that works for long calls
    delivery.extend(), which also answers the daemon's PING. `with Client("name") as c:` connects and closes."""
    __doc__ += "\n\n" + _Base.__doc__

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._sock, self._out, self._out_size, self._first = None, [], 0, 0.0
        self._queue, self._busy, self._wake, self._stopping = collections.deque(), False, None, False

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def connected(self):
        return self._sock is not None and self._hello

    def fileno(self):
        """The socket, for select and poll beside other files; -1 while not connected."""
        return self._sock.fileno() if self._sock else -1

    def connect(self):
        """Connects and says HELLO, trying again for connect_timeout. Raises Error: the daemon's refusal (`denied`,
        `version`, …) at once, else `unavailable`. A client that is connected returns at once."""
        self._ensure(self.connect_timeout)

    def request(self, subject, value=None, headers=None, timeout=None):
        """Sends a request and returns the reply (Message: data, body, headers); of a stream the last item. Raises
        Error with the daemon's or the service's code; `timeout` after `timeout` seconds, `unavailable` when the
        connection breaks. Without timeout the route's policy bounds it."""
        call, deadline = self._begin("REQ", subject, value, headers, timeout, 1)
        try:
            while self._await(call, deadline):
                pass
            return call._result()
        finally:
            self._end_call(call)

    def request_stream(self, subject, value=None, headers=None, timeout=None):
        """Sends a request; yields each item (Message) as it comes. Closing the generator early cancels the request. With
        65,536 items or 16 MiB waiting the stream ends, behind them, with `overloaded`: they come during other calls too."""
        call, deadline = self._begin("REQ", subject, value, headers, timeout, None)
        try:
            while self._await(call, deadline) or call.items:
                while call.items:
                    yield call._take()
            call._result()
        finally:
            self._end_call(call)

    def publish(self, subject, value=None, headers=None, ack=True, timeout=None):
        """Sends an event. With ack, returns once it is accepted under the route's promise (durable: on disk), or
        raises Error; without, returns once it is handed to the socket and no refusal is ever heard of."""
        deadline = self._ensure(self.connect_timeout if timeout is None else timeout, timeout)
        call = self._call("PUB", subject, value, headers, ack=ack)
        try:
            while self._await(call, deadline):
                pass
            self._flush()
            call._result()
        finally:
            self._calls.pop(call.id, None)

    def subscribe(self, filter, handler, group=None):
        """Subscribes this connection to a filter (again after each reconnect); members of a group share the load.
        The handler runs in run() or poll(). Filters of one client should not overlap: the first match takes all."""
        filter = _subject(filter)
        self._ensure(self.connect_timeout)
        self._router.add(filter, handler)
        call = self._call("SUB", filter, None, {"group": group} if group else None)
        self._subs[filter] = (group, call.id)
        try:
            while self._await(call, None):
                pass
            call._result()
        except Error as e:
            if e.code != "unavailable":
                self._subs.pop(filter, None)
                self._router.remove(filter)
            raise

    def unsubscribe(self, filter):
        """Ends a subscription. Unknown filters are ignored."""
        filter = _subject(filter)
        _, id_ = self._subs.pop(filter, (None, None))
        self._router.remove(filter)
        if id_ is None or not self.connected:
            return
        call = self._calls[id_] = Staged(id_, 1)
        self._emit(encode("UNSUB", id_))
        while self._await(call, None):
            pass
        call._result()

    def poll(self, timeout=0.0):
        """Waits up to `timeout` seconds (None: for ever) for frames, runs the handlers of what came, sends their
        answers. Reconnects where needed. Returns how many deliveries were handled."""
        if self._busy:
            raise RuntimeError("poll() inside a handler")
        if not self.connected:
            self._ensure(self.connect_timeout if timeout is None else timeout)
        self._flush()
        if not self._queue:
            self._pump(timeout)
        done = 0
        while self._queue:
            self._handle(self._queue.popleft())
            done += 1
        self._flush()
        if self._draining and not self._open and not self._calls:
            self._disconnect("the daemon drains")
        return done

    def run(self):
        """Serves until SIGTERM, SIGINT or stop(), then drains and closes. Waits for the daemon for ever; raises Error
        only if the first HELLO is refused. The second signal ends the process."""
        self._wake = socketlib.socketpair()
        restore = self._signals()
        keep, self.connect_timeout = self.connect_timeout, None
        try:
            while not self._stopping:
                try:
                    self.poll(None)
                except Error as e:
                    if e.code != "unavailable":
                        raise
            self.close()
        finally:
            self.connect_timeout = keep
            restore()
            for s in self._wake:
                s.close()
            self._wake, self._stopping = None, False

    def stop(self):
        """Makes run() drain and return; may be called from a handler, a signal handler or another thread."""
        self._stopping = True
        if self._wake:
            self._wake[1].send(b"s")

    def close(self):
        """Drains: BYE, the deliveries taken are handled (those left after drain_timeout released), then closes."""
        deadline = time.monotonic() + self.drain_timeout
        if self.connected:
            self._last_id += 1
            ping = self._last_id
            # PONG comes behind every delivery that was under way when the daemon read BYE.
            self._emit(encode("BYE", 0) + encode("PING", ping))
            until = min(deadline, time.monotonic() + PONG_TIMEOUT)
            while self.connected and ping not in self._pongs and time.monotonic() < until:
                self._pump(max(0.0, until - time.monotonic()))
            while self._queue and self.connected and time.monotonic() < deadline:
                self._handle(self._queue.popleft())
            for delivery in list(self._open.values()):
                self._settle(delivery, "ERR", "release")
            self._flush()
        self._disconnect("closed")

    # I/O

    def _begin(self, verb, subject, value, headers, timeout, keep):
        deadline = self._ensure(self.connect_timeout if timeout is None else timeout, timeout)
        left = None if deadline is None else max(0.001, deadline - time.monotonic())
        return self._call(verb, subject, value, headers, left, keep), deadline

    def _end_call(self, call):
        if not call.done and self.connected:
            self._drop_call(call)
            self._flush()

    def _await(self, call, deadline):
        """One step of waiting; False once the call is done. Raises Error `timeout`."""
        if call.done:
            return False
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Error("timeout", "no answer in time")
        self._pump(left)
        return not call.done

    def _ensure(self, patience, timeout=None):
        """Connected, or raises. Returns the deadline that `timeout` from now makes."""
        start, attempt = time.monotonic(), 0
        deadline = None if timeout is None else start + timeout
        while not self.connected or (self._draining and not self._open):
            error = self._dial()
            if error is None:
                break
            if self._refusal is error and error.code not in PASSING and not self._epoch_connected:
                raise error
            wait = backoff(attempt)
            attempt += 1
            if patience is not None and time.monotonic() + wait > start + patience:
                raise self._unreachable(error)
            _say_away(self.socket, error, attempt - 1)
            self._sleep(wait)
        return deadline

    _epoch_connected = False     # a HELLO was answered once: later refusals are waited out

    def _dial(self):
        if self._sock:
            self._disconnect("the daemon drains")
        sock = socketlib.socket(socketlib.AF_UNIX, socketlib.SOCK_STREAM)
        sock.settimeout(HELLO_TIMEOUT)
        try:
            sock.connect(self.socket)
        except OSError as e:
            sock.close()
            return e
        sock.setblocking(False)
        self._sock = sock
        self._start()
        until = time.monotonic() + HELLO_TIMEOUT
        while self._sock and not self._hello and not self._refusal and time.monotonic() < until:
            self._pump(until - time.monotonic())
        if not self.connected:
            error = self._refusal or OSError("the daemon closed the connection or did not say HELLO")
            self._disconnect(str(error))
            return error
        self._epoch_connected = True
        self._resubscribe()
        return None

    def _disconnect(self, why):
        if self._sock:
            self._sock.close()
            self._sock = None
        self._out, self._out_size = [], 0
        self._queue.clear()
        self._lost(why)

    def _emit(self, data):
        if not self._out:
            self._first = time.monotonic()
        self._out.append(data)
        self._out_size += len(data)

    def _flush(self):
        while self._out and self._sock:
            view = memoryview(b"".join(self._out))
            self._out, self._out_size = [], 0
            while view and self._sock:
                try:
                    view = view[self._sock.send(view):]
                except BlockingIOError:
                    # Read while waiting to write: the daemon may not take more before we take what it has for us.
                    if self._ready(None, select.POLLIN | select.POLLOUT) & select.POLLIN:
                        self._read()
                except OSError as e:
                    self._disconnect(str(e))

    def _pump(self, timeout):
        """Sends what waits, then reads once, waiting up to timeout."""
        self._flush()
        if self._sock and not self._read():
            if self._ready(timeout, select.POLLIN):
                self._read()

    def _read(self):
        """Takes what the socket holds; False if nothing."""
        try:
            data = self._sock.recv(READ_SIZE)
            if not data:
                self._disconnect("the daemon closed the connection")
            else:
                self._receive(data)
            return True
        except BlockingIOError:
            return False
        except (OSError, Error) as e:
            if isinstance(e, Error):
                self._emit(encode("ERR", 0, e.code, b"", str(e.detail).encode()))
                self._flush()
            self._disconnect(str(e))
            return True

    def _ready(self, timeout, events):
        poll = select.poll()
        if self._sock:
            poll.register(self._sock, events)
        if self._wake:
            poll.register(self._wake[0], select.POLLIN)
        fd = self._sock.fileno() if self._sock else -1
        got = dict(poll.poll(None if timeout is None else max(0, timeout * 1000)))
        if self._wake and got.get(self._wake[0].fileno()):
            self._wake[0].recv(64)
        return got.get(fd, 0)

    def _sleep(self, seconds):
        self._ready(seconds, 0)
        if self._stopping and not self._busy:
            raise Error("unavailable", "stopped while reconnecting")

    def _deliver(self, delivery):
        self._queue.append(delivery)

    def _cancel(self, delivery):
        if delivery in self._queue:
            self._queue.remove(delivery)
            self._fail(delivery, Reject("failed", "cancelled"))

    def _extend(self, delivery):
        super()._extend(delivery)
        self._pump(0)

    def _handle(self, delivery):
        self._busy = True
        try:
            value = self._handler(delivery)(delivery.data, delivery)
            if inspect.isgenerator(value):
                value = self._drive(delivery, value)
            elif inspect.isawaitable(value) or inspect.isasyncgen(value):
                raise TypeError("async handlers need AsyncService")
            self._answer(delivery, value)
        except Exception as e:
            self._fail(delivery, e)
        finally:
            self._busy = False
        if self._out_size > FLUSH_SIZE or (self._out and time.monotonic() - self._first > FLUSH_AFTER):
            self._flush()

    def _drive(self, delivery, generator):
        while not delivery.cancelled:
            try:
                self._item(delivery, next(generator))
            except StopIteration as e:
                return e.value
            if time.monotonic() - self._first > FLUSH_AFTER:
                self._pump(0)
        generator.close()
        raise Reject("failed", "cancelled")

    def _signals(self):
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        old = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
        self._wake[1].setblocking(False)
        wake = signal.set_wakeup_fd(self._wake[1].fileno(), warn_on_full_buffer=False)

        def stop(number, frame):
            self._stopping = True
            signal.signal(number, signal.SIG_DFL)
        for number in old:
            signal.signal(number, stop)

        def restore():
            signal.set_wakeup_fd(wake)
            for number, action in old.items():
                signal.signal(number, action)
        return restore


# --- the asyncio client ---------------------------------------------------------------------------------------------

class _Wire(asyncio.Protocol):
    """One connection of an AsyncClient: batches writes of one loop turn, knows when the peer does not read."""

    def __init__(self, client):
        self.client, self.loop = client, asyncio.get_running_loop()
        self.out, self.transport, self.scheduled, self.paused = [], None, False, None
        self.closed, self.writable, self.greeted = self.loop.create_future(), asyncio.Event(), self.loop.create_future()
        self.writable.set()

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 20)
        self.client._wire = self
        self.client._start()

    def data_received(self, data):
        client = self.client
        try:
            client._receive(data)
        except Error as e:
            self.emit(encode("ERR", 0, e.code, b"", str(e.detail).encode()))
            self.flush()
            self.transport.close()
        if not self.greeted.done() and (client._hello or client._refusal):
            self.greeted.set_result(None)

    def connection_lost(self, exc):
        if self.paused:
            self.paused.cancel()
            self.paused = None
        self.client._wire = None
        self.client._lost(str(exc or "the daemon closed the connection"))
        self.client._drop_tasks()
        self.writable.set()
        for future in (self.greeted, self.closed):
            if not future.done():
                future.set_result(None)

    def pause(self):
        """Somebody reads a stream too slowly."""
        if not self.paused:
            self.transport.pause_reading()
            self.paused = self.loop.call_later(STREAM_PAUSE, self.resume)

    def resume(self):
        if self.paused:
            self.paused.cancel()
            self.paused = None
            self.transport.resume_reading()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def emit(self, data):
        self.out.append(data)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self):
        self.scheduled = False
        if self.out:
            data, self.out = b"".join(self.out), []
            self.transport.write(data)


class AsyncClient(_Base):
    """The asyncio client. Handlers may be plain functions (run in the loop: keep them short), coroutines, generators
    or async generators; up to `credit` of them run at once. A handler whose asker has gone is cancelled.
    `async with AsyncClient("name") as c:` connects and closes."""
    __doc__ += "\n\n" + _Base.__doc__

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._wire, self._keeper, self._up, self._idle, self._first = None, None, None, None, None
        self._stop = None

    async def __aenter__(self):
        await self.connect()
        return self

    async def __aexit__(self, *exc):
        await self.close()

    @property
    def connected(self):
        return self._wire is not None and self._hello

    async def connect(self):
        """As Client.connect."""
        if self._keeper is None:
            loop = asyncio.get_running_loop()
            self._up, self._idle, self._first = asyncio.Event(), asyncio.Event(), loop.create_future()
            self._closing = False
            self._keeper = loop.create_task(self._keep())
        try:
            await asyncio.wait_for(asyncio.shield(self._first), self.connect_timeout)
        except asyncio.TimeoutError:
            await self.close()
            raise self._unreachable(self._refusal or "timed out") from None
        except Error:
            await self.close()
            raise

    async def request(self, subject, value=None, headers=None, timeout=None):
        """As Client.request. Cancelling the awaiting task cancels the request."""
        left = await self._available(timeout)
        call = self._call("REQ", subject, value, headers, left, 1)
        try:
            await self._done(call, left)
            return call._result()
        finally:
            self._end_call(call)

    async def request_stream(self, subject, value=None, headers=None, timeout=None):
        """As Client.request_stream, an async generator. Where items come faster than they are taken (above 256 of them, or
        1 MiB), the connection is not read for up to half a second at a time, unless another call waits for an answer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = await self._available(timeout)
        call = self._call("REQ", subject, value, headers, left, None)
        news = asyncio.Event()
        call.wake = news.set
        try:
            while True:
                while call.items:
                    item = call._take()
                    self._rein(call)
                    yield item
                if call.done:
                    break
                news.clear()
                await self._timed(news.wait(), None if deadline is None else deadline - time.monotonic())
            call._result()
        finally:
            self._end_call(call)

    async def publish(self, subject, value=None, headers=None, ack=True, timeout=None):
        """As Client.publish; also waits while the daemon does not read."""
        left = await self._available(timeout)
        call = self._call("PUB", subject, value, headers, ack=ack)
        if self._wire:
            await self._wire.writable.wait()
        try:
            await self._done(call, left)
            call._result()
        finally:
            self._calls.pop(call.id, None)

    async def subscribe(self, filter, handler, group=None):
        """As Client.subscribe."""
        filter = _subject(filter)
        await self._available(None)
        self._router.add(filter, handler)
        call = self._call("SUB", filter, None, {"group": group} if group else None)
        self._subs[filter] = (group, call.id)
        await self._done(call, None)
        if call.error and call.error.code != "unavailable":
            self._subs.pop(filter, None)
            self._router.remove(filter)
        call._result()

    async def unsubscribe(self, filter):
        """As Client.unsubscribe."""
        filter = _subject(filter)
        _, id_ = self._subs.pop(filter, (None, None))
        self._router.remove(filter)
        if id_ is None or not self.connected:
            return
        call = self._calls[id_] = Staged(id_, 1)
        self._emit(encode("UNSUB", id_))
        await self._done(call, None)
        call._result()

    async def serve(self):
        """As Client.run, in a running loop."""
        self._stop, loop = asyncio.Event(), asyncio.get_running_loop()
        main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGTERM, signal.SIGINT) if main else ():
            loop.add_signal_handler(number, self._on_signal, loop, number)
        keep, self.connect_timeout = self.connect_timeout, None
        try:
            connect, stop = loop.create_task(self.connect()), loop.create_task(self._stop.wait())
            await asyncio.wait((connect, stop), return_when=asyncio.FIRST_COMPLETED)
            if connect.done():
                connect.result()
            else:
                connect.cancel()
            await stop
        finally:
            self.connect_timeout = keep
            await self.close()
            for number in (signal.SIGTERM, signal.SIGINT) if main else ():
                loop.remove_signal_handler(number)

    def run(self):
        """asyncio.run(self.serve())"""
        asyncio.run(self.serve())

    def stop(self):
        """Makes serve() drain and return; from the loop's thread."""
        if self._stop:
            self._stop.set()

    async def close(self):
        """As Client.close; handlers still running after drain_timeout are cancelled, their deliveries released."""
        if self._keeper is None:
            return
        self._closing = True
        if self.connected:
            self._wire.resume()
            deadline = time.monotonic() + self.drain_timeout
            self._last_id += 1
            ping = self._last_id
            self._emit(encode("BYE", 0) + encode("PING", ping))
            await self._until(lambda: ping in self._pongs, min(PONG_TIMEOUT, self.drain_timeout))
            await self._until(lambda: not self._open, deadline - time.monotonic())
            for delivery in list(self._open.values()):
                self._settle(delivery, "ERR", "release")
                if delivery._task:
                    delivery._task.cancel()
        wire = self._wire
        if wire:
            wire.flush()
            wire.transport.close()
            await self._timed(asyncio.shield(wire.closed), self.drain_timeout, quiet=True)
        keeper, self._keeper = self._keeper, None
        keeper.cancel()
        await asyncio.wait((keeper,))

    # I/O

    async def _keep(self):
        """Keeps a connection up until close()."""
        attempt = 0
        while not self._closing:
            wire = error = None
            try:
                _, wire = await asyncio.get_running_loop().create_unix_connection(lambda: _Wire(self), self.socket)
                await self._timed(asyncio.shield(wire.greeted), HELLO_TIMEOUT, quiet=True)
            except OSError as e:
                error = e
            if wire and self.connected:
                attempt = 0
                self._resubscribe()
                self._up.set()
                if not self._first.done():
                    self._first.set_result(None)
                await wire.closed
            elif wire:
                wire.transport.abort()
                await wire.closed
                error = self._refusal
                if error and error.code not in PASSING and not self._first.done():
                    self._first.set_exception(error)
                    return
            if not self._closing:
                _say_away(self.socket, error or "the connection has ended", attempt)
                await asyncio.sleep(backoff(attempt))
                attempt += 1

    async def _available(self, timeout):
        """Waits for a connection; returns what is left of timeout (None stays None)."""
        if self._keeper is None:
            await self.connect()
        if self.connected and (not self._draining or self._open):
            return timeout
        start, patience = time.monotonic(), self.connect_timeout if timeout is None else timeout
        try:
            await asyncio.wait_for(self._up.wait(), patience)
        except asyncio.TimeoutError:
            raise self._unreachable("timed out") from None
        return None if timeout is None else max(0.001, timeout - (time.monotonic() - start))

    async def _done(self, call, timeout):
        if not call.done:
            future = asyncio.get_running_loop().create_future()
            call.wake = lambda: future.done() or not call.done or future.set_result(None)
            await self._timed(future, timeout)

    async def _timed(self, awaitable, timeout, quiet=False):
        try:
            await asyncio.wait_for(awaitable, timeout)
        except asyncio.TimeoutError:
            if not quiet:
                raise Error("timeout", "no answer in time") from None

    async def _until(self, condition, timeout):
        """Waits for a condition that changes when frames come or deliveries settle."""
        until = time.monotonic() + timeout
        while self.connected and not condition() and time.monotonic() < until:
            self._idle.clear()
            await self._timed(self._idle.wait(), max(0.0, until - time.monotonic()), quiet=True)

    def _end_call(self, call):
        if self._wire:
            self._wire.resume()
        if not call.done and self.connected:
            self._drop_call(call)
            self._after_bye()

    def _emit(self, data):
        if self._wire:
            self._wire.emit(data)

    def _call(self, *args, **kwargs):
        if self._wire:
            self._wire.resume()                # what is asked for now has to be heard
        return super()._call(*args, **kwargs)

    def _on_more(self, frame):
        super()._on_more(frame)
        call = self._calls.get(frame.id)
        if call and call._above(STREAM_HIGH, STREAM_HIGH_BYTES) and self._wire and not self._closing \
                and all(c.items.maxlen is None and c.items for c in self._calls.values()):
            self._wire.pause()

    def _rein(self, call):
        if self._wire and (not call.items or not call._above(STREAM_HIGH, STREAM_HIGH_BYTES)):
            self._wire.resume()

    def _receive(self, data):
        super()._receive(data)
        self._idle.set()
        self._after_bye()

    def _settle(self, *args):
        super()._settle(*args)
        self._idle.set()
        self._after_bye()

    def _after_bye(self):
        """The daemon drains: once nothing is under way this connection ends, and the keeper makes the next."""
        if self._draining:
            self._up.clear()
            if self._wire and not self._open and not self._calls:
                self._wire.flush()
                self._wire.transport.close()

    def _on_signal(self, loop, number):
        loop.remove_signal_handler(number)
        self.stop()

    def _deliver(self, delivery):
        try:
            value = self._handler(delivery)(delivery.data, delivery)
            if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
                delivery._task = asyncio.get_running_loop().create_task(self._finish(delivery, value))
            else:
                self._answer(delivery, value)
        except Exception as e:
            self._fail(delivery, e)

    async def _finish(self, delivery, value):
        try:
            if inspect.isasyncgen(value):
                async for item in value:
                    await self._push(delivery, item)
                value = None
            elif inspect.isgenerator(value):
                value = await self._drive(delivery, value)
            else:
                value = await value
            self._answer(delivery, value)
        except asyncio.CancelledError:
            self._fail(delivery, Reject("failed", "cancelled"))
        except Exception as e:
            self._fail(delivery, e)

    async def _drive(self, delivery, generator):
        while True:
            try:
                item = next(generator)
            except StopIteration as e:
                return e.value
            await self._push(delivery, item)

    async def _push(self, delivery, item):
        self._item(delivery, item)
        wire = self._wire
        if wire and not wire.writable.is_set():
            await wire.writable.wait()
        else:
            await asyncio.sleep(0)

    def _cancel(self, delivery):
        if delivery._task:
            # Later, so that a task which has not begun yet begins, and its coroutine is not left unawaited.
            asyncio.get_running_loop().call_soon(delivery._task.cancel)
            self._fail(delivery, Reject("failed", "cancelled"))

    def _lost(self, why):
        self._up.clear()                       # now, not when the keeper's turn comes
        self._orphans = [d._task for d in self._open.values() if d._task]
        super()._lost(why)

    def _drop_tasks(self):
        """Handlers of a lost connection are cancelled: their deliveries are the daemon's to retry."""
        for task in self._orphans:
            asyncio.get_running_loop().call_soon(task.cancel)


Service, AsyncService = Client, AsyncClient
