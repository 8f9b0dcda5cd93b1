'use strict';
// The daemon's side of the local protocol, scripted: the n-th connection runs the n-th script(connection). It parses
// on its own, not with the client's decoder.
const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

class Connection {
    constructor(socket) {
        this.socket = socket;
        this.buffer = Buffer.alloc(0);
        this.ended = false;
        this.wake = () => {};
        socket.on('data', (chunk) => { this.buffer = Buffer.concat([this.buffer, chunk]); this.wake(); });
        socket.on('error', () => {});
        socket.on('close', () => { this.ended = true; this.wake(); });
    }

    take() {
        const end = this.buffer.indexOf(10);
        if (end < 0) return undefined;
        const [verb, id, hlen, blen, ...subject] = this.buffer.toString('utf8', 0, end).split(' ');
        const body = end + 1 + Number(hlen);
        if (this.buffer.length < body + Number(blen)) return undefined;
        const frame = { verb, id: Number(id), subject: subject.join(' '), body: this.buffer.subarray(body, body + Number(blen)) };
        frame.headers = Object.fromEntries(this.buffer.toString('utf8', end + 1, body).split('\n').slice(0, -1)
            .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]));
        this.buffer = this.buffer.subarray(body + Number(blen));
        return frame;
    }

    /** The next frame, which has to be the verb wanted; undefined at the end. */
    async read(want) {
        for (;;) {
            const frame = this.take();
            if (frame) {
                if (want) assert.strictEqual(frame.verb, want, `${JSON.stringify(frame)} ${frame.body}`);
                return frame;
            }
            if (this.ended) {
                assert.ok(!want, `the client left, wanted ${want}`);
                return undefined;
            }
            await new Promise((resolve, reject) => {
                const timer = setTimeout(() => reject(new Error(`nothing came, wanted ${want}`)), 8000);
                this.wake = () => { clearTimeout(timer); resolve(); };
            });
        }
    }

    send(verb, id = 0, subject = '', headers = {}, body = '') {
        const raw = Object.entries(headers).map(([n, v]) => `${n}: ${v}\n`).join('');
        const bytes = Buffer.from(body);
        const line = `${verb} ${id} ${Buffer.byteLength(raw)} ${bytes.length}${subject ? ' ' + subject : ''}\n`;
        this.socket.write(Buffer.concat([Buffer.from(line + raw), bytes]));
    }

    async hello(headers = {}) {
        const frame = await this.read('HELLO');
        this.send('HELLO', 0, 'bellhopd', { version: 1, node: 'fake', 'limits.body': 1048576, ...headers });
        return frame;
    }

    /** Answers what a draining client sends until it closes. */
    async bye() {
        for (let frame; (frame = await this.read());) if (frame.verb === 'PING') this.send('PONG', frame.id);
    }
}

/** Runs body(socketPath) while connections run the scripts; fails with what either throws. */
async function fake(scripts, body) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bellhop-'));
    const queue = [...scripts];
    const open = new Set();
    let failed;
    const failure = new Promise((_, reject) => { failed = reject; });
    let left = scripts.length;
    let finished;
    const all = new Promise((resolve) => { finished = resolve; });
    const server = net.createServer((socket) => {
        const script = queue.shift();
        if (!script) return socket.destroy();
        open.add(socket);
        const connection = new Connection(socket);
        return script(connection).then(() => {
            socket.end();
            if (--left === 0) finished();
        }, failed);
    });
    const file = path.join(folder, 's');
    await new Promise((resolve) => { server.listen(file, resolve); });
    try {
        await Promise.race([Promise.all([body(file), all]), failure]);
    } finally {
        failure.catch(() => {});
        for (const socket of open) socket.destroy();
        server.close();
        fs.rmSync(folder, { recursive: true });
    }
}

module.exports = { fake };
