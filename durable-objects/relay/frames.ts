import { z } from 'zod'
import { understands, type AckFrame, type ReplicatorFrame, type SubscribeFrame } from '../../protocol/messages.ts'

const bucket = z.tuple([z.string(), z.number(), z.number(), z.number(), z.string().nullable()])
const form = z.literal('name').optional()
const fenced = z.array(z.string()).optional()
const v = z.number().refine((version) => understands(version))

const replicator = z.union([
  z.object({
    ...{ v, type: z.literal('notice'), checkpoint: z.number(), previous: z.number(), plan: z.string().nullable() },
    ...{ part: z.number(), parts: z.number(), form, fenced, buckets: z.array(bucket) },
  }),
  z.object({
    v,
    type: z.literal('gap'),
    checkpoint: z.number(),
    plan: z.string().nullable(),
    form,
    fenced,
    comparing: z.number().optional(),
  }),
])

const stream = z.union([
  z.object({ v, type: z.literal('subscribe'), seq: z.number(), form, add: z.array(z.string()), remove: z.array(z.string()) }),
  z.object({ v, type: z.literal('ack'), received: z.number() }),
])

/** Null: not understood, so the socket is closed and opened again, by newer code perhaps. */
export function replicatorFrame(text: string): ReplicatorFrame | null {
  return replicator.safeParse(json(text)).data ?? null
}

export function streamFrame(text: string): SubscribeFrame | AckFrame | null {
  return stream.safeParse(json(text)).data ?? null
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
