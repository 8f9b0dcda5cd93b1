'use strict';
const assert = require('node:assert');
const { test } = require('node:test');
const bellhop = require('..');
const { fake } = require('./fake.js');

const { Client, Service, Retry, Reject, Release, Response } = bellhop;
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const quiet = { log() {} };

function addHandlers(s) {
    const fates = [];
    s.on({ cmd: 'sum' }, (numbers) => numbers.reduce((a, b) => a + b, 0));
    s.on('sum.async', async (numbers) => numbers.reduce((a, b) => a + b, 0));
    s.on('retry', () => { throw new Retry('later', { after: 1500 }); });
    s.on('again', () => { throw new Retry('later'); });
    s.on('reject', async () => { throw new Reject('invalid', { why: 'ż' }); });
    s.on('release', () => { throw new Release(); });
    s.on('boom', async () => { throw new RangeError('boom'); });
    s.on('none', () => undefined);
    s.on('null', () => null);
    s.on('text', () => 'tekst ż');
    s.on('bytes', () => Buffer.from([0, 1]));
    s.on('big', () => Buffer.alloc((1 << 20) + 1));
    s.on('circular', () => { const o = {}; o.o = o; return o; });
    s.on('filter.>', (_, d) => d.subject);
    s.on('attempt', (_, d) => [d.attempt, d.timeout]);
    s.on('echo', (_, d) => new Response(d.body, d.headerList));
    s.on('slow', async (ms) => { await sleep(ms); return 'slow'; });
    s.on('count', function* count(n) { for (let i = 1; i <= n; i++) yield i; });
    s.on('count.async', async function* count(n) { for (let i = 1; i <= n; i++) { await sleep(1); yield i; } });
    s.on('broken', function* broken() { yield 1; throw new Error('x'); });
    s.on('endless', async function* endless(_, d) { while (!d.signal.aborted) { await sleep(5); yield 1; } });
    s.on('code', () => { throw new Reject('no\nsuch', 'x'); });
    s.on('cleans', function* cleans() { try { yield Buffer.alloc((1 << 20) + 1); yield 1; } finally { s.cleaned = true; } });
    s.on('cleaned', () => s.cleaned);
    s.on('stage', (fail, d) => {
        d.extend();
        d.publish('audit', 'x').then(() => fates.push('ok'), (e) => fates.push(e.code));
        if (fail) throw new Reject('failed', 'no');
    });
    s.on('fates', async () => { await sleep(1); return fates; });
    return s;
}

/** Serves while the scripts run; the last one is followed by stop() and the drain. */
async function serve(scripts, options = {}) {
    let service;
    const last = scripts[scripts.length - 1];
    await fake([...scripts.slice(0, -1), async (c) => {
        await last(c);
        service.stop();
        await c.bye();
    }], async (socket) => {
        service = addHandlers(new Service('unit', { socket, ...quiet, ...options }));
        await service.run();
    });
}

async function sums(c) {
    await c.hello();
    for (const subject of ['{"cmd":"sum"}', 'sum.async']) {
        for (let i = 1; i <= 3; i++) c.send('REQ', i, subject, { attempt: 1 }, `[1,2,${i}]`);
        for (let i = 1; i <= 3; i++) {
            const { id, body, headers } = await c.read('REP');
            assert.deepStrictEqual([id, String(body), headers['content-type']], [i, String(3 + i), 'application/json']);
        }
    }
    c.send('PUB', 9, '{"cmd":"sum"}', {}, '[1]');
    assert.strictEqual((await c.read('OK')).id, 9);
}

test('requests and events are served', () => serve([sums]));

