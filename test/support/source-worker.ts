import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { temporaryDirectory } from './support.ts'

const WORKER = fileURLToPath(new URL('../workerd/source.ts', import.meta.url))

export interface SourceWorker {
  /** Asks `test/workerd/source.ts`. */
  ask(wish: { url: string; ca?: string | undefined; rows?: number; timed?: boolean; pausedMs?: number; bytes?: number }): Promise<unknown>
  stop(): Promise<void>
}

/** A Worker that connects to Postgres as the replicator does. `trusted`: PEM of an authority that it takes for a public one. */
export async function startSourceWorker(trusted?: string): Promise<SourceWorker> {
  const folder = await temporaryDirectory()
  const script = join(folder.path, 'worker.js')
  await build({
    entryPoints: [WORKER],
    outfile: script,
    bundle: true,
    format: 'esm',
    conditions: ['workerd'],
    mainFields: ['module', 'main'],
    external: ['node:*', 'cloudflare:*'],
    logLevel: 'error',
  })
  if (trusted !== undefined) {
    const authority = join(folder.path, 'ca.pem')
    await writeFile(authority, trusted)
    // workerd takes its trust store from here when it starts.
    process.env.SSL_CERT_FILE = authority
  }
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'source',
      log: new Log(LogLevel.NONE),
      // workerd prints every handshake that fails.
      handleStructuredLogs: () => {},
      modulesRoot: folder.path,
      modules: [{ type: 'ESModule', path: script, contents: await readFile(script, 'utf8') }],
      compatibilityDate: '2026-10-15',
      compatibilityFlags: ['nodejs_compat'],
    }),
  )
  const ready = await miniflare.ready.finally(() => delete process.env.SSL_CERT_FILE)
  return {
    ask: async (wish) => (await fetch(String(ready), { method: 'POST', body: JSON.stringify(wish) })).json(),
    stop: async () => {
      await miniflare.dispose()
      await folder.remove()
    },
  }
}
