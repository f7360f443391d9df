import { fileURLToPath } from 'node:url'
import { startTestWorker } from './test-worker.ts'

const WORKER = fileURLToPath(new URL('../workerd/source.ts', import.meta.url))

export interface SourceWorker {
  /** Sends a request to `test/workerd/source.ts`. */
  ask(wish: {
    url: string
    ca?: string | undefined
    rows?: number
    timed?: boolean
    pausedMs?: number
    bytes?: number
    bound?: number | null
  }): Promise<unknown>
  stop(): Promise<void>
}

/**
 * Starts a Worker that connects to Postgres as the replicator does. `trusted` is the PEM of an authority that it takes
 * for a public one.
 */
export async function startSourceWorker(trusted?: string): Promise<SourceWorker> {
  const { url, stop } = await startTestWorker(WORKER, trusted)
  return { ask: async (wish) => (await fetch(url, { method: 'POST', body: JSON.stringify(wish) })).json(), stop }
}
