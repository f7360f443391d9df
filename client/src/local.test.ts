import { fork } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openSync } from './node.ts'
import { openNodeSqlite } from './node-sqlite.ts'
import { unsigned } from './test-service.ts'
import type { NodeSyncOptions, Row, SyncDatabase, WriteTransaction } from './types.ts'

// What happens on this device alone: the file, local transactions, live queries.

let directory: string
let path: string
const opened: SyncDatabase[] = []

const schema = { tables: { todos: { columns: { title: 'text', done: 'boolean' } } } } as const

async function open(options: Partial<NodeSyncOptions> = {}): Promise<SyncDatabase> {
  const db = await openSync({
    url: 'http://127.0.0.1:1',
    schema,
    path,
    auth: () => unsigned('alice'),
    connect: false,
    ...options,
  })
  opened.push(db)
  return db
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rockpool-client-'))
  path = join(directory, 'client.db')
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const db of opened.splice(0)) await db.close()
  rmSync(directory, { recursive: true, force: true })
})

const INSERT = 'INSERT INTO todos (id, title) VALUES (?, ?)'
const add = (db: SyncDatabase, id: string) => db.write((tx) => tx.execute(INSERT, [id, `title of ${id}`]))
const ids = async (db: SyncDatabase) =>
  (await db.query<{ id: string }>('SELECT id FROM todos ORDER BY id')).map(({ id }) => id)

test('every commit is on the disk before it returns', () => {
  const db = openNodeSqlite(path)
  // 2: FULL. With NORMAL a power cut takes the last commits of a WAL back.
  expect(db.all('PRAGMA synchronous')).toEqual([{ synchronous: 2 }])
  db.close()
})

test('a second statement in one call is refused, not dropped', async () => {
  const db = await open()
  const two = `INSERT INTO todos (id) VALUES ('a'); INSERT INTO todos (id) VALUES ('b')`
  await expect(db.write((tx) => tx.execute(two))).rejects.toMatchObject({ code: 'statement' })
  await expect(db.query('SELECT 1; SELECT 2')).rejects.toMatchObject({ code: 'statement' })
  expect(await ids(db)).toEqual([])
  await db.write((tx) => tx.execute(`INSERT INTO todos (id) VALUES ('a'); -- the end\n`))
  expect(await ids(db)).toEqual(['a'])
})

test.each([
  'COMMIT',
  'SAVEPOINT mine',
  'DROP TABLE todos',
  'CREATE TABLE more (id)',
  'CREATE TEMP TRIGGER t AFTER INSERT ON todos BEGIN SELECT 1; END',
  'PRAGMA user_version = 99',
  'DELETE FROM rp_outbox',
  `UPDATE main."RP_tx" SET state = 'accepted'`,
  "ATTACH ':memory:' AS other",
])('%s is refused, and the transaction around it is rolled back as a whole', async (sql) => {
  const db = await open()
  const refused = db.write(async (tx) => {
    await tx.execute(INSERT, ['a', 'x'])
    await tx.execute(sql)
  })
  await expect(refused).rejects.toMatchObject({ code: 'statement' })
  expect(await ids(db)).toEqual([])
  expect(db.status.pendingWrites).toBe(0)
  await add(db, 'b')
  expect(await ids(db)).toEqual(['b'])
})

test('a copied file does not keep capturing: no download is taken for a local write', async () => {
  await (await open()).close()
  const file = new DatabaseSync(path)
  file.exec('INSERT INTO rp_capture VALUES (7)')
  file.close()
  await (await open()).close()
  const after = new DatabaseSync(path)
  expect(after.prepare('SELECT count(*) AS n FROM rp_capture').get()).toEqual({ n: 0 })
  after.close()
})

test('a listener that throws does no harm: the write is stored once, and the other listeners are called', async () => {
  const reported = vi.spyOn(console, 'error').mockImplementation(() => {})
  const db = await open()
  const seen: number[] = []
  db.on('status', () => {
    throw new Error('a bug of the application')
  })
  db.on('status', ({ pendingWrites }) => void seen.push(pendingWrites))
  await add(db, 'a')
  expect(await ids(db)).toEqual(['a'])
  expect(seen).toEqual([1])
  expect(reported).toHaveBeenCalled()
})

test('a live query never shows uncommitted changes of another transaction', async () => {
  const db = await open()
  const shown: string[][] = []
  await expect(
    db.write(async (tx) => {
      await tx.execute(INSERT, ['uncommitted', 'x'])
      db.live<Row>('SELECT id FROM todos', [], (rows) => shown.push(rows.map(({ id }) => String(id))))
      await new Promise((resolve) => setTimeout(resolve, 20))
      throw new Error('changed my mind')
    }),
  ).rejects.toThrow('changed my mind')
  await expect.poll(() => shown).toEqual([[]])
})

