import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// What is done to one tenant, and a Directory that hangs, seen from another tenant: by the calls of objects, which are
// counted exactly.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const NAMES = ['abused', 'quiet'] as const
type Name = (typeof NAMES)[number]
const FRONT = fileURLToPath(new URL('../support/counted-objects.js', import.meta.url))
/** What it does each time: rows, and as many write checkpoints. */
const WORK = 5
const HOUR = 3_600_000

const secrets = { abused: newSecret(), quiet: newSecret() }
const directory = await temporaryDirectory()
const clients = new Map<Name, Follower>()
let source: TestPostgres
let edge: TenantEdge
let last = 0

async function run(name: Name, statement: string): Promise<void> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  await sql.unsafe(statement)
  await sql.end({ timeout: 1 })
}
const tokenOf = (name: Name, user = 'ann') => token(secrets[name], user)
/** The calls since the last question. */
const takeCalls = async () => (await (await fetch(`${edge.edge.url}/_calls`)).json()) as Record<string, number>
/** Of one tenant, without alarms, which come by themselves when it is time. */
const of = (calls: Record<string, number>, tenant: string) =>
  Object.fromEntries(
    Object.entries(calls)
      .filter(([key]) => key.startsWith(`${tenant} `) && !key.endsWith('.alarm'))
      .sort(),
  )
const rowsAt = (name: Name) => rowsOf(clients.get(name)?.buckets ?? new Map(), '').length
const follow = (name: Name) =>
  new Follower({ url: edge.urlOf(name), token: () => tokenOf(name), clientId: `c-${name}` })

/** Some rows and write checkpoints of the quiet tenant, each in its turn, so that none shares a call with another. */
async function work(name: Name): Promise<void> {
  for (let n = 0; n < WORK; n++) {
    const before = rowsAt(name)
    await run(name, `INSERT INTO items VALUES ('${++last}', 'x')`)
    await until('the row', async () => rowsAt(name) === before + 1)
    const number = await requestWriteCheckpoint(edge.urlOf(name), await tokenOf(name), `c-${name}`)
    await until(
      'the write checkpoint',
      async () => (clients.get(name)?.writeCheckpoint ?? 0n) >= number,
      60,
      () => clients.get(name)?.state,
    )
  }
}

