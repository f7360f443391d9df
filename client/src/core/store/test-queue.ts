import type { Random } from '../../../../test/support/random.ts'
import type { SqlValue } from '../../types.ts'
import { readAnswer, type Decided } from '../outbox/answer.ts'
import { storeAnswer, storeCheckpoint, storeTooLarge, unconfirmedUpTo } from '../outbox/decide.ts'
import { dismiss, edit, failedTransactions, retry } from '../outbox/failed.ts'
import { nextRequest, type UploadRequest } from '../outbox/request.ts'
import { deriveRows } from './derive.ts'
import { fateOf, fateOfCall } from './fates.ts'
import type { StoredTable, StoreSchema } from './tables.ts'
import type { FaultySqlite } from './test-crash.ts'
import type { LocalOp, TestServer } from './test-server.ts'
import { TestUploads } from './test-uploads.ts'

// The file is long because model, steps and checks are read side by side.
//
// The queue of the simulation: what must have become of every write, beside what the client says has become of it.

export interface LocalTransaction {
  seq: number
  /** As the server knows it. */
  id: string
  /** As the application knows it. */
  given: string
  state: 'pending' | 'sent' | 'accepted' | 'confirmed' | 'failed' | 'forgotten'
  ops: LocalOp[]
  target: number | null
  dependsOn: string | null
  /** Id of the one that has taken its place. */
  next: string | null
}

export interface Snapshot {
  reached: number
  all: LocalTransaction[]
}

export interface QueueSetting {
  db: FaultySqlite
  tables(): ReadonlyMap<string, StoredTable>
  schema(): StoreSchema
  flush(): void
  count(what: string): void
}

export class TestQueue {
  readonly #random: Random
  readonly #server: TestServer
  readonly #uploads: TestUploads
  readonly #with: QueueSetting
  #all: LocalTransaction[] = []
  /** The write checkpoint that was applied last. */
  #reached = 0
  #flight: { request: UploadRequest; answer: string | null } | null = null
  /** Requests that are still somewhere under way. */
  readonly #late: string[] = []
  #hello = true
  /** By the id that the server knows, the one that the application knows: also of those that a reset has renamed. */
  readonly #givenOf = new Map<string, string>()

  constructor(random: Random, server: TestServer, setting: QueueSetting) {
    this.#random = random
    this.#server = server
    this.#uploads = new TestUploads(random, server)
    this.#with = setting
  }

  /** What the tables show, in order. */
  shown(): LocalTransaction[] {
    return this.#all.filter(({ state }) => state === 'pending' || state === 'sent' || state === 'accepted')
  }

  written(seq: number, id: string, ops: LocalOp[]): void {
    this.#add({ seq, id, ops, state: ops.length === 0 ? 'confirmed' : 'pending' })
  }

