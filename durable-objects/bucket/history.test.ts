import { describe, expect, test } from 'vitest'
import type { RowOp } from '../../protocol/ops.ts'
import type { Database } from '../shared/database.ts'
import { testDatabase } from '../test-database.ts'
import { Log } from './log.ts'
import { splitOps } from '../../protocol/op-text.ts'
import { page, put, remove, Replica } from './test-ops.ts'

const PAGES = { extendedBytes: 1 }
const row = (id: string, n: number) => put(id, JSON.stringify({ id, n, x: 'x'.repeat(50) }))

function append(log: Log, first: number, ...ops: RowOp[]): void {
  log.append({ ...page(first, ...ops), committed: first - 1 })
  log.raise(first + ops.length - 1)
}

/** In pieces of about three pages. */
function download(log: Log, checkpoint: number, after = 0, budget = 600): { kinds: string; client: Replica } {
  const client = new Replica()
  let kinds = ''
  for (let position = after; ;) {
    const answer = log.read(position, checkpoint, budget)
    if (answer.kind !== 'ops') throw new Error(answer.kind)
    const texts = splitOps(answer.body)
    expect(answer.count).toBe(texts.length)
    kinds += texts.map((text) => (JSON.parse(text) as { op: string }).op[0]).join('')
    client.apply(answer.body, checkpoint)
    if (!answer.more) return { kinds, client }
    position = answer.last
  }
}

/** The statements that read pages from now on. */
function counting(db: Database): { db: Database; pages(): number } {
  let pages = 0
  const all: Database['all'] = (sql, ...params) => {
    if (sql.includes('body FROM pages')) pages++
    return db.all(sql, ...params)
  }
  return { db: { ...db, all }, pages: () => pages }
}

describe('what a row was', () => {
  test('is not sent, wherever the newer op stands: in the same page, a later one, or behind what one read takes', () => {
    for (const budget of [1, 300, 600, Infinity]) {
      const log = new Log(testDatabase(), PAGES)
      append(log, 1, row('a', 1), row('b', 1), row('a', 2))
      for (let id = 4; id < 40; id++) append(log, id, row(`f${id}`, id))
      append(log, 40, row('a', 3), remove('b'))
      const { kinds, client } = download(log, 41, 0, budget)
      expect(kinds).toBe(`MMM${'P'.repeat(36)}PR`)
      expect(client.checksum).toBe(log.state(41).checksum)
      expect(client.rows.size).toBe(37)
    }
  })

  test('is sent where the newer op is above the checkpoint: it is what the row is there', () => {
    const log = new Log(testDatabase(), PAGES)
    for (let id = 1; id <= 20; id++) append(log, id, row(`r${id % 4}`, id))
    for (const checkpoint of [20, 9, 4, 13, 20, 1]) {
      const { kinds, client } = download(log, checkpoint)
      expect(kinds).toBe(`${'M'.repeat(Math.max(0, checkpoint - 4))}${'P'.repeat(Math.min(4, checkpoint))}`)
      expect(client.checksum).toBe(log.state(checkpoint).checksum)
    }
  })

  test('is not sent to who says that he has some of it', () => {
    const log = new Log(testDatabase(), PAGES)
    for (let id = 1; id <= 20; id++) append(log, id, row(`r${id % 4}`, id))
    for (let after = 0; after < 20; after++) expect(download(log, 20, after).kinds).toMatch(/^M*P{1,4}$/)
  })

  test('ops that come while somebody downloads count for who goes further, and not for who does not', () => {
    const log = new Log(testDatabase(), PAGES)
    for (let id = 1; id <= 20; id++) append(log, id, row(`r${id}`, id))
    const first = log.read(0, 20, 600)
    append(log, 21, row('r20', 21))
    append(log, 22, row('r1', 22))
    expect(download(log, 22).kinds).toBe(`M${'P'.repeat(18)}MPP`)
    if (first.kind !== 'ops') throw new Error(first.kind)
    expect(download(log, 20, first.last).kinds).toMatch(/^P+$/)
    expect(download(log, 22, first.last).kinds).toMatch(/^P+MPP$/)
  })

  test('is not sent where compaction has taken away what supersedes it: the read is overtaken before its first piece', () => {
    const db = testDatabase()
    const log = new Log(db, { ...PAGES, pages: 1, pageBytes: 1, afterBytes: 0 })
    append(log, 1, row('a', 1))
    append(log, 2, row('b', 1))
    append(log, 3, row('a', 2))
    expect(download(log, 3, 0, 1).kinds).toBe('MPP')
    append(log, 4, row('a', 3))
    // As far as the op that was the newest at checkpoint 3.
    while (db.all("SELECT 1 FROM pages WHERE body LIKE '%MOVE%'").length === 0) log.compact()
    // What was remembered before still says it.
    expect(log.read(0, 3, 1)).toMatchObject({ kind: 'ops', body: expect.stringContaining('"MOVE"') })
    expect(new Log(db, PAGES).read(0, 3, 1)).toEqual({ kind: 'overtaken' })
    expect(download(log, 4, 0, 1).kinds).toBe('MPMP')
  })
})