test('every outcome', () => serve([async (c) => {
    await c.hello();
    const text = 'text/plain; charset=utf-8';
    const ask = async (subject, { verb = 'REQ', headers = {}, body = '' } = {}) => {
        c.send(verb, 5, subject, headers, body);
        const frame = await c.read();
        assert.strictEqual(frame.id, 5);
        return [frame.verb, frame.subject, frame.headers, frame.body.toString()];
    };
    const cases = [
        ['retry', ['ERR', 'failed', { retry: 'after 1500ms', 'content-type': text }, 'later']],
        ['again', ['ERR', 'failed', { retry: 'yes', 'content-type': text }, 'later']],
        ['reject', ['ERR', 'invalid', { retry: 'no', 'content-type': 'application/json' }, '{"why":"ż"}']],
        ['release', ['ERR', 'release', {}, '']],
        ['boom', ['ERR', 'failed', { 'content-type': text }, 'RangeError: boom']],
        ['no.such', ['ERR', 'no-route', { retry: 'no', 'content-type': text }, 'service unit has no handler for no.such']],
        ['none', ['REP', '', {}, '']],
        ['null', ['REP', '', { 'content-type': 'application/json' }, 'null']],
        ['text', ['REP', '', { 'content-type': text }, 'tekst ż']],
        ['bytes', ['REP', '', {}, '\0\x01']],
        ['filter.a.b', ['REP', '', { 'content-type': text }, 'filter.a.b']],
    ];
    for (const [subject, want] of cases) assert.deepStrictEqual(await ask(subject), want, subject);
    assert.strictEqual((await ask('big'))[1], 'too-large');
    assert.strictEqual((await ask('circular'))[1], 'failed');
    assert.strictEqual((await ask('code'))[1], 'failed');
    assert.strictEqual((await ask('cleans'))[1], 'too-large');
    assert.strictEqual((await ask('cleaned'))[3], 'true');
    assert.strictEqual((await ask('echo', { headers: { 'x-a': 'ż' } }))[2]['x-a'], 'ż');
    assert.strictEqual((await ask('echo', { headers: { 'content-type': 'application/json' }, body: '{' }))[1], 'invalid');
    assert.strictEqual((await ask('attempt', { headers: { attempt: 3, timeout: '1500ms' } }))[3], '[3,1500]');
    assert.deepStrictEqual(await ask('boom', { verb: 'PUB' }), ['ERR', 'failed', { 'content-type': text }, 'RangeError: boom']);
    c.send('PUB', 0, 'echo');
    c.send('FUTURE', 1, 'verb');
    c.send('PING', 77);
    assert.strictEqual((await c.read('PONG')).id, 77);
}]));

test('streams', () => serve([async (c) => {
    await c.hello();
    for (const subject of ['count', 'count.async']) {
        c.send('REQ', 1, subject, {}, '3');
        const got = [];
        for (let i = 0; i < 4; i++) {
            const { verb, body } = await c.read();
            got.push(`${verb} ${body}`);
        }
        assert.deepStrictEqual(got, ['MORE 1', 'MORE 2', 'MORE 3', 'REP ']);
    }
    c.send('REQ', 2, 'broken');
    await c.read('MORE');
    await c.read('ERR');
    c.send('PUB', 3, 'count', {}, '3');
    assert.strictEqual((await c.read('OK')).id, 3);
    c.send('REQ', 4, 'endless');
    await c.read('MORE');
    c.send('CANCEL', 4);
    for (let frame; (frame = await c.read()).verb !== 'ERR';) assert.strictEqual(frame.verb, 'MORE');
}]));

test('staged publishes', () => serve([async (c) => {
    await c.hello();
    for (const [fail, final] of [['false', 'REP'], ['true', 'ERR']]) {
        c.send('REQ', 4, 'stage', {}, fail);
        assert.strictEqual((await c.read('WAIT')).id, 4);
        const pub = await c.read('PUB');
        assert.deepStrictEqual([pub.subject, pub.headers.with, pub.id > 0], ['audit', '4', true]);
        assert.strictEqual((await c.read(final)).id, 4);
        if (final === 'REP') c.send('OK', pub.id);
        else c.send('ERR', pub.id, 'failed');
    }
    c.send('REQ', 5, 'fates');
    assert.strictEqual(String((await c.read('REP')).body), '["ok","failed"]');
}]));

