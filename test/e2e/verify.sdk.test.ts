import { afterAll, beforeAll, expect, test } from 'vitest'
import { subkeyOf } from '../../durable-objects/replicator/ingest/outputs.ts'
import { parseLsn } from '../../sources/postgres/stream/lsn.ts'
import { strongHash } from '../../protocol/strong-hash.ts'
import type { Difference, DifferenceCode, VerifyAnswer } from '../../protocol/verification.ts'
import { runScript } from '../support/command.ts'
import { bucketNumber, damageOp, damageRow, damageTotals, lostOp, strayOp } from '../support/damage.ts'
import { bucketNames, Operator, storedPages, type Verified } from '../support/deploys.ts'
import { answers, startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { storedBuckets } from '../random/objects.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// Source, row state and buckets are compared while they change, after they were damaged, and when the comparison is
// interrupted. The file is long because every kind of damage is done to one deployment.

const ROWS = 4_000
const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
let postgres: TestPostgres
let edge: Edge
let port: number | undefined
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let follower: Follower

const CONFIG = `bucket_definitions:
  large:
    data:
      - SELECT id, n, body FROM large
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, n FROM small WHERE owner = bucket.owner
  equal:
    data:
      - SELECT v AS id, v FROM keyless
`

async function start(bindings: Record<string, string> = {}, syncConfig = CONFIG): Promise<void> {
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    ...(port === undefined ? {} : { port }),
    // Pages are compared; on a slow machine a compaction would come in between.
    bindings: { CATALOG_WATCH_SECONDS: '0.3', SLICE_CHANGES: '2000', COMPACTION_SECONDS: '3600', ...bindings },
  })
  port = Number(new URL(edge.url).port)
}

/** What is done to stored data while nothing runs. */
async function whileStopped(work: () => Promise<void> | void, bindings: Record<string, string> = {}): Promise<void> {
  await edge.dispose()
  await work()
  await start(bindings)
}

/** The command as it is typed. */
async function rockpool(...args: string[]): Promise<{ code: number | null; output: string }> {
  const bearer = await token(secret, 'ops', 600, { operator: true })
  return runScript('cli/rockpool.mjs', 'verify', '--url', edge.url, '--token', bearer, ...args)
}

const follow = (clientId: string) => new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId })

async function bucketOf(part: string): Promise<string> {
  const name = (await bucketNames(directory.path)).find((each) => each.includes(part))
  if (name === undefined) throw new Error(`there is no bucket ${part}`)
  return name
}

