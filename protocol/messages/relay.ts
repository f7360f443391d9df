import { z } from 'zod'
import { jsonOrNull } from '../json.ts'
import type { RelayClients } from './census.ts'
import type { ToldRevocation } from '../revocations.ts'
import { understoodVersion, type Versioned } from '../versions.ts'

// The calls of the Relay object, and the frames on its two kinds of sockets: from the replicator and to streams. Each
// frame is declared by its shape.

/** RPC of the Relay object. */
export interface RelayRpc {
  /** Returns the number of open streams. */
  streams(request: Versioned): Promise<number>
  /** Returns who is connected. */
  clients(request: Versioned): Promise<RelayClients>
  /** Ends all streams, because the tenant is not served. Returns how many there were. */
  dismiss(request: Versioned): Promise<number>
  /** Ends the streams of tokens that are refused from now on. Returns how many. `revision`: see `Checked`. */
  revoke(request: Versioned & ToldRevocation & { revision: number }): Promise<number>
}

const opId = z.number()

/**
 * How a frame names buckets. `name`: by `frameName`. Absent: by `hashName`, as code of version 1 does; such code is
 * sent frames in that form, without ops. A relay speaks both forms, to each socket that of its other end. Version 3 may
 * remove the older form.
 */
const nameForm = z.literal('name')
export type NameForm = z.infer<typeof nameForm>

/**
 * One bucket in a notice: its name, count, checksum and last op, and the op texts joined by `,`, or null when there are
 * too many.
 */
const noticeBucket = z.tuple([z.string(), z.number(), z.number(), opId, z.string().nullable()])
export type NoticeBucket = z.infer<typeof noticeBucket>

const notice = z.object({
  v: understoodVersion,
  type: z.literal('notice'),
  checkpoint: opId,
  previous: opId,
  plan: z.string().nullable(),
  /** The number of the part, from 1. A notice takes effect with its last part. */
  part: z.number(),
  parts: z.number(),
  form: nameForm.optional(),
  fenced: z.array(z.string()).optional(),
  buckets: z.array(noticeBucket),
})

const gap = z.object({
  v: understoodVersion,
  type: z.literal('gap'),
  checkpoint: opId,
  plan: z.string().nullable(),
  form: nameForm.optional(),
  fenced: z.array(z.string()).optional(),
  /**
   * How much is compared, 0 to 1, while a comparison holds the checkpoint; it may change at the same checkpoint.
   * Absent, as in a notice, when there is none.
   */
  comparing: z.number().optional(),
})

/**
 * Replicator → relay. The replicator opens the socket with `GET /replicator?serial=n&revision=r`; `r` is the number of
 * the newest revocation, by which the relay knows whether it has missed one. A relay without streams answers
 * 410, else 101 with the headers `rockpool-checkpoint` (the checkpoint it has, or empty), `rockpool-names` (the form of
 * names that it accepts, see `NameForm`) and `rockpool-fences` (it understands `fenced`: buckets that lack ops. Their
 * streams are ended; a gap at the same checkpoint may change the list).
 */
const replicatorShape = z.union([notice, gap])
export type ReplicatorFrame = z.infer<typeof replicatorShape>

/**
 * Receiver → sender on both relay sockets: bytes of frames received since the socket opened. This is the sender's
 * credit.
 */
const ack = z.object({ v: understoodVersion, type: z.literal('ack'), received: z.number() })
export type AckFrame = z.infer<typeof ack>

/** Stream → relay. `add` are bucket names of any length; `remove` are names in the form that `form` says. */
const subscribe = z.object({
  v: understoodVersion,
  type: z.literal('subscribe'),
  seq: z.number(),
  form: nameForm.optional(),
  add: z.array(z.string()),
  remove: z.array(z.string()),
})
export type SubscribeFrame = z.infer<typeof subscribe>

/**
 * Stream → relay: the stream continues under another token of the same user, see `TokenMark`. `seq` counts them. The
 * relay answers when the token has been found not to be revoked, and else ends the stream.
 */
const token = z.object({
  v: understoodVersion,
  type: z.literal('token'),
  seq: z.number(),
  jti: z.string().optional(),
  iat: z.number(),
})
export type TokenFrame = z.infer<typeof token>
const streamShape = z.union([subscribe, ack, token])

/** Relay → stream: the token of that `TokenFrame` is accepted. */
const admitted = z.object({ v: understoodVersion, type: z.literal('admitted'), seq: z.number() })
export type AdmittedFrame = z.infer<typeof admitted>

/**
 * Relay → stream: all subscribed buckets are now at `checkpoint`, and those listed changed. `seq` is the subscription
 * that this answers. The `form` of the first frame says what the relay understands.
 */
const update = z.object({
  v: understoodVersion,
  type: z.literal('update'),
  checkpoint: opId,
  plan: z.string().nullable(),
  seq: z.number().nullable(),
  form: nameForm.optional(),
  /** See `ReplicatorFrame`. */
  comparing: z.number().optional(),
  buckets: z.array(noticeBucket),
})
export type RelayFrame = z.infer<typeof update>

// Each of these returns null for a frame that is not understood. The socket is then closed and opened again, perhaps to
// newer code.

/** Parses a frame that a relay received from the replicator. */
export const replicatorFrame = (text: string): ReplicatorFrame | null =>
  replicatorShape.safeParse(jsonOrNull(text)).data ?? null

/** Parses a frame that a relay received from a stream. */
export const streamFrame = (text: string): SubscribeFrame | AckFrame | TokenFrame | null =>
  streamShape.safeParse(jsonOrNull(text)).data ?? null

/** Parses a frame that a stream received from its relay. */
export const relayFrame = (text: string): RelayFrame | null => update.safeParse(jsonOrNull(text)).data ?? null

/** Parses the other frame that a stream received from its relay. */
export const admittedFrame = (text: string): AdmittedFrame | null => admitted.safeParse(jsonOrNull(text)).data ?? null

/** Parses a frame that the replicator received from a relay. */
export const ackFrame = (text: string): AckFrame | null => ack.safeParse(jsonOrNull(text)).data ?? null

/**
 * Unacknowledged bytes at which a sender stops and marks the receiver as lagging. It counts them because
 * `WebSocket.send` neither blocks nor reports.
 */
export const SOCKET_CREDIT = 256 * 1024
/**
 * Sent by the replicator and streams every 30 s as plain text. The runtime answers `pong` without waking the object.
 */
export const PING = 'ping'
export const PONG = 'pong'

/** Who opens a stream, for operators: `streamSource` as JSON, percent-encoded, because a header is no Unicode text. */
export const SOURCE_HEADER = 'rockpool-source'

/** The close code for a stream when the relay has no room for its buckets: another relay may have. */
export const CLOSE_RELAY_FULL = 1013
/** The close code for a stream that has a bucket which lacks ops. */
export const CLOSE_BUCKET_FENCED = 4504
/**
 * The close code for a stream that a newer one of the same user replaced. It must not reconnect: that would only end a
 * third stream.
 */
export const CLOSE_USER_STREAMS = 4429
/** The close code for a stream whose tenant is not served any more. */
export const CLOSE_TENANT = 4404
/** The close code for a stream whose token was revoked. */
export const CLOSE_REVOKED = 4401
