import { tableText } from '../../../protocol/tables.ts'
import { PgoutputReader } from './pgoutput-reader.ts'
import type { PgoutputMessage, RelationColumn } from '../types.ts'

// Format: "Logical Replication Message Formats" in the documentation of Postgres, protocol versions 1 and 2, text
// values.

/**
 * Decodes one pgoutput message of protocol version 1. Throws ROCKPOOL_PGOUTPUT on one that is unknown, too short or too
 * long, because going on would lose changes.
 */
export function decodePgoutput(bytes: Uint8Array): PgoutputMessage {
  const reader = new PgoutputReader(bytes)
  const message = transactionMessage(reader, reader.tag(), false)
  reader.end()
  return message
}

/**
 * Decodes the messages of one session of protocol version 2 in order. Between Stream Start and Stream Stop every
 * message but Origin begins with the xid of its (sub)transaction, so decoding depends on what came before.
 */
export class StreamingPgoutputDecoder {
  #streaming = false

  /** Throws ROCKPOOL_PGOUTPUT, also for a message that may not come at this place. */
  decode(bytes: Uint8Array): PgoutputMessage {
    const reader = new PgoutputReader(bytes)
    const tag = reader.tag()
    const message = streamMessage(reader, tag, this.#streaming) ?? transactionMessage(reader, tag, this.#streaming)
    reader.end()
    if (message.type === 'stream start') this.#streaming = true
    else if (message.type === 'stream stop') this.#streaming = false
    return message
  }
}

function streamMessage(reader: PgoutputReader, tag: string, streaming: boolean): PgoutputMessage | null {
  const wanted = (inside: boolean) => {
    if (streaming !== inside)
      reader.fail(`pgoutput sent ${JSON.stringify(tag)} ${streaming ? 'inside' : 'outside'} a stream block`)
  }
  switch (tag) {
    case 'S':
      wanted(false)
      return { type: 'stream start', xid: reader.uint32(), first: reader.flags(1) === 1 }
    case 'E':
      wanted(true)
      return { type: 'stream stop' }
    case 'c': {
      wanted(false)
      const xid = reader.uint32()
      reader.flags(0)
      const commitLsn = reader.lsn()
      const endLsn = reader.lsn()
      return { type: 'stream commit', xid, commitLsn, endLsn, commitTime: reader.time() }
    }
    case 'A':
      wanted(false)
      return { type: 'stream abort', xid: reader.uint32(), subXid: reader.uint32() }
    case 'B':
    case 'C':
      wanted(false)
      return null
    default:
      return null
  }
}

function transactionMessage(reader: PgoutputReader, tag: string, streaming: boolean): PgoutputMessage {
  switch (tag) {
    case 'I': {
      const xid = streaming ? reader.uint32() : undefined
      const oid = reader.uint32()
      expectNew(reader, reader.tag())
      const message = { type: 'insert', oid, new: reader.tuple() } as const
      return xid === undefined ? message : { ...message, xid }
    }
    case 'U':
      return update(reader, streaming)
    case 'D': {
      const xid = streaming ? reader.uint32() : undefined
      const oid = reader.uint32()
      const kind = reader.tag()
      const before = reader.tuple()
      if (kind !== 'K' && kind !== 'O')
        reader.fail(`pgoutput sent a delete with the unknown tuple ${JSON.stringify(kind)}`)
      const message =
        kind === 'K' ? ({ type: 'delete', oid, key: before } as const) : ({ type: 'delete', oid, old: before } as const)
      return xid === undefined ? message : { ...message, xid }
    }
    case 'B': {
      const finalLsn = reader.lsn()
      return { type: 'begin', finalLsn, commitTime: reader.time(), xid: reader.uint32() }
    }
    case 'C': {
      reader.flags(0)
      const commitLsn = reader.lsn()
      const endLsn = reader.lsn()
      return { type: 'commit', commitLsn, endLsn, commitTime: reader.time() }
    }
    case 'R':
      return relation(reader, streaming)
    case 'T': {
      const inside = xidOf(reader, streaming)
      const count = reader.uint32()
      const flags = reader.flags(3)
      const oids = reader.list(count, 4, () => reader.uint32())
      return { type: 'truncate', oids, cascade: (flags & 1) !== 0, restartIdentity: (flags & 2) !== 0, ...inside }
    }
    case 'M': {
      const inside = xidOf(reader, streaming)
      const transactional = reader.flags(1) === 1
      const lsn = reader.lsn()
      return { type: 'message', transactional, lsn, prefix: reader.name(), content: reader.bytes(), ...inside }
    }
    case 'O':
      return { type: 'origin', commitLsn: reader.lsn(), name: reader.name() }
    case 'Y': {
      const inside = xidOf(reader, streaming)
      const oid = reader.uint32()
      return { type: 'type', oid, schema: reader.name() || 'pg_catalog', name: reader.name(), ...inside }
    }
    default:
      return reader.fail(`pgoutput sent a message of the unknown type ${JSON.stringify(tag)}`)
  }
}

const xidOf = (reader: PgoutputReader, streaming: boolean): { xid?: number } =>
  streaming ? { xid: reader.uint32() } : {}

function expectNew(reader: PgoutputReader, tag: string): void {
  if (tag !== 'N') reader.fail(`pgoutput sent ${JSON.stringify(tag)} where a new tuple begins`)
}

function update(reader: PgoutputReader, streaming: boolean): PgoutputMessage {
  const xid = streaming ? reader.uint32() : undefined
  const oid = reader.uint32()
  const kind = reader.tag()
  let message: PgoutputMessage
  if (kind === 'K' || kind === 'O') {
    const before = reader.tuple()
    expectNew(reader, reader.tag())
    const after = reader.tuple()
    message =
      kind === 'K' ? { type: 'update', oid, key: before, new: after } : { type: 'update', oid, old: before, new: after }
  } else {
    expectNew(reader, kind)
    message = { type: 'update', oid, new: reader.tuple() }
  }
  return xid === undefined ? message : { ...message, xid }
}

function relation(reader: PgoutputReader, streaming: boolean): PgoutputMessage {
  const inside = xidOf(reader, streaming)
  const oid = reader.uint32()
  // An empty schema means pg_catalog.
  const schema = reader.name() || 'pg_catalog'
  const name = reader.name()
  const identity = reader.tag()
  if (identity !== 'd' && identity !== 'n' && identity !== 'f' && identity !== 'i') {
    return reader.fail(
      `table ${tableText({ schema, name })} has the unknown replica identity ${JSON.stringify(identity)}`,
    )
  }
  const columns = reader.list(reader.uint16(), 10, (): RelationColumn => {
    const key = reader.flags(1) === 1
    const column = reader.name()
    return { key, name: column, typeOid: reader.uint32(), typmod: reader.uint32() | 0 }
  })
  return { type: 'relation', oid, schema, name, identity, columns, ...inside }
}
