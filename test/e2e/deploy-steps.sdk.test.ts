import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FAULT_POINTS, type FaultPoint } from '../../durable-objects/shared/fault-points.ts'
import { bucketNames, Operator } from '../support/deploys.ts'
import { answers, startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// The file is long because all of it shares one edge, whose start takes most of the time.

// What may happen to a deploy: workerd is killed at each of its steps, or it cannot be done at all.

const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
let postgres: TestPostgres
let edge: Edge
let port: number | undefined
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let follower: Follower

const config = (...tables: string[]) =>
  `bucket_definitions:\n${tables.map((table) => `  ${table}:\n    data:\n      - SELECT id, n FROM ${table}\n`).join('')}`

async function start(bindings: Record<string, string> = {}, syncConfig = config('docs')): Promise<void> {
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    ...(port === undefined ? {} : { port }),
    bindings: { CATALOG_WATCH_SECONDS: '0.3', RETIRE_GRACE_SECONDS: '0', ...bindings },
  })
  port = Number(new URL(edge.url).port)
}

/** Killed, and started again with other settings. */
async function killAndStart(): Promise<void> {
  process.kill(edge.pid(), 'SIGKILL')
  await edge.dispose()
  await start()
}

/** With the next session what was retired is out of use, and is deleted then. */
const dropped = () =>
  until('what is out of use to be deleted', async () => {
    const { history, dropping } = await operator.configs()
    return dropping === 0 && history.every(({ state }) => state !== 'previous')
  })

/** The client holds exactly what these tables have, and nothing of others. */
async function exact(...tables: string[]): Promise<void> {
  const wanted: Record<string, string> = {}
  for (const table of tables) {
    const rows = await postgres.sql().unsafe(`select id, n from ${table} order by id`)
    wanted[table] = JSON.stringify(rows)
  }
  await until(
    `the client to hold ${tables.join()}`,
    async () => {
      const held: Record<string, string> = {}
      for (const table of ['docs', 'notes', 'tags']) {
        const rows = rowsOf(follower.buckets, `#${table}[`).sort((a, b) => Number(a.id) - Number(b.id))
        if (rows.length > 0) held[table] = JSON.stringify(rows)
      }
      return JSON.stringify(held) === JSON.stringify(wanted)
    },
    60,
    () => statusOf(edge.url, secret),
  )
}

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  for (const table of ['docs', 'notes', 'tags']) {
    await postgres.sql().unsafe(`create table ${table} (id int primary key, n int not null)`)
    await postgres.sql().unsafe(`insert into ${table} select i, i from generate_series(1, 100) i`)
  }
  await start()
  follower = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'f' })
  await exact('docs')
})

