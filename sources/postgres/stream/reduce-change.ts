import { Buffer } from 'node:buffer'
import { RockpoolError } from '../../../protocol/errors.ts'
import { LARGE, MAX_ROW_BYTES, MAX_VALUE_BYTES } from '../copy/large-value.ts'

/** How many of the next bytes are wanted: to be read, or to be skipped. */
export type Want = { take: number } | { skip: number }

/** The size of the header of a WAL message: `w`, two positions, a time. */
const WAL_HEADER = 25
const MAX_PREFIX_BYTES = 1_024

const TEXT = 0x74
const BINARY = 0x62
const NULL = 0x6e
const UNCHANGED = 0x75

/**
 * A CopyData of the walsender, of so many bytes, that is too large to be put together, without its large values: each
 * leaves its length (`LARGE`). Yields what it wants of the bytes and returns what is left of the message. Of a message
 * of `pg_logical_emit_message` the content goes, and its prefix when that is not a short one.
 */
export function* reduceChange(size: number): Generator<Want, Uint8Array, Uint8Array> {
  const out: Uint8Array[] = []
  /** The bytes of values that are held. */
  let held = 0

  function* keep(count: number): Generator<Want, Buffer, Uint8Array> {
    const bytes = Buffer.from(yield { take: count })
    out.push(bytes)
    return bytes
  }

  function* tuple(): Generator<Want, void, Uint8Array> {
    const columns = (yield* keep(2)).readUInt16BE()
    for (let i = 0; i < columns; i++) {
      const form = Buffer.from(yield { take: 1 })
      const kind = form[0]
      if (kind === NULL || kind === UNCHANGED) {
        out.push(form)
        continue
      }
      if (kind !== TEXT && kind !== BINARY) throw unknown(`a value in the form ${kind}`)
      const length = Buffer.from(yield { take: 4 })
      const bytes = length.readUInt32BE()
      if (bytes > MAX_VALUE_BYTES || held + bytes > MAX_ROW_BYTES) {
        out.push(Uint8Array.of(LARGE), length)
        yield { skip: bytes }
      } else {
        out.push(form, length, yield { take: bytes })
        held += bytes
      }
    }
  }

  const header = yield* keep(WAL_HEADER)
  if (header[0] !== 0x77) throw unknown(`a message of the kind ${header[0]}`)
  const tag = String.fromCharCode((yield* keep(1))[0] ?? 0)
  if (tag === 'M') {
    yield* keep(1 + 8)
    const prefix = yield* shortPrefix()
    yield { skip: size - WAL_HEADER - 1 - 9 - prefix.read }
    out.push(prefix.bytes, new Uint8Array(4))
    return Buffer.concat(out)
  }
  if (tag !== 'I' && tag !== 'U' && tag !== 'D') throw unknown(`a message of the type ${JSON.stringify(tag)}`)
  yield* keep(4)
  const first = String.fromCharCode((yield* keep(1))[0] ?? 0)
  yield* tuple()
  if (tag === 'U' && first !== 'N') {
    // The limit applies to the old row and to the new one separately.
    held = 0
    yield* keep(1)
    yield* tuple()
  }
  return Buffer.concat(out)
}

/** With the zero byte that ends it. One that is not short is nobody's that we know, and is not looked through. */
function* shortPrefix(): Generator<Want, { bytes: Uint8Array; read: number }, Uint8Array> {
  const bytes: number[] = []
  while (bytes.length < MAX_PREFIX_BYTES) {
    const byte = (yield { take: 1 })[0] ?? 0
    bytes.push(byte)
    if (byte === 0) return { bytes: Uint8Array.from(bytes), read: bytes.length }
  }
  return { bytes: new Uint8Array(1), read: bytes.length }
}

const unknown = (what: string) =>
  new RockpoolError('ROCKPOOL_PGOUTPUT', `pgoutput sent ${what} in a message that is too large to be held`)
