import { beforeEach, expect, test } from 'vitest'
import { RockpoolError } from '../../protocol/errors.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import { migrate } from '../shared/database.ts'
import { testDatabase } from '../test-database.ts'
import { MIGRATIONS } from './storage.ts'
import { tell } from './telling.ts'
import { Untold } from './untold.ts'

let untold: Untold
let now = 1_000_000
/** Changes that the replicator was told, by their subjects, and what it throws before it takes one. */
let told: string[] = []
let throws: unknown[] = []

beforeEach(() => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  untold = new Untold(db)
  told = []
  throws = []
  now = 1_000_000
})

const revoking = (value: string): RevocationChange => ({
  kind: 'revoke',
  by: 'ann',
  revocation: { of: 'user', value, before: null, until: null },
})
const unrevoking = (value: string): RevocationChange => ({
  kind: 'unrevoke',
  by: 'ann',
  subject: { of: 'user', value },
})
const telling = (own: number | null) =>
  tell(
    { tenant: 'acme', own },
    {
      untold,
      now: () => now,
      async revoke(change) {
        const error = throws.shift()
        if (error !== undefined) throw error
        told.push(change.kind === 'revoke' ? change.revocation.value : `-${change.subject.value}`)
        return { streams: told.length }
      },
    },
  )
const full = new RockpoolError('ROCKPOOL_TENANT_CONFLICT', 'full')

test('what waits is told in order, and the answer is that of the own change', async () => {
  untold.add('acme', revoking('u1'), now)
  untold.add('other', revoking('u1'), now)
  const own = untold.add('acme', revoking('u2'), now)
  untold.add('acme', revoking('u3'), now)
  expect(await telling(own)).toEqual({ streams: 2, told: true, error: null })
  expect(told).toEqual(['u1', 'u2'])
  expect(untold.list('acme', 10)).toHaveLength(1)
  expect(await telling(null)).toMatchObject({ told: true })
  expect([told, untold.failed('acme'), untold.list('other', 10).length]).toEqual([['u1', 'u2', 'u3'], null, 1])
})

test('a replicator that does not answer is told again, later each time, and nothing is lost', async () => {
  const own = untold.add('acme', revoking('u1'), now)
  throws = [new Error('no answer'), new Error('no answer')]
  expect(await telling(own)).toEqual({ streams: 0, told: false, error: 'no answer' })
  const first = untold.nextDue ?? 0
  expect(first).toBeGreaterThan(now)
  expect([untold.due(now, 10), untold.due(first, 10)]).toEqual([[], ['acme']])
  now = first
  expect(await telling(null)).toMatchObject({ told: false })
  expect(untold.failed('acme')).toMatchObject({ failures: 2 })
  expect((untold.nextDue ?? 0) - now).toBeGreaterThan(0)
  expect(await telling(null)).toMatchObject({ told: true })
  expect([told, untold.nextDue]).toEqual([['u1'], null])
})

test('no room: the operator who waits is refused, and what waits alone is told again behind the others', async () => {
  const own = untold.add('acme', revoking('u1'), now)
  throws = [full]
  await expect(telling(own)).rejects.toBe(full)
  expect(untold.list('acme', 10)).toEqual([])
  untold.add('acme', revoking('u2'), now)
  const last = untold.add('acme', revoking('u3'), now)
  throws = [full]
  expect(await telling(null)).toMatchObject({ told: true })
  expect(told).toEqual(['u3'])
  expect(untold.next('acme', Infinity)?.number).toBeGreaterThan(last)
  now = untold.nextDue ?? 0
  await telling(null)
  expect(told).toEqual(['u3', 'u2'])
})

test('what is taken back before it was told is left out, and numbers grow also when the clock goes back', () => {
  const first = untold.add('acme', revoking('u1'), now)
  now -= 500_000
  const second = untold.add('acme', unrevoking('u1'), now)
  expect(second).toBeGreaterThan(first)
  expect(untold.list('acme', 10).map(({ change }) => change.kind)).toEqual(['unrevoke'])
})
