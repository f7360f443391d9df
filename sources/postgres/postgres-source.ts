import type { TableName } from '../../protocol/tables.ts'
import { inTime } from '../in-time.ts'
import type {
  Call,
  ConnectOptions,
  HealthState,
  Prepared,
  PrepareWanted,
  ReadColumns,
  SourceConnection,
  SourceEvent,
  SourceFacts,
  SourceHealth,
  SourceKind,
  SourceReport,
  SourceSchema,
  SourceStream,
  StreamedTo,
  UnfollowableTable,
} from '../source.ts'
import { catalogVersion } from './catalog/catalog-watch.ts'
import { estimateRows, readSchema, unfollowable } from './catalog/deploy-check.ts'
import { PostgresReader, type PostgresReaderPorts } from './copy/table-reader.ts'
import { slotHealth } from './health.ts'
import { identifyDatabase } from './identify.ts'
import { lookAtSource, problemOf } from './look.ts'
import { PostgresTable } from './postgres-table.ts'
import { prepareSource, type PreparedSource } from './prepare-source.ts'
import type { PostgresSettings } from './settings.ts'
import { confirmedAtRest, untilConfirmed } from './stream/confirmed.ts'
import { disconnected, postgresIdentity, type PostgresIdentity } from './stream/continuity.ts'
import { DescribedTables } from './stream/described-tables.ts'
import { emitMarker } from './stream/marker.ts'
import { openReplication } from './stream/replication.ts'
import { dropSlot, measureSlot } from './stream/slot.ts'
import { sourceStream } from './stream/source-stream.ts'
import { confirmedBy, postgresStreamedTo, type PostgresPosition } from './stream/positions.ts'
import { Transactions } from './stream/transactions.ts'
import type { Lsn, PgoutputMessage } from './types.ts'
import { checkConnections } from './wire/check-connections.ts'
import { connectSource, sourceError, type OpenSocket } from './wire/connection.ts'
import { parseSourceUrl, TLS_REQUIRED_FROM } from './wire/source-url.ts'

export interface PostgresKindOptions extends Pick<PostgresReaderPorts, 'spans' | 'barrier'> {
  /** `openSocket` in workerd; absent in Node. */
  socket?: OpenSocket
  /** For tests: called with every message of the stream, and with the function that processes it. */
  around?: (message: PgoutputMessage, take: () => void) => void
}

/** Postgres 14 and newer, by logical replication. */
export function postgresKind(options: PostgresKindOptions = {}): SourceKind<PostgresSettings> {
  return {
    name: 'postgres',
    version: 1,
    schemes: ['postgres', 'postgresql'],
    connect: (to) => new PostgresConnection(to, options),
    address(url, identity) {
      try {
        const { hosts, database } = parseSourceUrl(url, { earlierTls: isEarlierTls(postgresIdentity(identity)) })
        return { host: hosts.map((each) => `${each.host}:${each.port}`).join(','), database }
      } catch {
        return null
      }
    },
    show(position) {
      const { lsn, time } = position as PostgresPosition
      return { text: lsn, time }
    },
  }
}

/**
 * Returns true for a deployment that an earlier version connected, and that has not yet been reached as a new
 * deployment must be.
 */
const isEarlierTls = (identity: PostgresIdentity | null): boolean => identity !== null && identity.tls === undefined

/** Postgres behind the port. The file is long because it has every call of it. */
class PostgresConnection implements SourceConnection {
  readonly reader: PostgresReader
  readonly foreignMark: string
  readonly #options: ConnectOptions<PostgresSettings>
  readonly #kind: PostgresKindOptions
  readonly #sql
  readonly #streaming
  readonly #earlierTls: boolean
  /** Our messages in the WAL carry the slot's name, because several Rockpools may follow one database. */
  readonly #prefix: string
  /** True when the certificate of the last connection was verified. */
  #verified = false
  /** True when this connection created the slot. */
  #madeSlot = false
  /** True when this connection has reported the problems of settings. */
  #warned = false

