'use strict';
// Frames, headers, values and subjects: bytes in and out, no I/O. See index.d.ts for the public part.
const { isUtf8 } = require('node:buffer');

const MAX_LINE = 2048;
const MAX_SUBJECT = 1024;
const MAX_HEADERS = 64 * 1024;
const MAX_HEADER_LINES = 128;
const MAX_NAME = 128;
const DEFAULT_BODY = 1 << 20;
const MAX_BODY = 64 << 20;
const EMPTY = Buffer.alloc(0);

class BellhopError extends Error {
    constructor(code, detail = '', retry = undefined) {
        super(detail === '' ? code : `${code}: ${typeof detail === 'string' ? detail : JSON.stringify(detail)}`);
        this.name = 'BellhopError';
        this.code = code;
        this.detail = detail;
        this.retry = retry;
    }
}

// Verbs are compared as numbers: 5 bits a letter, at most 6 letters; 0 is any other verb.
function verbCode(name) {
    let code = 0;
    for (const c of name) code = code * 32 + c.charCodeAt(0) - 64;
    return code;
}
const NAMES = ['HELLO', 'PUB', 'REQ', 'OK', 'MORE', 'REP', 'ERR', 'SUB', 'UNSUB', 'WAIT', 'CANCEL', 'CREDIT', 'PING',
    'PONG', 'BYE'];
const VERB = Object.freeze(Object.fromEntries(NAMES.map((name) => [name, verbCode(name)])));

/**
 * Bytes in, frames out, split and glued as they may be. For each frame it calls
 * onFrame(verb, id, buffer, subject, headers, body, end): verb is a number of VERB (0: unknown), id a number (a bigint
 * above 2^53); the others are offsets into buffer: the subject is [subject, headers - 1) and empty when subject is
 * -1, headers [headers, body), body [body, end). The buffer may be kept, it is not used again.
 */
class Decoder {
    constructor(onFrame, limit = MAX_BODY) {
        this.onFrame = onFrame;
        this.limit = limit;
        this.parts = [];
        this.have = 0;
        this.need = 0;
        this.offset = 0;
        // What the line holds, filled by _line().
        this.verb = 0;
        this.id = 0;
        this.number = 0;
        this.hlen = 0;
        this.blen = 0;
        this.subject = -1;
    }

    /** Throws BellhopError `bad-frame`; the decoder is of no use after that. */
    feed(chunk) {
        let buffer = chunk;
        if (this.have > 0) {
            this.parts.push(chunk);
            this.have += chunk.length;
            if (this.have < this.need) return;
            buffer = Buffer.concat(this.parts, this.have);
            this.have = 0;
        }
        const length = buffer.length;
        let pos = 0;
        this.need = 1;
        while (pos < length) {
            const headers = this._line(buffer, pos, length);
            if (headers < 0) break;
            const body = headers + this.hlen;
            const end = body + this.blen;
            if (end > length) {
                this.need = end - pos;
                break;
            }
            this.onFrame(this.verb, this.id, buffer, this.subject, headers, body, end);
            pos = end;
        }
        this.offset += pos;
        if (pos < length) {
            this.parts = [pos === 0 ? buffer : buffer.subarray(pos)];
            this.have = length - pos;
        }
    }

