'use strict';
// One connection and what travels on it. What the public classes promise stands in index.d.ts.
const codec = require('./codec.js');

const { BellhopError, Decoder, VERB, JSON_TYPE, TEXT_TYPE, encodeHeaders, contentType, toBody, fromBody,
    parseHeaders, checkSubject } = codec;

/** Bytes of a header block; the usual ones are ASCII. */
function headerBytes(raw) {
    return raw === '' || raw === JSON_TYPE || raw === TEXT_TYPE ? raw.length : Buffer.byteLength(raw);
}

class Retry extends Error {
    constructor(detail = '', { after, code = 'failed' } = {}) {
        super(String(detail));
        this.detail = detail;
        this.after = after;
        this.code = code;
    }
}

class Reject extends Error {
    constructor(code = 'failed', detail = '') {
        super(typeof detail === 'string' ? detail : JSON.stringify(detail));
        this.code = code;
        this.detail = detail;
    }
}

class Release extends Error {}

class Response {
    constructor(value, headers) {
        this.value = value;
        this.headers = headers;
    }
}

class Message {
    constructor(subject, buffer, headers, body, end) {
        this.subject = subject;
        this._buffer = buffer;
        this._start = headers;
        this._body = body;
        this._end = end;
        this._pairs = undefined;
        this._headers = undefined;
    }

    get body() {
        return this._buffer.subarray(this._body, this._end);
    }

    get data() {
        const type = this._start === this._body ? '' : contentType(this._buffer, this._start, this._body);
        return fromBody(this._buffer, this._body, this._end, type);
    }

    get headerList() {
        if (this._pairs === undefined) this._pairs = parseHeaders(this._buffer.subarray(this._start, this._body));
        return this._pairs;
    }

    get headers() {
        if (this._headers === undefined) {
            this._headers = Object.create(null);
            for (const [name, value] of this.headerList) if (!(name in this._headers)) this._headers[name] = value;
        }
        return this._headers;
    }
}

class Delivery extends Message {
    constructor(wire, number, isRequest, subject, buffer, headers, body, end) {
        super(subject, buffer, headers, body, end);
        this.number = number;
        this.isRequest = isRequest;
        this.cancelled = false;
        this._wire = wire;
        this._settled = false;
        this._abort = undefined;
    }

    get attempt() {
        const n = Number(this.headers.attempt);
        return Number.isInteger(n) && n > 0 ? n : 1;
    }

    get timeout() {
        return codec.parseDuration(this.headers.timeout);
    }

    get signal() {
        if (this._abort === undefined) {
            this._abort = new AbortController();
            if (this.cancelled) this._abort.abort();
        }
        return this._abort.signal;
    }

    extend() {
        if (!this._settled && this.number !== 0) this._wire.text(`WAIT ${this.number} 0 0\n`);
    }

    publish(subject, value, { headers } = {}) {
        if (this._settled || !this._wire.alive) {
            const why = 'the delivery is settled or its connection gone';
            return Promise.reject(new BellhopError('unavailable', why, false));
        }
        const raw = `${encodeHeaders(headers)}with: ${this.number}\n`;
        const fate = new Promise((resolve, reject) => {
            this._wire.call('PUB', checkSubject(subject), value, raw, { resolve, reject });
        });
        fate.catch(() => {});      // whoever does not look at it is not punished for that
        return fate;
    }

    _cancel() {
        this.cancelled = true;
        if (this._abort !== undefined) this._abort.abort();
    }
}

// A reader that is slow: above HIGH nothing is read from the socket for a while, so that the daemon holds the stream's
// service back; above LIMIT the stream ends with `overloaded`. Of the items and of their bytes.
const HIGH = 256;
const HIGH_BYTES = 1 << 20;
const LIMIT = 65536;
const LIMIT_BYTES = 16 << 20;
const PAUSE = 500;                    // ms at most: deliveries and other answers come over the same connection

