import { describe, expect, test } from 'vitest'
import type { Standing } from '../../protocol/messages/replicator.ts'
import { newJob, shownJob, step, type Job, type JobPorts } from './jobs.ts'

const LATE_MS = 300_000
const BUCKETS = 5
const PAGE = 2

/** A tenant whose replicator may be told to fail at a call. */
function tenant() {
  const calls: string[] = []
  const state = {
    now: 1_000_000,
    fails: null as string | null,
    standing: 'active' as Standing,
    buckets: BUCKETS,
    source: true,
    erased: false,
  }
  const called = (call: string) => {
    calls.push(call)
    if (call.split(' ')[0] === state.fails) throw new Error(`${call} failed`)
  }
  const ports: JobPorts = {
    standing: async (standing, version) => {
      if (version !== 7) throw new Error('another version')
      called(`standing ${standing}`)
      state.standing = standing
    },
    revoke: async () => called('revoke'),
    leaveSource: async () => {
      called('source')
      state.source = false
    },
    removeBuckets: async (after) => {
      called(`buckets ${after}`)
      const last = Math.min(after + PAGE, BUCKETS)
      state.buckets = Math.min(state.buckets, BUCKETS - last)
      return { removed: last - after, after: last === BUCKETS ? null : last, left: BUCKETS - last }
    },
    eraseCensus: async () => called('census'),
    eraseAll: async () => {
      called('erase')
      state.erased = true
    },
    now: () => state.now,
    lateMs: LATE_MS,
  }
  /** Continues the job whenever it is due, as often as that takes; a job is stored as JSON. */
  const through = async (job: Job, steps = 100): Promise<Job | null> => {
    let next: Job | null = job
    for (let i = 0; next !== null && i < steps; i++) {
      state.now = Math.max(state.now, next.due)
      next = await step(JSON.parse(JSON.stringify(next)) as Job, ports)
    }
    return next
  }
  const job = (to: Standing, keepSource = false) => newJob(to, { version: 7, by: 'op', keepSource, now: state.now })
  return { calls, state, ports, through, job }
}

test.each(['suspended', 'active'] as const)(
  'a tenant that becomes %s is told so, and nothing else is done',
  async (state) => {
    const { calls, through, job } = tenant()
    expect(await through(job(state))).toBeNull()
    // What was revoked meanwhile, before anybody is served again.
    expect(calls).toEqual([...(state === 'active' ? ['revoke'] : []), `standing ${state}`])
  },
)

describe('a deletion', () => {
  const ALL = [
    'standing deleting',
    'source',
    ...['standing deleting', 'buckets 0', 'buckets 2', 'buckets 4'],
    ...['standing deleting', 'buckets 0', 'buckets 2', 'buckets 4'],
    'census',
    'erase',
  ]

  test('ends streams, then slot and publication, then buckets twice, and the replicator last', async () => {
    const { calls, state, through, job } = tenant()
    expect(await through(job('deleting'))).toBeNull()
    expect(calls).toEqual(ALL)
    expect(state).toMatchObject({ standing: 'deleting', buckets: 0, source: false, erased: true })
  })

  test('waits between the two rounds for calls that are late', async () => {
    const { state, through, job } = tenant()
    const late = await through(job('deleting'), 5)
    expect(late).toMatchObject({ phase: 'late', removed: BUCKETS, left: 0, due: state.now + LATE_MS })
    expect(state.erased).toBe(false)
  })

  test('with a step that is repeated anywhere, as after a crash, comes to the same end', async () => {
    for (let repeated = 0; repeated < ALL.length + 1; repeated++) {
      const { state, ports, through, job } = tenant()
      const before = repeated === 0 ? job('deleting') : await through(job('deleting'), repeated)
      if (before === null) continue
      state.now = Math.max(state.now, before.due)
      // Its result is lost.
      await step(before, ports)
      expect(await through(before)).toBeNull()
      expect(state).toMatchObject({ standing: 'deleting', buckets: 0, source: false, erased: true })
    }
  })

  test.each(['standing', 'source', 'buckets', 'erase'])(
    'of which %s fails tries it again, later and later, and says why',
    async (fails) => {
      const { state, through, job } = tenant()
      state.fails = fails
      const failed = await through(job('deleting'), 30)
      expect(failed).toMatchObject({ error: expect.stringMatching(`^${fails}`) as string })
      expect(failed?.failures).toBeGreaterThan(10)
      expect((failed?.due ?? 0) - state.now).toBeGreaterThan(20_000)
      expect((failed?.due ?? 0) - state.now).toBeLessThanOrEqual(90_000)
      expect(state.erased).toBe(false)
      state.fails = null
      if (failed) expect(await through(failed)).toBeNull()
      expect(state.erased).toBe(true)
    },
  )

  test('leaves slot and publication when the database cannot be reached any more and somebody says so', async () => {
    const { calls, state, through, job } = tenant()
    state.fails = 'source'
    const stuck = await through(job('deleting'), 10)
    expect(stuck).toMatchObject({ phase: 'source' })
    if (stuck) expect(await through({ ...stuck, keepSource: true })).toBeNull()
    expect(state).toMatchObject({ source: true, erased: true })
    const kept = tenant()
    expect(await kept.through(kept.job('deleting', true))).toBeNull()
    expect(kept.calls).not.toContain('source')
    expect(calls.at(-1)).toBe('erase')
  })

  test('is shown with its progress, and without who asked', async () => {
    const { through, job } = tenant()
    const half = await through(job('deleting'), 4)
    if (half === null) throw new Error('it is done')
    expect(shownJob(half)).toEqual({
      state: 'deleting',
      phase: 'buckets',
      removed: 4,
      left: 1,
      since: new Date(1_000_000).toISOString(),
      next: new Date(1_000_000).toISOString(),
      error: null,
    })
  })
})
