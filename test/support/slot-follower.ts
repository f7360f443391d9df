import { Batch, type BatchPorts } from '../../durable-objects/replicator/ingest/batch.ts'
import { Intake } from '../../durable-objects/replicator/ingest/intake.ts'
import type { FollowedTable } from '../../durable-objects/replicator/ingest/followed-table.ts'
import type { RowState } from '../../durable-objects/replicator/store/row-state.ts'
import { parseLsn, type PgoutputMessage } from '../../sources/postgres/index.ts'
import { postgresKind } from '../../sources/postgres/postgres-source.ts'
import type { PostgresPlace, PostgresPosition } from '../../sources/postgres/stream/positions.ts'
import type { Call, SourceConnection, SourceIdentity } from '../../sources/source.ts'

const SETTINGS = { ownPublication: 'rockpool', publicationColumns: 'all', walPolicy: 'keep', walKeepGb: 10 } as const
const call = (): Call => ({ signal: new AbortController().signal, deadlineMs: 60_000 })

export interface SessionOptions {
  /** Ends the session, like a broken socket, after this many messages of new transactions. */
  cutAfter?: number
  /** Called for every message, including skipped ones. */
  see?(message: PgoutputMessage): void
}

/** How each message is processed. */
interface Taking {
  around(message: PgoutputMessage, take: () => void): void
}

/** How a session ended: at its own marker, at a cut, or because the slot does not connect to what was stored. */
export type SessionEnd = { end: 'caught-up' | 'cut' } | { end: 'changed'; why: string }

/**
 * Follows a slot as the replicator does, with memory in place of its storage: the same preparation, the same intake,
 * storing and acknowledging in the same order. It records every row change, which shows changes that are lost or
 * repeated.
 */
export class Follower {
  readonly #url: string
  readonly #slot: string
  readonly #tables: readonly string[]
  readonly #states = new Map<string, RowState>()
  #counter = 0
  known: SourceIdentity | null = null
  position: PostgresPosition | null = null
  partial: PostgresPlace | null = null
  /** The evaluated rows of the stored batches in order, as JSON. */
  readonly stored: string[] = []
  /** The acknowledged commit LSNs. */
  readonly acknowledged: bigint[] = []

  constructor(url: string, slot: string, tables: readonly string[]) {
    this.#url = url
    this.#slot = slot
    this.#tables = tables
  }

  /** Runs a session until its own marker has arrived, or the cut. */
  async session(options: SessionOptions = {}): Promise<SessionEnd> {
    const taking: Taking = { around: (_, take) => take() }
    const source = this.#connect(taking)
    try {
      return await this.#session(source, options, taking)
    } finally {
      await source.close(1_000)
    }
  }

  /** Starts over with a new slot, as after one that does not connect. (Comparing rows is up to the replicator.) */
  async renew(): Promise<void> {
    const source = this.#connect({ around: (_, take) => take() })
    await source.forget(call())
    await source.close(1_000)
    this.position = null
    this.partial = null
    this.known = null
  }

  #connect(taking: Taking): SourceConnection {
    const kind = postgresKind({ around: (message, take) => taking.around(message, take) })
    const settings = { ...SETTINGS, slot: this.#slot }
    return kind.connect({ url: this.#url, settings, clientName: `rockpool-${this.#slot}`, identity: this.known })
  }

  async #session(source: SourceConnection, { cutAfter, see }: SessionOptions, taking: Taking): Promise<SessionEnd> {
    const at = { position: this.position, place: this.partial }
    const names = this.#tables.map((name) => ({ schema: 'public', name }))
    const columns = () => ({ all: true, read: new Set<string>(), named: new Set<string>() })
    const report = { problem: () => {}, waitsFor: () => {} }
    const prepared = await source.prepare(
      { tables: names, columns, identity: this.known, at, fresh: false },
      report,
      call(),
    )
    this.known = prepared.identity
    if (prepared.resync) return { end: 'changed', why: prepared.resync.reason }
    const over = Promise.withResolvers<SessionEnd>()
    const tables = prepared.tables.map((table, i) => ({
      number: i + 1,
      schema: table.schema,
      name: table.name,
      source: table,
    }))
    const intake = this.#intake(tables, {
      acknowledge: (position) => {
        this.acknowledged.push(parseLsn(position.lsn))
        stream?.acknowledge(position)
      },
      caughtUp: () => over.resolve({ end: 'caught-up' }),
    })
    let left = cutAfter ?? Infinity
    let done = false
    let known = false
    const stored = this.position
    taking.around = (message, take) => {
      if (done) return
      see?.(message)
      try {
        take()
      } catch (error) {
        done = true
        over.resolve({ end: 'changed', why: error instanceof Error ? error.message : String(error) })
        return
      }
      if (message.type === 'begin') known = stored !== null && message.finalLsn <= parseLsn(stored.lsn)
      if (known) return
      if (message.type === 'commit') intake.flush()
      if (--left > 0) return
      done = true
      over.resolve({ end: 'cut' })
    }
    const stream = await prepared.open(at, (event, bytes) => intake.event(event, bytes), call())
    if (cutAfter === undefined) await source.mark('caught up', call())
    const end = await Promise.race([over.promise, stream.ended.then(() => over.promise)])
    done = true
    await stream.close()
    return end
  }

  #intake(tables: FollowedTable[], to: { acknowledge(position: PostgresPosition): void; caughtUp(): void }): Intake {
    const evaluated: string[] = []
    const sources: BatchPorts = {
      evaluate: (table, row) => {
        const data = JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))
        evaluated.push(`${table.name} ${data}`)
        return {
          rows: [{ bucket: 'all', definition: 'd', objectType: table.name, objectId: String(row.id), data }],
          errors: [],
        }
      },
      states: ({ number }, keys) =>
        new Map(
          keys.flatMap((key) => {
            const state = this.#states.get(`${number} ${key}`)
            return state ? [[key, state]] : []
          }),
        ),
      number: () => 1,
      skipped: () => {},
    }
    return new Intake(
      tables,
      { position: this.position, place: this.partial },
      {
        sliceChanges: 2_000,
        newBatch: () => new Batch(this.#counter, sources),
        store: ({ batch, position, place }) => {
          for (const { table, states } of batch.rows.values()) {
            for (const [key, state] of states) {
              if (state) this.#states.set(`${table.number} ${key}`, state)
              else this.#states.delete(`${table.number} ${key}`)
            }
          }
          this.#counter = batch.counter
          this.stored.push(...evaluated.splice(0))
          this.position = position as PostgresPosition | null
          this.partial = place as PostgresPlace | null
          if (this.position) to.acknowledge(this.position)
        },
        keys: () => [],
        hasImages: () => true,
        room: () => true,
        deliver: () => {},
        marker: (content) => {
          if (content === 'caught up') to.caughtUp()
          return []
        },
        hasIncomplete: () => false,
        isIncomplete: () => false,
        unexpected: () => {},
      },
    )
  }
}
