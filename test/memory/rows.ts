import { rowsOf } from '../support/follower.ts'
import { until } from '../support/support.ts'
import { check, type Scenario } from './scenario.ts'

// Rows that multiply, and rows that are asked for together.

export const largeArrays: Scenario = {
  name: 'large-arrays',
  about: '100 rows with 10,000 elements each: in a bucket each, all in one bucket, and in pairs with 10,000 others',
  tables: `create table docs (id text primary key, tags jsonb not null);
    create table same (id text primary key, tags jsonb not null);
    create table pairs (id text primary key, tags jsonb not null, others jsonb not null)`,
  streams: `  tagged: { auto_subscribe: true, query: "SELECT d.id FROM docs d, json_each(d.tags) AS e WHERE e.value = auth.user_id()" }
  same: { auto_subscribe: true, query: "SELECT s.id FROM same s, json_each(s.tags) AS e WHERE e.value = auth.user_id()" }
  pairs: { auto_subscribe: true, query: "SELECT id FROM pairs WHERE auth.user_id() IN tags AND auth.parameter('other') IN others" }
`,
  suite: true,
  async run(world, long) {
    const rows = long ? 100 : 10
    const client = await world.follower('tag 1')
    const [tags, ones] = [
      `(select jsonb_agg('tag ' || i) from generate_series(1, 10000) i)`,
      `(select jsonb_agg('tag 1'::text) from generate_series(1, 10000) i)`,
    ]
    await world.sql.begin(async (sql) => {
      await sql.unsafe(`insert into docs select 'doc ' || n, ${tags} from generate_series(1, ${rows}) n`)
      await sql.unsafe(`insert into docs select 'few', (select jsonb_agg('tag ' || i) from generate_series(1, 1000) i)`)
      await sql.unsafe(`insert into same select 'same ' || n, ${ones} from generate_series(1, ${rows}) n`)
      await sql.unsafe(`insert into pairs select 'pair ' || n, ${tags}, ${tags} from generate_series(1, ${rows}) n`)
    })
    await world.settled(client, 'tag 1')
    const ids = rowsOf(client.buckets, '[').map(({ id }) => String(id))
    check(ids.length === rows + 1 && ids.includes('few'), () => ids)
    const { recent } = (await world.status()).skippedRows
    const told = recent.filter(({ table }) => table === 'public.docs' || table === 'public.pairs')
    check(told.length > 0, () => recent)
    return [...new Set(told.map(({ table, reason }) => `${table}: ${reason}`))].join('; ')
  },
}

export const largeLookup: Scenario = {
  name: 'large-lookup',
  about: 'lookups of 500,000 rows, all of one user, and of 500,000 of 5,000 users, copied and changed',
  tables: `create table members (id int primary key, member text not null, room text not null);
    create table rooms (id text primary key)`,
  streams:
    '  rooms: { auto_subscribe: true, query: SELECT id FROM rooms WHERE id IN (SELECT room FROM members WHERE member = auth.user_id()) }\n',
  prepare: (long) => {
    const [rows, each] = long ? [500_000, 100] : [20_000, 100]
    return `insert into members select n, 'everywhere', 'room ' || n from generate_series(1, ${rows}) n;
      insert into members select ${rows + 1} + n, 'member ' || n / ${each}, 'room ' || n % ${each} from generate_series(0, ${rows - 1}) n;
      insert into rooms select 'room ' || n from generate_series(0, ${each - 1}) n`
  },
  suite: true,
  async run(world, long) {
    const client = await world.follower('member 1')
    const everywhere = await world.reader('everywhere')
    await until(
      'a refusal',
      async () => (everywhere.refused.PSYNC_S2305 ?? 0) >= (long ? 10 : 1),
      600,
      () => everywhere.refused,
    )
    if (long) {
      await world.sql`update members set room = room || '!'`
      await world.sql`update members set room = rtrim(room, '!')`
      await world.compacted()
    }
    await world.settled(client, 'member 1')
    check(rowsOf(client.buckets, '[').length === 100, () => rowsOf(client.buckets, '[').length)
    check(everywhere.completes === 0, () => 'a lookup that is too large was served')
    everywhere.close()
    return `refused ${JSON.stringify(everywhere.refused)}`
  },
}
