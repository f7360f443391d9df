import { fork, type Serializable } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

// Removes rules from the code before it is loaded, each in a process of its own, to see whether a search notices.

/** Names the script whose task a process is for. */
const TASK_OF = 'ROCKPOOL_TASK_OF'

export interface Mutation {
  /** The path from the root of the repository. */
  file: string
  /** Texts that occur in it exactly once, with their replacements. */
  edits: readonly (readonly [from: string, to: string])[]
}

const ROOT = new URL('../../', import.meta.url)

/**
 * Returns the texts of the edited files by their URLs. Throws when the text that an edit replaces does not occur
 * exactly once.
 */
export function mutated(mutations: readonly Mutation[]): Map<string, string> {
  const sources = new Map<string, string>()
  for (const { file, edits } of mutations) {
    const url = new URL(file, ROOT)
    let source = sources.get(url.href) ?? readFileSync(url, 'utf8')
    for (const [from, to] of edits) {
      const parts = source.split(from)
      if (parts.length !== 2)
        throw new Error(`the text of the rule occurs ${parts.length - 1} times in ${file}: ${from}`)
      source = parts.join(to)
    }
    sources.set(url.href, source)
  }
  return sources
}

/** Applies the edits to everything that this process loads from now on. */
export function loadMutated(mutations: readonly Mutation[]): void {
  const sources = mutated(mutations)
  registerHooks({
    load(asked, context, nextLoad) {
      const loaded = nextLoad(asked, context)
      const source = sources.get(asked)
      return source === undefined ? loaded : { ...loaded, source }
    },
  })
}

/**
 * Runs a script in a process of its own, which `reportTask` gives the task. Returns its report. A process and not a
 * thread: one that SQLite crashed took the runner of the tests with it (Node 24.21, 2026-11).
 */
export function inProcess<Report>(script: URL, task: unknown): Promise<Report> {
  const child = fork(fileURLToPath(script), {
    execArgv: [],
    env: { ...process.env, NODE_OPTIONS: '', [TASK_OF]: script.href },
    serialization: 'advanced',
  })
  child.send(task as Serializable)
  return new Promise((resolve, reject) => {
    let report: Report | null = null
    child.once('message', (message) => {
      report = message as Report
    })
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      report === null ? reject(new Error(`the process ended without a report: ${signal ?? code}`)) : resolve(report),
    )
  })
}

/** Runs the task of the process that `inProcess` started for this script. Returns false in any other process. */
export async function reportTask<Task>(script: string, run: (task: Task) => Promise<unknown>): Promise<boolean> {
  if (process.env[TASK_OF] !== script) return false
  const [task] = (await once(process, 'message')) as [Task]
  const report = await run(task)
  process.send?.(report, () => process.disconnect())
  return true
}
