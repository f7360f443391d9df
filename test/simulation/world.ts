import { testDatabase } from '../../durable-objects/test-database.ts'
import type { Database } from '../../durable-objects/shared/database.ts'
import { SimBucket } from './bucket.ts'
import { SimRelay } from './relay.ts'
import { SimReplicator } from './replicator.ts'
import type { Sim } from './sim.ts'
import { outputOf, PREFIXES, type Change, type PlanHash, type Transaction } from './source.ts'

export class World {
  readonly sim: Sim
  readonly source: Transaction[] = []
  readonly buckets = new Map<string, SimBucket>()
  readonly replicator: SimReplicator
  readonly relays: SimRelay[]
  /** Checkpoint → number of source transactions that it stands for, and its plan. */
  readonly boundaries = new Map<number, { transactions: number; plan: PlanHash }>([[0, { transactions: 0, plan: 'p' }]])
  /** Deployed; it serves from a checkpoint on. */
  plan: PlanHash = 'p'
  /** Most transactions are taken in by slices, and rows that lack values are read last. */
  torn = false
  readonly #databases: Database[] = []
  violation: string | null = null
  /** Buckets whose names begin so are called behind everything else. */
  starved: string | null = null
  readonly counts: Record<string, number> = {}

  constructor(sim: Sim, relays: number) {
    this.sim = sim
    this.relays = Array.from({ length: relays }, (_, i) => new SimRelay(this, `default/main/${i}`))
    this.replicator = new SimReplicator(this, this.database('replicator'))
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  violate(what: string): void {
    this.violation ??= what
  }

  /** A call of a bucket. */
  call<T>(name: string, call: (bucket: SimBucket) => T): Promise<T> {
    return this.sim.rpc(() => call(this.bucket(name)), this.starved !== null && name.startsWith(this.starved))
  }

  bucket(name: string): SimBucket {
    const bucket = this.buckets.get(name) ?? new SimBucket(this, name, this.database('bucket'))
    this.buckets.set(name, bucket)
    return bucket
  }

  /** An empty one. Making tables takes far longer than a schedule does with them, so they are used again. */
  database(kind: 'replicator' | 'bucket'): Database {
    const db = spare[kind].pop() ?? testDatabase()
    this.#databases.push(db)
    kinds.set(db, kind)
    return db
  }

  /** The schedule is over. */
  release(): void {
    for (const db of this.#databases.splice(0)) {
      for (const { name } of db.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'migrations'"))
        db.run(`DELETE FROM ${String(name)}`)
      spare[kinds.get(db) ?? 'bucket'].push(db)
    }
  }

  /** Rows of a data bucket after so many transactions, in the order of their texts. */
  content(transactions: number, bucket: string): string[] {
    const plan: PlanHash = bucket.startsWith(PREFIXES.p.data) ? 'p' : 'q'
    const group = bucket.slice(2, -1)
    const rows = [...this.#rows(transactions).values()].filter(
      ({ table, row }) => table === 'items' && row.group === group,
    )
    return rows.map(({ row }) => outputOf(plan, row)).sort()
  }

  /** What a user should have after so many transactions, and his newest write checkpoint. */
  truth(transactions: number, plan: PlanHash, user: string, client: string): { rows: string[]; write: string | null } {
    const rows = [...this.#rows(transactions).values()]
    let write: number | null = null
    for (const { write: marker } of this.source.slice(0, transactions)) {
      if (marker && marker[0] === user && marker[1] === client) write = Math.max(write ?? 0, marker[2])
    }
    const groups = new Set(
      rows.flatMap(({ table, row }) => (table === 'members' && row.user === user ? [row.group] : [])),
    )
    const visible = rows
      .filter(({ table, row }) => table === 'items' && groups.has(row.group))
      .map(({ row }) => outputOf(plan, row))
    return { rows: visible.sort(), write: write === null ? null : String(write) }
  }

  /** A row after so many transactions, if it is there. */
  row(transactions: number, table: Change['table'], key: string): Record<string, string> | null {
    return this.#rows(transactions).get(`${table} ${key}`)?.row ?? null
  }

  /** Keys of a table after so many transactions. */
  keys(transactions: number, table: Change['table']): string[] {
    return [...this.#rows(transactions)]
      .filter(([, each]) => each.table === table)
      .map(([key]) => key.slice(table.length + 1))
  }

  /**
   * Whether the user was a member of the group after transaction `from` or any later one: then he may have a row of it
   * that was written there.
   */
  mayHave(user: string, group: string, from: number): boolean {
    for (let n = from + 1; n <= this.source.length; n++) if (this.#isMember(n, user, group)) return true
    return false
  }

  #isMember(transactions: number, user: string, group: string): boolean {
    return this.row(transactions, 'members', `${user}-${group}`) !== null
  }

  #rows(transactions: number): Map<string, { table: string; row: Record<string, string> }> {
    const rows = new Map<string, { table: string; row: Record<string, string> }>()
    for (const { changes } of this.source.slice(0, transactions)) {
      for (const { table, key, row } of changes) {
        if (row) rows.set(`${table} ${key}`, { table, row })
        else rows.delete(`${table} ${key}`)
      }
    }
    return rows
  }
}

const spare: Record<'replicator' | 'bucket', Database[]> = { replicator: [], bucket: [] }
const kinds = new WeakMap<Database, 'replicator' | 'bucket'>()
