'use strict';
// Client of bellhopd's local protocol. What the functions promise stands in index.d.ts.
const net = require('node:net');
const os = require('node:os');
const codec = require('./codec.js');
const { Wire, Message, Delivery, Items, Response, Retry, Reject, Release } = require('./wire.js');

const { BellhopError, Decoder, Router, VERB, DEFAULT_BODY, encodeHeaders, parseHeaders, checkSubject, after, backoff } = codec;

const DEFAULT_SOCKET = '/run/bellhop/bellhop.sock';
const HELLO_TIMEOUT = 10000;
const PONG_TIMEOUT = 1000;
// Refusals of HELLO that time may cure; any other one is thrown by the first connect.
const PASSING = new Set(['draining', 'overloaded', 'unavailable']);

class Client {
    constructor(name, options = {}) {
        const { socket, credit = 64, token, instance, connectTimeout = 10000, drainTimeout = 10000, log } = options;
        if (!Number.isInteger(credit) || credit < 1 || credit > 65535) throw new RangeError('credit is 1 to 65535');
        this.name = checkSubject(name);
        this.socket = socket || process.env.BELLHOP_SOCKET || DEFAULT_SOCKET;
        this.credit = credit;
        this.connectTimeout = connectTimeout;
        this.drainTimeout = drainTimeout;
        this.log = log || ((text, error) => console.error(`bellhop: ${text}:`, error));
        this.limit = DEFAULT_BODY;
        this.node = '';
        this._identity = { instance: instance || `${os.hostname()}-${process.pid}`, ...(token ? { token } : {}) };
        encodeHeaders(this._identity);        // throws here and not at the first connect
        this._router = new Router();
        this._subs = new Map();       // filter -> { group, id }
        this._id = 0;
        this._wire = undefined;       // the connection that requests go to: greeted, not draining
        this._wires = new Set();      // all that are not closed
        this._attempt = 0;
        this._timer = undefined;
        this._running = false;
        this._everUp = false;
        this._lastError = undefined;
        this._waiters = [];           // of those who wait for a connection
        this._watchers = [];          // of those who wait for any change (drain)
        this._watching = false;
        this._stop = undefined;
    }

    get connected() {
        return this._wire !== undefined && !this._wire.draining;
    }

    // handlers

    on(subject, handler) {
        this._router.add(checkSubject(subject), handler);
        return this;
    }

    default(handler) {
        this._router.fallback = handler;
        this._router.forget();
        return this;
    }

    addCredit(more) {
        if (!Number.isInteger(more) || more < 1 || this.credit + more > 65535) {
            throw new RangeError('credit is 1 to 65535');
        }
        this.credit += more;
        if (this._wire !== undefined) this._wire.text(`CREDIT ${more} 0 0\n`);
    }

    // connection

    async connect() {
        if (!this._running) {
            this._running = true;
            this._dial();
        }
        try {
            await this._ready(this.connectTimeout);
        } catch (e) {
            if (!this._everUp) await this.close();
            throw e;
        }
        return this;
    }

    _dial() {
        this._timer = undefined;
        const socket = net.connect({ path: this.socket });
        const wire = new Wire(this, socket);
        this._wires.add(wire);
        socket.setTimeout(HELLO_TIMEOUT, () => socket.destroy(new Error('the daemon did not say HELLO')));
        const raw = encodeHeaders({ version: '1', credit: this.credit, ...this._identity });
        wire.bytes(codec.encode('HELLO', 0, this.name, raw));
    }

    _greeted(wire) {
        wire.socket.setTimeout(0);
        this._wire = wire;
        this._attempt = 0;
        this._everUp = true;
        for (const [filter, sub] of this._subs) {
            sub.id = wire.call('SUB', filter, undefined, groupHeader(sub.group), {
                resolve() {},
                reject: (e) => e.code === 'unavailable' || this.log(`subscription to ${filter} refused`, e),
            });
        }
        this._wake(undefined);
    }

    _closed(wire) {
        this._wires.delete(wire);
        if (this._wire === wire) this._wire = undefined;
        this._changed();
        const error = wire.refusal || wire.error || new Error('the daemon closed the connection');
        this._lastError = error;
        if (!this._everUp && wire.refusal && !PASSING.has(wire.refusal.code)) {
            this._running = false;
            this._wake(error);
        }
        if (this._running && this._timer === undefined) {
            if (this._attempt === 0) this.log(`no connection to ${this.socket}, trying again`, error.message);
            this._timer = setTimeout(() => this._dial(), backoff(this._attempt++));
        }
    }

