import type { SourceKind } from '../../sources/source.ts'
import type { DiagnosticsStatus } from '../../protocol/diagnostics.ts'
import type { ReplicatorState, ReplicatorStatus, SlotStatus, SourceSettings, SourceStatus } from '../../protocol/messages/status.ts'
import type { ReplicationSettings } from '../../tenants/replication.ts'
import { keptIdentity, streamedTo } from './session/kept-state.ts'
import { refusedTables } from './session/refused-tables.ts'
import type { SessionStatus } from './session/session-parts.ts'
import type { Looked } from './session/source-look.ts'
import type { State } from './store/storage.ts'
import type { Store } from './store/store.ts'
import type { Wired } from './wiring.ts'

/** What the parts say of themselves, and what the object knows beside them. */
export interface StatusPorts {
  tenant: string
  kind: SourceKind<ReplicationSettings>
  /** Its settings, and the URL of the database, a secret; null when a setting is wrong. */
  source: { settings: ReplicationSettings; url: string } | null
  parts: Pick<Wired, 'store' | 'committer' | 'fencing' | 'relays' | 'appends' | 'health' | 'rowsWritten'>
  /** Somebody is connected. */
  live: boolean
  session: SessionStatus | null
  /** Sessions of this incarnation, and the most changes that one of them held. */
  sessions: number
  peakHeld: number
  /** Why no session gets anywhere; null: they do, or none was tried. */
  failing: State['failing']
  /** When the next session begins, in ms since 1970. */
  alarm: number | null
  deploy: ReplicatorStatus['deploy']
  verify: ReplicatorStatus['verify']
  /** The last look at the source; null: nobody has asked since the object started. `fresh`: it was made for this answer. */
  looked: Looked | null
  fresh: boolean
}

export function replicatorStatus(ports: StatusPorts): ReplicatorStatus {
  const { tenant, parts, session, failing, alarm, looked, fresh } = ports
  const { store, committer, fencing, relays, appends } = parts
  const { tables, state, buckets, problems } = store
  const { source, health, lastCommit } = sourceStatus(ports)
  const { checkpoint, plan, comparing, pendingBatches, sending, peakSending, changes, batches } = committer.status()
  const { failing: failingBuckets, calls } = appends.status()
  return {
    tenant,
    state: stateOf(ports),
    checkpoint,
    plan,
    // Members of before there was more than one kind of source.
    lsn: source.position,
    lagBytes: source.lag?.bytes ?? null,
    lastCommit,
    source,
    comparing,
    copy: tables.copying ? { tables: tables.status(), waitingFor: session?.waitingFor ?? null } : null,
    deploy: ports.deploy,
    verify: ports.verify,
    relays: relays.size,
    ...(fresh && looked ? { openStreams: looked.streams, buckets: buckets.count } : {}),
    session: {
      since: session?.since ?? null,
      count: ports.sessions,
      changes: session?.changes ?? 0,
      next: alarm === null ? null : new Date(alarm).toISOString(),
      failures: failing?.failures ?? 0,
      idlePolls: state.get('idlePolls'),
    },
    slot: health as SlotStatus | null,
    pendingBatches,
    failingBuckets,
    fencedBuckets: fencing.status(),
    followedTables: tables.followed,
    refusedTables: refusedTables(store),
    skippedRows: skippedRows(problems),
    diagnostics: problems,
    held: {
      changes: session?.held ?? 0,
      peakChanges: Math.max(ports.peakHeld, session?.peakHeld ?? 0),
      sending,
      peakSending,
    },
    written: { changes, batches, rows: parts.rowsWritten(), appends: calls },
    error: failing && { code: failing.code, message: failing.message },
  }
}

/** Somebody has to do something. */
const REFUSALS: ReadonlySet<string> = new Set([
  'ROCKPOOL_SETTINGS',
  'ROCKPOOL_SYNC_CONFIG',
  'ROCKPOOL_SOURCE_SETTINGS',
  'ROCKPOOL_SOURCE_TLS',
])

function stateOf({ parts, session, failing, alarm, live }: StatusPorts): ReplicatorState {
  const { state, tables } = parts.store
  const code = failing?.code
  if (code !== undefined && REFUSALS.has(code)) return 'refused'
  if (code !== undefined) return 'retrying'
  if (state.get('source') === null) return 'starting'
  if (tables.copying) return 'copying'
  if (session) return session.streaming ? 'live' : 'starting'
  const isDue = alarm !== null && alarm <= Date.now()
  return live || isDue ? 'starting' : 'idle'
}

function skippedRows({ counts, recent }: DiagnosticsStatus): ReplicatorStatus['skippedRows'] {
  const rows = recent.filter((each) => each.code === 'ROCKPOOL_ROW_SKIPPED' && !each.replaced)
  return {
    count: counts.ROCKPOOL_ROW_SKIPPED ?? 0,
    recent: rows.map(({ table, key, reason }) => ({ table: table ?? '', key: key ?? '', reason })),
  }
}

/** What operators are told of the source. Nothing of the user and the password is. */
function sourceStatus({ kind, source, parts, session, looked, fresh }: StatusPorts) {
  const { store, health } = parts
  const { position } = streamedTo(kind, store)
  const shown = position && kind.show(position)
  const state = health.status(fresh ? (looked?.facts ?? null) : null)
  const lag = session?.lag ?? null
  const status: SourceStatus = {
    kind: kind.name,
    position: shown?.text ?? null,
    lag: lag && { ...(lag.bytes !== undefined && { bytes: lag.bytes }), ...(lag.seconds !== undefined && { seconds: lag.seconds }) },
    health: state,
    settings: source && sourceSettings(kind, store, source),
    look: looked?.look ?? null,
  }
  return { source: status, health: state, lastCommit: shown?.time ?? null }
}

const GB = 1024 ** 3

/** Null when the URL cannot be read. */
function sourceSettings(
  kind: SourceKind<ReplicationSettings>,
  store: Store,
  { url, settings }: { url: string; settings: ReplicationSettings },
): SourceSettings | null {
  const address = kind.address(url, keptIdentity(kind, store))
  const { slot, walKeepGb, walPolicy } = settings
  return address && { ...address, slot, walKeepBytes: walKeepGb * GB, walPolicy }
}
