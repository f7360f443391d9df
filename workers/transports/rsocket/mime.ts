import { deserialize } from 'bson'
import { RockpoolError } from '../../../protocol/errors.ts'

/** Reads the payloads of a connection, whose form SETUP says. */
export type PayloadReader = (bytes: Uint8Array) => unknown

/** A Map, because an object has inherited members such as `constructor`. */
const readers = new Map<string, PayloadReader>([
  [
    'application/json',
    (bytes) => JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)),
  ],
  ['application/bson', (bytes) => deserialize(bytes, { promoteBuffers: true })],
])

/** Throws PSYNC_S2004. */
export function payloadReader(mime: string): PayloadReader {
  const reader = readers.get(mime.trim().toLowerCase())
  if (!reader)
    throw new RockpoolError(
      'PSYNC_S2004',
      `the MIME type must be application/json or application/bson, not ${mime.slice(0, 100)}`,
    )
  return (bytes) => {
    try {
      return reader(bytes)
    } catch (cause) {
      throw new RockpoolError('PSYNC_S2001', `a payload is not ${mime}`, { cause })
    }
  }
}
