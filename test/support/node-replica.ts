import type { Sql } from 'postgres'
import { Batch } from '../../durable-objects/replicator/ingest/batch.ts'
import { Buckets } from '../../durable-objects/replicator/store/buckets.ts'
import { Intake } from '../../durable-objects/replicator/ingest/intake.ts'
import type { SourceTable } from '../../durable-objects/replicator/ingest/source-table.ts'
import { evaluateNames } from '../../sync-config/evaluate/names.ts'
import { waitForEarlier } from '../../durable-objects/replicator/copy/barrier.ts'
import { Reader, type ChunkSize } from '../../durable-objects/replicator/copy/reader.ts'
import { RowStates } from '../../durable-objects/replicator/store/row-state.ts'
import { MIGRATIONS } from '../../durable-objects/replicator/store/storage.ts'
import { Tables } from '../../durable-objects/replicator/store/tables.ts'
import { migrate } from '../../durable-objects/shared/database.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import { connectSource, emitMarker, openReplication, prepareSource, type ReplicationSession } from '../../sources/postgres/index.ts'
import type { WireOp } from '../../protocol/ops.ts'
import { compile, loadPlan } from '../../sync-config/index.ts'
import type { LoadedPlan, RowProgram } from '../../sync-config/types.ts'

export interface ReplicaOptions {
  url: string
  slot: string
  syncConfig: string
  chunk: ChunkSize
  /** Waits until what was delivered earlier is visible; another one shows what happens without it. */
  barrier?: typeof waitForEarlier
}

const PREFIX = 'rockpool:test'

/**
 * The replicator's own intake, reader, row state and tables in Node, over a real Postgres, with the ops of all buckets reduced in memory: for
 * tests that must choose when a copy begins and how small its chunks are. There are no crashes here.
 */
export class NodeReplica {
  readonly sql: Sql
  readonly #options: ReplicaOptions
  readonly #db = testDatabase()
  readonly #rows: RowStates
  readonly #buckets: Buckets
  readonly #tables: Tables
  readonly #plan: LoadedPlan
  /** Bucket, object and subkey → data. */
  readonly #objects = new Map<string, { id: string; data: string }>()
  readonly #markers = new Map<string, () => void>()
  #evaluating: RowProgram | null = null
  #counter = 0
  #intake: Intake | null = null
  #reader: Reader | null = null
  #replication: ReplicationSession | null = null
  #failure: unknown = null
  #sources: SourceTable[] = []
  /** Chunks and keys read, and reads that had to be repeated. */
  reads = 0
  completions = 0

