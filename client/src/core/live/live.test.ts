import { DatabaseSync } from 'node:sqlite'
import { expect, test, vi } from 'vitest'
import { Random } from '../../../../test/support/random.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { ResultColumn, Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'
import { applyPatch, diff, hashesOf, type Patch, type RawRow } from './patch.ts'
import { LINGER_MS, LiveRegistry, type LiveListener } from './registry.ts'

// The file is long because a reference of live queries, which runs each in full, serves all of its tests.

/** `ROCKPOOL_LIVE_CASES=100000` runs for long. */
const CASES = Number(process.env.ROCKPOOL_LIVE_CASES ?? 4_000)
const SEED = Number(process.env.ROCKPOOL_LIVE_SEED ?? 1)

class View implements LiveListener {
  rows: RawRow[] = []
  columns: readonly ResultColumn[] = []
  patches = 0
  error: Error | null = null

  patch(patch: Patch, columns: readonly ResultColumn[] | null): void {
    this.rows = applyPatch(columns === null ? this.rows : [], patch, (row) => row)
    this.columns = columns ?? this.columns
    this.patches++
    this.error = null
  }

  failed(error: Error): void {
    this.error = error
  }
}

interface Setting {
  db: Sqlite
  registry: LiveRegistry
  run: { count: number }
}

function open(): Setting {
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  db.exec(`CREATE TABLE items (id TEXT PRIMARY KEY, list TEXT, title TEXT, n INTEGER); CREATE TABLE lists (id TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE other (a); CREATE INDEX items_list ON items (list, n)`)
  const run = { count: 0 }
  const registry = new LiveRegistry({
    prepare: (sql) => {
      run.count++
      return db.prepareForApplication(sql)
    },
    turn: async (work) => work(),
    later: (work, milliseconds) => {
      const timer = setTimeout(work, milliseconds)
      return () => clearTimeout(timer)
    },
  })
  return { db, registry, run }
}

const settled = (): Promise<void> => Promise.resolve()

test('the first rows come at once, and later only what has changed', async () => {
  const { db, registry } = open()
  db.exec("INSERT INTO items VALUES ('a', 'l', 'A', 1), ('b', 'l', 'B', 2), ('c', 'l', 'C', 3)")
  const view = new View()
  const patches: Patch[] = []
  registry.follow('SELECT id, title FROM items WHERE list = ? ORDER BY n', ['l'], {
    patch: (patch, columns) => {
      patches.push(patch)
      view.patch(patch, columns)
    },
    failed: () => {},
  })
  await settled()
  const before = view.rows
  db.exec("UPDATE items SET title = 'B2' WHERE id = 'b'")
  registry.changed(new Set(['items']))
  expect(patches[1]).toEqual([{ from: 0, count: 1 }, { rows: [['b', 'B2']] }, { from: 2, count: 1 }])
  expect([view.rows[0] === before[0], view.rows[2] === before[2]]).toEqual([true, true])
  db.exec("UPDATE items SET n = 0 WHERE id = 'c'")
  registry.changed(new Set(['items']))
  // A row that moves is not sent again.
  expect(patches[2]).toEqual([
    { from: 2, count: 1 },
    { from: 0, count: 2 },
  ])
  expect(view.rows).toEqual([
    ['c', 'C'],
    ['a', 'A'],
    ['b', 'B2'],
  ])
})

test('nothing is sent when nothing has changed, and nothing is run when no table of the query has', async () => {
  const { db, registry, run } = open()
  const view = new View()
  registry.follow('SELECT count(*) FROM items', [], view)
  await settled()
  expect(run.count).toBe(1)
  db.exec('INSERT INTO other VALUES (1)')
  registry.changed(new Set(['other']))
  expect(run.count).toBe(1)
  db.exec("INSERT INTO items (id) VALUES ('a')")
  registry.changed(new Set(['items']))
  db.exec("UPDATE items SET title = 'x'")
  registry.changed(new Set(['items', 'other']))
  expect([run.count, view.patches, view.rows]).toEqual([3, 2, [[1]]])
})