describe('what it costs', () => {
  test('a log of which somebody has had all, and nothing was superseded, is read as it is: each page once', () => {
    const counted = counting(testDatabase())
    const log = new Log(counted.db, PAGES)
    for (let id = 1; id <= 60; id++) append(log, id, row(`r${id}`, id))
    const reads = (to: number) => {
      const before = counted.pages()
      download(log, to)
      return counted.pages() - before
    }
    const first = reads(60)
    const each = reads(60)
    // One more at the end of each piece, and one at the end of all.
    expect(each).toBeLessThan(60 * 1.6)
    expect(first).toBeLessThanOrEqual(each + 62)
    // Of what came since, the new pages are read twice, however often the download goes on.
    append(log, 61, row('r1', 61))
    expect(reads(61)).toBeLessThanOrEqual(each + 5)
    expect(download(log, 61).kinds).toBe(`M${'P'.repeat(60)}`)
  })

  test('readers at different checkpoints do not make each other read the log again, and each is sent what is right for its own', () => {
    const counted = counting(testDatabase())
    const log = new Log(counted.db, PAGES)
    for (let id = 1; id <= 60; id++) append(log, id, row(`r${id % 20}`, id))
    const checkpoints = [50, 47, 60, 53, 57]
    const readers = checkpoints.map((checkpoint) => ({ checkpoint, position: 0, kinds: '', client: new Replica() }))
    for (let more = true; more;) {
      more = false
      for (const reader of readers) {
        if (reader.position >= reader.checkpoint) continue
        const answer = log.read(reader.position, reader.checkpoint, 600)
        if (answer.kind !== 'ops') throw new Error(answer.kind)
        reader.client.apply(answer.body, reader.checkpoint)
        for (const text of splitOps(answer.body)) reader.kinds += (JSON.parse(text) as { op: string }).op[0]
        reader.position = answer.last
        more = true
      }
    }
    for (const { checkpoint, kinds, client } of readers) {
      expect(kinds).toBe('M'.repeat(checkpoint - 20) + 'P'.repeat(20))
      expect(client.checksum).toBe(log.state(checkpoint).checksum)
    }
    // Each read its own pages, one more for each piece, and all of the log was read twice: at 50, and at 47.
    const own = checkpoints.reduce((sum, checkpoint) => sum + checkpoint, 0)
    expect(counted.pages()).toBeLessThan(own * 1.6 + 3 * 62)
  })

  test('so is one that was compacted, also after the object was constructed anew', () => {
    const db = testDatabase()
    const log = new Log(db, { ...PAGES, pageBytes: 400, afterBytes: 0 })
    for (let id = 1; id <= 60; id++) append(log, id, row(`r${id % 30}`, id))
    while (log.compact() !== null);
    expect(db.all('SELECT clean, since FROM history')).toEqual([{ clean: 60, since: null }])
    const counted = counting(db)
    const again = new Log(counted.db, PAGES)
    const { client } = download(again, 60)
    expect(client.rows.size).toBe(30)
    const first = counted.pages()
    download(again, 60)
    expect(counted.pages()).toBe(2 * first)
    expect(first).toBeLessThanOrEqual(2 * db.all('SELECT 1 FROM pages').length)
  })

  test('where more rows have changed than may be remembered, those that changed last are', () => {
    const log = new Log(testDatabase(), { ...PAGES, historyLength: 1_000 })
    for (let id = 1; id <= 60; id++) append(log, id, row(`r${id % 30}`, id))
    const { kinds, client } = download(log, 60)
    expect(client.checksum).toBe(log.state(60).checksum)
    expect(client.rows.size).toBe(30)
    const [old = '', now = ''] = [kinds.slice(0, 30), kinds.slice(30)]
    expect(now).toBe('P'.repeat(30))
    // 64 units and the key of each.
    expect(old).toMatch(/^P+M{8,15}$/)
  })
})

