import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Clients } from '../../protocol/messages/census.ts'
import { clientsShape } from '../../protocol/messages/census.ts'
import { startCommand } from '../support/command.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { native, ndjson, rsocket } from '../wire/transports.ts'

// Who is connected, as an operator sees it, while clients come and go over every transport.

const SYNC_CONFIG = `bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, title FROM items WHERE owner = bucket.owner
  all:
    data:
      - SELECT id, title FROM items
`
const USERS = ['ann', 'bob', 'zoë \u{1f600}']
const TRANSPORTS = [ndjson, native, rsocket('application/json')]
const secret = newSecret()
const directory = await temporaryDirectory()
const open: Follower[] = []
let source: TestPostgres
let edge: Edge

const operator = () => token(secret, 'op', 60, { operator: true })

async function look(): Promise<Clients> {
  const response = await fetch(`${edge.url}/admin/clients`, { headers: { authorization: `Token ${await operator()}` } })
  expect(response.status).toBe(200)
  const { data } = (await response.json()) as { data: unknown }
  return clientsShape.parse(data)
}

async function call(binding: string, name: string, method: string): Promise<unknown> {
  const body = JSON.stringify({ binding, name, method, request: { v: 2 } })
  return ((await (await fetch(`${edge.url}/call`, { method: 'POST', body })).json()) as { value: unknown }).value
}

async function connect(): Promise<void> {
  for (const [i, transport] of TRANSPORTS.entries()) {
    const user = USERS[i] ?? ''
    const client = new Follower({ url: edge.url, token: () => token(secret, user), clientId: `c${i}`, transport })
    open.push(client)
    await until(
      'its first checkpoint',
      async () => client.checkpoint > 0,
      120,
      () => client.state,
    )
  }
}

beforeAll(async () => {
  source = await startPostgres()
  await source
    .sql()
    .unsafe(`CREATE TABLE items (id int PRIMARY KEY, owner text, title text); INSERT INTO items VALUES (1, 'ann', 'a')`)
  edge = await startEdge({
    databaseUrl: source.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: SYNC_CONFIG,
    directory: `${directory.path}/edge`,
    bindings: { RELAYS: '3' },
    front: new URL('../support/all-methods.js', import.meta.url).pathname,
  })
  await until('it is live', async () => (await statusOf(edge.url, secret)).plan !== null)
})
afterAll(async () => {
  await Promise.all(open.map((client) => client.close()))
  await edge?.dispose()
  await source?.stop()
  await directory.remove()
})

test('every stream is listed, over each transport, with what it has', async () => {
  await connect()
  const { total, streams, more, silent } = await look()
  expect([total, more, silent]).toEqual([3, 0, []])
  const sorted = [...streams].sort((a, b) => String(a.client).localeCompare(String(b.client)))
  expect(sorted.map(({ user, client }) => [user, client])).toEqual(USERS.map((user, i) => [user, `c${i}`]))
  const checkpoint = Math.max(...open.map((each) => each.checkpoint))
  for (const { buckets, position, held, since } of streams) {
    // Two of the sync config, and the mailbox of the user.
    expect(buckets).toBe(3)
    expect(position).toBe(checkpoint)
    expect(held).toBeLessThan(64 * 1024)
    expect(Date.now() - Date.parse(since)).toBeLessThan(600_000)
  }
})

test('a second look soon after is the answer of the first; lost, it is asked for again and equal', async () => {
  const first = await look()
  const kept = await until('the Census to have it', async () => {
    const { clients } = (await call('CENSUS', 'default', 'look')) as { clients: Clients | null }
    return clients ?? undefined
  })
  expect(kept).toEqual(first)
  if (Date.now() - Date.parse(first.at) < 8_000) expect(await look()).toEqual(first)
  await call('CENSUS', 'default', 'erase')
  expect(await call('CENSUS', 'default', 'look')).toEqual({ clients: null, relays: {} })
  const again = await look()
  expect(again.at).not.toBe(first.at)
  expect(again.streams.map(({ client }) => client).sort()).toEqual(['c0', 'c1', 'c2'])
})

test('the command shows the same', async () => {
  const run = async (...args: string[]) => {
    const env = { ...process.env, ROCKPOOL_URL: edge.url, ROCKPOOL_TOKEN: await operator() }
    const command = startCommand(process.execPath, ['cli/main.ts', 'clients', ...args], env)
    return { code: await command.ended, output: command.output }
  }
  const { code, output } = await run()
  expect([code, output]).toEqual([0, expect.stringMatching(/^user +client +sdk +since +buckets +position +held\n/)])
  for (const user of USERS) expect(output).toContain(user)
  expect(output).toMatch(/\n3 streams at /)
  const json = await run('--json')
  expect(JSON.parse(json.output)).toMatchObject({ ok: true, total: 3 })
})

test('nobody but operators is told', async () => {
  const asked = async (headers: Record<string, string>) =>
    (await fetch(`${edge.url}/admin/clients`, { headers })).status
  expect(await asked({})).toBe(401)
  expect(await asked({ authorization: `Token ${await token(secret, 'ann')}` })).toBe(403)
})

test('streams that end are gone; relays wake nobody for it, and an edge that was killed knows those that came back', async () => {
  const leaves = open.shift()
  await leaves?.close()
  await call('CENSUS', 'default', 'erase')
  await until('one less', async () => {
    await call('CENSUS', 'default', 'erase')
    return (await look()).total === 2
  })
  await edge.kill9()
  await until(
    'both again',
    async () => {
      await call('CENSUS', 'default', 'erase')
      const { total, streams } = await look()
      return total === 2 && streams.every(({ position }) => position !== null)
    },
    120,
    look,
  )
})