test('tables are found wherever a query reads them', async () => {
  const { db, registry } = open()
  db.exec('CREATE VIEW pairs AS SELECT items.id AS item, lists.name FROM items JOIN lists ON lists.id = items.list')
  const queries = [
    'SELECT (SELECT max(name) FROM lists) FROM items',
    'SELECT id FROM items WHERE EXISTS (SELECT 1 FROM lists WHERE lists.id = items.list)',
    'WITH x AS (SELECT id FROM lists) SELECT * FROM x UNION ALL SELECT id FROM items',
    'SELECT item FROM pairs',
  ]
  const views = queries.map((sql) => {
    const view = new View()
    registry.follow(sql, [], view)
    return view
  })
  await settled()
  db.exec("INSERT INTO lists VALUES ('l', 'L'); INSERT INTO items VALUES ('a', 'l', 'A', 1)")
  registry.changed(new Set(['lists']))
  expect(views.map(({ rows }) => rows)).toEqual([[['L']], [['a']], [['l'], ['a']], [['a']]])
})

test('a query runs once for all who follow it, and stays for a moment', async () => {
  vi.useFakeTimers()
  const { registry, run } = open()
  const views = [new View(), new View(), new View()] as const
  const ends = views.map((view) => registry.follow('SELECT id FROM items WHERE n = ?', [1], view))
  await settled()
  run.count = 0
  registry.changed(new Set(['items']))
  expect(run.count).toBe(1)
  for (const end of ends) end()
  vi.advanceTimersByTime(LINGER_MS - 1)
  const again = new View()
  registry.follow('SELECT id FROM items WHERE n = ?', [1], again)
  vi.advanceTimersByTime(LINGER_MS * 2)
  run.count = 0
  registry.changed(new Set(['items']))
  expect(run.count).toBe(1)
  registry.follow('SELECT id FROM items WHERE n = ?', [2], new View())()
  vi.advanceTimersByTime(LINGER_MS)
  run.count = 0
  registry.changed(new Set(['items']))
  expect(run.count).toBe(1)
  vi.useRealTimers()
})

test('whoever comes later gets every row', async () => {
  const { db, registry } = open()
  db.exec("INSERT INTO items (id) VALUES ('a')")
  const [first, second] = [new View(), new View()]
  registry.follow('SELECT id FROM items', [], first)
  await settled()
  registry.follow('SELECT id FROM items', [], second)
  await settled()
  expect([first.rows, second.rows, first.patches]).toEqual([[['a']], [['a']], 1])
})

test('a query that fails says so, and is whole again when it works', async () => {
  const { db, registry } = open()
  const [view, writes] = [new View(), new View()]
  registry.follow('SELECT id, title FROM items', [], view)
  registry.follow('DELETE FROM items', [], writes)
  await settled()
  expect(writes.error?.message).toContain('only reads')
  db.exec('ALTER TABLE items RENAME TO hidden')
  registry.refresh()
  expect(view.error).not.toBeNull()
  db.exec("ALTER TABLE hidden RENAME TO items; INSERT INTO items (id) VALUES ('a')")
  registry.refresh()
  expect([view.error, view.rows]).toEqual([null, [['a', null]]])
})

test('columns that change come with every row', async () => {
  const { db, registry } = open()
  const view = new View()
  registry.follow('SELECT * FROM lists', [], view)
  await settled()
  db.exec("ALTER TABLE lists ADD COLUMN late; INSERT INTO lists VALUES ('a', 'A', 1)")
  registry.refresh()
  expect(view.columns.map(({ name }) => name)).toEqual(['id', 'name', 'late'])
  expect(view.rows).toEqual([['a', 'A', 1]])
})

test('what a listener throws reaches nobody else', async () => {
  const { registry } = open()
  const log = vi.spyOn(console, 'error').mockImplementation(() => {})
  const view = new View()
  registry.follow('SELECT 1', [], {
    patch: () => {
      throw new Error('a fault of the application')
    },
    failed: () => {},
  })
  registry.follow('SELECT 1', [], view)
  await settled()
  expect(view.rows).toEqual([[1]])
  expect(log).toHaveBeenCalled()
  log.mockRestore()
})