/** Items of a streamed reply between the socket and a reader. */
class Items {
    constructor(wire) {
        this.wire = wire;
        this.queue = [];
        this.taken = 0;               // of the front of the queue
        this.bytes = 0;
        this.done = false;
        this.error = undefined;
        this.wake = undefined;
    }

    get count() {
        return this.queue.length - this.taken;
    }

    get full() {
        return this.count > HIGH || this.bytes > HIGH_BYTES;
    }

    /** False: it is too much. */
    item(message) {
        this.queue.push(message);
        this.bytes += message._end - message._start;
        this._wake();
        if (this.full) this.wire.pause();
        return this.count <= LIMIT && (this.bytes <= LIMIT_BYTES || this.count === 1);
    }

    take() {
        const message = this.queue[this.taken];
        this.queue[this.taken++] = undefined;
        if (this.taken === this.queue.length || this.taken === 1024) {
            this.queue.splice(0, this.taken);
            this.taken = 0;
        }
        this.bytes -= message._end - message._start;
        if (this.wire.paused && (!this.full || this.count === 0)) this.wire.resume();
        return message;
    }

    resolve(message) {
        if (message !== undefined && message._end > message._body) {
            this.queue.push(message);
            this.bytes += message._end - message._start;
        }
        this.done = true;
        this._wake();
    }

    reject(error) {
        this.error = error;
        this.done = true;
        this._wake();
    }

    _wake() {
        if (this.wake !== undefined) this.wake();
        this.wake = undefined;
    }

    /** True while there may be more. */
    async wait() {
        if (this.count === 0 && !this.done) await new Promise((wake) => { this.wake = wake; });
        return this.count > 0 || !this.done;
    }
}

/** One connection: frames in are acted upon at once, frames out of one turn of the loop go out in one write. */
class Wire {
    constructor(client, socket) {
        this.client = client;
        this.socket = socket;
        this.alive = true;
        this.greeted = false;
        this.draining = false;
        this.refusal = undefined;
        this.writable = true;
        this.leaving = false;
        this.paused = undefined;      // the timer that ends it
        this.calls = new Map();       // our id -> { resolve, reject, items?, last? }
        this.open = new Map();        // the daemon's id -> Delivery, of those that are not answered at once
        this.pongs = new Set();
        this.lastSubject = '';        // the subject seen last, as bytes and as text: most are the same
        this.lastBytes = Buffer.alloc(0);
        this.pending = '';
        this.ascii = true;
        this.chunks = [];
        this.scheduled = false;
        this.waiters = [];
        this._flush = this.flush.bind(this);
        this.decoder = new Decoder(this.frame.bind(this));
        socket.on('data', (chunk) => this.data(chunk));
        socket.on('drain', () => this.drained());
        socket.on('error', (error) => { this.error = error; });
        socket.on('close', () => this.closed());
    }

    // in

    data(chunk) {
        try {
            this.decoder.feed(chunk);
        } catch (e) {
            if (!(e instanceof BellhopError)) throw e;
            this.error = e;
            this.bytes(codec.encode('ERR', 0, e.code, '', e.message));
            this.end();
        }
        if (this.draining) this.leaveIfIdle();
    }

    frame(verb, id, buffer, subject, headers, body, end) {
        switch (verb) {
            case VERB.REQ:
            case VERB.PUB:
                return this.delivery(verb === VERB.REQ, id, buffer, subject, headers, body, end);
            case VERB.REP:
            case VERB.OK:
                return this.reply(id, new Message('', buffer, headers, body, end));
            case VERB.MORE: {
                const call = this.calls.get(id);
                if (call === undefined) return undefined;
                const message = new Message(this.text_(buffer, subject, headers), buffer, headers, body, end);
                if (call.items === undefined) call.last = message;
                else if (!call.items.item(message)) this.overflow(id, call);
                return undefined;
            }
            case VERB.ERR:
                return this.refused(id, toError(this.text_(buffer, subject, headers), buffer, headers, body, end));
            case VERB.CANCEL: {
                const delivery = this.open.get(id);
                if (delivery !== undefined) delivery._cancel();
                return undefined;
            }
            case VERB.PING:
                return this.text(`PONG ${id} 0 0\n`);
            case VERB.PONG:
                this.pongs.add(id);
                return this.client._changed();
            case VERB.HELLO:
                return this.hello(new Message('', buffer, headers, body, end).headers);
            case VERB.BYE:
                this.draining = true;
                return undefined;
            default:                   // verbs of later versions are skipped
                return undefined;
        }
    }

