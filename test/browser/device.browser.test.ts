import type { BrowserContext, Page } from 'playwright-core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TestService, unsigned } from '../../client/src/test-service.ts'
import { killDevice, startDevice } from '../support/browser.ts'
import { deviceSite, type Site } from '../device/site.ts'
import type { DevicePage } from '../device/page.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// The file is long because its tests share one service and one browser profile at a time.

// A device with a profile that survives its browser: what was written stays, whatever happens to tabs, workers, files
// and the browser. Nothing is uploaded unless a test connects: the sync service and the backend stand in for the real
// ones, which the attacks and the example have.

let service: TestService
let site: Site
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: BrowserContext
const complaints: string[] = []

async function start(): Promise<void> {
  browser = await startDevice(`${directory.path}/profile`)
}

beforeEach(async () => {
  directory = await temporaryDirectory()
  service = await TestService.start()
  site = await deviceSite()
  site.token = unsigned('alice')
  service.page = (path) => site.page(path)
  complaints.length = 0
  await start()
})
afterEach(async () => {
  await browser.close().catch(() => {})
  await service.close()
  await directory.remove()
})

async function visit(path = '/'): Promise<Page> {
  const page = await browser.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (process.env.ROCKPOOL_LOG) page.on('console', (line) => console.log(`[page] ${line.text()}`))
  await page.goto(`${service.url}${path}`)
  return page
}

type Options = Parameters<DevicePage['open']>[0]

async function open(options: Options = {}): Promise<Page> {
  const page = await visit()
  await page.evaluate((given) => window.page.open(given), { user: 'alice', connect: false, ...options })
  return page
}

const add = (page: Page, id: string) =>
  page.evaluate(
    (of) =>
      window.page.attempt(() =>
        window.page.db.write((tx) => tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [of, `body of ${of}`])),
      ),
    id,
  )
const ids = (page: Page) =>
  page.evaluate(async () =>
    (await window.page.db.query<{ id: string }>('SELECT id FROM notes ORDER BY id')).map(({ id }) => id),
  )
const status = (page: Page) => page.evaluate(() => window.page.db.status)
const sees = (page: Page, wanted: string[]) =>
  until(
    `rows ${wanted.join()}`,
    async () => JSON.stringify(await ids(page)) === JSON.stringify(wanted),
    60,
    () => ids(page),
  )

/** Runs in the worker of a page. */
async function inWorker(page: Page, script: string): Promise<void> {
  const worker = page.workers()[0]
  if (!worker) throw new Error('the page has no worker')
  await worker.evaluate(script)
}

test('rows and unsent writes survive the browser, and are uploaded later', async () => {
  const page = await open()
  for (const id of ['a', 'b', 'c']) await add(page, id)
  expect(await status(page)).toMatchObject({ storage: 'opfs', pendingWrites: 3 })
  await browser.close()
  await start()
  const again = await open({ connect: true })
  expect(await ids(again)).toEqual(['a', 'b', 'c'])
  await until('the upload', async () => service.posts.length === 3)
  const posted = service.posts.map(({ body }) => JSON.parse(body) as { client_id: string; transaction_id: number })
  expect(posted.map(({ transaction_id }) => transaction_id)).toEqual([1, 2, 3])
  expect(new Set(posted.map(({ client_id }) => client_id)).size).toBe(1)
  await browser.close()
  await start()
  expect(await status(await open())).toMatchObject({ pendingWrites: 0, unconfirmedWrites: 3 })
  expect(complaints).toEqual([])
})

test('writes that were acknowledged before the browser was killed are there, once', async () => {
  const acknowledged: string[] = []
  const page = await visit()
  await page.exposeFunction('acknowledge', (id: string) => void acknowledged.push(id))
  await page.evaluate(() => window.page.open({ user: 'alice', connect: false }))
  const endless = page.evaluate(async () => {
    const { acknowledge } = window as unknown as { acknowledge(id: string): Promise<void> }
    for (let n = 0; ; n++) {
      const id = String(n).padStart(6, '0')
      await window.page.db.write(async (tx) => {
        await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [id, 'x'.repeat(500)])
        await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [`${id}-second`, 'x'])
      })
      void acknowledge(id)
    }
  })
  endless.catch(() => {})
  await until('some writes', async () => acknowledged.length >= 60)
  killDevice(`${directory.path}/profile`)
  await endless.catch(() => {})
  await browser.close().catch(() => {})
  const last = acknowledged.length
  await start()
  const again = await open()
  const found = await ids(again)
  expect(found.filter((id) => !id.endsWith('second')).slice(0, last)).toEqual(acknowledged)
  // Whole transactions only, and each row is waiting to be sent.
  expect(found.filter((id) => id.endsWith('second'))).toEqual(
    found.filter((id) => !id.endsWith('second')).map((id) => `${id}-second`),
  )
  expect((await status(again)).pendingWrites).toBe(found.length / 2)
})

