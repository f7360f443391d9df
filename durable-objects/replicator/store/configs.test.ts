import { describe, expect, test } from 'vitest'
import type { ConfigStatus } from '../../../protocol/messages/admin.ts'
import { migrate, type Database } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Configs, refuseWithdrawn, rollbackTarget } from './configs.ts'
import { MIGRATIONS } from './storage.ts'

function database(): Database {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return db
}

const time = (n: number) => new Date(n * 1_000).toISOString()

function record(
  n: number,
  plan: string,
  state: ConfigStatus['state'],
  retired: string | null,
): Omit<ConfigStatus, 'number'> {
  return { origin: 'admin', plan, created: time(n), state, served: time(n), retired, error: null, copy: [] }
}

test('a withdrawn sync config cannot be rolled back to through any deploy with its plan', () => {
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

test('the mark stays in a long history, and after a restart', () => {
  const db = database()
  const configs = new Configs(db)
  configs.add({ ...record(1, 'leaked', 'superseded', time(2)), by: 'bob' }, 'b')
  configs.change(1, { withdrawn: { at: time(9), by: 'ann' } })
  for (let n = 2; n < 60; n++) configs.add(record(n, `p${n}`, 'superseded', null), 'x')
  expect(new Configs(db).withdrawn('leaked')).toMatchObject({ number: 1, by: 'bob', withdrawn: { by: 'ann' } })
  expect(new Configs(db).all).toHaveLength(31)
})

test('records of an earlier version have no author', () => {
  const db = database()
  new Configs(db).add(record(1, 'p', 'serving', null), 'x')
  const [first] = new Configs(db).all
  expect([first?.by, first?.withdrawn, first?.plan]).toEqual([undefined, undefined, 'p'])
})

describe('a rollback', () => {
  /** One after the other has served: the plan, and of a rollback its goal. */
  function served(...plans: [plan: string, of?: number | null][]): Configs {
    const configs = new Configs(database())
    plans.forEach(([plan, of], i) => {
      const last = i === plans.length - 1
      const fields = of === undefined ? {} : { origin: 'rollback' as const, ...(of !== null && { of }) }
      configs.add({ ...record(i + 1, plan, last ? 'serving' : 'previous', last ? null : time(i + 2)), ...fields }, plan)
    })
    return configs
  }

  test('repeated goes one further back, and not forward', () => {
    expect(served(['a'], ['b'], ['c']).target?.number).toBe(2)
    expect(served(['a'], ['b'], ['c'], ['b', 2]).target?.number).toBe(1)
    const end = served(['a'], ['b'], ['c'], ['b', 2], ['a', 1])
    expect(end.target).toBeNull()
    expect(() => rollbackTarget(end)).toThrow(
      /no earlier sync config to roll back to: deploy 5 is a rollback to deploy 1. rockpool rollback --to takes 4, 3, 2; rockpool deploys lists all$/,
    )
    // As an earlier version has stored it.
    expect(served(['a'], ['b'], ['c'], ['b', null]).target?.number).toBe(1)
  })

  test('works also when the history has forgotten the deploy that it restored', () => {
    const configs = new Configs(database())
    for (let n = 1; n <= 4; n++) configs.add(record(n, `p${n}`, 'superseded', time(n + 1)), 'x')
    configs.add({ ...record(5, 'gone', 'serving', null), origin: 'rollback', of: 0 }, 'x')
    expect(configs.target).toBeNull()
  })

  test('from a deploy after a rollback restores what the rollback had, and from there goes further back', () => {
    expect(served(['a'], ['b'], ['a', 1], ['c']).target?.number).toBe(3)
    expect(served(['a'], ['b'], ['a', 1], ['c'], ['a', 3]).target).toBeNull()
    expect(served(['a'], ['b'], ['c'], ['a', 1], ['c', 3]).target?.number).toBe(2)
  })

  test('to a number may go forward, but not to a config that never served, serves, or must never serve again', () => {
    const configs = served(['a'], ['b'], ['leaked'], ['a', 1])
    configs.add({ ...record(5, 'd', 'superseded', null), served: null }, 'd')
    configs.change(3, { withdrawn: { at: time(9), by: 'ann' } })
    expect(rollbackTarget(configs, 2).number).toBe(2)
    for (const [to, message] of [
      [1, /deploy 1 already serves. rockpool rollback --to takes 2; rockpool deploys lists all$/],
      [3, /deploy 3, which was withdrawn by ann/],
      [5, /deploy 5 never served/],
      [9, /no sync config with the number 9/],
    ] as const)
      expect(() => rollbackTarget(configs, to)).toThrow(message)
  })

  test('to an unknown number fails with the newest possible ones, and how many older ones there are', () => {
    const configs = served(...Array.from({ length: 14 }, (_, i): [string] => [`p${i}`]))
    expect(() => rollbackTarget(configs, 99)).toThrow(
      /number 99\. rockpool rollback --to takes 13, 12, 11, 10, 9, 8, 7, 6, 5, 4 and 3 older; rockpool deploys lists all$/,
    )
  })

  test('skips withdrawn configs', () => {
    const configs = served(['a'], ['leaked'], ['c'])
    configs.change(2, { withdrawn: { at: time(9), by: 'ann' } })
    expect(configs.target?.number).toBe(1)
  })
})