  constructor(options: ConnectOptions<PostgresSettings>, kind: PostgresKindOptions) {
    this.#options = options
    this.#kind = kind
    const { url, settings, clientName } = options
    this.#earlierTls = isEarlierTls(postgresIdentity(options.identity))
    this.#prefix = `rockpool:${settings.slot}`
    this.foreignMark = `a message under our prefix ${JSON.stringify(this.#prefix)} is not ours and was ignored: a role of the database wrote it. REVOKE EXECUTE on pg_logical_emit_message FROM PUBLIC: docs/deploy.md has the statements`
    const connection = {
      ca: settings.databaseCa,
      applicationName: clientName,
      earlierTls: this.#earlierTls,
      opened: (verified: boolean) => (this.#verified = verified),
      ...(kind.socket && { socket: kind.socket }),
    }
    this.#sql = connectSource(url, { ...connection, max: 2 })
    this.#streaming = connectSource(url, { ...connection, replication: true, max: 1 })
    this.reader = new PostgresReader({ ...kind, sql: this.#sql, inTime: (call, work) => this.#inTime(call, work) })
  }

  async check(call: Call): Promise<void> {
    await this.#inTime(call, () => checkConnections(this.#sql, this.#streaming))
  }

  async schema(call: Call): Promise<SourceSchema> {
    return this.#inTime(call, () => readSchema(this.#sql))
  }

  async examine(tables: readonly TableName[], columns: ReadColumns, call: Call): Promise<UnfollowableTable[]> {
    const { publication, ownPublication } = this.#options.settings
    return this.#inTime(call, () => unfollowable(this.#sql, tables, publication, ownPublication, columns))
  }

  async estimate(tables: readonly TableName[], call: Call): Promise<{ table: string; rows: number }[]> {
    return this.#inTime(call, () => estimateRows(this.#sql, tables))
  }

  async look(call: Call): Promise<SourceFacts> {
    const { settings } = this.#options
    const facts = await this.#inTime(call, () => lookAtSource(this.#sql, settings.slot))
    const { serverVersion, slot } = facts
    return {
      version: `${Math.floor(serverVersion / 10_000)}.${serverVersion % 10_000}`,
      health: (before) => slotHealth(slot?.measure ?? null, before, settings, new Date()),
      problem: (identity, at, settled) =>
        problemOf(settings.slot, facts, {
          identity: postgresIdentity(identity),
          position: postgresStreamedTo(at).position,
          settled,
        }),
    }
  }

  async prepare(wanted: PrepareWanted, report: SourceReport, call: Call): Promise<Prepared> {
    return this.#inTime(call, async (others) => {
      const { slot } = this.#options.settings
      if (wanted.fresh && !this.#madeSlot) await dropSlot(this.#sql, slot)
      const source = await prepareSource(this.#sql, this.#prepareOptions(wanted, report, others))
      if (source.slot.created) this.#madeSlot = true
      if (!this.#warned) this.#warn(source, report)
      this.#warned = true
      const { position } = postgresStreamedTo(wanted.at)
      const problem = wanted.fresh ? null : disconnected(postgresIdentity(wanted.identity), position, source)
      const { systemIdentifier, database } = source.identity
      const tls = this.#settledTls(report)
      const identity: PostgresIdentity = { systemIdentifier, database, ...(tls && { tls }) }
      const tables = source.tables.map((catalog) => new PostgresTable(catalog))
      const lost = problem?.slotLost
        ? ({ code: 'ROCKPOOL_SLOT_LOST', reason: `${slot}: ${problem.reason}` } as const)
        : null
      return {
        identity,
        resync: problem && { reason: problem.reason, lost },
        tables,
        refused: source.refusedTables,
        isNew: source.slot.created,
        expiresMs: source.slotTimeoutMs,
        isCurrent: async (each) => (await this.#version(source, wanted.tables, each)) === source.catalogVersion,
        open: (at, sink, each) => this.#open(source, tables, at, sink, report, each),
      }
    })
  }

  #prepareOptions({ tables, columns }: PrepareWanted, report: SourceReport, others: (wait: boolean) => void) {
    const { slot, publication, ownPublication, publicationColumns } = this.#options.settings
    return {
      slot,
      ownPublication,
      tables,
      columns,
      slotWaits: (waiting: boolean) => {
        others(waiting)
        report.waitsFor(waiting ? 'transactions that were open when the slot was made' : null)
      },
      nameColumns: publicationColumns === 'read',
      ...(publication === undefined ? {} : { publication }),
    }
  }

  #version({ publication }: PreparedSource, tables: readonly TableName[], call: Call): Promise<string> {
    return this.#inTime(call, () => catalogVersion(this.#sql, publication, tables))
  }

  async #open(
    source: PreparedSource,
    tables: readonly PostgresTable[],
    at: StreamedTo,
    sink: (event: SourceEvent, bytes: number) => void,
    report: SourceReport,
    call: Call,
  ): Promise<SourceStream> {
    const { slot } = this.#options.settings
    const { around = (_, take) => take() } = this.#kind
    const stored = postgresStreamedTo(at)
    const repeated = Promise.withResolvers<PostgresPosition>()
    const reading = {
      prefix: this.#prefix,
      reference: () => source.xmax,
      confirmed: await this.#confirmed(source, stored.position, call),
      repeated: (position: PostgresPosition) => repeated.resolve(position),
    }
    const transactions = new Transactions(new DescribedTables(tables), stored, reading, sink)
    const options = {
      slot,
      publication: source.publication,
      walSenderTimeoutMs: source.walSenderTimeoutMs,
      ...(source.slot.failover === false && {
        markForFailover: { refused: (why: string) => this.#unmarked(why, report) },
      }),
      freed: ({ pid }: { pid: number }) =>
        report.problem({
          code: 'ROCKPOOL_SLOT_FREED',
          reason: `an earlier session held the slot ${slot} (pid ${pid}); it was ended`,
        }),
    }
    const replication = await this.#inTime(call, () =>
      openReplication(this.#streaming, options, {
        message: (message, bytes) => around(message, () => transactions.message(message, bytes)),
        keepalive: () => {},
      }),
    )
    return sourceStream(replication, {
      confirmed: reading.confirmed,
      heard: (lsn) => untilConfirmed(this.#sql, slot, lsn),
      repeated: repeated.promise,
    })
  }

  /**
   * What the slot has confirmed. An earlier session of ours may only just have said that it is beyond a transaction.
   */
  async #confirmed({ slot: found }: PreparedSource, position: PostgresPosition | null, call: Call): Promise<Lsn> {
    if (!position?.beyond || found.confirmedFlush === confirmedBy(position)) return found.confirmedFlush
    return this.#inTime(call, () => confirmedAtRest(this.#sql, this.#options.settings.slot))
  }

  async mark(text: string, call: Call): Promise<void> {
    await this.#inTime(call, () => emitMarker(this.#sql, this.#prefix, text))
  }

  async health(before: HealthState | null, call: Call): Promise<SourceHealth | null> {
    const { settings } = this.#options
    const measure = await this.#inTime(call, () => measureSlot(this.#sql, settings.slot))
    return slotHealth(measure, before, settings, new Date())
  }

  async identify(call: Call): ReturnType<typeof identifyDatabase> {
    return this.#inTime(call, () => identifyDatabase(this.#sql))
  }

  async leave(call: Call): Promise<void> {
    await this.forget(call)
    const { publication, ownPublication } = this.#options.settings
    // Nothing says who made a publication of another name. One that nobody uses costs nothing, other than a slot.
    if (publication === undefined && OUR_NAME.test(ownPublication))
      await this.#inTime(call, () => this.#sql.unsafe(`DROP PUBLICATION IF EXISTS "${ownPublication}"`))
  }

  async forget(call: Call): Promise<void> {
    await this.#inTime(call, () => dropSlot(this.#sql, this.#options.settings.slot))
  }

  async close(withinMs: number): Promise<void> {
    const timeout = withinMs / 1_000
    await Promise.allSettled([this.#sql.end({ timeout }), this.#streaming.end({ timeout })])
  }

  async #inTime<T>(call: Call, work: (others: (wait: boolean) => void) => Promise<T>): Promise<T> {
    try {
      return await inTime('Postgres', call, () => void this.close(0), work)
    } catch (error) {
      throw sourceError(error)
    }
  }

  #warn({ slotTimeoutMs, publication, unread }: PreparedSource, report: SourceReport): void {
    if (unread.length > 0) {
      const names = unread.slice(0, SHOWN_TABLES).join(', ')
      const reason = `the publication ${publication} sends ${unread.length} tables that the sync config does not read: ${names}${unread.length > SHOWN_TABLES ? ' …' : ''}`
      report.problem({ code: 'ROCKPOOL_PUBLICATION', reason })
    }
    if (slotTimeoutMs === 0) return
    const reason = `idle_replication_slot_timeout is ${slotTimeoutMs / 1_000} s: Postgres invalidates a slot that nobody has read for that long, and then everything is compared again. Polls are at most half of that apart; set it to 0 if they may be missed`
    report.problem({ code: 'ROCKPOOL_SLOT_TIMEOUT', reason })
  }

  #unmarked(why: string, report: SourceReport): void {
    const { slot } = this.#options.settings
    const reason = `the slot ${slot} cannot be marked for failover (${why}): when a standby becomes the primary, everything is compared again`
    report.problem({ code: 'ROCKPOOL_SLOT_FAILOVER', reason })
  }

  /**
   * Returns undefined, and reports a problem, when the database is reached in a way that only a deployment of an
   * earlier version may use.
   */
  #settledTls(report: SourceReport): true | undefined {
    const { earlier } = parseSourceUrl(this.#options.url, { earlierTls: this.#earlierTls })
    // A URL that says nothing of TLS means verified TLS in this version, and that has just worked.
    if (earlier === null || (earlier.said === null && this.#verified)) return true
    const how = this.#verified ? 'over TLS that no setting requires' : 'without TLS'
    const reason = `DATABASE_URL: the database is reached ${how}, and from release ${TLS_REQUIRED_FROM} on it is not: ${earlier.advice}`
    report.problem({ code: 'ROCKPOOL_TLS_NOT_DEMANDED', reason })
    return undefined
  }
}

/** How many names a problem shows. */
const SHOWN_TABLES = 5
/** Names that Rockpool chooses. */
const OUR_NAME = /^rockpool[a-z0-9_]*$/
