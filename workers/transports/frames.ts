import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { streamRequest } from '../stream/body.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import { MAX_BODY_BYTES, MAX_FRAME_BYTES } from '../stream/limits.ts'
import { tokenIn } from '../stream/token-in.ts'

const credit = z.int().min(1)
const open = z.strictObject({
  open: z.unknown(),
  token: z.string(),
  credit: credit.optional(),
  joined: z.boolean().optional(),
})
const later = z.union([z.strictObject({ credit }), z.strictObject({ token: z.string() })])

export type LaterFrame = z.infer<typeof later>

/**
 * Returns the token of the first frame. Its sender is still a stranger, so the rest of the frame is skipped without
 * allocating values. Throws ROCKPOOL_CLIENT_FRAME.
 */
export function openToken(data: unknown): string {
  const token = tokenIn(frameText(data, MAX_BODY_BYTES))
  if (token === null) throw noOpen()
  return token
}

/**
 * Parses the first frame after its token was verified. Throws ROCKPOOL_CLIENT_FRAME, and PSYNC_S2001 for a request that
 * is not valid.
 */
export function openFrame(
  data: unknown,
  token: string,
  subscriptions: number,
): { request: StreamRequest; credit: number; joined: boolean } {
  const parsed = open.safeParse(json(data, MAX_BODY_BYTES))
  // A second token later in the frame would be one that was not verified.
  if (!parsed.success || parsed.data.open === undefined || parsed.data.token !== token) throw noOpen()
  const { open: request, credit = 0, joined = false } = parsed.data
  return { request: streamRequest(request, subscriptions), credit, joined }
}

const noOpen = () =>
  new RockpoolError(
    'ROCKPOOL_CLIENT_FRAME',
    'the first frame must be {"open": <request>, "token": "…", "credit": <bytes>}',
  )

/** Throws ROCKPOOL_CLIENT_FRAME. */
export function laterFrame(data: unknown): LaterFrame {
  const parsed = later.safeParse(json(data, MAX_FRAME_BYTES))
  if (parsed.success) return parsed.data
  throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'a frame must be {"credit": <bytes>} or {"token": "…"}')
}

function frameText(data: unknown, limit: number): string {
  if (typeof data !== 'string') throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'frames are text')
  if (data.length > limit) throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `a frame is larger than ${limit} bytes`)
  return data
}

function json(data: unknown, limit: number): unknown {
  try {
    return JSON.parse(frameText(data, limit))
  } catch (cause) {
    if (cause instanceof RockpoolError) throw cause
    throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'a frame is not JSON', { cause })
  }
}
