import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import { CLIENT_ID } from '../../protocol/names.ts'
import { inexactNumber, passedBound, pathText } from '../json-bounds.ts'
import { MAX_BODY_BYTES, MAX_WRONG_FIELDS } from './limits.ts'

/** Clients send null for members that they do not set. */
const optional = <T extends z.ZodType>(type: T) => z.preprocess((value) => value ?? undefined, type.optional())

/** Signed 64 bits, as clients store it. It is text because JSON numbers lose digits. */
export const int64Text = z
  .string()
  .regex(/^\d{1,19}$/, { error: 'must be a decimal number in a string', abort: true })
  .refine((text) => BigInt(text) < 2n ** 63n, 'must be less than 2^63')
/** The client's id, which becomes the id of a row. */
export const clientId = z.string().regex(CLIENT_ID, 'must be 1 to 128 letters, digits, and _ . : -')

/** Parameters. They decide which buckets a client has, so a number that lost digits would name other buckets. */
export const parameters = z.record(z.string(), z.unknown()).superRefine((value, context) => {
  const path = inexactNumber(value)
  if (path)
    context.addIssue({
      code: 'custom',
      path,
      message: 'is a number of 2^53 or more, which loses digits: send it as text',
    })
})

/** Other fields are allowed and ignored: `include_checksum`, `binary_data`, and `only`, which never had an effect. */
const shape = z.object({
  buckets: optional(z.array(z.object({ name: z.string(), after: int64Text }))),
  client_id: optional(clientId),
  parameters: optional(parameters),
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
            parameters: parameters.nullish().transform((value) => value ?? null),
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

/**
 * Parses a stream request, with at most `subscriptions` subscriptions of streams. Throws PSYNC_S2001 with the paths of
 * wrong fields (`streams.subscriptions[0].stream`).
 */
export function streamRequest(value: unknown, subscriptions: number): StreamRequest {
  const count = lengthOf(member(member(value, 'streams'), 'subscriptions'))
  if (count > subscriptions) {
    const path = 'streams.subscriptions'
    const message = `has ${count} entries; at most ${subscriptions} are allowed (MAX_SUBSCRIPTIONS)`
    throw new RockpoolError('PSYNC_S2001', `${path}: ${message}`, { details: [{ path, message }] })
  }
  return validated(shape, value)
}

/**
 * Throws PSYNC_S2001 with the paths of the first wrong fields. `what` is the name of the whole value in the message.
 */
export function validated<T extends z.ZodType>(type: T, value: unknown, what = 'the body'): z.output<T> {
  const bound = passedBound(value)
  if (bound) throw new RockpoolError('PSYNC_S2001', `${what} ${bound}`)
  const parsed = type.safeParse(value)
  if (parsed.success) return parsed.data
  const wrong = parsed.error.issues
    .slice(0, MAX_WRONG_FIELDS)
    .map((issue) => ({ path: pathText(issue.path), message: issue.message }))
  const first = wrong[0]
  const where = first && first.path !== '' ? first.path : what
  throw new RockpoolError('PSYNC_S2001', `${where}: ${first?.message ?? 'not valid'}`, { details: wrong })
}

const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
const lengthOf = (value: unknown): number => (Array.isArray(value) ? value.length : 0)

/**
 * Reads a JSON body of at most `limit` bytes. Throws PSYNC_S2004 for a content type other than JSON or for a content
 * encoding, and PSYNC_S2001 for a body that is too large, not UTF-8 or not JSON.
 */
export async function readJson(request: Request, limit = MAX_BODY_BYTES): Promise<unknown> {
  const type = request.headers.get('content-type')
  if (type !== null && !/^application\/json\s*(;|$)/i.test(type.trim())) {
    throw new RockpoolError('PSYNC_S2004', `the content type must be application/json, not ${type.slice(0, 100)}`)
  }
  const encoding = request.headers.get('content-encoding')
  if (encoding !== null && encoding.toLowerCase() !== 'identity') {
    throw new RockpoolError('PSYNC_S2004', 'a content encoding is not supported: send the body without one')
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

/** Reads the body. It counts while reading, because the content length may be missing or wrong. */
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
