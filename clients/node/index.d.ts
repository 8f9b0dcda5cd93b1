/**
 * Client of bellhopd's local protocol. Times are milliseconds, sizes bytes.
 *
 * Values (what handlers return, what request and publish send): bytes (Uint8Array) go as they are, a string as
 * text/plain, undefined as an empty body, anything else as JSON. What arrives is decoded by its content-type: JSON to
 * values, text/* to a string, other types stay bytes; without a content-type, JSON if it parses (empty: undefined), else
 * bytes. `body` always holds the bytes as they came.
 */

/** A subject, or a NestJS pattern: an object becomes JSON with sorted keys and no spaces, `{"cmd":"sum"}`. */
export type Subject = string | number | { readonly [key: string]: unknown };

/** Headers to send: names are tokens (made lower-case), values UTF-8 without control characters; a list repeats a name. */
export type HeadersInput =
    | { readonly [name: string]: string | number | readonly (string | number)[] }
    | readonly (readonly [name: string, value: string | number])[];

/** What came: a reply, an item of a streamed reply, or (Delivery) something to handle. */
export class Message<T = any> {
    protected constructor();
    readonly subject: string;
    readonly body: Buffer;
    /** The body decoded. Throws BellhopError `invalid` where the content-type promises what the bytes are not. */
    readonly data: T;
    /** The first value of each name; an object without a prototype. */
    readonly headers: { readonly [name: string]: string };
    /** All headers in order, repeated names too. */
    readonly headerList: readonly (readonly [name: string, value: string])[];
}

/** What a handler is given. */
export class Delivery<T = any> extends Message<T> {
    /** The daemon's number of this delivery on this connection; 0: no answer is asked for. */
    readonly number: number | bigint;
    /** An answer is wanted (REQ); false for an event (PUB). */
    readonly isRequest: boolean;
    /** 1 at first, then 2, … */
    readonly attempt: number;
    /** Milliseconds that the asker had left when this was sent, or undefined. */
    readonly timeout: number | undefined;
    /** The asker has gone, or the connection: the answer is of no use any more. */
    readonly cancelled: boolean;
    /** Aborts when `cancelled` becomes true. */
    readonly signal: AbortSignal;
    /** Work goes on (WAIT): the delivery's time-out starts again. */
    extend(): void;
    /**
     * Stages an event under this delivery: sent on only if it ends well, in one transaction with it; dropped if it does
     * not. The promise tells its fate, which is known only after the handler has ended: never await it inside. A
     * rejection that nobody handles is not reported.
     */
    publish(subject: Subject, value?: unknown, options?: { headers?: HeadersInput }): Promise<void>;
}

/** A value with headers, for handlers that want to send both. */
export class Response {
    constructor(value?: unknown, headers?: HeadersInput);
    value: unknown;
    headers?: HeadersInput;
}

/**
 * Returns a value (or a promise of one), or an iterator or async iterable, whose items are streamed as they come; or
 * throws Retry, Reject, Release, or anything else: code `failed`, retried as the route's policy says, with the error's
 * name and text as the detail. On events the returned value is not sent.
 */
export type Handler<T = any> = (data: T, delivery: Delivery<T>) => unknown;

/** The protocol's codes; services may send others. */
export type Code = 'bad-frame' | 'version' | 'denied' | 'no-route' | 'no-service' | 'timeout' | 'unavailable' | 'overloaded'
    | 'too-large' | 'invalid' | 'expired' | 'duplicate' | 'failed' | 'draining' | 'internal' | (string & {});

/** A refusal or failure. */
export class BellhopError extends Error {
    constructor(code: Code, detail?: unknown, retry?: false | number);
    readonly code: Code;
    /** Text, or what the JSON held. */
    readonly detail: any;
    /** undefined: not said; false: do not try again; else milliseconds to wait. */
    readonly retry: undefined | false | number;
}

/** Thrown by a handler: failed, try again, requests too; after `after` milliseconds where given, else as the policy says. */
export class Retry extends Error {
    constructor(detail?: unknown, options?: { after?: number; code?: Code });
}

/** Thrown by a handler: refused for good (`retry: no`). `detail` is text or anything JSON can hold. */
export class Reject extends Error {
    constructor(code?: Code, detail?: unknown);
}

/** Thrown by a handler: give the delivery back; no attempt is counted. */
export class Release extends Error {
    constructor();
}

export interface ClientOptions {
    /** Path of the daemon's socket; else the environment's BELLHOP_SOCKET, else /run/bellhop/bellhop.sock. */
    socket?: string;
    /** Unanswered deliveries taken at once, 1 to 65535. Default 64. */
    credit?: number;
    token?: string;
    /** Default: host name and process id. */
    instance?: string;
    /** How long connect, request and publish wait for a connection. Default 10000; undefined or Infinity: for ever. */
    connectTimeout?: number;
    /** How long close() waits for handlers before it releases their deliveries. Default 10000. */
    drainTimeout?: number;
    /** Hears of handlers that failed, of a daemon that is away, and of subscriptions refused after a reconnect. Default:
     *  console.error. */
    log?: (text: string, error: unknown) => void;
}