  snapshot(): Snapshot {
    return { reached: this.#reached, all: this.#all.map((each) => ({ ...each })) }
  }

  restore({ reached, all }: Snapshot): void {
    this.#reached = reached
    this.#all = all.map((each) => ({ ...each }))
  }

  /** Whatever was under way may still arrive at the server. */
  disconnected(): void {
    if (this.#flight) this.#late.push(this.#flight.request.body)
    this.#flight = null
    this.#hello = true
  }

  confirm(reached: number): void {
    this.#reached = reached
    this.#confirm()
  }

  #confirm(): void {
    for (const each of this.#all)
      if (each.state === 'accepted' && each.target !== null && each.target <= this.#reached) each.state = 'confirmed'
  }

  step(): void {
    this.#random.weighted<() => void>([
      [this.#flight ? 0 : 6, () => this.#send()],
      [this.#flight && this.#flight.answer === null ? 6 : 0, () => this.#deliver()],
      [this.#flight?.answer ? 8 : 0, () => this.#answered()],
      [1, () => this.#ask()],
      [2, () => this.#application()],
      [0.5, () => this.#repeat()],
      [0.3, () => this.#year()],
    ])()
    if (this.#uploads.fault !== null) throw new Error(this.#uploads.fault)
  }

  #send(): void {
    const request = nextRequest(this.#with.db, { limit: this.#random.pick([1, 2, 100]), hello: this.#hello })
    if (!request) return
    this.#hello = false
    for (const id of request.ids) this.#of(id).state = 'sent'
    this.#with.flush()
    const first = this.#waiting()
      .slice(0, request.ids.length)
      .map(({ id }) => id)
    if (String(first) !== String(request.ids)) throw new Error(`sent ${request.ids.join()} and not ${first.join()}`)
    this.#checkWire(request)
    this.#flight = { request, answer: null }
    this.#with.count('request')
  }

  #deliver(): void {
    if (!this.#flight) return
    const { body, ids } = this.#flight.request
    if (this.#random.chance(0.15)) {
      this.#late.push(body)
      this.#flight = null
    } else if (ids.length === 1 && this.#random.chance(0.03)) {
      const id = ids[0] ?? ''
      storeTooLarge(this.#with.db, this.#with.tables(), id, 1)
      this.#rejected([this.#of(id)], new Set())
      this.#flight = null
      this.#with.count('too large')
    } else this.#flight.answer = this.#uploads.receive(body)
  }

  /** No request is under way for so long. */
  #year(): void {
    this.disconnected()
    this.#late.length = 0
    // What is decided is on the disk, and the server has heard of it.
    this.#with.flush()
    const decided = new Set(
      this.#all.filter(({ state }) => state !== 'pending' && state !== 'sent').map(({ id }) => id),
    )
    this.#uploads.forget(decided)
  }

  /** An old request arrives again, or at last. Nobody waits for its answer. */
  #repeat(): void {
    const body = this.#late.length > 0 ? this.#random.pick(this.#late) : null
    if (body !== null) this.#uploads.receive(body)
  }

  #answered(): void {
    const { request, answer } = this.#flight ?? {}
    if (!request || !answer) return
    if (this.#random.chance(0.15)) return this.disconnected()
    const whole = { status: 200, contentType: 'application/json', redirected: false, body: answer, retryAfter: null }
    const broken = this.#random.weighted<Partial<typeof whole>>([
      [8, {}],
      [0.3, { body: answer.slice(0, -1 - this.#random.int(20)) }],
      [0.3, { status: 404 }],
      [0.3, { redirected: true }],
      [0.3, { contentType: 'text/html' }],
    ])
    const read = readAnswer({ ...whole, ...broken }, request.ids)
    if ((read.kind === 'decided') !== (Object.keys(broken).length === 0))
      throw new Error(`read as ${read.kind}: ${JSON.stringify(broken)}`)
    if (read.kind === 'decided') {
      const stored = storeAnswer(this.#with.db, this.#with.tables(), read, answer, 1)
      this.#decided(read)
      if (stored.reset) this.#with.count('reset')
    }
    this.#flight = null
  }

  /** What the answer means for the model. */
  #decided({ verdicts, writeCheckpoint, reopen }: Decided): void {
    const rejected: LocalTransaction[] = []
    let last = 0
    let reset = false
    const dependent = new Set<LocalTransaction>()
    for (const verdict of verdicts) {
      const { id, result } = verdict
      const transaction = this.#of(id)
      if (result === 'accepted') {
        transaction.state = 'accepted'
        last = transaction.seq
        this.#settled(id)
      } else if (result === 'rejected') {
        rejected.push(transaction)
        if (verdict.code === 'depends_on') dependent.add(transaction)
      }

      if (result === 'client_reset') reset = true
      this.#with.count(result)
    }
    this.#rejected(rejected, new Set(rejected), dependent)
    if (reset) this.#reset()
    if (last > 0 && writeCheckpoint !== null) this.#setTargets(last, writeCheckpoint)
    for (const id of reopen) this.#retried(id)
  }

  /** `dependent`: those of them of which the server says that they build on another one. */
  #rejected(
    rejected: readonly LocalTransaction[],
    decided: ReadonlySet<LocalTransaction>,
    dependent: ReadonlySet<LocalTransaction> = new Set(),
  ): void {
    const roots = new Map<LocalTransaction, string>()
    for (const [n, each] of rejected.entries()) {
      const rows = rowsOf(each.ops)
      const shares = ({ ops }: LocalTransaction): boolean => [...rowsOf(ops)].some((row) => rows.has(row))
      const on = dependent.has(each) ? rejected.slice(0, n).find(shares) : undefined
      const root = on && roots.get(on)
      roots.set(each, root ?? each.id)
      this.#fail(each, root ?? null)
    }
    for (const each of rejected) {
      const gone = rowsOf(each.ops)
      for (const behind of this.#waiting().filter(({ seq }) => seq > each.seq)) {
        const rows = rowsOf(behind.ops)
        if (decided.has(behind) || [...rows].every((row) => !gone.has(row))) continue
        for (const row of rows) gone.add(row)
        this.#fail(behind, roots.get(each) ?? each.id)
        this.#with.count('depends on')
      }
    }
  }

  #fail(transaction: LocalTransaction, dependsOn: string | null): void {
    transaction.state = 'failed'
    transaction.dependsOn = dependsOn
    this.#settled(transaction.id)
  }

  /** It is decided, so what it took the place of is not kept any more. */
  #settled(id: string): void {
    for (const each of this.#all) if (each.next === id && each.state === 'failed') each.state = 'forgotten'
  }

  #reset(): void {
    const ids = this.#with.db.look("SELECT id FROM rp_tx WHERE state <> 'accepted' ORDER BY seq").flat() as string[]
    for (const [n, each] of this.#waiting().entries()) {
      const next = ids[n] ?? ''
      if (next === each.id) throw new Error(`${next} has its old id after a reset`)
      for (const other of this.#all) if (other.next === each.id) other.next = next
      each.id = next
      each.state = 'pending'
      this.#givenOf.set(next, each.given)
    }
  }

  #setTargets(upTo: number, target: number): void {
    for (const each of this.#all)
      if (each.state === 'accepted' && each.target === null && each.seq <= upTo) each.target = target
    // The checkpoint may have come before the answer.
    this.#confirm()
  }

  #ask(): void {
    const upTo = unconfirmedUpTo(this.#with.db)
    if (upTo === null) return
    const target = this.#server.mark()
    storeCheckpoint(this.#with.db, this.#with.tables(), upTo, target)
    this.#setTargets(upTo, target)
  }

  /** The application does something about a failed write. */
  #application(): void {
    const open = this.#open()
    if (open.length === 0) return
    const one = this.#random.pick(open)
    const { db, tables, schema } = this.#with
    const derived = <T>(work: () => T): T =>
      db.transaction(() => {
        const result = work()
        deriveRows(db, tables())
        return result
      })
    this.#random.weighted<() => void>([
      [
        2,
        () => {
          derived(() => retry(db, tables(), one.id, 1))
          this.#retried(one.id)
        },
      ],
      [
        1,
        () => {
          dismiss(db, one.id)
          one.state = 'forgotten'
        },
      ],
      [
        1,
        () => {
          const op = one.ops[0]
          if (!op || !schema().tables[op.table]?.columns.title) return
          const id = derived(() =>
            edit(db, tables(), one.id, [{ ...op, op: 'patch', data: '{"title":"edited"}', old: null }], 1),
          )
          one.next = id
          this.#add({
            seq: this.#seqOf(id ?? ''),
            id: id ?? '',
            ops: [{ op: 'patch', table: op.table, id: op.id, data: { title: 'edited' } }],
            state: 'pending',
          })
          this.#with.count('edited')
        },
      ],
    ])()
  }

  #retried(id: string): void {
    const root = this.#open().find((each) => each.id === id)
    if (!root) return
    for (const each of this.#open().filter(({ id: of, dependsOn }) => of === id || dependsOn === id)) {
      const [row] = this.#with.db.look('SELECT id, seq FROM rp_tx WHERE retry_of = ?', [each.id])
      if (!row) throw new Error(`${each.id} was not sent again`)
      each.next = row[0] as string
      this.#add({ seq: row[1] as number, id: each.next, ops: each.ops, state: 'pending' })
      this.#with.count('retried')
    }
  }

  #add(of: Pick<LocalTransaction, 'seq' | 'id' | 'ops' | 'state'>): void {
    this.#all.push({ ...of, given: of.id, target: null, dependsOn: null, next: null })
    this.#givenOf.set(of.id, of.id)
  }

  #open = (): LocalTransaction[] =>
    this.#all.filter(({ state, next }) => state === 'failed' && next === null).sort((a, b) => a.seq - b.seq)
  #waiting = (): LocalTransaction[] => this.#all.filter(({ state }) => state === 'pending' || state === 'sent')
  #seqOf = (id: string): number => this.#with.db.look('SELECT seq FROM rp_tx WHERE id = ?', [id])[0]?.[0] as number

  #of(id: string): LocalTransaction {
    const found = this.#all.find((each) => each.id === id)
    if (!found) throw new Error(`there is no transaction ${id}`)
    return found
  }