    _wake(error) {
        const waiters = this._waiters;
        this._waiters = [];
        for (const wake of waiters) wake(error);
    }

    _changed() {
        const watchers = this._watchers;
        this._watchers = [];
        for (const wake of watchers) wake();
    }

    /** The connection to use; waits for one up to `patience` ms (undefined, Infinity: for ever). */
    async _ready(patience) {
        if (this.connected) return this._wire;
        if (!this._running) throw new BellhopError('unavailable', 'not connected: call connect() first');
        const until = patience === undefined ? Infinity : Date.now() + patience;
        while (!this.connected) {
            const left = until - Date.now();
            if (left <= 0) {
                const why = this._lastError ? this._lastError.message : 'timed out';
                throw new BellhopError('unavailable', `no connection to ${this.socket}: ${why}`);
            }
            let timer;
            const error = await new Promise((resolve) => {
                this._waiters.push(resolve);
                if (left !== Infinity) timer = after(left, resolve);
            });
            clearTimeout(timer);
            if (error !== undefined) throw error;
        }
        return this._wire;
    }

    _nextId() {
        return ++this._id;
    }

    // calls

    async request(subject, value, { headers, timeout, signal } = {}) {
        const text = checkSubject(subject);
        let raw = encodeHeaders(headers);
        const start = timeout === undefined ? 0 : Date.now();
        const patience = timeout === undefined ? this.connectTimeout : timeout;
        const wire = this.connected ? this._wire : await this._ready(patience);
        if (signal !== undefined) signal.throwIfAborted();
        const left = timeout === undefined ? undefined : Math.max(1, Math.round(timeout - (Date.now() - start)));
        if (left !== undefined) raw += `timeout: ${left}ms\n`;
        return new Promise((resolve, reject) => {
            if (left === undefined && signal === undefined) {
                wire.call('REQ', text, value, raw, { resolve, reject, last: undefined });
            } else {
                bounded(wire, text, value, raw, left, signal, { resolve, reject, last: undefined });
            }
        });
    }

    async* requestStream(subject, value, { headers, timeout, signal } = {}) {
        const text = checkSubject(subject);
        let raw = encodeHeaders(headers);
        const wire = await this._ready(timeout === undefined ? this.connectTimeout : timeout);
        if (signal !== undefined) signal.throwIfAborted();
        if (timeout !== undefined) raw += `timeout: ${Math.max(1, Math.round(timeout))}ms\n`;
        const items = new Items(wire);
        const sink = { resolve: (m) => items.resolve(m), reject: (e) => items.reject(e), items };
        const stop = bounded(wire, text, value, raw, timeout, signal, sink);
        try {
            while (await items.wait()) {
                while (items.count > 0) yield items.take();
            }
            if (items.error !== undefined) throw items.error;
        } finally {
            stop();
        }
    }

    async publish(subject, value, { headers, ack = true, timeout } = {}) {
        const text = checkSubject(subject);
        const raw = encodeHeaders(headers);
        const patience = timeout === undefined ? this.connectTimeout : timeout;
        const wire = this.connected ? this._wire : await this._ready(patience);
        if (!ack) wire.send('PUB', 0, text, value, raw);
        if (!wire.writable) await new Promise((resolve) => { wire.waiters.push(resolve); });
        if (!ack) return;
        await new Promise((resolve, reject) => {
            let timer;
            const done = (act) => (v) => {
                clearTimeout(timer);
                act(v);
            };
            const id = wire.call('PUB', text, value, raw, { resolve: done(resolve), reject: done(reject) });
            if (timeout !== undefined) {
                timer = after(timeout, () => {
                    wire.calls.delete(id);
                    reject(new BellhopError('timeout', 'no answer in time'));
                });
            }
        });
    }

    async subscribe(filter, handler, { group } = {}) {
        const text = checkSubject(filter);
        const raw = groupHeader(group);
        const wire = await this._ready(this.connectTimeout);
        this._router.add(text, handler);
        const sub = { group, id: 0 };
        this._subs.set(text, sub);
        try {
            await new Promise((resolve, reject) => {
                sub.id = wire.call('SUB', text, undefined, raw, { resolve, reject });
            });
        } catch (e) {
            if (e.code !== 'unavailable') {
                this._subs.delete(text);
                this._router.remove(text);
            }
            throw e;
        }
    }

