import type { BrowserContext, Page } from 'playwright-core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { accepting, deviceSite, rockpoolSite, type RockpoolSite } from '../device/site.ts'
import { startDevice } from '../support/browser.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// `createRockpool` in a real browser, with a profile that stays: several tabs of one database, and what becomes of
// writes, live queries and uploads when one of them goes. The file is long because one setting serves all of it.

let service: TestService
let site: RockpoolSite
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext

beforeEach(async () => {
  directory = await temporaryDirectory()
  service = await TestService.start()
  service.upload = ({ body }) => accepting(body)
  site = await rockpoolSite()
  site.token = unsigned('alice')
  service.page = (path) => site.page(path)
  browser = await startDevice(`${directory.path}/profile`)
})
afterEach(async () => {
  await browser.close().catch(() => {})
  await service.close()
  await directory.remove()
})

async function visit(): Promise<Page> {
  const page = await browser.newPage()
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  if (process.env.ROCKPOOL_LOG) page.on('pageerror', (error) => console.log(`[page] ${String(error)}`))
  await page.goto(`${service.url}/`)
  return page
}

type Options = { user?: string | undefined; connect?: boolean; name?: string; worker?: string; wasm?: string }

async function open(options: Options = {}): Promise<Page> {
  const page = await visit()
  await page.evaluate((given) => window.rockpool.open(given as object), options)
  return page
}

const insert = (page: Page, id: string): Promise<string> => page.evaluate((each) => window.rockpool.insert(each), id)
const ids = async (page: Page): Promise<string[]> =>
  ((await page.evaluate(() => window.rockpool.all('SELECT id FROM notes ORDER BY id'))) as { id: string }[]).map(
    ({ id }) => id,
  )
const shown = (page: Page): Promise<string[]> => page.evaluate(() => window.rockpool.shown)
const status = (page: Page) => page.evaluate(() => window.rockpool.db.status)
const posted = (): { id: string; ops: { id: string }[] }[] =>
  service.posts.flatMap(({ body }) => JSON.parse(body).transactions as { id: string; ops: { id: string }[] }[])
const follow = (page: Page): Promise<void> => page.evaluate(() => window.rockpool.follow())

/** Ends the worker of a tab in the middle of whatever it does. */
const endWorker = async (page: Page): Promise<void> =>
  void (await page
    .workers()[0]
    ?.evaluate('self.close()')
    .catch(() => {}))

test('tabs share one database: writes of each are shown by all, also after a reload', async () => {
  const [a, b] = [await open(), await open()]
  await follow(a)
  await follow(b)
  expect(await insert(a, 'of a')).toBe('ok')
  expect(await shown(a)).toEqual(['of a'])
  expect(await insert(b, 'of b')).toBe('ok')
  // Its own screen has it when the write resolves.
  expect(await shown(b)).toEqual(['of a', 'of b'])
  await until('the other screen', async () => (await shown(a)).length === 2, 10)
  await until('the uploads', async () => posted().length === 2, 20)
  await a.reload()
  await a.evaluate(() => window.rockpool.open())
  expect(await ids(a)).toEqual(['of a', 'of b'])
  expect((await status(a)).storage).toMatchObject({ kind: 'opfs', state: 'ok' })
  const made = await a.evaluate(async () => {
    const written = await window.rockpool.db.notes.insert({ body: 'typed' })
    const note = await window.rockpool.db.notes.get(written.value)
    return { note, accepted: await written.accepted, id: written.id }
  })
  expect(made).toMatchObject({ note: { body: 'typed', done: false }, accepted: { result: 'accepted' } })
})

test('every tab is told how much space the origin uses, and has', async () => {
  const [, b] = [await open(), await open()]
  const { storage } = await until('the browser to say', async () => {
    const told = await status(b)
    return told.storage.quota !== undefined && told
  })
  expect(storage).toMatchObject({ kind: 'opfs', state: 'ok', persisted: expect.any(Boolean) })
  expect(storage.used).toBeGreaterThan(1 << 20)
  expect(storage.quota).toBeGreaterThan(storage.used ?? 0)
})

test('when the tab that owns the file closes, the next one takes over, with its live queries', async () => {
  const a = await open()
  const b = await open()
  await follow(b)
  await insert(a, '1')
  await until('the row', async () => (await shown(b)).length === 1, 10)
  await a.close()
  expect(await insert(b, '2')).toBe('ok')
  await until('both rows', async () => (await shown(b)).length === 2, 10)
  await insert(b, '3')
  expect(await shown(b)).toEqual(['1', '2', '3'])
})

