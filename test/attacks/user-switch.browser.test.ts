import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { startDevice } from '../support/browser.ts'
import { deviceSite, type Site } from '../device/site.ts'
import { temporaryDirectory, until } from '../support/support.ts'
import { Notes } from './device-owners.ts'

// Bob opens the browser that Alice has used and left, also while a tab of hers is open. Tokens come from the session of
// the browser, so a tab of hers gets his after he has signed in.

let notes: Notes
let site: Site
let profile: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext
const complaints: string[] = []

beforeAll(async () => {
  notes = await Notes.start()
  site = await deviceSite()
  notes.backend.page = (path) => site.page(path)
})
afterAll(() => notes?.end())
beforeEach(async () => {
  await notes.prepare()
  profile = await temporaryDirectory()
  browser = await startDevice(profile.path)
})
afterEach(async () => {
  await browser.close()
  await profile.remove()
})

async function open(user: string | null): Promise<Page> {
  const page = await browser.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  await page.goto(`${notes.backend.url}/`)
  const url = notes.edge.url
  const schema = { tables: { notes: { columns: { owner_id: 'text', body: 'text' } } } } as const
  await page.evaluate((given) => window.page.open(given), { url, schema, ...(user === null ? {} : { user }) })
  return page
}

const signIn = async (user: string) => void (site.token = await notes.token(user))
const bodies = (page: Page) =>
  page.evaluate(async () =>
    (await window.page.db.query<{ body: string }>('SELECT body FROM notes ORDER BY id')).map(({ body }) => body),
  )
const shows = (page: Page, wanted: string[]) =>
  until(
    'the rows',
    async () => JSON.stringify(await bodies(page)) === JSON.stringify(wanted),
    120,
    () => status(page),
  )
const status = (page: Page) => page.evaluate(() => window.page.db.status)
const read = (page: Page) => page.evaluate(() => window.page.attempt(() => window.page.db.query('SELECT * FROM notes')))
const write = (page: Page, id: string, body: string) =>
  page.evaluate(
    ([given, text]) =>
      window.page.attempt(() =>
        window.page.db.write((tx) => tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [given, text])),
      ),
    [id, body] as const,
  )
const live = (page: Page) =>
  page.evaluate(() =>
    window.page.attempt(
      () => new Promise((resolve, reject) => window.page.db.live('SELECT * FROM notes', [], resolve, reject)),
    ),
  )
const signOut = (page: Page, unsent: 'refuse' | 'wait' | 'discard') =>
  page.evaluate((how) => window.page.attempt(() => window.page.db.signOut({ unsent: how, timeout: 120_000 })), unsent)

/** Alice has her note, and has written another one offline. */
async function alice(user: string | null): Promise<Page> {
  await signIn('alice')
  const page = await open(user)
  await shows(page, ['her PIN is 4711'])
  await page.evaluate(() => window.page.db.disconnect())
  expect(await write(page, 'c', 'my bank is …')).toBe('ok')
  return page
}

test.each([
  ['both say who they are', true],
  ['only the tokens say it', false],
])(
  '%s: after a restart of the browser he reads and sends nothing of hers, and she finds it again',
  async (_, named) => {
    await alice(named ? 'alice' : null)
    await browser.close()
    browser = await startDevice(profile.path)
    await signIn('bob')
    const bob = await open(named ? 'bob' : null)
    expect([await read(bob), await live(bob), await write(bob, 'd', 'x')]).toEqual([
      'other_user',
      'other_user',
      'other_user',
    ])
    await until(
      'it to be told',
      async () => JSON.stringify(await status(bob)).includes('other_user'),
      60,
      () => status(bob),
    )
    expect(await signOut(bob, 'refuse')).toBe('unsent')
    await bob.close()
    expect(notes.uploaded).toEqual([])
    await signIn('alice')
    const again = await open(named ? 'alice' : null)
    await shows(again, ['her PIN is 4711', 'my bank is …'])
    await until('the upload', async () => notes.uploaded.length === 1)
    expect(notes.uploaded).toEqual([{ as: 'alice', body: 'my bank is …' }])
  },
)

test.each([
  ['both say who they are', true],
  ['only the tokens say it', false],
])('%s: his tab beside hers is shown nothing, and hers sends nothing with his token', async (_, named) => {
  const hers = await alice(named ? 'alice' : null)
  await signIn('bob')
  const his = await open(named ? 'bob' : null)
  expect([await read(his), await live(his), await write(his, 'd', 'x')]).toEqual([
    'other_user',
    'other_user',
    'other_user',
  ])
  expect(await status(his)).toMatchObject({ state: 'needs-auth', error: { code: 'other_user' }, lastSyncedAt: null })
  expect(await bodies(hers)).toEqual(['her PIN is 4711', 'my bank is …'])
  await hers.reload()
  // Her page begins anew, in the session that is his now.
  const url = notes.edge.url
  const schema = { tables: { notes: { columns: { owner_id: 'text', body: 'text' } } } } as const
  await hers.evaluate((given) => window.page.open(given), { url, schema, ...(named ? { user: 'alice' } : {}) })
  await until(
    'it to be told',
    async () => JSON.stringify(await status(hers)).includes('other_user'),
    60,
    () => status(hers),
  )
  expect(await read(hers)).toBe('other_user')
  expect(notes.uploaded).toEqual([])
})

test('when she signs out in one tab all her tabs are closed, and he has a database of his own', async () => {
  const first = await alice('alice')
  const second = await open('alice')
  await shows(second, ['her PIN is 4711', 'my bank is …'])
  expect(await signOut(second, 'refuse')).toBe('unsent')
  await first.evaluate(() => window.page.db.connect())
  expect(await signOut(second, 'wait')).toBe('ok')
  expect(notes.uploaded).toEqual([{ as: 'alice', body: 'my bank is …' }])
  await until(
    'both tabs to be closed',
    async () => (await status(first)).state === 'closed' && (await status(second)).state === 'closed',
  )
  expect([await read(first), await read(second)]).toEqual(['closed', 'closed'])
  const files = await second.evaluate(async () => {
    const names: string[] = []
    for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name)
    return { names, marks: Object.keys(localStorage) }
  })
  expect(files).toEqual({ names: [], marks: [] })
  await signIn('bob')
  const his = await open('bob')
  await shows(his, ['his own note'])
})

test('he may wipe what she left, when he says so, and then has his own', async () => {
  await (await alice('alice')).close()
  await signIn('bob')
  const bob = await open('bob')
  expect(await bob.evaluate(() => window.page.attempt(() => window.page.db.wipe()))).toBe('ok')
  const his = await open('bob')
  await shows(his, ['his own note'])
  expect(notes.uploaded).toEqual([])
})

test('the pages had nothing to complain about', () => {
  expect(complaints).toEqual([])
})
