import { expect, test } from 'vitest'
import { contractRules, LARGE_VALUE, type BedChange, type ContractBed } from '../contract.ts'
import { MemoryDatabase, type MemoryChange, type Misbehaviour, type Rule } from './database.ts'
import { memoryKind } from './memory-source.ts'

let made = 0

function bedOf(broken: Rule | null = null, worst: Partial<Misbehaviour> = {}): ContractBed<unknown> {
  const tables = { a: { schema: 'public', name: 'a' }, b: { schema: 'public', name: 'b' } }
  const infos = Object.values(tables).map((name) => ({ ...name, columns: ['id', 'v'], key: ['id'] }))
  const database = new MemoryDatabase(`contract ${++made}`, infos)
  if (broken !== null) database.broken.add(broken)
  Object.assign(database.misbehaviour, worst)
  const known = new Set<string>()
  const changeOf = ({ table, id, v }: BedChange): MemoryChange => {
    const name = tables[table]
    if (v === null) return { op: 'delete', table: name, row: { id } }
    const is = known.has(`${table} ${id}`)
    known.add(`${table} ${id}`)
    return { op: is ? 'update' : 'insert', table: name, row: { id, v } }
  }
  const { misbehaviour } = database
  return {
    kind: memoryKind(() => database),
    url: 'memory://contract',
    settings: {},
    tables,
    commit: async (...changes) => database.commit(...changes.map(changeOf)),
    another: (stored) => ({ ...stored, id: 'another' }),
    async unseen(change, work) {
      misbehaviour.hidesCommits = true
      database.commit(changeOf(change))
      misbehaviour.hidesCommits = false
      await work(async () => database.reveal())
    },
    unsent: async (id) =>
      database.commit({ op: 'update', table: tables.a, row: { id, v: LARGE_VALUE }, unsent: ['v'] }),
    comesMs: 500,
    async silent(work) {
      misbehaviour.neverAnswers = true
      await work().finally(() => (misbehaviour.neverAnswers = false))
    },
    close: () => Promise.resolve(),
  }
}

test.each(contractRules())('memory: $name', async ({ check }) => check(bedOf()))

test.each(contractRules())('memory that delivers everything twice: $name', async ({ check }) =>
  check(bedOf(null, { deliversTwice: true })),
)

/** Rules of the kind, and the check that notices when one is not kept. */
const NOTICED: Record<Rule, RegExp> = {
  'counts what is not followed': /cut after any event/,
  'continues after what is stored': /cut after any event/,
  'skips what is stored': /not delivered again/,
  'proves the stored transaction': /another transaction/,
  'proves the rest of a transaction': /another transaction/,
  'answers in time or not at all': /not answered in time/,
  'ends aborted calls': /when its session is over/,
  'waits for what was delivered': /nothing is read before/,
  'says what a read has seen': /says which transactions/,
  'delivers marks after what was committed': /a mark comes after/,
  'leaves out unknown values': /not made up/,
  'reads every row once': /reads every row once/,
  'says what has passed': /a change that is no event/,
  'sends nothing of what is beyond': /a transaction that is left behind/,
}

test.each(Object.entries(NOTICED))('the contract notices a memory source without the rule: %s', async (rule, check) => {
  const noticing = contractRules().filter(({ name }) => check.test(name))
  expect(noticing).toHaveLength(1)
  await expect(noticing[0]?.check(bedOf(rule as Rule))).rejects.toThrow()
})
