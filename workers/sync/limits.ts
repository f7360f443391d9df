/** Limits of the sync Worker. All of them bound what one client, or one invocation, can take. */

/** Body of `POST /sync/stream` and of the `open` frame, in bytes: 1,000 buckets of about 300 bytes are 0.3 MB; the rest is room. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024
/** Any frame of a native WebSocket after `open`, in bytes: a token with large claims is the largest. */
export const MAX_FRAME_BYTES = 64 * 1024
export const MAX_CLIENT_ID_LENGTH = 256
/** Levels of objects and lists in a request. */
export const MAX_JSON_DEPTH = 100

/** A native WebSocket that has not sent `open` by then is closed. */
export const OPEN_FRAME_SECONDS = 10
/** A native client that lets a line wait for credit so long is closed; it may come back. */
export const CREDIT_SECONDS = 120
/** Credit beyond this is not counted: the server never sends more than this without hearing of the client. */
export const MAX_CREDIT_BYTES = 16 * 1024 * 1024

/** Bytes that an HTTP response keeps ready for its reader; a line larger than this is held alone. */
export const RESPONSE_BUFFER_BYTES = 64 * 1024

/** `token_expires_in` is sent this often, ±10 % so that clients which connected together do not stay together. Some close after 30 s. */
export const KEEPALIVE_SECONDS = 20
export const KEEPALIVE_JITTER = 0.1
/** A last warning so long before the token expires: clients fetch a new one when they hear 30 or less. */
export const EXPIRY_WARNING_SECONDS = 20

/** Sign of life on the upstream socket; a relay reaps streams after 5 minutes without. */
export const UPSTREAM_PING_SECONDS = 30
/** The receiver acknowledges after this many bytes, a quarter of the sender's credit. */
export const ACKNOWLEDGE_BYTES = 64 * 1024

/**
 * One stream is ONE invocation, and when an invocation has used up its subrequests (10,000,000, see [limits] in wrangler.toml) it goes
 * silent instead of failing. So calls and messages of the upstream socket are counted, and the stream ends cleanly long before.
 */
export const SUBREQUEST_BUDGET = 2_000_000
/** An invocation has 300 s of CPU as well, and no clock that runs while it computes: bytes sent are the measure. */
export const BYTE_BUDGET = 4 * 1024 ** 3

/** Relays per region. */
export const RELAYS = 1
/** Plans kept per isolate. */
export const CACHED_PLANS = 8
