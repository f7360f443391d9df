import { expect, test } from 'vitest'
import type { ConfigStatus } from '../../protocol/messages.ts'
import { migrate, type Database } from '../database.ts'
import { testDatabase } from '../test-database.ts'
import { Configs, refuseWithdrawn } from './configs.ts'
import { MIGRATIONS } from './storage.ts'

function database(): Database {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return db
}

const time = (n: number) => new Date(n * 1_000).toISOString()

function record(n: number, plan: string, state: ConfigStatus['state'], retired: string | null): Omit<ConfigStatus, 'number'> {
  return { origin: 'admin', plan, created: time(n), state, served: time(n), retired, error: null, copy: [] }
}

test('a sync config that was withdrawn is nothing to go back to, by whatever deploy its plan came', () => {
  const configs = new Configs(database())
  configs.add(record(1, 'good', 'superseded', time(2)), 'a')
  configs.add(record(2, 'leaked', 'superseded', time(3)), 'b')
  configs.add(record(3, 'leaked', 'previous', time(4)), 'b again')
  configs.add(record(4, 'now', 'serving', null), 'c')
  expect(configs.target?.number).toBe(3)
  configs.change(2, { withdrawn: { at: time(9), by: 'ann' } })
  expect(configs.target?.number).toBe(1)
  expect(() => refuseWithdrawn(configs, 'leaked')).toThrow(/deploy 2, which was withdrawn by ann at 1970/)
  expect(() => refuseWithdrawn(configs, 'good')).not.toThrow()
})

test('the mark stays when the history is long, and after a restart', () => {
  const db = database()
  const configs = new Configs(db)
  configs.add({ ...record(1, 'leaked', 'superseded', time(2)), by: 'bob' }, 'b')
  configs.change(1, { withdrawn: { at: time(9), by: 'ann' } })
  for (let n = 2; n < 60; n++) configs.add(record(n, `p${n}`, 'superseded', null), 'x')
  expect(new Configs(db).withdrawn('leaked')).toMatchObject({ number: 1, by: 'bob', withdrawn: { by: 'ann' } })
  expect(new Configs(db).all).toHaveLength(31)
})

test('records of an earlier version name nobody', () => {
  const db = database()
  new Configs(db).add(record(1, 'p', 'serving', null), 'x')
  const [first] = new Configs(db).all
  expect([first?.by, first?.withdrawn, first?.plan]).toEqual([undefined, undefined, 'p'])
})
