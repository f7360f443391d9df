import type { Sql } from 'postgres'
import { Batch, type BatchPorts } from '../../durable-objects/replicator/ingest/batch.ts'
import { Intake } from '../../durable-objects/replicator/ingest/intake.ts'
import type { SourceTable } from '../../durable-objects/replicator/ingest/source-table.ts'
import { disconnected } from '../../durable-objects/replicator/session/position.ts'
import type { RowState } from '../../durable-objects/replicator/store/row-state.ts'
import type { PartialTransaction, Position, State } from '../../durable-objects/replicator/store/storage.ts'
import {
  connectSource,
  dropSlot,
  emitMarker,
  openReplication,
  parseLsn,
  prepareSource,
  type PgoutputMessage,
} from '../../sources/postgres/index.ts'

const PREFIX = 'rockpool:follower'

export interface SessionOptions {
  /** Ends the session, as a socket does that breaks, after so many messages of transactions that were not taken in before. */
  cutAfter?: number
  /** Every message as it comes, the ones that are skipped too. */
  see?(message: PgoutputMessage): void
}

/** What a session came to: its own marker, a cut, or what the slot tells not connecting to what it told. */
export type SessionEnd = { end: 'caught-up' | 'cut' } | { end: 'changed'; why: string }

/**
 * The replicator's way of following a slot, with a memory in place of its storage: the same preparation, the same intake, stored and acknowledged in the same
 * order. Every row change that it takes in is noted, so that a change that is lost or taken in twice shows.
 */
export class Follower {
  readonly #url: string
  readonly #slot: string
  readonly #tables: readonly string[]
  readonly #states = new Map<string, RowState>()
  #counter = 0
  known: State['source'] = null
  position: Position | null = null
  partial: PartialTransaction | null = null
  /** What was evaluated, in order: each row of each stored batch, as JSON. */
  readonly stored: string[] = []
  /** Commit LSNs acknowledged. */
  readonly acknowledged: bigint[] = []

  constructor(url: string, slot: string, tables: readonly string[]) {
    this.#url = url
    this.#slot = slot
    this.#tables = tables
  }

  /** Until the session's own marker has come, or the cut. */
  async session(options: SessionOptions = {}): Promise<SessionEnd> {
    const sql = connectSource(this.#url, { applicationName: `rockpool-${this.#slot}` })
    const streaming = connectSource(this.#url, { replication: true, applicationName: `rockpool-${this.#slot}` })
    try {
      return await this.#session(sql, streaming, options)
    } finally {
      await Promise.all([sql.end({ timeout: 1 }), streaming.end({ timeout: 0 })])
    }
  }

  /** As after a slot that cannot be connected to: a new one, and nothing known. (The comparison of rows is the replicator's.) */
  async renew(): Promise<void> {
    const sql = connectSource(this.#url, { applicationName: `rockpool-${this.#slot}` })
    await dropSlot(sql, this.#slot)
    await sql.end({ timeout: 1 })
    this.position = null
    this.partial = null
    this.known = null
  }

  async #session(sql: Sql, streaming: Sql, { cutAfter, see }: SessionOptions): Promise<SessionEnd> {
    const names = this.#tables.map((name) => ({ schema: 'public', name }))
    const source = await prepareSource(sql, { slot: this.#slot, tables: names })
    const problem = disconnected(this.known, this.position, source)
    this.known = { systemIdentifier: source.identity.systemIdentifier, database: source.identity.database }
    if (problem) return { end: 'changed', why: problem.reason }
    const over = Promise.withResolvers<SessionEnd>()
    const intake = this.#intake(
      source.tables.map((catalog, i) => ({ number: i + 1, schema: catalog.schema, name: catalog.name, catalog })),
      {
        acknowledge: (position) => {
          this.acknowledged.push(parseLsn(position.lsn))
          replication?.acknowledge(parseLsn(position.lsn))
        },
        caughtUp: () => over.resolve({ end: 'caught-up' }),
      },
    )
    let left = cutAfter ?? Infinity
    let done = false
    let known = false
    const stored = this.position
    const options = { slot: this.#slot, publication: source.publication, walSenderTimeoutMs: source.walSenderTimeoutMs }
    const replication = await openReplication(streaming, options, {
      message: (message, bytes) => {
        if (done) return
        see?.(message)
        try {
          intake.message(message, bytes)
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
      },
      keepalive: () => {},
    })
    if (cutAfter === undefined) await emitMarker(sql, PREFIX, 'caught up')
    const end = await Promise.race([over.promise, replication.ended.then(() => over.promise)])
    done = true
    await replication.close()
    return end
  }

  #intake(tables: SourceTable[], to: { acknowledge(position: Position): void; caughtUp(): void }): Intake {
    const evaluated: string[] = []
    const sources: BatchPorts = {
      evaluate: (table, row) => {
        const data = JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))
        evaluated.push(`${table.name} ${data}`)
        return { rows: [{ bucket: 'all', definition: 'd', objectType: table.name, objectId: String(row.id), data }], errors: [] }
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
    const byOid = new Map(tables.map((table) => [table.catalog.oid, table]))
    return new Intake(
      byOid,
      PREFIX,
      { position: this.position, partial: this.partial },
      {
        sliceChanges: 2_000,
        newBatch: () => new Batch(this.#counter, sources),
        store: ({ batch, position, partial }) => {
          for (const { table, states } of batch.rows.values()) {
            for (const [key, state] of states) {
              if (state) this.#states.set(`${table.number} ${key}`, state)
              else this.#states.delete(`${table.number} ${key}`)
            }
          }
          this.#counter = batch.counter
          this.stored.push(...evaluated.splice(0))
          this.position = position
          this.partial = partial
          if (position) to.acknowledge(position)
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
