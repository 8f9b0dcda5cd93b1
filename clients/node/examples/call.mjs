// A caller: asks `math` for a sum and for a stream, publishes one event, and leaves.
import { Client } from '../index.mjs';

const client = await new Client('caller').connect();
console.log('sum:', (await client.request({ cmd: 'sum' }, [1, 2, 3], { timeout: 2000 })).data);
for await (const item of client.requestStream('count', 3, { timeout: 2000 })) console.log('count:', item.data);
await client.publish('order.new', { id: 7 }).then(() => console.log('order.new: accepted'),
    (e) => console.log('order.new:', e.message));
await client.close();
