import { setTimeout } from 'node:timers/promises'
import { column, Schema, Table } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { Operator } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { dropSlot, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { startProxy, type Proxy } from '../support/proxy.ts'
import { Random } from '../support/random.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, connector, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { History, LARGE, ROWS, SYNC_CONFIG, TABLES, textOf, type Viewer } from '../truth/history.ts'

// A slot is lost under load, and everything is compared while the load goes on: every checkpoint that a client
// completes is a state that the database was in, nobody gets a row that he had lost access to before it was written,
// and no large value is older than the change that left it out.
// The file is long because one history is checked against every state of the database.

const FILLER = 60_000
const secret = newSecret()
let postgres: TestPostgres
let proxy: Proxy
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let writer: Writer
const sdks: PowerSyncDatabase[] = []
const followers: ScopedFollower[] = []
let native: SyncDatabase | undefined

/** Writes one transaction after the other for as long as it is told to. */
class Writer {
  readonly history = new History()
  readonly #random = new Random(5)
  #running: Promise<void> | null = null
  #stop = false
  /** Large rows that every transaction changes a small column of. */
  hot: number[] = []

  async write(what: Parameters<History['next']>[0]): Promise<number> {
    await this.pause()
    await postgres.sql().unsafe(this.history.next(what))
    return this.history.serial
  }

  start(): void {
    this.#stop = false
    this.#running = this.#run()
  }

  async pause(): Promise<void> {
    this.#stop = true
    await this.#running
    this.#running = null
  }

  async #run(): Promise<void> {
    const pick = (of: number) => 1 + this.#random.int(of)
    while (!this.#stop) {
      const body = this.#random.int(20) === 0 ? [pick(LARGE)] : []
      const big = (this.hot.length > 0 ? this.hot : [pick(LARGE)]).filter((n) => !body.includes(n))
      await postgres.sql().unsafe(this.history.next({ acc: [pick(ROWS)], zed: [pick(ROWS)], big, bodies: body }))
      // More than can be taken in, and no comparison would come to its end.
      await setTimeout(4)
    }
  }
}

/** Checks what it holds at every checkpoint, and looks at every row on the wire. */
class ScopedFollower extends Follower {
  readonly viewer: Viewer
  /** Serials of rows of each scope that came over the wire: the newest. */
  readonly newest = new Map<string, number>()
  /** Write checkpoints that were asked for, and what they must not come before. */
  readonly asked: { write: bigint; serial: number }[] = []

  constructor(user: string, clientId: string) {
    const viewer = writer.history.viewer(user)
    super({
      url: edge.url,
      token: () => token(secret, user),
      clientId,
      at: (checkpoint) => this.#check(checkpoint),
    })
    this.viewer = viewer
    followers.push(this)
  }

  override line(line: SyncLine): void {
    super.line(line)
    if ('comparing' in line) this.problems.push('a line of our own protocol')
    if (!('data' in line)) return
    for (const op of line.data.data) {
      if (op.op !== 'PUT') continue
      const { scope, serial } = JSON.parse(op.data) as { scope?: string; serial: number }
      if (scope !== undefined) this.newest.set(scope, Math.max(serial, this.newest.get(scope) ?? 0))
    }
  }

  #check(checkpoint: number): void {
    const rows = new Map<string, string>()
    for (const [, bucket] of this.buckets)
      for (const [key, data] of bucket.rows) {
        const [type = '', id = ''] = JSON.parse(key) as string[]
        rows.set(`${type}/${id}`, textOf(JSON.parse(data) as Record<string, unknown>))
      }
    this.viewer.check(`checkpoint ${checkpoint}`, rows)
    for (const { write, serial } of this.asked)
      if (this.writeCheckpoint >= write && this.viewer.serial < serial)
        this.problems.push(
          `I5: write checkpoint ${write} came at ${this.viewer.serial}, and was asked for at ${serial}`,
        )
  }
}

const SHOWN = `
  select 'acc' as t, id, scope, cast(serial as integer) as serial, null as body from acc
  union all select 'zed', id, scope, cast(serial as integer), null from zed
  union all select 'big', id, scope, cast(serial as integer), body from big
  union all select 'clock', id, null, cast(serial as integer), null from clock`