  /** The ops go out as they were made. */
  #checkWire({ body, ids }: UploadRequest): void {
    const wire: { transactions: { ops: WireOp[] }[] } = JSON.parse(body)
    for (const [n, id] of ids.entries()) {
      const { ops } = this.#of(id)
      const sent = wire.transactions[n]?.ops ?? []
      const wanted = ops.map(({ op, table, id: row, data, old }) => [
        op,
        table,
        row,
        op === 'delete' ? null : valuesText(data),
        old ? valuesText(old) : null,
      ])
      const found = sent.map(({ op, table, id: row, data, old }) => [
        op,
        table,
        row,
        data ? valuesText(data) : null,
        old ? valuesText(old) : null,
      ])
      if (JSON.stringify(wanted) !== JSON.stringify(found))
        throw new Error(`${id} went out as ${JSON.stringify(found)} and not as ${JSON.stringify(wanted)}`)
      if (ops.some(({ data }) => data.n === 9223372036854775807n) && !body.includes(':9223372036854775807'))
        throw new Error(`${id} lost digits`)
    }
  }

  check(after: string): void {
    const { db } = this.#with
    const rows = db.prepare('SELECT seq, id, state FROM rp_tx ORDER BY seq').all()
    equal(
      `after ${after} the queue`,
      rows,
      this.shown().map(({ seq, id, state }) => [seq, id, state]),
    )
    const failed = failedTransactions(db).map(({ id, dependsOn }) => [id, dependsOn])
    equal(
      `after ${after} the failed list`,
      failed,
      this.#open().map(({ id, dependsOn }) => [id, dependsOn]),
    )
    for (const { given, state } of this.#all) {
      const fate = fateOf(db, given)
      const found = fate?.result === 'accepted' && fate.confirmed ? 'confirmed' : (fate?.result ?? null)
      equal(`after ${after} the fate of ${given}`, [[found]], [[FATES[state]]])
      if (given.startsWith('tx') && fateOfCall(db, `call of ${given}`)?.id !== given)
        throw new Error(`the call of ${given} is not known`)
    }
    const once = new Set<string>()
    for (const id of this.#uploads.applied) {
      const given = this.#givenOf.get(id) ?? id
      const known = this.#all.find((each) => each.given === given)
      if (!known) throw new Error(`after ${after} the server has ${given}, of which the client knows nothing`)
      if (once.has(given)) throw new Error(`after ${after} the server has applied ${given} twice`)
      once.add(given)
    }
    for (const { given, state, ops } of this.#all) {
      if (ops.length > 0 && (state === 'accepted' || state === 'confirmed') && !once.has(given))
        throw new Error(`${given} is ${state}, and was never applied`)
    }
  }
}

interface WireOp {
  op: string
  table: string
  id: string
  data?: Record<string, unknown>
  old?: Record<string, unknown>
}

const FATES: Record<LocalTransaction['state'], string> = {
  pending: 'pending',
  sent: 'pending',
  accepted: 'accepted',
  confirmed: 'confirmed',
  failed: 'rejected',
  forgotten: 'rejected',
}

const rowsOf = (ops: readonly LocalOp[]): Set<string> => new Set(ops.map(({ table, id }) => `${table} ${id}`))

/** Booleans are 0 and 1 here, and JSON holds neither bytes nor all integers. */
function valuesText(data: Record<string, unknown>): string {
  const plain = Object.entries(data).map(([name, value]): [string, unknown] => [
    name,
    plainOf(value as SqlValue | boolean | object),
  ])
  return JSON.stringify(plain.sort(([a], [b]) => (a < b ? -1 : 1)))
}

function plainOf(value: SqlValue | boolean | object): unknown {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isSafeInteger(value))) return 'large'
  return typeof value === 'object' && value !== null ? 'bytes' : value
}

function equal(what: string, found: readonly unknown[][], wanted: readonly unknown[][]): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what} is ${a} and not ${b}`)
}