    /** Somebody reads a stream too slowly. Not while anybody waits for what has not come yet. */
    pause() {
        if (this.paused !== undefined || this.leaving) return;
        for (const call of this.calls.values()) if (call.items === undefined || call.items.count === 0) return;
        this.socket.pause();
        this.paused = setTimeout(() => this.resume(), PAUSE);
    }

    resume() {
        clearTimeout(this.paused);
        this.paused = undefined;
        this.socket.resume();
    }

    overflow(id, call) {
        const { count, bytes } = call.items;
        this.cancel(id);
        call.reject(new BellhopError('overloaded', `the stream is read too slowly: ${count} items of ${bytes} bytes wait`));
    }

    text_(buffer, subject, headers) {
        return subject < 0 ? '' : buffer.utf8Slice(subject, headers - 1);
    }

    subjectOf(buffer, start, headers) {
        if (start < 0) return '';
        const length = headers - 1 - start;
        const last = this.lastBytes;
        if (last.length === length) {
            let i = 0;
            while (i < length && last[i] === buffer[start + i]) i++;
            if (i === length) return this.lastSubject;
        }
        this.lastBytes = Buffer.from(buffer.subarray(start, headers - 1));
        this.lastSubject = buffer.utf8Slice(start, headers - 1);
        return this.lastSubject;
    }

    hello(headers) {
        this.greeted = true;
        this.client.limit = codec.parseSize(headers['limits.body']);
        this.client.node = headers.node || '';
        this.client._greeted(this);
    }

    reply(id, message) {
        const call = this.calls.get(id);
        if (call === undefined) return;
        this.calls.delete(id);
        // An empty REP only ends a stream: its last item is the answer.
        call.resolve(message._end === message._body && call.last !== undefined ? call.last : message);
    }

    refused(id, error) {
        const call = this.calls.get(id);
        if (call !== undefined) {
            this.calls.delete(id);
            call.reject(error);
        } else if (id === 0) {
            this.refusal = error;
        }
    }

    delivery(isRequest, id, buffer, subject, headers, body, end) {
        const text = this.subjectOf(buffer, subject, headers);
        const delivery = new Delivery(this, id, isRequest, text, buffer, headers, body, end);
        let value;
        try {
            const handler = this.client._router.find(text);
            if (handler === undefined) {
                throw new Reject('no-route', `service ${this.client.name} has no handler for ${text}`);
            }
            value = handler(delivery.data, delivery);
        } catch (e) {
            return this.fail(delivery, e);
        }
        if (value === null || typeof value !== 'object') return this.answer(delivery, value);
        if (typeof value.then === 'function') {
            this.hold(delivery);
            return void value.then((v) => this.finish(delivery, v), (e) => this.fail(delivery, e));
        }
        return this.finish(delivery, value);
    }

    finish(delivery, value) {
        if (!isStream(value)) return this.answer(delivery, value);
        this.hold(delivery);
        return void this.stream(delivery, value).catch((e) => this.fail(delivery, e));
    }

    /** It goes on beyond this turn: CANCEL and the end of the connection have to find it. */
    hold(delivery) {
        if (delivery.number !== 0 && !delivery._settled) this.open.set(delivery.number, delivery);
    }

