'use strict';
// Requests a second that a service on this client answers: `node bench/serve.js [in flight] [seconds] [body bytes]`.
// A child process serves sum-like requests; this one plays the daemon, with prebuilt frames and counted bytes, so that
// the child is what limits. Prints the rate and the child's CPU time per request.
const { fork } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

function service() {
    const { Service } = require('..');
    const s = new Service('bench', { socket: process.argv[3], credit: 1024 });
    s.on({ cmd: 'echo' }, (data) => data);
    s.on({ cmd: 'async' }, async (data) => data);
    process.on('message', () => process.send(process.cpuUsage()));
    process.on('disconnect', () => process.exit(0));
    s.run();
}

function main() {
    const [inFlight, seconds, size] = [2, 3, 4].map((i, n) => Number(process.argv[i]) || [64, 3, 100][n]);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bellhop-'));
    const file = path.join(folder, 's');
    const body = JSON.stringify({ data: 'x'.repeat(Math.max(0, size - 11)) });
    const headers = 'id: 01939b5e-7f3c-7c3b-9e52-0a4f6d1c2b3a\nattempt: 1\nsource: edge\n' +
        'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntimeout: 5000ms\n';
    const request = Buffer.from(`REQ 1000 ${headers.length} ${body.length} {"cmd":"${process.env.KIND || 'echo'}"}\n${headers}${body}`);
    let child;
    const server = net.createServer((socket) => {
        let answers = 0;
        let length = 0;
        let rest = 0;
        socket.once('data', () => {
            socket.write('HELLO 0 11 0 bellhopd\nversion: 1\n');
            socket.write(Buffer.concat(Array(inFlight).fill(request)));
            socket.on('data', (chunk) => {
                if (length === 0) length = `REP 1000 31 ${body.length}\n`.length + 31 + body.length;
                rest += chunk.length;
                const done = Math.floor(rest / length);
                rest -= done * length;
                answers += done;
                if (done > 0) socket.write(done === 1 ? request : Buffer.concat(Array(done).fill(request)));
            });
        });
        const cpu = () => new Promise((resolve) => { child.once('message', resolve); child.send('cpu'); });
        setTimeout(async () => {
            const from = answers;
            const start = process.hrtime.bigint();
            const before = await cpu();
            setTimeout(async () => {
                const count = answers - from;
                const took = Number(process.hrtime.bigint() - start) / 1e9;
                const after = await cpu();
                const used = (after.user + after.system - before.user - before.system) / count;
                console.log(`${inFlight} in flight, ${body.length} B: ${Math.round(count / took)} req/s, ` +
                    `${used.toFixed(2)} µs CPU of the service per request, ${Math.round(1e6 / used)} req/s on one core`);
                child.disconnect();
                socket.destroy();
                server.close();
                fs.rmSync(folder, { recursive: true });
            }, seconds * 1000);
        }, 500);
    });
    server.listen(file, () => { child = fork(__filename, ['service', file]); });
}

if (process.argv[2] === 'service') service();
else main();
