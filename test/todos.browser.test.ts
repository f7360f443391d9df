import { mkdir } from 'node:fs/promises'
import { readFile } from 'node:fs/promises'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepareDatabase } from '../examples/todos/database.ts'
import { startExample } from '../examples/todos/server.ts'
import { startBrowser } from './browser.ts'
import { startEdge, type Edge } from './edge.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until } from './support.ts'

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
  const syncConfig = await readFile(new URL('../sync-config.yaml', import.meta.url), 'utf8')
  edge = await startEdge({ databaseUrl: postgres.url, jwtSecret: secret, jwtAudience: AUDIENCE, syncConfig, directory: directory.path })
  example = await startExample({ port: 0, databaseUrl: postgres.url, jwtSecret: secret, jwtAudience: AUDIENCE, endpoint: edge.url })
  browser = await startBrowser()
})

afterAll(async () => {
  await browser?.close()
  await example?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

async function open(query: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, deviceScaleFactor: 2 })
  const page = await context.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  await page.goto(`${example.url}/${query}`)
  await page.getByText('In step').first().waitFor()
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
    await mkdir(new URL('../docs/images/', import.meta.url), { recursive: true })
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

test('a killed edge is only a pause; what was there survives a reload', async () => {
  const page = await open('?user=alice')
  await edge.kill9()
  await add(page, 'alice', 'Groceries', 'After the crash')
  await until('the upload', async () => (await postgres.sql()`select 1 from todos where title = 'After the crash'`).length === 1)
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
  await until('the upload', async () => (await postgres.sql()`select 1 from todos where title = 'With the new owner'`).length === 1)
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
  await page.context().close()
})

test('who signs out is asked about what was not sent; nothing of it stays, and a later sign-in begins anew', async () => {
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

test('the pages had nothing to complain about', () => {
  expect(complaints).toEqual([])
})
