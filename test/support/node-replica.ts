import { Batch } from '../../durable-objects/replicator/ingest/batch.ts'
import { Buckets } from '../../durable-objects/replicator/store/buckets.ts'
import { Intake } from '../../durable-objects/replicator/ingest/intake.ts'
import type { FollowedTable } from '../../durable-objects/replicator/ingest/followed-table.ts'
import { evaluateNames } from '../../sync-config/evaluate/names.ts'
import { Copier, type CopierPorts } from '../../durable-objects/replicator/copy/copier.ts'
import type { CopyWork } from '../../durable-objects/replicator/copy/copy-work.ts'
import { storeRows } from '../../durable-objects/replicator/copy/store-rows.ts'
import { RowStates } from '../../durable-objects/replicator/store/row-state.ts'
import { MIGRATIONS } from '../../durable-objects/replicator/store/storage.ts'
import { Tables } from '../../durable-objects/replicator/store/tables.ts'
import { migrate } from '../../durable-objects/shared/database.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import type {
  Call,
  ReadBudget,
  SourceConnection,
  SourceIdentity,
  SourceStream,
  StreamedTo,
} from '../../sources/source.ts'
import type { StateForm } from '../../sources/stored.ts'
import type { WireOp } from '../../protocol/ops.ts'
import { compile, loadPlan } from '../../sync-config/index.ts'
import type { LoadedPlan, RowProgram } from '../../sync-config/types.ts'

export interface ReplicaOptions {
  kind: StateForm
  /** Opens a connection for each session. */
  connect(identity: SourceIdentity | null): SourceConnection
  syncConfig: string
  budget: ReadBudget
  /** The number of changes in a slice. */
  sliceChanges?: number
}

const NOWHERE: StreamedTo = { position: null, place: null }
const call = (): Call => ({ signal: new AbortController().signal, deadlineMs: 300_000 })

/**
 * The replicator's own intake, copier, row state and tables in Node, over any kind of source, with the ops of all
 * buckets applied in memory. It is for tests that must choose when a copy begins, how small its chunks are, and where a
 * session ends.
 */
export class NodeReplica {
  readonly #options: ReplicaOptions
  readonly #db = testDatabase()
  readonly #rows: RowStates
  readonly #buckets: Buckets
  readonly #tables: Tables
  readonly #plan: LoadedPlan
  /** Data by bucket, object and subkey. */
  readonly #objects = new Map<string, { id: string; data: string }>()
  readonly #markers = new Map<string, () => void>()
  #evaluating: RowProgram | null = null
  #counter = 0
  #intake: Intake | null = null
  #copier: Copier | null = null
  #source: SourceConnection | null = null
  #stream: SourceStream | null = null
  #identity: SourceIdentity | null = null
  /** How far the stream is stored. */
  #at = NOWHERE
  #failure: unknown = null
  #failed = Promise.withResolvers<never>()
  #sources: FollowedTable[] = []
  /** The number of chunks and keys that were read, and of repeated reads. */
  reads = 0
  completions = 0

