import { DatabaseSync } from 'node:sqlite'
import { beforeEach, expect, test } from 'vitest'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import { openLayout } from '../store/layout.ts'
import { canonical, expire, release, subscribe, subscriptions, type Wanted } from './streams.ts'

let db: Sqlite
beforeEach(() => {
  db = nodeSqlite(new DatabaseSync(':memory:'))
  openLayout(db)
})

const wanted: Wanted = { name: 'items', parameters: { a: 1, b: [true, null] }, priority: null, ttl: 10 }
const names = (): string[] => subscriptions(db).map(({ name }) => name)

test('the same stream with the same parameters is one subscription, whatever their order', () => {
  const first = subscribe(db, wanted, 1)
  expect(first.isNew).toBe(true)
  expect(subscribe(db, { ...wanted, parameters: { b: [true, null], a: 1 } }, 2)).toEqual({ id: first.id, isNew: false })
  expect(subscribe(db, { ...wanted, parameters: { a: 2 } }, 2).id).not.toBe(first.id)
  expect(subscribe(db, { ...wanted, parameters: null }, 2).isNew).toBe(true)
  expect(subscriptions(db).map(({ parameters }) => parameters)).toEqual([wanted.parameters, { a: 2 }, null])
})

test('another priority is news for the server', () => {
  const { id } = subscribe(db, wanted, 1)
  expect(subscribe(db, { ...wanted, priority: 1 }, 1)).toEqual({ id, isNew: true })
  expect(subscriptions(db)[0]?.priority).toBe(1)
})

test('one that nobody has open ends with its time, which begins when it is let go of', () => {
  const { id } = subscribe(db, wanted, 1_000)
  expect(expire(db, new Set([id]), 500_000)).toBe(false)
  release(db, id, 500_000)
  expect(expire(db, new Set(), 509_999)).toBe(false)
  expect(names()).toEqual(['items'])
  expect(expire(db, new Set(), 510_000)).toBe(true)
  expect(names()).toEqual([])
})

test('a clock that is put back neither ends a subscription nor keeps it for years', () => {
  const { id } = subscribe(db, wanted, 1_000_000)
  release(db, id, 1_000_000)
  expect(expire(db, new Set(), 5)).toBe(false)
  const later = subscribe(db, { ...wanted, name: 'later' }, 10)
  release(db, later.id, 10)
  expect(expire(db, new Set(), 1_010_000)).toBe(true)
  expect(names()).toEqual([])
})

test('canonical text of parameters', () => {
  expect(canonical({ b: { d: 1, c: 'x' }, a: [2, { z: null, y: undefined }] })).toBe(
    '{"a":[2,{"z":null}],"b":{"c":"x","d":1}}',
  )
})
