import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { temporaryDirectory } from './support.ts'

export interface TestWorker {
  readonly url: string
  stop(): Promise<void>
}

/**
 * Bundles a Worker of the tests and runs it in workerd. `trusted` is the PEM of an authority that it takes for a public
 * one.
 */
export async function startTestWorker(entry: string, trusted?: string): Promise<TestWorker> {
  const folder = await temporaryDirectory()
  const script = join(folder.path, 'worker.js')
  await build({
    entryPoints: [entry],
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
    // workerd reads its trust store from here when it starts.
    process.env.SSL_CERT_FILE = authority
  }
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'test',
      log: new Log(LogLevel.NONE),
      // Silences workerd, which prints every failed handshake.
      handleStructuredLogs: () => {},
      modulesRoot: folder.path,
      modules: [{ type: 'ESModule', path: script, contents: await readFile(script, 'utf8') }],
      compatibilityDate: '2026-10-15',
      compatibilityFlags: ['nodejs_compat'],
    }),
  )
  const ready = await miniflare.ready.finally(() => delete process.env.SSL_CERT_FILE)
  return {
    url: String(ready),
    stop: async () => {
      await miniflare.dispose()
      await folder.remove()
    },
  }
}
