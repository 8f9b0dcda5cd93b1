// nest-client.js OPTIONS: a real NestJS 12 ClientProxy; OPTIONS is JSON, { transport: 'TCP' | 'REDIS' | 'RMQ', and
// what that takes }. Reads one JSON object a line from stdin,
// { inFlight, size, warmMs, runMs }, runs that load and answers with one line of JSON.
import 'reflect-metadata';
import { createInterface } from 'node:readline';
import { Logger } from '@nestjs/common';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';

Logger.overrideLogger(['error', 'warn']);
const { transport, ...options } = JSON.parse(process.argv[2]);
const client = ClientProxyFactory.create({ transport: Transport[transport], options });
await client.connect();

function fail(error) {
  console.error('nest-client:', error);
  process.exit(1);
}

// Keeps inFlight requests going until stop() says so; calls done(µs) for each reply.
function load({ inFlight, size }, done, stop) {
  const data = 'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(size / 26)).slice(0, size);
  return new Promise((resolve) => {
    let active = inFlight;
    function one() {
      const start = performance.now();
      let value;
      client.send({ cmd: 'echo' }, data).subscribe({
        next: (v) => (value = v),
        error: fail,
        complete() {
          if (value !== data) fail(`other data: ${JSON.stringify(value)}`);
          done((performance.now() - start) * 1000);
          if (!stop()) one();
          else if (--active === 0) resolve();
        },
      });
    }
    for (let i = 0; i < inFlight; i++) one();
  });
}

async function run(task) {
  const warmEnd = performance.now() + task.warmMs;
  const end = warmEnd + task.runMs;
  const latency = [];
  let cpu;
  await load(
    task,
    (us) => {
      const now = performance.now();
      if (now < warmEnd || now > end) return;
      cpu ??= process.cpuUsage();
      latency.push(us);
    },
    () => performance.now() > end,
  );
  const used = process.cpuUsage(cpu);
  latency.sort((a, b) => a - b);
  return {
    done: latency.length,
    rate: (latency.length * 1000) / task.runMs,
    p50_us: latency[Math.floor(latency.length * 0.5)],
    p99_us: latency[Math.floor(latency.length * 0.99)],
    client_cpu_us: (used.user + used.system) / latency.length,
  };
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))));
}
client.close();