test('a transaction of a tab whose owner ends is lost as a whole, and says so; others go on', async () => {
  const a = await open()
  const b = await open()
  const slow = b.evaluate(() => window.rockpool.slowly('s'))
  await until('the transaction', async () => b.evaluate(() => window.rockpool.held), 10)
  await endWorker(a)
  await until('an owner', async () => (await insert(b, 'after')) === 'ok', 20)
  await b.evaluate(() => window.rockpool.release())
  expect(await slow).toBe('owner_lost')
  expect(await ids(b)).toEqual(['after'])
  expect(await insert(a, 'of a')).toBe('ok')
})

test('users of one browser have databases of their own, and a token of another user opens none', async () => {
  const a = await open()
  await insert(a, 'of alice')
  const b = await open({ user: 'bob', connect: false })
  expect(await ids(b)).toEqual([])
  await insert(b, 'of bob')
  // The application says that bob is here, and has alice's token.
  await b.evaluate(() => window.rockpool.db.connect())
  await until('a refusal', async () => (await status(b)).state === 'needs-auth', 10)
  expect(await b.evaluate(() => window.rockpool.attempt(() => window.rockpool.all('SELECT 1')))).toBe('other_user')
  expect(posted().flatMap(({ ops }) => ops.map(({ id }) => id))).not.toContain('of bob')
  await b.close()
  const again = await open({ user: 'bob', connect: false })
  expect(await ids(again)).toEqual(['of bob'])
})

test('without the option user the database belongs to the first token, and a tab of another user is shown nothing', async () => {
  const a = await open({ user: undefined })
  await insert(a, 'of alice')
  await until('a connection', async () => service.sockets.length > 0, 10)
  site.token = unsigned('bob')
  const b = await open({ user: undefined })
  expect(await status(b)).toMatchObject({ state: 'needs-auth', error: { code: 'other_user' } })
  expect(await b.evaluate(() => window.rockpool.attempt(() => window.rockpool.all('SELECT 1')))).toBe('other_user')
  expect(await insert(b, 'of bob')).toBe('other_user')
  expect(await ids(a)).toEqual(['of alice'])
})

test('a tab that closes its database lets another one own it, and may open it again', async () => {
  const [a, b] = [await open(), await open()]
  await insert(a, '1')
  await a.evaluate(() => window.rockpool.db.close())
  expect((await status(a)).state).toBe('closed')
  expect(await insert(b, '2')).toBe('ok')
  await a.evaluate(() => window.rockpool.open())
  expect(await ids(a)).toEqual(['1', '2'])
  // For the same user everything stays.
  await a.evaluate(() => window.rockpool.db.signOut({ keepRows: true }))
  await until('the end', async () => (await status(b)).state === 'closed', 10)
  await b.evaluate(() => window.rockpool.open())
  expect(await ids(b)).toEqual(['1', '2'])
})

test('a worker or a SQLite that is not there is said to be, and whoever asks later tries again', async () => {
  const page = await visit()
  const ready = (options: Options) =>
    page.evaluate((given) => window.rockpool.attempt(() => window.rockpool.open(given as object)), options)
  expect(await ready({ worker: '/nothing.js' })).toBe('worker')
  expect(await ready({ wasm: '/nothing.wasm' })).toBe('wasm')
  expect(await ready({})).toBe('ok')
  expect(await insert(page, 'works')).toBe('ok')
})

test('an owner that works for long says so to the other tabs in the middle of it', async () => {
  const [a, b] = [await open({ connect: false }), await open({ connect: false })]
  await insert(a, '1')
  await b.evaluate(async () => {
    const { held } = await navigator.locks.query()
    const name = held?.find((lock) => lock.name?.endsWith('/owner'))?.name?.replace(/owner$/, 'all') ?? ''
    const heard: unknown[] = []
    Object.assign(window, { heard })
    new BroadcastChannel(name).addEventListener('message', ({ data }) => heard.push(data))
  })
  const count =
    'WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 6000000) SELECT count(*) AS c FROM n'
  const [, rows] = await Promise.all([a.evaluate((text) => window.rockpool.all(text), count), ids(b)])
  expect(rows).toEqual(['1'])
  const heard = await b.evaluate(() => (window as unknown as { heard: object[] }).heard)
  expect(heard.filter((message) => 'busy' in message).length).toBeGreaterThan(0)
})

test('a sign-out in one tab closes all, deletes the file, and nothing unsent unasked', async () => {
  service.upload = () => ({ status: 503 })
  const [a, b] = [await open(), await open()]
  await insert(a, 'unsent')
  const signOut = (page: Page, unsent?: 'discard') =>
    page.evaluate(
      (given) => window.rockpool.attempt(() => window.rockpool.db.signOut(given ? { unsent: given } : {})),
      unsent,
    )
  expect(await signOut(b)).toBe('unsent')
  expect(await ids(b)).toEqual(['unsent'])
  expect(await signOut(b, 'discard')).toBe('ok')
  for (const page of [a, b]) await until('the end', async () => (await status(page)).state === 'closed', 10)
  expect(await a.evaluate(() => window.rockpool.attempt(() => window.rockpool.all('SELECT 1')))).toBe('closed')
  await a.evaluate(() => window.rockpool.open())
  expect(await ids(a)).toEqual([])
})

