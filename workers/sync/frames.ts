import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { streamRequest } from './body.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import { MAX_BODY_BYTES, MAX_FRAME_BYTES } from './limits.ts'

const credit = z.int().min(1)
const open = z.strictObject({ open: z.unknown(), token: z.string(), credit: credit.optional(), joined: z.boolean().optional() })
const later = z.union([z.strictObject({ credit }), z.strictObject({ token: z.string() })])

export type LaterFrame = z.infer<typeof later>

/** The client's first frame. Throws ROCKPOOL_CLIENT_FRAME, and PSYNC_S2001 for a request that is not valid. */
export function openFrame(data: unknown): { request: StreamRequest; token: string; credit: number; joined: boolean } {
  const parsed = open.safeParse(json(data, MAX_BODY_BYTES))
  if (!parsed.success || parsed.data.open === undefined) {
    throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'the first frame must be {"open": <request>, "token": "…", "credit": <bytes>}')
  }
  const { open: request, token, credit = 0, joined = false } = parsed.data
  return { request: streamRequest(request), token, credit, joined }
}

/** Throws ROCKPOOL_CLIENT_FRAME. */
export function laterFrame(data: unknown): LaterFrame {
  const parsed = later.safeParse(json(data, MAX_FRAME_BYTES))
  if (parsed.success) return parsed.data
  throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'a frame must be {"credit": <bytes>} or {"token": "…"}')
}

function json(data: unknown, limit: number): unknown {
  if (typeof data !== 'string') throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'frames are text')
  if (data.length > limit) throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `a frame is larger than ${limit} bytes`)
  try {
    return JSON.parse(data)
  } catch (cause) {
    throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'a frame is not JSON', { cause })
  }
}
