import { setTimeout } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { judgeDatabase } from '../../cli/check-database.ts'
import { DocsClient } from '../support/docs-client.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { startProxy, type Proxy } from '../support/proxy.ts'
import { statusOf } from '../support/status.ts'
import { until } from '../support/support.ts'
import { STANDBY_SLOT, startStandby, type Standby } from '../support/standby.ts'

// A primary of Postgres 18 goes, and its standby takes its place under the same name: what clients hold afterwards.

let primary: TestPostgres
let standby: Standby
let proxy: Proxy
let docs: DocsClient
/** Where applications write, and what is true. */
let current: Sql

beforeEach(async () => {
  primary = await startPostgres({ wal_sender_timeout: '4s' })
  current = primary.sql()
  standby = await startStandby(primary)
  proxy = await startProxy(primary.port)
  docs = new DocsClient({ sql: () => current, url: primary.url })
  // Tables alone: its slot would be dropped with the others.
  await current`create table docs (id int primary key, n int not null default 0)`
  await current`insert into docs (id) select n from generate_series(1, 50) n`
  await docs.start({ databaseUrl: primary.url.replace(`:${primary.port}/`, `:${proxy.port}/`) })
  await docs.connect()
  await docs.until('a live tenant', ({ state }) => state === 'live')
})
afterEach(async () => {
  await docs?.dispose()
  await proxy?.close()
  await standby?.stop()
  await primary?.stop()
})

const resyncs = ({ diagnostics }: ReplicatorStatus) => diagnostics.counts.ROCKPOOL_RESYNC ?? 0

/**
 * Until the standby has a copy that it would keep: its worker looks every 0.2 to 30 s, and the slot has to have moved
 * past what the standby can still decode.
 */
async function copySlot(): Promise<void> {
  const kept = async () =>
    (await standby.sql()`select 1 from pg_replication_slots where slot_name = 'rockpool' and synced and not temporary`)
      .length > 0
  const move = async () => {
    await current`select pg_log_standby_snapshot()`
    await current`update docs set n = n + 1 where id = 50`
    return kept()
  }
  await until('the standby to keep the slot', move, 90, () => standby.sql()`select * from pg_replication_slots`)
}

async function failOver(): Promise<void> {
  await primary.kill9()
  await standby.promote()
  current = standby.sql()
  proxy.redirect(standby.port)
}

describe('the standby becomes the primary', () => {
  test('under load the stream continues, nothing is compared, and nothing is lost', async () => {
    await current`alter system set synchronized_standby_slots = ${current.unsafe(`'${STANDBY_SLOT}'`)}`
    await current`select pg_reload_conf()`
    await copySlot()
    let writing = true
    let written = 0
    const load = (async () => {
      for (let id = 10_000; writing; id++) {
        // Who writes meets the failover too, and tries again.
        await current`insert into docs values (${id}, 1) on conflict do nothing`.then(
          () => written++,
          () => setTimeout(50),
        )
        if (id % 10 === 0) await current`update docs set n = n + 1 where id <= 20`.catch(() => {})
        if (id % 15 === 0) await current`delete from docs where id = ${id - 12}`.catch(() => {})
      }
    })()
    await setTimeout(1_500)
    // The copy is older than what we have acknowledged since.
    const before = written
    await failOver()
    await setTimeout(3_000)
    writing = false
    await load
    expect(before).toBeGreaterThan(50)
    expect(written).toBeGreaterThan(before + 50)
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(resyncs(after)).toBe(0)
    expect((await current`select failover, active from pg_replication_slots where slot_name = 'rockpool'`)[0]).toEqual({
      failover: true,
      active: true,
    })
  })

  test('without a transaction that we have: that is noticed, and everything is compared', async () => {
    await copySlot()
    await docs.exact()
    await standby.pause()
    await current`insert into docs values (5000, 1)`
    await current`delete from docs where id = 7`
    // Clients have what no database has any more.
    await docs.exact()
    await primary.kill9()
    await standby.resume()
    await failOver()
    // More WAL than was lost, so that the ends of the two say nothing.
    for (let id = 6_000; id < 6_050; id++) await current`insert into docs values (${id})`
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(resyncs(after)).toBe(1)
    expect((await docs.held()).some(({ id }) => id === '5000')).toBe(false)
    expect((await docs.held()).some(({ id }) => id === '7')).toBe(true)
  })
})

test('while a standby that must confirm is away rows wait, which is reported, and they arrive when it is back', async () => {
  await current`alter system set synchronized_standby_slots = ${current.unsafe(`'${STANDBY_SLOT}'`)}`
  await current`select pg_reload_conf()`
  const { about, close } = await judgeDatabase(primary.url, {})
  await close()
  expect(about.filter((line) => line.startsWith('failover: '))).toEqual([
    expect.stringMatching(/sync_replication_slots = on/),
  ])
  await standby.pause()
  await current`insert into docs values (2000)`
  // A session measures once a minute; who asks for a look is told at once.
  const looked = () => statusOf(docs.edge.url, docs.secret, '/admin/status')
  await until('the wait to be told', async () => (await looked()).slot?.awaitedStandbys === STANDBY_SLOT, 60, looked)
  expect((await docs.status()).error).toBeNull()
  await standby.resume()
  await docs.exact()
  expect(resyncs(await docs.status())).toBe(0)
})