test('replies of one turn leave in one write', () => serve([async (c) => {
    await c.hello();
    await sleep(50);
    let reads = 0;
    c.socket.on('data', () => { reads++; });
    c.socket.write(Array.from({ length: 64 }, (_, i) => `REQ ${i + 1} 0 3 sum.async\n[1]`).join(''));
    for (let i = 1; i <= 64; i++) assert.strictEqual((await c.read('REP')).id, i);
    assert.ok(reads <= 2, `${reads} reads`);
}]));

test('a flood in pieces that split anywhere', () => serve([async (c) => {
    await c.hello();
    const count = 2000;
    const all = Buffer.from(Array.from({ length: count },
        (_, i) => `REQ ${i + 1} 5 8 echo\nx: 1\n${String(i).padStart(8, '0')}`).join(''));
    for (let i = 0; i < all.length; i += 997) c.socket.write(all.subarray(i, i + 997));
    for (let i = 1; i <= count; i++) assert.strictEqual((await c.read('REP')).id, i);
}]));

test('a bad frame is answered, the client comes back', () => serve([async (c) => {
    await c.hello();
    c.socket.write('REP x 0 0\n');
    const { id, subject, body } = await c.read('ERR');
    assert.deepStrictEqual([id, subject], [0, 'bad-frame']);
    assert.match(String(body), /offset/);
    assert.strictEqual(await c.read(), undefined);
}, sums]));

test('BYE of the daemon: what is under way is answered, then the client comes back', () => serve([async (c) => {
    await c.hello();
    c.send('REQ', 1, 'slow', {}, '150');
    c.send('BYE');
    assert.strictEqual((await c.read('REP')).id, 1);
    assert.strictEqual(await c.read(), undefined);
}, sums]));

test('a draining daemon is waited out, and said to be away once', async () => {
    const said = [];
    const draining = async (c) => {
        await c.read('HELLO');
        c.send('ERR', 0, 'draining');
    };
    await serve([draining, draining, sums], { log: (text, error) => said.push(`${text}: ${error}`) });
    assert.match(said[0], /^no connection to .*, trying again: draining/);
    assert.strictEqual(said.filter((line) => line.includes('draining')).length, 1);
});

test('a refusal of HELLO is thrown', () => fake([async (c) => {
    await c.read('HELLO');
    c.send('ERR', 0, 'denied', {}, 'wrong token');
}], (socket) => assert.rejects(new Service('unit', { socket }).run(), { code: 'denied', detail: 'wrong token' })));

test('SIGTERM drains', () => fake([async (c) => {
    await c.hello();
    c.send('REQ', 1, 'slow', {}, '200');
    await sleep(50);
    process.kill(process.pid, 'SIGTERM');
    const seen = [];
    for (let frame; (frame = await c.read());) {
        seen.push(frame.verb);
        if (frame.verb === 'BYE') c.send('REQ', 2, 'slow', {}, '0');
        if (frame.verb === 'PING') c.send('PONG', frame.id);
    }
    assert.deepStrictEqual(seen.sort(), ['BYE', 'PING', 'REP', 'REP']);
}], (socket) => addHandlers(new Service('unit', { socket })).run()));

test('the drain time-out releases', async () => {
    let service;
    await fake([async (c) => {
        await c.hello();
        c.send('REQ', 1, 'slow', {}, '3000');
        await sleep(50);
        service.stop();
        await c.read('BYE');
        c.send('PONG', (await c.read('PING')).id);
        const { id, subject } = await c.read('ERR');
        assert.deepStrictEqual([id, subject], [1, 'release']);
    }], async (socket) => {
        service = addHandlers(new Service('unit', { socket, drainTimeout: 200 }));
        await service.run();
    });
});

