import type { Asker, JobPhase, TenantJob } from '../../protocol/messages/directory.ts'
import type { RemovedBuckets, Standing } from '../../protocol/messages/replicator.ts'
import { waitMs } from '../shared/retry.ts'

// What is done when the state of a tenant has changed, step by step. A job is stored after each step, so a crash
// repeats one step at most, and each step may be repeated.

const RETRY = { firstMs: 1_000, maxMs: 60_000 }

export interface Job extends Asker {
  state: Standing
  /** The version of the tenant with this state. */
  version: number
  phase: JobPhase
  /** The bucket after which the next step begins. */
  after: number
  removed: number
  left: number | null
  /** What Rockpool made in the database stays. */
  keepSource: boolean
  /** Ms since 1970: when it began, and when its next step is due. */
  since: number
  due: number
  failures: number
  error: string | null
}

/** The calls of the tenant's replicator. Each rejects when it is not answered in time. */
export interface JobPorts {
  standing(state: Standing, version: number): Promise<unknown>
  /** Tells what was revoked while the replicator could not be told. */
  revoke(): Promise<void>
  leaveSource(): Promise<void>
  removeBuckets(after: number): Promise<RemovedBuckets>
  eraseAll(): Promise<void>
  /** Of the Census. */
  eraseCensus(): Promise<void>
  now(): number
  /** How long calls that were under way when the deletion began may take: ms. */
  lateMs: number
}

export const newJob = (
  state: Standing,
  { version, keepSource, now, ...asker }: Asker & { version: number; keepSource: boolean; now: number },
): Job => ({
  state,
  version,
  phase: 'telling',
  after: 0,
  removed: 0,
  left: null,
  keepSource,
  ...asker,
  since: now,
  due: now,
  failures: 0,
  error: null,
})

/**
 * Does one step. Returns the job as it is then, or null when it is done. Never rejects: a step that failed is due again
 * later.
 */
export async function step(job: Job, ports: JobPorts): Promise<Job | null> {
  try {
    const next = await advanced(job, ports)
    return next && { ...next, failures: 0, error: null }
  } catch (error) {
    const failures = job.failures + 1
    const message = error instanceof Error ? error.message : String(error)
    return { ...job, failures, error: message, due: ports.now() + waitMs(RETRY, failures) }
  }
}

async function advanced(job: Job, ports: JobPorts): Promise<Job | null> {
  switch (job.phase) {
    case 'telling':
      // Before anybody is served again.
      if (job.state === 'active') await ports.revoke()
      await ports.standing(job.state, job.version)
      if (job.state !== 'deleting') return null
      return { ...job, phase: job.keepSource ? 'buckets' : 'source' }
    case 'source':
      if (!job.keepSource) await ports.leaveSource()
      return { ...job, phase: 'buckets', after: 0 }
    case 'buckets':
    case 'again': {
      // In the second round relays may have streams again that came through isolates with an older list.
      if (job.after === 0) await ports.standing(job.state, job.version)
      const { removed, after, left } = await ports.removeBuckets(job.after)
      const done = { ...job, removed: job.phase === 'buckets' ? job.removed + removed : job.removed, left }
      if (after !== null) return { ...done, after }
      if (job.phase === 'again') return { ...done, phase: 'erasing' }
      return { ...done, phase: 'late', due: ports.now() + ports.lateMs }
    }
    case 'late':
      return { ...job, phase: 'again', after: 0 }
    case 'erasing':
      await ports.eraseCensus()
      await ports.eraseAll()
      return null
  }
}

/** Returns the job as operators see it. */
export const shownJob = ({ state, phase, removed, left, since, due, error }: Job): TenantJob => ({
  state,
  phase,
  removed,
  left,
  since: new Date(since).toISOString(),
  next: new Date(due).toISOString(),
  error,
})
