'use strict';
const assert = require('node:assert');
const { test } = require('node:test');
const codec = require('../codec.js');

const { Decoder, Router, VERB, encode } = codec;
const FRAMES = [
    ['HELLO', 0, 'bellhopd', 'version: 1\n', ''],
    ['REQ', 1, '{"cmd":"sum one"}', 'a: 1\nb: \n', '[1,2]\nPUB 1 0 0 x\n'],
    ['OK', 18446744073709551615n, '', '', ''],
    ['PUB', 7, 'zamówienie.🐢', 'x: ż\n', Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1')],
];
const bytesOf = ([verb, id, subject, raw, body]) => encode(verb, id, subject, raw, Buffer.from(body, 'latin1'));
const STREAM = Buffer.concat(FRAMES.map(bytesOf));
const NAME = Object.fromEntries(Object.entries(VERB).map(([name, code]) => [code, name]));

function collector(limit) {
    const frames = [];
    const decoder = new Decoder((verb, id, b, subject, headers, body, end) => frames.push([
        NAME[verb] || 'other', id, subject < 0 ? '' : b.toString('utf8', subject, headers - 1),
        b.toString('utf8', headers, body), b.toString('latin1', body, end)]), limit);
    return { frames, feed: (bytes) => decoder.feed(bytes) };
}

test('glued frames', () => {
    const c = collector();
    c.feed(STREAM);
    assert.deepStrictEqual(c.frames, FRAMES);
});

test('a cut at every byte', () => {
    for (let cut = 0; cut <= STREAM.length; cut++) {
        const c = collector();
        c.feed(STREAM.subarray(0, cut));
        c.feed(STREAM.subarray(cut));
        assert.deepStrictEqual(c.frames, FRAMES, `cut at ${cut}`);
    }
});

test('two cuts at every pair of bytes of a short stream', () => {
    const short = STREAM.subarray(0, 90);
    const whole = collector();
    whole.feed(short);
    for (let a = 0; a <= short.length; a++) {
        for (let b = a; b <= short.length; b++) {
            const c = collector();
            for (const piece of [short.subarray(0, a), short.subarray(a, b), short.subarray(b)]) c.feed(piece);
            assert.deepStrictEqual(c.frames, whole.frames);
        }
    }
});

test('byte by byte, and in pieces of every size', () => {
    for (let size = 1; size < 64; size++) {
        const c = collector();
        for (let i = 0; i < STREAM.length; i += size) c.feed(STREAM.subarray(i, i + size));
        assert.deepStrictEqual(c.frames, FRAMES, `size ${size}`);
    }
});

test('bad frames name their offset', () => {
    for (const [text, offset] of [['hello 1 0 0\n', 0], ['OK 1 0\n', 0], ['OK x 0 0\n', 0], ['OK -1 0 0\n', 0],
        ['OK  1 0 0\n', 0], ['OK 1 65537 0\n', 0], ['OK 1 0 67108865\n', 0], ['\n', 0], ['OK 18446744073709551616 0 0\n', 0],
        ['OK 1 0 0\nOK 1 0 \xff\n', 9], ['PUB 1 0 0 \xff\n', 0], ['PUB 1 0 0 a\x00b\n', 0], ['PUB 1 0 0 a\tb\n', 0],
        [`PUB 1 0 0 ${'x'.repeat(1025)}\n`, 0], ['A'.repeat(2048), 0], [`OK ${'1'.repeat(30)}`, 0]]) {
        assert.throws(() => collector().feed(Buffer.from(text, 'latin1')),
            (e) => e.code === 'bad-frame' && e.message.includes(`offset ${offset}:`), text.slice(0, 40));
    }
    const c = collector();
    c.feed(Buffer.from('OK 1 0 0\nO'));
    assert.throws(() => c.feed(Buffer.from('K 1 0\n')), /offset 9:/);
});

test('bad frames are bad wherever they are cut', () => {
    const bad = Buffer.from('OK 1 0 0\nPUB 1 0 0 a\x01\nOK 2 0 0\n');
    for (let cut = 0; cut < bad.length; cut++) {
        const c = collector();
        assert.throws(() => { c.feed(bad.subarray(0, cut)); c.feed(bad.subarray(cut)); }, /offset 9: control/);
        assert.deepStrictEqual(c.frames, [['OK', 1, '', '', '']]);
    }
});

test('the body limit, and a large body in pieces', () => {
    assert.throws(() => collector(4).feed(Buffer.from('REP 1 0 5\n')), /above its limit/);
    const c = collector();
    const data = encode('REP', 1, '', '', Buffer.alloc(3 << 20));
    for (let i = 0; i < data.length; i += 65536) c.feed(data.subarray(i, i + 65536));
    assert.strictEqual(c.frames[0][4].length, 3 << 20);
});

test('unknown verbs are told apart from known ones', () => {
    const c = collector();
    c.feed(Buffer.from('FUTUREVERB 1 0 0\nB 1 0 0\nREP 2 0 0\n'));
    assert.deepStrictEqual(c.frames.map((f) => f[0]), ['other', 'other', 'REP']);
});

test('headers', () => {
    const raw = codec.encodeHeaders([['a', 1], ['X-Name', 'ż ółw: 2'], ['a', 2], ['e', '']]);
    assert.deepStrictEqual(codec.parseHeaders(Buffer.from(raw)), [['a', '1'], ['x-name', 'ż ółw: 2'], ['a', '2'], ['e', '']]);
    assert.strictEqual(codec.encodeHeaders({ a: ['1', 2] }), 'a: 1\na: 2\n');
    for (const bad of ['a: 1', 'a\n', ': 1\n', 'A: 1\n', 'a b: 1\n', 'a: \x01\n', 'a: \xff\n', '\n', 'a: 1\n'.repeat(129)]) {
        assert.throws(() => codec.parseHeaders(Buffer.from(bad, 'latin1')), { code: 'bad-frame' }, bad.slice(0, 20));
    }
    for (const [headers, code] of [[{ 'a b': 1 }, 'invalid'], [{ a: 'x\ny' }, 'invalid'], [{ '': 1 }, 'invalid'],
        [{ a: '\ud800' }, 'invalid'], [{ ['a'.repeat(129)]: 1 }, 'invalid'], [{ a: 'x'.repeat(65536) }, 'too-large'], [Array(129).fill(['a', 1]), 'too-large']]) {
        assert.throws(() => codec.encodeHeaders(headers), { code });
    }
    const types = (text) => codec.contentType(Buffer.from(text), 0, text.length);
    assert.strictEqual(types('content-type: a/b\nx: 1\n'), 'a/b');
    assert.strictEqual(types('x: content-type: no\ncontent-type: a/b\n'), 'a/b');
    assert.strictEqual(types('x: content-type: no\n'), '');
});

test('values', () => {
    const back = (value) => {
        const { body, type } = codec.toBody(value);
        const bytes = Buffer.from(body);
        return codec.fromBody(bytes, 0, bytes.length, type.slice(14).trim());
    };
    for (const value of [undefined, null, 'tekst ż', [1, { a: null }], 7, true, { ż: 1.5 }]) {
        assert.deepStrictEqual(back(value), value);
    }
    assert.deepStrictEqual(back(new Uint8Array([0, 255])), Buffer.from([0, 255]));
    const plain = (bytes, type = '') => codec.fromBody(Buffer.from(bytes, 'latin1'), 0, bytes.length, type);
    assert.deepStrictEqual(plain('no json'), Buffer.from('no json'));
    assert.deepStrictEqual(plain('"\xff"'), Buffer.from('"\xff"', 'latin1'));
    assert.throws(() => plain('{', 'application/json'), { code: 'invalid' });
    assert.throws(() => plain('\xff', 'text/plain'), { code: 'invalid' });
    assert.throws(() => plain('x', 'application/problem+json'), { code: 'invalid' });
    assert.throws(() => codec.toBody(() => 1), { code: 'invalid' });
});

test('patterns, durations, sizes, back-off', () => {
    assert.strictEqual(codec.pattern({ cmd: 'sum', a: { z: 1, b: true } }), '{"a":{"b":true,"z":1},"cmd":"sum"}');
    assert.strictEqual(codec.pattern({ 2: 'b', 10: 'a' }), '{"10":"a","2":"b"}');
    assert.deepStrictEqual(['1500ms', '1h30m', '2s', 'x', '5', ''].map(codec.parseDuration),
        [1500, 5400000, 2000, undefined, undefined, undefined]);
    assert.deepStrictEqual(['1048576', '2MiB', undefined, 'x'].map(codec.parseSize), [1048576, 2 << 20, 1 << 20, 1 << 20]);
    assert.deepStrictEqual([0, 1, 2, 5, 6, 99].map((n) => codec.backoff(n, () => 1)), [100, 200, 400, 3200, 5000, 5000]);
    assert.strictEqual(codec.backoff(9, () => 0), 0);
});

test('router', () => {
    const router = new Router();
    for (const s of ['order.new', 'order.*', 'a.>', '*.x.*', '{"cmd":"*"}', 'all.>.no']) router.add(s, s);
    const cases = [['order.new', 'order.new'], ['order.old', 'order.*'], ['order/old', 'order.*'], ['order.a.b', undefined],
        ['order', undefined], ['a', undefined], ['a.b', 'a.>'], ['a.b.c', 'a.>'], ['q.x.q', '*.x.*'],
        ['{"cmd":"*"}', '{"cmd":"*"}'], ['{"cmd":"y"}', undefined]];
    for (const [subject, want] of [...cases, ...cases]) assert.strictEqual(router.find(subject), want, subject);
    router.fallback = 'default';
    assert.strictEqual(router.find('none'), 'default');
    router.remove('order.*');
    assert.strictEqual(router.find('order.old'), 'default');
});
