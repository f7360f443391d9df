import { parseLsn, parseSourceUrl } from '../../sources/postgres/index.ts'
import type { ReplicatorState, ReplicatorStatus, SlotStatus, SourceSettings } from '../../protocol/messages/status.ts'
import { tenantSettings, type TenantSettings } from '../directory/settings.ts'
import type { SettingBindings } from '../setting-bindings.ts'
import type { Core } from './core.ts'
import type { DiagnosticsStatus } from '../../protocol/diagnostics.ts'
import { earlierTls } from './session/prepare.ts'
import type { Session } from './session/session.ts'
import type { Looked } from './session/source-look.ts'
import type { State } from './store/storage.ts'
import { GB, judgeWal } from './session/wal-guard.ts'

/** What the object knows beside its core. */
export interface StatusPorts {
  tenant: string
  env: SettingBindings
  core: Core
  session: Session | null
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

export function replicatorStatus({ tenant, env, core, session, failing, alarm, looked, fresh, ...ports }: StatusPorts): ReplicatorStatus {
  const { tables, state, relays, pipeline, dispatcher, problems, stored, db } = core
  const position = state.get('decode').position
  const walEnd = session?.walEnd ?? null
  const settings = knownSettings(env, tenant)
  const { checkpoint, plan } = core.serving
  return {
    tenant,
    state: stateOf(core, session, failing?.code, alarm !== null && alarm <= Date.now()),
    checkpoint,
    plan,
    lsn: position?.lsn ?? null,
    lagBytes: walEnd === null || position === null ? null : Math.max(0, Number(walEnd - parseLsn(position.lsn))),
    lastCommit: position?.time ?? null,
    source: { kind: 'postgres', settings: settings && sourceSettings(core, settings), look: looked?.look ?? null },
    comparing: core.comparing,
    copy: tables.copying ? { tables: tables.status(), waitingFor: session?.waitingFor ?? null } : null,
    deploy: ports.deploy,
    verify: ports.verify,
    relays: relays.size,
    ...(fresh && looked ? { openStreams: looked.streams, buckets: core.buckets.count } : {}),
    session: {
      since: session ? new Date(session.since).toISOString() : null,
      count: ports.sessions,
      changes: session?.changes ?? 0,
      next: alarm === null ? null : new Date(alarm).toISOString(),
      failures: failing?.failures ?? 0,
      idlePolls: state.get('idlePolls'),
    },
    slot: fresh && looked && settings ? freshSlot(core, settings, looked) : core.slot,
    pendingBatches: pipeline.size,
    failingBuckets: dispatcher.failing,
    fencedBuckets: core.fences.all.map(({ bucket, since, answers }) => ({
      ...{ bucket: core.buckets.name(bucket), since, state: answers ? 'comparing' : 'silent' },
    })),
    followedTables: tables.followed,
    refusedTables: core.refusedTables,
    skippedRows: skippedRows(problems),
    diagnostics: problems,
    held: {
      changes: session?.held ?? 0,
      peakChanges: Math.max(ports.peakHeld, session?.peakHeld ?? 0),
      sending: pipeline.length,
      peakSending: pipeline.peakLength,
    },
    written: { ...stored, rows: db.rowsWritten, appends: dispatcher.calls },
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

/** `due`: a session is about to begin. */
function stateOf({ state, live, tables }: Core, session: Session | null, code: string | undefined, due: boolean): ReplicatorState {
  if (code !== undefined && REFUSALS.has(code)) return 'refused'
  if (code !== undefined) return 'retrying'
  if (state.get('source') === null) return 'starting'
  if (tables.copying) return 'copying'
  if (session) return session.streaming ? 'live' : 'starting'
  return live || due ? 'starting' : 'idle'
}

/** Null when they are wrong: sessions are refused for that, and a look is. */
function knownSettings(env: SettingBindings, tenant: string): TenantSettings | null {
  try {
    return tenantSettings(env, tenant)
  } catch {
    return null
  }
}

function sourceSettings(core: Core, { databaseUrl, slot, walKeepGb, walPolicy }: TenantSettings): SourceSettings | null {
  try {
    const { hosts, database } = parseSourceUrl(databaseUrl, { earlierTls: earlierTls(core) })
    const host = hosts.map((each) => `${each.host}:${each.port}`).join(',')
    return { host, database, slot, walKeepBytes: walKeepGb * GB, walPolicy }
  } catch {
    return null
  }
}

/** What was found in the place of what was measured last. Nothing is kept of it: sessions judge the slot by their own measures. */
function freshSlot({ slot }: Core, settings: TenantSettings, { look, slot: found }: Looked): SlotStatus | null {
  if (found === undefined) return slot
  if (found === null) return null
  const { level, overs } = judgeWal(found, slot ?? { level: 'ok', overs: 0 }, settings)
  return { name: settings.slot, measured: look.at, level, overs, ...found }
}

function skippedRows({ counts, recent }: DiagnosticsStatus): ReplicatorStatus['skippedRows'] {
  const rows = recent.filter((each) => each.code === 'ROCKPOOL_ROW_SKIPPED' && !each.replaced)
  return {
    count: counts.ROCKPOOL_ROW_SKIPPED ?? 0,
    recent: rows.map(({ table, key, reason }) => ({ table: table ?? '', key: key ?? '', reason })),
  }
}