test('what all logs of an isolate remember is bounded: what one has remembered for longest goes, and is read again', () => {
  const [one, two] = ['one', 'two'].map(() => {
    const counted = counting(testDatabase())
    const log = new Log(counted.db, { ...PAGES })
    // Some 15 M units of keys each.
    append(log, 1, row('a', 1), row('a', 2))
    for (let n = 0; n < 30; n++) append(log, n + 3, row(`${n}`.padEnd(500_000, 'x'), n))
    const read = () => {
      const before = counted.pages()
      expect(log.read(0, 32, 600).kind).toBe('ops')
      return counted.pages() - before
    }
    return { read, first: read() }
  })
  if (!one || !two) throw new Error('two were made')
  expect(two.first).toBe(one.first)
  expect(two.read()).toBeLessThan(two.first)
  // That some row is there twice was found by the first read, and is not asked again.
  const again = one.read()
  expect(again).toBeLessThan(one.first)
  expect(one.read()).toBeLessThan(again)
  expect(two.read()).toBe(again)
})

describe('what is superseded does not stay', () => {
  const DAY = 24 * 60 * 60 * 1_000

  test('from when the first op is superseded on it is due after HISTORY_SECONDS, and then it goes, also out of the newest page', () => {
    let now = 1_000_000
    const db = testDatabase()
    const log = new Log(db, {}, () => now)
    append(log, 1, row('a', 1), row('b', 1))
    expect(log.historyDue).toBeNull()
    append(log, 3, row('a', 2))
    const due = log.historyDue ?? 0
    expect(due).toBeGreaterThanOrEqual(now + DAY)
    expect(due).toBeLessThan(now + 1.1 * DAY)
    now += 1_000
    append(log, 4, remove('b'))
    // It is noted once.
    expect(new Log(db, {}, () => now).historyDue).toBe(due)
    expect(log.worthCompacting).toBe(false)
    now = due
    expect(log.worthCompacting).toBe(true)
    const state = log.state(4)
    while (log.compact() !== null);
    expect(log.worthCompacting).toBe(false)
    expect(log.historyDue).toBeNull()
    expect(log.state(4)).toMatchObject({ checksum: state.checksum, last: 4 })
    const body = String(db.all('SELECT body FROM pages')[0]?.body)
    expect(body).not.toContain('\\"n\\":1')
    expect(body).toContain('\\"n\\":2')
    // Appends go on in the same page.
    append(log, 5, row('b', 3))
    expect(db.all('SELECT 1 FROM pages')).toHaveLength(1)
    expect(download(log, 5).client.rows.size).toBe(2)
    expect(log.state(5).count).toBe(download(log, 5).kinds.length)
  })

  test('what was not committed by then is due once more', () => {
    let now = 1_000_000
    const log = new Log(testDatabase(), {}, () => now)
    log.append({ ...page(1, row('a', 1)), committed: 0 })
    log.append({ ...page(2, row('a', 2)), committed: 0 })
    now += 2 * DAY
    expect(log.worthCompacting).toBe(true)
    while (log.compact() !== null);
    expect(log.worthCompacting).toBe(false)
    expect(log.historyDue).toBeGreaterThanOrEqual(now + DAY)
    log.raise(2)
    now += 2 * DAY
    while (log.compact() !== null);
    expect(log.historyDue).toBeNull()
    expect(download(log, 2).kinds).toBe('MP')
  })

  test('storage of before this: the first read that leaves something out notes it', () => {
    const db = testDatabase()
    const before = new Log(db)
    append(before, 1, row('a', 1), row('a', 2))
    db.run('DROP TABLE history')
    db.run('DELETE FROM migrations WHERE version = 3')
    const log = new Log(db)
    expect(log.historyDue).toBeNull()
    expect(log.read(0, 2, 1_000)).toMatchObject({ body: expect.stringMatching(/"MOVE".*"PUT"/) as string })
    expect(log.historyDue).not.toBeNull()
  })

  test('a run that older code went on with is not believed to have missed nothing', () => {
    const db = testDatabase()
    const limits = { ...PAGES, pages: 2, pageBytes: 100, afterBytes: 0 }
    const log = new Log(db, limits)
    for (let id = 1; id <= 30; id++) append(log, id, row(`r${id % 10}`, id))
    for (let steps = 0; steps < 4; steps++) log.compact()
    log.pauseCompaction()
    const progress = JSON.parse(String(db.all('SELECT progress FROM header')[0]?.progress)) as {
      from: number
      cursor: number
    }
    // As it resumed: without what was remembered of the rows behind the cursor.
    db.run(
      'UPDATE header SET progress = ?',
      JSON.stringify({ ...progress, from: Math.min(progress.from, progress.cursor) }),
    )
    const again = new Log(db, limits)
    again.raise(30)
    while (again.compact() !== null);
    expect(db.all('SELECT clean FROM history')).toEqual([{ clean: 0 }])
    expect(download(again, 30).client.rows.size).toBe(10)
  })
})
