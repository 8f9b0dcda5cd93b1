'use strict';
// The adapter of the conformance suite: tests/conformance/README.md.
const readline = require('node:readline');
const { Service, Response, Retry, Reject, Release, BellhopError } = require('.');

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
let client;
let events = [];
let released = false;

function note(_, d) {
    events.push(`${d.subject} ${d.body}`);
}

function refuse() {
    throw new Reject('invalid', 'no good');
}

const handlers = {
    'conf.fail': refuse,
    'conf.event.>': note,
    'conf.echo': echo,
    'zażółć.*': echo,
    * 'conf.count'(n) { for (let i = 1; i <= n; i++) yield i; },
    'conf.flaky'(_, d) {
        if (d.attempt === 1) throw new Retry('not yet', { after: 20 });
        return d.attempt;
    },
    'conf.release'(_, d) {
        if (!released) {
            released = true;
            throw new Release();
        }
        return d.attempt;
    },
    async 'conf.extend'(ms, d) {
        for (const until = Date.now() + ms; Date.now() < until;) {
            await sleep(50);
            d.extend();
        }
        return Buffer.from('done');
    },
    async 'conf.slow'(ms) {
        await sleep(ms);
        return Buffer.from('done');
    },
    'conf.stage'(_, d) {
        d.publish(String(d.body), Buffer.from('staged'));
        return Buffer.from('done');
    },
    'conf.stagefail'(_, d) {
        d.publish(String(d.body), Buffer.from('staged'));
        refuse();
    },
};

function echo(_, d) {
    return new Response(d.body, d.headerList.filter(([name]) => name.startsWith('x-')));
}

const body = (m) => Buffer.from(m.fill ? 'x'.repeat(m.fill) : m.body || '');

function options(m) {
    const headers = (m.headers || '').split('\n').filter(Boolean).map((h) => [h.slice(0, h.indexOf(': ')), h.slice(h.indexOf(': ') + 2)]);
    return { headers, ...(m.timeout_ms ? { timeout: m.timeout_ms } : {}) };
}

const commands = {
    async start(m) {
        client = new Service(m.name, { socket: m.socket, credit: m.credit || 64, token: m.token || undefined });
        client.on({ cmd: 'sum' }, (numbers) => numbers.reduce((a, b) => a + b, 0));
        for (const [subject, handler] of Object.entries(handlers)) client.on(subject, handler);
        await client.connect();
    },
    async request(m) {
        const r = await client.request(m.subject, body(m), options(m));
        return { body: r.body.length > 4096 ? '' : String(r.body), size: r.body.length,
            headers: r.headerList.map(([n, v]) => `${n}: ${v}\n`).join('') };
    },
    async stream(m) {
        const items = [];
        for await (const item of client.requestStream(m.subject, body(m), options(m))) {
            if (items.length === 0 && m.pause_ms) await sleep(m.pause_ms);
            items.push(String(item.body));
        }
        return { items };
    },
    publish: (m) => client.publish(m.subject, body(m), { ...options(m), ack: m.ack === true }),
    subscribe: (m) => client.subscribe(m.filter, note, { group: m.group || undefined }),
    unsubscribe: (m) => client.unsubscribe(m.filter),
    events() {
        const taken = events;
        events = [];
        return { events: taken };
    },
};

async function leave() {
    await client.close();
    process.exit(0);
}

async function act(m) {
    try {
        return { ok: true, ...await commands[m.do](m) };
    } catch (e) {
        if (!(e instanceof BellhopError)) throw e;
        return { ok: false, code: e.code, retry: e.retry === false ? 'no' : e.retry === undefined ? '' : String(e.retry) };
    }
}

async function main() {
    process.on('SIGTERM', leave);
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const m = JSON.parse(line);
        const answer = m.do === 'quit' ? { ok: true } : await act(m);
        process.stdout.write(JSON.stringify(answer) + '\n');
        if (m.do === 'quit') break;
    }
    await leave();
}

main();
