import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { expect, test, vi } from 'vitest'
import { everyNameIsATenant } from '../../test/support/tenant.ts'
import { Replicator } from '../replicator/replicator.ts'
import { page, put, Replica } from './test-ops.ts'
import type { Bucket } from './bucket.ts'

everyNameIsATenant({})

type Stub = DurableObjectStub<Bucket>

const row = (id: string, n: number) => put(id, JSON.stringify({ id, n, text: 'x'.repeat(100) }))

/** One-row appends, each with the one before it committed, as a quiet tenant sends them. */
async function change(bucket: Stub, from: number, to: number, rows: number): Promise<void> {
  for (let id = from; id <= to; id++)
    await bucket.append({ v: 1, committed: id - 1, ...page(id, row(`r${id % rows}`, id)) })
}

const counted = (bucket: Stub) =>
  runInDurableObject(bucket, async (_instance, state) => ({
    alarm: await state.storage.getAlarm(),
    pages: Number(state.storage.sql.exec('SELECT count(*) AS n FROM pages').one().n),
    bytes: Number(state.storage.sql.exec('SELECT sum(bytes) AS n FROM pages').one().n),
    header: state.storage.sql.exec('SELECT progress, removed_ops FROM header').toArray(),
  }))

/** Rows that statements of the object write from now on, and those that they read. */
async function accounting(bucket: Stub): Promise<() => { written: number; read: number }> {
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = []
  await runInDurableObject(bucket, (_instance, state) => {
    const { sql } = state.storage
    const exec = sql.exec.bind(sql)
    sql.exec = ((query: string, ...params: unknown[]) => {
      const cursor = exec(query, ...params)
      cursors.push(cursor)
      return cursor
    }) as typeof sql.exec
  })
  return () => ({
    written: cursors.reduce((n, c) => n + c.rowsWritten, 0),
    read: cursors.reduce((n, c) => n + c.rowsRead, 0),
  })
}

async function replica(bucket: Stub, checkpoint: number): Promise<Replica> {
  const client = new Replica()
  for (let after = 0; ;) {
    const answer = await bucket.read({ v: 1, after, checkpoint, budget: 200_000 })
    if (answer.kind !== 'ops') throw new Error(answer.kind)
    client.apply(answer.body, checkpoint)
    after = answer.last
    if (!answer.more) break
  }
  return client
}

test('when enough has come an alarm is set once, and compacts: all in all less than 1.03 rows written for each change', async () => {
  const bucket = env.BUCKET.getByName('default/changes')
  await change(bucket, 1, 1, 10)
  const rows = await accounting(bucket)
  const changes = 3_000
  let alarms = 0
  for (let id = 2; id <= changes + 1; id += 100) {
    await change(bucket, id, id + 99, 10)
    // The alarm is a minute away; a test does not wait for it.
    if (await runDurableObjectAlarm(bucket)) alarms++
  }
  expect(alarms).toBeGreaterThan(1)
  const { written } = rows()
  expect(written + alarms).toBeLessThan(changes * 1.03)
  const last = changes + 1
  const client = await replica(bucket, last)
  expect([...client.rows.values()].map((data) => (JSON.parse(data) as { n: number }).n).sort()).toEqual(
    Array.from({ length: 10 }, (_, i) => last - i).sort(),
  )
  expect(await bucket.state({ v: 1, checkpoint: last })).toMatchObject({ kind: 'state', checksum: client.checksum })
  // What is left is about what came since the last run, and not all 0.7 MB.
  expect((await counted(bucket)).bytes).toBeLessThan(600_000)
})

const DAY = 24 * 60 * 60 * 1_000

test('nothing is armed for a bucket of little in which nothing is superseded', async () => {
  const bucket = env.BUCKET.getByName('default/little')
  await change(bucket, 1, 20, 21)
  expect(await counted(bucket)).toMatchObject({ alarm: null, header: [] })
})