afterAll(async () => {
  await follower?.close()
  if (edge) process.kill(edge.pid(), 'SIGKILL')
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

const isOfDeploys = (point: string): point is FaultPoint => /^(deploy|drop)\./.test(point)
const STEPS: FaultPoint[] = [
  ...Object.keys(FAULT_POINTS).filter(isOfDeploys),
  ...([
    'read.barrier',
    'read.rows',
    'read.marked',
    'read.apply',
    'read.progress',
    'session.switch',
    'commit.stored',
  ] as const),
]

test(
  'kill -9 at each step of a deploy: it is resumed, or the old one serves on, and nothing is lost',
  { timeout: 900_000 },
  async () => {
    const sql = postgres.sql()
    let other = 'notes'
    for (const [i, step] of STEPS.entries()) {
      const wanted = config('docs', other)
      await edge.dispose()
      await start({ FAULTS: JSON.stringify({ seed: 1, hangAt: step }) })
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      const answered = operator.put(wanted).then(
        ({ status }) => status,
        () => 0,
      )
      // It cannot even write to its log any more.
      await until(`workerd to stand still at ${step}`, async () => !(await answers(edge)), 60)
      await killAndStart()
      const status = await answered
      await sql`insert into docs values (${1_000 + i}, ${i})`
      await sql.unsafe(`insert into ${other} values (${1_000 + i}, ${i})`)
      // One that was answered is never lost.
      const { history } = await operator.configs()
      const taken =
        history[0]?.origin === 'admin' &&
        (await operator.configs()).history.length > 0 &&
        history[0].state !== 'superseded'
      if (status === 202) expect(taken, step).toBe(true)
      await operator.deploy(wanted)
      await dropped()
      await exact('docs', other)
      expect(follower.problems, step).toEqual([])
      other = other === 'notes' ? 'tags' : 'notes'
    }
    // What was retired is gone, whatever happened in between.
    const last = other === 'notes' ? 'tags' : 'notes'
    const kept = async () => {
      const names = (await bucketNames(directory.path)).filter((name) => !name.startsWith('mailbox'))
      return [...new Set(names.map((name) => name.slice(name.indexOf('#') + 1)))].sort().join()
    }
    await until(
      'only what serves to be kept',
      async () => (await kept()) === ['docs[]', `${last}[]`].sort().join(),
      30,
      kept,
    )
  },
)

describe('a deploy that cannot be done changes nothing', () => {
  async function unchanged(work: () => Promise<void>): Promise<void> {
    const before = await operator.configs()
    await work()
    const after = await operator.configs()
    expect(after.history).toEqual(before.history)
    expect([after.next, after.serving]).toEqual([null, before.serving])
  }

  beforeAll(async () => {
    await operator.deploy(config('docs'))
    await dropped()
  })

  test('mistakes, with line and column', async () => {
    await unchanged(async () => {
      const { status, error } = await operator.put(
        'bucket_definitions:\n  a:\n    data:\n      - SELECT id FROM docs WHERE\n      - SELECT FROM\n',
      )
      expect([status, error?.code]).toEqual([422, 'ROCKPOOL_SYNC_CONFIG'])
      expect(error?.details).toMatchObject([{ place: { line: 4 } }, { place: { line: 5 } }])
    })
  })

  test('tables that are not there or cannot be followed, unless it is forced', async () => {
    await postgres.sql()`create table keyless (id int, n int)`
    await unchanged(async () => {
      const missing = await operator.put(config('docs', 'nowhere'))
      expect([missing.status, missing.error?.code]).toEqual([409, 'ROCKPOOL_DEPLOY'])
      expect(missing.error?.description).toContain('public.nowhere: there is no such table')
      const keyless = await operator.put(config('docs', 'keyless'))
      expect(keyless.error?.details).toEqual([
        { table: 'public.keyless', reason: expect.stringContaining('no primary key') },
      ])
      // The whole table would be followed no more, for what serves as well.
      const column = await operator.put(
        `${config('docs')}  more:\n    data:\n      - SELECT id, titel FROM docs AS more\n`,
      )
      expect([column.status, column.error?.details]).toEqual([
        409,
        [{ table: 'public.docs', reason: expect.stringContaining('"titel"') }],
      ])
      const dry = await operator.put(config('docs', 'nowhere'), '?dry_run=1')
      expect([dry.status, dry.data.config, dry.data.difference.refused.length]).toEqual([200, null, 1])
      expect(dry.data.difference.warnings.map(({ code }) => code)).toContain('unknown-source-table')
    })
    const forced = await operator.put(config('docs', 'nowhere'), '?force=1')
    await operator.serves(forced.data.config?.number ?? 0)
    await exact('docs')
    const refused = async () => (await statusOf(edge.url, secret)).refusedTables.map(({ table }) => table)
    expect(await refused()).toEqual(['public.nowhere'])
    await operator.rollback()
    await until('the rollback', async () => (await operator.configs()).serving?.origin === 'rollback')
    // Its definitions are maintained for a while.
    expect(await refused()).toEqual([])
  })

  test('another plan than expected, a body that is no text, too large, empty', async () => {
    await unchanged(async () => {
      const { serving } = await operator.configs()
      const other = await operator.put(config('docs', 'tags'), '', { 'if-match': '"x"' })
      expect([other.status, other.error?.code]).toEqual([412, 'ROCKPOOL_DEPLOY'])
      expect(
        (await operator.put(config('docs', 'tags'), '?dry_run=1', { 'if-match': `"${serving?.plan}"` })).status,
      ).toBe(200)
      expect((await operator.put(`#${'x'.repeat(1_500_000)}`)).status).toBe(413)
      expect((await operator.put('')).error?.code).toBe('PSYNC_S2001')
      expect((await operator.put('\u0000')).status).toBe(422)
    })
  })

  test('whoever is not an operator', async () => {
    await unchanged(async () => {
      for (const [method, path] of [
        ['PUT', 'sync-config'],
        ['GET', 'sync-config'],
        ['POST', 'rollback'],
      ] as const) {
        const ask = async (headers: Record<string, string>) => {
          const response = await fetch(`${edge.url}/admin/${path}`, {
            method,
            headers,
            ...(method === 'PUT' ? { body: config('tags') } : {}),
          })
          const { error }: { error: { code: string } } = await response.json()
          return [response.status, error.code]
        }
        expect(await ask({})).toEqual([401, 'PSYNC_S2106'])
        for (const operatorClaim of [false, 'true', 1]) {
          const bearer = await token(secret, 'alice', 60, { operator: operatorClaim })
          expect(await ask({ authorization: `Token ${bearer}` })).toEqual([403, 'ROCKPOOL_OPERATOR'])
        }
      }
    })
  })

  test('a database that does not answer', async () => {
    await postgres.stopServer()
    const { status, error } = await operator.put(config('docs', 'tags'))
    expect([status, error?.code]).toEqual([503, 'ROCKPOOL_SOURCE_UNREACHABLE'])
    await postgres.startServer()
    expect((await operator.configs()).next).toBeNull()
    await postgres.sql()`insert into docs values (5000, 1)`
    await exact('docs')
  })

  test("the script's own: a mistake, or a table that is missing, leaves the old one; it is tried again when the table is there", async () => {
    const sql = postgres.sql()
    for (const [syncConfig, code] of [
      ['bucket_definitions: 5', 'ROCKPOOL_SYNC_CONFIG'],
      [config('docs', 'later'), 'ROCKPOOL_DEPLOY'],
    ] as const) {
      await edge.dispose()
      await start({}, syncConfig)
      await until(
        'the failure to be told',
        async () => (await statusOf(edge.url, secret)).deploy.failed?.error?.code === code,
      )
      await sql`insert into docs select max(id) + 1, 1 from docs`
      await exact('docs')
      expect((await statusOf(edge.url, secret)).diagnostics.counts[code]).toBeGreaterThan(0)
    }
    await sql`create table later (id int primary key, n int not null)`
    await sql`insert into later values (1, 1)`
    await edge.dispose()
    await start({}, config('docs', 'later'))
    await until('its rows', async () => rowsOf(follower.buckets, '#later[').length === 1)
    expect((await operator.configs()).serving?.origin).toBe('script')
    // The same script again is no deploy: the newest one wins.
    await operator.deploy(config('docs'))
    await edge.dispose()
    await start({}, config('docs', 'later'))
    await sql`insert into docs select max(id) + 1, 1 from docs`
    await exact('docs')
    const { serving, history } = await operator.configs()
    expect(serving?.origin).toBe('admin')
    // Nor is a script that brings what an operator has deployed.
    await edge.dispose()
    await start({}, config('docs'))
    await sql`insert into docs select max(id) + 1, 1 from docs`
    await exact('docs')
    expect((await operator.configs()).history).toHaveLength(history.length)
  })
})

test('a deploy during another one takes its place', async () => {
  await Promise.all([operator.put(config('docs', 'notes')), operator.put(config('docs', 'tags'))])
  await operator.put(config('docs', 'notes', 'tags'))
  const { config: last } = (await operator.put(config('docs', 'tags'))).data
  await operator.serves(last?.number ?? 0)
  await dropped()
  await exact('docs', 'tags')
  const { history } = await operator.configs()
  expect(history.filter(({ state }) => state === 'copying' || state === 'serving')).toHaveLength(1)
})
