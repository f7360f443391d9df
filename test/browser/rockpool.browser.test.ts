import type { BrowserContext, Page } from 'playwright-core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { accepting, rockpoolSite, type RockpoolSite } from '../device/site.ts'
import { startDevice } from '../support/browser.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// `createRockpool` in a real browser, with a profile that stays: several tabs of one database, and what becomes of
// writes, live queries and uploads when one of them goes.

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

type Options = { user?: string; connect?: boolean; name?: string }

async function open(options: Options = {}): Promise<Page> {
  const page = await visit()
  await page.evaluate((given) => window.rockpool.open(given), options)
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
