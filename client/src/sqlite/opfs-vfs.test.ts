import sqlite3InitModule, { type Database } from '@sqlite.org/sqlite-wasm'
import { describe, expect, test } from 'vitest'
import { generator } from '../../../test/support/random.ts'
import { DatabaseFiles, STEP_BYTES, WAL_BYTES } from './database-files.ts'
import { BEGINNING, installOpfsVfs, type Vfs } from './opfs-vfs.ts'
import { TestDisk, type CallKind, type Refusal } from './test-disk.ts'

// Everything that a disk can do to a database through this VFS, in one file: all of it compares one workload with what
// was acknowledged. The file is long because every failure of a file is played on one kind of disk.

const sqlite3 = await sqlite3InitModule()
// It tells every refused statement.
sqlite3.config.warn = () => {}

/** `ROCKPOOL_VFS_TRANSACTIONS=1000` runs for long. */
const TRANSACTIONS = Number(process.env.ROCKPOOL_VFS_TRANSACTIONS ?? 14)
/** Checkpoints often, so that few transactions meet everything. */
const CHECKPOINT_PAGES = 10

interface Opened {
  db: Database
  files: DatabaseFiles
  vfs: Vfs
  close(): void
}

function open(disk: TestDisk): Opened {
  const files = new DatabaseFiles(disk.handles())
  const vfs = installOpfsVfs(sqlite3, files)
  const db = new sqlite3.oo1.DB(vfs.path, 'c', vfs.name)
  const close = (): void => {
    db.close()
    vfs.dispose()
  }
  try {
    prepare(db)
  } catch (error) {
    close()
    throw error
  }
  return { db, files, vfs, close }
}