/** A client holds what Postgres says. */
async function exact(client: Follower): Promise<void> {
  const sql = postgres.sql()
  const held = (part: string) =>
    JSON.stringify(
      rowsOf(client.buckets, part)
        .map((row) => JSON.stringify(row))
        .sort(),
    )
  await until(
    'the client to be exact',
    async () => {
      const large = await sql`select id, n, body from large`
      const small = await sql`select id, n from small where owner = 'alice'`
      const equal = await sql`select distinct v as id, v from keyless`
      const truth = [large, small, equal].map((rows) => JSON.stringify(rows.map((row) => JSON.stringify(row)).sort()))
      return JSON.stringify(['#large[', '#mine[', '#equal['].map(held)) === JSON.stringify(truth)
    },
    60,
    () => statusOf(edge.url, secret),
  )
}

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table large (id text primary key, n int not null, body text)`
  await sql`create table small (id text primary key, n int not null, owner text not null)`
  await sql`create table keyless (v text)`
  await sql`alter table keyless replica identity full`
  await sql`insert into large select 'l' || n, n, repeat(md5(n::text), n % 30) from generate_series(1, ${ROWS}::int) n`
  await sql`insert into small select 's' || n, n, case when n % 2 = 0 then 'alice' else 'bob' end from generate_series(1, 200) n`
  await sql`insert into keyless select 'k' || n % 20 from generate_series(1, 60) n`
  await start()
  follower = follow('f')
  await exact(follower)
})

afterAll(async () => {
  await follower?.close()
  if (edge) process.kill(edge.pid(), 'SIGKILL')
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Writes of every kind until it is stopped; answers how many transactions there were. */
function writing(): () => Promise<number> {
  const sql = postgres.sql()
  let stopped = false
  let done = 0
  const writer = async (seed: number) => {
    for (let n = seed; !stopped; n += 2, done++) {
      const id = `l${1 + ((n * 7_919) % (ROWS + 500))}`
      const kind = n % 7
      if (kind === 0) await sql`delete from large where id = ${id}`
      else if (kind < 3)
        await sql`insert into large values (${id}, ${n}, repeat('y', 700)) on conflict (id) do update set n = excluded.n`
      else if (kind === 3) await sql`update large set n = n + 1 where id = ${id}`
      else if (kind === 4)
        await sql`update small set owner = case owner when 'alice' then 'bob' else 'alice' end where id = ${`s${n % 200}`}`
      else if (kind === 5) await sql`insert into keyless values (${`k${n % 25}`})`
      else await sql`delete from keyless where ctid = (select min(ctid) from keyless where v = ${`k${n % 25}`})`
      if (n % 400 === 1) await sql`update large set n = n + 1 where id >= 'l20' and id < 'l23'`
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const writers = Promise.all([writer(1), writer(2)])
  return async () => {
    stopped = true
    await writers
    return done
  }
}

test('while rows change there are no differences that are not there', async () => {
  const stop = writing()
  const before = (await statusOf(edge.url, secret)).checkpoint
  for (const repair of [false, true]) {
    const { verify, differences } = await operator.verify(repair)
    expect([verify.state, differences, verify.found]).toEqual(['done', [], 0])
    expect(verify.rows).toBeGreaterThan(ROWS / 2)
    expect(verify.buckets).toBeGreaterThanOrEqual(4)
  }
  expect(await stop()).toBeGreaterThan(50)
  expect((await statusOf(edge.url, secret)).checkpoint).toBeGreaterThan(before)
  await exact(follower)
  expect(follower.problems).toEqual([])
})

const keyOf = (id: string) => JSON.stringify([id])
const changedData = (text: string) => text.replace('\\"n\\":', '\\"n\\":9')
const dataOf = (text: string) => String((JSON.parse(text) as { data: string }).data)
const subkey = (table: string, id: string) => subkeyOf({ schema: 'public', name: table }, keyOf(id))

type Told = [code: DifferenceCode, table: string | null, key: string | null, bucket: string | null]

/**
 * Something of every kind, in rows `v0` and on; answers what there is to find. `mended`: what is left of it when the
 * one is mended before the other is looked for.
 */
async function damageAll(): Promise<{ told: Told[]; mended: Told[] }> {
  const path = directory.path
  const large = await bucketOf('#large[')
  const mine = await bucketOf('#mine["alice"]')
  const equal = await bucketOf('#equal[')
  const mailbox = await bucketOf('mailbox')
  const told: Told[] = []
  const unmended: Told[] = []
  const tell = (code: DifferenceCode, table: string | null, key: string | null, bucket: string) =>
    told.push([code, table && `public.${table}`, key, bucket])

  // Postgres has it, and neither row state nor the bucket: an INSERT that was not heard of. Then an UPDATE and a
  // DELETE.
  damageRow(path, 'large', keyOf('v0'), () => null)
  await damageOp(path, large, 'v0', lostOp)
  tell('row-missing', 'large', keyOf('v0'), large)
  let data = ''
  await damageOp(path, large, 'v1', (text) => {
    data = dataOf(changedData(text))
    return changedData(text)
  })
  damageRow(path, 'large', keyOf('v1'), (outputs) => outputs.map(([bucket]) => [bucket, strongHash(data)]))
  tell('row-stale', 'large', keyOf('v1'), large)
  const extra = '{"id":"gone","n":1,"body":null}'
  await strayOp(path, large, 'x1', {
    op: 'PUT',
    objectType: 'large',
    objectId: 'gone',
    subkey: subkey('large', 'gone'),
    data: extra,
  })
  damageRow(path, 'large', keyOf('gone'), () => [[bucketNumber(path, large), strongHash(extra)]])
  tell('row-extra', 'large', keyOf('gone'), large)

  // Row state is right, and the bucket is not.
  await damageOp(path, large, 'v2', lostOp)
  tell('op-missing', 'large', keyOf('v2'), large)
  await damageOp(path, large, 'v3', changedData)
  tell('op-stale', 'large', keyOf('v3'), large)
  await strayOp(path, large, 'x2', {
    op: 'PUT',
    objectType: 'other',
    objectId: 'stray',
    subkey: 's',
    data: '{"id":"stray"}',
  })
  tell('op-extra', null, JSON.stringify(['other', 'stray']), large)
  await damageOp(path, large, 'v4', () => null)
  tell('op-missing', 'large', keyOf('v4'), large)
  tell('bucket-checksum', null, null, large)
  await damageOp(path, mine, 'v', lostOp)
  tell('op-missing', 'small', keyOf('v'), mine)
  await damageOp(path, equal, 'k1', lostOp)
  tell('op-missing', 'keyless', null, equal)
  await damageOp(path, mailbox, 'f', lostOp)
  told.push([
    'op-missing',
    'rockpool.write_checkpoint',
    JSON.stringify([mailbox.replace(/^mailbox[^#]*/, 'mailbox')]),
    mailbox,
  ])

  // The bucket is right, and row state is not: it differs from both.
  damageRow(path, 'large', keyOf('v5'), () => null)
  tell('row-missing', 'large', keyOf('v5'), large)
  damageRow(path, 'large', keyOf('v6'), (outputs) => outputs.map(([bucket]) => [bucket, strongHash('another text')]))
  tell('row-stale', 'large', keyOf('v6'), large)
  unmended.push(
    ['op-extra', null, JSON.stringify(['large', 'v5']), large],
    ['op-stale', 'public.large', keyOf('v6'), large],
  )
  return { told: [...told, ...unmended], mended: told }
}

/** Of a row without a key the hash is not told here. */
const toldOf = (differences: readonly Difference[]): string[] =>
  differences
    .map(({ code, table, key, bucket }) =>
      JSON.stringify([code, table, table === 'public.keyless' ? null : key, bucket]),
    )
    .sort()
const sorted = (told: readonly Told[]) => told.map((each) => JSON.stringify(each)).sort()

test('differences of every kind are told and left alone; repair mends each with one op while rows change, and nobody downloads more', async () => {
  const sql = postgres.sql()
  await sql`insert into large select 'v' || n, n, null from generate_series(0, 7) n`
  await sql`insert into large select 'x' || n, n, null from generate_series(1, 3) n`
  await sql`delete from large where id like 'x%'`
  await sql`insert into small values ('v', 1, 'alice')`
  await sql`insert into keyless values ('k1')`
  await requestWriteCheckpoint(edge.url, await token(secret, 'alice'), 'f')
  await exact(follower)
  let expected: Awaited<ReturnType<typeof damageAll>> | undefined
  await whileStopped(async () => {
    expected = await damageAll()
  })
  const { told, mended } = expected ?? { told: [], mended: [] }
  const before = await statusOf(edge.url, secret)
  const pages = await storedPages(directory.path)

  const { code, output } = await rockpool('--json')
  const found = JSON.parse(output) as Verified & { ok: boolean }
  expect([code, found.ok]).toEqual([1, false])
  expect(toldOf(found.differences)).toEqual(sorted(told))
  expect([found.verify.state, found.verify.found, found.verify.mended]).toEqual(['done', told.length, 0])
  expect(await storedPages(directory.path)).toEqual(pages)
  const after = await statusOf(edge.url, secret)
  expect([after.checkpoint, after.diagnostics.counts.ROCKPOOL_DIFFERENCES]).toEqual([before.checkpoint, 1])

  const received = follower.received
  const { data } = await operator.ask<VerifyAnswer>('POST', 'verify?repair=1')
  expect(data.verify?.number).toBe(found.verify.number + 1)
  // Each is one op of its own.
  let writes = 0
  for (; writes < 40; writes++) await sql`update large set n = n + 1 where id = ${`l${100 + writes}`}`.then(() => {})
  const repaired = await operator.verified()
  expect(toldOf(repaired.differences)).toEqual(sorted(mended))
  expect(repaired.differences.filter((each) => !each.mended)).toEqual([])
  await exact(follower)
  const [{ rows } = { rows: 0 }] =
    await sql`select count(*)::int as rows from large where id in (select 'l' || n from generate_series(100, 139) n)`
  const ops = (await statusOf(edge.url, secret)).checkpoint - after.checkpoint
  expect(ops).toBe(mended.length + Number(rows))
  // All but the one of the mailbox.
  expect(follower.received - received).toBe(ops - 1)
  expect(follower.problems).toEqual([])
  const fresh = follow('fresh')
  try {
    await exact(fresh)
    expect(fresh.problems).toEqual([])
  } finally {
    await fresh.close()
  }
  const again = await rockpool('--repair')
  expect([again.code, again.output]).toEqual([
    0,
    expect.stringMatching(/rows and \d+ buckets compared: no differences\n$/),
  ])
  const { problems } = await storedBuckets(directory.path)
  // The op that only announces.
  expect(problems.filter((problem) => !problem.includes('removes what is not there'))).toEqual([])
})

test('a bucket that announces a wrong checksum is told, and mended: clients that hold its ops keep them', async () => {
  follower.disconnect()
  const mine = await bucketOf('#mine["alice"]')
  await whileStopped(() => damageTotals(directory.path, mine))
  const { differences } = await operator.verify()
  expect(toldOf(differences)).toEqual(sorted([['bucket-checksum', null, null, mine]]))
  const { verify } = await operator.verify(true)
  expect([verify.found, verify.mended]).toEqual([1, 1])
  const received = follower.received
  follower.connect()
  await exact(follower)
  await until('the op', async () => follower.received > received)
  expect([follower.received - received, follower.problems]).toEqual([1, []])
  expect((await operator.verify()).verify.found).toBe(0)
})

test('a bucket that never answers when it is to be mended: the verification says so, and what changes goes on to clients', async () => {
  follower.disconnect()
  const mine = await bucketOf('#mine["alice"]')
  const hang = { seed: 1, rate: 1, fading: false, points: ['bucket.mend'], kinds: ['hang'] }
  await whileStopped(() => damageTotals(directory.path, mine), { FAULTS: JSON.stringify(hang), CALL_SECONDS: '1' })
  const { verify } = await operator.verify(true)
  expect([verify.state, verify.error?.code]).toEqual(['failed', 'ROCKPOOL_BUCKET_FAILING'])
  expect(verify.error?.message).toContain(mine)
  const { failures } = (await statusOf(edge.url, secret)).session
  expect(failures).toBe(0)
  await whileStopped(() => {})
  const again = await operator.verify(true)
  expect([again.verify.state, again.verify.found, again.verify.mended]).toEqual(['done', 1, 1])
  follower.connect()
  await postgres.sql()`update small set n = n + 1 where owner = 'alice'`
  await exact(follower)
  expect(follower.problems).toEqual([])
})

const STEPS = ['verify.mend', 'verify.done'] as const

test('kill -9 in the middle of a repair: it goes on, and each difference is one op all the same', async () => {
  for (const [i, step] of STEPS.entries()) {
    const large = await bucketOf('#large[')
    const before = (await statusOf(edge.url, secret)).checkpoint
    await whileStopped(
      async () => {
        damageRow(directory.path, 'large', keyOf('v0'), () => null)
        await damageOp(directory.path, large, 'v2', lostOp)
        await damageOp(directory.path, large, 'v3', changedData)
      },
      { FAULTS: JSON.stringify({ seed: 1, hangAt: step }) },
    )
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    await operator.ask('POST', 'verify?repair=1').catch(() => null)
    await until(`workerd to stand still at ${step}`, async () => !(await answers(edge)), 60)
    process.kill(edge.pid(), 'SIGKILL')
    await edge.dispose()
    await start()
    const { verify } = await operator.verified()
    expect([verify.state, verify.found, verify.mended], step).toEqual(['done', 3, 3])
    expect((await statusOf(edge.url, secret)).checkpoint - before, step).toBe(3)
    await exact(follower)
    expect(follower.problems, step).toEqual([])
    if (i === STEPS.length - 1) expect((await operator.verify()).verify.found).toBe(0)
  }
})

test('what cannot be done has a code: nobody but an operator, none under way, another kind under way', async () => {
  const response = await fetch(`${edge.url}/admin/verify`, {
    method: 'POST',
    headers: { authorization: `Token ${await token(secret, 'alice')}` },
  })
  expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
    403,
    'ROCKPOOL_OPERATOR',
  ])
  const none = await operator.ask('DELETE', 'verify')
  expect([none.status, none.error?.code]).toEqual([409, 'ROCKPOOL_VERIFY'])
  for (const [args, message] of [
    [['--cancel'], /^ROCKPOOL_VERIFY: no verification is under way\n$/],
    [['--token', 'x'], /PSYNC_S2101: /],
    [['file.yaml'], /takes no file/],
    [['--repair', '--cancel'], /use one of them/],
  ] as const) {
    const { code, output } = await rockpool(...args)
    expect([code, output]).toEqual([2, expect.stringMatching(message)])
  }
  await postgres.sql().begin(async (tx) => {
    // It waits for the table, and says so.
    await tx`lock table large in access exclusive mode`
    const first = await operator.ask<VerifyAnswer>('POST', 'verify')
    const joined = await operator.ask<VerifyAnswer>('POST', 'verify')
    expect(joined.data.verify?.number).toBe(first.data.verify?.number)
    const other = await operator.ask('POST', 'verify?repair=1')
    expect([other.status, other.error?.code]).toEqual([409, 'ROCKPOOL_VERIFY'])
    const cancelled = await operator.ask<VerifyAnswer>('DELETE', 'verify')
    expect(cancelled.data.verify?.state).toBe('cancelled')
  })
})

test('during a deploy it waits, and compares what serves then', async () => {
  const sql = postgres.sql()
  await sql`create table later (id text primary key, n int not null)`
  await sql`insert into later select 'r' || n, n from generate_series(1, 3000) n`
  const { data } = await operator.put(`${CONFIG}  later:\n    data:\n      - SELECT id, n FROM later\n`)
  const { data: begun } = await operator.ask<VerifyAnswer>('POST', 'verify')
  expect(begun.verify).toMatchObject({ state: 'running', waitingFor: 'a deploy' })
  const { verify, differences } = await operator.verified()
  expect([verify.state, differences]).toEqual(['done', []])
  expect(verify.rows).toBeGreaterThan(3_000)
  expect((await operator.configs()).serving?.number).toBe(data.config?.number)
})

test('a table that is renamed away while it is compared: the others are compared whole', async () => {
  const sql = postgres.sql()
  const delay = { seed: 1, rate: 1, fading: false, points: ['read.rows'], kinds: ['delay'], delayMs: 700 }
  const stale = (outputs: [number, string][]) => outputs.map(([bucket]) => [bucket, strongHash('another text')])
  await whileStopped(() => damageRow(directory.path, 'small', keyOf('s8'), stale), { FAULTS: JSON.stringify(delay) })
  // After its blocks `large` is swept by key; the keys of `small`, which comes next, stand behind those.
  const [{ rows } = { rows: 0 }] = await sql<{ rows: number }[]>`
    select ((select count(*) from large) + (select count(distinct v) from keyless))::int as rows`
  await until('a verification', async () => (await operator.ask('POST', 'verify')).status === 202, 60)
  const verification = async () => (await operator.ask<VerifyAnswer>('GET', 'verify')).data.verify
  await until('large to be swept', async () => (await verification())?.rows === rows, 60, verification)
  await sql`alter table large rename to large_away`
  const { verify, differences } = await operator.verified()
  expect([
    verify.state,
    differences.filter(({ table }) => table === 'public.small').map(({ code, key }) => [code, key]),
  ]).toEqual([
    'done',
    [
      ['row-stale', keyOf('s8')],
      ['op-stale', keyOf('s8')],
    ],
  ])
  await whileStopped(() => {})
  await sql`alter table large_away rename to large`
  await operator.verify(true)
  await exact(follower)
  expect((await operator.verify()).differences).toEqual([])
})

test('sessions fall while buckets are asked: what waited does not go on beside the next session', async () => {
  const sql = postgres.sql()
  const delay = { seed: 1, rate: 1, fading: false, points: ['verify.ask'], kinds: ['delay'], delayMs: 2_500 }
  const large = await bucketOf('#large[')
  await whileStopped(() => damageOp(directory.path, large, 'l7', changedData), { FAULTS: JSON.stringify(delay) })
  await until('a verification', async () => (await operator.ask('POST', 'verify?repair=1')).status === 202, 60)
  const verification = async () => (await operator.ask<VerifyAnswer>('GET', 'verify')).data.verify
  await until('buckets to be asked', async () => (await verification())?.phase === 'buckets', 60, verification)
  // Sums of buckets, sums of parts, rows: a session falls in each of these, and a later one stores something before the
  // answers come.
  const positions: bigint[] = []
  for (let round = 0; round < 6; round++) {
    await sql`select pg_terminate_backend(active_pid) from pg_replication_slots where active`
    for (let n = 0; n < 60; n++) {
      if (n < 15) await sql`update small set n = n + 1 where id = 's8'`
      positions.push(parseLsn((await statusOf(edge.url, secret)).lsn ?? '0/0'))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  expect(positions.filter((lsn, i) => lsn < (positions[i - 1] ?? 0n))).toEqual([])
  expect(new Set(positions).size).toBeGreaterThan(3)
  const { verify, differences } = await operator.verified()
  expect([verify.state, differences.map(({ code, mended }) => [code, mended])]).toEqual(['done', [['op-stale', true]]])
  await exact(follower)
})
