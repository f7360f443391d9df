import { RockpoolError } from '../../protocol/errors.ts'
import { tableKey } from '../../protocol/tables.ts'
import type { DecodedRow, RowChange, RowImage, SentValues, SourceEvent, SourceStream, StreamedTo } from '../source.ts'
import { keyOf, type MemoryChange, type MemoryDatabase, type MemoryTransaction, type Rule } from './database.ts'
import type { MemoryTable } from './table.ts'

/** `beyond`: the transaction is not kept to be sent again. */
export type MemoryPosition = { n: number; id: string; beyond?: true }
/** `events` counts the events of the transaction in every table, also in those that are not followed. */
export type MemoryPlace = { n: number; id: string; events: number }

/** The state of other kinds never gets here: see `fromStored`. */
export const memoryStreamedTo = ({
  position,
  place,
}: StreamedTo): { position: MemoryPosition | null; place: MemoryPlace | null } => ({
  position: position as MemoryPosition | null,
  place: place as MemoryPlace | null,
})

/** The size in bytes that is reported for each event. */
const EVENT_BYTES = 100

class MemoryRowChange implements RowChange {
  readonly kind = 'change'
  readonly altered = false
  readonly table: MemoryTable
  readonly key: string
  readonly before: string | null
  readonly at: MemoryPlace
  readonly #change: Extract<MemoryChange, { op: 'insert' | 'update' | 'delete' }>
  readonly #guesses: boolean

  constructor(change: MemoryRowChange['change'], table: MemoryTable, at: MemoryPlace, guesses: boolean) {
    this.#change = change
    this.#guesses = guesses
    this.table = table
    this.at = at
    this.key = keyOf(table.info, change.row)
    this.before = change.op === 'update' && change.before ? keyOf(table.info, change.before) : null
  }

  get change(): Extract<MemoryChange, { op: 'insert' | 'update' | 'delete' }> {
    return this.#change
  }

  get op(): RowChange['op'] {
    return this.#change.op
  }

