import { DatabaseSync } from 'node:sqlite'
import { column, Schema, SyncStreamConnectionMethod, Table } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import { createRockpool, type Rockpool } from '@rockpool/client/node'
import { defineSchema, integer, json, table, text } from '@rockpool/client/schema'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Operator } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { Random } from '../support/random.ts'
import { AUDIENCE, connector, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { ndjson } from '../wire/transports.ts'

// The same changes go to our client and to PowerSync's. Each transaction counts a clock, so what a client shows says
// which state of the database it is. Whatever both of them showed of one state is the same rows with the same values,
// and those that the database had then: also of rows in several buckets, after compaction, and after a bucket was
// downloaded again. `ROCKPOOL_SAME_ROWS=2000 ROCKPOOL_SEED=7 npm test -- same-rows` runs for long.
// The file is long because both clients, the changes and the comparison are read side by side.

const STEPS = Number(process.env.ROCKPOOL_SAME_ROWS ?? 120)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)
/** After so many of them something happens to both clients. */
const EVENT = 10
/** A compaction waits a second, and takes no longer than that here. */
const COMPACTED_MS = 2_500
/** Ids are used again. */
const IDS = 25
const USERS = ['alice', 'bob']
const TEAMS = ['red', 'green', 'blue']

// One row may come in four buckets, with other values in each: what is shown is that of the newest op.
const config = (again: string): string => `bucket_definitions:
  mine${again}:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, title, n, body, 'mine' AS via FROM notes WHERE owner = bucket.owner
  teams${again}:
    parameters: SELECT team FROM members WHERE user_id = request.user_id()
    data:
      - SELECT id, title || ' of ' || team AS title, n, body, 'team' AS via FROM notes WHERE team = bucket.team
  shared:
    data:
      - SELECT id, title, n, 'shared' AS via FROM notes WHERE shared = true
      - SELECT id, n FROM clock
`

const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

/** In one statement, so that it is one state. `quote` tells numbers from texts. */
const SHOWN = `SELECT 'clock' AS kind, n AS id, NULL AS title, NULL AS via, NULL AS n, NULL AS body FROM clock
  UNION ALL SELECT 'note', id, quote(title), quote(via), quote(n), quote(body) FROM notes ORDER BY 1, 2`

interface Shown {
  kind: string
  id: string | number
}

/** What a client showed at each state of the clock. */
class Seen {
  readonly states = new Map<number, string>()
  /** States that were shown twice, and were not the same. */
  readonly differences: { at: number; before: string; state: string }[] = []
  last = 0

  add(rows: readonly Shown[]): void {
    const [first, ...notes] = rows
    if (first?.kind !== 'clock') return
    const at = Number(first.id)
    const state = JSON.stringify(notes)
    const before = this.states.get(at) ?? state
    if (before !== state) this.differences.push({ at, before, state })
    this.states.set(at, state)
    this.last = at
  }
}

interface Client {
  readonly seen: Seen
  connect(): Promise<void>
  disconnect(): Promise<void>
  /** The sum of every bucket is wrong, so each is downloaded again. */
  spoil(): Promise<void>
  close(): Promise<void>
}

const schema = defineSchema({
  clock: table({ n: integer() }),
  notes: table({ title: text(), n: integer(), body: json(), via: text() }),
})
const mismatches = new Set<string>()

function ours(name: string): Client {
  const path = `${directory.path}/${name}.rockpool`
  const seen = new Seen()
  let db: Rockpool<typeof schema>
  const open = (): void => {
    const options = { schema, name, path, url: edge.url, token: () => token(secret, 'alice'), connect: false }
    db = createRockpool(options)
    db.on('mismatch', ({ bucket }) => mismatches.add(bucket))
    db.live<Shown>(SHOWN, [], (rows) => seen.add(rows))
  }
  open()
  return {
    seen,
    connect: () => db.connect(),
    disconnect: () => db.disconnect(),
    spoil: async () => {
      await db.close()
      const file = new DatabaseSync(path)
      file.exec('UPDATE rp_buckets SET checksum = (checksum + 1) & 4294967295')
      file.close()
      open()
      await db.connect()
    },
    close: () => db.close(),
  }
}

async function theirs(name: string): Promise<Client> {
  const seen = new Seen()
  const db = new PowerSyncDatabase({
    schema: new Schema({
      clock: new Table({ n: column.integer }),
      notes: new Table({ title: column.text, n: column.integer, body: column.text, via: column.text }),
    }),
    database: {
      dbFilename: `${name}.db`,
      dbLocation: directory.path,
      implementation: { type: 'node:sqlite' },
    },
  })
  await db.init()
  const look = async (): Promise<void> => seen.add(await db.getAll<Shown>(SHOWN))
  db.onChangeWithCallback({ onChange: look }, { tables: ['clock', 'notes'], throttleMs: 0 })
  const service = connector(edge.url, () => token(secret, 'alice'))
  const connect = (): Promise<void> => db.connect(service, { connectionMethod: SyncStreamConnectionMethod.HTTP })
  return {
    seen,
    connect,
    disconnect: () => db.disconnect(),
    spoil: async () => {
      await db.disconnect()
      await db.execute("UPDATE ps_buckets SET add_checksum = (add_checksum + 1) & 4294967295 WHERE name <> '$local'")
      await connect()
    },
    close: () => db.close(),
  }
}

