import os
import random
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import bellhop
from bellhop import Decoder, Frame, FrameError, Headers, encode, encode_headers

FRAMES = [
    Frame("HELLO", 0, "bellhopd", b"version: 1\n", b""),
    Frame("REQ", 1, '{"cmd":"sum one"}', b"a: 1\nb: \n", b"[1,2]\nPUB 1 0 0 x\n"),
    Frame("OK", 18446744073709551615, "", b"", b""),
    Frame("PUB", 7, "zamówienie.🐢", "x: ż\n".encode(), bytes(range(256))),
]
STREAM = b"".join(encode(*f) for f in FRAMES)


class DecoderTest(unittest.TestCase):
    def test_glued(self):
        self.assertEqual(Decoder().feed(STREAM), FRAMES)

    def test_every_cut(self):
        for cut in range(len(STREAM) + 1):
            decoder = Decoder()
            self.assertEqual(decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:]), FRAMES, cut)

    def test_byte_by_byte(self):
        decoder = Decoder()
        self.assertEqual([f for b in STREAM for f in decoder.feed(bytes([b]))], FRAMES)

    def test_random_pieces(self):
        rng = random.Random(7)
        for _ in range(50):
            decoder, frames, pos = Decoder(), [], 0
            while pos < len(STREAM) * 3:
                size = rng.randrange(1, 200)
                frames += decoder.feed((STREAM * 3)[pos:pos + size])
                pos += size
            self.assertEqual(frames, FRAMES * 3)

    def test_bad(self):
        for bytes_, offset in ((b"hello 1 0 0\n", 0), (b"OK 1 0\n", 0), (b"OK x 0 0\n", 0), (b"OK -1 0 0\n", 0),
                               (b"OK  1 0 0\n", 0), (b"OK 1 65537 0\n", 0), (b"OK 1 0 67108865\n", 0), (b"\n", 0),
                               (b"OK 18446744073709551616 0 0\n", 0), (b"OK 1 0 0\nOK 1 0 \xff\n", 9),
                               (b"PUB 1 0 0 \xff\n", 0), (b"PUB 1 0 0 a\x00b\n", 0), (b"PUB 1 0 0 a\tb\n", 0),
                               (b"PUB 1 0 0 " + b"x" * 1025 + b"\n", 0), (b"A" * 2048, 0)):
            with self.subTest(bytes_[:40]), self.assertRaises(FrameError) as e:
                Decoder().feed(bytes_)
            self.assertEqual(e.exception.offset, offset)
            self.assertEqual(e.exception.code, "bad-frame")

    def test_offset_counts_from_the_first_byte(self):
        decoder = Decoder()
        decoder.feed(b"OK 1 0 0\nO")
        with self.assertRaises(FrameError) as e:
            decoder.feed(b"K 1 0\n")
        self.assertEqual(e.exception.offset, 9)

    def test_body_limit(self):
        self.assertEqual(len(Decoder(limit=4).feed(b"REP 1 0 4\nabcd")), 1)
        with self.assertRaises(FrameError):
            Decoder(limit=4).feed(b"REP 1 0 5\n")

    def test_large_body_in_pieces(self):
        body, decoder = bytes(3 << 20), Decoder()
        data = encode("REP", 1, "", b"", body)
        frames = [f for i in range(0, len(data), 65536) for f in decoder.feed(data[i:i + 65536])]
        self.assertEqual(frames, [Frame("REP", 1, "", b"", body)])


