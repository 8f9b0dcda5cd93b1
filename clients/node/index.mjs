import bellhop from './index.js';

export const { BellhopError, Client, Decoder, Delivery, Message, Reject, Release, Response, Retry, Service,
    VERB, encode, encodeHeaders, parseHeaders, pattern } = bellhop;
export default bellhop;
