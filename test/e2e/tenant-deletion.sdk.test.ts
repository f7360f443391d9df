import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { bucketObjectName } from '../../protocol/names.ts'
import type { TenantJob } from '../../protocol/messages/directory.ts'
import { DirectFollower } from '../support/direct-follower.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { native, ndjson, rsocket } from '../wire/transports.ts'

// A tenant is suspended, resumed and deleted while clients are connected, rows are written and workerd is killed;
// another one beside it notices nothing.
// The file is long because its tests are the life of one tenant, in this order.

const NAMES = ['doomed', 'stays'] as const
type Name = (typeof NAMES)[number]
/** More than one call of the replicator erases. */
const OWNERS = 250
const SYNC_CONFIG =
  'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS owner\n    data:\n      - SELECT id, title FROM items WHERE owner = bucket.owner\n'
const USER = 'owner1'
const v = 2

const secrets = { doomed: newSecret(), stays: newSecret() }
const directory = await temporaryDirectory()
let source: TestPostgres
let edge: TenantEdge
let last = OWNERS

const settings = (name: Name) => ({
  secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secrets[name] },
  settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
})
const tokenOf = (name: Name) => token(secrets[name], USER)
const idsOf = (follower: Pick<Follower, 'buckets'>) => rowsOf(follower.buckets, '').map(({ id }) => Number(id))
const get = async (name: Name) => (await edge.admin('GET', `tenants/${name}`)).data
const live = (name: Name) =>
  until(
    `${name} to be live`,
    async () => (await statusOf(edge.urlOf(name), secrets[name])).plan !== null,
    120,
    () => statusOf(edge.urlOf(name), secrets[name]),
  )

