import { expect, test } from 'vitest'
import { migrate, type Database } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { attemptOf } from '../session/attempts.ts'
import { Batch } from '../ingest/batch.ts'
import { Buckets } from './buckets.ts'
import { Outbox } from './outbox.ts'
import { RowStates } from './row-state.ts'
import { MIGRATIONS, StateStore, type Decode } from './storage.ts'
import { Tables } from './tables.ts'

const position = (n: number): Decode => ({ counter: n, position: { lsn: `0/${n}`, xid: n, time: '' }, partial: null })
const append = (id: number) => new Map([[1, { first: id, last: id, count: 1, checksum: id, texts: [`op${id}`] }]])

/** What an object that starts now finds. */
function decodeOf(db: Database): Decode {
  const state = new StateStore(db)
  const stored = new Outbox(db, state.get('commit').batch).newest()?.decode
  if (stored) state.restoreDecode(stored)
  return state.get('decode')
}

test('I6: the newest decode state is found wherever it was stored, after a crash at any point', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const state = new StateStore(db)
  const outbox = new Outbox(db, 0)
  const batch = (n: number) =>
    outbox.add({ last: n, final: true, plan: null, decode: state.advance(position(n)), appends: append(n) })
  expect(decodeOf(db)).toEqual({ counter: 0, position: null, partial: null })
  const first = batch(1)
  expect(decodeOf(db)).toEqual(position(1))
  const second = batch(2)
  expect(decodeOf(db)).toEqual(position(2))
  // A batch without ops behind batches that are still in the outbox.
  state.set('decode', position(3))
  expect(decodeOf(db)).toEqual(position(3))
  state.set('commit', { committed: 1, plan: null, named: null, batch: first.id, hold: null, published: null })
  outbox.drop(first.id)
  expect(decodeOf(db)).toEqual(position(3))
  batch(4)
  expect(decodeOf(db)).toEqual(position(4))
  // The database became another one: the position goes back, and so does what is found.
  state.set('decode', { counter: 4, position: null, partial: null })
  expect(decodeOf(db)).toEqual({ counter: 4, position: null, partial: null })
  state.set('commit', {
    committed: 4,
    plan: 'p',
    named: { previous: 1, parts: ['x'] },
    batch: second.id + 1,
    hold: null,
    published: null,
  })
  outbox.drop(second.id + 1)
  expect(decodeOf(db)).toEqual({ counter: 4, position: null, partial: null })
  const last = batch(5)
  state.set('commit', { committed: 5, plan: 'p', named: null, batch: last.id, hold: null, published: null })
  outbox.drop(last.id)
  expect(decodeOf(db)).toEqual(position(5))
  expect(new StateStore(db).get('commit')).toEqual({
    committed: 5,
    plan: 'p',
    named: null,
    batch: last.id,
    hold: null,
    published: null,
  })
})

test('storage from before the decode state was stored with outbox and commit is read', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS.slice(0, 1))
  db.run('INSERT INTO state VALUES (?, ?)', 'decode', JSON.stringify(position(7)))
  db.run('INSERT INTO state VALUES (?, ?)', 'commit', JSON.stringify({ committed: 6, plan: 'p' }))
  db.run('INSERT INTO state VALUES (?, ?)', 'notice', JSON.stringify({ previous: 5, parts: [] }))
  db.run(
    'INSERT INTO outbox VALUES (?, ?, ?)',
    3,
    0,
    `${JSON.stringify({ last: 7, final: true, plan: 'p', appends: [] })}\n`,
  )
  migrate(db, MIGRATIONS)
  expect(decodeOf(db)).toEqual(position(7))
  expect(new StateStore(db).get('commit')).toEqual({
    committed: 6,
    plan: 'p',
    named: null,
    batch: 0,
    hold: null,
    published: null,
  })
  expect(new Outbox(db, 0).open).toEqual({ first: 3, last: 3 })
  expect(new Outbox(db, 0).read(3)).toMatchObject({ id: 3, last: 7, plan: 'p' })
})