    /** Parses one line; returns the offset behind its LF, or -1 where it is not whole yet. */
    _line(buffer, start, length) {
        let p = start;
        let code = 0;
        let c = p < length ? buffer[p] : 0;
        while (c > 64 && c < 91) {
            code = p - start < 6 ? code * 32 + c - 64 : 0;
            c = ++p < length ? buffer[p] : 0;
        }
        if (p - start > 6) code = 0;
        this.verb = code;
        if (p >= length) return this._partial(start, length);
        if (c !== 32 || p === start) this._bad(start, 'expected an upper-case verb');
        if ((p = this._number(buffer, p + 1, length, start)) < 0) return this._partial(start, length);
        this.id = this.number;
        if (buffer[p] !== 32) this._bad(start, 'expected VERB ID HLEN BLEN [SUBJECT]');
        if ((p = this._number(buffer, p + 1, length, start)) < 0) return this._partial(start, length);
        this.hlen = this.number;
        if (buffer[p] !== 32) this._bad(start, 'expected VERB ID HLEN BLEN [SUBJECT]');
        if ((p = this._number(buffer, p + 1, length, start)) < 0) return this._partial(start, length);
        this.blen = this.number;
        if (this.hlen > MAX_HEADERS || this.blen > this.limit) this._bad(start, 'HLEN or BLEN above its limit');
        this.subject = -1;
        if (buffer[p] === 10) return p + 1;
        if (buffer[p] !== 32) this._bad(start, 'ID, HLEN and BLEN are decimal numbers');
        return this._subject(buffer, p + 1, length, start);
    }

    /** Leaves the value in this.number; returns the offset behind the digits, or -1 at the end of the bytes. */
    _number(buffer, p, length, start) {
        const first = p;
        let value = 0;
        let c = p < length ? buffer[p] : 0;
        while (c > 47 && c < 58) {
            value = value * 10 + c - 48;
            c = ++p < length ? buffer[p] : 0;
        }
        if (p - first > 20) this._bad(start, 'number too long');
        if (p >= length) return -1;
        if (p === first) this._bad(start, 'ID, HLEN and BLEN are decimal numbers');
        if (value > Number.MAX_SAFE_INTEGER) {
            value = BigInt(buffer.latin1Slice(first, p));
            if (value > 0xffffffffffffffffn) this._bad(start, 'ID above its limit');
        }
        this.number = value;
        return p;
    }

    _subject(buffer, first, length, start) {
        let p = first;
        let high = 0;
        let c = p < length ? buffer[p] : 10;
        while (c > 31 && c !== 127) {
            high |= c;
            c = ++p < length ? buffer[p] : 10;
        }
        if (p - first > MAX_SUBJECT) this._bad(start, 'subject too long');
        if (p >= length) return this._partial(start, length);
        if (c !== 10) this._bad(start, 'control character in the subject');
        if (high > 127 && !isUtf8(buffer.subarray(first, p))) this._bad(start, 'subject is not UTF-8');
        if (p > first) this.subject = first;
        return p + 1;
    }

    _partial(start, length) {
        if (length - start >= MAX_LINE) this._bad(start, `line longer than ${MAX_LINE} bytes`);
        this.need = length - start + 1;
        return -1;
    }

    _bad(start, what) {
        throw new BellhopError('bad-frame', `offset ${this.offset + start}: ${what}`);
    }
}

/** The bytes of one frame. rawHeaders: text of a header block; body: text or bytes. Nothing is checked here. */
function encode(verb, id, subject = '', rawHeaders = '', body = EMPTY) {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const tail = subject === '' ? '\n' : ` ${subject}\n`;
    const line = `${verb} ${id} ${Buffer.byteLength(rawHeaders)} ${bytes.length}${tail}`;
    return Buffer.concat([Buffer.from(line + rawHeaders), bytes]);
}

// --- headers ---

const NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
const CONTROL = /[\x00-\x1f\x7f]/;
const LONE = /\p{Surrogate}/u;

/** Pairs of a raw block. Throws BellhopError `bad-frame`. */
function parseHeaders(buffer) {
    if (!isUtf8(buffer)) throw new BellhopError('bad-frame', 'headers are not UTF-8');
    const lines = buffer.toString('utf8').split('\n');
    if (lines.pop() !== '' || lines.length > MAX_HEADER_LINES) {
        throw new BellhopError('bad-frame', 'headers: last line without an end, or too many lines');
    }
    return lines.map((line) => {
        const colon = line.indexOf(':');
        const name = line.slice(0, colon < 0 ? 0 : colon);
        if (!NAME.test(name) || CONTROL.test(line)) {
            throw new BellhopError('bad-frame', `bad header line ${JSON.stringify(line.slice(0, 80))}`);
        }
        return [name, line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)];
    });
}

