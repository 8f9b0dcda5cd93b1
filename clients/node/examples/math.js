'use strict';
// The service `math`: { cmd: 'sum' } with a JSON list of numbers is answered with their sum, `count` with a stream of
// 1 … n. Run it, then in another terminal:  bellhop request '{"cmd":"sum"}' '[1,2,3]'
const { Service, Reject } = require('..');

const service = new Service('math');

service.on({ cmd: 'sum' }, (numbers) => {
    if (!Array.isArray(numbers) || !numbers.every(Number.isFinite)) throw new Reject('invalid', 'a list of numbers is wanted');
    return numbers.reduce((a, b) => a + b, 0);
});

function* count(n) {
    for (let i = 1; i <= Math.min(n, 1000); i++) yield i;
}
service.on('count', count);
service.on({ cmd: 'count' }, count);

service.run();