export interface RequestOptions {
    headers?: HeadersInput;
    /** Milliseconds; travels as the header `timeout`. When it is over the request is cancelled and fails with `timeout`.
     *  Without it the route's policy bounds the request. */
    timeout?: number;
    /** Cancels the request; the promise rejects with the signal's reason. */
    signal?: AbortSignal;
}

export class Client {
    /** name: the service's name. Throws BellhopError `invalid`, RangeError. */
    constructor(name: string, options?: ClientOptions);
    readonly name: string;
    readonly connected: boolean;
    /** The daemon's limit of a body, and its node's name, as its HELLO said. */
    readonly limit: number;
    readonly node: string;

    /** The handler of a subject, a filter (`order.*`, `audit.>`) or a NestJS pattern. The exact text wins, then filters in
     *  the order of registration, then the default. */
    on<T = any>(subject: Subject, handler: Handler<T>): this;
    /** The handler of what no other takes; without one such deliveries end with `no-route`. */
    default(handler: Handler): this;
    /** Lets the daemon have `more` deliveries more outstanding than now, here and after each reconnect. */
    addCredit(more: number): void;

    /**
     * Connects, says HELLO and keeps the connection: after a loss it is made again for ever, with full-jitter back-off,
     * and subscriptions are repeated. Rejects with the daemon's refusal (`denied`, `version`, …) at once, or with
     * `unavailable` after connectTimeout.
     */
    connect(): Promise<this>;

    /**
     * Sends a request; of a streamed reply the last item is the result. Rejects with BellhopError: the code of the daemon
     * or the service; `timeout`; `unavailable` when the connection breaks; `too-large`, `invalid` before anything is sent.
     */
    request<T = any>(subject: Subject, value?: unknown, options?: RequestOptions): Promise<Message<T>>;
    /**
     * Sends a request and yields each item as it comes. Leaving the loop early cancels the request. Where items come faster
     * than they are taken (above 256 of them, or 1 MiB) the connection is not read for up to half a second at a time, unless
     * another call waits for its answer on it; with 65,536 or 16 MiB waiting the stream ends, behind them, with `overloaded`.
     */
    requestStream<T = any>(subject: Subject, value?: unknown, options?: RequestOptions): AsyncGenerator<Message<T>, void>;
    /**
     * Sends an event. Resolves once it is accepted under the route's promise (durable: on disk); with `ack: false` once it
     * is handed to the socket, and no refusal is ever heard of.
     */
    publish(subject: Subject, value?: unknown,
        options?: { headers?: HeadersInput; ack?: boolean; timeout?: number }): Promise<void>;
    /** Subscribes this connection (again after each reconnect); members of a group share the load. Filters of one client
     *  should not overlap: the first match takes all. */
    subscribe(filter: Subject, handler: Handler, options?: { group?: string }): Promise<void>;
    /** Ends a subscription; an unknown one is ignored. */
    unsubscribe(filter: Subject): Promise<void>;

    /** Serves until SIGTERM, SIGINT or stop(), then drains and closes; waits for the daemon for ever. Rejects only if the
     *  first HELLO is refused. */
    run(): Promise<void>;
    stop(): void;
    /** Drains: BYE, what is taken is finished (released after drainTimeout), then closes. */
    close(): Promise<void>;
}

export { Client as Service };

/** The subject of a NestJS pattern: text as it is, an object as JSON with sorted keys and no spaces. */
export function pattern(subject: Subject): string;

/** Verbs as the numbers that Decoder reports. */
export const VERB: Readonly<Record<'HELLO' | 'PUB' | 'REQ' | 'OK' | 'MORE' | 'REP' | 'ERR' | 'SUB' | 'UNSUB' | 'WAIT'
    | 'CANCEL' | 'CREDIT' | 'PING' | 'PONG' | 'BYE', number>>;

/** Bytes in, frames out; no I/O. `subject` is an offset into `buffer` or -1 (none), and ends one before `headers`; the
 *  headers are [headers, body), the body [body, end). */
export class Decoder {
    constructor(onFrame: (verb: number, id: number | bigint, buffer: Buffer, subject: number, headers: number,
        body: number, end: number) => void, limit?: number);
    /** Throws BellhopError `bad-frame` with the offset; the decoder is of no use after that. */
    feed(chunk: Buffer): void;
}

/** The bytes of one frame; nothing is checked. `rawHeaders` is a block as encodeHeaders makes it. */
export function encode(verb: string, id: number | bigint, subject?: string, rawHeaders?: string,
    body?: string | Uint8Array): Buffer;
/** Throws BellhopError `invalid`, `too-large`. */
export function encodeHeaders(headers?: HeadersInput): string;
/** Throws BellhopError `bad-frame`. */
export function parseHeaders(buffer: Buffer): [name: string, value: string][];
