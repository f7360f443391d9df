import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import { MAX_BODY_BYTES, MAX_CLIENT_ID_LENGTH } from './limits.ts'

/** Clients send null for what they do not set. */
const optional = <T extends z.ZodType>(type: T) => z.preprocess((value) => value ?? undefined, type.optional())

const opId = z.string().regex(/^\d{1,19}$/, 'must be a decimal number in a string')

/** Fields that are not named here are allowed and ignored: `include_checksum`, `binary_data`, and `only`, which never meant anything. */
const shape = z.object({
  buckets: optional(z.array(z.object({ name: z.string(), after: opId }))),
  client_id: optional(z.string().max(MAX_CLIENT_ID_LENGTH)),
  parameters: optional(z.record(z.string(), z.unknown())),
  raw_data: optional(z.boolean()),
  app_metadata: optional(z.record(z.string(), z.string())),
  streams: optional(
    z.object({
      include_defaults: optional(z.boolean()),
      subscriptions: z.preprocess(
        (value) => value ?? [],
        z.array(
          z.object({
            stream: z.string(),
            parameters: z
              .record(z.string(), z.unknown())
              .nullish()
              .transform((value) => value ?? null),
            override_priority: z
              .int()
              .min(0)
              .max(3)
              .nullish()
              .transform((value) => value ?? null),
          }),
        ),
      ),
    }),
  ),
})

/** A stream request that came as JSON. Throws PSYNC_S2001 with the path of every field that is wrong (`streams.subscriptions[0].stream`). */
export function streamRequest(value: unknown): StreamRequest {
  const parsed = shape.safeParse(value)
  if (parsed.success) return parsed.data
  const wrong = parsed.error.issues.map((issue) => ({ path: pathText(issue.path), message: issue.message }))
  const first = wrong[0]
  const where = first && first.path !== '' ? first.path : 'the body'
  throw new RockpoolError('PSYNC_S2001', `${where}: ${first?.message ?? 'not valid'}`, { details: wrong })
}

/**
 * Reads a JSON body of at most `limit` bytes. A content type other than JSON throws PSYNC_S2004; a body that is too large, not UTF-8 or
 * not JSON throws PSYNC_S2001.
 */
export async function readJson(request: Request, limit = MAX_BODY_BYTES): Promise<unknown> {
  const type = request.headers.get('content-type')
  if (type !== null && !/^application\/json\s*(;|$)/i.test(type.trim())) {
    throw new RockpoolError('PSYNC_S2004', `the content type must be application/json, not ${type.slice(0, 100)}`)
  }
  return parseJson(decode(await readBytes(request, limit)))
}

/** Throws PSYNC_S2001. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new RockpoolError('PSYNC_S2001', 'the body is not JSON', { cause })
  }
}

/** Counts while reading: a content length may be missing or wrong. */
async function readBytes(request: Request, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  const reader = request.body?.getReader()
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    length += part.value.byteLength
    if (length > limit) {
      await reader?.cancel()
      throw new RockpoolError('PSYNC_S2001', `the body is larger than ${limit} bytes`)
    }
    parts.push(part.value)
  }
  return new Uint8Array(Buffer.concat(parts))
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch (cause) {
    throw new RockpoolError('PSYNC_S2001', 'the body is not UTF-8', { cause })
  }
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`)).join('')
}
