import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bundleInto, ROOT } from '../../cli/bundle.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { RawClient } from '../support/raw-stream.ts'
import { AUDIENCE, temporaryDirectory, token, until, within } from '../support/support.ts'
import { HttpLines } from '../wire/lines.ts'

// Several tenants in one script, from a directory that the test brings along: each with its own database, slot and
// keys, and with the same user and the same sync config, so that buckets, plans and clients have the same names.

const NAMES = ['alpha', 'beta']
const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
/** Found by it, whatever is around it. */
const MARK = 'Marked0Secret'
const secretOf = (name: string): string => Buffer.from(`${MARK} of ${name}, 32 bytes or more`).toString('base64url')

const directory = await temporaryDirectory()
const logged: string[] = []
let source: TestPostgres
let edge: Edge

const urlOf = (name: string, password = `${MARK}${name}`) => source.urlOf({ user: name, password, database: name })
const tokenOf = (name: string, claims: Record<string, unknown> = {}) => token(secretOf(name), 'zoë', 600, claims)
const ask = async (name: string, path: string, signedFor = name) =>
  fetch(`${edge.url}/t/${name}${path}`, {
    headers: { authorization: `Token ${await tokenOf(signedFor, { operator: true })}` },
  })
const statusOf = async (name: string) =>
  ((await (await ask(name, '/status')).json()) as { data: Record<string, unknown> }).data

async function run(name: string, statement: string): Promise<void> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  await sql.unsafe(statement)
  await sql.end({ timeout: 1 })
}

beforeAll(async () => {
  source = await startPostgres()
  for (const name of NAMES) {
    await run('app', `CREATE ROLE ${name} LOGIN SUPERUSER REPLICATION PASSWORD '${MARK}${name}'`)
    await run('app', `CREATE DATABASE ${name}`)
    await run(
      name,
      `CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('1', 'of ${name}')`,
    )
  }
  const settings = (name: string, DATABASE_URL = urlOf(name)) => ({
    DATABASE_URL,
    SLOT: `slot_${name}`,
    SYNC_CONFIG,
    JWT_AUDIENCE: AUDIENCE,
    JWT_SECRET: secretOf(name),
  })
  const tenants = {
    ...Object.fromEntries(NAMES.map((name) => [name, settings(name)])),
    // The password is wrong, and so are the keys for operators of the last one.
    gamma: settings('gamma', urlOf('alpha', `${MARK}wrong`)),
    delta: { ...settings('delta', `${MARK}://no/url`), JWT_KEYS: `{"keys": "${MARK}"}` },
  }
  const bundle = `${directory.path}/bundle`
  await bundleInto(bundle, join(ROOT, 'test/workerd/tenants/index.ts'))
  edge = await startEdge({
    databaseUrl: '',
    jwtSecret: '',
    jwtAudience: '',
    syncConfig: '',
    directory: `${directory.path}/edge`,
    bundle,
    bindings: { TENANTS: JSON.stringify(tenants) },
    log: (line) => void logged.push(line),
  })
})
afterAll(async () => {
  await edge?.dispose()
  await source?.stop()
  await directory.remove()
})

/** What a client of the tenant has after each complete checkpoint. */
async function follow(name: string): Promise<RawClient> {
  const client = new RawClient()
  const lines = await HttpLines.open(`${edge.url}/t/${name}`, await tokenOf(name), { raw_data: true })
  void (async () => {
    for (let line = await lines.next(); typeof line !== 'string'; line = await lines.next()) client.line(line)
  })()
  return client
}
const titles = (client: RawClient) => [...client.rows.values()].map((row) => row.title)

test('two tenants of one script: rows of one never reach clients of the other', async () => {
  for (const name of NAMES) await until(`${name} is live`, async () => (await statusOf(name)).checkpoint !== 0)
  const [alpha, beta] = await Promise.all([follow('alpha'), follow('beta')])
  await within(
    'the rows',
    Promise.all([alpha.until(() => alpha.rows.size === 1), beta.until(() => beta.rows.size === 1)]),
  )
  expect([titles(alpha), titles(beta)]).toEqual([['of alpha'], ['of beta']])
  // Names differ by what each storage of a replicator drew for itself alone.
  const [ofAlpha, ofBeta] = [alpha, beta].map(({ buckets }) =>
    buckets.map((name) => name.replace(/\.[0-9a-f]{16}#/, '#')),
  )
  expect(ofAlpha).toEqual(ofBeta)

  await run('beta', `INSERT INTO items VALUES ('2', 'later, of beta')`)
  await within(
    'the new row',
    beta.until(() => beta.rows.size === 2),
  )
  await run('alpha', `INSERT INTO items VALUES ('3', 'later, of alpha')`)
  await within(
    'the other one',
    alpha.until(() => alpha.rows.size === 2),
  )
  expect([titles(alpha), titles(beta)]).toEqual([
    ['of alpha', 'later, of alpha'],
    ['of beta', 'later, of beta'],
  ])
})

test('each tenant has its own keys, database and status; an address that is no tenant is not found', async () => {
  expect((await ask('alpha', '/buckets', 'beta')).status).toBe(401)
  expect((await ask('nobody', '/status', 'alpha')).status).toBe(404)
  for (const name of NAMES) {
    expect(await statusOf(name)).toMatchObject({
      tenant: name,
      source: { settings: { database: name, slot: `slot_${name}` } },
    })
    // What an isolate remembers of the one is not said of the other.
    const asked = await Promise.all(['/buckets', '/write-checkpoint2.json'].map((path) => ask(name, path)))
    expect(asked.map(({ status }) => status)).toEqual([200, 200])
  }
})

test('a fourth transport, server-sent events, has the lines of the others', async () => {
  const response = await ask('alpha', '/events')
  const decoder = new TextDecoder()
  const client = new RawClient()
  let text = ''
  const read = async () => {
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true })
      const events = text.split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) client.line(JSON.parse(event.slice('data: '.length)))
      if (client.rows.size > 0) return
    }
  }
  await within('the rows', read())
  expect(titles(client)).toContain('of alpha')
  const file = await readFile(new URL('../workerd/tenants/sse.ts', import.meta.url), 'utf8')
  expect(file.split('\n').length).toBeLessThan(40)
})

test('secrets are in no answer, no line of the log and nothing that is stored', async () => {
  await until('the wrong password is told', async () => (await statusOf('gamma')).error)
  const answers = [logged.join('\n')]
  for (const name of [...NAMES, 'gamma', 'delta']) {
    for (const path of ['/status', '/admin/status', '/write-checkpoint2.json', '/buckets'])
      answers.push(await (await ask(name, path)).text())
  }
  expect(answers.join('\n')).toMatch(/ROCKPOOL_SOURCE_(UNREACHABLE|SETTINGS)/)
  expect(answers.join('\n')).toMatch(/JWT_KEYS is not/)
  const stored = await filesIn(`${directory.path}/edge`)
  expect(stored.some(([, bytes]) => bytes.includes('of alpha'))).toBe(true)
  const places = [...answers.map((text): [string, Buffer] => [text.slice(0, 200), Buffer.from(text)]), ...stored]
  const forms = [MARK, ...[...NAMES, 'gamma', 'delta'].map(secretOf)]
  expect(places.filter(([, bytes]) => forms.some((form) => bytes.includes(form))).map(([name]) => name)).toEqual([])
})

async function filesIn(folder: string): Promise<[string, Buffer][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Promise.all(paths.map(async (path): Promise<[string, Buffer]> => [path, await readFile(path)]))
}
