import { tableText, type TableName } from '../../../protocol/tables.ts'
import { addChecksums, subtractChecksums } from '../../../protocol/checksum.ts'
import { hash64 } from '../../../protocol/hash.ts'
import { strongHash } from '../../../protocol/strong-hash.ts'
import { clientMailboxName, mailboxName } from '../../../protocol/names.ts'
import { putChecksum, removeChecksum } from '../../../protocol/op-checksum.ts'
import { opText, quote } from '../../../protocol/op-text.ts'
import type { OpId, RowOp } from '../../../protocol/ops.ts'
import { EvaluationFailure } from '../../../sync-config/index.ts'
import type { EvaluatedRow } from '../../../sync-config/types.ts'
import type { SourceRow } from '../../../protocol/values.ts'
import { finder, sameState, subkeys } from './outputs.ts'
import { customCheckpoint } from '../writes/custom-checkpoints.ts'
import {
  clientMailboxKey,
  dayOf,
  delivering,
  expiring,
  mailboxData,
  mailboxKey,
  MAILBOX_DAYS,
  MAILBOX_DEFINITION,
  MAILBOX_SUBKEY,
  MAILBOX_TABLE,
  ownerOfMailbox,
  OWN_ROW,
  today,
} from '../writes/mailboxes.ts'
import {
  imageFits,
  isWeak,
  MAX_OUTPUTS_BYTES,
  outputsFit,
  sameContent,
  type Output,
  type RowImage,
  type RowState,
} from '../store/row-state.ts'

// The file is long because rows, counts and truncates change the same appends, and are read together.

/** The ops of one bucket in one batch, in order. */
export interface Append {
  first: OpId
  last: OpId
  count: number
  /** Unsigned. */
  checksum: number
  texts: string[]
}

/** A table as the batch needs it. */
export interface BatchTable extends TableName {
  number: number
  /** Names under which the sync config may read its rows; absent: its own. */
  names?: readonly TableName[]
}

export interface BatchPorts {
  /** Each bucket, type and id at most once. */
  evaluate(table: BatchTable, row: SourceRow): EvaluatedRow
  /** What is stored of rows; the batch lays its own changes over it. Keys of rows that are not there are left out. */
  states(table: BatchTable, keys: readonly string[]): ReadonlyMap<string, RowState>
  number(bucket: string, definition: string): number
  /** `key` null: it is so for every row of the table. */
  skipped(table: TableName, key: string | null, reason: string, definition?: string): void
}

/**
 * Bytes of the largest op, as text in UTF-8: a stored value takes 2 MB. A larger row is refused, with a diagnostic; the
 * rest goes on.
 */
export const MAX_OP_BYTES = 1_900_000

/**
 * Changes of source rows become ops. Pure but for what its ports answer. Row state mirrors exactly what is in the
 * buckets, so the ops of a change are the difference between what a row had put there and what it puts there now.
 */
export class Batch {
  readonly appends = new Map<number, Append>()
  /** Row state as it is now, by table. */
  readonly rows = new Map<number, { table: BatchTable; states: Map<string, RowState | null> }>()
  /** Row changes taken in. */
  changes = 0
  /** UTF-16 units of all op texts. */
  length = 0
  counter: OpId
  /** The counter that it goes on from. */
  readonly start: OpId
  readonly #ports: BatchPorts
  /** What was asked for ahead of need, by table. */
  readonly #loaded = new Map<number, { keys: ReadonlySet<string>; states: ReadonlyMap<string, RowState> }>()

  constructor(counter: OpId, ports: BatchPorts) {
    this.counter = counter
    this.start = counter
    this.#ports = ports
  }

  state(table: BatchTable, key: string): RowState | null {
    const pending = this.rows.get(table.number)?.states.get(key)
    if (pending !== undefined) return pending
    const loaded = this.#loaded.get(table.number)
    const states = loaded?.keys.has(key) ? loaded.states : this.#ports.states(table, [key])
    return states.get(key) ?? null
  }

  /** Asks for rows that are about to change, all at once. To be called in the same turn as what changes them. */
  load(table: BatchTable, keys: readonly string[]): void {
    if (keys.length < 2) return
    this.#loaded.set(table.number, { keys: new Set(keys), states: this.#ports.states(table, keys) })
  }