test('no statement on the way of a change scans a table', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const statements = new Set<string>()
  const recorded: Database = {
    all: (sql, ...params) => (statements.add(sql), db.all(sql, ...params)),
    run: (sql, ...params) => (statements.add(sql), db.run(sql, ...params)),
    transaction: (work) => db.transaction(work),
  }
  const state = new StateStore(recorded)
  const rows = new RowStates(recorded)
  const buckets = new Buckets(recorded)
  const tables = new Tables(recorded)
  const outbox = new Outbox(recorded, 0)
  const table = { number: 1, schema: 'public', name: 'items' }
  // What happens once, when an object starts, may look at everything.
  statements.clear()
  for (let n = 1; n <= 3; n++) {
    const batch = new Batch(state.get('decode').counter, {
      evaluate: (_table, row) => ({
        rows: [
          {
            bucket: `b${String(row.group)}`,
            definition: 'd',
            objectType: 'items',
            objectId: '1',
            data: JSON.stringify(row),
          },
        ],
        errors: [],
      }),
      states: ({ number, name }, keys) => rows.all(number, keys, name),
      number: (bucket, definition) => buckets.number(bucket, definition),
      skipped: () => {},
    })
    batch.load(table, ['["1"]', '["2"]'])
    if (n < 3) batch.upsert(table, '["1"]', { id: '1', group: String(n) }, null)
    else batch.remove(table, '["1"]')
    batch.deliver('u', 'c', BigInt(n))
    recorded.transaction(() => {
      rows.put(batch.rows.values())
      buckets.save()
      tables.setIncomplete(1, '["1"]', n < 3)
      tables.setIncomplete(1, '["2"]', n === 3)
      const decode = state.advance({ ...position(n), counter: batch.counter })
      outbox.add({ last: batch.counter, final: true, plan: null, decode, appends: batch.appends })
    })
    state.set('commit', { committed: batch.counter, plan: null, named: null, batch: n, hold: null, published: null })
    outbox.drop(n)
  }
  expect(buckets.name(1)).toBe('b1')
  expect(new Buckets(db).name(1)).toBe('b1')
  rows.keys(1, '', 10)
  rows.any(1)
  expect(statements.size).toBeGreaterThan(12)
  for (const sql of statements) expect(`${sql}: ${db.plan(sql)}`).not.toMatch(/SCAN/)
  // The check can fail.
  expect(db.plan('SELECT count(*) FROM outbox_slots WHERE body = ?')).toMatch(/SCAN/)
})

test('names of buckets have a seed of 64 bits; a storage with a shorter one keeps it', () => {
  const made = () => {
    const db = testDatabase()
    migrate(db, MIGRATIONS)
    return db
  }
  const [db, older] = [made(), made()]
  const state = new StateStore(db)
  expect(state.seed()).toMatch(/^[0-9a-f]{16}$/)
  expect(new StateStore(db).seed()).toBe(state.seed())
  older.run('INSERT INTO state VALUES (?, ?)', 'id', '"0123456789ab"')
  expect(new StateStore(older).seed()).toBe('012345')
})

test('the last notice of a version with hashes is not sent, and that version does not send ours', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const named = { previous: 1, parts: ['x'] }
  db.run(
    'INSERT INTO state VALUES (?, ?)',
    'commit',
    JSON.stringify({ committed: 2, plan: 'p', batch: 1, notice: named }),
  )
  const state = new StateStore(db)
  expect(state.get('commit')).toEqual({ committed: 2, plan: 'p', batch: 1, named: null, hold: null, published: null })
  state.set('commit', { committed: 3, plan: 'p', hold: null, batch: 2, named, published: null })
  expect(JSON.parse(String(db.all("SELECT value FROM state WHERE key = 'commit'")[0]?.value))).not.toHaveProperty(
    'notice',
  )
})

test('writes of an older release are recognised by the forms of its session and commit, until both are stored again', () => {
  const db = testDatabase()
  const stored = (key: string, value: unknown) => {
    db.run(
      'INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      key,
      JSON.stringify(value),
    )
    return new StateStore(db).ofOlder
  }
  expect(migrate(db, MIGRATIONS)).toBe(0)
  expect(migrate(db, MIGRATIONS)).toBe(MIGRATIONS.length)
  expect(new StateStore(db).ofOlder).toBe(false)
  expect([true, false, null, attemptOf(true)].map((each) => stored('running', each))).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect(stored('commit', { committed: 2, plan: 'p', batch: 1, notice: null })).toBe(true)
  expect(stored('running', false)).toBe(true)
  const state = new StateStore(db)
  for (const key of ['commit', 'running'] as const) state.set(key, state.get(key))
  expect(new StateStore(db).ofOlder).toBe(false)
})
