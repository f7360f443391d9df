import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { startDevice } from '../support/browser.ts'
import { deviceSite } from '../device/site.ts'
import { generator } from '../support/random.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// Tabs that write all the time, while they are closed, reloaded and begun at random, and their workers end. Whatever an
// application was told about a write is true: what was acknowledged is in the database and is uploaded, once; what was
// refused is not.

const ROUNDS = Number(process.env.ROCKPOOL_TAB_ROUNDS ?? 25)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)
const MOST_TABS = 4

let service: TestService
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext
const acknowledged = new Set<string>()
const refused = new Map<string, { code: string; by: string }>()
/** Pages that are being closed or reloaded: they may still hear that they have gone. */
const leaving = new Set<string>()

beforeAll(async () => {
  directory = await temporaryDirectory()
  service = await TestService.start()
  const site = await deviceSite()
  site.token = unsigned('alice')
  service.page = (path) => site.page(path)
  browser = await startDevice(`${directory.path}/profile`)
  await browser.exposeFunction('told', (id: string, code: string, by: string) => {
    if (code === 'ok') acknowledged.add(id)
    else refused.set(id, { code, by })
  })
})
afterAll(async () => {
  await browser?.close()
  await service?.close()
  await directory?.remove()
})

interface Tab {
  page: Page
  name: string
}

let names = 0

async function begin(page: Page): Promise<Tab> {
  const name = `tab ${++names}`
  await page.goto(`${service.url}/`)
  await page.evaluate(async (by) => {
    await window.page.open({ user: 'alice' })
    const { told } = window as unknown as { told(id: string, code: string, by: string): Promise<void> }
    void (async () => {
      for (;;) {
        const id = crypto.randomUUID()
        const outcome = await window.page.attempt(() =>
          window.page.db.write(async (tx) => {
            await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [id, 'first'])
            await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [`${id} 2`, 'second'])
          }),
        )
        await told(id, outcome, by)
      }
    })()
  }, name)
  return { page, name }
}

test(`${ROUNDS} times a tab or a worker ends or starts, and all answers about writes are true`, async () => {
  const random = generator(SEED)
  const tabs: Tab[] = []
  const add = async (): Promise<void> => {
    const page = await browser.newPage()
    if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[tab] ${line.text()}`))
    tabs.push(await begin(page))
  }
  await add()
  await add()
  for (let round = 0; round < ROUNDS; round++) {
    const before = acknowledged.size
    const at = Math.floor(random() * tabs.length)
    const victim = tabs[at]
    if (!victim) throw new Error('there is no tab')
    const what = random()
    if (tabs.length === 1 || (what < 0.3 && tabs.length < MOST_TABS)) await add()
    else if (what < 0.55) {
      leaving.add(victim.name)
      tabs.splice(at, 1)
      await victim.page.close()
    } else if (what < 0.75) {
      leaving.add(victim.name)
      tabs[at] = await begin(victim.page)
    } else
      await victim.page
        .workers()[0]
        ?.evaluate('self.close()')
        .catch(() => {})
    // Somebody writes on.
    await until(
      `writes in round ${round}`,
      async () => acknowledged.size > before + 3,
      60,
      () => ({ tabs: tabs.length, before }),
    )
  }
  for (const { name } of tabs) leaving.add(name)
  for (const { page } of tabs.slice(1)) await page.close()
  const last = tabs[0]?.page
  if (!last) throw new Error('no tab is left')
  await last.goto(`${service.url}/`)
  await last.evaluate(() => window.page.open({ user: 'alice' }))
  const ids = new Set(
    await last.evaluate(async () =>
      (await window.page.db.query<{ id: string }>('SELECT id FROM notes')).map(({ id }) => id),
    ),
  )
  expect([...acknowledged].filter((id) => !ids.has(id))).toEqual([])
  expect([...refused.keys()].filter((id) => ids.has(id))).toEqual([])
  expect([...refused.values()].filter(({ code, by }) => code !== 'owner_lost' && !leaving.has(by))).toEqual([])
  // Both halves or none.
  const firsts = [...ids].filter((id) => !id.endsWith(' 2'))
  expect(ids.size).toBe(firsts.length * 2)
  expect(firsts.filter((id) => !ids.has(`${id} 2`))).toEqual([])
  // Each under one number, and all of them.
  await until(
    'the queue to be empty',
    async () => (await last.evaluate(() => window.page.db.status.pendingWrites)) === 0,
    120,
  )
  const numbers = new Map<string, Set<number>>()
  for (const { body } of service.posts) {
    const { transaction_id, ops }: { transaction_id: number; ops: { id: string }[] } = JSON.parse(body)
    for (const { id } of ops) numbers.set(id, (numbers.get(id) ?? new Set()).add(transaction_id))
  }
  expect([...numbers].filter(([, each]) => each.size > 1)).toEqual([])
  expect([...ids].filter((id) => !numbers.has(id))).toEqual([])
  expect(numbers.size).toBe(ids.size)
})