test('a page that is kept for the back button lets another tab own the database, and comes back to it', async () => {
  await browser.close()
  browser = await startDevice(`${directory.path}/profile`, { backForward: true })
  const a = await open()
  await follow(a)
  await insert(a, '1')
  const b = await open()
  const expected = ['1']
  const reasons: unknown[] = []
  // Chromium keeps a page or not, as it likes: a busy machine is a reason not to.
  for (;;) {
    expected.push(String(expected.length + 1))
    await a.goto(`${service.url}/blank`)
    expect(await insert(b, expected.at(-1) ?? '')).toBe('ok')
    await a.evaluate(() => history.back())
    await until('the page of before', async () => (await a.evaluate(() => 'rockpool' in window)) === true, 10)
    // It is the same page, and not a new one.
    if (await a.evaluate(() => window.rockpool.shown.length > 0)) break
    reasons.push(
      await a.evaluate(() => {
        const [entry] = performance.getEntriesByType('navigation')
        return JSON.stringify((entry as { notRestoredReasons?: unknown } | undefined)?.notRestoredReasons)
      }),
    )
    expect(reasons.length, String(reasons)).toBeLessThan(5)
    await a.evaluate(() => window.rockpool.open())
    await follow(a)
  }
  if (process.env.ROCKPOOL_LOG) console.log('not kept', reasons)
  await until('what came meanwhile', async () => (await shown(a)).length === expected.length, 10)
  expect(await insert(a, 'last')).toBe('ok')
  expect(await ids(b)).toEqual([...expected, 'last'])
})

test('a frozen page lets go of the database, and comes back to it', async () => {
  const a = await open()
  const b = await open()
  await follow(a)
  await insert(a, '1')
  const cdp = await browser.newCDPSession(a)
  await cdp.send('Page.setWebLifecycleState', { state: 'frozen' })
  expect(await insert(b, '2')).toBe('ok')
  await cdp.send('Page.setWebLifecycleState', { state: 'active' })
  await until('what came meanwhile', async () => (await shown(a)).length === 2, 10)
  expect(await insert(a, '3')).toBe('ok')
})

test('what is written offline stays, and goes when the network is back', async () => {
  const page = await open()
  await browser.setOffline(true)
  expect(await insert(page, 'offline')).toBe('ok')
  await page.reload().catch(() => {})
  await browser.setOffline(false)
  await page.goto(`${service.url}/`)
  await page.evaluate(() => window.rockpool.open())
  expect(await ids(page)).toEqual(['offline'])
  await until('the upload', async () => posted().length > 0, 30)
  await until('an empty queue', async () => (await status(page)).upload.pending === 0, 30)
  expect(new Set(posted().map(({ id }) => id)).size).toBe(1)
})

test('what was not decided goes once more when the tab is closed', async () => {
  service.upload = () => ({ status: 503 })
  const page = await open()
  await insert(page, 'unsent')
  await until('a refusal', async () => (await status(page)).upload.state === 'waiting', 10)
  await until('a longer pause', async () => service.posts.length >= 3, 30)
  const before = service.posts.length
  await page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { value: 'hidden' })
    document.dispatchEvent(new Event('visibilitychange'))
  })
  await page.close()
  await until('the last request', async () => service.posts.length > before, 5)
})

/** Damages pages of the closed file: those with answers about writes, or the header of all. */
const damage = (page: Page, what: 'fates' | 'header'): Promise<number> =>
  page.evaluate(async (which) => {
    const PAGE = 8_192
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('rockpool')
    let damaged = 0
    for await (const name of folder.keys()) {
      if (!/\w\.db$/.test(name) || name.includes('corrupt')) continue
      const file = await folder.getFileHandle(name)
      const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer())
      if (which === 'header') bytes.fill(0x5a, 0, 100)
      else
        for (let at = PAGE; at < bytes.length; at += PAGE) {
          const text = new TextDecoder('latin1').decode(bytes.subarray(at, at + PAGE))
          // Names of calls: the UUID of a tab, and a number.
          if (!/[\da-f-]{36} \d/.test(text)) continue
          bytes.fill(0x5a, at, at + PAGE)
          damaged++
        }
      const writable = await file.createWritable()
      await writable.write(bytes)
      await writable.close()
    }
    return damaged
  }, what)

