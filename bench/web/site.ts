import { createServer } from 'node:http'
import { extname } from 'node:path'
import { bundled, sqliteWasm } from '../../test/device/site.ts'
import { powersyncWorkers } from '../../test/scenarios/web.ts'

const TYPES: Record<string, string> = { '.js': 'text/javascript', '.wasm': 'application/wasm' }

export interface WebSite {
  /** The address of the page of a client. */
  url(client: 'ours' | 'theirs', edge: string, user: string): string
  close(): Promise<void>
}

/** Serves the pages of both clients, a token, and a backend that accepts everything. */
export async function webSite(token: () => Promise<string>): Promise<WebSite> {
  const files = new Map<string, Uint8Array | string>([
    ...(await bundled({
      ours: 'bench/web/ours.ts',
      theirs: 'bench/web/theirs.ts',
      'rockpool-worker': 'client/src/tabs/worker.ts',
    })),
    ...(await powersyncWorkers()),
    ['/sqlite3.wasm', await sqliteWasm()],
  ])
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://page')
    if (pathname === '/token') return response.end(await token())
    if (pathname === '/upload') {
      const parts: Uint8Array[] = []
      for await (const part of request) parts.push(part as Uint8Array)
      const { transactions }: { transactions: { id: string }[] } = JSON.parse(Buffer.concat(parts).toString())
      response.setHeader('content-type', 'application/json')
      return response.end(JSON.stringify({ verdicts: transactions.map(({ id }) => ({ id, result: 'accepted' })) }))
    }
    const client = /^\/pages\/(\w+)$/.exec(pathname)?.[1]
    if (client !== undefined) {
      response.setHeader('content-type', 'text/html')
      return response.end(`<!doctype html><title>Bench</title><script type="module" src="/${client}.js"></script>`)
    }
    const file = files.get(pathname)
    response.writeHead(file === undefined ? 404 : 200, { 'content-type': TYPES[extname(pathname)] ?? 'text/plain' })
    return response.end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return {
    url: (client, edge, user) =>
      `http://127.0.0.1:${address.port}/pages/${client}?edge=${encodeURIComponent(edge)}&user=${user}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
