import { expect, test } from 'vitest'
import { migrate, type Step } from './database.ts'
import { testDatabase } from '../test-database.ts'

const steps: Step[] = [
  'CREATE TABLE a (n INTEGER)',
  'ALTER TABLE a ADD COLUMN m INTEGER',
  { sql: 'CREATE TABLE b (n INTEGER)', breaks: true },
  'CREATE TABLE c (n INTEGER)',
]
const tables = (db: ReturnType<typeof testDatabase>) =>
  db.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").map(({ name }) => name)

test('older code opens a storage as long as no step that it lacks breaks the form; then it refuses, and has written nothing', () => {
  const db = testDatabase()
  migrate(db, steps.slice(0, 2))
  migrate(db, steps.slice(0, 1))
  migrate(db, steps)
  const before = db.all('SELECT * FROM migrations')
  migrate(db, steps.slice(0, 3))
  for (const older of [0, 1, 2]) {
    expect(() => migrate(db, [...steps.slice(0, older)])).toThrow(
      expect.objectContaining({ code: 'ROCKPOOL_STORAGE_NEWER' }),
    )
  }
  expect(db.all('SELECT * FROM migrations')).toEqual(before)
  expect(tables(db)).toEqual(['a', 'b', 'c', 'migrations'])
})

test('a storage of before there were refusals is opened, each further step runs once, and it refuses from then on', () => {
  const db = testDatabase()
  db.run('CREATE TABLE migrations (version INTEGER PRIMARY KEY)')
  db.run('CREATE TABLE a (n INTEGER)')
  db.run('INSERT INTO migrations VALUES (1)')
  migrate(db, steps.slice(0, 1))
  expect(db.all("SELECT sql FROM sqlite_master WHERE name = 'migrations'")[0]?.sql).not.toContain('reads')
  migrate(db, steps)
  migrate(db, steps)
  expect(db.all('SELECT version, reads FROM migrations').map(({ version, reads }) => [version, reads])).toEqual([
    [1, 0],
    [2, 0],
    [3, 3],
    [4, 0],
  ])
  expect(() => migrate(db, steps.slice(0, 2))).toThrow(expect.objectContaining({ code: 'ROCKPOOL_STORAGE_NEWER' }))
})
