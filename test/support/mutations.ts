import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { Worker } from 'node:worker_threads'

// Removes rules from the code before it is loaded, each in a thread of its own, to see whether a search notices.

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

/** Applies the edits to everything that this thread loads from now on. */
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

/** Runs a script in a thread of its own with the task as `workerData`. Returns its report. */
export function inThread<Report>(script: URL, task: unknown): Promise<Report> {
  const worker = new Worker(script, { workerData: task, execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  return new Promise((resolve, reject) => {
    let report: Report | null = null
    worker.once('message', (message: Report) => {
      report = message
    })
    worker.once('error', reject)
    // The thread ends on its own: terminating it while SQLite cleans up can crash the process.
    worker.once('exit', () =>
      report === null ? reject(new Error('the thread ended without a report')) : resolve(report),
    )
  })
}
