import { abortAllDurableObjects, env, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { addChecksums } from '../../protocol/checksum.ts'
import { putChecksum } from '../../protocol/op-checksum.ts'
import { opText } from '../../protocol/op-text.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { SingleTenant } from '../../tenants/single.ts'
import type { Bucket } from './bucket.ts'

function page(first: number, count: number, data: string) {
  let checksum = 0
  const texts = Array.from({ length: count }, (_, i) => {
    const op = {
      op: 'PUT' as const,
      objectType: 't',
      objectId: `r${i}`,
      subkey: 's',
      checksum: putChecksum('t', `r${i}`, data),
      data,
    }
    checksum = addChecksums(checksum, op.checksum)
    return opText(first + i, op)
  })
  return { v: 1, first, last: first + count - 1, count, checksum, body: texts.join(','), committed: 0 }
}

test('asking an object that holds nothing creates neither a table nor an alarm', async () => {
  const bucket = env.BUCKET.getByName('default/nothing')
  expect(await bucket.state({ v: 1, checkpoint: 7 })).toEqual({ kind: 'state', count: 0, checksum: 0, last: 0 })
  expect(await bucket.read({ v: 1, after: 0, checkpoint: 7, budget: 100 })).toEqual({
    kind: 'ops',
    body: '',
    count: 0,
    last: 0,
    more: false,
  })
  expect(await bucket.rows({ v: 1, checkpoint: 7 })).toEqual({ kind: 'rows', rows: [] })
  const left = await runInDurableObject(bucket, async (_instance, state) => ({
    tables: state.storage.sql.exec('SELECT name FROM sqlite_master').toArray(),
    alarm: await state.storage.getAlarm(),
  }))
  expect(left).toEqual({ tables: [], alarm: null })
})

test('ops survive eviction and abort; an append that comes again is answered as before', async () => {
  const bucket = env.BUCKET.getByName('default/kept')
  const first = page(1, 3, '{"n":1}')
  const answer = await bucket.append(first)
  expect(answer).toEqual({ count: 3, checksum: first.checksum, last: 3 })
  await evictDurableObject(bucket)
  expect(await bucket.append(first)).toEqual(answer)
  const second = page(10, 2, '{"n":2}')
  const after = await bucket.append(second)
  await abortAllDurableObjects()
  const again = env.BUCKET.getByName('default/kept')
  expect(await again.append(first)).toEqual(answer)
  expect(await again.state({ v: 1, checkpoint: 11 })).toEqual({ kind: 'state', ...after })
  expect(await again.read({ v: 1, after: 2, checkpoint: 10, budget: 10_000 })).toMatchObject({
    count: 2,
    last: 10,
    more: false,
  })
  expect(await again.rows({ v: 1, checkpoint: 11 })).toEqual({ kind: 'rows', rows: ['{"n":2}', '{"n":2}', '{"n":1}'] })
})

test('an append of a page bills one row written; state at the head and a current read bill a row read or two', async () => {
  const bucket = env.BUCKET.getByName('default/billed')
  for (let n = 0; n < 50; n++) await bucket.append(page(1 + n * 10, 10, `{"n":${n}}`))
  const billed = await runInDurableObject(bucket, async (instance, state) => {
    const { sql } = state.storage
    const exec = sql.exec.bind(sql)
    const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = []
    sql.exec = ((query: string, ...params: unknown[]) => {
      const cursor = exec(query, ...params)
      cursors.push(cursor)
      return cursor
    }) as typeof sql.exec
    const count = async (work: () => Promise<unknown>) => {
      cursors.length = 0
      await work()
      return {
        read: cursors.reduce((n, c) => n + c.rowsRead, 0),
        written: cursors.reduce((n, c) => n + c.rowsWritten, 0),
      }
    }
    return {
      append: await count(() => instance.append(page(1_000, 10, '{}'))),
      state: await count(() => instance.state({ v: 1, checkpoint: 2_000 })),
      older: await count(() => instance.state({ v: 1, checkpoint: 255 })),
      read: await count(() => instance.read({ v: 1, after: 500, checkpoint: 2_000, budget: 1_000_000 })),
    }
  })
  expect(billed.append.written).toBe(1)
  expect(billed.state).toEqual({ read: 0, written: 0 })
  expect(billed.older.read).toBeLessThanOrEqual(4)
  expect(billed.read.read).toBeLessThanOrEqual(2)
})

test('a page beyond what a stored value takes is kept in several, and read back exactly', async () => {
  const bucket = env.BUCKET.getByName('default/large')
  const large = page(1, 12, JSON.stringify({ text: '水'.repeat(300_000) }))
  expect(await bucket.append(large)).toEqual({ count: 12, checksum: large.checksum, last: 12 })
  const bodies: string[] = []
  for (let after = 0; ;) {
    const answer = await bucket.read({ v: 1, after, checkpoint: 12, budget: 1_000_000 })
    if (answer.kind !== 'ops') throw new Error(answer.kind)
    bodies.push(answer.body)
    after = answer.last
    if (!answer.more) break
  }
  expect(bodies.length).toBeGreaterThan(1)
  expect(bodies.join(',') === large.body).toBe(true)
})

test('a message of an unknown version is refused', async () => {
  const bucket = env.BUCKET.getByName('default/version')
  const error = await bucket.state({ v: 99, checkpoint: 1 }).catch((reason: unknown) => String(reason))
  expect(error).toContain('version 99')
})

test('an op appended while the bucket is being erased is not lost', async () => {
  const bucket = env.BUCKET.getByName('default/erased-meanwhile')
  await bucket.append(page(1, 1, '{"n":1}'))
  // Two calls of one turn of the object: it has looked at its log for the first when the second writes.
  const appended = await runInDurableObject(bucket, async (instance: Bucket) => {
    const both = await Promise.all([instance.erase({ v: 1, upTo: 1 }), instance.append(page(7, 1, '{"n":7}'))])
    return both[1]
  })
  const answer = await bucket.rows({ v: 1, checkpoint: 9 })
  expect(answer.kind === 'rows' ? answer.rows.at(-1) : answer).toBe('{"n":7}')
  expect(await bucket.state({ v: 1, checkpoint: 9 })).toEqual({ kind: 'state', ...appended })
})

test('one that is erased is as one that was never written to, in memory and in storage; newer ops keep it', async () => {
  const bucket = env.BUCKET.getByName('default/erased')
  const removed = { op: 'REMOVE' as const, objectType: 't', objectId: 'r0', subkey: 's', checksum: 5, data: null }
  const first = page(1, 1, '{"n":1}')
  await bucket.append(first)
  expect(await bucket.idle({ v: 1, before: 9 })).toEqual({ kind: 'used' })
  await bucket.append({ v: 1, first: 2, last: 2, count: 1, checksum: 5, body: opText(2, removed), committed: 2 })
  expect(await bucket.idle({ v: 1, before: 1 })).toEqual({ kind: 'used' })
  expect(await bucket.idle({ v: 1, before: 2 })).toEqual({
    kind: 'empty',
    checksum: addChecksums(first.checksum, 5),
    last: 2,
  })
  expect(await bucket.erase({ v: 1, upTo: 1 })).toEqual({ erased: false })
  const left = () =>
    runInDurableObject(bucket, async (_instance, state) => ({
      tables: state.storage.sql
        .exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")
        .toArray(),
      alarm: await state.storage.getAlarm(),
    }))
  await runInDurableObject(bucket, (_instance, state) => state.storage.setAlarm(Date.now() + 1_000_000))
  expect(await bucket.erase({ v: 1, upTo: 2 })).toEqual({ erased: true })
  expect(await bucket.append(page(7, 1, '{"n":7}'))).toEqual({
    count: 1,
    checksum: page(7, 1, '{"n":7}').checksum,
    last: 7,
  })
  expect(await bucket.rows({ v: 1, checkpoint: 9 })).toEqual({ kind: 'rows', rows: ['{"n":7}'] })
  expect(await bucket.erase({ v: 1, upTo: 7 })).toEqual({ erased: true })
  expect(await left()).toEqual({ tables: [], alarm: null })
  expect(await bucket.state({ v: 1, checkpoint: 9 })).toEqual({ kind: 'state', count: 0, checksum: 0, last: 0 })
  // One that was removed says so until then.
  await bucket.append(page(11, 1, '{"n":11}'))
  await bucket.remove({ v: 1, serial: 11 })
  expect(await bucket.state({ v: 1, checkpoint: 12 })).toEqual({ kind: 'gone' })
  expect(await bucket.erase({ v: 1, upTo: 11 })).toEqual({ erased: true })
  expect(await left()).toEqual({ tables: [], alarm: null })
})

test('where a setting of compaction is wrong every call is refused by its name, and nothing is stored', async () => {
  const { find } = SingleTenant.prototype
  SingleTenant.prototype.find = async (name) => tenantOfBindings(name, { COMPACTION_BYTES: 'many' }, '')
  const bucket = env.BUCKET.getByName('default/wrong settings')
  const refused = /COMPACTION_BYTES: must be a whole number/
  await expect(
    bucket.append({ v: MESSAGE_VERSION, ops: '', count: 0, checksum: 0, first: 1, last: 1 } as never),
  ).rejects.toThrow(refused)
  await expect(bucket.state({ v: MESSAGE_VERSION, checkpoint: 1 })).rejects.toThrow(refused)
  SingleTenant.prototype.find = find
  expect(
    await env.BUCKET.getByName('default/wrong settings').state({ v: MESSAGE_VERSION, checkpoint: 1 }),
  ).toMatchObject({
    kind: 'state',
    count: 0,
  })
})