/** Runs a transaction of `steps` pauses under a clock of its own. */
async function paced(db: SyncDatabase, steps: number, milliseconds: number): Promise<void> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    let step: () => void = () => {}
    const writing = db.write(async (tx: WriteTransaction) => {
      for (let n = 0; n < steps; n++) {
        await new Promise<void>((resolve) => (step = resolve))
        await tx.execute(INSERT, [`t${n}`, 'x'])
      }
    })
    writing.catch(() => {})
    for (let n = 0; n < steps; n++) {
      await vi.advanceTimersByTimeAsync(milliseconds)
      step()
      for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    }
    await writing
  } finally {
    vi.useRealTimers()
  }
}

test('a transaction may take longer than 10 seconds while it does something, but it may not pause that long or last for ever', async () => {
  const db = await open()
  await paced(db, 5, 9_000)
  expect(await ids(db)).toHaveLength(5)
  await db.write((tx) => tx.execute('DELETE FROM todos'))
  await expect(paced(db, 2, 10_001)).rejects.toMatchObject({
    code: 'write_limit',
    message: expect.stringContaining('paused'),
  })
  await expect(paced(db, 20, 9_000)).rejects.toMatchObject({
    code: 'write_limit',
    message: expect.stringContaining('too long'),
  })
  expect(await ids(db)).toEqual([])
})

test('one call writes many rows', async () => {
  const db = await open()
  const rows = Array.from({ length: 500 }, (_, n) => [`t${n}`, `title ${n}`])
  expect(await db.write((tx) => tx.executeBatch(INSERT, rows))).toEqual({ changes: 500 })
  expect(await ids(db)).toHaveLength(500)
  expect(db.status.pendingWrites).toBe(1)
})

test('two processes cannot share a file: the second gets an error', async () => {
  const script = join(directory, 'other.ts')
  const node = new URL('./node-sqlite.ts', import.meta.url).href
  const main = new URL('./node.ts', import.meta.url).href
  writeFileSync(
    script,
    `import { openSync } from ${JSON.stringify(main)}
     void ${JSON.stringify(node)}
     try {
       await openSync({ url: 'http://127.0.0.1:1', schema: ${JSON.stringify(schema)}, path: ${JSON.stringify(path)}, auth: () => 'x', connect: false })
       process.send?.('opened')
     } catch (error) { process.send?.(error.code ?? String(error)) }
     process.disconnect?.()`,
  )
  const db = await open()
  await add(db, 'a')
  const other = fork(script, { execArgv: [], stdio: 'ignore', silent: true })
  expect(await new Promise((resolve) => other.once('message', resolve))).toBe('storage_locked')
  await add(db, 'b')
  expect(await ids(db)).toEqual(['a', 'b'])
}, 60_000)

test('a damaged file is kept and reported, a new one is created, and after the third no more are kept', async () => {
  for (let n = 1; n <= 3; n++) {
    const db = await open()
    await add(db, `write ${n}`)
    await db.close()
    const bytes = readFileSync(path)
    bytes.fill(0x5a, 0, 4_096)
    writeFileSync(path, bytes)
    const next = await open()
    expect(next.status.setAside).toMatchObject({
      code: 'storage_corrupt',
      message: expect.stringContaining(`corrupt-${n}`),
    })
    expect(await ids(next)).toEqual([])
    expect(readFileSync(`${path}.corrupt-${n}`).includes(`title of write ${n}`)).toBe(true)
    await next.close()
  }
  expect((await open()).status.setAside?.code).toBe('storage_corrupt')
  await opened.at(-1)?.close()
  writeFileSync(path, Buffer.alloc(8_192, 0x5a))
  await expect(open()).rejects.toMatchObject({ code: 'storage_corrupt' })
  expect(readdirSync(directory).filter((name) => /corrupt-\d$/.test(name))).toHaveLength(3)
  expect(existsSync(path)).toBe(true)
  rmSync(path)
})

test('a token is not sent over a network in plain text unless an option allows it', async () => {
  await expect(open({ url: 'http://sync.example.com' })).rejects.toMatchObject({ code: 'insecure_url' })
  await expect(open({ uploadUrl: 'http://192.168.0.7/upload' })).rejects.toMatchObject({ code: 'insecure_url' })
  for (const url of [
    'http://localhost:8787',
    'http://[::1]:8787',
    'http://127.0.0.2',
    'https://sync.example.com',
    'http://todos.localhost',
  ])
    await (await open({ url })).close()
  await (await open({ url: 'http://edge:8787', allowHttp: true })).close()
})
