import type { SourceKind } from '../../sources/source.ts'
import type { DiagnosticsStatus } from '../../protocol/diagnostics.ts'
import type {
  ReplicatorState,
  ReplicatorStatus,
  SlotStatus,
  SourceSettings,
  SourceStatus,
} from '../../protocol/messages/status.ts'
import type { ReplicationSettings } from '../../tenants/replication.ts'
import { keptIdentity, streamedTo } from './session/kept-state.ts'
import { refusedTables } from './session/refused-tables.ts'
import type { SessionStatus } from './session/session-parts.ts'
import type { Store } from './store/store.ts'
import type { Wired } from './wiring.ts'

/** The source as settings name it. */
export interface SourceOfStatus {
  kind: SourceKind<ReplicationSettings>
  /** Its settings, and the URL of the database, which is a secret. Null when a setting is wrong. */
  source: { settings: ReplicationSettings; url: string } | null
}

/** What had to be asked for. */
export interface AskedForStatus extends SourceOfStatus {
  /** The source was examined for this answer. */
  isFresh: boolean
  /** When the next session begins, in ms since 1970; null when one is under way, or when none is planned. */
  next: number | null
}

export type StatusParts = Pick<
  Wired,
  | 'tenant'
  | 'store'
  | 'committer'
  | 'fencing'
  | 'relays'
  | 'appends'
  | 'health'
  | 'verification'
  | 'current'
  | 'sessions'
  | 'looks'
  | 'admin'
  | 'isLive'
  | 'rowsWritten'
  | 'usage'
>

/** Joins what the parts say of themselves. */
export function replicatorStatus(parts: StatusParts, asked: AskedForStatus): ReplicatorStatus {
  const { store, committer, fencing, relays, appends, sessions, looks } = parts
  const { tables, state, buckets, problems } = store
  const session = parts.current.status()
  const { failing } = sessions
  const { source, health, lastCommit } = sourceStatus(parts, session, asked)
  const { checkpoint, plan, comparing, pendingBatches, sending, peakSending, changes, batches } = committer.status()
  const { failing: failingBuckets, calls } = appends.status()
  const { next } = asked
  return {
    tenant: parts.tenant().name,
    state: stateOf(parts, session, next),
    checkpoint,
    plan,
    // These two members are older than kinds of sources.
    lsn: source.position,
    lagBytes: source.lag?.bytes ?? null,
    lastCommit,
    source,
    comparing,
    copy: tables.copying ? { tables: tables.status(), waitingFor: session?.waitingFor ?? null } : null,
    deploy: parts.admin.status(),
    verify: parts.verification.status(verifyWaitsFor(parts)),
    relays: relays.size,
    standing: state.get('standing'),
    revocations: store.revocations.size,
    ...(asked.isFresh && looks.last ? { openStreams: looks.last.streams, buckets: buckets.count } : {}),
    session: {
      since: session?.since ?? null,
      count: sessions.count,
      changes: session?.changes ?? 0,
      next: next === null ? null : new Date(next).toISOString(),
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
      peakChanges: sessions.peakHeld,
      sending,
      peakSending,
    },
    written: { changes, batches, rows: parts.rowsWritten(), appends: calls },
    ...parts.usage.status(),
    error: failing && { code: failing.code, message: failing.message },
  }
}

/** Codes of errors that last until somebody does something. */
const REFUSALS: ReadonlySet<string> = new Set([
  'ROCKPOOL_SETTINGS',
  'ROCKPOOL_SYNC_CONFIG',
  'ROCKPOOL_SOURCE_SETTINGS',
  'ROCKPOOL_SOURCE_TLS',
])

function stateOf(
  { store, sessions, isLive, usage }: StatusParts,
  session: SessionStatus | null,
  next: number | null,
): ReplicatorState {
  const { state, tables } = store
  if (usage.paused !== null) return 'paused'
  const code = sessions.failing?.code
  if (code !== undefined && REFUSALS.has(code)) return 'refused'
  if (code !== undefined) return 'retrying'
  if (state.get('source') === null) return 'starting'
  if (tables.copying) return 'copying'
  if (session) return session.streaming ? 'live' : 'starting'
  const isDue = next !== null && next <= Date.now()
  return isLive() || isDue ? 'starting' : 'idle'
}

/** Returns what a comparison waits for before it continues, as text for people; null when it waits for nothing. */
export function verifyWaitsFor({ store, current }: Pick<StatusParts, 'store' | 'current'>): string | null {
  const { state, tables, configs } = store
  const failing = state.get('failing')
  if (failing) return `Postgres: ${failing.message}`
  if (configs.next !== null) return 'a deploy'
  if (tables.copying) return 'tables that are copied'
  const session = current.status()
  return session?.streaming ? session.waitingFor : 'a session with Postgres'
}

function skippedRows({ counts, recent }: DiagnosticsStatus): ReplicatorStatus['skippedRows'] {
  const rows = recent.filter((each) => each.code === 'ROCKPOOL_ROW_SKIPPED' && !each.replaced)
  return {
    count: counts.ROCKPOOL_ROW_SKIPPED ?? 0,
    recent: rows.map(({ table, key, reason }) => ({ table: table ?? '', key: key ?? '', reason })),
  }
}

/** Returns what operators see of the source, which includes neither user nor password. */
function sourceStatus(
  { store, health, looks }: StatusParts,
  session: SessionStatus | null,
  { kind, source, isFresh }: AskedForStatus,
) {
  const { position } = streamedTo(kind, store)
  const shown = position && kind.show(position)
  const { last } = looks
  const state = health.status(isFresh ? (last?.facts ?? null) : null)
  const lag = session?.lag ?? null
  const status: SourceStatus = {
    kind: kind.name,
    position: shown?.text ?? null,
    lag: lag && {
      ...(lag.bytes !== undefined && { bytes: lag.bytes }),
      ...(lag.seconds !== undefined && { seconds: lag.seconds }),
    },
    health: state,
    settings: source && sourceSettings(kind, store, source),
    look: last?.look ?? null,
  }
  return { source: status, health: state, lastCommit: shown?.time ?? null }
}

const GB = 1024 ** 3

/** Returns null when the URL cannot be read. */
function sourceSettings(
  kind: SourceKind<ReplicationSettings>,
  store: Store,
  { url, settings }: { url: string; settings: ReplicationSettings },
): SourceSettings | null {
  const address = kind.address(url, keptIdentity(kind, store))
  const { slot, walKeepGb, walPolicy } = settings
  return address && { ...address, slot, walKeepBytes: walKeepGb * GB, walPolicy }
}
