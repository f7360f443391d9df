import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { accepting, rockpoolSite } from '../device/site.ts'
import { killDevice, startDevice } from '../support/browser.ts'
import { Random } from '../support/random.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// Tabs of `createRockpool` that write all the time, by one message and by transactions, while they are closed,
// reloaded, frozen, kept for the back button and begun at random, their workers end, their renderers crash and the
// browser is killed. Whatever an application was told about a write is true, and every write is uploaded once.

/** `ROCKPOOL_CHAOS_SECONDS=600` runs for long. */
const SECONDS = Number(process.env.ROCKPOOL_CHAOS_SECONDS ?? 30)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)
const MOST_TABS = 5
/** What a tab may be told of a write that was not stored. Those of a page that is ended hear anything. */
const EXCUSES = ['owner_lost', 'not_stored', 'write_limit']

let service: TestService
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext
const acknowledged = new Set<string>()
const refused = new Map<string, { code: string; by: string }>()
const leaving = new Set<string>()

interface Tab {
  page: Page
  name: string
}
let names = 0

beforeAll(async () => {
  directory = await temporaryDirectory()
  service = await TestService.start()
  const site = await rockpoolSite()
  site.token = unsigned('alice')
  service.page = (path) => site.page(path)
  const random = new Random(SEED + 1)
  // Some requests are refused, and of some the answer does not arrive.
  service.upload = ({ body }) => (random.chance(0.1) ? { status: 503 } : accepting(body))
  await start()
})
afterAll(async () => {
  await browser?.close().catch(() => {})
  await service?.close()
  await directory?.remove()
})

async function start(): Promise<void> {
  browser = await startDevice(`${directory.path}/profile`, { backForward: true })
  await browser.exposeFunction('told', (id: string, code: string, by: string) => {
    if (code === 'ok') acknowledged.add(id)
    else refused.set(id, { code, by })
  })
}

