// A real NestJS server, driven by the end-to-end tests. nest is the merged API of one NestJS version.
// options: { transport: 'TCP' unless named, port, host, tlsOptions: { key, cert, ca as paths, … }, and what else
// that transport takes }. Tells what happens as one JSON object a line on standard output; ends with its standard input.
import { readFileSync } from 'node:fs';

export function tlsOptions(paths) {
  if (!paths) return undefined;
  const read = (key) => (paths[key] ? { [key]: readFileSync(paths[key]) } : {});
  return { ...paths, ...read('ca'), ...read('cert'), ...read('key') };
}

// What NestJS is given: only TCP calls them tlsOptions.
export function peer(nest, { transport = 'TCP', tlsOptions: paths, ...options }) {
  const tls = transport === 'TCP' ? 'tlsOptions' : 'tls';
  return {
    transport: nest.Transport[transport],
    options: { host: '127.0.0.1', ...options, [tls]: tlsOptions(paths) },
  };
}

export function tell(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function messageHandlers({ RpcException, Observable, from, throwError, concat, timer, map, ignoreElements }) {
  const pause = (ms) => timer(ms).pipe(ignoreElements());
  return [
    [{ cmd: 'sum' }, (data) => data.reduce((a, b) => a + b, 0)],
    [{ b: 1, a: 'x' }, () => 'two keys'],
    ['echo', (data) => data],
    ['type', (data) => (data === null ? 'null' : typeof data)],
    ['slow', async (data) => (await sleep(data), 'slow')],
    ['value.undefined', () => undefined],
    ['value.null', () => null],
    ['value.zero', () => 0],
    ['stream.sync', () => from([1, 2, 3])],
    ['stream.delayed', () => concat(...[1, 2, 3].map((n) => timer(20).pipe(map(() => n))))],
    ['stream.tail', () => concat(from([1, 2, 3]), pause(30))],
    ['stream.empty', () => from([])],
    ['stream.error', () => concat(from([1, 2]), pause(10), throwError(() => new RpcException('late')))],
    ['stream.long', (n) => new Observable((o) => { for (let i = 0; i < n; i++) o.next(i); o.complete(); })],
    ['rpc.string', () => { throw new RpcException('kaput'); }],
    ['rpc.object', () => { throw new RpcException({ code: 'E_KAPUT', detail: ['zażółć', 1] }); }],
    ['rpc.number', () => { throw new RpcException(7); }],
    ['plain.error', () => { throw new Error('the secret cause'); }],
    ['wild.*', (data, ctx) => ctx.getChannel?.() ?? null], // a glob on Redis, with `wildcards`
    ['metadata', (data, ctx) => ctx.getMetadata?.() ?? null],
    ['native.headers', (data, ctx) => { const h = ctx.getHeaders(); return Object.fromEntries(h.keys().map((k) => [k, h.get(k)])); }],
  ];
}

function eventHandlers() {
  const tries = new Map();
  const flaky = (data) => {
    const n = (tries.get(data.key) ?? 0) + 1;
    tries.set(data.key, n);
    if (n <= data.fail) throw new Error(`try ${n} fails`);
  };
  return [
    ['user.created', () => {}],
    ['order.flaky', flaky],
    [{ ev: 'made', kind: 'x' }, () => {}],
  ];
}

function controller(nest) {
  class Handlers {}
  const add = (decorate, pattern, fn, name) => {
    Handlers.prototype[name] = fn;
    const descriptor = Object.getOwnPropertyDescriptor(Handlers.prototype, name);
    nest.Payload()(Handlers.prototype, name, 0);
    nest.Ctx()(Handlers.prototype, name, 1);
    decorate(pattern)(Handlers.prototype, name, descriptor);
  };
  const told = (kind, pattern, fn) => (data, ctx) => {
    tell({ [kind]: pattern, data, metadata: ctx.getMetadata?.(), at: Date.now() });
    return fn(data, ctx);
  };
  messageHandlers(nest).forEach(([p, fn], i) =>
    add(nest.MessagePattern, p, told('request', p, fn), `message${i}`));
  eventHandlers().forEach(([p, fn], i) =>
    add(nest.EventPattern, p, told('event', p, fn), `event${i}`));
  nest.Controller()(Handlers);
  return Handlers;
}

export async function serve(nest, options) {
  class App {}
  nest.Module({ controllers: [controller(nest)] })(App);
  const app = await nest.NestFactory.createMicroservice(App, {
    ...peer(nest, options),
    logger: false,
  });
  await app.listen();
  const server = app.unwrap();
  for (const kind of ['connection', 'secureConnection']) {
    server.on?.(kind, () => tell({ kind }));
  }
  tell({ ready: server.address?.().port ?? true });
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}