test('a caller', () => fake([async (c) => {
    const name = await c.hello();
    assert.deepStrictEqual([name.subject, name.headers], ['unit', { version: '1', credit: '7', instance: 'one', token: 's3cret' }]);
    for (let f; (f = await c.read());) {
        if (f.verb === 'BYE') continue;
        if (f.verb === 'PING') c.send('PONG', f.id);
        else if (f.subject === 'sum') c.send('REP', f.id, '', { 'x-took': 3 }, String(JSON.parse(f.body).reduce((a, b) => a + b)));
        else if (f.subject === 'stream') {
            c.send('MORE', f.id, '', {}, '1');
            c.send('MORE', f.id, '', {}, '2');
            c.send('REP', f.id, '', {}, f.body);
        } else if (f.subject === 'error') c.send('ERR', f.id, 'no-route', { retry: 'no' }, '{"a":1}');
        else if (f.subject === 'later') c.send('ERR', f.id, 'overloaded', { retry: 'after 2s' }, 'busy');
        else if (f.subject === 'silent') {
            assert.match(f.headers.timeout, /^(100|99)ms$/);
            assert.strictEqual((await c.read('CANCEL')).id, f.id);
            c.send('REP', f.id, '', {}, 'too late');
        } else if (f.subject === 'endless') {
            c.send('MORE', f.id, '', {}, '1');
            assert.strictEqual((await c.read('CANCEL')).id, f.id);
        } else if (f.subject === 'żółw 🐢') c.send('REP', f.id, '', {}, f.body);
        else if (f.verb === 'PUB' && f.id) {
            if (f.subject === 'event') c.send('OK', f.id);
            else c.send('ERR', f.id, 'denied', {}, 'not you');
        } else assert.deepStrictEqual([f.verb, f.subject, String(f.body)], ['PUB', 'forget', 'x']);
    }
}], async (socket) => {
    const c = await new Client('unit', { socket, credit: 7, token: 's3cret', instance: 'one' }).connect();
    const reply = await c.request('sum', [1, 2, 3]);
    assert.deepStrictEqual([reply.data, String(reply.body), reply.headers['x-took']], [6, '6', '3']);
    const list = async (stream) => { const out = []; for await (const m of stream) out.push(m.data); return out; };
    assert.deepStrictEqual(await list(c.requestStream('stream')), [1, 2]);
    assert.deepStrictEqual(await list(c.requestStream('stream', 3)), [1, 2, 3]);
    assert.strictEqual((await c.request('stream')).data, 2);
    assert.strictEqual((await c.request('żółw 🐢', 'ąę', { headers: { 'x-ż': undefined } }).catch((e) => e)).code, 'invalid');
    assert.deepStrictEqual((await c.request('żółw 🐢', { a: 'ąę🐢' }, { headers: { 'x-z': 'ż' } })).data, { a: 'ąę🐢' });
    const many = await Promise.all(Array.from({ length: 50 }, (_, i) => c.request('sum', [i, 1])));
    assert.deepStrictEqual(many.map((m) => m.data), Array.from({ length: 50 }, (_, i) => i + 1));
    await assert.rejects(c.request('error'), { code: 'no-route', detail: { a: 1 }, retry: false });
    await assert.rejects(c.request('later'), { code: 'overloaded', detail: 'busy', retry: 2000 });
    await assert.rejects(c.request('silent', undefined, { timeout: 100 }), { code: 'timeout' });
    for await (const item of c.requestStream('endless')) { assert.strictEqual(item.data, 1); break; }
    await assert.rejects(c.request('endless', undefined, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
    await c.publish('event', 'x');
    await c.publish('forget', Buffer.from('x'), { ack: false });
    await assert.rejects(c.publish('refused'), { code: 'denied' });
    await assert.rejects(c.publish('x', Buffer.alloc((1 << 20) + 1)), { code: 'too-large' });
    for (const bad of ['', 'a\nb', '\ud800', 'x'.repeat(1025)]) await assert.rejects(c.publish(bad), { code: 'invalid' });
    await assert.rejects(c.publish('x', 1, { headers: { a: '\n' } }), { code: 'invalid' });
    assert.strictEqual((await c.request('sum', [1])).data, 1);
    await c.close();
}));

test('a slow reader of a stream holds the daemon back', () => fake([async (c) => {
    await c.hello();
    const req = await c.read('REQ');
    for (let i = 0; i < 20000; i++) c.send('MORE', req.id, '', {}, String(i).padEnd(1024));
    c.send('REP', req.id);
    await sleep(300);
    assert.ok(c.socket.writableLength > 10 << 20, `${c.socket.writableLength} bytes wait at the daemon`);
    await c.bye();
}], async (socket) => {
    const c = await new Client('unit', { socket }).connect();
    let n = 0;
    for await (const item of c.requestStream('flood')) {
        if (n === 0) await sleep(500);
        assert.strictEqual(Number(item.body), n++);
    }
    assert.strictEqual(n, 20000);
    await c.close();
}));

test('what a slow reader has waiting is bounded', () => fake([async (c) => {
    await c.hello();
    const both = [await c.read('REQ'), await c.read('REQ')];
    const req = both.find((f) => f.subject === 'flood');
    const other = both.find((f) => f.subject === 'other');
    for (let i = 0; i < 70000; i++) c.send('MORE', req.id, '', {}, String(i));
    assert.strictEqual((await c.read('CANCEL')).id, req.id);
    c.send('REP', other.id, '', {}, '1');
    await c.bye();
}], async (socket) => {
    const c = await new Client('unit', { socket }).connect();
    const items = c.requestStream('flood');
    const first = items.next();
    assert.strictEqual((await c.request('other')).data, 1); // it is waited for: nothing stops the reading
    assert.strictEqual((await first).value.data, 0);
    let n = 1;
    await assert.rejects(async () => { for await (const item of items) assert.strictEqual(item.data, n++); },
        { code: 'overloaded', detail: /^the stream is read too slowly: 65537 items/ });
    assert.strictEqual(n, 65538);
    await c.close();
}));

test('subscriptions, again after a reconnect', async () => {
    const got = [];
    let stop;
    let again;
    const stopped = new Promise((resolve) => { stop = resolve; });
    const repeated = new Promise((resolve) => { again = resolve; });
    await fake([async (c) => {
        await c.hello();
        const first = await c.read('SUB');
        assert.deepStrictEqual([first.subject, first.headers], ['order.*', { group: 'workers' }]);
        c.send('OK', first.id);
        const second = await c.read('SUB');
        assert.deepStrictEqual([second.subject, second.headers], ['audit.>', {}]);
        c.send('OK', second.id);
        c.send('PUB', 1, 'order.new', {}, '1');
        c.send('PUB', 2, 'audit.x.y', {}, '2');
        c.send('PUB', 3, 'stop');
        for (let i = 1; i <= 3; i++) assert.strictEqual((await c.read('OK')).id, i);
        assert.strictEqual((await c.read('UNSUB')).id, first.id);
        c.send('OK', first.id);
    }, async (c) => {
        await c.hello();
        const sub = await c.read('SUB');
        assert.strictEqual(sub.subject, 'audit.>');
        c.send('OK', sub.id);
        c.send('PUB', 1, 'audit.again', {}, '3');
        assert.strictEqual((await c.read('OK')).id, 1);
        await c.bye();
    }], async (socket) => {
        const c = await new Client('unit', { socket }).connect();
        c.on('stop', () => stop());
        await c.subscribe('order.*', (data, d) => { got.push([d.subject, data]); }, { group: 'workers' });
        await c.subscribe('audit.>', (data, d) => { got.push([d.subject, data]); if (d.subject === 'audit.again') again(); });
        await stopped;
        await c.unsubscribe('order.*');
        await repeated;
        await c.close();
    });
    assert.deepStrictEqual(got, [['order.new', 1], ['audit.x.y', 2], ['audit.again', 3]]);
});

test('a refused subscription leaves nothing behind', () => fake([async (c) => {
    await c.hello();
    c.send('ERR', (await c.read('SUB')).id, 'denied');
    await sleep(20);
    c.send('PUB', 1, 'secret');
    assert.strictEqual((await c.read('ERR')).subject, 'no-route');
    await c.bye();
}], async (socket) => {
    const c = await new Client('unit', { socket, ...quiet }).connect();
    await assert.rejects(c.subscribe('secret', () => 1), { code: 'denied' });
    await sleep(50);
    await c.close();
}));

test('a lost connection fails what is in flight, the next request waits for the next connection', () => fake([
    async (c) => { await c.hello(); await c.read('REQ'); },
    async (c) => {
        await c.hello();
        c.send('REP', (await c.read('REQ')).id, '', {}, '6');
        await c.bye();
    },
], async (socket) => {
    const c = await new Client('unit', { socket }).connect();
    await assert.rejects(c.request('sum', [1]), { code: 'unavailable' });
    assert.strictEqual((await c.request('sum', [1, 2, 3])).data, 6);
    await c.close();
}));

test('what waits to be written when the connection is lost fails too', () => fake([async (c) => {
    await c.hello();
    c.socket.pause();
    await sleep(300);
    c.socket.destroy();
}], async (socket) => {
    const client = new Client('unit', { socket, ...quiet });
    await client.connect();
    for (let i = 0; i < 8; i++) client.publish('x', Buffer.alloc(1 << 20), { ack: false });
    await sleep(100);
    await assert.rejects(client.publish('x', 'y'), { code: 'unavailable' });
    await client.close();
}));

test('headers keep to the limits of the daemon, which ends the connection where they do not', () => fake([async (c) => {
    await c.hello();
    const frame = await c.read('REQ');
    assert.strictEqual(Object.keys(frame.headers).length, 128);
    c.send('REP', frame.id);
    await c.bye();
}], async (socket) => {
    const client = new Client('unit', { socket, ...quiet });
    await client.connect();
    const lines = Array.from({ length: 127 }, (_, i) => [`a${i}`, 1]);
    await client.request('x', undefined, { headers: lines, timeout: 5000 });
    for (const [value, headers] of [[undefined, [...lines, ['b', 1]]], ['x', lines], [undefined, { a: 'x'.repeat(65520) }]]) {
        await assert.rejects(client.request('x', value, { headers, timeout: 5000 }), { code: 'too-large' });
    }
    await client.close();
}));

test('a time-out longer than a timer', () => fake([async (c) => {
    await c.hello();
    const { id, headers } = await c.read('REQ');
    assert.strictEqual(headers.timeout, '2592000000ms');
    await sleep(50);
    c.send('REP', id, '', {}, '1');
    await c.bye();
}], async (socket) => {
    const client = new Client('unit', { socket, ...quiet });
    await client.connect();
    assert.strictEqual((await client.request('x', undefined, { timeout: 30 * 86400000 })).data, 1);
    await client.close();
}));

test('more credit, also after a reconnect', () => fake([async (c) => {
    assert.strictEqual((await c.hello()).headers.credit, '8');
    assert.deepStrictEqual((({ verb, id }) => [verb, id])(await c.read()), ['CREDIT', 5]);
}, async (c) => {
    assert.strictEqual((await c.hello()).headers.credit, '13');
    c.send('PUB', 1, 'stop');
    await c.bye();
}], async (socket) => {
    const c = await new Client('unit', { socket, credit: 8 }).connect();
    c.addCredit(5);
    await new Promise((resolve) => { c.on('stop', resolve); });
    await c.close();
    assert.throws(() => c.addCredit(65535), RangeError);
    assert.throws(() => new Client('unit', { credit: 0 }), RangeError);
}));

test('nobody there', async () => {
    const c = new Client('unit', { socket: '/nonexistent/socket', connectTimeout: 200 });
    await assert.rejects(c.connect(), { code: 'unavailable' });
    await assert.rejects(c.request('x'), { code: 'unavailable' });
});

test('the socket: argument, environment, default', () => {
    process.env.BELLHOP_SOCKET = '/from/environment';
    assert.strictEqual(new Client('x').socket, '/from/environment');
    assert.strictEqual(new Client('x', { socket: '/given' }).socket, '/given');
    delete process.env.BELLHOP_SOCKET;
    assert.strictEqual(new Client('x').socket, '/run/bellhop/bellhop.sock');
});

test('the ES module exports the same', async () => {
    const esm = await import('../index.mjs');
    assert.deepStrictEqual(Object.keys(esm).filter((k) => k !== 'default').sort(), Object.keys(bellhop).sort());
});
