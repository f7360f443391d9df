import { expect, test } from 'vitest'
import { CLOCK } from '../../shared/clock.ts'
import { testDatabase } from '../../test-database.ts'
import { Store } from '../store/store.ts'
import { Committer, type CommitterPorts } from './committer.ts'

/** A committer that serves checkpoint 5, with nothing on its way. */
function world() {
  const fail = (error: unknown): never => {
    throw error
  }
  const store = new Store(testDatabase(), { reset: fail, reads: () => true })
  store.state.set('commit', { ...store.state.get('commit'), committed: 5, plan: 'p' })
  const told: string[] = []
  const ports: CommitterPorts = {
    store,
    relays: { notice: (frames) => told.push(...frames), gap: () => 'gap', fence: () => {}, keepAllOpen: () => {} },
    watchers: { notifiedTo: null, committed: () => {}, publishAll: () => {}, resume: () => {} },
    fencing: { begin: () => {}, onChange: () => () => {}, probeAll: () => {} },
    clock: CLOCK,
    append: () => Promise.reject(new Error('there is nothing to append')),
    durable: () => Promise.resolve(),
  }
  return { store, committer: new Committer(ports), told }
}

const PARTIAL = { xid: 7, lsn: '0/10', changes: 1 }

test('a comparison ends only between two transactions: a part of one is not a state of the source', async () => {
  const { store, committer, told } = world()
  const { state } = store
  committer.hold()
  state.set('decode', { counter: 5, position: null, partial: PARTIAL })
  committer.endHold()
  expect(state.get('commit').hold).toMatchObject({ checkpoint: 5, until: null })
  state.set('decode', { counter: 5, position: null, partial: null })
  committer.endHold()
  expect(state.get('commit').hold).toBeNull()
  await new Promise((resolve) => setImmediate(resolve))
  expect(told).toEqual(['gap'])
})