    async unsubscribe(filter) {
        const text = checkSubject(filter);
        const sub = this._subs.get(text);
        this._subs.delete(text);
        this._router.remove(text);
        const wire = this._wire;
        if (sub === undefined || wire === undefined) return;
        await new Promise((resolve, reject) => {
            wire.calls.set(sub.id, { resolve, reject });
            wire.text(`UNSUB ${sub.id} 0 0\n`);
        });
    }

    // service

    async run() {
        const keep = this.connectTimeout;
        let stop;
        const stopped = new Promise((resolve) => { stop = resolve; });
        this._stop = stop;
        process.once('SIGTERM', stop);
        process.once('SIGINT', stop);
        try {
            this.connectTimeout = undefined;
            await Promise.race([this.connect(), stopped]);
            await stopped;
        } finally {
            process.off('SIGTERM', stop);
            process.off('SIGINT', stop);
            this.connectTimeout = keep;
            await this.close();
        }
    }

    stop() {
        if (this._stop !== undefined) this._stop();
    }

    async close() {
        this._running = false;
        clearTimeout(this._timer);
        this._timer = undefined;
        const wire = this._wire;
        if (wire !== undefined && wire.alive) await this._drain(wire);
        for (const other of [...this._wires]) {
            if (other.greeted) other.end();
            else other.socket.destroy();
        }
        const until = Date.now() + PONG_TIMEOUT;
        await this._until(() => this._wires.size === 0, until);
        for (const other of [...this._wires]) other.socket.destroy();
        await this._until(() => this._wires.size === 0, until + PONG_TIMEOUT);
        this._wire = undefined;
        this._wake(new BellhopError('unavailable', 'closed'));
    }

    async _drain(wire) {
        const until = Date.now() + this.drainTimeout;
        const ping = this._nextId();
        wire.leave();
        // PONG comes behind every delivery that was under way when the daemon read BYE.
        wire.text(`BYE 0 0 0\nPING ${ping} 0 0\n`);
        await this._until(() => !wire.alive || wire.pongs.has(ping), Math.min(until, Date.now() + PONG_TIMEOUT));
        await this._until(() => !wire.alive || wire.open.size === 0, until);
        for (const delivery of [...wire.open.values()]) {
            wire.fail(delivery, new Release());
            delivery._cancel();
        }
    }

    /** Waits for a condition that changes when a frame comes, a delivery settles or a connection closes. */
    async _until(condition, until) {
        this._watching = true;
        while (!condition() && Date.now() < until) {
            let timer;
            await new Promise((resolve) => {
                this._watchers.push(resolve);
                timer = after(until - Date.now(), resolve);
            });
            clearTimeout(timer);
        }
        this._watching = false;
    }
}

function groupHeader(group) {
    return group ? encodeHeaders({ group }) : '';
}

/** A REQ with a time-out or an AbortSignal; returns what ends the waiting early (CANCEL, if it is not over). */
function bounded(wire, subject, value, raw, timeout, signal, call) {
    let timer;
    let id = 0;
    const clear = () => {
        clearTimeout(timer);
        if (signal !== undefined) signal.removeEventListener('abort', abort);
    };
    const stop = () => {
        clear();
        wire.cancel(id);
    };
    const abort = () => {
        stop();
        call.reject(signal.reason);
    };
    id = wire.call('REQ', subject, value, raw, {
        last: undefined,
        items: call.items,
        resolve(message) { clear(); call.resolve(message); },
        reject(error) { clear(); call.reject(error); },
    });
    if (timeout !== undefined) {
        timer = after(timeout, () => {
            stop();
            call.reject(new BellhopError('timeout', 'no answer in time'));
        });
    }
    if (signal !== undefined) signal.addEventListener('abort', abort, { once: true });
    return stop;
}

module.exports = {
    Client, Service: Client, Message, Delivery, Response, BellhopError, Retry, Reject, Release,
    Decoder, VERB, encode: codec.encode, encodeHeaders, parseHeaders, pattern: codec.pattern,
};
