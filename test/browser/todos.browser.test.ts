import { mkdir } from 'node:fs/promises'
import { readFile } from 'node:fs/promises'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepareDatabase } from '../../examples/todos/database.ts'
import { startExample } from '../../examples/todos/server.ts'
import { startBrowser, startDevice } from '../support/browser.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until } from '../support/support.ts'

// The example as its users see it. The file is long because its tests share one edge and one browser.

const SEA = '10000000-0000-4000-8000-000000000001'
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let example: Awaited<ReturnType<typeof startExample>>
let browser: Browser
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const complaints: string[] = []

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await prepareDatabase(postgres.url)
  const syncConfig = await readFile(new URL('../../sync-config.yaml', import.meta.url), 'utf8')
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
  })
  example = await startExample({
    port: 0,
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    endpoint: edge.url,
  })
  browser = await startBrowser()
})

afterAll(async () => {
  await browser?.close()
  await example?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

async function open(query: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await newPage(options)
  await page.goto(`${example.url}/${query}`)
  await page.getByText('In step').first().waitFor()
  return page
}

async function newPage(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, deviceScaleFactor: 2, ...options })
  const page = await context.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  return page
}

const todo = (page: Page, user: string, title: string) => page.locator(`#${user} .todo`, { hasText: title })
const add = async (page: Page, user: string, list: string, title: string): Promise<void> => {
  const input = page.locator(`#${user}`).getByLabel(`Add a todo to ${list}`)
  await input.fill(title)
  await input.press('Enter')
}

test('a row inserted by SQL appears in the open page', async () => {
  const page = await open('')
  await todo(page, 'alice', 'Pack buckets and nets').waitFor()
  await postgres.sql()`insert into todos (id, list_id, title, owner_id) values (gen_random_uuid(), ${SEA}, 'From SQL', '')`
  await todo(page, 'alice', 'From SQL').waitFor()
  await todo(page, 'bob', 'From SQL').waitFor()
  expect(await todo(page, 'bob', 'Lemons').count()).toBe(0)
  const path = process.env.ROCKPOOL_SCREENSHOT
  if (path) {
    await mkdir(new URL('../../docs/images/', import.meta.url), { recursive: true })
    await page.screenshot({ path })
  }
  await page.context().close()
})

test('a todo added in one tab appears in the other; offline changes arrive when it goes online', async () => {
  const alice = await open('?user=alice')
  const bob = await open('?user=bob')
  await add(alice, 'alice', 'Weekend at the sea', 'From Alice')
  await todo(bob, 'bob', 'From Alice').waitFor()
  await bob.getByRole('button', { name: 'Go offline' }).click()
  await bob.getByText('Offline', { exact: true }).waitFor()
  await todo(bob, 'bob', 'Book the ferry').getByRole('checkbox').check()
  await add(bob, 'bob', 'Weekend at the sea', 'Written offline')
  await bob.getByText('2 changes to send').waitFor()
  await add(alice, 'alice', 'Weekend at the sea', 'Meanwhile')
  const stored = async () => (await postgres.sql()`select 1 from todos where title = 'Written offline'`).length
  expect(await stored()).toBe(0)
  await bob.getByRole('button', { name: 'Go online' }).click()
  await todo(bob, 'bob', 'Meanwhile').waitFor()
  await todo(alice, 'alice', 'Written offline').waitFor()
  await alice.locator('#alice .todo.done', { hasText: 'Book the ferry' }).waitFor()
  expect(await stored()).toBe(1)
  await alice.context().close()
  await bob.context().close()
})

test('a killed edge is only a pause, and rows survive a reload', async () => {
  const page = await open('?user=alice')
  await edge.kill9()
  await add(page, 'alice', 'Groceries', 'After the crash')
  await until(
    'the upload',
    async () => (await postgres.sql()`select 1 from todos where title = 'After the crash'`).length === 1,
  )
  await postgres.sql()`update todos set done = true where title = 'After the crash'`
  await page.locator('#alice .todo.done', { hasText: 'After the crash' }).waitFor()
  await page.reload()
  await todo(page, 'alice', 'After the crash').waitFor()
  await page.context().close()
})

test('two tabs of one user share one database, and the second takes over when the first closes', async () => {
  const first = await open('?user=alice')
  const second = await first.context().newPage()
  await second.goto(`${example.url}/?user=alice`)
  await todo(second, 'alice', 'Lemons').waitFor()
  await add(second, 'alice', 'Groceries', 'From the second tab')
  await todo(first, 'alice', 'From the second tab').waitFor()
  await first.close()
  await add(second, 'alice', 'Groceries', 'With the new owner')
  await todo(second, 'alice', 'With the new owner').waitFor()
  await until(
    'the upload',
    async () => (await postgres.sql()`select 1 from todos where title = 'With the new owner'`).length === 1,
  )
  await second.context().close()
})

