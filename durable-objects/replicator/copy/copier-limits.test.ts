import type { Sql } from 'postgres'
import { expect, test } from 'vitest'
import { PostgresTable } from '../../../sources/postgres/postgres-table.ts'
import { PostgresReader } from '../../../sources/postgres/copy/table-reader.ts'
import type { CatalogTable } from '../../../sources/postgres/index.ts'
import { BARE_FORM } from '../../../sources/stored.ts'
import type { Batch } from '../ingest/batch.ts'
import type { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { Copier, type CopierPorts } from './copier.ts'
import { newCopy, type CopyState } from './copy-state.ts'
import type { CopyWork } from './copy-work.ts'
import { RANGE_KEYS } from './placed-rows.ts'
import { storeRows } from './store-rows.ts'

const column = {
  name: 'id',
  typeOid: 25,
  typeName: 'text',
  notNull: true,
  type: { oid: 25, kind: 'base', name: 'text' },
} as const
const name = { schema: 'public', name: 'docs' }
const catalog: CatalogTable = {
  oid: 7,
  ...name,
  columns: [column],
  key: ['id'],
  keyEquals: ['='],
  keyTypes: ['text'],
  identity: 'd',
  names: [name],
  parts: [{ oid: 7, ...name }],
  partitioned: false,
  rowFilter: null,
  fingerprint: '',
}
const table: FollowedTable = { number: 1, ...name, source: new PostgresTable(catalog) }

interface Others {
  tables?: FollowedTable[]
  range?: CopierPorts['range']
  batch?: Partial<Batch>
}

/**
 * A source whose statements answer, or fail with, what the test says, one after the other; and what a copier makes of
 * it.
 */
function reading(
  answers: (readonly unknown[][] | Error)[],
  { tables = [table], range = () => [], batch: batched }: Others = {},
) {
  const statements: string[] = []
  const waits: (string | null)[] = []
  let copy: CopyState = newCopy(false)
  const facts = { snapshot: '100:100:', filenode: '5', blocks: '2', out_of_line: '0' }
  const sql = Object.assign(async () => [facts], {
    unsafe: (text: string) => ({
      values: async () => {
        statements.push(text)
        const answer = answers.shift()
        if (answer === undefined) throw new Error('one statement too many')
        if (answer instanceof Error) throw answer
        return answer
      },
    }),
  })
  const batch: Partial<Batch> = { changes: 0, length: 0, load: () => {}, upsert: () => {}, ...batched }
  const intake: Partial<Intake> = {
    remember: () => {},
    flush: () => {},
    sliceChanges: 100,
    between: (apply) => apply(batch as Batch, () => {}),
  }
  const ports: CopierPorts = {
    intake: intake as Intake,
    source: new PostgresReader({ sql: sql as unknown as Sql, inTime: (_, work) => work(), barrier: async () => {} }),
    form: BARE_FORM,
    call: () => ({ signal: new AbortController().signal, deadlineMs: 1_000 }),
    keys: () => [],
    range,
    room: async () => {},
    pause: async (milliseconds) => {
      if (milliseconds > 10_000) await new Promise(() => {})
    },
    waitsFor: (what) => waits.push(what),
    care: null,
    mark: async (mark) => {
      await Promise.resolve()
      for (const _ of copier.marker(mark)) void _
    },
  }
  const work: CopyWork = {
    tables,
    copyState: () => copy,
    progress: (_, next) => (copy = next),
    incomplete: () => null,
    removeRetired: () => Promise.resolve('none'),
    isOver: () => false,
  }
  const copier = new Copier(ports, work, storeRows({ notes: () => false }))
  return { run: () => copier.run(), statements, waits, copy: () => copy }
}

const failure = (code: string) => Object.assign(new Error('canceling statement'), { code })
const row = (id: string | null, place: string | null = null) => [
  '100:100:',
  '5',
  false,
  id === null ? null : JSON.stringify([id]),
  null,
  place,
]

test('a lock that somebody else holds is waited for, and said; everything else ends the session', async () => {
  const locked = reading([failure('55P03'), failure('55P03'), [row(null)]])
  await locked.run()
  expect(locked.statements).toHaveLength(3)
  expect(new Set(locked.waits)).toEqual(new Set([null, 'a lock that somebody else holds on a table']))
  expect(locked.waits.at(-1)).toBe(null)
  expect(locked.copy().state).toBe('done')
  await expect(reading([failure('57014')]).run()).rejects.toThrow(/canceling statement/)
})

test('a chunk that was cut continues between two rows of a block, also in the next session', async () => {
  const cut = reading([[row('a'), row(null, '(0,5)')], [row('b'), row(null, '(1,2)')], [row('c')]])
  await cut.run()
  const from = cut.statements.map((text) => /t\.ctid >= '(\(\d+,\d+\))'/.exec(text)?.[1])
  expect(from).toEqual(['(0,0)', '(0,5)', '(1,2)'])
  expect(cut.copy()).toMatchObject({ state: 'done', rows: 3 })
  expect(cut.copy().item).toBeUndefined()
})

test('a table without a key that was large and is small: the rows that we have are in memory in limited parts', async () => {
  const keyless: FollowedTable = {
    ...table,
    source: new PostgresTable({ ...catalog, key: [], keyEquals: [], identity: 'f' }),
  }
  const have = Array.from({ length: 3 * RANGE_KEYS - 7 }, (_, n) =>
    JSON.stringify([`${n.toString(16).padStart(8, '0')}`]),
  )
  const asked: number[] = []
  const removed: string[] = []
  const range: CopierPorts['range'] = (_, from, to, limit) => {
    const found = have.filter((key) => key >= from && (to === null || key < to)).slice(0, limit)
    asked.push(found.length)
    return found
  }
  const read = reading([[row(null)]], {
    tables: [keyless],
    range,
    batch: { remove: (_, key) => removed.push(key) },
  })
  await read.run()
  expect(read.copy().state).toBe('done')
  expect(removed).toEqual(have)
  expect(asked).toEqual([RANGE_KEYS + 1, RANGE_KEYS + 1, RANGE_KEYS - 7])
})
