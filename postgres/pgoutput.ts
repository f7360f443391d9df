import { RockpoolError } from '../protocol/errors.ts'
import type { PgoutputMessage, RelationColumn, Tuple, TupleValue } from './types.ts'

// Format: "Logical Replication Message Formats" in the documentation of Postgres, protocol version 1, text values.

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Microseconds from 1970-01-01 to 2000-01-01, where Postgres's clock begins. */
const EPOCH_MICROSECONDS = 946_684_800_000_000n

/** Decodes one pgoutput message. Throws ROCKPOOL_INTERNAL on an unknown or truncated message: going on would lose changes. */
export function decodePgoutput(bytes: Uint8Array): PgoutputMessage {
  const reader = new Reader(bytes)
  const tag = String.fromCharCode(reader.uint8())
  switch (tag) {
    case 'B': {
      const finalLsn = reader.uint64()
      return { type: 'begin', finalLsn, commitTime: reader.time(), xid: reader.uint32() }
    }
    case 'C': {
      reader.uint8()
      const commitLsn = reader.uint64()
      const endLsn = reader.uint64()
      return { type: 'commit', commitLsn, endLsn, commitTime: reader.time() }
    }
    case 'R':
      return relation(reader)
    case 'I': {
      const oid = reader.uint32()
      reader.uint8() // 'N'
      return { type: 'insert', oid, new: reader.tuple() }
    }
    case 'U': {
      const oid = reader.uint32()
      const kind = String.fromCharCode(reader.uint8())
      if (kind === 'N') return { type: 'update', oid, new: reader.tuple() }
      const before = reader.tuple()
      reader.uint8() // 'N'
      const after = reader.tuple()
      return kind === 'K' ? { type: 'update', oid, key: before, new: after } : { type: 'update', oid, old: before, new: after }
    }
    case 'D': {
      const oid = reader.uint32()
      const kind = String.fromCharCode(reader.uint8())
      return kind === 'K' ? { type: 'delete', oid, key: reader.tuple() } : { type: 'delete', oid, old: reader.tuple() }
    }
    case 'T': {
      const count = reader.uint32()
      const flags = reader.uint8()
      const oids = Array.from({ length: count }, () => reader.uint32())
      return { type: 'truncate', oids, cascade: (flags & 1) !== 0, restartIdentity: (flags & 2) !== 0 }
    }
    case 'M': {
      const transactional = (reader.uint8() & 1) !== 0
      const lsn = reader.uint64()
      const prefix = reader.text()
      return { type: 'message', transactional, lsn, prefix, content: reader.bytesOf(reader.uint32()).slice() }
    }
    case 'O':
      return { type: 'origin' }
    case 'Y':
      return { type: 'type' }
    default:
      throw new RockpoolError('ROCKPOOL_INTERNAL', `pgoutput sent a message of unknown type ${JSON.stringify(tag)}`)
  }
}

function relation(reader: Reader): PgoutputMessage {
  const oid = reader.uint32()
  // An empty schema stands for pg_catalog.
  const schema = reader.text() || 'pg_catalog'
  const name = reader.text()
  const identity = String.fromCharCode(reader.uint8())
  if (identity !== 'd' && identity !== 'n' && identity !== 'f' && identity !== 'i') {
    throw new RockpoolError('ROCKPOOL_INTERNAL', `table ${schema}.${name} has the unknown replica identity ${JSON.stringify(identity)}`)
  }
  const columns: RelationColumn[] = []
  for (let left = reader.uint16(); left > 0; left--) {
    const key = (reader.uint8() & 1) !== 0
    const column = reader.text()
    columns.push({ key, name: column, typeOid: reader.uint32(), typmod: reader.uint32() | 0 })
  }
  return { type: 'relation', oid, schema, name, identity, columns }
}

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #advance(size: number): number {
    const from = this.#at
    this.#at += size
    if (this.#at > this.#bytes.length) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a pgoutput message is shorter than it says')
    return from
  }

  uint8(): number {
    return this.#view.getUint8(this.#advance(1))
  }

  uint16(): number {
    return this.#view.getUint16(this.#advance(2))
  }

  uint32(): number {
    return this.#view.getUint32(this.#advance(4))
  }

  uint64(): bigint {
    return this.#view.getBigUint64(this.#advance(8))
  }

  /** ISO 8601 with microseconds: two transactions of the same shape may differ in nothing but this. */
  time(): string {
    const micros = this.#view.getBigInt64(this.#advance(8)) + EPOCH_MICROSECONDS
    const millis = micros / 1000n
    return `${new Date(Number(millis)).toISOString().slice(0, -1)}${(micros % 1000n).toString().padStart(3, '0')}Z`
  }

  bytesOf(length: number): Uint8Array {
    const from = this.#advance(length)
    return this.#bytes.subarray(from, from + length)
  }

  /** A string that ends in a zero byte. */
  text(): string {
    const end = this.#bytes.indexOf(0, this.#at)
    if (end < 0) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a pgoutput message is shorter than it says')
    const text = utf8.decode(this.#bytes.subarray(this.#at, end))
    this.#at = end + 1
    return text
  }

  tuple(): Tuple {
    const length = this.uint16()
    const values: TupleValue[] = new Array<TupleValue>(length)
    for (let i = 0; i < length; i++) {
      const kind = this.uint8()
      if (kind === 0x6e) values[i] = null
      else if (kind === 0x75) values[i] = undefined
      else if (kind === 0x74) values[i] = utf8.decode(this.bytesOf(this.uint32()))
      else throw new RockpoolError('ROCKPOOL_INTERNAL', `pgoutput sent a value in the unknown form ${kind}`)
    }
    return values
  }
}