test('a write that the server refuses is taken back and shown with its reason', async () => {
  const page = await open('?user=bob')
  await todo(page, 'bob', 'Check the tide table').waitFor()
  await page.getByRole('button', { name: 'Go offline' }).click()
  await page.getByText('Offline', { exact: true }).waitFor()
  await add(page, 'bob', 'Weekend at the sea', 'Too late')
  await todo(page, 'bob', 'Too late').waitFor()
  await postgres.sql()`update lists set shared = false where id = ${SEA}`
  await page.getByRole('button', { name: 'Go online' }).click()
  await page.getByText('Not saved: this list belongs to somebody else').waitFor()
  expect(await todo(page, 'bob', 'Too late').count()).toBe(0)
  await postgres.sql()`update lists set shared = true where id = ${SEA}`
  // What can be done about it stands in one line.
  const again = await page.getByRole('button', { name: 'Try again' }).boundingBox()
  expect(again?.height).toBeLessThan(35)
  await page.getByRole('button', { name: 'Dismiss' }).click()
  await page.getByText('Not saved').waitFor({ state: 'detached' })
  await page.context().close()
})

test('a refused write is corrected or sent again, with what builds on it', async () => {
  const page = await open('?user=alice')
  await postgres.sql()`alter table todos add constraint polite check (title !~ 'rude')`
  await page.getByRole('button', { name: 'Go offline' }).click()
  await page.getByText('Offline', { exact: true }).waitFor()
  await add(page, 'alice', 'Groceries', 'rude apples')
  await todo(page, 'alice', 'rude apples').getByRole('checkbox').check()
  await add(page, 'alice', 'Groceries', 'rude bread')
  await page.getByText('3 changes to send').waitFor()
  await page.getByRole('button', { name: 'Go online' }).click()
  const refused = page.getByRole('alert').filter({ hasText: 'violates check constraint "polite"' })
  await until('two refusals', async () => (await refused.count()) === 2)
  expect(await refused.first().textContent()).toContain('(and a later change)')
  expect(await todo(page, 'alice', 'rude').count()).toBe(0)
  // They are still there after a reload.
  await page.reload()
  await until('two refusals again', async () => (await refused.count()) === 2)

  await refused.first().getByRole('button', { name: 'Edit' }).click()
  const input = page.getByLabel('Correct what was not saved')
  expect(await input.inputValue()).toBe('rude apples')
  await input.fill('kind apples')
  await input.press('Enter')
  await page.locator('#alice .todo.done', { hasText: 'kind apples' }).waitFor()
  await until('the correction', async () => {
    const [row] = await postgres.sql()`select done from todos where title = 'kind apples'`
    return row?.done === true
  })
  // It is refused again while the rule stands, and accepted when it does not.
  await refused.getByRole('button', { name: 'Try again' }).click()
  await until('the third refusal', async () => {
    const rejected = await postgres.sql()`select 1 from upload_verdicts where verdict ->> 'code' = 'constraint'`
    return rejected.length === 3
  })
  await until('its line', async () => (await refused.count()) === 1)
  await postgres.sql()`alter table todos drop constraint polite`
  await refused.getByRole('button', { name: 'Try again' }).click()
  await until(
    'the todo',
    async () => (await postgres.sql()`select 1 from todos where title = 'rude bread'`).length === 1,
  )
  await page.getByText('Not saved').waitFor({ state: 'detached' })
  await page.getByText('In step', { exact: true }).waitFor()
  await page.context().close()
})

test('signing out asks about unsent writes; nothing stays, and a later sign-in starts over', async () => {
  const page = await open('?user=bob')
  await page.getByRole('button', { name: 'Go offline' }).click()
  await page.getByText('Offline', { exact: true }).waitFor()
  await add(page, 'bob', 'Weekend at the sea', 'Never sent')
  await todo(page, 'bob', 'Never sent').waitFor()
  const questions: string[] = []
  const answers = [false, true]
  page.on('dialog', (dialog) => {
    questions.push(dialog.message())
    void (answers.shift() === true ? dialog.accept() : dialog.dismiss())
  })
  await page.getByRole('button', { name: 'Sign out' }).click()
  await until('the question', async () => questions.length === 1)
  await todo(page, 'bob', 'Never sent').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign in as Bob' }).click()
  await todo(page, 'bob', 'Check the tide table').waitFor()
  expect(await todo(page, 'bob', 'Never sent').count()).toBe(0)
  await page.context().close()
})

test('a user stays signed out, in a new tab and after a restart of the browser, until the next sign-in', async () => {
  const profile = `${directory.path}/profile`
  let device = await startDevice(profile)
  const visit = async (): Promise<Page> => {
    const page = await device.newPage()
    page.on('pageerror', (error) => complaints.push(String(error)))
    await page.goto(`${example.url}/?user=alice`)
    return page
  }
  const signedOut = async (page: Page): Promise<void> => {
    await page.getByRole('button', { name: 'Sign in as Alice' }).waitFor()
    expect(await page.getByText('Lemons').count()).toBe(0)
  }
  let page = await visit()
  await todo(page, 'alice', 'Lemons').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await signedOut(page)
  const asked: string[] = []
  device.on('request', (request) => asked.push(new URL(request.url()).pathname))
  await page.reload()
  await signedOut(page)
  await signedOut(await visit())
  await device.close()
  device = await startDevice(profile)
  page = await visit()
  await signedOut(page)
  // Nobody has asked for a token in his name meanwhile.
  expect(asked).not.toContain('/api/token')
  await page.getByRole('button', { name: 'Sign in as Alice' }).click()
  await todo(page, 'alice', 'Lemons').waitFor()
  await page.reload()
  await todo(page, 'alice', 'Lemons').waitFor()
  await device.close()
})

