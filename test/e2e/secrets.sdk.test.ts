import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Setting } from '../../protocol/settings.ts'
import { SETTINGS } from '../../tenants/declarations.ts'
import { startEdge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { secretSigner } from '../support/signers.ts'
import { AUDIENCE, temporaryDirectory, token, until } from '../support/support.ts'

// Every setting that is declared as a secret is given a marked value, once a right one and once a wrong one. The mark
// must not be found in an answer, in the log, or in the stored state of any object. (`tenants/tenants.test.ts` looks
// for it in `Tenant` and in errors.)

const MARK = 'Marked0Secret'
const OPERATORS = 'rockpool-operators'
/** 32 bytes as base64url, whose text contains the mark. */
const marked = (name: string): string => `${MARK}${name.replace(/[^A-Z]/g, '')}`.padEnd(43, 'A')
const keySet = (name: string): string =>
  JSON.stringify({ keys: [{ kty: 'oct', kid: name, alg: 'HS256', k: marked(name) }] })
const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'

let postgres: TestPostgres

/** Right values of all secret settings. */
const right = (): Record<string, string> => ({
  DATABASE_URL: postgres.urlOf({ user: 'marked', password: MARK }),
  JWT_SECRET: marked('JWT_SECRET'),
  JWT_KEYS: keySet('JWT_KEYS'),
  OPERATOR_KEYS: keySet('OPERATOR_KEYS'),
  SUPABASE_JWT_SECRET: marked('SUPABASE_JWT_SECRET'),
  TENANT_KEYS: `k1:${marked('TENANT_KEYS')}`,
})
/** Values that their checks, or the database, refuse. */
const wrong = (): Record<string, string> => ({
  DATABASE_URL: postgres.urlOf({ user: 'marked', password: `${MARK}wrong` }),
  JWT_SECRET: `${MARK}!`,
  JWT_KEYS: `{"keys": "${MARK}"}`,
  OPERATOR_KEYS: `{"keys": "${MARK}"}`,
  SUPABASE_JWT_SECRET: `${MARK}!`,
  TENANT_KEYS: `k1:${MARK}`,
})

beforeAll(async () => {
  postgres = await startPostgres()
  await postgres.sql().unsafe(
    `CREATE ROLE marked LOGIN SUPERUSER REPLICATION PASSWORD '${MARK}';
     CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('1', 'a visible title')`,
  )
})
afterAll(() => postgres?.stop())

const operatorKey = secretSigner('HS256', Buffer.from(marked('OPERATOR_KEYS'), 'base64url'), OPERATORS, 'OPERATOR_KEYS')
const operator = () => operatorKey.sign({ sub: 'ops' }, { typ: 'rockpool-operator+jwt' })
const user = () => token(marked('JWT_SECRET'), 'alice', 600, {}, AUDIENCE)

/**
 * Runs a deployment with these bindings. Returns the places in which the mark is found, after `visit` has asked for
 * `answers`.
 */
async function places(
  bindings: Record<string, string>,
  visit: (
    ask: (path: string, bearer: string, init?: RequestInit) => Promise<string>,
    answers: string[],
  ) => Promise<void>,
): Promise<{ found: string[]; stored: Buffer[]; answers: string[] }> {
  const directory = await temporaryDirectory()
  const answers: string[] = []
  const { DATABASE_URL = '', JWT_SECRET = '', ...others } = bindings
  const edge = await startEdge({
    databaseUrl: DATABASE_URL,
    jwtSecret: JWT_SECRET,
    jwtAudience: AUDIENCE,
    syncConfig: SYNC_CONFIG,
    directory: directory.path,
    bindings: { ...others, OPERATOR_AUDIENCE: OPERATORS },
    log: (line) => void answers.push(line),
  })
  try {
    const ask = async (path: string, bearer: string, init: RequestInit = {}) => {
      const headers = { ...init.headers, authorization: `Token ${bearer}` }
      const response = await fetch(`${edge.url}${path}`, { ...init, headers })
      const text = `${path} ${response.status} ${await response.text()} ${JSON.stringify([...response.headers])}`
      answers.push(text)
      return text
    }
    await visit(ask, answers)
    for (const path of ['/status', '/admin/status', '/admin/sync-config', '/admin/tenants', '/metrics'])
      for (const bearer of [await operator(), await user(), 'not.a.token']) await ask(path, bearer)
    for (const path of ['/write-checkpoint2.json', '/buckets']) await ask(path, await user())
  } finally {
    await edge.dispose()
  }
  const entries = await readdir(directory.path, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const stored = await Promise.all(files.map((file) => readFile(file)))
  const raw = Object.values(right()).flatMap((value) => value.match(/[\w-]{43}/g) ?? [])
  const forms = [
    MARK,
    ...raw.flatMap((text) => [Buffer.from(text, 'base64url'), Buffer.from(text, 'base64url').toString('hex')]),
  ]
  const hasMark = (bytes: Buffer) => forms.some((form) => bytes.includes(form))
  const found = [
    ...answers.filter((text) => hasMark(Buffer.from(text))),
    ...files.filter((_, i) => hasMark(stored[i] ?? Buffer.alloc(0))),
  ]
  await directory.remove()
  return { found, stored, answers }
}

test('every secret setting has a marked value here', () => {
  const secrets = Object.entries<Setting<unknown>>(SETTINGS).flatMap(([name, { scope }]) =>
    scope === 'secret' ? [name] : [],
  )
  expect([Object.keys(right()).sort(), Object.keys(wrong()).sort()]).toEqual([secrets.sort(), secrets.sort()])
})

test('the secrets of a deployment are in no answer, in no line of the log, and in no stored state', async () => {
  const { TENANT_KEYS: _, ...bindings } = right()
  const { found, stored } = await places(bindings, async (ask) => {
    await until('the first checkpoint', async () => /"checkpoint":[1-9]/.test(await ask('/status', await operator())))
  })
  expect(found).toEqual([])
  // Otherwise the stored state would not have been looked at.
  expect(stored.some((bytes) => bytes.includes('a visible title'))).toBe(true)
})

test('the secrets of a tenant of the Directory are stored in no readable form, and neither is the key', async () => {
  const {
    TENANT_KEYS = '',
    OPERATOR_KEYS = '',
    DATABASE_URL = '',
    JWT_SECRET = '',
    JWT_KEYS = '',
    SUPABASE_JWT_SECRET = '',
  } = right()
  const { found, stored } = await places({ TENANT_KEYS, OPERATOR_KEYS }, async (ask) => {
    const made = await ask('/admin/tenants/acme', await operator(), {
      method: 'PUT',
      headers: { 'content-type': 'application/json', 'x-rockpool-admin': '1', 'if-none-match': '*' },
      body: JSON.stringify({
        secrets: { DATABASE_URL, JWT_SECRET, JWT_KEYS, SUPABASE_JWT_SECRET },
        settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
      }),
    })
    expect(made).toMatch(/^\S+ 201 /)
    await until('the tenant', async () => / 200 /.test(await ask('/t/acme/buckets', await user())))
    await until('the first checkpoint', async () =>
      /"checkpoint":[1-9]/.test(await ask('/t/acme/status', await operator())),
    )
    await ask('/admin/tenants/acme', await operator())
    await ask('/admin/audit', await operator())
  })
  expect(found).toEqual([])
  expect(stored.some((bytes) => bytes.includes('a visible title'))).toBe(true)
})

test.each(['DATABASE_URL', 'JWT_SECRET', 'JWT_KEYS', 'OPERATOR_KEYS', 'SUPABASE_JWT_SECRET', 'TENANT_KEYS'])(
  'a wrong %s is reported without its value',
  async (name) => {
    const { TENANT_KEYS, ...others } = right()
    const bindings = { ...others, ...(name === 'TENANT_KEYS' ? { TENANT_KEYS } : {}), [name]: wrong()[name] ?? '' }
    const { found, answers } = await places(bindings, async (ask, seen) => {
      await until('the problem', async () => {
        await ask('/status', await operator())
        await ask('/buckets', await user())
        return seen.some((text) =>
          new RegExp(name === 'DATABASE_URL' ? 'ROCKPOOL_SOURCE_SETTINGS' : `${name}`).test(text),
        )
      })
    })
    expect(found).toEqual([])
    expect(answers.length).toBeGreaterThan(10)
  },
)
