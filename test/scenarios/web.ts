import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../support/browser.ts'
import type { ClientKind, ClientOptions, ScenarioClient } from './client.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const WORKER = 'node_modules/@powersync/web/dist/worker'
const TYPES: Record<string, string> = { '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' }

/** `@powersync/web` in a real browser: one page, whose clients are called by their numbers. */
export async function webKinds(): Promise<{ kinds: ClientKind[]; complaints: string[]; end(): Promise<void> }> {
  const files = await pageFiles()
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://page').pathname
    const file = files.get(path)
    response.writeHead(file ? 200 : 404, { 'content-type': TYPES[extname(path)] ?? 'text/html' })
    response.end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const browser = await startBrowser()
  const complaints: string[] = []
  const page = await browser.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  const clients: ClientOptions[] = []
  await page.exposeFunction('scenarioToken', (client: number) => clients[client]?.token())
  await page.exposeFunction('scenarioUpload', (client: number, ops: Parameters<ClientOptions['upload']>[0]) =>
    clients[client]?.upload(ops),
  )
  await page.goto(`http://127.0.0.1:${address.port}/`)
  const kind = (name: string, method: 'http' | 'web-socket'): ClientKind => ({
    name,
    open: async (options) => {
      const client = clients.push(options) - 1
      const { name, endpoint, includeDefaults } = options
      const plain = { name, endpoint, ...(includeDefaults === undefined ? {} : { includeDefaults }) }
      await page.evaluate(([n, given, how]) => window.openClient(n, given, how), [client, plain, method] as const)
      return remote(page, client)
    },
  })
  return {
    kinds: [kind('web 2.4, HTTP', 'http'), kind('web 2.4, WebSocket', 'web-socket')],
    complaints,
    end: () => close(browser, server),
  }
}

/** The methods of a client in the page. */
function remote(page: Page, client: number): ScenarioClient {
  const call = async <T>(method: keyof ScenarioClient, ...parameters: unknown[]): Promise<T> =>
    (await page.evaluate(([n, name, given]) => window.callClient(n, name, given), [
      client,
      method,
      parameters,
    ] as const)) as T
  return {
    rows: (sql, parameters) => call('rows', sql, parameters ?? []),
    execute: (sql, parameters) => call('execute', sql, parameters ?? []),
    connect: () => call('connect'),
    disconnect: () => call('disconnect'),
    synced: (priority) => (priority === undefined ? call('synced') : call('synced', priority)),
    status: () => call('status'),
    subscribe: (stream, parameters, options) => call('subscribe', stream, parameters, options ?? {}),
    unsubscribe: (subscription) => call('unsubscribe', subscription),
    close: () => call('close'),
  }
}

async function pageFiles(): Promise<Map<string, Uint8Array | string>> {
  const { outputFiles } = await build({
    entryPoints: [root('test/scenarios/page/app.ts')],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    outfile: 'app.js',
    logLevel: 'error',
    // The workers come as files of their own.
    external: ['*.wasm'],
  })
  const files = new Map<string, Uint8Array | string>([
    ['/', '<!doctype html><title>Scenarios</title><script type="module" src="/app.js"></script>'],
  ])
  for (const file of outputFiles) files.set('/app.js', file.contents)
  for (const [path, content] of await powersyncWorkers()) files.set(path, content)
  return files
}

/** The workers of `@powersync/web`, with what they load, by their paths. */
export async function powersyncWorkers(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  for (const folder of ['', 'assets']) {
    for (const entry of await readdir(root(join(WORKER, folder)), { withFileTypes: true })) {
      if (!entry.isFile() || entry.name.endsWith('.map')) continue
      files.set(`/${join('worker', folder, entry.name)}`, await readFile(root(join(WORKER, folder, entry.name))))
    }
  }
  return files
}

async function close(browser: Browser, server: ReturnType<typeof createServer>): Promise<void> {
  await browser.close()
  server.closeAllConnections()
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
