import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import type { Mutation } from '../test/simulation/run.ts'
import type { Exception } from './test-null-conditions.ts'
import type { Outcome } from './test-null-property.ts'

// Runs the comparison with SQLite in a thread of its own, where rules may be taken out of the code before it is loaded. By hand:
// `node sync-config/test-null-run.ts [seed] [cases]`.

export interface Task {
  seed: number
  cases: number
  exceptions: readonly Exception[]
  mutations: Mutation[]
}

export function inThread(task: Task): Promise<Outcome> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task, execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  return new Promise((resolve, reject) => {
    let outcome: Outcome | null = null
    worker.once('message', (message: Outcome) => {
      outcome = message
    })
    worker.once('error', reject)
    // It ends by itself: a thread that is ended while SQLite cleans up can take the process with it.
    worker.once('exit', () => (outcome ? resolve(outcome) : reject(new Error('the thread ended without an outcome'))))
  })
}

/** The texts of files with the edits, by their addresses. Throws when what an edit replaces does not stand there exactly once. */
export function mutated(mutations: readonly Mutation[]): Map<string, string> {
  const sources = new Map<string, string>()
  for (const { file, edits } of mutations) {
    const url = new URL(`../${file}`, import.meta.url)
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

async function run({ mutations, ...task }: Task): Promise<Outcome> {
  const sources = mutated(mutations)
  registerHooks({
    load(asked, context, nextLoad) {
      const loaded = nextLoad(asked, context)
      const source = sources.get(asked)
      return source === undefined ? loaded : { ...loaded, source }
    },
  })
  const { compare } = await import('./test-null-property.ts')
  return compare(task)
}

if (!isMainThread && isTask(workerData)) parentPort?.postMessage(await run(workerData))
else if (isMainThread && process.argv[1]?.endsWith('test-null-run.ts')) {
  const { EXCEPTIONS } = await import('./test-null-exceptions.ts')
  const [seed = 1, cases = 3_000] = process.argv.slice(2).map(Number)
  console.log(await run({ seed, cases, exceptions: EXCEPTIONS.map(({ name }) => name), mutations: [] }))
}

/** A runner of tests has threads with data of their own. */
function isTask(data: unknown): data is Task {
  return typeof data === 'object' && data !== null && 'seed' in data && 'cases' in data && 'mutations' in data && 'exceptions' in data
}