/** An unmodified SDK, looked at again and again. */
async function startSdk(user: string): Promise<Viewer> {
  const { text } = column
  const rows = new Table({ scope: text, serial: text })
  const sdk = new PowerSyncDatabase({
    schema: new Schema({
      acc: rows,
      zed: new Table({ scope: text, serial: text }),
      big: new Table({ scope: text, serial: text, body: text }),
      clock: new Table({ serial: text }),
    }),
    database: { dbFilename: `${user}.db`, dbLocation: directory.path, implementation: { type: 'node:sqlite' } },
  })
  sdks.push(sdk)
  await sdk.connect(
    connector(edge.url, () => token(secret, user)),
    { retryDelayMs: 200 },
  )
  await sdk.waitForFirstSync()
  const viewer = writer.history.viewer(user)
  const look = async (): Promise<void> => {
    while (!sdk.closed) {
      const shown = await sdk.getAll<{ t: string; id: string } & Record<string, unknown>>(SHOWN).catch(() => null)
      if (shown) viewer.check('the SDK', new Map(shown.map(({ t, id, ...row }) => [`${t}/${id}`, textOf(row)])))
      await setTimeout(10)
    }
  }
  void look()
  return viewer
}

const status = (): Promise<ReplicatorStatus> => statusOf(edge.url, secret)
const current = (viewers: readonly Viewer[]) =>
  until(
    'every client to show the newest state',
    async () => viewers.every(({ serial }) => serial === writer.history.serial),
    120,
    async () => [viewers.map(({ serial }) => serial), writer.history.serial, await status()],
  )

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  proxy = await startProxy(postgres.port)
  const sql = postgres.sql()
  await sql.unsafe(TABLES)
  await sql`insert into filler select n, 'x', repeat(md5(n::text), 8) from generate_series(1, ${FILLER}::int) n`
  edge = await startEdge({
    databaseUrl: postgres.url.replace(`:${postgres.port}/`, `:${proxy.port}/`),
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: SYNC_CONFIG,
    directory: `${directory.path}/edge`,
    bindings: { COMPACTION_SECONDS: '1' },
  })
  writer = new Writer()
}, 120_000)

afterAll(async () => {
  await writer?.pause()
  for (const sdk of sdks) await sdk.close()
  await native?.close()
  for (const follower of followers) await follower.close()
  await edge?.dispose()
  await proxy?.close()
  await postgres?.stop()
  await directory?.remove()
})