async function run(name: Name, statement: string): Promise<postgres.Row[]> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  try {
    return await sql.unsafe(statement)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** A row of the user, in both. Returns its id. */
async function write(name: Name): Promise<number> {
  const id = ++last
  await run(name, `INSERT INTO items VALUES (${id}, '${USER}', 'of ${name}')`)
  return id
}

function follow(name: Name) {
  const options = { url: edge.urlOf(name), token: () => tokenOf(name) }
  return [ndjson, native, rsocket('application/json')].map(
    (transport, i) => new Follower({ ...options, clientId: `c${i}`, transport }),
  )
}

async function call(
  binding: string,
  name: string,
  method: string,
  request: object = {},
): Promise<{ value?: unknown; error?: string }> {
  const body = JSON.stringify({ binding, name, method, request: { v, ...request } })
  return (await fetch(`${edge.edge.url}/call`, { method: 'POST', body })).json() as Promise<{
    value?: unknown
    error?: string
  }>
}
async function open(binding: string, name: string, path: string): Promise<{ value?: unknown; error?: string }> {
  const body = JSON.stringify({ binding, name, path })
  return (await fetch(`${edge.edge.url}/call`, { method: 'POST', body })).json() as Promise<{
    value?: unknown
    error?: string
  }>
}
const inside = async (binding: string, name: string) =>
  (await call(binding, name, 'lookInside')).value as { alarm: number | null; tables: string[] }

/** Names of the bucket objects of a tenant, as its replicator has stored them. */
async function bucketsOf(tenant: Name): Promise<string[]> {
  const folder = join(directory.path, 'edge/do/rockpool-Replicator')
  const names: string[] = []
  for (const file of readdirSync(folder).filter((each) => /^[0-9a-f]{64}\.sqlite$/.test(each))) {
    const db = new DatabaseSync(join(folder, file), { readOnly: true, timeout: 5_000 })
    try {
      const tables = db.prepare("SELECT name FROM sqlite_master WHERE name = 'relays'").all()
      if (tables.length === 0) continue
      const relays = db.prepare('SELECT name FROM relays').all()
      if (!relays.some(({ name }) => String(name).startsWith(`${tenant}/`))) continue
      const all = db.prepare('SELECT name FROM buckets').all()
      names.push(...all.map(({ name }) => String(name)))
    } finally {
      db.close()
    }
  }
  return Promise.all(names.map((name) => bucketObjectName(tenant, name)))
}

beforeAll(async () => {
  source = await startPostgres()
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    bindings: { DELETION_LATE_SECONDS: '20', WAL_CHECK_SECONDS: '1', WAL_KEEP_GB: '0.02' },
    front: new URL('../support/all-methods.js', import.meta.url).pathname,
    ...(process.env.ROCKPOOL_LOG ? { log: (line: string) => console.log(`[edge] ${line}`) } : {}),
  })
  for (const name of NAMES) {
    await source.sql().unsafe(`CREATE DATABASE ${name}`)
    await run(
      name,
      `CREATE TABLE items (id int PRIMARY KEY, owner text, title text);
       INSERT INTO items SELECT n, 'owner' || n, 'of ${name}' FROM generate_series(1, ${OWNERS}) n`,
    )
    await edge.create(name, settings(name))
  }
  for (const name of NAMES) await live(name)
})
afterAll(async () => {
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

test('a tenant that is suspended has no streams and no session, and is found by nobody; resumed, it goes on where it was', async () => {
  const clients = [
    ...follow('doomed'),
    new DirectFollower({ url: edge.urlOf('doomed'), token: () => tokenOf('doomed') }),
  ]
  const [other] = follow('stays')
  if (!other) throw new Error('there is no client')
  for (const client of [...clients, other])
    await until(
      'a first row',
      async () => idsOf(client).length > 0,
      60,
      () => client.state,
    )
  try {
    const answer = await edge.admin('POST', 'tenants/doomed/suspend', {})
    expect([answer.status, answer.data?.state, answer.data?.job]).toEqual([200, 'suspended', null])
    await until('no process of it in Postgres', async () => {
      const [row] = await source.sql()`select count(*)::int as n from pg_stat_activity where datname = 'doomed'`
      return row?.n === 0
    })
    for (const path of ['status', 'sync/stream', 'write-checkpoint2.json', 'buckets']) {
      const asked = await fetch(`${edge.urlOf('doomed')}/${path}`, {
        headers: { authorization: `Token ${await tokenOf('doomed')}` },
      })
      expect([path, asked.status, await asked.json()]).toEqual([
        path,
        404,
        expect.objectContaining({ error: expect.objectContaining({ code: 'PSYNC_S2002' }) }),
      ])
    }
    // Objects that are called by an isolate with an older list refuse by themselves.
    expect(await call('REPLICATOR', 'doomed', 'committed')).toEqual({ error: 'ROCKPOOL_TENANT' })
    expect(await open('RELAY', 'doomed/main/0', '/stream?user=u')).toEqual({ value: 404 })
    expect(await call('RELAY', 'doomed/main/0', 'streams')).toEqual({ value: 0 })
    const missed = await write('doomed')
    const seen = await write('stays')
    await until(
      'the other tenant',
      async () => idsOf(other).includes(seen),
      60,
      () => other.state,
    )
    for (const client of clients) expect(idsOf(client)).not.toContain(missed)
    // Its slot is measured.
    expect((await inside('REPLICATOR', 'doomed')).alarm).not.toBeNull()

    expect((await edge.admin('POST', 'tenants/doomed/resume', {})).data).toMatchObject({ state: 'active', job: null })
    for (const client of clients)
      await until(
        'what was missed',
        async () => idsOf(client).includes(missed),
        120,
        () => [client.state, idsOf(client)],
      )
    for (const client of [...clients, other]) expect(client.problems).toEqual([])
    expect(other.streams).toBe(1)
  } finally {
    await Promise.all([...clients, other].map((client) => client.close()))
  }
})

test('a tenant that is deleted under load, with kill -9 in between, leaves nothing, whichever method of its objects is called then', async () => {
  const clients = [
    ...follow('doomed'),
    new DirectFollower({ url: edge.urlOf('doomed'), token: () => tokenOf('doomed') }),
  ]
  const [other] = follow('stays')
  if (!other) throw new Error('there is no client')
  let over = false
  onTestFinished(() => void (over = true))
  const writing = (async () => {
    while (!over) for (const name of NAMES) await write(name)
  })()
  for (const client of clients)
    await until(
      'a first row',
      async () => idsOf(client).length > 1,
      60,
      () => client.state,
    )
  // Which is kept, with names of users.
  const connected = await edge.admin('GET', '../t/doomed/admin/clients')
  expect(connected.data).toMatchObject({ total: 3, streams: [{ user: USER }, { user: USER }, { user: USER }] })
  await until('the Census to have it', async () => {
    const { value } = await call('CENSUS', 'doomed', 'look')
    return (value as { clients: unknown }).clients !== null
  })

  const buckets = await bucketsOf('doomed')
  expect(buckets.length).toBeGreaterThanOrEqual(OWNERS)

  const { version } = (await get('doomed')) as { version: number }
  expect((await edge.admin('DELETE', 'tenants/doomed', {}, { 'if-match': '"1"' })).status).toBe(412)
  const begun = await edge.admin('DELETE', 'tenants/doomed', {}, { 'if-match': `"${version}"` })
  expect(begun.status).toBe(202)
  const phases = new Set<string>()
  const jobOf = async () => {
    const job = ((await get('doomed'))?.job ?? null) as TenantJob | null
    if (job) phases.add(job.phase)
    return job
  }
  for (let killed = 0; killed < 3; killed++) {
    await new Promise((resolve) => setTimeout(resolve, 150 * (killed + 1)))
    await edge.edge.kill9()
    await jobOf()
  }
  await until('the late phase', async () => (await jobOf())?.phase === 'late', 120, jobOf)
  // A call that came late: its bucket has storage again.
  const [late = ''] = buckets
  const page = {
    first: 1,
    last: 1,
    count: 1,
    checksum: 7,
    body: '{"op_id":"1","op":"MOVE","checksum":7}',
    committed: 0,
  }
  expect(await call('BUCKET', late, 'append', page)).toMatchObject({ value: { count: 1 } })
  expect((await inside('BUCKET', late)).tables).toContain('pages')
  await until('the end', async () => (await edge.admin('GET', 'tenants/doomed')).status === 404, 120, jobOf)
  expect([...phases].sort()).toContain('late')

  const relays = ['doomed/main/0']
  const methods = (await (await fetch(`${edge.edge.url}/methods`)).json()) as Record<string, string[]>
  const never = ['constructor', 'log', 'fetch', 'alarm', 'webSocketMessage', 'webSocketClose', 'webSocketError']
  const requests: Record<string, Record<string, object | null>> = {
    REPLICATOR: {
      attach: { relay: 'doomed/main/0' },
      committed: {},
      watch: { bucket: 'b' },
      left: { bucket: 'b' },
      plan: { hash: 'h' },
      writeCheckpoint: { user: USER, clientId: 'c' },
      checkpointRequest: { user: USER, clientId: 'c', id: '1' },
      wake: {},
      stopping: {},
      standing: { state: 'active', version: 1_000 },
      leaveSource: {},
      revoke: { kind: 'revoke', by: 'op', revocation: { of: 'user', value: 'u', before: null, until: null } },
      revocations: { limit: 10 },
      streamsAt: { level: 'warn', streams: 1 },
      removeBuckets: { after: 0 },
      eraseAll: {},
      deploy: { yaml: SYNC_CONFIG, dryRun: false, force: false, ifMatch: null, by: 'op' },
      rollback: { dryRun: false },
      withdraw: { number: 1, by: 'op' },
      configs: {},
      verify: { repair: true },
      verification: {},
      cancelVerify: {},
      status: { look: true },
    },
    BUCKET: {
      // Only the replicator appends, and what it sent late has gone with the second round.
      append: null,
      state: { checkpoint: 1 },
      read: { after: 0, checkpoint: 1, budget: 1_000 },
      rows: { checkpoint: 1 },
      publish: { checkpoint: 1, plan: null },
      idle: { before: 1 },
      size: {},
      digest: { checkpoint: 1, split: 1, list: true, pass: 0, prefix: '', key: 'k' },
      dismiss: {},
      revoke: { of: 'user', hash: 'h', before: null },
      mend: {},
      remove: { serial: 1 },
      erase: { upTo: 1 },
    },
    RELAY: { streams: {}, clients: {}, dismiss: {}, revoke: { of: 'user', hash: 'h', before: null, revision: 1 } },
  }
  const objects: [string, string][] = [
    ['REPLICATOR', 'doomed'],
    ...relays.map((name): [string, string] => ['RELAY', name]),
    ...[late, buckets.at(-1) ?? ''].map((name): [string, string] => ['BUCKET', name]),
  ]
  for (const [binding, name] of objects) {
    const known = requests[binding] ?? {}
    expect([...(methods[binding] ?? [])].filter((method) => !never.includes(method)).sort()).toEqual(
      Object.keys(known).sort(),
    )
    for (const [method, request] of Object.entries(known)) {
      if (request === null) continue
      const answer = await call(binding, name, method, request)
      if (binding === 'REPLICATOR')
        expect([method, answer.error ?? 'nothing was done']).toEqual([
          method,
          expect.stringMatching(/^(ROCKPOOL_TENANT|nothing was done)$/),
        ])
    }
    for (const path of [
      '/stream?user=u&client=c',
      '/replicator?serial=1',
      `/?bucket=b&after=0&expires=${Math.floor(Date.now() / 1_000) + 600}&plan=p`,
    ])
      await open(binding, name, path)
    const nothing = async () => {
      const { alarm, tables } = await inside(binding, name)
      return alarm === null && tables.length === 0
    }
    await until(`nothing in ${binding} ${name}`, nothing, 30, () => inside(binding, name))
  }
  for (const name of buckets) expect([name, await inside('BUCKET', name)]).toEqual([name, { alarm: null, tables: [] }])
  expect(await call('CENSUS', 'doomed', 'look')).toEqual({ value: { clients: null, relays: {} } })
  // On the disk there is storage of the other tenant alone.
  expect(await bucketsOf('doomed')).toEqual([])
  expect((await edge.edge.objectIds('Replicator')).length).toBe(1)
  expect((await edge.edge.objectIds('Bucket')).length).toBe(await objectsOfOther())

  const left = await source.sql()`select slot_name from pg_replication_slots where database = 'doomed'`
  expect([left.length, (await run('doomed', 'SELECT pubname FROM pg_publication')).length]).toEqual([0, 0])
  over = true
  await writing
  const seen = await write('stays')
  await until(
    'the other tenant',
    async () => idsOf(other).includes(seen),
    60,
    () => other.state,
  )
  expect(other.problems).toEqual([])
  await Promise.all([...clients, other].map((client) => client.close()))
  const { data } = await edge.admin('GET', 'audit?limit=10')
  expect(data?.entries).toEqual(
    expect.arrayContaining([expect.objectContaining({ action: 'deleted', tenant: 'doomed', by: 'ann' })]),
  )
})

/** Buckets of the tenant that stays, among them lookups and mailboxes, that have storage. */
async function objectsOfOther(): Promise<number> {
  const names = await bucketsOf('stays')
  let used = 0
  for (const name of names) if ((await inside('BUCKET', name)).tables.length > 0) used++
  return used
}

test('its name is made again when that is asked for, and has nothing of before', async () => {
  await expect(edge.create('doomed', settings('doomed'))).rejects.toThrow(/409/)
  await run('doomed', `TRUNCATE items; INSERT INTO items VALUES (1, '${USER}', 'of the new one')`)
  const began = performance.now()
  await edge.create('doomed', settings('doomed'), '?reuse_name=1')
  const [client] = follow('doomed')
  if (!client) throw new Error('there is no client')
  await until(
    'its first row',
    async () => idsOf(client).length > 0,
    120,
    () => client.state,
  )
  console.log(`a new tenant has its first row at a client after ${Math.round(performance.now() - began)} ms`)
  expect(rowsOf(client.buckets, '').map(({ title }) => title)).toEqual(['of the new one'])
  await client.close()
})

test('the slot of a suspended tenant is dropped when it keeps too much WAL; resumed, everything is compared, and clients lack nothing', async () => {
  const slots = async () => (await source.sql()`select 1 from pg_replication_slots where database = 'doomed'`).length
  expect(await slots()).toBe(1)
  await edge.admin('POST', 'tenants/doomed/suspend', {})
  const missed = await write('doomed')
  await run(
    'doomed',
    "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)) FROM generate_series(1, 40); CHECKPOINT",
  )
  await until(
    'the slot to be dropped',
    async () => (await slots()) === 0,
    60,
    () => source.sql()`select * from pg_replication_slots`,
  )
  await until('no alarm that measures', async () => (await inside('REPLICATOR', 'doomed')).alarm === null)
  await edge.admin('POST', 'tenants/doomed/resume', {})
  const [client] = follow('doomed')
  if (!client) throw new Error('there is no client')
  await until(
    'what was missed',
    async () => idsOf(client).includes(missed),
    120,
    () => client.state,
  )
  expect([await slots(), client.problems]).toEqual([1, []])
  const { diagnostics } = await statusOf(edge.urlOf('doomed'), secrets.doomed)
  expect(diagnostics.counts.ROCKPOOL_WAL_DROPPED).toBe(1)
  await client.close()
})
