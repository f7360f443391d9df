/** Limits of the sync Worker. Each of them bounds what one client or one invocation can use. */

/**
 * Bytes of the body of `POST /sync/stream`, of the `open` frame, and of any RSocket message. 1,000 buckets of about 300
 * bytes are 0.3 MB; the rest is reserve.
 */
export const MAX_BODY_BYTES = 1024 * 1024
/** Bytes of a frame of a native WebSocket after `open`. The largest is a token with large claims. */
export const MAX_FRAME_BYTES = 64 * 1024
/** The number of wrong fields of a request that are reported. */
export const MAX_WRONG_FIELDS = 20
/** Frames of a WebSocket that may wait until the token is verified. */
export const MAX_EARLY_FRAMES = 16

/** A WebSocket whose first frame has not arrived by then is closed. */
export const FIRST_FRAME_SECONDS = 10
/** A native client that lets a line wait this long for credit is disconnected; it may reconnect. */
export const CREDIT_SECONDS = 120

/**
 * How many bytes one client may make us hold in flight. With 256 KB of messages of the relay and the ops that `view.ts`
 * keeps, that is less than a million together. Only a single line that is larger, because one op is, goes beyond.
 */
export const MAX_UNTAKEN_BYTES = 665_000
/** The bytes that all streams of an isolate may hold together before another read: half of its 128 MB. */
export const HELD_BYTES = 64 * 1024 * 1024
/**
 * Above this, which single ops larger than a read and messages of relays may cause, the stream that holds most ends.
 */
export const MOST_HELD_BYTES = 80 * 1024 * 1024
/**
 * While others wait for room, a stream ends whose client has not received `TAKEN_BYTES` for this long. A client that
 * reads 13 KB a second has then read the largest line.
 */
export const HELD_SECONDS = 30
export const TAKEN_BYTES = 32 * 1024
/** How often a waiting stream looks for such streams. */
export const HELD_LOOK_SECONDS = 5
/**
 * The bytes of what all streams of an isolate may know about their buckets together. The rest of `HELD_BYTES` is for
 * data in transit.
 */
export const KNOWN_BYTES = 40 * 1024 * 1024
/**
 * A stream that has neither pinged its relay (every `UPSTREAM_PING_SECONDS`) nor tried to reach one for this long is
 * gone, even if it never ended.
 */
export const SILENT_SECONDS = 5 * 60
/**
 * The bytes that a running stream costs, and each of its buckets in addition to its name: name, state, position, and
 * what was announced. Measured 2026-11-29: 140 streams of 300 buckets added 19 MB in workerd, 452 bytes a bucket; they
 * are counted as 20 MB.
 */
export const KNOWN_STREAM_BYTES = 8_000
export const KNOWN_BUCKET_BYTES = 400
/** The bytes of each lookup row that it keeps, in addition to the row's text. */
export const KNOWN_ROW_BYTES = 24
/**
 * UTF-16 units of a read, which is the size of `data` lines. Large lines make a first sync fast; more than one would
 * not fit.
 */
export const READ_LENGTH = 400_000
/**
 * While it is written, a read exists as text and as the bytes of its line: 500 clients that downloaded at once held
 * twice what was counted for reads.
 */
export const READ_COPIES = 2
/**
 * A native client gives credit back after at most this many bytes, so this much of what it has received may be
 * unreported.
 */
export const CREDIT_STEP_BYTES = 256 * 1024
/** Bytes that an HTTP response buffers for its reader before another line is fetched. */
export const RESPONSE_BUFFER_BYTES = 64 * 1024

/** An HTTP response begins with its first line, so that an earlier error gets a status, or after this time. */
export const FIRST_LINE_SECONDS = 10

/** RSocket: after this many bytes the client is asked to confirm that it has received them. */
export const PROBE_BYTES = 32 * 1024
/**
 * RSocket: UTF-16 units of the lines of a client that does not confirm. They are made this small so that all that it
 * requests fit.
 */
export const SMALLEST_LINE = 4 * 1024
/** RSocket: up to this many requested lines, a client that does not confirm is trusted to receive them. */
export const TRUSTED_LINES = 128
export const MAX_LIFETIME_SECONDS = 15 * 60
/** RSocket: streams at a time on one connection. SDKs open one. */
export const MAX_STREAMS = 4
/** RSocket: the fragments of one request, and how long they may take. */
export const MAX_FRAGMENTS = 64
export const FRAGMENTS_SECONDS = 10
/** RSocket: bytes of data in a KEEPALIVE, which are sent back. SDKs send none. */
export const MAX_KEEPALIVE_BYTES = 64
/** RSocket: bytes of unread answers of the connection itself: to KEEPALIVE, and to refused requests. */
export const MAX_UNREAD_ANSWER_BYTES = 64 * 1024
/**
 * RSocket: a client that wants lines but has not confirmed for this long what is in flight is disconnected; it may
 * reconnect.
 */
export const RECEIPT_SECONDS = 60
/** RSocket: a connection without streams is closed after this time. */
export const LINGER_SECONDS = 5

/**
 * `token_expires_in` is sent this often, ± 5 % so that clients which connected together drift apart, and never more
 * than 20 s apart.
 */
export const KEEPALIVE_SECONDS = 19
export const KEEPALIVE_JITTER = 0.05
/** When the last warning before the token expires is sent. Clients fetch a new token when they receive 30 or less. */
export const EXPIRY_WARNING_SECONDS = 20

/** The interval of pings on the upstream socket. A relay removes streams after 5 minutes without one. */
export const UPSTREAM_PING_SECONDS = 30
/** The receiver acknowledges after this many bytes: a quarter of the sender's credit. */
export const ACKNOWLEDGE_BYTES = 64 * 1024

/** Bytes of the plans that an isolate keeps. */
export const PLANS_BYTES = 64 * 1024 * 1024
/** Bytes of memory that a loaded plan takes for each UTF-16 unit of its text. Measured 2026-11-30 in Node 24: 9. */
export const PLAN_BYTES = 10