  read(kept: () => RowImage | null): DecodedRow | null {
    const row: Record<string, string> = { ...this.#change.row }
    const unsent = this.#change.op === 'delete' ? [] : (this.#change.unsent ?? [])
    if (unsent.length > 0) {
      const image = kept() ?? {}
      for (const name of unsent) {
        const value = image[name]
        if (value === undefined && !this.#guesses) return null
        row[name] = value ?? ''
      }
    }
    return { row, image: this.table.counted ? null : { ...row } }
  }

  sent(): SentValues {
    const unsent = this.#change.op === 'delete' ? [] : (this.#change.unsent ?? [])
    const values = new Map(Object.entries(this.#change.row).filter(([name]) => !unsent.includes(name)))
    return { values, whole: unsent.length === 0 }
  }
}

interface Delivery {
  database: MemoryDatabase
  tables: readonly MemoryTable[]
  at: StreamedTo
  sink(event: SourceEvent, bytes: number): void
}

/** Delivers what comes after `at` from what the database keeps, one transaction in each turn of the event loop. */
export function openMemoryStream({ database, tables, at, sink }: Delivery): SourceStream {
  const { position, place } = memoryStreamedTo(at)
  const byName = new Map(tables.map((table) => [tableKey(table), table]))
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {})
  const isBroken = (rule: Rule): boolean => database.broken.has(rule)
  let next = (database.kept ?? 0) + 1
  let rest = place
  let proved = position === null || position.n === 0 || (position.beyond === true && (database.kept ?? 0) >= position.n)
  let paused = false
  let running = false
  let over = false

  const end = (error?: unknown) => {
    if (over) return
    over = true
    forget()
    if (error === undefined) ended.resolve()
    else ended.reject(error)
  }
  const forget = database.onCommit(() => void run())

  async function run(): Promise<void> {
    if (running) return
    running = true
    try {
      for (await null; !paused && !over; next++) {
        const tx = database.transaction(next)
        if (!tx) break
        deliver(tx)
        if (database.misbehaviour.deliversTwice && !over) deliver(tx)
        await null
      }
    } catch (error) {
      end(error)
    } finally {
      running = false
    }
  }

  /** The last one that was delivered, or is stored. */
  let done = position ?? { n: 0, id: '' }
  function deliver(tx: MemoryTransaction): void {
    if (position && tx.n === position.n) {
      if (tx.id !== position.id && !isBroken('proves the stored transaction'))
        throw changed(`transaction ${tx.n} is not the one that was stored`)
      proved = true
      if (position.beyond && tx.n > (database.kept ?? 0) && !isBroken('sends nothing of what is beyond')) {
        acknowledge(position)
        throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `transaction ${tx.n} came again, and does not any more`)
      }
    }
    if (tx.n <= done.n && !isBroken('skips what is stored')) {
      for (const _ of tx.changes) emitPassed(true, { n: done.n, id: done.id, beyond: true })
      return
    }
    if (!proved && !isBroken('proves the stored transaction'))
      throw changed(`transaction ${position?.n} did not come again`)
    if (rest && (rest.n !== tx.n || rest.id !== tx.id) && !isBroken('proves the rest of a transaction'))
      throw changed(`the rest of transaction ${rest.n} did not come`)
    const stored = rest && !isBroken('continues after what is stored') ? rest.events : 0
    rest = null
    const { n, id } = tx
    const beyond: MemoryPosition = { n, id, beyond: true }
    emit({ kind: 'begin', tx: BigInt(n), at: { n, id, events: stored }, beyond })
    let events = 0
    for (const change of tx.changes) {
      const event = eventOf(change, { n, id, events: events + 1 })
      // Events of tables that are not followed count too, because another set of tables may be followed when this is
      // read again.
      if (event !== null || !isBroken('counts what is not followed')) events++
      if (event !== null && events > stored) emit(event)
      else emitPassed(false, beyond)
    }
    if (n > done.n) done = { n, id }
    emit({ kind: 'commit', position: { n, id } })
  }

  function eventOf(change: MemoryChange, at: MemoryPlace): SourceEvent | null {
    if (change.op === 'mark') return { kind: 'mark', text: change.text, at }
    if (change.op === 'truncate') {
      const followed = change.tables.flatMap((name) => byName.get(tableKey(name)) ?? [])
      return followed.length === 0 ? null : { kind: 'truncate', tables: followed, at }
    }
    const table = byName.get(tableKey(change.table))
    return table ? new MemoryRowChange(change, table, at, isBroken('leaves out unknown values')) : null
  }

  function emitPassed(whole: boolean, beyond: MemoryPosition): void {
    if (!isBroken('says what has passed')) emit({ kind: 'passed', whole, beyond })
  }

  function acknowledge({ n, beyond }: MemoryPosition): void {
    // The last one is sent again, so that it can be proved.
    const isKept = beyond !== true || isBroken('sends nothing of what is beyond')
    database.kept = Math.max(database.kept ?? 0, isKept ? n - 1 : n)
  }

  function emit(event: SourceEvent): void {
    if (over) return
    if (database.misbehaviour.endsAfter-- <= 0) {
      database.misbehaviour.endsAfter = Infinity
      throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the stream has ended')
    }
    sink(event, EVENT_BYTES)
  }

  void run()
  return {
    pause: () => (paused = true),
    resume() {
      paused = false
      void run()
    },
    acknowledge: (position) => acknowledge(position as MemoryPosition),
    lag(position) {
      return position === null
        ? null
        : { bytes: Math.max(0, database.length - (position as MemoryPosition).n) * EVENT_BYTES, nudge: false }
    },
    ended: ended.promise,
    close() {
      end()
      return Promise.resolve()
    },
  }
}

const changed = (what: string) =>
  new RockpoolError(
    'ROCKPOOL_SOURCE_CHANGED',
    `this is not the database that was followed so far, or not its state: ${what}`,
  )
