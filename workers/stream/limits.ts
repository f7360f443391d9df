/** Limits of the sync Worker. All of them bound what one client, or one invocation, can take. */

/** Body of `POST /sync/stream`, the `open` frame, and any message of RSocket, in bytes: 1,000 buckets of about 300 bytes are 0.3 MB; the rest is room. */
export const MAX_BODY_BYTES = 1024 * 1024
/** Any frame of a native WebSocket after `open`, in bytes: a token with large claims is the largest. */
export const MAX_FRAME_BYTES = 64 * 1024
/** Wrong fields of a request that are told. */
export const MAX_WRONG_FIELDS = 20
/** Frames of a WebSocket that wait until the token is verified. */
export const MAX_EARLY_FRAMES = 16

/** A WebSocket whose first frame has not come by then is closed. */
export const FIRST_FRAME_SECONDS = 10
/** A native client that lets a line wait for credit so long is closed; it may come back. */
export const CREDIT_SECONDS = 120

/**
 * What one client may make us hold, in bytes: 665,000 on their way to it, 256 KB of messages of the relay, and what `view.ts` keeps of ops.
 * Together less than a million. Only a line that is larger by itself, because one op is, goes beyond.
 */
export const MAX_UNTAKEN_BYTES = 665_000
/** What all streams of an isolate may hold together before another read, in bytes: half of its 128 MB. */
export const HELD_BYTES = 64 * 1024 * 1024
/** Beyond this, which ops larger than a read and messages of relays may bring about, the stream that holds most ends. */
export const MOST_HELD_BYTES = 80 * 1024 * 1024
/** While others wait for room, a stream ends whose client has not taken `TAKEN_BYTES` for so long: a client that reads 13 KB a second has then read the largest line. */
export const HELD_SECONDS = 30
export const TAKEN_BYTES = 32 * 1024
/** How often somebody who waits looks for such streams. */
export const HELD_LOOK_SECONDS = 5
/** What all streams of an isolate may know of their buckets together, in bytes. The rest of `HELD_BYTES` is for what passes. */
export const KNOWN_BYTES = 40 * 1024 * 1024
/** A stream that has for so long neither pinged its relay, every `UPSTREAM_PING_SECONDS`, nor tried to reach one is not there any more, whatever it did not say. */
export const SILENT_SECONDS = 5 * 60
/**
 * What a stream costs while it runs, and each of its buckets beside its name, in bytes: name, state, position, and what its client was told. Measured 2026-11-29: 140
 * streams of 300 buckets added 19 MB in workerd, 452 bytes a bucket; what is counted for them is 20 MB.
 */
export const KNOWN_STREAM_BYTES = 8_000
export const KNOWN_BUCKET_BYTES = 400
/** Each row of a lookup that it remembers, beside its text. */
export const KNOWN_ROW_BYTES = 24
/** Of a read, in UTF-16 units: the size of `data` lines. Large lines are what makes a first sync fast; more than one would not fit. */
export const READ_LENGTH = 400_000
/** A read is a text and the bytes of its line for as long as it is written: measured, 500 clients that downloaded at once held twice what was counted for reads. */
export const READ_COPIES = 2
/** A native client gives credit back at least this often: so much of what it has already may be missing from its account. */
export const CREDIT_STEP_BYTES = 256 * 1024
/** Bytes that an HTTP response keeps ready for its reader before another line is fetched. */
export const RESPONSE_BUFFER_BYTES = 64 * 1024

/** An HTTP response begins with its first line, so that an error before it has a status; or after so long. */
export const FIRST_LINE_SECONDS = 10

/** RSocket: behind so many bytes the client is asked for a sign that it has received them. */
export const PROBE_BYTES = 32 * 1024
/** RSocket: lines of a client that answers no such question are made this small, in UTF-16 units, rather than held in number. */
export const SMALLEST_LINE = 4 * 1024
/** RSocket: up to so many lines a client that answers no such question is trusted to mean what it requests. */
export const TRUSTED_LINES = 128
export const MAX_LIFETIME_SECONDS = 15 * 60
/** RSocket: streams at a time on one connection. SDKs open one. */
export const MAX_STREAMS = 4
/** RSocket: frames that one request may come in, and how long they may take. */
export const MAX_FRAGMENTS = 64
export const FRAGMENTS_SECONDS = 10
/** RSocket: data of a KEEPALIVE, which goes back as it is. SDKs send none. */
export const MAX_KEEPALIVE_BYTES = 64
/** RSocket: answers of the connection itself, to KEEPALIVE and to requests that are refused, that may be unread. */
export const MAX_UNREAD_ANSWER_BYTES = 64 * 1024
/** RSocket: a client that wants lines and does not show for so long that it has received what is on its way is closed; it may come back. */
export const RECEIPT_SECONDS = 60
/** RSocket: a connection without streams is closed. */
export const LINGER_SECONDS = 5

/** `token_expires_in` is sent this often, ±5 % so that clients which connected together do not stay together: never more than 20 s apart. */
export const KEEPALIVE_SECONDS = 19
export const KEEPALIVE_JITTER = 0.05
/** A last warning so long before the token expires: clients fetch a new one when they hear 30 or less. */
export const EXPIRY_WARNING_SECONDS = 20

/** Sign of life on the upstream socket; a relay reaps streams after 5 minutes without. */
export const UPSTREAM_PING_SECONDS = 30
/** The receiver acknowledges after this many bytes, a quarter of the sender's credit. */
export const ACKNOWLEDGE_BYTES = 64 * 1024

/** Plans kept per isolate. */
export const CACHED_PLANS = 8
