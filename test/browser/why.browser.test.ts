import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { startBrowser } from '../support/browser.ts'
import type { DevicePage } from '../device/page.ts'
import { deviceSite, type Site } from '../device/site.ts'
import { until } from '../support/support.ts'

// What a page is told when something is not there: its user, its network, the server at its address, SQLite. `auth` is
// asked in the page, and all the rest happens in a worker. In Node: client/src/why.test.ts.

let browser: Browser
let service: TestService
let site: Site

beforeAll(async () => void (browser = await startBrowser()))
afterAll(() => browser?.close())
beforeEach(async () => {
  service = await TestService.start()
  site = await deviceSite()
  site.token = unsigned('alice')
  service.page = (path) => site.page(path)
})
afterEach(async () => {
  for (const context of browser.contexts()) await context.close()
  await service.close()
})

type Options = Parameters<DevicePage['open']>[0]

async function visit(): Promise<Page> {
  const page = await (await browser.newContext()).newPage()
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  await page.goto(`${service.url}/`)
  return page
}

async function open(options: Options = {}): Promise<Page> {
  const page = await visit()
  await page.evaluate((given) => window.page.open(given), { user: 'alice', ...options })
  return page
}

const status = (page: Page) => page.evaluate(() => window.page.db.status)

/** What is told first, apart from that it connects. */
async function problem(page: Page): Promise<{ state: string; error?: { code: string; message: string } }> {
  let last = await status(page)
  await until(
    'a problem',
    async () => 'error' in (last = await status(page)),
    30,
    () => last,
  )
  return last
}

test('a page whose address for tokens says 401 is signed out; one whose address cannot be reached is without a network', async () => {
  site.token = null
  expect(await problem(await open())).toMatchObject({ state: 'needs-auth', error: { code: 'signed_out' } })
  const page = await visit()
  await page.route('**/token', (route) => route.abort())
  await page.evaluate(() => window.page.open({ user: 'alice' }))
  expect(await problem(page)).toMatchObject({
    state: 'error',
    error: { code: 'network', message: 'auth() failed: Failed to fetch' },
  })
})

test('a server that is not a Rockpool, one without CORS, and no server at all are distinguished', async () => {
  service.withoutSockets = true
  const here = await problem(await open())
  expect(here.error).toMatchObject({
    code: 'url',
    message: expect.stringContaining('answered 404 (application/json) and is no Rockpool'),
  })
  const other = await TestService.start()
  other.withoutSockets = true
  other.page = () => ({ type: 'text/html', body: 'hello' })
  expect((await problem(await open({ url: other.url }))).error).toEqual({
    code: 'network',
    message: `${other.url}/sync/stream could not be opened: somebody answers, but not as Rockpool does: is \`url\` right?`,
  })
  await other.close()
  expect((await problem(await open({ url: other.url }))).error).toEqual({
    code: 'network',
    message: `${other.url}/sync/stream could not be opened: nobody answers: is \`url\` right?`,
  })
})

test('without SQLite or the worker, the error says what was answered instead', async () => {
  const refused = async (): Promise<string> => {
    const page = await visit()
    return page.evaluate(() =>
      window.page.open({ user: 'alice' }).then(
        () => 'opened',
        (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
      ),
    )
  }
  site.wasm = { status: 500, type: 'text/plain', body: 'Internal error' }
  expect(await refused()).toBe(`wasm: ${service.url}/sqlite3.wasm was answered 500`)
  site.wasm = { type: 'text/html', body: '<!doctype html>' }
  expect(await refused()).toBe(
    `wasm: ${service.url}/sqlite3.wasm was answered with text/html, which is not WebAssembly`,
  )
  site.wasm = null
  service.page = (path) => (path === '/worker.js' ? { status: 404 } : site.page(path))
  expect(await refused()).toBe('storage: the worker /worker.js could not be loaded: is `workerUrl` right?')
})
