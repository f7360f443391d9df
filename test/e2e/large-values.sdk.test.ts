import { connect, createServer, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { openRawStream, type RawClient } from '../support/raw-stream.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token } from '../support/support.ts'

// A table with files, as it is copied and as it changes.

const secret = newSecret()
const MB = 1024 * 1024
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let stop = () => {}

beforeAll(async () => {
  postgres = await startPostgres()
})
afterAll(() => postgres?.stop())

beforeEach(async () => {
  directory = await temporaryDirectory()
  await postgres.sql().unsafe(`
    create table files (id int primary key, name text, content bytea, note text);
    alter table files alter column content set storage external, alter column note set storage external;
    insert into files select n, 'file ' || n, decode(repeat(md5(n::text), ${(5 * MB) / 16}), 'hex') from generate_series(1, 10) n`)
})
afterEach(async () => {
  stop()
  await edge?.dispose()
  await directory?.remove()
  await postgres.sql().unsafe(`
    select pg_terminate_backend(active_pid) from pg_replication_slots where active;
    drop publication if exists rockpool; drop table files`)
  for (let free = false; !free;) {
    free =
      (await postgres.sql()`select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`)
        .length > 0
  }
})

async function start(query: string, databaseUrl = postgres.url): Promise<RawClient> {
  edge = await startEdge({
    databaseUrl,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: directory.path,
    syncConfig: `bucket_definitions:\n  all:\n    data:\n      - ${query}\n`,
  })
  const opened = await openRawStream(edge.url, await token(secret, 'alice'), { client_id: 'a' })
  stop = opened.stop
  await opened.client.until(() => opened.client.completes > 0)
  return opened.client
}

/** Everything committed so far has come. */
async function settled(client: RawClient): Promise<void> {
  const n = await requestWriteCheckpoint(edge.url, await token(secret, 'alice'), 'a')
  await client.until(() => (client.writeCheckpoint ?? 0n) >= n)
}

const names = (client: RawClient) =>
  [...client.rows.values()].map((row) => JSON.stringify(row)).filter((text) => text.includes('file')).length
const skipped = async () => {
  const { count, recent } = (await statusOf(edge.url, secret)).skippedRows
  return { count, recent: recent.map(({ table, key, reason }) => [table, key, reason]) }
}

test.each(['SELECT id, name FROM files', 'SELECT * FROM files'])(
  '%s: what clients are never sent is never read',
  async (query) => {
    const client = await start(query)
    expect(names(client)).toBe(10)
    const sql = postgres.sql()
    // 100 MB of text in one message, and a change that leaves out what did not change.
    await sql`insert into files values (11, 'file 11', decode(repeat(md5('x'), ${(50 * MB) / 16}::int), 'hex'))`
    await sql`update files set name = 'file one' where id = 1`
    await sql`select pg_logical_emit_message(true, 'of somebody', repeat('m', ${60 * MB}::int))`
    await sql`insert into files values (12, 'file 12')`
    await settled(client)
    expect(names(client)).toBe(12)
    expect(JSON.stringify([...client.rows.values()])).toContain('file one')
    expect(await skipped()).toEqual({ count: 0, recent: [] })
    expect((await statusOf(edge.url, secret)).diagnostics.counts).toEqual({})
  },
)

test('a row is left out while a value that a query reads is too large, which is reported with its key', async () => {
  await postgres.sql()`update files set note = repeat('n', ${3 * MB}::int) where id = 3`
  const client = await start('SELECT id, name, length(note) AS size FROM files')
  expect(names(client)).toBe(9)
  const reason = expect.stringMatching(/column note: the value has 3145728 bytes, more than 2097152/)
  expect((await skipped()).recent).toEqual([['public.files', '["3"]', reason]])
  const sql = postgres.sql()
  await sql`update files set note = repeat('n', ${4 * MB}::int) where id = 4`
  await sql`update files set note = 'short' where id = 3`
  await settled(client)
  expect(names(client)).toBe(9)
  expect((await skipped()).recent[0]).toEqual([
    'public.files',
    '["4"]',
    expect.stringMatching(/column note: the value has 4194304 bytes/),
  ])
  // Of the large value nothing is sent this time, and nothing is kept of it.
  await sql`update files set name = 'file four' where id = 4`
  await settled(client)
  await sql`update files set note = null where id = 4`
  await settled(client)
  expect(names(client)).toBe(10)
  expect(JSON.stringify([...client.rows.values()])).toContain('file four')
})

/** Postgres, so many milliseconds away in each direction. */
async function distant(milliseconds: number): Promise<{ url: string; close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(postgres.port, '127.0.0.1')
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (bytes) => setTimeout(() => to.write(bytes), milliseconds))
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: postgres.url.replace(`:${postgres.port}/`, `:${address.port}/`),
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Two rows of 2.5 MB, which are too large for an image to be kept. */
const twoLargeRows = () =>
  postgres.sql().unsafe(`
    drop table files;
    create table files (id int primary key, n int, a text, b text);
    alter table files alter column a set storage external, alter column b set storage external;
    insert into files select i, 0, repeat('a', 1250000), repeat('b', 1250000) from generate_series(1, 2) i`)

test('a row whose values are too large to be kept, updated again and again, keeps no commit away', async () => {
  const sql = postgres.sql()
  await twoLargeRows()
  const far = await distant(30)
  try {
    const client = await start('SELECT id, n, length(a) + length(b) AS size FROM files', far.url)
    // What the rows were, and what the client has seen of them.
    const written = new Map<string, Set<string>>([1, 2].map((id) => [String(id), new Set(['0 2500000'])]))
    const seen = new Set<string>()
    const wrong: string[] = []
    client.onLine(() => {
      if (client.seen.at(-1) !== 'checkpoint_complete') return
      for (const { id, n, size } of client.rows.values()) {
        seen.add(`${String(id)} ${String(n)}`)
        if (!written.get(String(id))?.has(`${String(n)} ${String(size)}`))
          wrong.push(`${String(id)}: ${String(n)} ${String(size)}`)
      }
    })
    const began = Date.now()
    for (let n = 1; Date.now() - began < 6_000; n++) {
      const id = 1 + (n % 2)
      const longer = n % 10 === 0 ? n : 0
      const size = longer > 0 ? 1_250_000 + longer : Number([...(written.get(String(id)) ?? [])].at(-1)?.split(' ')[1])
      written.get(String(id))?.add(`${n} ${size}`)
      if (longer > 0) await sql`update files set n = ${n}, a = repeat('c', ${longer}) where id = ${id}`
      else await sql`update files set n = ${n} where id = ${id}`
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
    // While it went on. Without a load a read takes about 0.3 s to come to its place.
    expect(seen.size).toBeGreaterThan(3)
    await settled(client)
    const stored = await sql`select id, n, length(a) + length(b) as size from files order by id`
    expect([...client.rows.values()].sort((x, y) => Number(x.id) - Number(y.id))).toEqual(
      stored.map((row) => ({ ...row })),
    )
    expect(wrong).toEqual([])
  } finally {
    far.close()
  }
})

test('a row that one transaction changes twice is not completed by a read from before that transaction is visible', async () => {
  const sql = postgres.sql()
  await twoLargeRows()
  const far = await distant(30)
  const client = await start('SELECT id, n, length(a) + length(b) AS size FROM files', far.url)
  const seen = new Set<string>()
  client.onLine(() => {
    if (client.seen.at(-1) !== 'checkpoint_complete') return
    for (const { id, n, size } of client.rows.values()) if (String(id) === '1') seen.add(`${String(n)} ${String(size)}`)
  })
  const standbys = async (to: string) => {
    await sql.unsafe(`alter system ${to}`)
    await sql`select pg_reload_conf()`
  }
  try {
    // A commit that waits for a standby is streamed, and invisible.
    await standbys("set synchronous_standby_names = 'ghost'")
    let committed = Promise.resolve()
    // While the other row is read again and again.
    for (let n = 1; n < 100; n++) {
      await sql.begin(async (tx) => {
        await tx`set local synchronous_commit = off`
        await tx`update files set n = ${n} where id = 2`
      })
      await new Promise((resolve) => setTimeout(resolve, 15))
      if (n !== 30) continue
      committed = sql.begin(async (tx) => {
        await tx`update files set a = repeat('c', 1250001), b = repeat('d', 1250001) where id = 1`
        await tx`update files set n = 1 where id = 1`
      })
    }
    await standbys('reset synchronous_standby_names')
    await committed
    await settled(client)
    expect([...seen].filter((row) => row !== '0 2500000')).toEqual(['1 2500002'])
  } finally {
    await standbys('reset synchronous_standby_names')
    far.close()
  }
})
