import { addChecksums } from '../../../../protocol/checksum.ts'
import type { WireOp } from '../../../../protocol/ops.ts'
import type { Random } from '../../../../test/support/random.ts'
import type { SqlValue } from '../../types.ts'
import type { Target } from './incoming.ts'

// The server of the simulation: op logs of a few buckets, as they come over the wire.

export type ModelRow = Record<string, SqlValue>
export interface LocalOp {
  op: 'put' | 'patch' | 'delete'
  table: string
  id: string
  data: ModelRow
  /** Where the table wants it: what was there before. */
  old?: ModelRow
}

export const COLUMNS = ['title', 'n', 'done', 'tags', 'late'] as const
type Entry = WireOp & { at: number }

interface ServerBucket {
  log: Entry[]
  priority: number
  granted: boolean
}

/** A row that a bucket holds. */
interface Copy {
  id: number
  data: string
}

const key = (table: string, id: string): string => `${table} ${id}`

export class TestServer {
  readonly #random: Random
  readonly #buckets = new Map<string, ServerBucket>()
  #lastOp = 0
  #writeCheckpoint = 0

  constructor(random: Random) {
    this.#random = random
    for (const [n, name] of ['a', 'b', 'c'].entries())
      this.#buckets.set(name, { log: [], priority: n + 1, granted: random.chance(0.8) })
  }

  get lastOp(): number {
    return this.#lastOp
  }

