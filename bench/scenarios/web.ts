import type { BrowserContext, Page } from 'playwright-core'
import { startDevice } from '../../test/support/browser.ts'
import { temporaryDirectory, until } from '../../test/support/support.ts'
import { load } from '../machine.ts'
import { plural, size, type Bench, type Scenario } from '../scenario.ts'
import { processorSeconds, storedBytes } from '../web/browser.ts'
import { webSite, type WebSite } from '../web/site.ts'
import { insertReader, withWorld, type World } from '../world.ts'

/** Rows of 200 bytes on a shelf, a hundred titles. */
const insert = (first: number, last: number, shelf: number): string =>
  `insert into items select i, ${shelf}, 'list ' || i % 100, md5(i::text) || repeat('b', 90), i % 2 = 0, now() from generate_series(${first}, ${last}) i`

type Kind = 'ours' | 'theirs'
const NAMES: Readonly<Record<Kind, string>> = { ours: 'ours', theirs: '@powersync/web' }
const LIMIT_SECONDS = 240
const TAKE_OVER_MS = 5_000

/** Our client in Chromium, with a profile that stays, and PowerSync's beside it. */
export const web: Scenario = {
  name: 'web',
  about: 'a page in Chromium with our client, and one with PowerSync’s: downloads, writes, tabs and reloads',
  standard: false,
  async run(bench) {
    const [rows, more] = [size(bench, 100_000, 3_000), size(bench, 50_000, 1_000)]
    const prepare = [insert(1, rows, 0), insert(rows + 1, rows + more, 1)]
    await withWorld(bench, { prepare }, async (world) => {
      for (let round = 0; round < bench.rounds; round++)
        for (const kind of ['ours', 'theirs'] as const) await world.sql.unsafe(insertReader(`${kind}-${round}`, 0))
      await world.start()
      await world.serving()
      const measured = new Map<string, Line>()
      const put = (kind: Kind, what: string, unit: string, values: number[], aim?: string): void => {
        const name = `${NAMES[kind]}: ${what}`
        const before = measured.get(name)?.values ?? []
        measured.set(name, { unit, values: [...before, ...values], ...(aim && kind === 'ours' ? { aim } : {}) })
      }
      for (let round = 0; round < bench.rounds; round++)
        for (const kind of ['ours', 'theirs'] as const)
          await new Run({ bench, world, kind, user: `${kind}-${round}`, rows, more, put }).all()
      for (const [what, line] of measured) bench.measured({ what, ...line })
    })
  },
}

interface Line {
  unit: string
  values: number[]
  aim?: string
}

interface RunOptions {
  bench: Bench
  world: World
  kind: Kind
  user: string
  rows: number
  more: number
  put(kind: Kind, what: string, unit: string, values: number[], aim?: string): void
}

class Run {
  readonly #with: RunOptions
  #browser!: BrowserContext
  #site!: WebSite
  #profile = ''

  constructor(options: RunOptions) {
    this.#with = options
  }

  async all(): Promise<void> {
    const { world, user, kind, bench } = this.#with
    const directory = await temporaryDirectory()
    this.#profile = `${directory.path}/profile`
    this.#site = await webSite(() => world.token(user))
    this.#browser = await startDevice(this.#profile)
    bench.say(`  ${user}: load ${load()}`)
    try {
      const page = await this.#visit()
      await this.#downloads(page)
      await this.#writes(page)
      await this.#tabs(page)
      await this.#reloads()
      this.#put('on the disk after it', 'MB', [storedBytes(this.#profile) / 1e6])
    } catch (error) {
      throw new Error(`${kind}: ${String(error)}`, { cause: error })
    } finally {
      await this.#browser.close()
      await this.#site.close()
      await directory.remove()
    }
  }

