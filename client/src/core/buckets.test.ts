import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { expect, test } from 'vitest'
import type { WireOp } from '../../../protocol/ops.ts'
import { wrap } from '../browser/wasm-sqlite.ts'
import { applyCheckpoint, receive } from './buckets.ts'
import { applySchema } from './schema.ts'
import { migrate } from './storage.ts'

const schema = { tables: { todos: { columns: { title: 'text' } } } } as const

/** Steps of SQLite's machine that applying so many ops of one row takes. */
async function steps(ops: number): Promise<number> {
  const sqlite3 = await sqlite3InitModule()
  const database = new sqlite3.oo1.DB(':memory:')
  const db = wrap(sqlite3, database)
  migrate(db)
  applySchema(db, schema)
  const line: WireOp[] = Array.from({ length: ops }, (_, n) => ({
    op_id: String(n + 1),
    op: 'PUT',
    object_type: 'todos',
    object_id: 'hot',
    subkey: 'x',
    data: JSON.stringify({ title: `title ${n + 1}` }),
    checksum: 1,
  }))
  receive(db, 'b', line)
  let counted = 0
  sqlite3.capi.sqlite3_progress_handler(database, 10, () => (counted++, 0), 0)
  const target = {
    lastOp: ops,
    writeCheckpoint: null,
    buckets: new Map([['b', { checksum: ops, count: ops, priority: 3 }]]),
  }
  expect(applyCheckpoint(db, schema, target, null)).toMatchObject({ ok: true })
  expect(db.all('SELECT title FROM todos')).toEqual([{ title: `title ${ops}` }])
  expect(db.all('SELECT op_id FROM rp_ops')).toEqual([{ op_id: ops }])
  db.close()
  return counted
}

test('a row that changed often costs as much as as many rows, not the square of it', async () => {
  const [few, many] = [await steps(500), await steps(4_000)]
  expect(few).toBeGreaterThan(100)
  expect(many).toBeLessThan(few * 8 * 1.5)
})
