import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Answer } from '../../client/src/test-service.ts'

const root = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

export interface Site {
  /** Whose token the application gives; null: nobody is signed in. */
  token: string | null
  /** Runs in the worker before the client's own script. */
  workerPrefix: string
  /** In place of SQLite. */
  wasm: Answer | null
  page(path: string): Answer
}

/** Scripts by their paths, each a file of this repository with all that it imports. */
export async function bundled(entryPoints: Record<string, string>): Promise<Map<string, string>> {
  const { outputFiles } = await build({
    entryPoints: Object.fromEntries(Object.entries(entryPoints).map(([name, path]) => [name, root(path)])),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    outdir: '/',
    logLevel: 'silent',
  })
  return new Map(outputFiles.map(({ path, text }) => [path, text]))
}

export async function sqliteWasm(): Promise<Uint8Array> {
  return new Uint8Array(
    await readFile(createRequire(root('client/src/index.ts')).resolve('@sqlite.org/sqlite-wasm/sqlite3.wasm')),
  )
}

/**
 * An application's page with the client, its worker and SQLite. `/blank` is a page of the same origin without a
 * database.
 */
export async function deviceSite(): Promise<Site> {
  const scripts = await bundled({ app: 'test/device/page.ts', worker: 'client/src/browser/worker.ts' })
  const wasm = await sqliteWasm()
  const site: Site = {
    token: null,
    workerPrefix: '',
    wasm: null,
    page(path) {
      if (path === '/')
        return {
          type: 'text/html',
          body: '<!doctype html><title>Device</title><script type="module" src="/app.js"></script>',
        }
      if (path === '/blank') return { type: 'text/html', body: '<!doctype html><title>Blank</title>' }
      if (path === '/sqlite3.wasm') return site.wasm ?? { type: 'application/wasm', body: wasm }
      if (path === '/token') return site.token === null ? { status: 401 } : { type: 'text/plain', body: site.token }
      const script = scripts.get(path)
      if (script === undefined) return { status: 404 }
      return { type: 'text/javascript', body: path === '/worker.js' ? `${site.workerPrefix};${script}` : script }
    },
  }
  return site
}

export interface RockpoolSite {
  /** Whose token the application gives; null: nobody is signed in. */
  token: string | null
  page(path: string): Answer
}

/** The same with `createRockpool`. */
export async function rockpoolSite(): Promise<RockpoolSite> {
  const scripts = await bundled({
    rockpool: 'test/device/rockpool-page.ts',
    'rockpool-worker': 'client/src/tabs/worker.ts',
  })
  const wasm = await sqliteWasm()
  const site: RockpoolSite = {
    token: null,
    page(path) {
      if (path === '/') return html('<title>Rockpool</title><script type="module" src="/rockpool.js"></script>')
      if (path === '/blank') return html('<title>Blank</title>')
      if (path === '/sqlite3.wasm') return { type: 'application/wasm', body: wasm }
      if (path === '/token') return site.token === null ? { status: 401 } : { type: 'text/plain', body: site.token }
      const script = scripts.get(path)
      return script === undefined ? { status: 404 } : { type: 'text/javascript', body: script }
    },
  }
  return site
}

const html = (body: string): Answer => ({ type: 'text/html', body: `<!doctype html>${body}` })

/** The answer of a backend that accepts whatever is posted, by the contract of uploads. */
export function accepting(body: string): Answer {
  const { transactions }: { transactions: { id: string }[] } = JSON.parse(body)
  return { body: JSON.stringify({ verdicts: transactions.map(({ id }) => ({ id, result: 'accepted' })) }) }
}
