import { loadMutated, reportTask, type Mutation } from '../support/mutations.ts'
import type { Outcome } from './schedule.ts'

// Runs schedules: in a process of the tests', or by hand: `node test/simulation/run.ts [first seed] [number]`. A rule
// may be taken out of the code on the way: the text of the module is replaced before it is loaded.

export interface Task {
  first: number
  schedules: number
  mutations: readonly Mutation[]
}

export interface Report {
  schedules: number
  steps: number
  checkpoints: number
  counts: Outcome['counts']
  /** The first schedule that went wrong; the run ends there. */
  violation: { seed: number; what: string } | null
}

/** Limits that no schedule would reach. */
const SMALL: Mutation[] = [
  {
    file: 'workers/stream/emit.ts',
    edits: [['const OPS_BEFORE_INTERRUPTION = 1_000', 'const OPS_BEFORE_INTERRUPTION = 2']],
  },
]

async function run({ first, schedules, mutations }: Task): Promise<Report> {
  loadMutated([...SMALL, ...mutations])
  const { schedule } = await import('./schedule.ts')
  const report: Report = { schedules: 0, steps: 0, checkpoints: 0, counts: {}, violation: null }
  for (let seed = first; seed < first + schedules; seed++) {
    const { violation, steps, checkpoints, counts } = await outcome(schedule, seed)
    report.schedules++
    report.steps += steps
    report.checkpoints += checkpoints
    for (const [name, n] of Object.entries(counts)) report.counts[name] = (report.counts[name] ?? 0) + n
    if (violation === null) continue
    report.violation = { seed, what: violation }
    break
  }
  return report
}

/** Without a rule a module may well throw. */
async function outcome(schedule: (seed: number) => Promise<Outcome>, seed: number): Promise<Outcome> {
  let thrown: unknown = null
  const note = (error: unknown): void => {
    thrown ??= error
  }
  process.on('unhandledRejection', note)
  try {
    const result = await schedule(seed)
    // What was rejected last is reported a turn later.
    await new Promise((resolve) => setImmediate(resolve))
    return thrown === null ? result : { ...result, violation: result.violation ?? String(thrown) }
  } catch (error) {
    return { violation: String(error), steps: 0, checkpoints: 0, counts: {} }
  } finally {
    process.off('unhandledRejection', note)
  }
}

if (!(await reportTask(import.meta.url, run))) {
  const [first = 1, schedules = 2_000] = process.argv.slice(2).map(Number)
  console.log(await run({ first, schedules, mutations: [] }))
}
