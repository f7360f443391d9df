import { readFile, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

const syncConfig = `
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, name, owner_id FROM items WHERE owner_id = bucket.user_id
  news:
    data:
      - SELECT id, name FROM items WHERE owner_id = 'news'
  teams:
    parameters: SELECT team_id FROM members WHERE user_id = request.user_id()
    data:
      - SELECT id, name FROM items WHERE owner_id = bucket.team_id
`
/** A name that needs everything that an address can do wrong. */
const USER = 'a/b%20c#ü"d[é]?&'

type Row = Record<string, unknown>
type Follow = (options: {
  url: string
  bucket: string
  token: () => Promise<string>
  changed: (rows: Row[]) => void
}) => () => void

const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let follow: Follow

beforeAll(async () => {
  directory = await temporaryDirectory()
  // The client of the document, as it stands there.
  const text = await readFile(new URL('../../docs/direct-streams.md', import.meta.url), 'utf8')
  const code = /```js\n([^]*?)```/.exec(text)?.[1] ?? ''
  expect(code.trim().split('\n').length).toBeLessThanOrEqual(45)
  const file = `${directory.path}/follow.mjs`
  await writeFile(file, code)
  const module: { follow: Follow } = await import(pathToFileURL(file).href)
  follow = module.follow
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table items (id text primary key, name text not null, owner_id text not null)`
  await sql`create table members (id text primary key, user_id text not null, team_id text not null)`
  await sql`insert into items values ('n1', 'one', 'news'), ('m1', 'mine', ${USER}), ('t1', 'team', 'team')`
  await sql`insert into members values ('m', ${USER}, 'team')`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: `${directory.path}/edge`,
  })
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

const get = async (path: string, jwt: string) =>
  fetch(`${edge.url}${path}`, { headers: { authorization: `Token ${jwt}` } })

async function bucketsOf(user: string): Promise<string[]> {
  const response = await get('/buckets', await token(secret, user))
  if (response.status !== 200) throw new Error(await response.text())
  const body = (await response.json()) as { data: { buckets: { bucket: string }[] } }
  return body.data.buckets.map(({ bucket }) => bucket)
}

const namesOf = (rows: readonly Row[]) => rows.map((row) => String(row.name)).sort()

/** Opens a WebSocket as a browser would; answers how it ended. */
function closed(path: string, protocols: string[]): Promise<{ code: number; frames: string[] }> {
  const frames: string[] = []
  return new Promise((resolve) => {
    const socket = new WebSocket(`${edge.url.replace('http', 'ws')}${path}`, protocols)
    socket.addEventListener('message', ({ data }) => frames.push(String(data)))
    socket.addEventListener('close', ({ code }) => resolve({ code, frames }))
  })
}

test('the client of the document follows buckets that the token alone gives, live, without a relay', async () => {
  const buckets = await until('the first copy', () => bucketsOf(USER))
  // Not that of the team: it depends on a lookup.
  expect(buckets.map((name) => name.replace(/^[^#]*#/, ''))).toEqual([expect.stringMatching(/^mine\[/), 'news[]'])
  const seen: Record<string, Row[]> = {}
  const stops = buckets.map((bucket) =>
    follow({ url: edge.url, bucket, token: () => token(secret, USER), changed: (rows) => (seen[bucket] = rows) }),
  )
  const [mine = '', news = ''] = buckets
  try {
    await until('the rows', async () => seen[mine]?.length === 1 && seen[news]?.length === 1)
    expect(seen[mine]).toEqual([{ id: 'm1', name: 'mine', owner_id: USER }])
    const sql = postgres.sql()
    await sql.begin(async (tx) => {
      await tx`insert into items values ('n2', 'two', 'news')`
      await tx`update items set name = 'mine too' where id = 'm1'`
    })
    await until('the changes', async () => seen[news]?.length === 2 && seen[mine]?.[0]?.name === 'mine too')
    await sql`delete from items where id = 'n1'`
    await until('the deletion', async () => namesOf(seen[news] ?? []).join() === 'two')
    // Nobody but these keeps the tenant live.
    const status = (await (await get('/status', await token(secret, USER, 60, { operator: true }))).json()) as {
      data: { relays: number; state: string }
    }
    expect(status.data).toMatchObject({ relays: 0, state: 'live' })
  } finally {
    for (const stop of stops) stop()
  }
})

test('an unauthorised client is refused before any object is called', async () => {
  const [mine = '', news = ''] = await bucketsOf(USER)
  const path = (bucket: string, query = '') => `/buckets/${encodeURIComponent(bucket)}/stream${query}`
  const answer = async (url: string, jwt: string) => {
    const response = await get(url, jwt)
    const body = (await response.json()) as { error?: { code: string } }
    return [response.status, body.error?.code]
  }
  const other = await token(secret, 'other')
  expect(await answer('/buckets', 'x')).toEqual([401, 'PSYNC_S2101'])
  expect(await answer(path(news), await token(secret, USER))).toEqual([426, 'PSYNC_S2001'])
  expect(await answer(path(news, '?after=x'), other)).toEqual([400, 'PSYNC_S2001'])
  expect(await answer('/buckets?stream=s&parameters=[]', other)).toEqual([400, 'PSYNC_S2001'])
  const before = await edge.objectTables('Bucket')
  const upgrade = async (bucket: string, protocols: string[]) => (await closed(path(bucket), protocols)).code
  // 1006: the handshake was refused.
  expect(await upgrade(mine, ['rockpool.direct', other])).toBe(1006)
  expect(await upgrade(mine.replace(/#.*/, '#teams["team"]'), ['rockpool.direct', await token(secret, USER)])).toBe(
    1006,
  )
  expect(await upgrade('nonsense', ['rockpool.direct', other])).toBe(1006)
  expect(await upgrade(news, ['rockpool.direct'])).toBe(1006)
  expect(await upgrade(news, [other])).toBe(1006)
  expect(await edge.objectTables('Bucket')).toEqual(before)
})

test('a token that expires closes the stream', async () => {
  const news = (await bucketsOf(USER)).at(-1) ?? ''
  const { code, frames } = await closed(`/buckets/${encodeURIComponent(news)}/stream`, [
    'rockpool.direct',
    await token(secret, 'short', 2),
  ])
  expect(code).toBe(4401)
  expect(JSON.parse(frames.at(-1) ?? '')).toMatchObject({ error: { code: 'PSYNC_S2103' } })
  expect(frames.some((frame) => frame.includes('"checkpoint"'))).toBe(true)
})

test('workerd killed again and again while transactions commit: each time the client ends with the rows of Postgres', async () => {
  const news = (await bucketsOf(USER)).at(-1) ?? ''
  let rows: Row[] = []
  const stop = follow({ url: edge.url, bucket: news, token: () => token(secret, USER), changed: (all) => (rows = all) })
  const sql = postgres.sql()
  const truth = async () =>
    (await sql`select name from items where owner_id = 'news'`)
      .map((row) => String(row.name))
      .sort()
      .join()
  try {
    let n = 0
    for (let round = 0; round < 6; round++) {
      await until('the client', async () => namesOf(rows).join() === (await truth()))
      const writing = (async () => {
        for (let i = 0; i < 15; i++)
          await sql`insert into items values (${`k${n % 20}`}, ${`name ${n++}`}, 'news') on conflict (id) do update set name = excluded.name`
      })()
      // Somewhere between the first commit and the last publication, another place each time.
      await new Promise((resolve) => setTimeout(resolve, 3 + round * 9))
      await edge.kill9()
      await writing
      await until(`the client after kill ${round + 1}`, async () => namesOf(rows).join() === (await truth()))
    }
    expect(rows.length).toBe(21)
  } finally {
    stop()
  }
})

test('a replicator that repeatedly dies between commit and publication leaves nobody waiting: sockets stay open, and are notified', async () => {
  const news = (await until('the first copy', () => bucketsOf(USER))).at(-1) ?? ''
  const faults: string[] = []
  await edge.dispose()
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: `${directory.path}/edge`,
    // Behind the commit and before anybody was told of it; and compaction as often as can be.
    bindings: {
      FAULTS: JSON.stringify({ seed: 1, rate: 0.9, points: ['notice.durable'] }),
      COMPACTION_BYTES: '1',
      COMPACTION_SECONDS: '0',
    },
    log: (line) => void (/fault notice.durable/.test(line) && faults.push(line)),
  })
  let rows: Row[] = []
  let connections = 0
  const stop = follow({
    url: edge.url,
    bucket: news,
    changed: (all: Row[]) => (rows = all),
    token: () => {
      connections++
      return token(secret, USER)
    },
  })
  const sql = postgres.sql()
  const truth = async () =>
    (await sql`select name from items where owner_id = 'news'`)
      .map((row) => String(row.name))
      .sort()
      .join()
  try {
    await until('the client', async () => namesOf(rows).join() === (await truth()))
    for (let n = 0; n < 25; n++) {
      await sql`insert into items values (${`k${n % 4}`}, ${`${n} ${'x'.repeat(6_000)}`}, 'news') on conflict (id) do update set name = excluded.name`
      await until(`change ${n}`, async () => namesOf(rows).join() === (await truth()), 60)
    }
    expect(faults.length).toBeGreaterThan(1)
    expect(connections).toBe(1)
    // Who comes now gets few ops: the bucket was compacted under the open stream.
    const { frames } = await firstCheckpoint(news)
    const ops = frames.flatMap((frame) => (JSON.parse(frame) as { ops: { op: string }[] }).ops)
    expect(ops.filter(({ op }) => op === 'PUT').length).toBeLessThan(35)
    expect(ops.some(({ op }) => op === 'MOVE' || op === 'CLEAR')).toBe(true)
  } finally {
    stop()
  }
})

/** Follows until the first checkpoint. */
async function firstCheckpoint(bucket: string): Promise<{ frames: string[] }> {
  const jwt = await token(secret, USER)
  const frames: string[] = []
  const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/buckets/${encodeURIComponent(bucket)}/stream`, [
    'rockpool.direct',
    jwt,
  ])
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('error', () => reject(new Error('the socket failed')))
    socket.addEventListener('message', ({ data }) => {
      frames.push(String(data))
      socket.send(JSON.stringify({ ack: frames.length }))
      if (String(data).includes('"checkpoint":{')) resolve()
    })
  })
  socket.close()
  return { frames }
}