/** One transaction. Answers the rows that alice has after it, without what differs between the copies of a row. */
async function change(random: Random, at: number): Promise<Set<string>> {
  const id = (): string => `note ${random.int(IDS)}`
  const body = (): string => JSON.stringify({ é: random.int(1_000), big: '9007199254740993', list: [1.5, null, 'x'] })
  return postgres.sql().begin(async (q) => {
    const put = async (each: string): Promise<unknown> => {
      const values = [each, random.pick(USERS), random.pick(TEAMS), random.chance(0.4), `title ${at}`] as const
      const n = random.chance(0.2) ? null : String(2n ** 53n + BigInt(random.int(1_000)))
      return q`insert into notes (id, owner, team, shared, title, n, body) values (${values[0]}, ${values[1]}, ${values[2]}, ${values[3]}, ${values[4]}, ${n}, ${body()}::text::jsonb)
        on conflict (id) do update set owner = excluded.owner, team = excluded.team, shared = excluded.shared, title = excluded.title`
    }
    const remove = async (each: string): Promise<unknown> => q`delete from notes where id = ${each}`
    for (let left = random.int(4); left >= 0; left--)
      await random.weighted<() => Promise<unknown>>([
        [6, () => put(id())],
        [4, () => q`update notes set title = ${`changed ${at}`} where id = ${id()}`],
        [2, () => q`update notes set shared = not shared where id = ${id()}`],
        [2, () => q`update notes set team = ${random.pick(TEAMS)} where id = ${id()}`],
        [3, () => remove(id())],
        [
          1,
          async () => {
            const again = id()
            await remove(again)
            await put(again)
          },
        ],
        [1, () => q`update notes set n = coalesce(n, 0) + 1`],
        [
          1,
          async () => {
            const team = random.pick(TEAMS)
            const { count } = await q`delete from members where user_id = 'alice' and team = ${team}`
            if (count === 0) await q`insert into members values ('alice', ${team})`
          },
        ],
      ])()
    await q`update clock set n = ${at}`
    const rows = await q<{ id: string }[]>`
      select id from notes where owner = 'alice' or shared or team in (select team from members where user_id = 'alice')`
    return new Set(rows.map((row) => row.id))
  })
}

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql().unsafe(`
    create table notes (id text primary key, owner text not null, team text not null, shared boolean not null, title text not null, n bigint, body jsonb);
    create table members (user_id text, team text, primary key (user_id, team));
    create table clock (id text primary key, n int not null);
    insert into clock values ('clock', 0);
    insert into members values ('alice', 'red'), ('bob', 'green')`)
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: config(''),
    directory: `${directory.path}/edge`,
    bindings: { COMPACTION_BYTES: '2000', COMPACTION_SECONDS: '1', CATALOG_WATCH_SECONDS: '0.3' },
  })
})
afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test(
  `${STEPS} transactions: what our client and PowerSync's show of one state of the database is the same`,
  async () => {
    const random = new Random(SEED)
    const truth = new Map<number, Set<string>>()
    const pair = [ours('ours'), await theirs('theirs')] as const
    const arrived = (clients: readonly Client[], at: number): Promise<unknown> =>
      until(
        `state ${at}`,
        async () => clients.every(({ seen }) => seen.last === at),
        120,
        () => clients.map(({ seen }) => seen.last),
      )
    const both = (work: (client: Client) => Promise<void>): Promise<unknown> => Promise.all(pair.map(work))
    const witness = new Follower({
      url: edge.url,
      token: () => token(secret, 'alice'),
      clientId: 'w',
      transport: ndjson,
    })
    await both((client) => client.connect())
    /** Which copy of a row is the newest may change in the middle of these. */
    const deployedAt: number[] = []
    let at = 0
    const step = async (): Promise<void> => void truth.set(++at, await change(random, at))
    const events = [
      async () => {
        await both((client) => client.disconnect())
        for (let n = random.int(20) + 5; n > 0; n--) await step()
        // Their history is compacted meanwhile.
        await new Promise((resolve) => setTimeout(resolve, COMPACTED_MS))
        await both((client) => client.connect())
      },
      () => both((client) => client.spoil()),
      async () => {
        deployedAt.push(at)
        await operator.deploy(config(`_${at}`))
      },
    ]
    try {
      for (let n = 1; at < STEPS; n++) {
        if (n % EVENT === 0) await events[(n / EVENT - 1) % events.length]?.()
        await step()
        if (random.chance(0.7)) await arrived(pair, at)
      }
      await arrived(pair, at)
      const late = [ours('late'), await theirs('late')] as const
      await Promise.all(late.map((client) => client.connect()))
      await arrived(late, at)
      const all = [...pair, ...late]
      for (const each of deployedAt) for (const { seen } of all) seen.states.delete(each)
      const common = [...pair[0].seen.states.keys()].filter((each) => pair[1].seen.states.has(each))
      for (const each of common) {
        const rows = JSON.parse(pair[0].seen.states.get(each) ?? '[]') as Shown[]
        const [got, wanted] = [rows.map(({ id }) => String(id)), [...(truth.get(each) ?? [])]]
        expect({ at: each, rows: got.sort() }).toEqual({ at: each, rows: wanted.sort() })
        expect({ at: each, rows }).toEqual({ at: each, rows: JSON.parse(pair[1].seen.states.get(each) ?? '[]') })
      }
      expect(new Set(all.map(({ seen }) => seen.states.get(at))).size).toBe(1)
      await Promise.all(late.map((client) => client.close()))
      console.log(
        JSON.stringify({
          common: common.length,
          deploys: deployedAt.length,
          mismatches: mismatches.size,
          moves: witness.moves,
          clears: witness.clears,
        }),
      )
      expect(all.flatMap(({ seen }) => seen.differences).filter(({ at }) => !deployedAt.includes(at))).toEqual([])
      expect(common.length).toBeGreaterThan(STEPS / 3)
      for (const count of [deployedAt.length, mismatches.size, witness.moves, witness.clears])
        expect(count).toBeGreaterThan(0)
    } finally {
      await witness.close()
      await both((client) => client.close())
    }
  },
  120_000 + STEPS * 5_000,
)
