import { inProcess, loadMutated, reportTask, type Mutation } from '../test/support/mutations.ts'
import type { Exception } from './test-null-conditions.ts'
import type { Outcome } from './test-null-property.ts'

// Runs the comparison with SQLite in a process of its own, where rules may be taken out of the code before it is
// loaded. By hand: `node sync-config/test-null-run.ts [seed] [cases]`.

export interface Task {
  seed: number
  cases: number
  exceptions: readonly Exception[]
  mutations: Mutation[]
}

export const runApart = (task: Task): Promise<Outcome> => inProcess(new URL(import.meta.url), task)

async function run({ mutations, ...task }: Task): Promise<Outcome> {
  loadMutated(mutations)
  const { compare } = await import('./test-null-property.ts')
  return compare(task)
}

if (!(await reportTask(import.meta.url, run)) && process.argv[1]?.endsWith('test-null-run.ts')) {
  const { EXCEPTIONS } = await import('./test-null-exceptions.ts')
  const [seed = 1, cases = 3_000] = process.argv.slice(2).map(Number)
  console.log(await run({ seed, cases, exceptions: EXCEPTIONS.map(({ name }) => name), mutations: [] }))
}
