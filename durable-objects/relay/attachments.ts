import { z } from 'zod'
import type { NameForm } from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'

const shape = z.union([
  z.object({
    kind: z.literal('stream'),
    /** See `Marks`. Null: too many to keep. Such a stream is closed when the relay has slept, and subscribes again, and so is one of an older form. */
    marks: z.instanceof(Uint8Array).nullable(),
    key: z.instanceof(Uint8Array),
    form: z.literal('name').optional(),
    toldPlan: z.string().nullable(),
    /** Something that is not in here is owed to it: after a sleep it subscribes again. */
    owing: z.boolean(),
    /** What the last message to it said of the comparison; absent: nothing. */
    comparing: z.number().optional(),
    /** Hashes of whom it is of; absent for a stream of an older Worker. */
    ...{ user: z.string().optional(), client: z.string().optional() },
    ...{ sent: z.number(), received: z.number(), since: z.number() },
  }),
  z.object({
    ...{ kind: z.literal('replicator'), checkpoint: z.number().nullable(), plan: z.string().nullable(), received: z.number() },
    /** Buckets are fenced. Absent: none. */
    fenced: z.boolean().optional(),
    /** Which ones, see `Marks`, and the key of their marks. Null: too many to keep. Absent: an older version has not kept them. */
    ...{ fencedMarks: z.instanceof(Uint8Array).nullable().optional(), key: z.instanceof(Uint8Array).optional() },
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
  sent: number
  received: number
  /** When it came, in milliseconds since 1970: until its first ping that is all there is to hear. */
  since: number
}

export interface ReplicatorAttachment {
  checkpoint: OpId | null
  plan: string | null
  received: number
  fenced?: boolean | undefined
  fencedMarks?: Uint8Array | null | undefined
  comparing?: number | undefined
}