test(
  'a slot is lost under load: every completed checkpoint is a state of the database, for those who may see it, and nothing is wrong at rest',
  { timeout: 600_000 },
  async () => {
    const alice = new ScopedFollower('alice', 'alice')
    const mallory = new ScopedFollower('mallory', 'mallory')
    const sdk = await startSdk('alice')
    const viewers = [alice.viewer, mallory.viewer, sdk]
    native = await openSync({
      url: edge.url,
      path: `${directory.path}/native.db`,
      auth: () => token(secret, 'alice'),
      schema: { tables: { clock: { columns: { serial: 'integer' } } } },
    })
    const told: (number | null)[] = [native.status.comparing]
    native.on('status', ({ comparing }) => void (comparing !== told.at(-1) && told.push(comparing)))
    await current(viewers)
    writer.start()
    await until('some states', async () => viewers.every(({ checked }) => checked > 10))

    proxy.stall()
    await dropSlot(postgres.sql())
    // The gap: who sees a scope, what is in it, and values that are left out of later changes.
    const left = await writer.write({ leave: ['mallory', 's1'] })
    await writer.write({ acc: [3, 6, 9], zed: [57], big: [3] })
    await writer.write({ bodies: Array.from({ length: LARGE }, (_, n) => n + 1) })
    // Changed again and again: between the snapshot of a chunk and its place in the stream, too.
    writer.hot = [3, 4, 5]
    writer.start()
    const before = await status()
    proxy.resume()

    const statuses: ReplicatorStatus[] = []
    const look = async (): Promise<ReplicatorStatus> => {
      const seen = await status()
      statuses.push(seen)
      return seen
    }
    await until(
      'the comparison to begin',
      async () => (await look()).diagnostics.counts.ROCKPOOL_RESYNC === 1 && statuses.at(-1)?.state === 'copying',
    )
    // Our own client hears how far it is. Nothing is read of a table that somebody else has, nor while he is not done.
    const between = (fraction: number | null = 0) => fraction !== null && fraction > 0 && fraction < 1
    await until('some of it to be compared', async () => between((await look()).comparing?.fraction))
    await postgres.sql().begin(async (transaction) => {
      await transaction`lock table filler in access exclusive mode`
      await until(
        'our client to hear of it',
        async () => told.some(between),
        60,
        () => [told, statuses.at(-1)],
      )
    })
    // Who comes meanwhile, and who waits for what he wrote.
    const late = new ScopedFollower('alice', 'late')
    const serial = await writer.write({ acc: [1] })
    writer.start()
    alice.asked.push({ write: await requestWriteCheckpoint(edge.url, await token(secret, 'alice'), 'alice'), serial })
    await until('somebody who is new to be served', async () => (await look()) && late.checkpoints > 0)
    await edge.kill9()
    await until(
      'the comparison to be over',
      async () => (await look()).state === 'live' && !statuses.at(-1)?.comparing,
      240,
      () => statuses.at(-1),
    )
    writer.hot = []
    await until('some states', async () => sdk.serial > serial)
    await writer.pause()
    viewers.push(late.viewer)
    await current(viewers)
    await until('the write checkpoint', async () => alice.asked.every(({ write }) => alice.writeCheckpoint >= write))

    expect(viewers.map(({ problems }) => problems.slice(0, 3))).toEqual(viewers.map(() => []))
    expect(followers.map(({ problems }) => problems)).toEqual(followers.map(() => []))
    // Nothing of the scope that was written after its membership was gone came over the wire, and the other scopes did.
    expect([(mallory.newest.get('s1') ?? 0) < left, (mallory.newest.get('s2') ?? 0) > left]).toEqual([true, true])
    // It was held, at one checkpoint, also over a crash, and it was told how far it was.
    const comparing = statuses.flatMap((each) =>
      each.comparing ? [{ ...each.comparing, checkpoint: each.checkpoint }] : [],
    )
    expect(new Set(comparing.map(({ checkpoint }) => checkpoint)).size).toBe(1)
    expect(comparing[0]?.checkpoint).toBeGreaterThanOrEqual(before.checkpoint)
    expect(comparing.at(-1)?.held).toBeGreaterThan(0)
    for (const { fraction } of comparing) expect(fraction).toBeLessThanOrEqual(1)
    expect([told[0], told.at(-1), native.status]).toEqual([
      null,
      null,
      expect.objectContaining({ state: 'live', comparing: null }),
    ])
    const { verify } = await new Operator(() => edge.url, secret).verify()
    expect([verify.state, verify.found]).toEqual(['done', 0])
  },
)

test(
  'a table is altered under load: its rows are seen as of before or as of after, never both at one checkpoint',
  { timeout: 300_000 },
  async () => {
    const mixed: number[] = []
    const seen = new Set<boolean>()
    const follower = new Follower({
      url: edge.url,
      token: () => token(secret, 'alice'),
      clientId: 'altered',
      at: (checkpoint, buckets) => {
        const kinds = new Set(
          rowsOf(buckets, '#acc').flatMap((row) => ('body' in row || row.scope === undefined ? [] : ['note' in row])),
        )
        for (const kind of kinds) seen.add(kind)
        if (kinds.size > 1) mixed.push(checkpoint)
      },
    })
    try {
      const operator = new Operator(() => edge.url, secret)
      const yaml = SYNC_CONFIG.replace('SELECT id, scope, serial FROM acc', 'SELECT * FROM acc').replace(
        '      - SELECT id, scope, serial FROM zed',
        '#',
      )
      const { data } = await operator.put(yaml)
      await operator.serves(data.config?.number ?? 0)
      await until('it to follow', async () => follower.checkpoints > 0)
      writer.start()
      await postgres.sql()`alter table acc add column note text not null default 'x'`
      await until(
        'the column',
        async () => seen.has(true),
        60,
        async () => [
          [...follower.buckets.keys()],
          follower.checkpoint,
          follower.checkpoints,
          [...seen],
          await status(),
        ],
      )
      await writer.pause()
      await until('all of it', async () => !(await status()).comparing)
      expect([mixed, seen, follower.problems]).toEqual([[], new Set([false, true]), []])
    } finally {
      await follower.close()
    }
  },
)
