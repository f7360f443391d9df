import { setTimeout } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { STANDBY_SLOT, startStandby, type Standby } from '../../../test/support/standby.ts'
import { until } from '../../../test/support/support.ts'
import { connectSource, measureSlot, openReplication, prepareSource } from '../index.ts'
import { failoverAdvice, standbyFacts } from './failover.ts'

// A primary of Postgres 18 with a standby that keeps copies of slots.

let primary: TestPostgres
let standby: Standby
const opened: Sql[] = []

beforeAll(async () => {
  primary = await startPostgres({ wal_sender_timeout: '2s' })
  await primary.sql()`create table t (id int primary key)`
  standby = await startStandby(primary, { wal_receiver_status_interval: '1s' })
})
afterAll(async () => {
  await standby?.stop()
  await primary?.stop()
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((sql) => sql.end({ timeout: 0 })))
  await until('the slots to be free', async () => (await slots()).every(({ active }) => !active), 20)
  await primary.sql()`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_type = 'logical'`
})

const slots = () => primary.sql()<{ name: string; active: boolean; failover: boolean }[]>`
  select slot_name as name, active, failover from pg_replication_slots where slot_type = 'logical'`
const connect = (options: { replication?: boolean } = {}): Sql => {
  const sql = connectSource(primary.url, { applicationName: 'rockpool-1', ...options })
  opened.push(sql)
  return sql
}
async function stream() {
  const refused: string[] = []
  const { slot, publication, walSenderTimeoutMs } = await prepareSource(connect(), {
    slot: 's',
    tables: [{ schema: 'public', name: 't' }],
  })
  const received = { inserts: 0 }
  const replication = await openReplication(
    connect({ replication: true }),
    {
      slot: 's',
      publication,
      walSenderTimeoutMs,
      ...(slot.failover === false
        ? { markForFailover: { refused: (reason: string) => void refused.push(reason) } }
        : {}),
    },
    { message: (message) => void (message.type === 'insert' && received.inserts++), keepalive: () => {} },
  )
  return { slot, replication, received, refused }
}

describe('a slot outlives a failover', () => {
  test('one that we make is marked from the beginning, and the standby keeps it', async () => {
    const { slot, replication } = await stream()
    expect(slot).toMatchObject({ created: true, failover: true })
    const copied = async () =>
      (await standby.sql()`select 1 from pg_replication_slots where slot_name = 's' and synced and not temporary`)
        .length
    await until('the standby to keep it', async () => (await copied()) === 1, 60)
    await replication.close()
  })

  test('one that an earlier version made is marked before it is read', async () => {
    await primary.sql()`select pg_create_logical_replication_slot('s', 'pgoutput')`
    const { slot, replication, received, refused } = await stream()
    expect(slot).toMatchObject({ created: false, failover: false })
    expect(await slots()).toEqual([{ name: 's', active: true, failover: true }])
    expect(refused).toEqual([])
    await primary.sql()`insert into t values (1)`
    await until('the row', async () => received.inserts === 1, 20)
    await replication.close()
  })
})

test('while a standby that must confirm is away, Postgres sends nothing: that is seen, longer than a timeout, and what was held comes behind it', async () => {
  const sql = primary.sql()
  const { replication, received } = await stream()
  await sql`alter system set synchronized_standby_slots = ${sql.unsafe(`'${STANDBY_SLOT}'`)}`
  await sql`select pg_reload_conf()`
  try {
    await standby.pause()
    await sql`insert into t values (2)`
    await until(
      'the wait to be seen',
      async () => (await measureSlot(connect(), 's'))?.awaitedStandbys === STANDBY_SLOT,
      20,
    )
    await setTimeout(5_000)
    expect(received.inserts).toBe(0)
    await standby.resume()
    await until('the row', async () => received.inserts === 1, 30)
    expect((await measureSlot(connect(), 's'))?.awaitedStandbys).toBeNull()
  } finally {
    await sql`alter system reset synchronized_standby_slots`
    await sql`select pg_reload_conf()`
  }
  await replication.close()
})

describe('what a failover would need', () => {
  const unseen = /sync_replication_slots = on, and a dbname/

  test('a standby with everything but its name in synchronized_standby_slots', async () => {
    const facts = await standbyFacts(primary.sql())
    expect(facts.physical).toEqual([{ name: STANDBY_SLOT, active: true, feedback: true }])
    const asked = failoverAdvice(facts)
    expect(asked).toEqual([expect.stringMatching(/names no standby.*Set it to standby/), expect.stringMatching(unseen)])
    expect(failoverAdvice({ ...facts, synchronized: `other, "${STANDBY_SLOT}"` })).toEqual([
      expect.stringMatching(unseen),
    ])
  })

  test('what is missing is named, and nothing of a database without a standby', () => {
    const facts = { serverVersion: 170_002, physical: [], streams: false, synchronized: '' }
    expect(failoverAdvice(facts)).toEqual([])
    expect(failoverAdvice({ ...facts, streams: true })[0]).toMatch(/uses no physical slot/)
    const silent = { name: 'b', active: true, feedback: false }
    expect(failoverAdvice({ ...facts, physical: [silent] })[0]).toMatch(/slot b sends no feedback/)
    expect(failoverAdvice({ ...facts, serverVersion: 150_004, streams: true })).toEqual([
      expect.stringMatching(/Postgres 15 keeps no logical slot/),
    ])
  })
})
