import { z } from 'zod'
import { jsonOrNull } from '../json.ts'
import { understoodVersion, type Versioned } from '../versions.ts'

// What the Relay object is asked, and the frames on its two kinds of sockets: from the replicator, and to streams. Each frame is declared by its shape.

/** RPC of the Relay object. */
export interface RelayRpc {
  /** How many streams are open. */
  streams(request: Versioned): Promise<number>
}

const opId = z.number()

/**
 * How a frame calls buckets. `name`: as `frameName` does. Absent: by `hashName`, as code of version 1 does; to such code frames are sent in that form, without ops.
 * A relay speaks both, towards each socket the form of its other end; version 3 may leave the older one out.
 */
const nameForm = z.literal('name')
export type NameForm = z.infer<typeof nameForm>

/** One bucket in a notice: its name, count, checksum, last op, and the ops' texts joined by `,` when they are few, else null. */
const noticeBucket = z.tuple([z.string(), z.number(), z.number(), opId, z.string().nullable()])
export type NoticeBucket = z.infer<typeof noticeBucket>

const notice = z.object({
  v: understoodVersion,
  type: z.literal('notice'),
  checkpoint: opId,
  previous: opId,
  plan: z.string().nullable(),
  /** From 1; a notice takes effect with its last part. */
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
  /** How much is compared, 0 to 1, while that is why the checkpoint stands still; it may change at the same checkpoint. Absent, as in a notice: nothing is. */
  comparing: z.number().optional(),
})

/**
 * Replicator → relay. The socket is opened by the replicator with `GET /replicator?serial=n`; a relay without streams answers 410, else 101
 * with the headers `rockpool-checkpoint` (the checkpoint it has, or empty), `rockpool-names` (the form of names that it takes, see `NameForm`) and
 * `rockpool-fences` (it understands `fenced`: buckets, as frames call them, that lack ops. Their streams are ended; a gap at the same checkpoint may change the list).
 */
const replicatorShape = z.union([notice, gap])
export type ReplicatorFrame = z.infer<typeof replicatorShape>

/** Receiver → sender on both relay sockets: bytes of frames received since the socket opened. Credit for the sender. */
const ack = z.object({ v: understoodVersion, type: z.literal('ack'), received: z.number() })
export type AckFrame = z.infer<typeof ack>

/** Stream → relay. `add` are bucket names, however long; `remove` is what `form` says. */
const subscribe = z.object({
  v: understoodVersion,
  type: z.literal('subscribe'),
  seq: z.number(),
  form: nameForm.optional(),
  add: z.array(z.string()),
  remove: z.array(z.string()),
})
export type SubscribeFrame = z.infer<typeof subscribe>
const streamShape = z.union([subscribe, ack])

/**
 * Relay → stream: from now on all buckets subscribed are at `checkpoint`; those listed changed. `seq` answers that subscription. The first one says by its
 * `form` what the relay understands.
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

// Each of these returns null for a frame that is not understood. Its socket is then closed and opened again, perhaps to newer code.

/** What a relay hears from the replicator. */
export const replicatorFrame = (text: string): ReplicatorFrame | null => replicatorShape.safeParse(jsonOrNull(text)).data ?? null

/** What a relay hears from a stream. */
export const streamFrame = (text: string): SubscribeFrame | AckFrame | null => streamShape.safeParse(jsonOrNull(text)).data ?? null

/** What a stream hears from its relay. */
export const relayFrame = (text: string): RelayFrame | null => update.safeParse(jsonOrNull(text)).data ?? null

/** What the replicator hears from a relay. */
export const ackFrame = (text: string): AckFrame | null => ack.safeParse(jsonOrNull(text)).data ?? null

/** Unacknowledged bytes at which a sender stops and marks the receiver behind. `WebSocket.send` neither blocks nor reports. */
export const SOCKET_CREDIT = 256 * 1024
/** Sent by the replicator and streams every 30 s as plain text and answered `pong` by the runtime without waking the object. */
export const PING = 'ping'
export const PONG = 'pong'

/** A relay closes a stream's socket so when it has no room for the buckets that the stream subscribes: another relay may have. */
export const CLOSE_RELAY_FULL = 1013
/** A bucket of the stream lacks ops. */
export const CLOSE_BUCKET_FENCED = 4504
/** A relay closes a stream so when a newer one of the same user has taken its place: opening another one would only end a third. */
export const CLOSE_USER_STREAMS = 4429