    async stream(delivery, items) {
        let rest;
        const iterator = items[Symbol.asyncIterator] ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
        while (!delivery.cancelled && this.alive) {
            const { value, done } = await iterator.next();
            if (done) {
                rest = value;
                break;
            }
            try {
                if (delivery.isRequest) this.send('MORE', delivery.number, '', value);
            } catch (e) {              // an item that cannot be sent
                if (iterator.return) await iterator.return();
                throw e;
            }
            if (!this.writable) await new Promise((resolve) => { this.waiters.push(resolve); });
        }
        if (delivery.cancelled || !this.alive) {
            if (iterator.return) await iterator.return();
            throw new Reject('failed', 'cancelled');
        }
        this.answer(delivery, rest);
    }

    // answers

    settle(delivery) {
        if (delivery._settled || delivery.number === 0) return false;
        delivery._settled = true;
        if (this.open.size > 0) this.open.delete(delivery.number);
        if (this.draining) setImmediate(() => this.leaveIfIdle());
        if (this.client._watching) this.client._changed();
        return this.alive;
    }

    answer(delivery, value) {
        if (!delivery.isRequest) {
            if (this.settle(delivery)) this.text(`OK ${delivery.number} 0 0\n`);
            return;
        }
        let content;
        try {
            content = this.content(value, '');
        } catch (e) {
            this.fail(delivery, e);
            return;
        }
        if (this.settle(delivery)) this.put('REP', delivery.number, '', content.raw, content.body, content.size);
    }

    fail(delivery, e) {
        if (delivery._settled) return;
        if (e instanceof Release) {
            if (this.settle(delivery)) this.text(`ERR ${delivery.number} 0 0 release\n`);
            return;
        }
        let code = 'failed';
        let retry = '';
        let detail = e instanceof Error ? `${e.name}: ${e.message}` : e;
        if (e instanceof Reject || e instanceof Retry || e instanceof BellhopError) {
            ({ code, detail } = e);
            if (e instanceof Reject || e.retry === false) retry = 'retry: no\n';
            else if (e instanceof Retry && e.after === undefined) retry = 'retry: yes\n';
            else if (e.after !== undefined) retry = `retry: after ${Math.max(1, Math.round(e.after))}ms\n`;
        } else {
            this.client.log(`handler of ${delivery.subject} failed`, e);
        }
        let content;
        try {
            content = this.content(detail === '' ? undefined : detail, retry);
        } catch (e2) {
            content = this.content(e2.message, retry);
        }
        if (this.settle(delivery)) {
            this.put('ERR', delivery.number, ` ${errorCode(code)}`, content.raw, content.body, content.size);
        }
    }

    // out

    /** Raw header text, body and its size in bytes. */
    content(value, raw) {
        let headers = raw;
        let inner = value;
        if (value instanceof Response) {
            headers += encodeHeaders(value.headers);
            inner = value.value;
        }
        const { body, type } = toBody(inner);
        const size = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
        if (size > this.client.limit) {
            throw new BellhopError('too-large', `body of ${size} bytes, the limit is ${this.client.limit}`, false);
        }
        if (headers === '') headers = type;
        else if (type !== '' && !/^content-type:/m.test(headers)) headers += type;
        codec.bounded(headers);
        return { raw: headers, body, size };
    }

    /** subject: '' or a space and the subject. */
    put(verb, id, subject, raw, body, size) {
        const hlen = headerBytes(raw);
        const head = `${verb} ${id} ${hlen} ${size}${subject}\n`;
        if (typeof body === 'string') {
            if (size !== body.length || hlen !== raw.length || subject !== '') this.ascii = false;
            this.push(head + raw + body);
        } else {
            if (hlen !== raw.length || subject !== '') this.ascii = false;
            this.push(head + raw);
            this.bytes(body);
        }
    }

    /** Text that is ASCII. */
    text(text) {
        this.push(text);
    }

    push(text) {
        this.pending += text;
        if (!this.scheduled) this.schedule();
    }

    bytes(buffer) {
        this.cut();
        this.chunks.push(buffer);
        if (!this.scheduled) this.schedule();
    }

