import { z } from 'zod'
import type { OpId } from '../../protocol/ops.ts'

/** An attachment takes 16,384 bytes: 1,900 hashes of 8 bytes, and the rest. */
const MAX_HASHES = 1_900

const shape = z.union([
  z.object({
    kind: z.literal('stream'),
    /** Null: too many to keep. Such a stream is closed when the relay has slept, and subscribes again. */
    hashes: z.instanceof(BigUint64Array).nullable(),
    toldPlan: z.string().nullable(),
    ...{ sent: z.number(), received: z.number(), since: z.number() },
  }),
  z.object({ kind: z.literal('replicator'), checkpoint: z.number().nullable(), plan: z.string().nullable(), received: z.number() }),
])

export type Attachment = z.infer<typeof shape>

export function packHashes(hashes: readonly string[]): BigUint64Array | null {
  return hashes.length > MAX_HASHES ? null : BigUint64Array.from(hashes, (hash) => BigInt(`0x${hash}`))
}

export function unpackHashes(packed: BigUint64Array): string[] {
  return Array.from(packed, (hash) => hash.toString(16).padStart(16, '0'))
}

export function attachmentOf(socket: WebSocket): Attachment | null {
  const parsed = shape.safeParse(socket.deserializeAttachment())
  return parsed.success ? parsed.data : null
}

export interface StreamAttachment {
  hashes: BigUint64Array | null
  toldPlan: string | null
  sent: number
  received: number
  /** When it came, in milliseconds since 1970: until its first ping that is all there is to hear. */
  since: number
}

export interface ReplicatorAttachment {
  checkpoint: OpId | null
  plan: string | null
  received: number
}