function prepare(db: Database): void {
  db.exec(BEGINNING)
  // A small cache: pages of a large transaction go into the WAL before its end, and are read again.
  db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; PRAGMA cache_size = 4`)
  db.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, filling TEXT)')
}

const values = (db: Database, sql: string): unknown[] => db.selectValues(sql)

/** One transaction with some pages, now and then one that is more than what is collected. */
function commit({ db }: Opened, n: number): void {
  db.exec('BEGIN')
  try {
    db.exec({
      sql: 'INSERT INTO t VALUES (?, ?)',
      bind: [n, String.fromCharCode(97 + (n % 26)).repeat(n % 13 === 7 ? 300_000 : 9_000)],
    })
    if (n % 13 === 7) db.exec({ sql: 'UPDATE t SET filling = filling || n WHERE n >= ?', bind: [n - 3] })
    if (n % 5 === 4) db.exec({ sql: 'DELETE FROM t WHERE n = ?', bind: [n - 2] })
    db.exec('COMMIT')
  } catch (error) {
    try {
      db.exec('ROLLBACK')
    } catch {
      // SQLite has rolled back itself.
    }
    throw error
  }
}

/** Which rows there are when these transactions were acknowledged. */
const rowsOf = (acknowledged: readonly number[]): number[] => {
  const rows = new Set<number>()
  for (const n of acknowledged) {
    rows.add(n)
    if (n % 5 === 4) rows.delete(n - 2)
  }
  return [...rows].sort((a, b) => a - b)
}

const upTo = (length: number): number[] => Array.from({ length }, (_, n) => n)

function content(disk: TestDisk): number[] {
  const opened = open(disk)
  expect(values(opened.db, 'PRAGMA integrity_check')).toEqual(['ok'])
  const rows = values(opened.db, 'SELECT n FROM t ORDER BY n') as number[]
  opened.close()
  return rows
}

/** At most two calls are refused, so the third try works. */
function openAtLast(disk: TestDisk, tries = 3): Opened {
  try {
    return open(disk)
  } catch (error) {
    if (tries === 1) throw error
    return openAtLast(disk, tries - 1)
  }
}

/**
 * All transactions; after a refusal the files are opened again where the VFS says so, and one that is in doubt is asked
 * for, as the owner does.
 */
function run(disk: TestDisk, stop: (n: number) => boolean = () => false): { acknowledged: number[]; refusals: number } {
  let opened = openAtLast(disk)
  const acknowledged: number[] = []
  let refusals = 0
  for (let n = 0; n < TRANSACTIONS; n++) {
    try {
      commit(opened, n)
      acknowledged.push(n)
    } catch {
      refusals++
      if (opened.files.broken !== null) {
        opened.close()
        opened = openAtLast(disk)
        if (opened.db.selectValue('SELECT 1 FROM t WHERE n = ?', [n]) === 1) acknowledged.push(n)
      }
    }
    if (stop(n)) return { acknowledged, refusals }
  }
  opened.close()
  return { acknowledged, refusals }
}

const whole = new TestDisk()
run(whole)
const CALLS = whole.called

/** A file opened for each call. */
const LONG_MS = 30_000 + CALLS * 1_000

test('a clean run writes, truncates and flushes, and has everything', () => {
  expect(content(whole)).toEqual(rowsOf(upTo(TRANSACTIONS)))
  for (const kind of ['write', 'truncate', 'flush'] as const) expect(whole.calls[kind]).toBeGreaterThan(0)
})

const HOWS: readonly Refusal[] = ['io', 'short', 'quota', 'late', 'twice']
/** A run for long refuses each call in every way; else each is refused in two or three. */
const STRIDE = process.env.ROCKPOOL_VFS_TRANSACTIONS === undefined ? 4 : 1

/** `ROCKPOOL_VFS_LONG=1000` refuses every call of a thousand transactions once, in every way. */
const LONG = Number(process.env.ROCKPOOL_VFS_LONG ?? 60)
/** Calls between two refusals of one run. */
const EVERY = 40
const LONG_STRIDE = process.env.ROCKPOOL_VFS_LONG === undefined ? 13 : 1

const seen: Record<CallKind, number> = { write: 0, truncate: 0, flush: 0 }

describe.each(HOWS)('each single call is refused once: %s', (how) => {
  for (const killed of [false, true]) {
    test(
      killed ? 'and the worker ends after that transaction' : 'and the rest of the transactions goes on',
      () => {
        let refusals = 0
        const first = (HOWS.indexOf(how) * 2 + (killed ? 1 : 0)) % STRIDE
        for (let call = first; call < CALLS; call += STRIDE) {
          const disk = new TestDisk()
          disk.refuse = { call, how }
          const done = run(disk, () => killed && disk.refused !== null)
          if (disk.refused) seen[disk.refused]++
          refusals += done.refusals
          expect({ call, rows: content(disk.killed()) }).toEqual({ call, rows: rowsOf(done.acknowledged) })
        }
        expect(refusals).toBeGreaterThan(0)
      },
      LONG_MS,
    )
  }
})

describe.each(HOWS)('over a long run each single call is refused once: %s', (how) => {
  for (const killed of [false, true]) {
    test(
      killed ? 'and the worker ends each time' : 'and the next transactions go on',
      () => {
        for (let offset = 0; offset < EVERY; offset += LONG_STRIDE) {
          const { disk, acknowledged, refusals } = longRun(how, offset, killed)
          expect({ offset, rows: content(disk) }).toEqual({ offset, rows: rowsOf(acknowledged) })
          expect(refusals).toBeGreaterThan(0)
        }
      },
      60_000 + LONG * EVERY * 200,
    )
  }
})

/** Every call whose number has this rest is refused; the others are refused in the runs with the other rests. */
function longRun(
  how: Refusal,
  offset: number,
  killed: boolean,
): { disk: TestDisk; acknowledged: number[]; refusals: number } {
  let disk = new TestDisk()
  let opened = openAtLast(disk)
  const acknowledged: number[] = []
  let refusals = 0
  const arm = (): void => {
    disk.refuse = { call: Math.ceil((disk.called - offset) / EVERY) * EVERY + offset, how }
    disk.refused = null
  }
  const again = (from: TestDisk): void => {
    opened.close()
    const { calls } = disk
    disk = from
    // Calls are counted over the whole run.
    disk.calls = { ...calls }
    opened = openAtLast(disk)
  }
  const isThere = (n: number): boolean => opened.db.selectValue('SELECT 1 FROM t WHERE n = ?', [n]) === 1
  arm()
  for (let n = 0; n < LONG; n++) {
    try {
      commit(opened, n)
      acknowledged.push(n)
    } catch {
      if (opened.files.broken !== null) {
        again(disk)
        if (isThere(n)) acknowledged.push(n)
      }
    }
    if (disk.refused === null) continue
    refusals++
    if (killed) {
      again(disk.killed())
      expect({ n, rows: values(opened.db, 'SELECT n FROM t ORDER BY n') }).toEqual({ n, rows: rowsOf(acknowledged) })
    }
    arm()
  }
  disk.refuse = null
  opened.close()
  return { disk, acknowledged, refusals }
}

test('writes, truncates and flushes were among the calls that were refused', () => {
  for (const kind of ['write', 'truncate', 'flush'] as const) expect(seen[kind]).toBeGreaterThan(0)
})

test(
  'after a power cut the file is whole, and has every transaction up to the last flush and none without those before it',
  () => {
    const random = generator(1)
    let behind = 0
    let cuts = 0
    for (let call = 0; call < CALLS; call += 1 + Math.floor(random() * 2 * STRIDE)) {
      const disk = new TestDisk(true)
      disk.refuse = { call, how: 'dead' }
      let flushed = 0
      let acknowledged = 0
      try {
        const opened = open(disk)
        for (; acknowledged < TRANSACTIONS; acknowledged++) {
          commit(opened, acknowledged)
          if (random() < 0.1) {
            opened.files.flush()
            flushed = acknowledged + 1
          }
        }
      } catch {
        // There is no power.
      }
      for (let again = 0; again < 2; again++) {
        const rows = content(disk.cut(random))
        const found = prefix(rows)
        expect({ call, rows }).toEqual({ call, rows: rowsOf(upTo(found)) })
        expect(found).toBeGreaterThanOrEqual(flushed)
        expect(found).toBeLessThanOrEqual(acknowledged + 1)
        if (found < acknowledged) behind++
        cuts++
      }
    }
    // The disk does lose what was not flushed.
    expect(behind).toBeGreaterThan(cuts / 10)
  },
  LONG_MS,
)

/** How many transactions these rows stand for. */
const prefix = (rows: readonly number[]): number => {
  const last = rows.at(-1) ?? -1
  return last + 1
}

describe('a full disk', () => {
  test('what was taken ahead takes a hundred writes of 4 KB and a checkpoint of them', () => {
    const disk = new TestDisk()
    const opened = open(disk)
    opened.files.reserve(0, WAL_BYTES)
    opened.db.exec('CREATE TABLE w (n INTEGER PRIMARY KEY, filling TEXT)')
    for (let n = 0; n < 30; n++) commit(opened, n)
    disk.quota = disk.size
    for (let n = 0; n < 100; n++) opened.db.exec({ sql: 'INSERT INTO w VALUES (?, ?)', bind: [n, 'w'.repeat(4_000)] })
    expect(opened.db.selectArray('PRAGMA wal_checkpoint(RESTART)')?.[0]).toBe(0)
    expect(opened.db.selectValue('SELECT count(*) FROM w')).toBe(100)
    const again = open(disk.killed())
    expect(again.db.selectValue('SELECT count(*) FROM w')).toBe(100)
    expect(again.db.selectValue('PRAGMA integrity_check')).toBe('ok')
    again.close()
    opened.close()
  })

  test('and so it does while pages of a download are in the WAL alone', () => {
    const disk = new TestDisk()
    const opened = open(disk)
    opened.db.exec(
      'PRAGMA wal_autocheckpoint = 1000; PRAGMA cache_size = -16384; CREATE TABLE w (n INTEGER PRIMARY KEY, filling TEXT)',
    )
    for (let n = 0; n < 14; n++) {
      opened.files.reserve(Number(opened.db.selectValue('PRAGMA page_count')) * 8_192 + (STEP_BYTES >> 1), WAL_BYTES)
      opened.db.exec({ sql: 'INSERT INTO t VALUES (?, ?)', bind: [n, 'd'.repeat(STEP_BYTES >> 1)] })
    }
    disk.quota = disk.size
    for (let n = 0; n < 100; n++) opened.db.exec({ sql: 'INSERT INTO w VALUES (?, ?)', bind: [n, 'w'.repeat(4_000)] })
    expect(opened.db.selectArray('PRAGMA wal_checkpoint(RESTART)')?.[0]).toBe(0)
    expect(opened.db.selectValue('SELECT count(*) FROM w')).toBe(100)
    opened.close()
  })

  test('space that cannot be had is said before anything is written, and what was there stays', () => {
    const disk = new TestDisk()
    const opened = open(disk)
    opened.files.reserve(0, WAL_BYTES)
    disk.quota = disk.size + STEP_BYTES
    expect(() => opened.files.reserve(100 << 20, WAL_BYTES)).toThrow('quota')
    expect(opened.files.broken).toBeNull()
    commit(opened, 0)
    expect(content(disk.killed())).toEqual([0])
    opened.close()
  })

  test('is one when there is no space for a page, not when there is none for a step', () => {
    const disk = new TestDisk()
    const opened = open(disk)
    opened.files.reserve(0, WAL_BYTES)
    disk.quota = disk.size + (STEP_BYTES >> 1)
    const { size } = disk
    for (let n = 0; n < 400 && disk.size === size; n++)
      opened.db.exec({ sql: 'INSERT INTO t VALUES (?, ?)', bind: [n, 'f'.repeat(9_000)] })
    expect(opened.db.selectArray('PRAGMA wal_checkpoint(RESTART)')?.[0]).toBe(0)
    expect(disk.size).toBeGreaterThan(size)
    opened.close()
  })

  test('is SQLITE_FULL and no error of the device', () => {
    const disk = new TestDisk()
    const opened = open(disk)
    opened.db.exec('PRAGMA cache_size = -16384')
    disk.quota = disk.size
    expect(() => opened.db.exec({ sql: 'INSERT INTO t VALUES (1, ?)', bind: ['f'.repeat(3 << 20)] })).toThrow(
      'SQLITE_FULL',
    )
    expect(opened.vfs.error?.name).toBe('QuotaExceededError')
    expect(opened.files.broken).toBeNull()
    disk.quota = Infinity
    commit(opened, 2)
    expect(content(disk.killed())).toEqual([2])
    opened.close()
  })
})

test('the file does not grow by being opened again', () => {
  let disk = new TestDisk()
  run(disk)
  const { size } = disk
  for (let n = 0; n < 5; n++) {
    content(disk)
    disk = disk.killed()
  }
  expect(disk.size).toBe(size)
})

test('a database that was made longer is reported as long as it is', () => {
  const disk = new TestDisk()
  const opened = open(disk)
  commit(opened, 0)
  opened.files.reserve(10 << 20, WAL_BYTES)
  opened.close()
  expect(disk.size).toBeGreaterThan(10 << 20)
  const again = open(disk)
  expect(again.files.size('database')).toBe(Number(again.db.selectValue('PRAGMA page_count')) * 8_192)
  again.close()
})

test('a WAL that SQLite has deleted counts as none', () => {
  const disk = new TestDisk()
  const opened = open(disk)
  commit(opened, 0)
  expect(opened.files.exists('wal')).toBe(true)
  opened.close()
  expect(new DatabaseFiles(disk.handles()).exists('wal')).toBe(false)
})

test('writes that were lost while somebody read are not believed in any more: the files have to be opened again', () => {
  const disk = new TestDisk()
  const files = new DatabaseFiles(disk.handles())
  files.write('wal', new Uint8Array(100), 4_096)
  disk.refuse = { call: disk.called, how: 'io' }
  expect(() => files.read('wal', new Uint8Array(10), 4_096)).toThrow('refused')
  expect(files.broken).not.toBeNull()
  for (const next of [
    () => files.write('wal', new Uint8Array(1), 0),
    () => files.sync('wal'),
    () => files.size('database'),
    () => files.flush(),
  ]) {
    expect(next).toThrow('opened again')
  }
})

test('a step of space stays free behind what is written', () => {
  const handles = new TestDisk().handles()
  const growing = new DatabaseFiles(handles)
  for (let at = 0; at < 5 * STEP_BYTES; at += 8_192) {
    growing.write('database', new Uint8Array(8_192), at)
    expect(handles.database.getSize()).toBeGreaterThanOrEqual(at + 8_192 + STEP_BYTES)
  }
})

test('temporary files have no place', () => {
  const opened = open(new TestDisk())
  opened.db.exec('CREATE TEMP TABLE x AS SELECT n FROM t')
  expect(() => opened.db.exec("ATTACH 'other.db' AS other")).toThrow('unable to open')
  opened.close()
})
