import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import type { Outcome } from './schedule.ts'

// Runs schedules: in a thread of the tests, or by hand: `node test/simulation/run.ts [first seed] [number]`. A rule may be taken out of the code on
// the way: the text of the module is replaced before it is loaded.

export interface Mutation {
  /** Path from the root of the repository. */
  file: string
  /** What stands in it exactly once, and what stands there instead. */
  edits: [from: string, to: string][]
}

export interface Task {
  first: number
  schedules: number
  mutations: Mutation[]
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
  { file: 'workers/stream/emit.ts', edits: [['const OPS_BEFORE_INTERRUPTION = 1_000', 'const OPS_BEFORE_INTERRUPTION = 2']] },
]

const root = new URL('../../', import.meta.url)

async function run({ first, schedules, mutations }: Task): Promise<Report> {
  for (const mutation of [...SMALL, ...mutations]) mutate(mutation)
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

function mutate({ file, edits }: Mutation): void {
  const url = new URL(file, root)
  let source = mutated.get(url.href) ?? readFileSync(url, 'utf8')
  for (const [from, to] of edits) {
    const parts = source.split(from)
    if (parts.length !== 2) throw new Error(`the text of the rule stands ${parts.length - 1} times in ${file}: ${from}`)
    source = parts.join(to)
  }
  mutated.set(url.href, source)
}

/** By address, what is loaded instead. */
const mutated = new Map<string, string>()

registerHooks({
  load(asked, context, nextLoad) {
    const loaded = nextLoad(asked, context)
    const source = mutated.get(asked)
    return source === undefined ? loaded : { ...loaded, source }
  },
})

if (isMainThread) {
  const [first = 1, schedules = 2_000] = process.argv.slice(2).map(Number)
  console.log(await run({ first, schedules, mutations: [] }))
} else {
  const task: Task = workerData
  parentPort?.postMessage(await run(task))
}