test('values of different types are different', () => {
  const values: SqlValue[] = [
    null,
    '',
    'n',
    0,
    '0',
    1,
    1.5,
    '1',
    9007199254740993n,
    'a',
    new Uint8Array(),
    new Uint8Array([97]),
  ]
  expect(new Set(hashesOf(values.map((value) => [value]))).size).toBe(values.length)
  expect(
    new Set(
      hashesOf([
        ['a', 'bc'],
        ['ab', 'c'],
        ['abc', ''],
        ['', 'abc'],
      ]),
    ).size,
  ).toBe(4)
})

test('a patch makes the new result of the old one, whatever has happened', () => {
  const random = new Random(SEED)
  for (let n = 0; n < CASES; n++) {
    const list = (): RawRow[] => Array.from({ length: random.int(9) }, () => [random.int(6)])
    const [before, after] = [list(), list()]
    const patch = diff(hashesOf(before), hashesOf(after), after)
    const got = patch === null ? before : applyPatch(before, patch, (row) => row)
    expect(got).toEqual(after)
    if (patch === null) expect(before).toEqual(after)
  }
})

const QUERIES = [
  'SELECT * FROM items',
  'SELECT id, title FROM items WHERE list = ? ORDER BY n, id',
  'SELECT id FROM items ORDER BY n DESC, id LIMIT 3 OFFSET 1',
  'SELECT list, count(*), max(n) FROM items GROUP BY list ORDER BY list',
  'SELECT i.id, l.name FROM items i LEFT JOIN lists l ON l.id = i.list ORDER BY i.id',
  'SELECT a.id, b.id FROM items a JOIN items b ON a.list = b.list AND a.id < b.id ORDER BY 1, 2',
  'SELECT id FROM lists WHERE id NOT IN (SELECT list FROM items WHERE list IS NOT NULL) ORDER BY id',
  'SELECT DISTINCT title FROM items ORDER BY title',
  'SELECT id, sum(n) OVER (ORDER BY id) FROM items',
  'WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 3) SELECT c.n, (SELECT count(*) FROM items WHERE items.n = c.n) FROM c',
  'SELECT id FROM items WHERE n > 2 UNION SELECT id FROM lists ORDER BY 1',
  'SELECT count(*) FROM items WHERE title = ?',
] as const

test(`${CASES} commits: what is held is what the query gives`, { timeout: 30_000 + CASES * 10 }, () => {
  const random = new Random(SEED)
  for (let done = 0; done < CASES;) {
    const { db, registry } = open()
    const params = (sql: string): SqlValue[] => (sql.includes('?') ? [random.pick(['l1', 'l2', 't1'])] : [])
    const views = QUERIES.map((sql) => ({ sql, params: params(sql), view: new View() }))
    for (const { sql, params, view } of views) registry.follow(sql, params, view)
    for (let n = 0; n < 40; n++, done++) {
      const changed = new Set<string>()
      for (let m = random.int(3); m >= 0; m--) changed.add(change(db, random))
      registry.changed(changed)
      for (const { sql, params, view } of views) {
        if (view.error) throw view.error
        expect(view.rows).toEqual(db.prepare(sql).all(params))
      }
    }
    db.close()
  }
})

/** Answers the table. */
function change(db: Sqlite, random: Random): string {
  const id = `r${random.int(8)}`
  const list = random.pick(['l1', 'l2', 'l3', null])
  return random.weighted<() => string>([
    [
      4,
      () => (
        db
          .prepare('INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)')
          .run([id, list, `t${random.int(3)}`, random.int(5)]),
        'items'
      ),
    ],
    [3, () => (db.prepare('UPDATE items SET n = ?, list = ? WHERE id = ?').run([random.int(5), list, id]), 'items')],
    [2, () => (db.prepare('DELETE FROM items WHERE id = ?').run([id]), 'items')],
    [
      1,
      () => (
        db.prepare('INSERT OR REPLACE INTO lists VALUES (?, ?)').run([`l${random.int(4)}`, `name ${random.int(3)}`]),
        'lists'
      ),
    ],
    [1, () => (db.prepare('DELETE FROM lists WHERE id = ?').run([`l${random.int(4)}`]), 'lists')],
  ])()
}
