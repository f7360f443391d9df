import { readFileSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Random } from '../../../../test/support/random.ts'
import { temporaryDirectory } from '../../../../test/support/support.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import { get, openLayout } from '../store/layout.ts'
import { beginWrite, endWrite } from '../store/local.ts'
import { applySchema } from '../store/schema.ts'
import type { StoredTable } from '../store/tables.ts'
import { storeAnswer } from './decide.ts'
import { failedTransactions } from './failed.ts'
import { clientId, nextRequest } from './request.ts'
import { restore, salvage } from './salvage.ts'

const WRITES = 60
const DAMAGES = Number(process.env.ROCKPOOL_DAMAGES ?? 30)
const PAGE = 1_024

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
beforeEach(async () => void (directory = await temporaryDirectory(true)))
afterEach(() => directory.remove())

function open(path: string): { db: Sqlite; tables: Map<string, StoredTable> } {
  const file = new DatabaseSync(path)
  file.exec(`PRAGMA page_size = ${PAGE}; PRAGMA temp_store = MEMORY; PRAGMA synchronous = OFF`)
  const db = nodeSqlite(file)
  openLayout(db)
  return { db, tables: applySchema(db, { tables: { notes: { columns: { body: 'text', n: 'integer' } } } }) }
}

/**
 * Each write has a row of its own, but for every tenth, which changes the row before it. Answers what each transaction
 * sends.
 */
function filled(path: string): Map<string, string> {
  const { db, tables } = open(path)
  clientId(db)
  for (let n = 0; n < WRITES; n++) {
    db.transaction(() => {
      const seq = beginWrite(db, `t${n}`, n + 1)
      if (n % 10 === 9) db.prepare('UPDATE notes SET n = n + 1 WHERE id = ?').run([`r${n - 1}`])
      else
        db.prepare('INSERT INTO notes VALUES (?, ?, ?)').run([`r${n}`, 'x'.repeat((n * 37) % 400), 9007199254740993n])
      endWrite(db, seq)
    })
  }
  nextRequest(db, { limit: 5, hello: false })
  const verdicts = [
    { id: 't0', result: 'accepted' as const },
    { id: 't1', result: 'rejected' as const, code: 'no', message: 'no', field: null },
  ]
  storeAnswer(db, tables, { kind: 'decided', verdicts, writeCheckpoint: 7, reopen: [] }, '{}', 1)
  const sent = sends(db)
  db.close()
  return sent
}