const REFUSING = (error: string, until: string): string => `{
  const original = FileSystemFileHandle.prototype.createSyncAccessHandle
  let refused = 0
  const began = Date.now()
  FileSystemFileHandle.prototype.createSyncAccessHandle = function (...given) {
    if (!this.name.startsWith('.opfs-sahpool') && (${until})) {
      refused++
      return Promise.reject(${error})
    }
    return original.apply(this, given)
  } }`

test('one file handle that cannot be had deletes nothing', async () => {
  const page = await open()
  await add(page, 'a')
  await page.close()
  site.workerPrefix = REFUSING(`new DOMException('a passing state', 'UnknownError')`, 'refused === 0')
  const again = await open()
  expect(await ids(again)).toEqual(['a'])
  expect(await status(again)).toMatchObject({ storage: 'opfs', pendingWrites: 1 })
})

test.each(['NoModificationAllowedError', 'InvalidStateError'])(
  'while the file cannot be opened (%s) that is told, nothing is shown in its place, and then it is the same',
  async (name) => {
    const page = await open()
    await add(page, 'a')
    await page.close()
    site.workerPrefix = REFUSING(`new DOMException('not now', '${name}')`, '!self.allowed')
    const again = await open()
    expect(await status(again)).toMatchObject({ state: 'error', error: { code: 'storage_blocked' } })
    const asked = ids(again)
    const written = add(again, 'b')
    await inWorker(again, 'self.allowed = true')
    expect(await asked).toEqual(['a'])
    expect(await written).toBe('ok')
    expect(await status(again)).toMatchObject({ storage: 'opfs', pendingWrites: 2 })
  },
)

test('where no file was ever opened and none can be, it is in memory and says so', async () => {
  site.workerPrefix = REFUSING(`new DOMException('a private window', 'SecurityError')`, 'true')
  const page = await open()
  expect(await add(page, 'a')).toBe('ok')
  expect((await status(page)).storage).toBe('memory')
})