test('what is superseded goes after a day, also where little came: six rows written for all of it', async () => {
  const bucket = env.BUCKET.getByName('quiet/bucket')
  await change(bucket, 1, 1, 3)
  const rows = await accounting(bucket)
  await bucket.append({ v: 1, committed: 1, ...page(2, row('secret', 2)) })
  await bucket.append({ v: 1, committed: 2, ...page(3, row('secret', 3)) })
  const { alarm } = await counted(bucket)
  expect(alarm).toBeGreaterThan(Date.now() + DAY - 60_000)
  expect(alarm).toBeLessThan(Date.now() + 1.1 * DAY)
  await bucket.append({ v: 1, committed: 3, ...page(4, row('secret', 4)) })
  // Three pages, and the note; the alarm is another one.
  expect(rows().written).toBe(3 + 1)
  const replicator = env.REPLICATOR.getByName('quiet')
  await runInDurableObject(replicator, (_instance, state) => {
    state.storage.sql.exec(
      `INSERT OR REPLACE INTO state VALUES ('commit', '{"committed":4,"plan":null,"notice":null,"batch":0}')`,
    )
  })
  await evictDurableObject(replicator)
  // For another reason, and too early.
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  expect((await counted(bucket)).alarm).toBe(alarm)
  await runInDurableObject(bucket, (_instance, state) => {
    state.storage.sql.exec('UPDATE history SET since = since - ?', 1.2 * DAY)
  })
  await evictDurableObject(bucket)
  const later = await accounting(bucket)
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  // The page; what a compaction has to keep, as it begins and when it is over; and what is clean now.
  expect(later().written).toBe(1 + 1 + 1 + 1)
  expect((await counted(bucket)).alarm).toBe(null)
  const bodies = await runInDurableObject(bucket, (_instance, state) =>
    state.storage.sql.exec('SELECT body FROM pages').toArray(),
  )
  const texts = JSON.stringify(bodies)
  expect(texts.match(/MOVE/g)).toHaveLength(2)
  expect(texts.match(/secret/g)).not.toBeNull()
  expect(texts).not.toMatch(/n\\+":[23],/)
})

test('where the replicator does not say what is committed, what is superseded is due once more a day later', async () => {
  const bucket = env.BUCKET.getByName('silent/bucket')
  await bucket.append({ v: 1, committed: 0, ...page(1, row('secret', 1)) })
  await bucket.append({ v: 1, committed: 0, ...page(2, row('secret', 2)) })
  await runInDurableObject(bucket, (_instance, state) => {
    state.storage.sql.exec('UPDATE history SET since = since - ?', 1.2 * DAY)
  })
  await evictDurableObject(bucket)
  const silent = vi.spyOn(Replicator.prototype, 'committed').mockRejectedValue(new Error('it is not there'))
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  expect(silent).toHaveBeenCalledTimes(1)
  silent.mockRestore()
  expect((await counted(bucket)).alarm).toBeGreaterThan(Date.now() + DAY / 2)
  expect((await replica(bucket, 2)).rows.size).toBe(1)
})

test('evicted in the middle of a run, it goes on with the next alarm, and reads and appends go on meanwhile', async () => {
  const bucket = env.BUCKET.getByName('default/evicted')
  // 3 MB in large appends of large rows that supersede each other.
  let id = 0
  const append = async () => {
    const ops = Array.from({ length: 20 }, (_, i) => put(`r${i}`, JSON.stringify({ n: id, x: 'x'.repeat(10_000) })))
    await bucket.append({ v: 1, committed: id, ...page(id + 1, ...ops) })
    id += 20
  }
  for (let n = 0; n < 15; n++) await append()
  const before = await counted(bucket)
  expect(before.alarm).not.toBeNull()
  // Some steps of the alarm's run, and then it is gone before it said how far it was.
  await runInDurableObject(bucket, (instance) => {
    const { log } = instance
    for (let n = 0; n < 2; n++) expect(log.compact()).not.toBeNull()
  })
  const middle = await counted(bucket)
  expect(middle.bytes).toBeLessThan(before.bytes)
  expect(middle.header[0]?.progress).not.toBeNull()
  await evictDurableObject(bucket)
  await append()
  const client = await replica(bucket, id)
  expect(client.rows.size).toBe(20)
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  const after = await counted(bucket)
  // Rows, the newest page, and the page of the limit; everything else is one CLEAR.
  expect(after.bytes).toBeLessThan(1_000_000)
  expect(after.header[0]).toMatchObject({ progress: null })
  const again = await replica(bucket, id)
  expect(again.content).toBe(client.content)
  expect(again.checksum).toBe(client.checksum)
  expect(await bucket.state({ v: 1, checkpoint: id })).toMatchObject({ checksum: client.checksum })
})

test('a step reads the pages that it rewrites and a few rows beside them, however many pages there are', async () => {
  const bucket = env.BUCKET.getByName('default/reads')
  for (let n = 0; n < 300; n++) {
    const ops = Array.from({ length: 4 }, (_, i) => put(`r${n}-${i}`, JSON.stringify({ x: 'x'.repeat(5_000) })))
    await bucket.append({ v: 1, committed: n * 4, ...page(n * 4 + 1, ...ops) })
  }
  const rows = await accounting(bucket)
  await runInDurableObject(bucket, (instance) => {
    // 12 pages of 20 kB, and the next one, which does not fit.
    expect(instance.log.compact()).toBeGreaterThan(200_000)
  })
  const { read, written } = rows()
  expect(written).toBe(12 + 1)
  expect(read).toBeLessThan(60)
})

test('a removed bucket bills next to nothing and keeps a tombstone', async () => {
  const bucket = env.BUCKET.getByName('default/removed')
  await change(bucket, 1, 400, 400)
  const rows = await accounting(bucket)
  await bucket.remove({ v: 1, serial: 400 })
  expect(rows().written).toBeLessThan(5)
  expect(await bucket.state({ v: 1, checkpoint: 400 })).toEqual({ kind: 'gone' })
  await evictDurableObject(bucket)
  expect(await bucket.read({ v: 1, after: 0, checkpoint: 400, budget: 100 })).toEqual({ kind: 'gone' })
})

test('ops of which no append said that they are committed: the replicator is asked, and only when it is worth it', async () => {
  const bucket = env.BUCKET.getByName('asked/backlog')
  // One row again and again, all of it in one long checkpoint.
  for (let id = 1; id <= 100; id++)
    await bucket.append({ v: 1, committed: 0, ...page(id, put('r', JSON.stringify({ id, x: 'x'.repeat(20_000) }))) })
  const replicator = env.REPLICATOR.getByName('asked')
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  const uncommitted = await counted(bucket)
  expect(uncommitted).toMatchObject({ pages: 100 })
  expect(uncommitted.alarm).toBeGreaterThan(Date.now() + DAY / 2)
  await runInDurableObject(replicator, (_instance, state) => {
    state.storage.sql.exec(
      `INSERT OR REPLACE INTO state VALUES ('commit', '{"committed":100,"plan":null,"notice":null,"batch":0}')`,
    )
  })
  await evictDurableObject(replicator)
  await evictDurableObject(bucket)
  await bucket.append({ v: 1, committed: 0, ...page(101, put('r', JSON.stringify({ id: 101 }))) })
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  // The next alarm is at once, and may have been by itself.
  await expect
    .poll(async () => {
      await runDurableObjectAlarm(bucket)
      const { alarm, bytes } = await counted(bucket)
      return (alarm === null || alarm > Date.now() + DAY / 2) && bytes < 100_000
    })
    .toBe(true)
  expect((await replica(bucket, 101)).rows.size).toBe(1)
})
