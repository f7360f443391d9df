import { beforeEach, expect, test } from 'vitest'
import { MAX_REVOCATIONS, subjectHash, type Revocation, type TokenMark } from '../../../protocol/revocations.ts'
import { migrate, type Database } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Revocations } from './revocations.ts'
import { MIGRATIONS, StateStore } from './storage.ts'

let db: Database
/** Seconds since 1970. */
let now = 1_000
const opened = (): Revocations => new Revocations(db, new StateStore(db), () => now * 1_000)

beforeEach(() => {
  db = testDatabase()
  migrate(db, MIGRATIONS)
  now = 1_000
})

const user = (value: string, more: Partial<Revocation> = {}): Revocation => ({
  of: 'user',
  value,
  before: 1_000,
  until: 2_000,
  ...more,
})
const revoking = (revocation: Revocation, number?: number) => ({
  kind: 'revoke' as const,
  by: 'ann',
  revocation,
  ...(number === undefined ? {} : { number }),
})
const mark = (name: string, iat: number): TokenMark => ({ user: subjectHash(name), iat })
const isRefused = (list: Revocations, token: TokenMark): boolean => list.check([token]).revoked?.length === 1

test('tokens issued up to a time are refused, the stricter revocation counts, and it survives a restart', () => {
  const list = opened()
  list.change(revoking(user('u1', { before: 900 })))
  expect([isRefused(list, mark('u1', 900)), isRefused(list, mark('u1', 901))]).toEqual([true, false])
  list.change(revoking(user('u1', { before: null, until: null })))
  list.change(revoking(user('u1', { before: 950 })))
  expect(isRefused(list, mark('u1', 5_000))).toBe(true)
  expect(() => list.refuse(mark('u1', 5_000))).toThrow(expect.objectContaining({ code: 'PSYNC_S2107' }))
  const restarted = opened()
  expect([isRefused(restarted, mark('u1', 5_000)), isRefused(restarted, mark('u2', 1)), restarted.revision]).toEqual([
    true,
    false,
    3,
  ])
  restarted.change({ kind: 'unrevoke', by: 'ann', subject: { of: 'user', value: 'u1' } })
  expect(isRefused(opened(), mark('u1', 1))).toBe(false)
})

test('a change that was overtaken by a later one is known as late', () => {
  const list = opened()
  list.change(revoking(user('u1'), 5))
  expect([list.isLate(revoking(user('u2'), 4)), list.isLate(revoking(user('u2'), 6))]).toEqual([true, false])
  expect(list.isLate(revoking(user('u2')))).toBe(false)
})

test('a full list refuses another subject and keeps all that it has; what has expired makes room', () => {
  const list = opened()
  db.transaction(() => {
    for (let n = 0; n < MAX_REVOCATIONS; n++) list.change(revoking(user(`u${n}`, { until: n === 0 ? 1_500 : null })))
  })
  const further = revoking(user('one more'))
  expect(() => list.makeRoom(further)).toThrow(expect.objectContaining({ code: 'ROCKPOOL_TENANT_CONFLICT' }))
  expect([list.size, isRefused(list, mark('u0', 1))]).toEqual([MAX_REVOCATIONS, true])
  // One that is there already, and taking back, need no room.
  list.makeRoom(revoking(user('u7')))
  list.makeRoom({ kind: 'unrevoke', by: 'ann', subject: { of: 'user', value: 'u7' } })
  now = 1_501
  list.makeRoom(further)
  list.change(further)
  expect([list.size, isRefused(list, mark('u0', 1)), isRefused(list, mark('one more', 1))]).toEqual([
    MAX_REVOCATIONS,
    false,
    true,
  ])
  expect(opened().size).toBe(MAX_REVOCATIONS)
})
