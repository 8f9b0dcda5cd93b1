// A real NestJS ClientProxy, driven by the end-to-end tests: one JSON object a line comes in,
// { call, op: 'send' | 'emit' | 'many' | 'close', pattern, data, timeout, metadata, n }, and lines
// { call, next }, { call, done: true }, { call, error, kind } go out. A value that is undefined is
// told as { call, undefined: true }. options: as those of server.js.
import { createInterface } from 'node:readline';
import { peer, tell } from './server.js';

function describe(error) {
  if (error instanceof Error) return { kind: error.constructor.name, error: error.message };
  return { kind: 'value', error };
}

export async function drive(nest, options) {
  const client = nest.ClientProxyFactory.create(peer(nest, options));
  client.on?.('error', () => {});
  const metadata = new Map(); // pattern -> what the hook adds; the hook runs after connecting
  client.setOnDispatchHook?.((packet) => {
    const more = metadata.get(packet.pattern);
    if (more) packet.metadata = more;
  });

  function start({ op, pattern, data, timeout }) {
    const source = op === 'emit' ? client.emit(pattern, data) : client.send(pattern, data);
    return timeout ? source.pipe(nest.timeout(timeout)) : source;
  }
  function follow(task) {
    const { call } = task;
    start(task).subscribe({
      next: (next) => tell(next === undefined ? { call, undefined: true } : { call, next }),
      error: (error) => tell({ call, ...describe(error) }),
      complete: () => tell({ call, done: true }),
    });
  }
  async function many({ call, n, pattern, data }) {
    const one = async (i) => {
      const begun = performance.now();
      const value = await nest.lastValueFrom(client.send(pattern, data ?? i));
      return { value, ms: performance.now() - begun };
    };
    const all = await Promise.allSettled(Array.from({ length: n }, (_, i) => one(i)));
    tell({ call, next: all.map((r) => r.value ?? describe(r.reason)) });
    tell({ call, done: true });
  }
  const ops = { send: follow, emit: follow, many, close: ({ call }) => { client.close(); tell({ call, done: true }); } };
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const task = JSON.parse(line);
    if (task.metadata) metadata.set(task.pattern, task.metadata);
    ops[task.op](task);
  });
  lines.on('close', () => process.exit(0));
  tell({ ready: true });
}
