import type { ConfigOrigin } from '../protocol/messages/admin.ts'
import type { OperatorStatus, ReplicatorState } from '../protocol/messages/status.ts'
import { nextStep } from './next-steps.ts'

/** Problems that exist now. */
export interface ReportedProblem {
  code: string
  message: string
  /** What to do. */
  next: string
}

/** How often a code was noted since the tenant was created, and when last, if that is still stored. */
export interface Noted {
  code: string
  count: number
  last: string | null
  reason: string | null
}

/**
 * The output of `rockpool status --json`. Fields may be added and never change their meaning. Times as ISO 8601, sizes
 * in bytes; null means not known, or none.
 */
export interface Report {
  /** True when there is no problem: exit code 0. */
  ok: boolean
  url: string
  /** By the clock of the server. */
  at: string
  problems: ReportedProblem[]
  source: {
    kind: string
    host: string | null
    database: string | null
    version: string | null
    /** Whether it answered just now. */
    reachable: boolean | null
    milliseconds: number | null
  }
  slot: {
    name: string
    walStatus: string | null
    retainedBytes: number
    /** `WAL_KEEP_GB`, and how much WAL was not read yet. */
    limitBytes: number | null
    lagBytes: number
    /** `synchronized_standby_slots` while Postgres waits for one of these standbys. */
    awaitedStandbys: string | null
  } | null
  replication: {
    state: ReplicatorState
    reason: string | null
    /** Sessions that failed in a row, and when the next one begins. */
    failures: number
    nextSession: string | null
  }
  checkpoint: {
    number: number
    /** The commit time of the last stored transaction. */
    committed: string | null
    ageSeconds: number | null
    /** The progress, 0 to 1, while rows are compared and clients stay at the checkpoint. */
    comparing: number | null
  }
  tables: {
    followed: number
    copying: { table: string; progress: number }[]
    waitingFor: string | null
    refused: { table: string; reason: string }[]
  }
  /** 100,000 means this many or more. */
  buckets: number | null
  streams: number | null
  config: { number: number; origin: ConfigOrigin; since: string | null; by: string | null; plan: string | null } | null
  deploying: { number: number; progress: number } | null
  noted: Noted[]
  notes: string[]
}

export function reportOf(status: OperatorStatus, url: string, clock: number = Date.now()): Report {
  const { source, slot, session, error, copy, comparing, deploy } = status
  const at = source.look?.at ?? new Date(clock).toISOString()
  const { settings, look } = source
  const problems = problemsOf(status)
  return {
    ok: problems.length === 0,
    url,
    at,
    problems,
    source: {
      kind: source.kind,
      host: settings?.host ?? null,
      database: settings?.database ?? null,
      version: look?.version ?? null,
      reachable: look?.reachable ?? null,
      milliseconds: look?.ms ?? null,
    },
    slot: slot && {
      name: slot.name,
      walStatus: slot.walStatus,
      retainedBytes: slot.retainedBytes,
      limitBytes: settings?.walKeepBytes ?? null,
      lagBytes: slot.lagBytes,
      awaitedStandbys: slot.awaitedStandbys ?? null,
    },
    replication: {
      state: status.state,
      reason: error ? `${error.code}: ${error.message}` : pausedReason(status),
      failures: session.failures,
      nextSession: session.next,
    },
    checkpoint: {
      number: status.checkpoint,
      committed: status.lastCommit,
      comparing: comparing?.fraction ?? null,
      ageSeconds:
        status.lastCommit === null
          ? null
          : Math.max(0, Math.round((Date.parse(at) - Date.parse(status.lastCommit)) / 1_000)),
    },
    tables: {
      followed: status.followedTables,
      copying: (copy?.tables ?? []).flatMap(({ table, state, progress }) =>
        state === 'done' ? [] : [{ table, progress }],
      ),
      waitingFor: copy?.waitingFor ?? null,
      refused: status.refusedTables.map(({ table, reason }) => ({ table, reason })),
    },
    buckets: status.buckets ?? null,
    streams: status.openStreams ?? null,
    config: deploy.serving && {
      number: deploy.serving.number,
      origin: deploy.serving.origin,
      since: deploy.serving.served,
      by: deploy.serving.by ?? null,
      plan: deploy.serving.plan,
    },
    deploying: deploy.next && { number: deploy.next.number, progress: deploy.progress ?? 0 },
    noted: notedOf(status),
    notes: status.notes,
  }
}

/**
 * Returns the problems that exist now, without those that were noted and are over. The first one is the cause of the
 * others.
 */
function problemsOf(status: OperatorStatus): ReportedProblem[] {
  const { source, slot, error, deploy, verify, failingBuckets, fencedBuckets, refusedTables } = status
  const found: [code: string, message: string][] = []
  const { problem } = source.look ?? { problem: null }
  if (problem) found.push([problem.code, problem.message])
  if (error && error.code !== problem?.code) found.push([error.code, error.message])
  if (slot?.level === 'much' || slot?.level === 'over')
    found.push(['ROCKPOOL_WAL_KEPT', `the slot ${slot.name} keeps much WAL`])
  for (const { table, reason } of refusedTables) found.push(['ROCKPOOL_TABLE_REFUSED', `${table}: ${reason}`])
  for (const { bucket, state } of fencedBuckets) found.push(['ROCKPOOL_BUCKET_FENCED', `${bucket}: ${state}`])
  for (const { bucket, attempts, error: reason } of failingBuckets)
    found.push(['ROCKPOOL_BUCKET_FAILING', `${bucket}: ${reason} (${attempts} attempts)`])
  const failed = deploy.failed?.error
  if (failed && error?.code !== failed.code)
    found.push([failed.code, `deploy ${deploy.failed?.number ?? ''} failed: ${failed.message}`])
  if (verify?.state === 'done' && verify.found > verify.mended)
    found.push([
      'ROCKPOOL_DIFFERENCES',
      `the verification has found ${verify.found - verify.mended} that are not repaired`,
    ])
  return found.map(([code, message]) => ({ code, message, next: nextStep(code) }))
}

/** Null when replication is not paused. */
function pausedReason({ paused }: OperatorStatus): string | null {
  if (!paused) return null
  const why = {
    rowsPerDay: 'the tenant has written as many rows today as it may',
    storedGb: 'the tenant stores as much as it may',
    deployment: 'the budget of the deployment is nearly used up',
  }[paused.why]
  return `${why}; until ${paused.until}`
}

/** Returns noted problems by code, the newest first. */
function notedOf({ diagnostics }: OperatorStatus): Noted[] {
  const noted = Object.entries(diagnostics.counts).map(([code, count]): Noted => {
    const ofIt = diagnostics.recent.filter((each) => each.code === code)
    // Problems that do not affect clients come last, and say so.
    const newest = ofIt.find(({ replaced }) => !replaced) ?? ofIt[0]
    const where = newest?.table ? `${newest.table}: ` : ''
    const whose = newest?.replaced ? ' (of a sync config that was replaced and serves nobody)' : ''
    return { code, count, last: newest?.last ?? null, reason: newest ? where + newest.reason + whose : null }
  })
  return noted.sort((a, b) => ((a.last ?? '') < (b.last ?? '') ? 1 : -1))
}
