import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

// Runs schedules of the store, in a thread of the tests or by hand: `node client/src/core/store/test-run.ts [first seed] [number]`. A rule may be taken out of the code on the way.

export interface Mutation {
  /** Path from the root of the repository. */
  file: string
  /** What stands in it exactly once, and what stands there instead. */
  edits: readonly (readonly [from: string, to: string])[]
}

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

const ROOT = new URL('../../../../', import.meta.url)

/** The texts of files with the edits, by their addresses. Throws when what an edit replaces does not stand there exactly once. */
export function mutated(mutations: readonly Mutation[]): Map<string, string> {
  const sources = new Map<string, string>()
  for (const { file, edits } of mutations) {
    const url = new URL(file, ROOT)
    let source = sources.get(url.href) ?? readFileSync(url, 'utf8')
    for (const [from, to] of edits) {
      const parts = source.split(from)
      if (parts.length !== 2) throw new Error(`the text of the rule stands ${parts.length - 1} times in ${file}: ${from}`)
      source = parts.join(to)
    }
    sources.set(url.href, source)
  }
  return sources
}

export function inThread(task: Task): Promise<Report> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task, execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  return new Promise((resolve, reject) => {
    let report: Report | null = null
    worker.once('message', (message: Report) => {
      report = message
    })
    worker.once('error', reject)
    // It ends by itself: a thread that is ended while SQLite cleans up can take the process with it.
    worker.once('exit', () => (report ? resolve(report) : reject(new Error('the thread ended without a report'))))
  })
}

async function run({ storeSeed, schedules, mutations }: Task): Promise<Report> {
  const sources = mutated(mutations)
  registerHooks({
    load(asked, context, nextLoad) {
      const loaded = nextLoad(asked, context)
      const source = sources.get(asked)
      return source === undefined ? loaded : { ...loaded, source }
    },
  })
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

if (!isMainThread && isTask(workerData)) parentPort?.postMessage(await run(workerData))
else if (isMainThread && process.argv[1]?.endsWith('store/test-run.ts')) {
  const [storeSeed = 1, schedules = 2_000] = process.argv.slice(2).map(Number)
  console.log(await run({ storeSeed, schedules, mutations: [] }))
}

/** A runner of tests has threads with data of their own. */
function isTask(data: unknown): data is Task {
  return typeof data === 'object' && data !== null && 'storeSeed' in data
}
