import { inProcess, loadMutated, reportTask, type Mutation } from '../../../../test/support/mutations.ts'

// Runs schedules of the store, in a process of the tests' or by hand: `node client/src/core/store/test-run.ts [first
// seed] [number]`. A rule may be taken out of the code on the way.

export interface Task {
  storeSeed: number
  schedules: number
  mutations: readonly Mutation[]
}

export interface Report {
  schedules: number
  counts: Record<string, number>
  /** The first schedule that went wrong; the run ends there. */
  violation: { seed: number; what: string } | null
}

export const runApart = (task: Task): Promise<Report> => inProcess(new URL(import.meta.url), task)

async function run({ storeSeed, schedules, mutations }: Task): Promise<Report> {
  loadMutated(mutations)
  const { schedule } = await import('./test-simulation.ts')
  const report: Report = { schedules: 0, counts: {}, violation: null }
  for (let seed = storeSeed; seed < storeSeed + schedules && report.violation === null; seed++) {
    const { violation, counts } = schedule(seed)
    report.schedules++
    for (const [name, n] of Object.entries(counts)) report.counts[name] = (report.counts[name] ?? 0) + n
    if (violation !== null) report.violation = { seed, what: violation }
  }
  return report
}

if (!(await reportTask(import.meta.url, run)) && process.argv[1]?.endsWith('store/test-run.ts')) {
  const [storeSeed = 1, schedules = 2_000] = process.argv.slice(2).map(Number)
  console.log(await run({ storeSeed, schedules, mutations: [] }))
}
