import { expect } from 'vitest'
import { until } from '../support/support.ts'
import type { ClientKind, ScenarioClient } from './client.ts'
import { ROOMS, type Setting } from './setting.ts'

// The file is long because it is one list, which every client goes through.

export interface Scenario {
  promise: string
  run(setting: Setting, kind: ClientKind): Promise<void>
}

const column = async (client: ScenarioClient, sql: string): Promise<unknown[]> =>
  (await client.rows(sql)).map((row) => Object.values(row)[0])

/** Waits until a query answers exactly this, in its first column. */
async function shows(
  client: ScenarioClient,
  sql: string,
  wanted: readonly unknown[],
  limitSeconds = 60,
): Promise<void> {
  const seen = () => column(client, sql)
  const equal = async () => JSON.stringify(await seen()) === JSON.stringify(wanted)
  await until(`${sql} = ${JSON.stringify(wanted).slice(0, 300)}`, equal, limitSeconds, async () => [
    await seen(),
    await client.status(),
  ])
}

const TASKS = 'select id from tasks order by id'
const NOTES = 'select body from notes order by id'
const RED = ['t10', 't2', 't4', 't6', 't8']
const BLUE = ['t1', 't3', 't5', 't7', 't9']

/** The same for every client. Each works with users and rows of its own, so that they do not see each other. */
export const SCENARIOS: Scenario[] = [
  {
    promise: 'a first sync brings the rows of several buckets, and nothing else',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      await sql`insert into notes values (${`${user}-1`}, ${user}, 'mine'), (${`${user}-2`}, ${`not ${user}`}, 'his')`
      await sql`insert into members values (${`${user}-m`}, 'red', ${user})`
      await setting.replicated()
      const client = await setting.connected(kind, user)
      expect(await column(client, TASKS)).toEqual(RED)
      expect(await column(client, NOTES)).toEqual(['mine'])
      expect(await column(client, "select title from news where id = 'n1'")).toEqual(['Opened'])
      expect(await column(client, 'select id from items')).toEqual([])
      const { streams } = await client.status()
      const defaults = streams
        .filter(({ isDefault, active, hasSynced }) => isDefault && active && hasSynced)
        .map(({ name }) => name)
      expect(defaults.sort()).toEqual(['news', 'notes', 'rooms', 'tasks'])
    },
  },
  {
    promise: 'inserts, updates, deletes and moves between users arrive while it is connected',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      const client = await setting.connected(kind, user)
      await sql`insert into notes values (${`${user}-1`}, ${user}, 'one'), (${`${user}-2`}, ${user}, 'two')`
      await shows(client, NOTES, ['one', 'two'])
      await sql.begin(async (q) => {
        await q`update notes set body = 'changed — “ü” 🐚' where id = ${`${user}-1`}`
        await q`update notes set owner_id = 'nobody' where id = ${`${user}-2`}`
        await q`insert into notes values (${`${user}-3`}, ${user}, 'three')`
      })
      await shows(client, NOTES, ['changed — “ü” 🐚', 'three'])
      await sql`delete from notes where id in (${`${user}-1`}, ${`${user}-3`})`
      await shows(client, NOTES, [])
    },
  },
  {
    promise: 'joining and leaving a team adds and takes away its rows',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      const client = await setting.connected(kind, user)
      expect(await column(client, TASKS)).toEqual([])
      await sql`insert into members values (${`${user}-m`}, 'red', ${user})`
      await shows(client, TASKS, RED)
      await sql`update members set team_id = 'blue' where id = ${`${user}-m`}`
      await shows(client, TASKS, BLUE)
      await sql`insert into members values (${`${user}-n`}, 'red', ${user})`
      await shows(client, TASKS, [...RED, ...BLUE].sort())
      await sql`delete from members where user_id = ${user}`
      await shows(client, TASKS, [])
      await sql`insert into members values (${`${user}-o`}, 'red', ${user})`
      await shows(client, TASKS, RED)
    },
  },
  {
    promise: 'streams are subscribed with parameters, told when they do not exist, and leave when their time is over',
    async run(setting, kind) {
      const user = setting.newUser()
      const client = await setting.connected(kind, user)
      const items = 'select distinct list_id from items order by list_id'
      await client.subscribe('items', { list: 'l1' })
      await shows(client, items, ['l1'])
      const second = await client.subscribe('items', { list: 'l2' }, { ttl: 2, priority: 1 })
      await client.subscribe('nothing', null)
      await shows(client, items, ['l1', 'l2'])
      const state = async (name: string, list?: string) =>
        (await client.status()).streams.find(
          (each) => each.name === name && (list === undefined || JSON.stringify(each.parameters).includes(list)),
        )
      await until('the second list to be synced', async () => (await state('items', 'l2'))?.hasSynced === true)
      expect(await state('items', 'l1')).toMatchObject({ active: true, hasSynced: true, isDefault: false })
      expect((await state('nothing'))?.active).toBe(false)
      await client.unsubscribe(second)
      // When its time is over the next connection does not ask for it.
      const left = async (): Promise<boolean> => {
        await client.disconnect()
        await new Promise((resolve) => setTimeout(resolve, 2_500))
        await client.connect()
        await until('a connection', async () => (await client.status()).connected)
        await new Promise((resolve) => setTimeout(resolve, 1_000))
        return JSON.stringify(await column(client, items)) === '["l1"]'
      }
      await until('the second list to leave', left, 60, async () => [
        await column(client, items),
        await client.status(),
      ])
    },
  },
  {
    promise: 'default streams can be left out',
    async run(setting, kind) {
      const user = setting.newUser()
      const client = await setting.open(kind, user, { includeDefaults: false })
      await client.subscribe('items', { list: 'l3' })
      await client.connect()
      await client.synced()
      await shows(client, 'select distinct list_id from items', ['l3'])
      expect(await column(client, 'select id from news')).toEqual([])
    },
  },
  {
    promise: 'what is urgent is there before the rest',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      await sql`insert into members values (${`${user}-m`}, 'red', ${user})`
      await sql`insert into notes select ${user} || '-' || n, ${user}, 'note ' || n || repeat('.', 500) from generate_series(1, 3000) n`
      await setting.replicated()
      const client = await setting.open(kind, user)
      await client.connect()
      await client.synced(0)
      expect(await column(client, "select id from news where id = 'n1'")).toEqual(['n1'])
      await client.synced(1)
      expect(await column(client, TASKS)).toEqual(RED)
      await client.synced()
      expect(await column(client, 'select count(*) from notes')).toEqual([3_000])
      // The status said so on the way.
      expect((await client.status()).partial).toEqual(expect.arrayContaining([0, 1]))
      await sql`delete from notes where owner_id = ${user}`
      await shows(client, NOTES, [])
    },
  },
  {
    promise: 'a local write is uploaded, and is replaced by what the server made of it',
    async run(setting, kind) {
      const user = setting.newUser()
      const client = await setting.connected(kind, user)
      await client.execute('insert into notes (id, owner_id, body) values (?, ?, ?)', [`${user}-1`, user, 'written'])
      expect(await column(client, NOTES)).toEqual(['written'])
      await shows(client, NOTES, ['written (stored)'])
      await client.execute('update notes set body = ? where id = ?', ['again', `${user}-1`])
      await shows(client, NOTES, ['again (stored)'])
      await client.execute('delete from notes where id = ?', [`${user}-1`])
      await shows(client, 'select id from ps_crud', [])
      await until(
        'the delete in Postgres',
        async () => (await setting.postgres.sql()`select 1 from notes where id = ${`${user}-1`}`).length === 0,
      )
      await shows(client, NOTES, [])
    },
  },
  {
    promise: 'writes of both sides while it is offline meet when it comes back',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      await sql`insert into notes values (${`${user}-1`}, ${user}, 'one'), (${`${user}-2`}, ${user}, 'two')`
      await sql`insert into members values (${`${user}-m`}, 'red', ${user})`
      await setting.replicated()
      const client = await setting.connected(kind, user)
      await client.disconnect()
      await sql`update notes set body = 'changed' where id = ${`${user}-1`}`
      await sql`delete from notes where id = ${`${user}-2`}`
      await sql`update members set team_id = 'blue' where user_id = ${user}`
      await client.execute('insert into notes (id, owner_id, body) values (?, ?, ?)', [`${user}-3`, user, 'offline'])
      expect(await column(client, NOTES)).toEqual(['one', 'two', 'offline'])
      expect(await column(client, TASKS)).toEqual(RED)
      await client.connect()
      await shows(client, NOTES, ['changed', 'offline (stored)'])
      await shows(client, TASKS, BLUE)
    },
  },
  {
    promise: 'a token that is about to expire is renewed, and one that has expired is replaced',
    async run(setting, kind) {
      for (const seconds of [21, 2]) {
        const sql = setting.postgres.sql()
        const user = setting.newUser()
        let tokens = 0
        const client = await setting.connected(kind, user, {
          token: () => setting.token(user, tokens++ === 0 ? seconds : 3_600),
        })
        await until('the second token', async () => tokens >= 2)
        await sql`insert into notes values (${`${user}-1`}, ${user}, 'with the second token')`
        await shows(client, NOTES, ['with the second token'])
        await setting.closeClients()
      }
    },
  },
  {
    promise: 'a refused token is dropped and another one asked for',
    async run(setting, kind) {
      const user = setting.newUser()
      let tokens = 0
      const client = await setting.connected(kind, user, {
        token: () => (tokens++ === 0 ? setting.badToken(user) : setting.token(user)),
      })
      expect(tokens).toBeGreaterThanOrEqual(2)
      expect(await column(client, "select id from news where id = 'n1'")).toEqual(['n1'])
    },
  },
  {
    promise: 'a client may have 1,000 buckets; with one more it is refused, and comes in when it has fewer',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      await setting.fillRooms()
      await sql`insert into room_members select ${user} || '-' || n, 'room' || n, ${user} from generate_series(1, ${ROOMS + 1}::int) n`
      // Before that he has few buckets, and is let in.
      await setting.replicated()
      const client = await setting.open(kind, user)
      void client.connect().catch(() => {})
      await until(
        'the refusal',
        async () => (await client.status()).downloadError !== null,
        60,
        () => client.status(),
      )
      expect((await client.status()).hasSynced).toBe(false)
      await sql`delete from room_members where id = ${`${user}-1`}`
      await shows(client, 'select count(*) from room_rows', [ROOMS], 200)
      await sql`update room_rows set body = 'changed' where id = ${`r${ROOMS}`}`
      await shows(client, "select count(*) from room_rows where body = 'changed'", [1])
      await sql`update room_rows set body = 'back' where id = ${`r${ROOMS}`}`
      await sql`delete from room_members where user_id = ${user} and id <> ${`${user}-5`}`
      await shows(client, 'select id from room_rows', ['r5'])
    },
  },
  {
    promise: 'history is compacted under open streams and behind the back of clients, and nobody notices',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      const ids = Array.from({ length: 4 }, (_, i) => `${user}-${i}`)
      for (const id of ids) await sql`insert into notes values (${id}, ${user}, 'first')`
      await setting.replicated()
      const open = await setting.connected(kind, user)
      const away = await setting.connected(kind, user, { name: `${user}-away-${kind.name.replace(/\W+/g, '-')}` })
      await away.disconnect()
      let ops = ids.length
      const count = async (): Promise<number> => {
        const [line] = await setting.first(user)
        if (!line || !('checkpoint' in line)) throw new Error('no checkpoint')
        return line.checkpoint.buckets.find(({ bucket }) => bucket.includes('#notes'))?.count ?? 0
      }
      await until(
        'compaction',
        async () => {
          for (let n = 0; n < 10; n++, ops++)
            await sql`update notes set body = ${`${ops} ${'x'.repeat(200)}`} where id = ${`${user}-${ops % 4}`}`
          return (await count()) < ops / 2
        },
        100,
        async () => [ops, await count()],
      )
      await sql`update notes set body = 'last' where owner_id = ${user}`
      await sql`delete from notes where id = ${`${user}-0`}`
      for (const client of [open, away]) {
        if (client === away) await away.connect()
        await shows(client, NOTES, ['last', 'last', 'last'])
        expect((await client.status()).downloadError).toBeNull()
      }
    },
  },
  {
    promise: 'a killed edge is only a pause',
    async run(setting, kind) {
      const sql = setting.postgres.sql()
      const user = setting.newUser()
      const client = await setting.connected(kind, user)
      await setting.edge.kill9()
      await sql`insert into notes values (${`${user}-1`}, ${user}, 'behind the crash')`
      await shows(client, NOTES, ['behind the crash'])
    },
  },
]