beforeAll(async () => {
  source = await startPostgres()
  edge = await TenantEdge.start({ directory: `${directory.path}/edge`, front: FRONT })
  for (const name of NAMES) {
    await source.sql().unsafe(`CREATE DATABASE ${name}`)
    await run(name, "CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('0', 'first')")
    await edge.create(name, {
      secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secrets[name] },
      settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
    })
    clients.set(name, follow(name))
    await until(`the first row of ${name}`, async () => rowsAt(name) === 1)
    await work(name)
  }
})
afterAll(async () => {
  await Promise.all([...clients.values()].map((client) => client.close()))
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

/** Everything that somebody can do to a tenant from outside, again and again until it is over. */
async function abuse(isOver: () => boolean): Promise<number> {
  const at = edge.urlOf('abused')
  const forged = await token(newSecret(), 'ann')
  const [good, others] = [await tokenOf('abused', 'mallory'), await tokenOf('quiet', 'mallory')]
  const get = (path: string, bearer: string) =>
    fetch(`${at}${path}`, { headers: { authorization: `Token ${bearer}` } }).then((answer) => answer.text())
  const stream = async (n: number) => {
    const leave = new AbortController()
    const body = JSON.stringify({ raw_data: true, client_id: `storm-${n % 30}` })
    const headers = { authorization: `Token ${good}`, 'content-type': 'application/json' }
    const opened = await fetch(`${at}/sync/stream`, { method: 'POST', body, headers, signal: leave.signal })
    setTimeout(() => leave.abort(), 500)
    await opened.text()
  }
  const change = (n: number) =>
    fetch(`${at}/admin/verify`, {
      method: 'POST',
      body: '{}',
      headers: { authorization: `Token ${n % 2 ? good : forged}` },
    })
  const ways: ((n: number) => Promise<unknown>)[] = [
    (n) => get('/status', `${forged.slice(0, -5)}${String(n).padStart(5, '0')}`),
    () => get('/write-checkpoint2.json?client_id=x', forged),
    () => get('/write-checkpoint2.json?client_id=x', others),
    (n) => get(`/write-checkpoint2.json?client_id=x${n % 40}`, good),
    (n) => get(`/admin/status?n=${n}`, good),
    (n) => get(`/nothing-${n}`, forged),
    (n) =>
      fetch(`${edge.edge.url}/admin/tenants/quiet`, { headers: { authorization: `Token ${n % 2 ? good : forged}` } }),
    (n) => fetch(`${edge.edge.url}/t/nobody-${n}/status`),
    stream,
    change,
  ]
  let sent = 0
  const storm = async (from: number) => {
    for (let n = from; !isOver(); n++) {
      await ways[n % ways.length]?.(n).catch(() => {})
      sent++
    }
  }
  await Promise.all(Array.from({ length: 10 }, (_, n) => storm(n)))
  return sent
}

test('a tenant that is abused costs another tenant no call, and the Directory none beside its list', async () => {
  await takeCalls()
  await work('quiet')
  const alone = of(await takeCalls(), 'quiet')
  expect(alone).toMatchObject({ 'quiet Replicator.writeCheckpoint': WORK })

  let isOver = false
  const began = Date.now()
  const storm = abuse(() => isOver)
  await work('quiet')
  await work('quiet')
  isOver = true
  const sent = await storm
  const calls = await takeCalls()
  const twice = Object.fromEntries(Object.entries(alone).map(([key, count]) => [key, 2 * count]))
  expect(of(calls, 'quiet')).toEqual(twice)
  // The storm was one.
  expect(sent).toBeGreaterThan(200)
  const ofAbused = Object.values(of(calls, 'abused')).reduce((sum, count) => sum + count, 0)
  expect(ofAbused).toBeGreaterThan(50)
  // The list of names, and two records, are asked for again when they are 30 s old.
  const intervals = 1 + Math.ceil((Date.now() - began) / 30_000)
  const ofDirectory = of(calls, 'directory')
  expect(Object.keys(ofDirectory).filter((key) => !/\.(names|record|heard)$/.test(key))).toEqual([])
  expect(ofDirectory['directory Directory.names'] ?? 0).toBeLessThanOrEqual(intervals)
  expect(ofDirectory['directory Directory.record'] ?? 0).toBeLessThanOrEqual(2 * intervals)
  expect(Object.keys(calls).filter((key) => !/^(quiet|abused|directory) /.test(key))).toEqual([])
}, 180_000)

test('while the Directory hangs for an hour known tenants go on, and who knows nothing is told so in time', async () => {
  const hang = async (on: boolean, ahead: number) => fetch(`${edge.edge.url}/_hang?on=${on ? 1 : 0}&ahead=${ahead}`)
  const ask = async (path: string, bearer?: string) => {
    const began = performance.now()
    const response = await fetch(
      `${edge.edge.url}${path}`,
      bearer ? { headers: { authorization: `Token ${bearer}` } } : {},
    )
    const { error } = (await response.json()) as { error?: { code: string } }
    return { status: response.status, code: error?.code, seconds: (performance.now() - began) / 1_000 }
  }
  const later = follow('quiet')
  try {
    for (const ahead of [40_000, HOUR / 2, HOUR]) {
      await hang(true, ahead)
      await work('quiet')
      // One that renews its token, and one that connects, both with the tenant's keys.
      const again = follow('quiet')
      await until('a new stream', async () => rowsOf(again.buckets, '').length === rowsAt('quiet'), 60)
      await again.close()
      expect(await ask('/t/nobody/status')).toMatchObject({ status: 404 })
    }
    const known = await ask('/fresh/t/quiet/write-checkpoint2.json?client_id=x', await tokenOf('quiet'))
    const unknown = await ask('/fresh/t/nobody/status')
    for (const { status, code, seconds } of [known, unknown]) {
      expect([status, code]).toEqual([503, 'ROCKPOOL_UNANSWERED'])
      expect(seconds).toBeLessThan(20)
    }
    // It is refused with a reason, and whoever asked for it knows that it has to be asked for again.
    const revoked = await edge.admin('POST', 'tenants/quiet/revoke', { user: 'eve' })
    expect([revoked.status, revoked.error?.code]).toEqual([503, 'ROCKPOOL_UNANSWERED'])
    await hang(false, HOUR)
    expect((await edge.admin('POST', 'tenants/quiet/revoke', { user: 'eve' })).data).toMatchObject({ told: true })
    expect(await ask('/fresh/t/quiet/write-checkpoint2.json?client_id=x', await tokenOf('quiet'))).toMatchObject({
      status: 200,
    })
    expect(await ask('/fresh/t/nobody/status')).toMatchObject({ status: 404 })
    expect((await edge.admin('GET', 'tenants/quiet')).status).toBe(200)
    await work('quiet')
    for (const client of [later, ...clients.values()]) expect(client.problems).toEqual([])
  } finally {
    await later.close()
  }
}, 240_000)