  constructor(options: ReplicaOptions) {
    this.#options = options
    migrate(this.#db, MIGRATIONS)
    this.#rows = new RowStates(this.#db)
    this.#buckets = new Buckets(this.#db)
    this.#tables = new Tables(this.#db)
    this.sql = connectSource(options.url, { max: 2 })
    const result = compile(options.syncConfig)
    if (!result.ok) throw new Error(result.errors.map((error) => error.message).join())
    this.#plan = loadPlan(result.plan)
  }

  /** Follows the stream; nothing is evaluated until `copy`. */
  async open(): Promise<void> {
    const { url, slot } = this.#options
    const source = await prepareSource(this.sql, { slot, tables: this.#plan.tables })
    this.#sources = this.#tables.use(
      source.tables,
      () => false,
      () => true,
    )
    const byOid = new Map(this.#sources.map((table) => [table.catalog.oid, table]))
    const intake = new Intake(
      byOid,
      PREFIX,
      { position: null, partial: null },
      {
        sliceChanges: 2_000,
        newBatch: () => this.#newBatch(),
        store: ({ batch, incomplete }) => this.#store(batch, incomplete),
        hasImages: (table) => this.#tables.hasImages(table),
        keys: (table, after, limit) => this.#rows.keys(table.number, after, limit),
        marker: (content) => this.#marker(content),
        deliver: () => {},
        room: () => true,
        hasIncomplete: () => this.#tables.hasIncomplete,
        isIncomplete: (table, key) => this.#tables.isIncomplete(table.number, key),
        unexpected: (oid) => (this.#failure ??= new Error(`table ${oid} is not as it was`)),
      },
    )
    this.#intake = intake
    const streaming = connectSource(url, { replication: true, max: 1 })
    this.#replication = await openReplication(
      streaming,
      { slot, publication: source.publication, walSenderTimeoutMs: source.walSenderTimeoutMs },
      { message: (message, bytes) => this.#guard(() => intake.message(message, bytes)), keepalive: () => {} },
    )
  }

  /** From now on the sync config sees the stream; resolves when what was there before is copied. */
  async copy(): Promise<void> {
    this.#intake?.flush()
    this.#evaluating = this.#plan
    await this.#read()
  }

  /** Resolves when everything committed so far is applied; later rows that lack values are completed. */
  async settle(): Promise<void> {
    for (;;) {
      const id = crypto.randomUUID()
      const passed = new Promise<void>((resolve) => this.#markers.set(id, resolve))
      await emitMarker(this.sql, PREFIX, JSON.stringify({ mark: id }))
      await passed
      this.#intake?.flush()
      if (this.#failure !== null) throw this.#failure
      if (!this.#tables.hasIncomplete) return
      await this.#read()
    }
  }

  /** Data of the objects of a type. */
  objects(type: string): { id: string; data: string }[] {
    return [...this.#objects].flatMap(([name, object]) => (name.startsWith(`${type} `) ? [object] : []))
  }

  /** Rows of a table without a key, as row state counts them. */
  copies(name: string): number {
    const table = this.#sources.find((each) => each.name === name)
    if (!table) throw new Error(`${name} is not followed`)
    const states = this.#rows.all(table.number, this.#rows.keys(table.number, '', 1_000_000), name)
    return [...states.values()].reduce((sum, { copies = 1 }) => sum + copies, 0)
  }

  async close(): Promise<void> {
    await this.#replication?.close()
    await this.sql.end({ timeout: 1 })
  }

  async #read(): Promise<void> {
    const intake = this.#intake
    if (!intake) throw new Error('not open')
    const copying = this.#tables.copying
    const reader = new Reader({
      intake,
      sql: this.sql,
      tables: this.#sources,
      mark: (mark) => emitMarker(this.sql, PREFIX, JSON.stringify({ mark })),
      copyState: (table) => this.#tables.copyState(table),
      progress: (table, copy) => {
        this.reads++
        this.#tables.progress(table, copy)
      },
      incomplete: (limit) => {
        const rows = this.#tables.incomplete(limit)
        if (rows) this.completions++
        return rows
      },
      retired: () => null,
      successor: () => null,
      forget: () => {},
      keys: (table, after, limit) => this.#rows.keys(table.number, after, limit),
      range: (table, from, to, limit) => this.#rows.range(table.number, from, to, limit),
      room: async () => {},
      pause: (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.min(milliseconds, 60_000))),
      waitsFor: () => {},
      over: () => this.#failure !== null || (copying && !this.#tables.copying),
      chunk: this.#options.chunk,
      barrier: this.#options.barrier ?? waitForEarlier,
    })
    this.#reader = reader
    await reader.run()
    if (this.#failure !== null) throw this.#failure
  }

  #newBatch(): Batch {
    return new Batch(this.#counter, {
      evaluate: (table, row) =>
        this.#evaluating ? evaluateNames(this.#evaluating, table.names ?? [table], row) : { rows: [], errors: [] },
      states: ({ number, name }, keys) => this.#rows.all(number, keys, name),
      number: (bucket, definition) => this.#buckets.number(bucket, definition),
      skipped: (table, key, reason) => (this.#failure ??= new Error(`${table.name} ${key}: ${reason}`)),
    })
  }

  #store(batch: Batch, incomplete: ReadonlyMap<string, { table: SourceTable; key: string; pending: boolean }>): void {
    this.#db.transaction(() => {
      this.#rows.put(batch.rows.values())
      this.#buckets.save()
      for (const { table, key, pending } of incomplete.values()) this.#tables.setIncomplete(table.number, key, pending)
    })
    this.#counter = batch.counter
    for (const [bucket, append] of batch.appends) {
      for (const text of append.texts) {
        const op: WireOp = JSON.parse(text)
        if (op.op !== 'PUT' && op.op !== 'REMOVE') throw new Error(`a batch made a ${op.op}`)
        const name = `${op.object_type} ${JSON.stringify([bucket, op.object_id, op.subkey])}`
        if (op.op === 'PUT') this.#objects.set(name, { id: op.object_id, data: op.data })
        else this.#objects.delete(name)
      }
    }
  }

  *#marker(content: string): Generator<undefined, void> {
    const { mark } = JSON.parse(content) as { mark: string }
    this.#markers.get(mark)?.()
    if (!this.#markers.delete(mark) && this.#reader) yield* this.#reader.marker(mark)
  }

  #guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#failure ??= error
    }
  }
}