  /**
   * The row is now `row`. `image`: what may be missing from its next change. `copies`: how many equal ones there are.
   * `why`: it has changed, or it was read again and nothing says that it has. An output that cannot be made is told,
   * and what the row had put there is removed: nothing old is served as if it were the row of now. When none can be
   * made the row is in no bucket.
   */
  upsert(
    table: BatchTable,
    key: string,
    row: SourceRow,
    image: RowImage | null,
    copies = 1,
    why: 'changed' | 'read' = 'changed',
  ): void {
    this.changes++
    const before = this.state(table, key)
    const evaluated = this.#evaluate(table, row)
    for (const { where, message, everyRow, definition } of evaluated.errors) {
      this.#ports.skipped(table, everyRow ? null : key, `${where}: ${message}`, definition)
    }
    for (const event of evaluated.events ?? []) {
      const custom = customCheckpoint(event)
      if (typeof custom === 'string') this.#ports.skipped(table, key, `${event.event}: ${custom}`)
      else if (custom) this.deliver(custom.user, custom.clientId, custom.n)
    }
    const wanted: Output[] = []
    const texts: string[] = []
    for (const out of evaluated.rows) {
      if (tooLarge(out.data)) {
        this.#ports.skipped(
          table,
          key,
          `${out.bucket}: the row is larger than ${MAX_OP_BYTES} bytes of JSON`,
          out.definition,
        )
        continue
      }
      const bucket = this.#ports.number(out.bucket, out.definition)
      // Most rows hold the same in all of their buckets.
      const hash = out.data === texts.at(-1) ? (wanted.at(-1)?.hash ?? '') : strongHash(out.data)
      wanted.push({ bucket, type: out.objectType, id: out.objectId, hash })
      texts.push(out.data)
    }
    const state: RowState = { outputs: wanted, image }
    if (!outputsFit(state, table, key)) {
      this.#ports.skipped(
        table,
        key,
        `what is kept of it in ${wanted.length} buckets is larger than ${MAX_OUTPUTS_BYTES} bytes of JSON`,
      )
      wanted.length = 0
    }
    if (!imageFits(state, table, key)) state.image = null
    const subkey = subkeys(table, key)
    const had = before?.outputs ?? []
    const wantedLike = finder(wanted)
    for (const output of had) if (!wantedLike(output)) this.#remove(output, subkey(output))
    const hadLike = finder(had)
    for (const [i, output] of wanted.entries()) {
      const there = hadLike(output)
      if (there?.weakSubkey) output.weakSubkey = true
      if (there && why === 'read' && isWeak(there.hash)) output.weak = hash64(texts[i] ?? '')
      if (!there || !sameContent(there, output)) this.#put(output, subkey(output), texts[i] ?? '')
    }
    if (copies !== 1) state.copies = copies
    if (!sameState(before, state)) this.#keep(table, key, state)
  }

  /** A row that cannot be evaluated is no reason to stop. */
  #evaluate(table: BatchTable, row: SourceRow): EvaluatedRow {
    try {
      return this.#ports.evaluate(table, row)
    } catch (error) {
      if (!(error instanceof EvaluationFailure)) throw error
      return { rows: [], errors: [{ where: tableText(table), message: error.message }] }
    }
  }

  /**
   * The row is gone. `successor`: the table that goes by the name of this one now. To buckets a row of it under the
   * same key is the same one, so what it holds there stays.
   */
  remove(table: BatchTable, key: string, successor: BatchTable | null = null): void {
    this.changes++
    const before = this.state(table, key)
    if (!before) return
    const kept = finder((successor && this.state(successor, key)?.outputs) ?? [])
    const subkey = subkeys(table, key)
    for (const output of before.outputs) {
      const there = kept(output)
      if (!there || there.weakSubkey !== output.weakSubkey) this.#remove(output, subkey(output))
    }
    this.#keep(table, key, null)
  }

  /** One more row of a table without a key. */
  addCopy(table: BatchTable, key: string, row: SourceRow): void {
    const before = this.state(table, key)
    this.upsert(table, key, row, null, before ? (before.copies ?? 1) + 1 : 1)
  }

  /** One row less. */
  removeCopy(table: BatchTable, key: string): void {
    const copies = this.state(table, key)?.copies ?? 1
    if (copies > 1) this.setCopies(table, key, copies - 1)
    else this.remove(table, key)
  }

  /** The row is there so many times, 1 or more. False when it is not known: then what it holds must be given. */
  setCopies(table: BatchTable, key: string, copies: number): boolean {
    const before = this.state(table, key)
    if (!before) return false
    if ((before.copies ?? 1) === copies) return true
    this.changes++
    const { copies: _, ...rest } = before
    this.#keep(table, key, copies === 1 ? rest : { ...rest, copies })
    return true
  }

  /**
   * Write checkpoint `n`, 1 … 2^63-1, has been reached. Markers may commit in another order than they were numbered: a
   * client's never goes back.
   */
  deliver(user: string, clientId: string, n: bigint, day = today()): void {
    this.changes++
    this.#deliver(mailboxName(user), mailboxKey(user), clientId, n, day)
    // A stream of the version before this one reads the mailbox of its client, where there is one.
    const own = clientMailboxKey(user, clientId)
    if (this.state(MAILBOX_TABLE, own)) this.#deliver(clientMailboxName(user, clientId), own, OWN_ROW, n, day)
  }

  #deliver(mailbox: string, key: string, id: string, n: bigint, day: number): void {
    const bucket = this.#ports.number(mailbox, MAILBOX_DEFINITION)
    const delivered = delivering(this.state(MAILBOX_TABLE, key), bucket, id, n, day)
    if (!delivered) return
    const { state, put, removed } = delivered
    this.#put(put, MAILBOX_SUBKEY, mailboxData(id, put.hash))
    for (const output of removed) this.#remove(output, MAILBOX_SUBKEY)
    this.#keep(MAILBOX_TABLE, key, state)
  }

  /**
   * A mailbox is looked at: what is too old goes. One that a client had to itself gives what it holds to that of its
   * user, and goes when it is looked at the next time. In a first round it gives again, and stays.
   */
  tidyMailbox(key: string, day: number, first: boolean): void {
    const before = this.state(MAILBOX_TABLE, key)
    if (!before) return
    const { user, clientId } = ownerOfMailbox(key)
    const [own] = before.outputs
    if (clientId !== null && own && (first || before.image === null)) {
      const given = dayOf(BigInt(own.hash), day)
      if (given > day - MAILBOX_DAYS)
        this.#deliver(mailboxName(user), mailboxKey(user), clientId, BigInt(own.hash), given)
      this.#keep(MAILBOX_TABLE, key, { ...before, image: { days: String(day) } })
      this.changes++
      return
    }
    const expired = clientId === null ? expiring(before, day) : { state: null, removed: before.outputs }
    if (!expired) return
    for (const output of expired.removed) this.#remove(output, MAILBOX_SUBKEY)
    this.#keep(MAILBOX_TABLE, key, expired.state)
    this.changes++
  }

  /** The row of a mailbox again, because its bucket lacks it. */
  redeliver(output: Output): void {
    this.changes++
    this.#put(output, MAILBOX_SUBKEY, mailboxData(output.id, output.hash))
  }

  /** Row state says from now on what the buckets hold, where they do not hold what it said. No op. */
  restate(table: BatchTable, key: string, state: RowState | null): void {
    this.changes++
    this.#keep(table, key, state)
  }

  /** A bucket holds a row of which row state knows nothing: it goes. */
  removeStray({ bucket, type, id, subkey }: Omit<Output, 'hash'> & { subkey: string }): void {
    this.changes++
    this.#remove({ bucket, type, id, hash: '' }, subkey)
  }

  /** An op that does nothing but make the checksum of an empty bucket that of one that was never written to. */
  balance(bucket: number, checksum: number): void {
    this.changes++
    const op = { objectType: 'rockpool', objectId: 'empty', subkey: 'empty', checksum: subtractChecksums(0, checksum) }
    this.#emit(bucket, { op: 'REMOVE', ...op, data: null })
  }

  /** An op that does nothing, so that everybody hears what the bucket announces. */
  announce(bucket: number): void {
    this.removeStray({ bucket, type: 'rockpool', id: 'verify', subkey: 'verify' })
  }

  #put(output: Output, subkey: string, data: string): void {
    const checksum = putChecksum(output.type, output.id, data)
    this.#emit(output.bucket, { op: 'PUT', objectType: output.type, objectId: output.id, subkey, checksum, data })
  }

  #remove(output: Output, subkey: string): void {
    const checksum = removeChecksum(subkey)
    this.#emit(output.bucket, {
      op: 'REMOVE',
      objectType: output.type,
      objectId: output.id,
      subkey,
      checksum,
      data: null,
    })
  }

  #emit(bucket: number, op: RowOp): void {
    const id = ++this.counter
    const text = opText(id, op)
    this.length += text.length
    const append = this.appends.get(bucket)
    if (append) {
      append.last = id
      append.count++
      append.checksum = addChecksums(append.checksum, op.checksum)
      append.texts.push(text)
    } else this.appends.set(bucket, { first: id, last: id, count: 1, checksum: op.checksum, texts: [text] })
  }

  #keep(table: BatchTable, key: string, state: RowState | null): void {
    const rows = this.rows.get(table.number)
    if (rows) rows.states.set(key, state)
    else this.rows.set(table.number, { table, states: new Map([[key, state]]) })
  }
}

/** Room for the other fields of the op, and for its quotes, which are escaped. */
function tooLarge(data: string): boolean {
  return data.length > MAX_OP_BYTES / 6 && Buffer.byteLength(quote(data)) > MAX_OP_BYTES - 4_096
}