/** Text of a raw block from an object (a value may be a list) or pairs. Throws BellhopError `invalid`, `too-large`. */
function encodeHeaders(headers) {
    if (headers === undefined || headers === null) return '';
    let text = '';
    for (const [key, values] of Array.isArray(headers) ? headers : Object.entries(headers)) {
        const name = String(key).toLowerCase();
        for (const value of Array.isArray(values) ? values : [values]) {
            const line = `${name}: ${value}`;
            if (!NAME.test(name) || name.length > MAX_NAME || CONTROL.test(line) || LONE.test(line)) {
                throw new BellhopError('invalid', `header ${name.slice(0, 80)}: a name is a token of at most ` +
                    `${MAX_NAME} characters, a value has no control characters`, false);
            }
            text += line + '\n';
        }
    }
    return bounded(text);
}

/** A raw block as it goes out: beyond the limits the daemon would end the connection. */
function bounded(text) {
    if (text.length < 4 * MAX_HEADER_LINES) return text;      // 'a: \n' is the shortest line
    if (text.split('\n').length - 1 > MAX_HEADER_LINES || Buffer.byteLength(text) > MAX_HEADERS) {
        throw new BellhopError('too-large', `headers above ${MAX_HEADERS} bytes or ${MAX_HEADER_LINES} lines`, false);
    }
    return text;
}

/** The value of content-type in a raw block, or ''. */
function contentType(buffer, start, end) {
    const text = buffer.latin1Slice(start, end);
    let at = text.indexOf('content-type:');
    while (at > 0 && text.charCodeAt(at - 1) !== 10) at = text.indexOf('content-type:', at + 1);
    if (at < 0) return '';
    if (text.startsWith(JSON_TYPE, at)) return 'application/json';
    at += 13;
    return text.slice(at, text.indexOf('\n', at)).trim();
}

// --- values ---

const JSON_TYPE = 'content-type: application/json\n';
const TEXT_TYPE = 'content-type: text/plain; charset=utf-8\n';

/** { body: text or bytes, type: header line or '' } of a value. */
function toBody(value) {
    if (value === undefined) return { body: '', type: '' };
    if (typeof value === 'string') return { body: value, type: TEXT_TYPE };
    if (value instanceof Uint8Array) {
        return { body: Buffer.from(value.buffer, value.byteOffset, value.byteLength), type: '' };
    }
    const body = JSON.stringify(value);
    if (body === undefined) throw new BellhopError('invalid', `a ${typeof value} is no JSON value`, false);
    return { body, type: JSON_TYPE };
}

function parseJson(buffer, start, end) {
    const text = buffer.utf8Slice(start, end);
    // Decoding puts U+FFFD where bytes are no UTF-8; only then is it worth a second look.
    if (text.includes('\ufffd') && !isUtf8(buffer.subarray(start, end))) throw new Error('not UTF-8');
    return JSON.parse(text);
}

/** The value of buffer[start, end). Throws BellhopError `invalid` where the type promises what the bytes are not. */
function fromBody(buffer, start, end, type) {
    if (type === '') {
        if (start === end) return undefined;
        try {
            return parseJson(buffer, start, end);
        } catch {
            return buffer.subarray(start, end);
        }
    }
    const kind = type === 'application/json' ? type : type.split(';', 1)[0].trim().toLowerCase();
    if (kind === 'application/json' || kind.endsWith('+json')) {
        if (start === end) return undefined;
        try {
            return parseJson(buffer, start, end);
        } catch (e) {
            throw new BellhopError('invalid', `body is not ${kind}: ${e.message}`, false);
        }
    }
    const body = buffer.subarray(start, end);
    if (!kind.startsWith('text/')) return body;
    if (!isUtf8(body)) throw new BellhopError('invalid', `body is not ${kind} in UTF-8`, false);
    return body.toString('utf8');
}

const UNIT = { ms: 1, s: 1000, m: 60000, h: 3600000, d: 86400000 };