test('a file that turns out to be damaged is set aside; what was unsent is in the new one, and is uploaded once', async () => {
  const page = await open({ connect: false })
  for (let n = 0; n < 30; n++) await insert(page, `n${String(n).padStart(2, '0')}`)
  await page.evaluate(() => window.rockpool.db.close())
  await page.goto(`${service.url}/blank`)
  expect(await damage(page, 'fates')).toBeGreaterThan(0)
  await page.goto(`${service.url}/`)
  await page.evaluate(() => window.rockpool.open({ connect: false }))
  expect((await ids(page)).length).toBe(30)
  // It is refused, and not stored.
  expect(await insert(page, 'refused')).toBe('storage_corrupt')
  await until('the event', async () => (await page.evaluate(() => window.rockpool.events.length)) > 0, 20)
  expect(await page.evaluate(() => window.rockpool.events)).toEqual(['recovered {"unsent":30,"damaged":0}'])
  expect((await ids(page)).length).toBe(30)
  await page.evaluate(() => window.rockpool.db.connect())
  await until('an empty queue', async () => (await status(page)).upload.pending === 0, 30)
  const sent = posted().flatMap(({ ops }) => ops.map(({ id }) => id))
  expect([sent.length, new Set(sent).size]).toEqual([30, 30])
  await page.reload()
  await page.evaluate(() => window.rockpool.open())
  expect((await ids(page)).length).toBe(30)
  expect(await page.evaluate(() => window.rockpool.events)).toEqual([])
})

test('of a file whose beginning is damaged nothing can be read: it is kept, and a new one is begun', async () => {
  const page = await open({ connect: false })
  await insert(page, 'lost')
  await page.evaluate(() => window.rockpool.db.close())
  await page.goto(`${service.url}/blank`)
  await damage(page, 'header')
  await page.goto(`${service.url}/`)
  await page.evaluate(() => window.rockpool.open({ connect: false }))
  await until('the event', async () => (await page.evaluate(() => window.rockpool.events.length)) > 0, 20)
  expect(await page.evaluate(() => window.rockpool.events)).toEqual(['recovered {"unsent":0,"damaged":0}'])
  expect(await insert(page, 'new')).toBe('ok')
  const files = await page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('rockpool')
    const names: string[] = []
    for await (const name of folder.keys()) names.push(name)
    return names
  })
  expect(files.filter((name) => name.endsWith('.corrupt.db')).length).toBe(1)
  expect(files.filter((name) => name.endsWith('.json'))).toEqual([])
})

test('on a full disk a write is refused, says why, and what was stored is safe', async () => {
  const page = await open({ connect: false })
  await insert(page, 'before')
  const cdp = await browser.newCDPSession(page)
  const used = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0)
  await cdp.send('Storage.overrideQuotaForOrigin', { origin: service.url, quotaSize: used })
  const outcomes = await page.evaluate(async () => {
    const codes: string[] = []
    for (let n = 0; n < 80; n++) {
      const statement = {
        sql: 'INSERT INTO notes (id, body, done) VALUES (?, ?, 0)',
        params: [`n${n}`, 'x'.repeat(900_000)],
      }
      codes.push(await window.rockpool.attempt(() => window.rockpool.db.batch([statement])))
      if (codes.at(-1) !== 'ok') break
    }
    return codes
  })
  expect(outcomes.at(-1)).toBe('storage_full')
  await until('the status', async () => (await status(page)).storage.state === 'full', 5)
  const stored = ['before', ...outcomes.slice(0, -1).map((_, n) => `n${n}`)].sort()
  expect(await ids(page)).toEqual(stored)
  await endWorker(page)
  await cdp.send('Storage.overrideQuotaForOrigin', { origin: service.url })
  expect(await ids(page)).toEqual(stored)
  expect(await insert(page, 'after')).toBe('ok')
  expect((await status(page)).storage.state).toBe('ok')
})

test('a file of the client before is moved, with what was unsent in it', async () => {
  const old = await deviceSite()
  old.token = site.token
  service.page = (path) =>
    path.startsWith('/old')
      ? old.page(path.slice(4))
      : ['/app.js', '/worker.js'].includes(path)
        ? old.page(path)
        : site.page(path)
  service.upload = () => ({ status: 503 })
  const before = await browser.newPage()
  await before.goto(`${service.url}/old/`)
  await before.evaluate(async () => {
    await window.page.open({ user: 'alice', name: 'notes' })
    await window.page.db.write((tx) => tx.execute("INSERT INTO notes (id, body) VALUES ('a', 'of before')"))
  })
  // It has the file open, and the new page waits for it.
  const page = await visit()
  const opening = page.evaluate(() => window.rockpool.open())
  await until(
    'the reason',
    async () => page.evaluate(() => JSON.stringify(window.rockpool.db?.status.storage).includes('earlier version')),
    10,
  )
  await before.close()
  await opening
  expect(await ids(page)).toEqual(['a'])
  service.upload = ({ body }) => accepting(body)
  await until('the upload', async () => (await status(page)).upload.pending === 0, 60)
  expect(posted().at(-1)?.ops).toMatchObject([{ id: 'a' }])
})
