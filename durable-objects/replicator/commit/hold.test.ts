import { expect, test } from 'vitest'
import { afterCommit, compared, held, isComparing, tellingOf } from './hold.ts'
import { servedOf } from '../store/served.ts'
import type { State } from '../store/storage.ts'

const NOTICE = { previous: 3, parts: ['n'] }
const at = (committed: number, more: Partial<State['commit']> = {}): State['commit'] => ({
  committed,
  plan: 'p',
  named: NOTICE,
  batch: 1,
  hold: null,
  published: null,
  ...more,
})
const commit = (before: State['commit'], committed: number, plan = 'p') =>
  afterCommit(before, {
    committed,
    plan,
    named: { previous: before.committed, parts: ['m'] },
    batch: 2,
    published: null,
  })

test('without a hold, a commit is served and announced by its notice', () => {
  const next = commit(at(4), 7, 'q')
  expect([servedOf(next), next.named, tellingOf(at(4), next)]).toEqual([
    { checkpoint: 7, plan: 'q' },
    { previous: 4, parts: ['m'] },
    'notice',
  ])
})

test('from the beginning of a comparison no commit of any plan is served, and the last announced notice is kept', () => {
  const begun = held(at(4), 't')
  const next = commit(begun, 7, 'q')
  expect([begun, next].map(servedOf)).toEqual([
    { checkpoint: 4, plan: 'p' },
    { checkpoint: 4, plan: 'p' },
  ])
  expect([next.committed, next.plan, next.named, tellingOf(begun, next), isComparing(next)]).toEqual([
    7,
    'q',
    NOTICE,
    null,
    true,
  ])
})

test('after the comparison, the commit of everything stored by then is served, and announced by a gap', () => {
  const done = compared(commit(held(at(4), 't'), 7), 9)
  expect([servedOf(done).checkpoint, isComparing(done)]).toEqual([4, false])
  const early = commit(done, 8)
  expect([servedOf(early).checkpoint, tellingOf(done, early)]).toEqual([4, null])
  const last = commit(early, 10, 'q')
  expect([servedOf(last), last.named, tellingOf(early, last)]).toEqual([{ checkpoint: 10, plan: 'q' }, null, 'gap'])
})

test('it is served at once when everything is already committed', () => {
  const before = commit(held(at(4), 't'), 7)
  const done = compared(before, 7)
  expect([servedOf(done).checkpoint, tellingOf(before, done)]).toEqual([7, 'gap'])
})

test('a comparison that begins before that commit continues to serve the earlier checkpoint, and keeps its time', () => {
  const again = held(compared(commit(held(at(4), 't'), 7), 9), 'later')
  expect([again.hold, servedOf(commit(again, 12)).checkpoint]).toEqual([
    { checkpoint: 4, plan: 'p', since: 't', until: null },
    4,
  ])
})
