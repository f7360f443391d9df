import { z } from 'zod'
import { streamSource, type StreamSource } from '../../protocol/messages/census.ts'
import type { NameForm } from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'

const shape = z.union([
  z.object({
    kind: z.literal('stream'),
    /**
     * See `Marks`. Null when there are too many to keep. Such a stream is closed after hibernation, as is one with an
     * older attachment, and its client reconnects.
     */
    marks: z.instanceof(Uint8Array).nullable(),
    key: z.instanceof(Uint8Array),
    form: z.literal('name').optional(),
    toldPlan: z.string().nullable(),
    /** Whether it is owed something that is not in here: after hibernation it must subscribe again. */
    owing: z.boolean(),
    /** The progress of the comparison in the last message to it; absent when there was none. */
    comparing: z.number().optional(),
    /** Hashes of its user and client; absent for a stream of an older Worker. */
    user: z.string().optional(),
    client: z.string().optional(),
    /** Who that is for operators; absent for a stream of an older Worker. */
    source: streamSource.optional(),
    /** The checkpoint of the last message to it. */
    position: z.number().optional(),
    /** See `TokenMark`; absent likewise, or when the token has no `jti`. */
    jti: z.string().optional(),
    iat: z.number().optional(),
    sent: z.number(),
    received: z.number(),
    since: z.number(),
  }),
  z.object({
    kind: z.literal('replicator'),
    checkpoint: z.number().nullable(),
    plan: z.string().nullable(),
    received: z.number(),
    /** Whether buckets are fenced. Absent when none is. */
    fenced: z.boolean().optional(),
    /**
     * The marks of fenced buckets (see `Marks`) and their key. Null when there are too many to keep; absent in
     * attachments of an older version.
     */
    fencedMarks: z.instanceof(Uint8Array).nullable().optional(),
    key: z.instanceof(Uint8Array).optional(),
    /** The number of the newest revocation that the relay has heard of. */
    revision: z.number().optional(),
    /** See `ReplicatorFrame`. */
    comparing: z.number().optional(),
  }),
])

export type Attachment = z.infer<typeof shape>

export function attachmentOf(socket: WebSocket): Attachment | null {
  const parsed = shape.safeParse(socket.deserializeAttachment())
  return parsed.success ? parsed.data : null
}

export interface StreamAttachment {
  marks: Uint8Array | null
  form?: NameForm | undefined
  toldPlan: string | null
  owing: boolean
  comparing?: number | undefined
  user?: string | undefined
  client?: string | undefined
  source?: StreamSource | undefined
  position?: OpId | undefined
  jti?: string | undefined
  iat?: number | undefined
  sent: number
  received: number
  /** When it came, in milliseconds since 1970. Until its first ping this is its only sign of life. */
  since: number
}

export interface ReplicatorAttachment {
  checkpoint: OpId | null
  plan: string | null
  received: number
  fenced?: boolean | undefined
  fencedMarks?: Uint8Array | null | undefined
  revision?: number | undefined
  comparing?: number | undefined
}
