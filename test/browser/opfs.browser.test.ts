import type { BrowserContext, Page } from 'playwright-core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { bundled, deviceSite, sqliteWasm } from '../device/site.ts'
import type { Commands } from '../device/opfs-worker.ts'
import { killDevice, startDevice } from '../support/browser.ts'
import { generator } from '../support/random.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// The VFS over real handles: what was acknowledged is in the file after the worker, the page or the whole browser has
// gone, and on a full disk.

const NAME = 'notes'
const BYTES = 4_000
const MB = 1 << 20

let service: TestService
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext
/** What any page was told to be stored. */
let acknowledged: number[] = []

async function start(): Promise<void> {
  browser = await startDevice(`${directory.path}/profile`)
  await browser.exposeFunction('told', (n: number) => void acknowledged.push(n))
}

beforeEach(async () => {
  directory = await temporaryDirectory()
  service = await TestService.start()
  const scripts = await bundled({ opfs: 'test/device/opfs-page.ts', 'opfs-worker': 'test/device/opfs-worker.ts' })
  const wasm = await sqliteWasm()
  const site = await deviceSite()
  site.token = unsigned('alice')
  service.page = (path) => {
    if (path.startsWith('/today')) return site.page(path.slice('/today'.length))
    if (['/app.js', '/worker.js', '/token'].includes(path)) return site.page(path)
    if (path === '/')
      return {
        type: 'text/html',
        body: '<!doctype html><title>OPFS</title><script type="module" src="/opfs.js"></script>',
      }
    if (path === '/sqlite3.wasm') return { type: 'application/wasm', body: wasm }
    const script = scripts.get(path)
    return script === undefined ? { status: 404 } : { type: 'text/javascript', body: script }
  }
  acknowledged = []
  await start()
})
afterEach(async () => {
  await browser.close().catch(() => {})
  await service.close()
  await directory.remove()
})

async function visit(): Promise<Page> {
  const page = await browser.newPage()
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  await page.goto(`${service.url}/`)
  await page.evaluate(() => window.opfs.begin())
  return page
}

const call = <C extends keyof Commands>(
  page: Page,
  command: C,
  ...args: Parameters<Commands[C]>
): Promise<Awaited<ReturnType<Commands[C]>>> =>
  page.evaluate(([name, given]) => window.opfs.call(name as keyof Commands, ...(given as never)) as Promise<never>, [
    command,
    args,
  ] as const)

async function open(): Promise<Page> {
  const page = await visit()
  expect(await call(page, 'open', NAME, false)).toBe('opfs')
  return page
}

const numbers = async (page: Page): Promise<unknown[]> => (await call(page, 'all', 'SELECT n FROM t ORDER BY n')).flat()
const isWhole = async (page: Page): Promise<void> =>
  expect(await call(page, 'all', 'PRAGMA integrity_check')).toEqual([['ok']])

/** Writes without a pause until so many more are acknowledged. */
async function writeOn(page: Page, count: number): Promise<void> {
  const before = acknowledged.length
  const from = (await numbers(page)).length
  void call(page, 'endlessly', from, BYTES).catch(() => {})
  await until('writes to be acknowledged', async () => acknowledged.length >= before + count, 60)
}

/** Everything acknowledged is there, also what nobody heard of any more, and no write without those before it. */
async function hasAll(page: Page): Promise<void> {
  await isWhole(page)
  const found = await numbers(page)
  expect(found).toEqual(Array.from(found, (_, n) => n))
  expect(acknowledged.filter((n) => n >= found.length)).toEqual([])
}

test('rows survive a reload and the browser, and a file can be deleted', async () => {
  const page = await open()
  for (let n = 0; n < 20; n++) await call(page, 'insert', n, BYTES)
  await call(page, 'close')
  await browser.close()
  await start()
  const again = await open()
  expect(await numbers(again)).toEqual(Array.from({ length: 20 }, (_, n) => n))
  await isWhole(again)
  await call(again, 'close')
  await call(again, 'remove', NAME)
  expect(await call(again, 'open', NAME, false)).toBe('opfs')
  expect(await numbers(again)).toEqual([])
})

test('a worker that is ended in the middle of a write has lost nothing that was acknowledged', async () => {
  const page = await open()
  const random = generator(1)
  for (let round = 1; round <= 12; round++) {
    await writeOn(page, 5 + Math.floor(random() * 120))
    await page.evaluate(() => window.opfs.begin())
    expect(await call(page, 'open', NAME, true)).toBe('opfs')
    await hasAll(page)
  }
})

