import { setTimeout } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import postgresJs from 'postgres'
import { parseLsn, type PgoutputMessage } from '../index.ts'
import { Follower } from '../../../test/support/slot-follower.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { generator } from '../../../test/support/random.ts'

// How a slot is followed over cuts, crashes and databases that are not what they were: real Postgres, real stream, the
// replicator's own intake.
// The file is long because every way in which a stream breaks is tried on one kind of server.

describe.each(POSTGRES_VERSIONS)('Postgres %i', (version) => {
  let postgres: TestPostgres
  const opened: postgresJs.Sql[] = []

  beforeAll(async () => {
    postgres = await startPostgres({ max_prepared_transactions: '10', autovacuum: 'off' }, { version })
    await postgres.sql()`create table t (id int primary key, v text)`
    await postgres.sql()`create table other (id serial, v text)`
  })
  afterAll(async () => {
    await postgres?.stop()
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.end({ timeout: 1 })))
    await postgres.sql()`truncate t, other`
    await postgres.sql()`select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`
  })

  const connection = (): postgresJs.Sql => {
    const sql = postgresJs(postgres.url, { max: 1, onnotice: () => {} })
    opened.push(sql)
    return sql
  }
  /** A follower that has seen everything so far. */
  async function follow(slot: string): Promise<Follower> {
    const follower = new Follower(postgres.url, slot, ['t'])
    expect(await follower.session()).toEqual({ end: 'caught-up' })
    return follower
  }
  const ids = (follower: Follower): number[] =>
    follower.stored.map((text) => (JSON.parse(text.slice(text.indexOf('{'))) as { id: number }).id)
  const upTo = (n: number, from = 1) => Array.from({ length: n }, (_, i) => from + i)
  /** A session that has just ended lets go of its slot a moment later. */
  async function untilFree(name: string): Promise<void> {
    const sql = postgres.sql()
    while ((await sql`select 1 from pg_replication_slots where slot_name = ${name} and active`).length > 0)
      await setTimeout(5)
  }
  async function slotOf(name: string): Promise<{ confirmed: bigint; walEnd: bigint }> {
    const [row] = await postgres.sql()<{ confirmed: string; wal_end: string }[]>`
    select confirmed_flush_lsn::text as confirmed, pg_current_wal_flush_lsn()::text as wal_end from pg_replication_slots where slot_name = ${name}`
    return { confirmed: parseLsn(row?.confirmed ?? '0/0'), walEnd: parseLsn(row?.wal_end ?? '0/0') }
  }

  describe('I6: cuts', () => {
    test('two writers that commit back to back, cut at every message of both: nothing lost, nothing twice', async () => {
      const follower = await follow('neighbours')
      const writers = [connection(), connection()]
      let id = 0
      /** Where the socket broke while the second transaction began exactly where the first one ended. */
      const cut = new Set<number>()
      // BEGIN, relation, two INSERTs, COMMIT; BEGIN, two INSERTs, COMMIT.
      const messages = 9
      for (let pairs = 0; cut.size < messages && pairs < 300; pairs++) {
        const go = Promise.withResolvers<void>()
        const ready = writers.map(() => Promise.withResolvers<void>())
        const written = writers.map((writer, w) =>
          writer.begin(async (tx) => {
            await tx`insert into t values (${++id}), (${++id})`
            ready[w]?.resolve()
            await go.promise
          }),
        )
        await Promise.all(ready.map((each) => each.promise))
        go.resolve()
        await Promise.all(written)
        const at = upTo(messages).find((n) => !cut.has(n)) ?? 1
        let end = 0n
        let neighbours = false
        let changes = 0
        const see = (message: PgoutputMessage): void => {
          if (message.type === 'begin') {
            neighbours ||= changes > 0 && message.finalLsn === end
            changes = 0
          } else if (message.type === 'insert') changes++
          else if (message.type === 'commit') end = message.endLsn
        }
        expect(await follower.session({ cutAfter: at, see })).toEqual({ end: 'cut' })
        expect(await follower.session({ see })).toEqual({ end: 'caught-up' })
        if (neighbours) cut.add(at)
      }
      expect([...cut]).toEqual(upTo(messages))
      expect(ids(follower).sort((a, b) => a - b)).toEqual(upTo(id))
    })
  })

  describe('a crash of the server', () => {
    test('kill -9 after acknowledgements: the slot goes back, what comes again is the same and is skipped, nothing is resynced', async () => {
      const follower = await follow('crash')
      const sql = postgres.sql()
      await sql`checkpoint`
      for (const id of upTo(30)) await sql`insert into t values (${id})`
      expect(await follower.session()).toEqual({ end: 'caught-up' })
      const before = await slotOf('crash')
      expect(before.confirmed).toBe(follower.acknowledged.at(-1))
      await postgres.kill9()
      await postgres.startServer()
      const after = await slotOf('crash')
      expect(after.confirmed, 'the server forgot acknowledgements').toBeLessThan(before.confirmed)
      const stored = parseLsn(follower.position?.lsn ?? '0/0')
      let again = 0
      const see = (message: { type: string; finalLsn?: bigint }) => {
        if (message.type === 'begin' && (message.finalLsn ?? 0n) <= stored) again++
      }
      await sql`insert into t values (31)`
      expect(await follower.session({ see })).toEqual({ end: 'caught-up' })
      expect(again).toBeGreaterThanOrEqual(30)
      expect(ids(follower)).toEqual(upTo(31))
    })
  })

  describe('a database that is not what it was', () => {
    /** What is read and written between two looks decides where WAL records lie, so both runs do exactly this. */
    async function sameShape(first: number, count: number): Promise<void> {
      const sql = connection()
      for (const id of upTo(count, first)) await sql`insert into t values (${id}, ${'x'.repeat(20)})`
      await sql.end()
    }

    test('a disk copy put back, and the same shape of transactions until the WAL is beyond us: the same LSN and xid, and yet it is found out', async () => {
      const follower = await follow('shape')
      const saved = await postgres.saveData()
      await sameShape(1_000, 40)
      // BEGIN, INSERT, COMMIT each, and the relation once.
      expect(await follower.session({ cutAfter: 40 * 3 + 1 })).toEqual({ end: 'cut' })
      expect(ids(follower)).toEqual(upTo(40, 1_000))
      const stored = follower.position
      await postgres.restoreData(saved)
      await sameShape(2_000, 100)
      const same: string[] = []
      const see = (message: { type: string; finalLsn?: bigint; xid?: number; commitTime?: string }) => {
        if (message.type !== 'begin' || message.finalLsn !== parseLsn(stored?.lsn ?? '0/0')) return
        same.push(`${message.xid === stored?.xid} ${message.commitTime === stored?.time}`)
      }
      expect((await slotOf('shape')).walEnd).toBeGreaterThan(parseLsn(stored?.lsn ?? '0/0'))
      const end = await follower.session({ see })
      expect(same, 'same commit LSN, same xid, another time').toEqual(['true false'])
      expect(end).toEqual({ end: 'changed', why: expect.stringMatching(/is not the one that was stored/) })
      expect(ids(follower), 'nothing of the other history was taken in').toEqual(upTo(40, 1_000))
    })

    test('the same in the middle of a transaction that is stored in slices', async () => {
      const follower = await follow('slices')
      const saved = await postgres.saveData()
      const insert = async (v: string) => {
        const sql = connection()
        await sql`insert into t select n, ${v} from generate_series(1, 5000) n`
        await sql.end()
      }
      await insert('before')
      expect(await follower.session({ cutAfter: 3_000 })).toEqual({ end: 'cut' })
      expect(follower.partial?.changes).toBe(2_000)
      await postgres.restoreData(saved)
      await insert('beside')
      const { lsn, xid } = follower.partial ?? {}
      let seen = false
      const see = (message: { type: string; finalLsn?: bigint; xid?: number }) => {
        if (message.type === 'begin' && message.finalLsn === parseLsn(lsn ?? '0/0') && message.xid === xid) seen = true
      }
      const end = await follower.session({ see })
      expect(seen, 'a transaction of the same commit LSN and xid').toBe(true)
      expect(end).toEqual({ end: 'changed', why: expect.stringMatching(/the rest of the transaction/) })
    })

    test('a disk copy put back, and only tables written that are not published', async () => {
      const follower = await follow('unpublished')
      const saved = await postgres.saveData()
      const sql = postgres.sql()
      for (const id of upTo(10)) await sql`insert into t values (${id})`
      await follower.session()
      await postgres.restoreData(saved)
      expect(await follower.session()).toEqual({ end: 'changed', why: expect.stringMatching(/older state/) })
      const stored = parseLsn(follower.position?.lsn ?? '0/0')
      while ((await slotOf('unpublished')).walEnd <= stored) await sql`insert into other (v) values (repeat('x', 500))`
      expect(await follower.session()).toEqual({ end: 'changed', why: expect.stringMatching(/did not come again/) })
      expect(ids(follower)).toEqual(upTo(10))
    })

    test('a slot that a stranger has read', async () => {
      const follower = await follow('stranger')
      const sql = postgres.sql()
      for (const id of upTo(5)) await sql`insert into t values (${id})`
      await untilFree('stranger')
      await sql`select pg_replication_slot_advance('stranger', pg_current_wal_lsn())`
      expect(await follower.session()).toEqual({
        end: 'changed',
        why: expect.stringMatching(/somebody else has read the slot/),
      })
    })

    test('a slot that was dropped, and one that was made anew under its name', async () => {
      const follower = await follow('dropped')
      const sql = postgres.sql()
      await sql`insert into t values (1)`
      await untilFree('dropped')
      await sql`select pg_drop_replication_slot('dropped')`
      expect(await follower.session()).toEqual({ end: 'changed', why: 'the slot was missing' })
      await follower.renew()
      await follower.session()
      await untilFree('dropped')
      await sql`select pg_drop_replication_slot('dropped')`
      await sql`insert into t values (2)`
      await sql`select pg_create_logical_replication_slot('dropped', 'pgoutput')`
      expect(await follower.session()).toEqual({ end: 'changed', why: expect.stringMatching(/somebody else/) })
    })
  })

  describe('acknowledgement', () => {
    test('a transaction that is open while markers behind it are acknowledged comes whole; the slot is never told more than the WAL end', async () => {
      const follower = await follow('open')
      const long = connection()
      const written = Promise.withResolvers<void>()
      const commit = Promise.withResolvers<void>()
      const done = long.begin(async (tx) => {
        await tx`insert into t values (1), (2)`
        written.resolve()
        await commit.promise
        await tx`insert into t values (3)`
      })
      await written.promise
      const confirmed: bigint[] = []
      for (let i = 0; i < 4; i++) {
        await postgres.sql()`insert into t values (${100 + i})`
        expect(await follower.session()).toEqual({ end: 'caught-up' })
        // The walsender may read the last acknowledgement after the session has ended.
        const slot = await vi.waitFor(async () => {
          const now = await slotOf('open')
          expect(now.confirmed).toBe(follower.acknowledged.at(-1))
          return now
        }, 10_000)
        expect(slot.confirmed).toBeLessThanOrEqual(slot.walEnd)
        confirmed.push(slot.confirmed)
      }
      expect(new Set(confirmed).size, 'the slot moved on').toBe(4)
      commit.resolve()
      await done
      await follower.session()
      expect(ids(follower)).toEqual([100, 101, 102, 103, 1, 2, 3])
    })
  })

  describe('transactions', () => {
    test('savepoints, many subtransactions, what was rolled back, and one that was prepared', async () => {
      const follower = await follow('kinds')
      const sql = postgres.sql()
      await sql.begin(async (tx) => {
        await tx`insert into t values (1)`
        await tx`savepoint a`
        await tx`insert into t values (1000)`
        await tx`savepoint b`
        await tx`insert into t values (1001)`
        await tx`rollback to savepoint a`
        await tx`insert into t values (2)`
      })
      // More subtransactions than a snapshot or a commit record lists, every third of them rolled back.
      await sql.unsafe(`do $$ begin
      for i in 3..152 loop
        begin
          insert into t values (i);
          if i % 3 = 0 then raise exception 'no'; end if;
        exception when others then null;
        end;
      end loop; end $$`)
      await sql
        .begin((tx) => tx`insert into t values (2000)`.then(() => Promise.reject(new Error('roll back'))))
        .catch(() => {})
      const session = connection()
      await session.unsafe('begin')
      await session`insert into t values (500), (501)`
      await session.unsafe(`prepare transaction 'p'`)
      await session.unsafe('begin')
      await session`insert into t values (3000)`
      await session.unsafe(`prepare transaction 'q'`)
      await sql`insert into t values (400)`
      const kept = upTo(150, 3).filter((n) => n % 3 !== 0)
      await follower.session()
      expect(ids(follower)).toEqual([1, 2, ...kept, 400])
      await sql.unsafe(`commit prepared 'p'`)
      await sql.unsafe(`rollback prepared 'q'`)
      await follower.session()
      expect(ids(follower)).toEqual([1, 2, ...kept, 400, 500, 501])
    })

    test('each row is read by the columns its table had at that statement, though others of the transaction add, drop and rename some', async () => {
      const sql = postgres.sql()
      await sql`create table shapes (id int primary key, first text, gone text, kept text)`
      const follower = new Follower(postgres.url, 'shapes', ['shapes'])
      expect(await follower.session()).toEqual({ end: 'caught-up' })
      await sql.begin(async (tx) => {
        await tx`insert into shapes values (1, 'a1', 'b1', 'c1')`
        await tx`alter table shapes drop column gone`
        await tx`insert into shapes values (2, 'a2', 'c2')`
        await tx`update shapes set kept = 'C1' where id = 1`
        await tx`alter table shapes rename column first to tmp`
        await tx`alter table shapes rename column kept to first`
        await tx`alter table shapes rename column tmp to kept`
        await tx`insert into shapes values (3, 'c3', 'a3')`
        await tx`alter table shapes add column gone text default 'new'`
        await tx`insert into shapes values (4, 'c4', 'a4')`
      })
      await follower.session()
      const read = follower.stored.map((text) => JSON.parse(text.slice(text.indexOf('{'))) as object)
      await sql`drop table shapes`
      expect(read).toEqual([
        { id: 1, first: 'a1', gone: 'b1', kept: 'c1' },
        { id: 2, first: 'a2', kept: 'c2' },
        { id: 1, first: 'a1', kept: 'C1' },
        { id: 3, first: 'a3', kept: 'c3' },
        { id: 4, first: 'a4', kept: 'c4', gone: 'new' },
      ])
    })

    test('transactions that overlap come in the order of their commits, whatever the order of their LSNs', async () => {
      const follower = await follow('overlap')
      const random = generator(7)
      const sessions = upTo(6).map(connection)
      const open = new Map<postgresJs.Sql, number[]>()
      const committed: number[] = []
      for (let n = 1; n <= 300; n++) {
        const sql = sessions[Math.floor(random() * sessions.length)]
        if (!sql) continue
        const rows = open.get(sql)
        if (rows === undefined) {
          await sql.unsafe('begin')
          open.set(sql, [])
        } else if (random() < 0.7) {
          await sql`insert into t values (${n})`
          rows.push(n)
        } else {
          const keep = random() < 0.8
          await sql.unsafe(keep ? 'commit' : 'rollback')
          open.delete(sql)
          if (keep) committed.push(...rows)
          if (random() < 0.3) await follower.session({ cutAfter: 1 + Math.floor(random() * 8) })
        }
      }
      for (const sql of open.keys()) await sql.unsafe('rollback')
      await follower.session()
      expect(committed.length).toBeGreaterThan(60)
      expect(ids(follower)).toEqual(committed)
    })
  })
})