  #put(what: string, unit: string, values: number[], aim?: string): void {
    this.#with.put(this.#with.kind, what, unit, values, aim)
  }

  async #visit(): Promise<Page> {
    const page = await this.#browser.newPage()
    if (process.env.ROCKPOOL_LOG) page.on('console', (line) => this.#with.bench.say(`[page] ${line.text()}`))
    page.setDefaultTimeout(LIMIT_SECONDS * 1_000)
    await page.goto(this.#site.url(this.#with.kind, this.#with.world.url, this.#with.user))
    await page.waitForFunction(() => 'web' in window)
    return page
  }

  async #downloads(page: Page): Promise<void> {
    const { rows, more, world, user, bench } = this.#with
    const timed = async (what: string, count: number, aim: string, work: () => Promise<number>): Promise<void> => {
      const cpu = processorSeconds(this.#profile)
      const took = await work()
      this.#put(what, 'rows/s', [count / (took / 1_000)], aim)
      this.#put(`${what}: processor of the browser`, 's', [processorSeconds(this.#profile) - cpu])
    }
    await timed(`first download of ${plural(rows, 'row')}`, rows, '≥ 60,000', async () => {
      const { from, at } = await page.evaluate((n) => window.web.reaches(n, true), rows)
      return at - from
    })
    await timed(`${plural(more, 'row')} later into a table of ${plural(rows, 'row')}`, more, '≥ 30,000', async () => {
      const reached = page.evaluate((n) => window.web.reaches(n, false), rows + more)
      await new Promise((resolve) => setTimeout(resolve, bench.quick ? 100 : 1_000))
      await world.sql.unsafe(insertReader(user, 1))
      const from = Date.now()
      return (await reached).at - from
    })
  }

  async #writes(page: Page): Promise<void> {
    const { bench } = this.#with
    const times = size(bench, 60, 3)
    let n = 0
    /** Into the first list, from its own rows. */
    const write = async (from: Page, shownBy: Page): Promise<{ resolved: number; shown: number }> => {
      const body = `written ${++n}`
      const written = await from.evaluate(([id, each]) => window.web.write(id, 'list 0', each), [
        `${100 * (1 + (n % 9))}`,
        body,
      ] as const)
      const seen = await until(
        'the row to be shown',
        async () => (await shownBy.evaluate((each) => window.web.seen(each), body)) ?? undefined,
      )
      await new Promise((resolve) => setTimeout(resolve, 20))
      return { resolved: written.done - written.from, shown: seen - written.from }
    }
    const each = async (from: Page, shownBy: Page): Promise<{ resolved: number[]; shown: number[] }> => {
      const all = []
      for (let i = 0; i < times; i++) all.push(await write(from, shownBy))
      return { resolved: all.map(({ resolved }) => resolved), shown: all.map(({ shown }) => shown) }
    }
    await page.reload()
    await page.waitForFunction(() => window.firstRows !== null)
    await page.evaluate(() => window.web.watch('list 0'))
    const one = await each(page, page)
    this.#put('write() resolves, one list of 1,500 rows', 'ms', one.resolved, 'p50 ≤ 6')
    this.#put('write → that list in the same tab', 'ms', one.shown)
    const other = await this.#visit()
    await other.evaluate(() => window.web.watch('list 0'))
    this.#put('write → that list in another tab', 'ms', (await each(page, other)).shown, 'p50 ≤ 6')
    await other.close()
    await page.evaluate(() => window.web.lists(20))
    this.#put('write() resolves, 20 lists, 19 not concerned', 'ms', (await each(page, page)).resolved, 'p50 ≤ 15')
    await page.reload()
    await page.waitForFunction(() => window.firstRows !== null)
    await page.evaluate(() => window.web.mix())
    await page.evaluate(() => window.web.watch('list 0'))
    this.#put(
      'write → rows in the same tab, 100 queries, 20 of them read it',
      'ms',
      (await each(page, page)).shown,
      'p50 ≤ 3',
    )
  }

  /** The tab that has the database open is closed, and another goes on. */
  async #tabs(owner: Page): Promise<void> {
    const other = await this.#visit()
    await other.waitForFunction(() => window.firstRows !== null)
    await other.evaluate(() => window.web.ask())
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await other.evaluate(() => window.web.resetPause())
    await owner.close()
    await new Promise((resolve) => setTimeout(resolve, TAKE_OVER_MS))
    this.#put(
      'longest pause of queries when another tab closes',
      'ms',
      [await other.evaluate(() => window.web.longestPause)],
      '≤ 40',
    )
    await other.close()
  }

  async #reloads(): Promise<void> {
    const page = await this.#visit()
    const took: number[] = []
    for (let n = 0; n < size(this.#with.bench, 5, 1); n++) {
      await page.reload()
      await page.waitForFunction(() => window.firstRows !== null)
      took.push((await page.evaluate(() => window.firstRows)) ?? NaN)
    }
    this.#put('reload → first rows', 'ms', took, '≤ 190')
  }
}
