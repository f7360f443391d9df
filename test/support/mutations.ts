import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { Worker } from 'node:worker_threads'

// Rules are taken out of the code before it is loaded, each in a thread of its own: what a search is worth is seen by what it notices.

export interface Mutation {
  /** Path from the root of the repository. */
  file: string
  /** What stands in it exactly once, and what stands there instead. */
  edits: readonly (readonly [from: string, to: string])[]
}

const ROOT = new URL('../../', import.meta.url)

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

/** What this thread loads from now on has the edits. */
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

/** What a script answers to a task that it is given as `workerData`, in a thread of its own. */
export function inThread<Report>(script: URL, task: unknown): Promise<Report> {
  const worker = new Worker(script, { workerData: task, execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  return new Promise((resolve, reject) => {
    let report: Report | null = null
    worker.once('message', (message: Report) => {
      report = message
    })
    worker.once('error', reject)
    // It ends by itself: a thread that is ended while SQLite cleans up can take the process with it.
    worker.once('exit', () => (report === null ? reject(new Error('the thread ended without a report')) : resolve(report)))
  })
}