test('neither has a page that is reloaded, nor a browser that is killed', async () => {
  let page = await open()
  for (let round = 1; round <= 6; round++) {
    await writeOn(page, 40 * round)
    if (round % 2 === 0) {
      killDevice(`${directory.path}/profile`)
      await browser.close().catch(() => {})
      await start()
    } else await page.close()
    page = await open()
    await hasAll(page)
  }
})

test('a second tab waits with a reason, holds nothing meanwhile, and gets the file when it is free', async () => {
  const first = await open()
  await call(first, 'insert', 1, BYTES)
  const second = await visit()
  const opening = call(second, 'open', NAME, true)
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  await call(first, 'insert', 2, BYTES)
  await call(first, 'close')
  // The first one would not get them again if the second held one of three.
  expect(await opening).toBe('opfs')
  expect(new Set(await call(second, 'reported'))).toEqual(new Set(['storage_busy']))
  expect(await numbers(second)).toEqual([1, 2])
  await isWhole(second)
})

test('a disk that is full at any moment of a download still takes a hundred writes of 4 KB, and they survive a kill', async () => {
  const ROUNDS = Number(process.env.ROCKPOOL_QUOTA_ROUNDS ?? 4)
  const random = generator(7)
  for (let round = 0; round < ROUNDS; round++) {
    const page = await open()
    const cdp = await browser.newCDPSession(page)
    const limit = async (quotaSize?: number): Promise<void> =>
      void (await cdp.send('Storage.overrideQuotaForOrigin', {
        origin: service.url,
        ...(quotaSize === undefined ? {} : { quotaSize }),
      }))
    const used = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0)
    await limit(used + 2 * MB + Math.floor(random() * 12 * MB))
    const begun = (round + 1) * 1_000_000
    // A download takes its space before each of its transactions.
    let n = begun
    let refused = ''
    while (refused === '' && n < begun + 500) {
      try {
        await call(page, 'reserve', MB)
        await call(page, 'insert', n, MB >> 1)
        n++
      } catch (error) {
        refused = String(error)
      }
    }
    expect(refused).toContain('Quota')
    expect(await call(page, 'broken')).toBe(false)
    for (let local = 0; local < 100; local++) {
      await call(page, 'insert', begun + 500_000 + local, BYTES)
      acknowledged.push(begun + 500_000 + local)
    }
    expect((await call(page, 'all', 'PRAGMA wal_checkpoint(RESTART)'))[0]?.[0]).toBe(0)
    await page.evaluate(() => window.opfs.begin())
    expect(await call(page, 'open', NAME, true)).toBe('opfs')
    await isWhole(page)
    const found = await numbers(page)
    expect(acknowledged.filter((each) => !found.includes(each))).toEqual([])
    await limit()
    await page.close()
  }
})

test('a file of the client of today is moved, ended at each step: queue, failed writes and user are there once', async () => {
  const today = await browser.newPage()
  await today.goto(`${service.url}/today/`)
  service.upload = ({ body }) =>
    body.includes('refused')
      ? { status: 400, body: '{"error":{"code":"no","message":"no"}}' }
      : { status: 503, body: '' }
  service.connected = (socket) => socket.close(4503)
  await today.evaluate(async () => {
    await window.page.open({ user: 'alice' })
    await window.page.db.write((tx) => tx.execute("INSERT INTO notes VALUES ('x', 'refused')"))
    for (const id of ['a', 'b'])
      await window.page.db.write((tx) => tx.execute('INSERT INTO notes VALUES (?, ?)', [id, `of ${id}`]))
  })
  await until('the refusal', async () => (await today.evaluate(() => window.page.db.status.failedWrites)) === 1, 30)
  await today.close()
  const page = await visit()
  const outcomes: unknown[] = []
  for (const step of ['opened', 'moved', 'flushed', 'closed', 'opened', 'closed'] as const) {
    expect(await call(page, 'open', 'device', false)).toBe('opfs')
    outcomes.push(await call(page, 'move', 'device', step))
    await page.evaluate(() => window.opfs.begin())
  }
  const [opened, moved, flushed, first, , second] = outcomes
  expect([opened, moved, flushed]).toEqual(['opened', 'moved', 'flushed'])
  expect(first).toMatchObject({
    over: false,
    notes: [
      ['a', 'of a'],
      ['b', 'of b'],
    ],
    failed: ['no'],
    user: ['alice'],
  })
  expect((first as { ids: string[] }).ids).toHaveLength(2)
  expect(second).toEqual(first)
  expect(await call(page, 'open', 'device', true)).toBe('opfs')
  expect(await call(page, 'move', 'device', 'removed')).toBe(true)
  expect(await call(page, 'move', 'device', 'closed')).toBe('there is no old file')
})