/** What waits, by id. */
function sends(db: Sqlite): Map<string, string> {
  const rows = db.prepare("SELECT id, seq FROM rp_tx WHERE state <> 'accepted'").all()
  return new Map(
    rows.map(([id, seq]) => [
      String(id),
      JSON.stringify(
        db.prepare('SELECT op, row_id, data, old FROM rp_outbox WHERE tx = ? ORDER BY seq').all([seq ?? null]),
        (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
      ),
    ]),
  )
}

/** Opens the damaged file, as far as it can be, and begins a new one with what is in it. */
function recovered(
  path: string,
  name: string,
): { db: Sqlite; sent: Map<string, string>; result: ReturnType<typeof restore> } {
  const damaged = nodeSqlite(new DatabaseSync(path, { readOnly: true }))
  // It goes through a file of its own.
  const found: ReturnType<typeof salvage> = JSON.parse(JSON.stringify(salvage(damaged)))
  damaged.close()
  const { db, tables } = open(`${directory.path}/${name}`)
  const result = restore(db, tables, found, 9)
  return { db, sent: sends(db), result }
}

test('of a whole file everything is found: queue, failed writes, the name of the client', () => {
  const path = `${directory.path}/whole.db`
  const sent = filled(path)
  const { db, sent: found, result } = recovered(path, 'new.db')
  expect(found).toEqual(sent)
  expect(result).toEqual({ unsent: sent.size, damaged: 0 })
  expect(failedTransactions(db)).toMatchObject([{ id: 't1', code: 'no' }])
  const old = open(path)
  expect([get(db, 'client_id'), db.prepare("SELECT target FROM rp_tx WHERE state = 'accepted'").all()]).toEqual([
    get(old.db, 'client_id'),
    [[7]],
  ])
  // Numbers go on: the server has seen those up to here.
  expect(JSON.parse(nextRequest(db, { limit: 1, hello: false })?.body ?? '')).toMatchObject({
    answered: 2,
    transactions: [{ id: 't2', seq: 3 }],
  })
  expect(db.prepare('SELECT count(*) FROM notes').all()).toEqual(old.db.prepare('SELECT count(*) FROM notes').all())
  for (const each of [db, old.db]) each.close()
})

test(`${DAMAGES} damaged files: what waits is as it was, and what is missing is among the failed or its pages are gone`, () => {
  const path = `${directory.path}/whole.db`
  const sent = filled(path)
  const bytes = readFileSync(path)
  const random = new Random(1)
  let whole = 0
  let partly = 0
  for (let n = 0; n < DAMAGES; n++) {
    const copy = new Uint8Array(bytes)
    const pages = copy.length / PAGE
    for (let m = random.int(3); m >= 0; m--) {
      // Not the first page: without it there is no database at all.
      const page = 1 + random.int(pages - 1)
      const from = page * PAGE + random.int(PAGE)
      const length = random.pick([1, 4, 100, PAGE])
      for (let at = from; at < Math.min(copy.length, from + length); at++)
        copy[at] = random.chance(0.5) ? 0 : random.int(256)
    }
    const damaged = `${directory.path}/damaged.db`
    writeFileSync(damaged, copy)
    const { db, sent: found, result } = recovered(damaged, `new-${n}.db`)
    for (const [id, ops] of found) {
      if (ops !== sent.get(id)) throw new Error(`damage ${n}: ${id} would be sent as ${ops} and not as ${sent.get(id)}`)
    }
    expect(result.unsent).toBe(found.size)
    if (found.size === sent.size) whole++
    else partly++
    // What builds on a damaged one does not go alone.
    const rows = new Set(
      failedTransactions(db).flatMap(({ code, ops }) => (code === 'damaged' ? ops.map(({ id }) => id) : [])),
    )
    for (const [id, ops] of found) {
      if (Number(id.slice(1)) % 10 !== 9) continue
      const [first]: [string, string][] = JSON.parse(ops)
      expect([id, rows.has(first?.[1] ?? '')]).toEqual([id, false])
    }
    db.close()
  }
  expect(whole).toBeGreaterThan(5)
  expect(partly).toBeGreaterThan(5)
})

test('without the name of the client, what may have been sent is not sent again unasked', () => {
  const path = `${directory.path}/whole.db`
  const sent = filled(path)
  const { db } = open(path)
  db.exec("DELETE FROM rp_kv WHERE key = 'client_id'")
  db.close()
  const { db: next, sent: found, result } = recovered(path, 'new.db')
  const failed = failedTransactions(next).filter(({ code }) => code === 'damaged')
  expect(failed.map(({ id }) => id)).toEqual(['t2', 't3', 't4'])
  expect(result).toEqual({ unsent: sent.size - 3, damaged: 3 })
  expect(found.size).toBe(sent.size - 3)
  next.close()
})

test('a transaction of which an op is missing, or has changed, is not sent', () => {
  const path = `${directory.path}/whole.db`
  filled(path)
  const { db } = open(path)
  db.exec(`UPDATE rp_outbox SET data = replace(data, '9007199254740993', '9007199254740992') WHERE row_id = 'r20';
    DELETE FROM rp_outbox WHERE row_id = 'r30'; DELETE FROM rp_tx WHERE id = 't40'; UPDATE rp_tx SET id = 'other' WHERE id = 't50'`)
  db.close()
  const { db: next, sent } = recovered(path, 'new.db')
  for (const id of ['t20', 't30', 't40', 't50', 'other']) expect(sent.has(id)).toBe(false)
  expect(failedTransactions(next).filter(({ code }) => code === 'damaged').length).toBe(4)
  next.close()
})
