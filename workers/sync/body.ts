import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import { MAX_BODY_BYTES, MAX_CLIENT_ID_LENGTH, MAX_JSON_DEPTH } from './limits.ts'

/** Clients send null for what they do not set. */
const optional = <T extends z.ZodType>(type: T) => z.preprocess((value) => value ?? undefined, type.optional())

/** Text, because JSON numbers lose digits: signed 64 bits, as clients keep it. */
export const int64Text = z
  .string()
  .regex(/^\d{1,19}$/, { error: 'must be a decimal number in a string', abort: true })
  .refine((text) => BigInt(text) < 2n ** 63n, 'must be less than 2^63')
export const clientId = z.string().max(MAX_CLIENT_ID_LENGTH, `must not be longer than ${MAX_CLIENT_ID_LENGTH} characters`)

/** Fields that are not named here are allowed and ignored: `include_checksum`, `binary_data`, and `only`, which never meant anything. */
const shape = z.object({
  buckets: optional(z.array(z.object({ name: z.string(), after: int64Text }))),
  client_id: optional(clientId),
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
  return validated(shape, value)
}

/** Throws PSYNC_S2001 with the path of every field that is wrong. */
export function validated<T extends z.ZodType>(type: T, value: unknown): z.output<T> {
  if (isDeep(value)) throw new RockpoolError('PSYNC_S2001', `the body is nested more than ${MAX_JSON_DEPTH} levels deep`)
  const parsed = type.safeParse(value)
  if (parsed.success) return parsed.data
  const wrong = parsed.error.issues.map((issue) => ({ path: pathText(issue.path), message: issue.message }))
  const first = wrong[0]
  const where = first && first.path !== '' ? first.path : 'the body'
  throw new RockpoolError('PSYNC_S2001', `${where}: ${first?.message ?? 'not valid'}`, { details: wrong })
}

/**
 * Reads a JSON body of at most `limit` bytes. A content type other than JSON, or a content encoding, throws PSYNC_S2004; a body that is too large, not UTF-8 or
 * not JSON throws PSYNC_S2001.
 */
export async function readJson(request: Request, limit = MAX_BODY_BYTES): Promise<unknown> {
  const type = request.headers.get('content-type')
  if (type !== null && !/^application\/json\s*(;|$)/i.test(type.trim())) {
    throw new RockpoolError('PSYNC_S2004', `the content type must be application/json, not ${type.slice(0, 100)}`)
  }
  const encoding = request.headers.get('content-encoding')
  if (encoding !== null && encoding.toLowerCase() !== 'identity') {
    throw new RockpoolError('PSYNC_S2004', 'a body with a content encoding is not read: send it as it is')
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

/** Level by level: what is evaluated later may call itself for every level, and this must not. */
function isDeep(value: unknown): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_JSON_DEPTH) return true
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values(each) : []))
  }
  return false
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
