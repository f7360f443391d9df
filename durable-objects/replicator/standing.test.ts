import { describe, expect, test } from 'vitest'
import type { Standing } from '../../protocol/messages/replicator.ts'
import { testDatabase } from '../test-database.ts'
import { BUCKETS_A_CALL, removeBuckets, TenantStanding, type StandingPorts } from './standing.ts'
import { Store } from './store/store.ts'

/** A replicator whose object ends when it aborts: the next call is made to a new one over the same storage. */
function replicator() {
  const db = testDatabase()
  const calls: string[] = []
  const state = { alarm: 1 as number | null, aborted: 0, fails: '' }
  const storage = {
    deleteAlarm: async () => void (state.alarm = null),
    setAlarm: async (at: number) => void (state.alarm = at),
    sync: async () => {},
    deleteAll: async () => void calls.push('deleteAll'),
  }
  const answer = async (call: string) => {
    if (call === state.fails) throw new Error(`${call} failed`)
    calls.push(call)
  }
  const store = () => new Store(db, { reset: () => {} })
  const standing = () =>
    new TenantStanding({
      tenant: 'acme',
      ctx: {
        storage,
        abort: (reason: string) => {
          state.aborted++
          throw new Error(reason)
        },
        blockConcurrencyWhile: (work) => work(),
      },
      store: store(),
      health: { measure: async () => null } as unknown as StandingPorts['health'],
      relays: () => ['acme/main/0', 'acme/main/1'],
      relay: async (name, call) => {
        await answer(`dismiss ${name}`)
        return call({
          dismiss: async () => 3,
          streams: async () => 0,
          clients: async () => ({ streams: [], more: 0 }),
          revoke: async () => 0,
        })
      },
      bucket: async (name, call) => {
        await answer(`bucket ${name}`)
        return call({ dismiss: async () => {}, remove: async () => {}, erase: async () => ({ erased: true }) })
      },
      connected: () => answer('source') as Promise<never>,
      leaveFormer: async () => {},
      walCheckSeconds: async () => 60,
    })
  /** As the Directory calls it: again when the object has ended. */
  const told = async (to: Standing, version: number) => {
    const call = () => standing().told({ state: to, version })
    return call().catch(call)
  }
  return { db, calls, state, store, standing, told, is: () => store().state.get('standing') }
}

describe('a state that the Directory tells', () => {
  test('is stored, ends the object once, and is answered when all relays and followed buckets have been told', async () => {
    const { db, calls, state, store, told, is } = replicator()
    store()
    db.run("INSERT INTO watchers VALUES ('followed', 1)")
    expect(await told('suspended', 2)).toEqual({ streams: 6 })
    expect([is(), state.aborted, calls]).toEqual([
      'suspended',
      1,
      ['dismiss acme/main/0', 'dismiss acme/main/1', 'bucket followed'],
    ])
    expect(await told('suspended', 2)).toEqual({ streams: 6 })
    expect(state.aborted).toBe(1)
    expect(await told('active', 3)).toEqual({ streams: 0 })
    expect([is(), state.aborted]).toEqual(['active', 2])
    expect(state.alarm).toBeGreaterThan(1)
  })

  test('is not answered while one of them does not answer', async () => {
    const { calls, state, told, is } = replicator()
    state.fails = 'dismiss acme/main/1'
    await expect(told('suspended', 2)).rejects.toThrow('dismiss acme/main/1 failed')
    expect(is()).toBe('suspended')
    state.fails = ''
    calls.length = 0
    expect(await told('suspended', 2)).toEqual({ streams: 6 })
    expect(calls.length).toBe(2)
  })

  test('of an older version came late, and changes nothing', async () => {
    const { state, told, is } = replicator()
    await told('suspended', 4)
    expect(await told('active', 3)).toEqual({ streams: 0 })
    expect([is(), state.aborted]).toEqual(['suspended', 1])
    await told('active', 5)
    await told('suspended', 4)
    expect(is()).toBe('active')
  })

  test('that is a deletion is the last one', async () => {
    const { state, told, is } = replicator()
    await told('deleting', 2)
    state.alarm = null
    await told('active', 9)
    await told('suspended', 9)
    expect([is(), state.alarm]).toEqual(['deleting', null])
  })
})

test('nothing of a tenant is removed that is not being deleted', async () => {
  const { calls, standing, told } = replicator()
  const refused = expect.objectContaining({
    code: 'ROCKPOOL_TENANT_CONFLICT',
    message: expect.stringMatching(/is not being deleted/),
  })
  const tried = () => [
    standing().leaveSource(),
    standing().removeBuckets(0),
    standing().eraseAll(() => calls.push('before')),
  ]
  for (const each of tried()) await expect(each).rejects.toEqual(refused)
  await told('suspended', 2)
  calls.length = 0
  for (const each of tried()) await expect(each).rejects.toEqual(refused)
  expect(calls).toEqual([])
  await told('deleting', 3)
  calls.length = 0
  await Promise.all(tried())
  expect(calls.sort()).toEqual(['before', 'deleteAll', 'source'])
})

test('buckets are erased page by page, then those that were dropped before; names of the former stay for the second round', async () => {
  const { db, store } = replicator()
  store()
  const count = BUCKETS_A_CALL + 3
  for (let n = 1; n <= count; n++) db.run('INSERT INTO buckets VALUES (?, ?, ?, 0)', n * 2, `b${n}`, 'd')
  for (let n = 1; n <= 5; n++) db.run('INSERT INTO removals VALUES (?, 2, ?, NULL, 3)', n, `dropped${n}`)
  for (const dropped of [5, 0]) {
    const erased: string[] = []
    const bucket: StandingPorts['bucket'] = async (name, call) => {
      erased.push(name)
      return call({ dismiss: async () => {}, remove: async () => {}, erase: async () => ({ erased: true }) })
    }
    const answers = []
    for (let after: number | null = 0; after !== null;) {
      const answer: Awaited<ReturnType<typeof removeBuckets>> = await removeBuckets(db, { bucket }, after)
      answers.push(answer)
      after = answer.after
    }
    expect(answers).toEqual([
      { removed: BUCKETS_A_CALL, after: BUCKETS_A_CALL * 2, left: 3 },
      { removed: 3, after: count * 2, left: 0 },
      { removed: dropped, after: null, left: 0 },
    ])
    expect(new Set(erased).size).toBe(count + dropped)
    // Each is called by dismiss, remove and erase.
    expect(erased.length).toBe(3 * (count + dropped))
  }
})

test('a bucket that is followed again is no success, and its page is repeated', async () => {
  const { db, store } = replicator()
  store()
  db.run("INSERT INTO buckets VALUES (1, 'b', 'd', 0)")
  const bucket: StandingPorts['bucket'] = (_, call) =>
    call({ dismiss: async () => {}, remove: async () => {}, erase: async () => ({ erased: false }) })
  await expect(removeBuckets(db, { bucket }, 0)).rejects.toThrow('the bucket b is followed again')
})
