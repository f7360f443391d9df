import { expect, test } from 'vitest'
import { Model, type Viewer } from './model.ts'
import { shownOf, type BankRow } from './shown.ts'

const ann: Viewer = { user: 'ann', branch: null }
const account = (id: string, branch: string, balance: number) => [id, { id, branch, balance }] as const
const book = (id: string, serial: number): BankRow => ({ id, serial })

/** Two branches that ann sees, and 10 that goes from one to the other. */
function bank(): Model {
  const model = new Model(
    {
      accounts: [account('a1', 'b1', 50), account('a2', 'b2', 50), account('a3', 'b3', 50)],
      branches: ['b1', 'b2', 'b3'],
      access: ['b1', 'b2'].map((what) => ({ table: 'members', id: what, row: { who: 'ann', what } })),
    },
    [ann],
  )
  model.issue(1)
  model.commit({
    serial: 1,
    accounts: [account('a1', 'b1', 40), account('a2', 'b2', 60)],
    branches: ['b1', 'b2'],
    access: [],
  })
  return model
}

const before: BankRow[] = [
  { id: 'a1', branch: 'b1', balance: 50 },
  book('b1', 0),
  { id: 'a2', branch: 'b2', balance: 50 },
  book('b2', 0),
]
const after: BankRow[] = [
  { id: 'a1', branch: 'b1', balance: 40 },
  book('b1', 1),
  { id: 'a2', branch: 'b2', balance: 60 },
  book('b2', 1),
]
const half = [...before.slice(0, 2), ...after.slice(2)]

test('a state of the bank passes, and then the next one', () => {
  const model = bank()
  model.check(ann, shownOf(before))
  model.check(ann, shownOf(after))
  expect(model.problems).toEqual([])
  expect(model.checked).toBe(2)
})

test('noticed is: half of a transaction, an older state, a balance that never was, a clock that does not fit', () => {
  for (const [rows, problem] of [
    [half, /I4/],
    [[...after, { id: 'now', serial: 0 }], /I4/],
    [[{ id: 'a1', branch: 'b1', balance: 41 }, ...after.slice(1)], /a1=41, but was a1=40/],
    [[...after.slice(0, 3), book('b2', 2)], /never touched/],
    [after.slice(0, 3), /never touched/],
  ] as const) {
    const model = bank()
    model.check(ann, shownOf(rows))
    expect(model.problems).toEqual([expect.stringMatching(problem)])
  }
  const model = bank()
  model.check(ann, shownOf([...after, { id: 'now', serial: 1 }]))
  model.check(ann, shownOf(before))
  expect(model.problems).toEqual([expect.stringMatching(/I4: what it has shown before is from 1 on/)])
})

test('noticed is a branch too many or too few, and one that is still there when access has gone', () => {
  for (const rows of [after.slice(0, 2), [...after, { id: 'a3', branch: 'b3', balance: 50 }, book('b3', 0)]]) {
    const model = bank()
    model.check(ann, shownOf(rows))
    expect(model.problems).toEqual([expect.stringMatching(/I7/)])
  }
  const model = bank()
  model.issue(2)
  // A checkpoint may come before the test has heard of the commit.
  model.check(ann, shownOf([{ id: 'a1', branch: 'b1', balance: 39 }, book('b1', 2), ...after.slice(2)]))
  expect([model.checked, model.waiting]).toEqual([0, 1])
  const leaves = { table: 'members', id: 'b2', row: null } as const
  model.commit({ serial: 2, accounts: [account('a1', 'b1', 39)], branches: ['b1'], access: [leaves] })
  expect(model.problems).toEqual([expect.stringMatching(/I7: at 2 to Infinity it holds b1,b2; it may see b1$/)])
  model.check(ann, shownOf([{ id: 'a1', branch: 'b1', balance: 39 }, book('b1', 2)]))
  expect(model.problems).toHaveLength(1)
})