/** Milliseconds of `1500ms`, `1h30m`; undefined for what is no duration. */
function parseDuration(text) {
    if (typeof text !== 'string' || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
    let sum = 0;
    for (const m of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) sum += Number(m[1]) * UNIT[m[2]];
    return sum;
}

const SIZE = { '': 1, B: 1, KiB: 1 << 10, MiB: 1 << 20, GiB: 1 << 30 };

/** Bytes of `1048576` or `1MiB`; the default for what is neither. */
function parseSize(text) {
    const m = /^(\d+)\s*([A-Za-z]*)$/.exec(text || '');
    return m && SIZE[m[2]] ? Number(m[1]) * SIZE[m[2]] : DEFAULT_BODY;
}

/** setTimeout() for a span of any length: above 2^31 ms it would fire at once. */
function after(ms, act) {
    return setTimeout(act, Math.min(ms, 0x7fffffff));
}

/** Full jitter: milliseconds to wait before connect attempt number `attempt` (0, 1, …). */
function backoff(attempt, rand = Math.random, base = 100, cap = 5000) {
    return rand() * Math.min(cap, base * 2 ** Math.min(attempt, 16));
}

// --- subjects ---

/** JSON with sorted keys and no spaces; by hand, since objects put keys that look like integers first. */
function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
    if (value === null || typeof value !== 'object') return JSON.stringify(value);
    return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`;
}

function pattern(subject) {
    return typeof subject === 'string' ? subject : canonical(subject);
}

function checkSubject(subject) {
    const text = pattern(subject);
    if (typeof text !== 'string' || text === '' || CONTROL.test(text) || LONE.test(text) ||
        Buffer.byteLength(text) > MAX_SUBJECT) {
        throw new BellhopError('invalid',
            `a subject is 1 to ${MAX_SUBJECT} bytes of UTF-8 without control characters`, false);
    }
    return text;
}

function matches(filter, tokens) {
    for (let i = 0; i < filter.length; i++) {
        if (filter[i] === '>' && i === filter.length - 1) return tokens.length > i;
        if (i >= tokens.length || (filter[i] !== '*' && filter[i] !== tokens[i])) return false;
    }
    return filter.length === tokens.length;
}

/** Subject -> handler: the exact text, then filters in the order of registration, then the default. */
class Router {
    constructor() {
        this.exact = new Map();
        this.filters = new Map();
        this.cache = new Map();
        this.fallback = undefined;
        this.last = undefined;        // the subject looked up last, and its handler
        this.lastHandler = undefined;
    }

    forget() {
        this.cache.clear();
        this.last = undefined;
    }

    add(subject, handler) {
        this.forget();
        const tokens = subject.split(/[./]/);
        const wild = subject[0] !== '{' && (tokens.includes('*') || tokens[tokens.length - 1] === '>');
        if (wild) this.filters.set(subject, { tokens, handler });
        else this.exact.set(subject, handler);
    }

    remove(subject) {
        this.forget();
        this.exact.delete(subject);
        this.filters.delete(subject);
    }

    find(subject) {
        if (subject === this.last) return this.lastHandler;
        this.lastHandler = this.look(subject);
        this.last = subject;
        return this.lastHandler;
    }

    look(subject) {
        let handler = this.exact.get(subject) || this.cache.get(subject);
        if (handler !== undefined) return handler;
        const tokens = subject.split(/[./]/);
        for (const filter of this.filters.values()) {
            if (matches(filter.tokens, tokens)) {
                handler = filter.handler;
                break;
            }
        }
        if (handler === undefined) handler = this.fallback;
        if (handler !== undefined && this.cache.size < 1024) this.cache.set(subject, handler);
        return handler;
    }
}

module.exports = {
    BellhopError, Decoder, Router, VERB, EMPTY, DEFAULT_BODY, JSON_TYPE, TEXT_TYPE,
    encode, parseHeaders, encodeHeaders, bounded, contentType, toBody, fromBody, parseDuration, parseSize, after, backoff, pattern,
    checkSubject,
};
