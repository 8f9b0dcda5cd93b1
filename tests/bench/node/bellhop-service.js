// bellhop-service.js SOCKET: a service on our own Node client that answers { cmd: 'echo' } with its data.
import { Client } from '../../../clients/node/index.mjs';

const service = new Client('echo', { socket: process.argv[2] });
service.on('>', (data) => data);
await service.connect();
console.log('attached');
await service.run();