test('a damaged file is kept and reported, and a new one is created', async () => {
  const page = await open()
  await add(page, 'a')
  await page.close()
  const blank = await visit('/blank')
  // After the pool's own header of 4 KB: SQLite's header is overwritten, and the WAL, which has all pages so far, loses
  // its first frame.
  const damaged = await blank.evaluate(async () => {
    // The worker of a closed page keeps its handles for a moment (Chromium, 2026-11).
    const writableOf = async (file: FileSystemFileHandle): Promise<FileSystemWritableFileStream> => {
      for (;;) {
        try {
          return await file.createWritable({ keepExistingData: true })
        } catch (error) {
          if ((error as DOMException).name !== 'NoModificationAllowedError') throw error
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    }
    const root = await navigator.storage.getDirectory()
    const files = await (await root.getDirectoryHandle('rockpool-device')).getDirectoryHandle('.opaque')
    let damaged = 0
    for await (const handle of files.values()) {
      if (handle.kind !== 'file') continue
      const file = handle as FileSystemFileHandle
      if ((await file.getFile()).size < 4_700) continue
      const writable = await writableOf(file)
      await writable.write({ type: 'write', position: 4_096, data: new Uint8Array(512).fill(0x5a) })
      await writable.close()
      damaged++
    }
    return damaged
  })
  expect(damaged).toBe(2)
  const again = await open()
  expect(await status(again)).toMatchObject({
    storage: 'opfs',
    pendingWrites: 0,
    setAside: { code: 'storage_corrupt' },
  })
  expect(await ids(again)).toEqual([])
  await add(again, 'b')
  await again.close()
  const third = await open()
  expect(await ids(third)).toEqual(['b'])
  expect((await status(third)).setAside).toMatchObject({ code: 'storage_corrupt' })
  expect(await third.evaluate(() => window.page.attempt(() => window.page.db.signOut()))).toBe('unsent')
})

test('a full disk is reported as such, loses nothing that was stored, and is recovered from', async () => {
  const page = await open()
  await add(page, 'a')
  const session = await browser.newCDPSession(page)
  const quota = (quotaSize?: number) =>
    session.send('Storage.overrideQuotaForOrigin', {
      origin: service.url,
      ...(quotaSize === undefined ? {} : { quotaSize }),
    })
  await quota(1_000_000)
  const code = await page.evaluate(async () => {
    for (let n = 0; n < 100; n++) {
      const write = window.page.db.write((tx) =>
        tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [`big ${n}`, 'x'.repeat(400_000)]),
      )
      const outcome = await window.page.attempt(() => write)
      if (outcome !== 'ok') return outcome
    }
    return 'it took all'
  })
  expect(code).toBe('storage_full')
  const before = await ids(page)
  // Chromium opens no file then (150): a page that begins anew waits, and shows no empty database in its place.
  await page.reload()
  await page.evaluate(() => window.page.open({ user: 'alice', connect: false }))
  const shown = await status(page)
  expect([shown.storage, shown.state === 'error' ? shown.error.code : shown.state]).toEqual(['opfs', 'storage_full'])
  const asked = ids(page)
  await quota()
  expect(await asked).toEqual(before)
  expect(before).toContain('a')
  expect(await add(page, 'z')).toBe('ok')
  await browser.close()
  await start()
  expect(await ids(await open())).toEqual([...before, 'z'])
})

test('two tabs share the database; a transaction of a tab ends with its owner, and is never another one’s', async () => {
  const first = await open()
  await add(first, 'a')
  const second = await open()
  const third = await open()
  await sees(second, ['a'])
  const slow = second.evaluate(() => window.page.slowly('of-second'))
  await sleepUntilWriting(second)
  await first.close()
  // The new owner's first transaction is the third tab's: it has another name than the second tab's, and another tab.
  const other = third.evaluate(() => window.page.slowly('of-third'))
  await sleepUntilWriting(third)
  await second.evaluate(() => window.page.release())
  expect(await slow).toBe('owner_lost')
  await third.evaluate(() => window.page.release())
  expect(await other).toBe('ok')
  await sees(second, ['a', 'of-third', 'of-third-2'])
  expect((await status(third)).pendingWrites).toBe(2)
  expect(complaints).toEqual([])
})

/** Until the page's transaction has begun and waits: everything else does too. */
async function sleepUntilWriting(page: Page): Promise<void> {
  await until('the transaction', () => page.evaluate(() => window.page.held()), 60)
}

test('a write whose owner closes before it answers is reported as stored, because the next owner finds it', async () => {
  site.workerPrefix = `
    const post = BroadcastChannel.prototype.postMessage
    BroadcastChannel.prototype.postMessage = function (message) { if (!(self.mute && 'result' in message)) post.call(this, message) }`
  const first = await open()
  await add(first, 'a')
  const second = await open()
  await sees(second, ['a'])
  const slow = second.evaluate(() => window.page.slowly('b'))
  await sleepUntilWriting(second)
  // From here on the owner answers nothing. It does what it is asked, and then it is gone.
  await second.evaluate(() => window.page.commitOnly())
  await inWorker(first, 'self.mute = true')
  await second.evaluate(() => window.page.release())
  await until('the commit', async () => (await status(first)).pendingWrites === 2)
  await first.close()
  expect(await slow).toBe('ok')
  await sees(second, ['a', 'b'])
  expect((await status(second)).pendingWrites).toBe(2)
})

test('a worker that ends, normally or by a trap of WebAssembly, is replaced', async () => {
  const page = await open()
  await add(page, 'a')
  await inWorker(page, 'self.close()')
  expect(await add(page, 'b')).toBe('ok')
  await inWorker(page, `setTimeout(() => { throw new WebAssembly.RuntimeError('unreachable') })`)
  await until('the next worker', async () => (await add(page, 'c')) === 'ok')
  await sees(page, ['a', 'b', 'c'])
})
