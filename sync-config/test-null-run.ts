import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { inThread as reportOf, loadMutated, type Mutation } from '../test/support/mutations.ts'
import type { Exception } from './test-null-conditions.ts'
import type { Outcome } from './test-null-property.ts'

// Runs the comparison with SQLite in a thread of its own, where rules may be taken out of the code before it is loaded.
// By hand: `node sync-config/test-null-run.ts [seed] [cases]`.

export interface Task {
  seed: number
  cases: number
  exceptions: readonly Exception[]
  mutations: Mutation[]
}

export const inThread = (task: Task): Promise<Outcome> => reportOf(new URL(import.meta.url), task)

async function run({ mutations, ...task }: Task): Promise<Outcome> {
  loadMutated(mutations)
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
  return (
    typeof data === 'object' &&
    data !== null &&
    'seed' in data &&
    'cases' in data &&
    'mutations' in data &&
    'exceptions' in data
  )
}