async function begin(page: Page): Promise<Tab> {
  const name = `tab ${++names}`
  await page.goto(`${service.url}/`)
  await page.evaluate((by) => {
    void window.rockpool.open()
    const { told } = window as unknown as { told(id: string, code: string, by: string): Promise<void> }
    const write = async (isBatch: boolean): Promise<void> => {
      const id = crypto.randomUUID()
      const rows = [id, `${id} 2`]
      const { db } = window.rockpool
      const outcome = await window.rockpool.attempt(() =>
        isBatch
          ? db.batch(
              rows.map((each) => ({ sql: 'INSERT INTO notes (id, body, done) VALUES (?, ?, 0)', params: [each, 'x'] })),
            )
          : db.write(async (tx) => {
              for (const each of rows) await tx.tables.notes.insert({ id: each, body: 'x' })
            }),
      )
      await told(id, outcome, by)
    }
    window.rockpool.follow()
    const endlessly = async (isBatch: boolean): Promise<void> => {
      for (;;) {
        await write(isBatch)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    void endlessly(true)
    void endlessly(false)
    Object.assign(window, { writes: true })
  }, name)
  return { page, name }
}

test(
  `for ${SECONDS} seconds tabs, workers and the browser end, and all answers about writes are true`,
  async () => {
    const random = new Random(SEED)
    let tabs: Tab[] = []
    const done = new Map<string, number>()
    const add = async (): Promise<void> => {
      const page = await browser.newPage()
      if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[tab] ${line.text()}`))
      tabs.push(await begin(page))
    }
    const remove = (tab: Tab): void => {
      leaving.add(tab.name)
      tabs = tabs.filter((each) => each !== tab)
    }
    await add()
    const ways: [number, string, (tab: Tab) => Promise<void>][] = [
      [4, 'add', add],
      [2, 'close', async (tab) => (remove(tab), tab.page.close())],
      [
        2,
        'reload',
        async (tab) => {
          remove(tab)
          tabs.push(await begin(tab.page))
        },
      ],
      [
        3,
        'end the worker',
        async ({ page }) =>
          void (await page
            .workers()[0]
            ?.evaluate('self.close()')
            .catch(() => {})),
      ],
      [
        2,
        'freeze',
        async ({ page }) => {
          const cdp = await browser.newCDPSession(page)
          await cdp.send('Page.setWebLifecycleState', { state: 'frozen' })
          await new Promise((resolve) => setTimeout(resolve, random.int(1_500)))
          await cdp.send('Page.setWebLifecycleState', { state: 'active' })
          await cdp.detach()
        },
      ],
      [
        2,
        'keep for the back button',
        async (tab) => {
          const { page } = tab
          await page.goto(`${service.url}/blank`)
          await new Promise((resolve) => setTimeout(resolve, random.int(500)))
          await page.evaluate(() => history.back())
          await page.waitForFunction(() => 'rockpool' in window)
          const isKept = await page.evaluate(() => 'writes' in window)
          done.set(`kept ${isKept}`, (done.get(`kept ${isKept}`) ?? 0) + 1)
          if (isKept) return
          // The browser has not kept it.
          remove(tab)
          tabs.push(await begin(page))
        },
      ],
      [
        1,
        'crash',
        async (tab) => {
          remove(tab)
          const cdp = await browser.newCDPSession(tab.page)
          const crashed = tab.page.waitForEvent('crash')
          // Nobody is left to answer.
          void cdp.send('Page.crash').catch(() => {})
          await crashed
          void tab.page.close().catch(() => {})
        },
      ],
      [
        1,
        'go offline',
        async () => {
          await browser.setOffline(true)
          await new Promise((resolve) => setTimeout(resolve, random.int(1_000)))
          await browser.setOffline(false)
        },
      ],
      [
        0.4,
        'kill the browser',
        async () => {
          for (const tab of tabs) remove(tab)
          killDevice(`${directory.path}/profile`)
          await browser.close().catch(() => {})
          await start()
          await add()
        },
      ],
    ]
    const end = Date.now() + SECONDS * 1_000
    while (Date.now() < end) {
      const before = acknowledged.size
      const [, name, run] = random.weighted(ways.map((way) => [way[0], way] as const))
      const isTooMuch =
        name === 'add' ? tabs.length >= MOST_TABS : tabs.length === 1 && ['close', 'crash'].includes(name)
      if (isTooMuch) continue
      if (process.env.ROCKPOOL_LOG) console.log(`${name}, of ${tabs.length} tabs`)
      await run(random.pick(tabs))
      done.set(name, (done.get(name) ?? 0) + 1)
      await until(
        'somebody to write on',
        async () => acknowledged.size > before + 3,
        60,
        () => ({ name, tabs: tabs.length }),
      )
    }
    for (const tab of tabs) leaving.add(tab.name)
    const last = await browser.newPage()
    await last.goto(`${service.url}/`)
    for (const { page } of tabs) await page.close()
    await last.evaluate(() => window.rockpool.open())
    const ids = new Set(
      ((await last.evaluate(() => window.rockpool.all('SELECT id FROM notes'))) as { id: string }[]).map(
        ({ id }) => id,
      ),
    )
    if (process.env.ROCKPOOL_LOG)
      console.log({ done, acknowledged: acknowledged.size, refused: refused.size, stored: ids.size })
    expect([...acknowledged].filter((id) => !ids.has(id))).toEqual([])
    expect([...refused.keys()].filter((id) => ids.has(id))).toEqual([])
    expect([...refused.values()].filter(({ code, by }) => !EXCUSES.includes(code) && !leaving.has(by))).toEqual([])
    // Both halves or none.
    const firsts = [...ids].filter((id) => !id.endsWith(' 2'))
    expect(ids.size).toBe(firsts.length * 2)
    expect(firsts.filter((id) => !ids.has(`${id} 2`))).toEqual([])
    await until(
      'the queue to be empty',
      async () => (await last.evaluate(() => window.rockpool.db.status.upload.pending)) === 0,
      240,
    )
    // Each under one id, and all of them.
    const sent = new Map<string, Set<string>>()
    for (const { body } of service.posts) {
      const { transactions }: { transactions: { id: string; ops: { id: string }[] }[] } = JSON.parse(body)
      for (const { id, ops } of transactions)
        for (const op of ops) sent.set(op.id, (sent.get(op.id) ?? new Set()).add(id))
    }
    expect([...sent].filter(([, each]) => each.size > 1)).toEqual([])
    expect([...ids].filter((id) => !sent.has(id))).toEqual([])
    expect(sent.size).toBe(ids.size)
  },
  (SECONDS + 600) * 1_000,
)
