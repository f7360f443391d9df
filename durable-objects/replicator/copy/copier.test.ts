import { expect, test } from 'vitest'
import type { Rows, SourceTable, TableReader } from '../../../sources/source.ts'
import { BARE_FORM } from '../../../sources/stored.ts'
import type { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { Copier, type CopierPorts } from './copier.ts'
import { newCopy } from './copy-state.ts'
import type { CopyWork } from './copy-work.ts'
import { storeRows } from './store-rows.ts'

const table: FollowedTable = { number: 1, schema: 'public', name: 't', source: { counted: false } as SourceTable }

/** A copier of rows that lack values, each of which the source says is gone, and what it waited for. */
function setUp(rows: number, lacks = false, more: { source?: TableReader; work?: Partial<CopyWork> } = {}) {
  const pauses: number[] = []
  const marks: string[] = []
  let marked = Promise.withResolvers<string>()
  const nothing: Rows = { rows: [], length: 0, view: { sees: () => true, seesAllUpTo: () => true } }
  const source: Partial<TableReader> = {
    ready: () => Promise.resolve(),
    rows: () => Promise.resolve({ ...nothing, cut: false }),
  }
  let left = rows
  const between: Intake['between'] = (work) => work({ remove: () => {} } as never, () => {})
  const ports: CopierPorts = {
    intake: { remember: () => {}, between, flush: () => {}, lacks: () => lacks } as unknown as Intake,
    source: more.source ?? (source as TableReader),
    form: BARE_FORM,
    call: () => ({ signal: new AbortController().signal, deadlineMs: 1_000 }),
    keys: () => [],
    range: () => [],
    waitsFor: () => {},
    room: () => Promise.resolve(),
    pause: (milliseconds) => {
      pauses.push(milliseconds)
      return new Promise(() => {})
    },
    mark: (mark) => {
      marks.push(mark)
      marked.resolve(mark)
      marked = Promise.withResolvers()
      return Promise.resolve()
    },
    care: null,
  }
  const work: CopyWork = {
    tables: [table],
    copyState: () => ({ ...newCopy(false), state: 'done' }),
    progress: () => {},
    incomplete: () => (left-- > 0 ? { table, keys: ['["1"]'] } : null),
    removeRetired: () => Promise.resolve('none'),
    isOver: () => false,
    ...more.work,
  }
  const copier = new Copier(ports, work, storeRows({ notes: () => false }))
  return { copier, pauses, marks, next: () => marked.promise }
}

test('a read that is brought to its place leaves no timer', async () => {
  const { copier, pauses, marks, next } = setUp(3)
  let mark = next()
  const running = copier.run()
  for (let n = 0; n < 3; n++) {
    const id = await mark
    mark = next()
    for (const _ of copier.marker(id)) continue
  }
  await running
  expect([marks.length, pauses]).toEqual([3, []])
})

test('a read is applied at its own mark alone', async () => {
  const { copier, marks, next } = setUp(1)
  const mark = next()
  let isDone = false
  const running = copier.run().then(() => (isDone = true))
  const id = await mark
  for (const _ of copier.marker(id.replace('complete 1', 'complete 2'))) continue
  await new Promise((resolve) => setImmediate(resolve))
  expect([marks.length, isDone]).toEqual([1, false])
  for (const _ of copier.marker(id)) continue
  await running
})

test('a read that waits for its place rejects when the session is over', async () => {
  const { copier, pauses, next } = setUp(1)
  const mark = next()
  const running = copier.run()
  running.catch(() => {})
  const id = await mark
  copier.end(new Error('the session is over'))
  await expect(running).rejects.toThrow('the session is over')
  // The mark still comes, and nothing is applied.
  expect([...copier.marker(id)]).toEqual([])
  expect(pauses).toEqual([])
})

test('rows that lack values as before are not read again at once', async () => {
  const { copier, pauses, marks, next } = setUp(2, true)
  const mark = next()
  void copier.run()
  for (const _ of copier.marker(await mark)) continue
  await new Promise((resolve) => setImmediate(resolve))
  expect([marks.length, pauses]).toEqual([1, [20]])
})

test('after the end of the session the progress of a copy stays: its table may have to be compared anew', async () => {
  const read = Promise.withResolvers<{ kind: 'end' }>()
  const asked = Promise.withResolvers<void>()
  const chunk = () => {
    asked.resolve()
    return read.promise
  }
  const moved: string[] = []
  const { copier } = setUp(0, false, {
    source: { ready: () => Promise.resolve(), chunk } as unknown as TableReader,
    work: {
      copyState: () => ({ ...newCopy(false), state: 'copying', cursor: { kind: 'postgres', v: 1, value: {} } }),
      progress: (_, { state }) => void moved.push(state),
    },
  })
  const running = copier.run()
  running.catch(() => {})
  await asked.promise
  copier.end(new Error('the session is over'))
  read.resolve({ kind: 'end' })
  await expect(running).rejects.toThrow('the session is over')
  expect(moved).toEqual([])
})
