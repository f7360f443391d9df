import { afterAll, beforeAll, expect, test } from 'vitest'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { damage } from '../support/damage.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until } from '../support/support.ts'

// A database that offers no TLS, at an address that is not the loopback interface by its name.

const secret = newSecret()
let postgres: TestPostgres
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql()`create table items (id int primary key)`
  await postgres.sql()`insert into items values (1)`
})
afterAll(async () => {
  await postgres?.stop()
  await directory?.remove()
})

const start = (folder: string, query: string) =>
  startEdge({
    databaseUrl: `${postgres.url.replace('127.0.0.1', '0.0.0.0')}?${query}`,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: `${directory.path}/${folder}`,
    bindings: { IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' },
    syncConfig: 'bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM items\n',
  })
const status = (edge: Edge) => statusOf(edge.url, secret)

/** What Postgres had us store of itself, changed by `change` while nothing runs. */
function source(folder: string, change?: (stored: Record<string, unknown>) => void): Record<string, unknown> {
  return damage(`${directory.path}/${folder}`, 'Replicator', DEFAULT_TENANT, (db) => {
    const row = db.prepare("SELECT value FROM state WHERE key = 'source'").get()
    const stored = JSON.parse(String(row?.value)) as { value: Record<string, unknown> }
    change?.(stored.value)
    db.prepare("UPDATE state SET value = ? WHERE key = 'source'").run(JSON.stringify(stored))
    return stored.value
  })
}
/** As an earlier version stored it. */
const forget = (folder: string) => source(folder, (stored) => delete stored.tls)

/**
 * How often each deployment had told it when it was last looked at: a session may begin before a status of its own
 * answers.
 */
const toldBefore = new Map<string, number>()

/** Sessions succeed, and what is said of TLS is told or not. */
async function live(folder: string, query: string, told: 'told' | 'not told'): Promise<void> {
  const edge = await start(folder, query)
  try {
    const { counts, recent } = await until(
      'the stream',
      async () => {
        const { state, session, checkpoint, diagnostics } = await status(edge)
        return (state === 'live' || state === 'idle') && session.count > 0 && checkpoint > 0 && diagnostics
      },
      60,
      () => status(edge),
    )
    const before = toldBefore.get(folder) ?? 0
    const count = counts.ROCKPOOL_TLS_NOT_DEMANDED ?? 0
    toldBefore.set(folder, count)
    expect(count > before).toBe(told === 'told')
    if (told === 'not told') return
    expect(recent.find(({ code }) => code === 'ROCKPOOL_TLS_NOT_DEMANDED')?.reason).toMatch(
      /without TLS, and from release \S+ on it is not: .*Write sslmode=verify-full, or sslmode=disable/,
    )
  } finally {
    await edge.dispose()
  }
}

async function refused(folder: string, query: string, code: string, message: RegExp): Promise<void> {
  const edge = await start(folder, query)
  try {
    const error = await until('the refusal', async () => {
      const { error } = await status(edge)
      return error?.code === code && error
    })
    expect(error).toEqual({ code, message: expect.stringMatching(message) })
    expect((await status(edge)).state).toBe('refused')
  } finally {
    await edge.dispose()
  }
}

test('a new deployment is refused, unless it says that it wants no TLS', async () => {
  await refused(
    'new',
    '',
    'ROCKPOOL_SOURCE_SETTINGS',
    /offers no TLS, and the database URL requires it \(sslmode=verify-full\)/,
  )
  await refused('new', 'sslmode=prefer', 'ROCKPOOL_SETTINGS', /Write sslmode=verify-full, or sslmode=disable/)
  await live('new', 'sslmode=disable', 'not told')
  expect(source('new').tls).toBe(true)
  // It has been connected now, and is none of an earlier version for that.
  await refused('new', '', 'ROCKPOOL_SOURCE_SETTINGS', /offers no TLS/)
})

test('one that an earlier version connected continues, which is reported, until its URL is explicit', async () => {
  await live('old', 'sslmode=disable', 'not told')
  forget('old')
  await live('old', '', 'told')
  expect(source('old').tls).toBeUndefined()
})

test('the same with sslmode=prefer; an explicit mode holds from then on', async () => {
  await live('older', 'sslmode=disable', 'not told')
  forget('older')
  await live('older', 'sslmode=prefer', 'told')
  forget('older')
  await live('older', 'sslmode=disable', 'not told')
  await refused(
    'older',
    'sslmode=prefer',
    'ROCKPOOL_SETTINGS',
    /sslmode=prefer lets an attacker in between turn TLS off/,
  )
})
