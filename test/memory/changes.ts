import { rowsOf } from '../support/follower.ts'
import { until } from '../support/support.ts'
import { check, type Scenario } from './scenario.ts'

// What comes from Postgres: transactions and values that are larger than memory.

export const largeTransaction: Scenario = {
  name: 'large-transaction',
  about: 'one transaction of 1,000,000 rows over 5,000 buckets, 500 at a time, ended and recovered in its middle',
  tables: 'create table items (id int primary key, team text not null, text text not null)',
  streams: '  team: { auto_subscribe: true, query: "SELECT id, text FROM items WHERE team = auth.user_id()" }\n',
  // All of them awake: behind that number each would wait until another one sleeps.
  bindings: { ACTIVE_BUCKETS: '5500' },
  suite: true,
  async run(world, long) {
    const [rows, buckets, together] = long ? [1_000_000, 5_000, 500] : [60_000, 500, 100]
    const turn = (rows / buckets) * together
    const client = await world.follower('team 1')
    const before = (await world.status()).written.changes
    await world.sql`
      insert into items select n, 'team ' || (n - 1) / ${turn}::int * ${together}::int + n % ${together}::int, repeat('x', 200) from generate_series(1, ${rows}::int) n`
    const seen = async () => [client.state, world.isolates.peaks, await world.status()]
    // Batches that wait for their buckets may be few at every look.
    await until('the middle', async () => (await world.status()).written.changes - before >= rows / 4, 1_200, seen)
    await world.isolates.kill()
    await world.settled(client, 'team 1')
    check(client.problems.length === 0, () => client.problems)
    const got = rowsOf(client.buckets, '[').length
    check(got === rows / buckets, () => `${got} rows came of ${rows / buckets}`)
    return ''
  },
}

export const manyNewBuckets: Scenario = {
  name: 'import',
  about: '10,000 users with three new buckets each in one transaction, and 10,000 more in a transaction each',
  tables: 'create table users (id text primary key)',
  streams: `  mine: { auto_subscribe: true, query: SELECT id FROM users WHERE id = auth.user_id() }
  again: { auto_subscribe: true, query: "SELECT id, 1 AS q FROM users WHERE id = auth.user_id()" }
  owned: { auto_subscribe: true, query: "SELECT id, 2 AS q FROM users WHERE id IN (SELECT id FROM users WHERE id = auth.user_id())" }
`,
  // test/attacks/import-of-many-users.sdk.test.ts has the half of it in its full size.
  suite: false,
  async run(world, long) {
    const users = long ? 10_000 : 300
    const clients = await Promise.all(['first-1', 'second-1'].map((user) => world.follower(user)))
    const [first, second] = clients
    check(first !== undefined && second !== undefined, () => 'no clients')
    const before = (await world.status()).written.appends
    await world.sql`insert into users select 'first-' || n from generate_series(1, ${users}::int) n`
    await world.settled(first, 'first-1')
    await world.sql.unsafe(`create procedure import(n int) language plpgsql as $$ begin
      for i in 1..n loop insert into users values ('second-' || i); commit; end loop; end $$`)
    await world.sql`call import(${users}::int)`
    await world.settled(second, 'second-1')
    for (const client of clients) {
      const got = rowsOf(client.buckets, '[').length
      check(got === 3 && client.problems.length === 0, () => [got, client.problems])
    }
    const { written, diagnostics } = await world.status()
    check(written.appends - before >= 8 * users, () => [written, 'appends'])
    check(diagnostics.counts.ROCKPOOL_INTERNAL === undefined, () => diagnostics)
    return `${written.appends - before} appends`
  },
}

const MB = 1_024 * 1_024
/**
 * Rows with numbers from … to: of files nearly as much is read as a row may have, and 5 MB are not; of notes 5 MB are
 * read, which is too much.
 */
const files = (from: number, to: number) => {
  const text = (bytes: number) => `repeat(md5(n::text), ${Math.floor(bytes / 32)})`
  return `insert into files select n, 'reader', ${text(1.8 * MB)}, convert_to(${text(5 * MB)}, 'utf8') from generate_series(${from}, ${to}) n;
    insert into notes select n, ${text(5 * MB)} from generate_series(${from}, ${to}) n`
}

export const largeValues: Scenario = {
  name: 'large-values',
  about:
    '100 rows with values of 5 MB and of 1.8 MB copied, 100 streamed, and 10 clients that download what may be sent of them',
  tables: `create table files (id int primary key, owner text not null, body text not null, content bytea);
    create table notes (id int primary key, note text)`,
  streams: `  files: { auto_subscribe: true, query: "SELECT id, body FROM files WHERE owner = auth.user_id()" }
  notes: { query: "SELECT id, length(note) AS size FROM notes" }
`,
  prepare: (long) => files(1, long ? 100 : 5),
  suite: true,
  async run(world, long) {
    const [rows, fast, slow] = long ? [200, 8, 2] : [10, 3, 1]
    await world.sql.unsafe(files(rows / 2 + 1, rows))
    // Values that are not sent again are taken from what was kept.
    await world.sql`update files set owner = owner where id % 10 = 0`
    const settling = await world.follower('nobody')
    await world.settled(settling, 'nobody')
    const readers = await Promise.all([
      ...Array.from({ length: fast }, () => world.reader('reader')),
      ...Array.from({ length: slow }, () => world.reader('reader', {}, 8 * MB)),
    ])
    const seen = async () => [
      readers.map(({ bytes, streams, refused }) => [bytes, streams, refused]),
      world.isolates.peaks,
    ]
    await until('every reader', async () => readers.every(({ complete }) => complete), 1_200, seen)
    for (const { bytes } of readers) check(bytes > rows * 1.79 * MB, () => `${bytes} bytes are not ${rows} values`)
    const { count } = (await world.status()).skippedRows
    check(count === rows, () => `${count} rows were told of ${rows}`)
    return `${count} rows told to have a value that is too large`
  },
}