  /** The newest checkpoint. */
  target(): Target {
    const buckets = new Map<string, { checksum: number; priority: number; count: number }>()
    for (const [name, bucket] of this.#buckets) {
      if (!bucket.granted) continue
      buckets.set(name, {
        checksum: bucket.log.reduce((sum, op) => addChecksums(sum, op.checksum), 0) | 0,
        priority: bucket.priority,
        count: bucket.log.length,
      })
    }
    return { lastOp: this.#lastOp, writeCheckpoint: String(this.#writeCheckpoint), buckets }
  }

  ops(name: string, after: number): WireOp[] {
    return (this.#buckets.get(name)?.log ?? []).filter((op) => op.at > after).map(({ at: _, ...op }) => op as WireOp)
  }

  /** What a bucket holds now: per row the newest of its copies. */
  rows(name: string): Map<string, Copy> {
    const copies = new Map<string, Copy>()
    for (const op of this.#buckets.get(name)?.log ?? []) {
      if (op.op === 'PUT') copies.set(`${key(op.object_type, op.object_id)} ${op.subkey}`, { id: op.at, data: op.data })
      else if (op.op === 'REMOVE') copies.delete(`${key(op.object_type, op.object_id)} ${op.subkey}`)
      else if (op.op === 'CLEAR') copies.clear()
    }
    const rows = new Map<string, Copy>()
    for (const [name, copy] of copies) {
      const row = name.slice(0, name.lastIndexOf(' '))
      if ((rows.get(row)?.id ?? 0) < copy.id) rows.set(row, copy)
    }
    return rows
  }

  /** Something happens at the server. */
  step(): void {
    const random = this.#random
    const [, bucket] = random.pick([...this.#buckets])
    const table = random.weighted([
      [5, 'todos'],
      [3, 'lists'],
      [2, 'extra'],
    ])
    const id = `r${random.int(6)}`
    const subkey = random.chance(0.9) ? 's' : 't'
    random.weighted<() => void>([
      [10, () => this.#put(bucket, table, id, subkey, randomData(random))],
      [4, () => this.#remove(bucket, table, id, subkey)],
      [1, () => void (bucket.granted = !bucket.granted)],
      [1, () => this.#compact(bucket)],
      [0.5, () => this.#empty(bucket)],
      [0.3, () => this.#rewrite(bucket)],
    ])()
  }

  /** A transaction of the client. */
  upload(ops: readonly LocalOp[]): void {
    for (const { op, table, id, data } of ops) {
      const [, bucket] = this.#random.pick([...this.#buckets])
      const stored = [...this.#buckets.keys()].flatMap((name) => this.rows(name).get(key(table, id)) ?? [])[0]
      if (op === 'delete') this.#remove(bucket, table, id, 's')
      // A patch of a row that is not there does nothing.
      else if (op === 'put' || stored) {
        const row = { ...(op === 'patch' && stored ? shown(stored.data) : {}), ...data }
        this.#put(
          bucket,
          table,
          id,
          's',
          JSON.stringify(Object.fromEntries(Object.entries(row).map(([name, value]) => [name, sent(value)]))),
        )
      }
    }
  }

  /** A write checkpoint that comes with everything uploaded so far. */
  mark(): number {
    return ++this.#writeCheckpoint
  }

  #put(bucket: ServerBucket, object_type: string, object_id: string, subkey: string, data: string): void {
    this.#add(bucket, { op: 'PUT', object_type, object_id, subkey, data })
  }

  #remove(bucket: ServerBucket, object_type: string, object_id: string, subkey: string): void {
    this.#add(bucket, { op: 'REMOVE', object_type, object_id, subkey, data: null })
  }

  #add(
    bucket: ServerBucket,
    op:
      | { op: 'PUT'; data: string; object_type: string; object_id: string; subkey: string }
      | { op: 'REMOVE'; data: null; object_type: string; object_id: string; subkey: string },
  ): void {
    const at = ++this.#lastOp
    bucket.log.push({ ...op, op_id: String(at), checksum: this.#random.int(2 ** 32), at })
  }

  /** Superseded ops become MOVE, what does nothing at the start one CLEAR. */
  #compact({ log }: ServerBucket): void {
    const newest = new Map<string, number>()
    for (const op of log)
      if (op.op === 'PUT' || op.op === 'REMOVE') newest.set(`${key(op.object_type, op.object_id)} ${op.subkey}`, op.at)
    for (const [n, op] of log.entries()) {
      if (op.op !== 'PUT' && op.op !== 'REMOVE') continue
      if (newest.get(`${key(op.object_type, op.object_id)} ${op.subkey}`) !== op.at)
        log[n] = { op: 'MOVE', op_id: op.op_id, checksum: op.checksum, at: op.at }
    }
    const keep = log.findIndex((op) => op.op === 'PUT')
    this.#clear(log, keep === -1 ? log.length : keep)
  }

  /** Everything goes, and is history at once. */
  #empty(bucket: ServerBucket): void {
    for (const row of this.rows(bucket.log.length > 0 ? this.#nameOf(bucket) : '').keys()) {
      const [table = '', id = ''] = row.split(' ')
      for (const subkey of ['s', 't']) this.#remove(bucket, table, id, subkey)
    }
    this.#clear(bucket.log, bucket.log.length)
  }

  /**
   * A server that was put back from elsewhere: a row was never there. What compaction has made of it was never there
   * either, so it adds up to something else.
   */
  #rewrite(bucket: ServerBucket): void {
    const id = `r${this.#random.int(6)}`
    bucket.log = bucket.log
      .filter((op) => !('object_id' in op) || op.object_id !== id)
      .map((op) => ('object_id' in op ? op : { ...op, checksum: addChecksums(op.checksum, 1) }))
  }

  #clear(log: Entry[], length: number): void {
    const last = log[length - 1]
    if (!last) return
    const checksum = log.slice(0, length).reduce((sum, op) => addChecksums(sum, op.checksum), 0)
    log.splice(0, length, { op: 'CLEAR', op_id: last.op_id, checksum, at: last.at })
  }

  #nameOf(bucket: ServerBucket): string {
    return [...this.#buckets].find(([, other]) => other === bucket)?.[0] ?? ''
  }
}

/** 64-bit integers are written by hand: JSON of JavaScript rounds them. */
function randomData(random: Random): string {
  const n = random.weighted([
    [5, String(random.int(100))],
    [1, '9007199254740993'],
    [1, 'null'],
  ])
  const members = [
    `"title":${random.chance(0.1) ? 'null' : JSON.stringify(`t${random.int(50)}`)}`,
    `"n":${n}`,
    `"done":${random.pick(['true', 'false', 'null'])}`,
    `"tags":${random.pick(['["x","y"]', '{"$b":"00"}', 'null', '[1]'])}`,
    `"late":${JSON.stringify(`l${random.int(9)}`)}`,
  ]
  return `{${members.join(',')}}`
}

const sent = (value: SqlValue): unknown =>
  typeof value === 'bigint' ? 7 : value instanceof Uint8Array ? 'bytes' : value

/** A row of the server as the tables show it. */
export function shown(data: string): ModelRow {
  const row: Record<string, unknown> = JSON.parse(data)
  const value = (name: string): SqlValue => {
    const given = row[name] ?? null
    if (given === true || given === false) return Number(given)
    if (name === 'n' && data.includes('9007199254740993')) return 9007199254740993n
    return typeof given === 'object' && given !== null ? JSON.stringify(given) : (given as SqlValue)
  }
  return Object.fromEntries(COLUMNS.map((name) => [name, value(name)]))
}