  constructor(options: ReplicaOptions) {
    this.#options = options
    migrate(this.#db, MIGRATIONS)
    this.#rows = new RowStates(this.#db)
    this.#buckets = new Buckets(this.#db)
    this.#tables = new Tables(this.#db)
    const result = compile(options.syncConfig)
    if (!result.ok) throw new Error(result.errors.map((error) => error.message).join())
    this.#plan = loadPlan(result.plan)
  }

  /** Follows the stream. Nothing is evaluated until `copy`. */
  async open(): Promise<void> {
    this.#failure = null
    this.#failed = Promise.withResolvers()
    this.#failed.promise.catch(() => {})
    const source = this.#options.connect(this.#identity)
    this.#source = source
    const columns = () => ({ all: true, read: new Set<string>(), named: new Set<string>() })
    const report = { problem: () => {}, waitsFor: () => {} }
    const wanted = { tables: this.#plan.tables, columns, identity: this.#identity, at: this.#at, fresh: false }
    const prepared = await source.prepare(wanted, report, call())
    if (prepared.resync) throw new Error(prepared.resync.reason)
    this.#identity = prepared.identity
    this.#sources = this.#tables.use(
      prepared.tables,
      () => false,
      () => true,
    )
    const intake = new Intake(this.#sources, this.#at, {
      sliceChanges: this.#options.sliceChanges ?? 2_000,
      newBatch: () => this.#newBatch(),
      store: ({ batch, incomplete, position, place }) => {
        this.#store(batch, incomplete)
        this.#at = { position, place }
        if (position) this.#stream?.acknowledge(position)
      },
      hasImages: (table) => this.#tables.hasImages(table),
      keys: (table, after, limit) => this.#rows.keys(table.number, after, limit),
      marker: (content) => this.#marker(content),
      deliver: () => {},
      room: () => true,
      hasIncomplete: () => this.#tables.hasIncomplete,
      isIncomplete: (table, key) => this.#tables.isIncomplete(table.number, key),
      unexpected: (table) => this.#fail(new Error(`table ${table?.name ?? '?'} is not as it was`)),
    })
    this.#intake = intake
    this.#stream = await prepared.open(
      this.#at,
      (event, bytes) => this.#guard(() => intake.event(event, bytes)),
      call(),
    )
    this.#stream.ended.catch((error: unknown) => this.#fail(error))
  }

  /** Lets the sync config see the stream from now on. Resolves when the existing rows are copied. */
  async copy(): Promise<void> {
    this.#intake?.flush()
    this.#evaluating = this.#plan
    await this.#read()
  }

  /** Resolves when everything committed so far is applied, and rows that lack values are complete. */
  async settle(): Promise<void> {
    for (;;) {
      const id = crypto.randomUUID()
      const passed = new Promise<void>((resolve) => this.#markers.set(id, resolve))
      await this.#open.mark(JSON.stringify({ mark: id }), call())
      await Promise.race([passed, this.#failed.promise])
      this.#intake?.flush()
      if (this.#failure !== null) throw this.#failure
      if (!this.#tables.hasIncomplete) return
      await this.#read()
    }
  }

  /** Returns the data of the objects of a type. */
  objects(type: string): { id: string; data: string }[] {
    return [...this.#objects].flatMap(([name, object]) => (name.startsWith(`${type} `) ? [object] : []))
  }

  /** Returns the number of rows of a table without a key, as row state counts them. */
  copies(name: string): number {
    const table = this.#sources.find((each) => each.name === name)
    if (!table) throw new Error(`${name} is not followed`)
    const states = this.#rows.all(table.number, this.#rows.keys(table.number, '', 1_000_000), name)
    return [...states.values()].reduce((sum, { copies = 1 }) => sum + copies, 0)
  }

  async close(): Promise<void> {
    await this.#stream?.close()
    await this.#source?.close(1_000)
  }

  async #read(): Promise<void> {
    const intake = this.#intake
    if (!intake) throw new Error('not open')
    const copying = this.#tables.copying
    const ports: CopierPorts = {
      intake,
      source: this.#open.reader,
      form: this.#options.kind,
      call,
      mark: (mark) => this.#open.mark(JSON.stringify({ mark }), call()),
      keys: (table, after, limit) => this.#rows.keys(table.number, after, limit),
      range: (table, from, to, limit) => this.#rows.range(table.number, from, to, limit),
      room: async () => {},
      pause: (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.min(milliseconds, 60_000))),
      waitsFor: () => {},
      care: null,
      budget: this.#options.budget,
    }
    const work: CopyWork = {
      tables: this.#sources,
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
      removeRetired: () => Promise.resolve('none'),
      isOver: () => this.#failure !== null || (copying && !this.#tables.copying),
    }
    const copier = new Copier(ports, work, storeRows({ notes: () => false }))
    this.#copier = copier
    await copier.run().finally(() => (this.#copier = null))
    if (this.#failure !== null) throw this.#failure
  }

  #newBatch(): Batch {
    return new Batch(this.#counter, {
      evaluate: (table, row) =>
        this.#evaluating ? evaluateNames(this.#evaluating, table.names ?? [table], row) : { rows: [], errors: [] },
      states: ({ number, name }, keys) => this.#rows.all(number, keys, name),
      number: (bucket, definition) => this.#buckets.number(bucket, definition),
      skipped: (table, key, reason) => this.#fail(new Error(`${table.name} ${key}: ${reason}`)),
    })
  }

  #store(batch: Batch, incomplete: ReadonlyMap<string, { table: FollowedTable; key: string; pending: boolean }>): void {
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
    if (!this.#markers.delete(mark) && this.#copier) yield* this.#copier.marker(mark)
  }

  #guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  /** Ends the session, and rejects everything that waits. */
  #fail(error: unknown): void {
    this.#failure ??= error
    this.#failed.reject(error)
    this.#copier?.end(error)
  }

  get #open(): SourceConnection {
    if (!this.#source) throw new Error('not open')
    return this.#source
  }
}