test('a user who went offline stays offline after a reload', async () => {
  const page = await open('?user=alice')
  await page.getByRole('button', { name: 'Go offline' }).click()
  await page.getByText('Offline', { exact: true }).waitFor()
  await page.reload()
  await page.getByText('Offline', { exact: true }).waitFor()
  await todo(page, 'alice', 'Lemons').waitFor()
  await page.getByLabel('New list of Alice').fill('Made offline')
  await page.getByLabel('New list of Alice').press('Enter')
  await page.getByText('1 change to send').waitFor()
  await page.getByRole('button', { name: 'Go online' }).click()
  await until(
    'the upload',
    async () => (await postgres.sql()`select 1 from lists where name = 'Made offline'`).length === 1,
  )
  await page.reload()
  await page.getByText('In step').waitFor()
  await page.context().close()
})

test('a page that gets no token because nothing can be reached is offline, not signed out', async () => {
  const page = await newPage()
  await page.route('**/api/token', (route) => route.abort())
  await page.goto(`${example.url}/?user=alice`)
  await page.getByText(/^Offline/).waitFor()
  await page.unroute('**/api/token')
  await page.getByText('In step').waitFor()
  await page.context().close()
})

test('a refused token is shown with its reason, until a good one arrives', async () => {
  const page = await newPage({ viewport: { width: 390, height: 844 } })
  const payload = Buffer.from(
    JSON.stringify({ sub: 'alice', aud: AUDIENCE, iat: 1_700_000_000, exp: 4_102_444_800 }),
  ).toString('base64url')
  const token = `eyJhbGciOiJIUzI1NiJ9.${payload}.AAAA`
  await page.route('**/api/token', (route) => route.fulfill({ json: { token } }))
  await page.goto(`${example.url}/?user=alice`)
  await page.getByText(/^The token is refused: the signature/).waitFor()
  await page.getByText('Nothing has arrived yet.').waitFor()
  await page.unroute('**/api/token')
  await todo(page, 'alice', 'Lemons').waitFor()
  expect(await page.getByText('The token is refused').count()).toBe(0)
  await page.context().close()
})

test('failing uploads are explained until one succeeds', async () => {
  const page = await open('?user=alice')
  await page
    .context()
    .route('**/api/upload', (route) =>
      route.fulfill({ status: 500, json: { error: { code: 'down', message: 'duplicate key' } } }),
    )
  await add(page, 'alice', 'Groceries', 'Not yet')
  await page.getByText('Cannot send · 1 change to send').waitFor()
  await page.getByText('Not sent yet, trying again: the upload was answered 500', { exact: true }).waitFor()
  await page.context().unroute('**/api/upload')
  await page.getByText('In step', { exact: true }).waitFor()
  expect(await page.getByText('Not sent yet').count()).toBe(0)
  await page.context().close()
})

test('on a phone everything that can be pressed can be seen, and a list is deleted only when that was meant', async () => {
  const page = await open('?user=alice', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true })
  const cross = todo(page, 'alice', 'Lemons').getByRole('button', { name: 'Delete Lemons' })
  const look = await cross.evaluate((button) => ({
    opacity: getComputedStyle(button).opacity,
    width: button.getBoundingClientRect().width,
  }))
  expect(look.opacity).toBe('1')
  expect(look.width).toBeGreaterThanOrEqual(40)
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390)
  const input = page.getByLabel('New list of Alice')
  await input.fill('For a moment')
  await input.press('Enter')
  await add(page, 'alice', 'For a moment', 'One')
  await todo(page, 'alice', 'One').waitFor()
  const questions: string[] = []
  const answers = [false, true]
  page.on('dialog', (dialog) => {
    questions.push(dialog.message())
    void (answers.shift() === true ? dialog.accept() : dialog.dismiss())
  })
  const remove = page.getByRole('button', { name: 'Delete the list For a moment' })
  await remove.click()
  await todo(page, 'alice', 'One').waitFor()
  await remove.click()
  await page.getByText('For a moment').waitFor({ state: 'detached' })
  expect(questions).toEqual(Array.from({ length: 2 }, () => 'Delete the list “For a moment” and its todo?'))
  await page.context().close()
})

test('browsers find an icon, at its link and at the default address', async () => {
  for (const path of ['/favicon.svg', '/favicon.ico']) {
    const answer = await fetch(`${example.url}${path}`)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/svg+xml'])
  }
})

test('the pages had nothing to complain about', () => {
  expect(complaints).toEqual([])
})