class HeadersTest(unittest.TestCase):
    def test_round_trip(self):
        raw = encode_headers([("a", "1"), ("X-Name", "ż ółw: 2"), ("a", "2"), ("e", "")])
        headers = Headers.parse(raw)
        self.assertEqual(headers.pairs, [("a", "1"), ("x-name", "ż ółw: 2"), ("a", "2"), ("e", "")])
        self.assertEqual((headers["a"], headers.get_all("a"), headers.get("no")), ("1", ["1", "2"], None))
        self.assertEqual(encode_headers(headers), raw)
        self.assertEqual(encode_headers({"a": ["1", 2]}), b"a: 1\na: 2\n")

    def test_bad_raw(self):
        for raw in (b"a: 1", b"a\n", b": 1\n", b"A: 1\n", b"a b: 1\n", b"a: \x01\n", b"a: \xff\n", b"\n", b"a: 1\n" * 129):
            with self.subTest(raw[:20]), self.assertRaises(bellhop.Error):
                Headers.parse(raw)

    def test_refused(self):
        for headers, code in (({"a b": 1}, "invalid"), ({"a": "x\ny"}, "invalid"), ({"": 1}, "invalid"),
                              ({"a": "\ud800"}, "invalid"), ({"a": "x" * 65536}, "too-large"),
                              ([("a", 1)] * 129, "too-large"), ({"a" * 129: 1}, "invalid")):
            with self.assertRaises(bellhop.Error) as e:
                encode_headers(headers)
            self.assertEqual(e.exception.code, code)

    def test_with_ours_too_many(self):
        """The daemon would take a block above the limits for a bad frame, and end the connection."""
        client = bellhop.Client("unit")
        lines = [("a", 1)] * 127
        client._call("REQ", "x", None, lines, 1.0)
        for value, headers in ((None, lines + [("b", 2)]), ("x", lines), (None, {"a": "x" * 65520})):
            with self.assertRaises(bellhop.Error) as e:
                client._call("REQ", "x", value, headers, 1.0)
            self.assertEqual(e.exception.code, "too-large")
        self.assertEqual(len(client._calls), 1)


class ValuesTest(unittest.TestCase):
    def test_round_trip(self):
        for value in (None, b"\x00\xff", "tekst ż", [1, {"a": None}], 7, True, {"ż": 1.5}):
            body, kind = bellhop._to_body(value)
            self.assertEqual(bellhop._from_body(body, kind), value)

    def test_without_content_type(self):
        for body, value in ((b"", None), (b"[1]", [1]), (b"no json", b"no json"), (b"[" * 100000, b"[" * 100000)):
            self.assertEqual(bellhop._from_body(body, None), value)

    def test_content_type_that_lies(self):
        for body, kind in ((b"{", "application/json"), (b"\xff", "text/plain"), (b"x", "application/problem+json")):
            with self.assertRaises(bellhop.Error) as e:
                bellhop._from_body(body, kind)
            self.assertEqual(e.exception.code, "invalid")

    def test_pattern(self):
        self.assertEqual(bellhop.pattern({"cmd": "sum", "a": {"z": 1, "b": True}}),
                         '{"a":{"b":true,"z":1},"cmd":"sum"}')
        self.assertEqual((bellhop.pattern("sum"), bellhop.pattern(7)), ("sum", "7"))

    def test_duration(self):
        for text, seconds in (("1500ms", 1.5), ("1h30m", 5400.0), ("2s", 2.0), ("x", None), ("5", None), ("", None)):
            self.assertEqual(bellhop._duration(text), seconds)

    def test_backoff(self):
        self.assertEqual([bellhop.backoff(n, lambda: 1.0) for n in (0, 1, 2, 5, 6, 99)], [0.1, 0.2, 0.4, 3.2, 5.0, 5.0])
        self.assertEqual(bellhop.backoff(9, lambda: 0.0), 0.0)


class RouterTest(unittest.TestCase):
    def test_find(self):
        router = bellhop._Router()
        for subject in ("order.new", "order.*", "a.>", "*.x.*", '{"cmd":"*"}', "all.>.no"):
            router.add(subject, subject)
        for subject, handler in (("order.new", "order.new"), ("order.old", "order.*"), ("order/old", "order.*"),
                                 ("order.a.b", None), ("order", None), ("a", None), ("a.b", "a.>"), ("a.b.c", "a.>"),
                                 ("q.x.q", "*.x.*"), ('{"cmd":"*"}', '{"cmd":"*"}'), ('{"cmd":"y"}', None)):
            for _ in range(2):
                self.assertEqual(router.find(subject), handler, subject)
        router.default = "default"
        self.assertEqual(router.find("none"), "default")
        router.remove("order.*")
        self.assertEqual(router.find("order.old"), "default")


if __name__ == "__main__":
    unittest.main()