    cut() {
        if (this.pending !== '') {
            this.chunks.push(Buffer.from(this.pending, this.ascii ? 'latin1' : 'utf8'));
            this.pending = '';
            this.ascii = true;
        }
    }

    schedule() {
        this.scheduled = true;
        setImmediate(this._flush);
    }

    flush() {
        this.scheduled = false;
        if (!this.alive) return;
        if (this.chunks.length === 0) {
            if (this.pending === '') return;
            this.writable = this.socket.write(this.pending, this.ascii ? 'latin1' : 'utf8');
            this.pending = '';
            this.ascii = true;
            return;
        }
        this.cut();
        const chunks = this.chunks;
        this.chunks = [];
        this.socket.cork();
        for (const chunk of chunks) this.writable = this.socket.write(chunk);
        this.socket.uncork();
    }

    drained() {
        this.writable = true;
        const waiters = this.waiters;
        this.waiters = [];
        for (const wake of waiters) wake();
    }

    send(verb, id, subject, value, raw = '') {
        const content = this.content(value, raw);
        this.put(verb, id, subject === '' ? '' : ` ${subject}`, content.raw, content.body, content.size);
    }

    /** Sends a frame of ours under a new id, which it returns; `call` hears of the answer. */
    call(verb, subject, value, raw, call) {
        if (!this.alive) throw new BellhopError('unavailable', this.why());
        const content = this.content(value, raw);
        const id = this.client._nextId();
        this.calls.set(id, call);
        if (this.paused !== undefined) this.resume();
        this.put(verb, id, ` ${subject}`, content.raw, content.body, content.size);
        return id;
    }

    /** Nobody waits for the answer any more. */
    cancel(id) {
        if (this.calls.delete(id)) this.text(`CANCEL ${id} 0 0\n`);
        if (this.paused !== undefined) this.resume();
        if (this.draining) this.leaveIfIdle();
    }

    // end

    leaveIfIdle() {
        if (this.alive && this.open.size === 0 && this.calls.size === 0) this.end();
    }

    /** From now on everything is read: what ends a connection comes behind the items. */
    leave() {
        this.leaving = true;
        if (this.paused !== undefined) this.resume();
    }

    end() {
        this.leave();
        this.flush();
        this.socket.end();
        // The daemon may not close its half; ours is flushed once 'finish' comes.
        this.socket.once('finish', () => this.socket.destroy());
    }

    why() {
        return this.error ? this.error.message : 'the daemon closed the connection';
    }

    closed() {
        this.alive = false;
        this.leave();
        for (const delivery of this.open.values()) {
            delivery._settled = true;
            delivery._cancel();
        }
        this.open.clear();
        const calls = this.calls;
        this.calls = new Map();
        for (const call of calls.values()) call.reject(new BellhopError('unavailable', this.why()));
        this.drained();
        this.client._closed(this);
    }
}

/** What a handler gave as its error's code, if the protocol has room for it. */
function errorCode(code) {
    try {
        return checkSubject(String(code));
    } catch {
        return 'failed';
    }
}

function isStream(value) {
    if (value === null || typeof value !== 'object') return false;
    return typeof value[Symbol.asyncIterator] === 'function' ||
        (typeof value.next === 'function' && typeof value[Symbol.iterator] === 'function');
}

function toError(code, buffer, headers, body, end) {
    const message = new Message('', buffer, headers, body, end);
    let detail;
    let retry;
    try {
        detail = message.data;
        retry = message.headers.retry;
    } catch {
        detail = message.body;
    }
    if (detail instanceof Uint8Array) detail = detail.toString('utf8');
    const wait = retry === 'no' ? false
        : retry && retry.startsWith('after ') ? codec.parseDuration(retry.slice(6)) : undefined;
    return new BellhopError(code || 'internal', detail === undefined ? '' : detail, wait);
}

module.exports = { Wire, Message, Delivery, Items, Response, Retry, Reject, Release };
