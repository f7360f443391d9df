import { describe, expect, test } from 'vitest'
import { MemoryDatabase } from '../../../sources/memory/database.ts'
import { memoryKind } from '../../../sources/memory/memory-source.ts'
import type { SourceKind } from '../../../sources/source.ts'
import { toStored, type StoredState } from '../../../sources/stored.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { testDatabase } from '../../test-database.ts'
import type { Deploys } from '../deploy/deploys.ts'
import { Store } from '../store/store.ts'
import { HealthWatch } from './health-watch.ts'
import { streamedTo } from './kept-state.ts'
import { prepare } from './prepare.ts'

const DOCS = { schema: 'public', name: 'docs', columns: ['id'], key: ['id'] }

/** A replicator that has followed a database in memory up to its third transaction. */
function world() {
  const database = new MemoryDatabase('app', [DOCS])
  for (let n = 0; n < 3; n++) database.commit({ op: 'insert', table: DOCS, row: { id: String(n) } })
  database.kept = 2
  const kind: SourceKind<unknown> = memoryKind(() => database)
  const fail = (error: unknown): never => {
    throw error
  }
  const store = new Store(testDatabase(), { reset: fail, reads: () => true })
  const columns = () => ({ all: true, read: new Set<string>(), named: new Set<string>() })
  const evaluation = { tables: [DOCS], columns, reads: () => true }
  const deploys = { evaluation, wanted: evaluation, begin: () => {} } as unknown as Deploys
  let held = 0
  const ports = { store, deploys, committer: { hold: () => void held++ }, health: new HealthWatch(store) }
  const call = () => ({ signal: new AbortController().signal, deadlineMs: 1_000 })
  const position = { n: 3, id: database.transaction(3)?.id ?? '' }
  store.state.set('source', toStored(kind, { database: 'app' }))
  store.state.set('decode', { counter: 7, position: toStored(kind, position), partial: null })
  const session = async () => {
    const source = kind.connect({ url: 'memory://app', settings: {}, clientName: 'test', identity: null })
    const settings = { retireGraceSeconds: 0 } as ReplicationSettings
    const report = { problem: () => {}, waitsFor: () => {} }
    const prepared = await prepare(ports, settings, { kind, source, call }, report)
    store.tables.use(
      prepared.tables,
      () => true,
      () => true,
    )
    return prepared
  }
  const reported = () => store.diagnostics.status().recent.map(({ code, reason }) => `${code} ${reason}`)
  return { database, kind, store, session, reported, position, held: () => held }
}

test('a stream that connects to what is stored continues there, and nothing is reported', async () => {
  const { kind, store, session, reported, position, held } = world()
  await session()
  expect([streamedTo(kind, store), reported(), held()]).toEqual([{ position, place: null }, [], 0])
})

describe('state of another kind or version is reported, and everything is compared while a new stream begins', () => {
  const foreign: [string, StoredState][] = [
    ['another kind', { kind: 'other', v: 1, value: { n: 3 } }],
    ['another version', { kind: 'memory', v: 2, value: { n: 3 } }],
    ['the kind that wraps nothing', { lsn: '0/16', xid: 3, time: '' }],
  ]
  const wrong =
    /^ROCKPOOL_RESYNC everything is compared again: the stored state is of the kind (other|memory|postgres), version \d, not memory, version 1$/

  test.each(foreign)('a position of %s', async (_, stored) => {
    const { kind, store, session, reported, held } = world()
    store.state.set('decode', { counter: 7, position: stored, partial: null })
    await session()
    expect(reported()).toEqual([expect.stringMatching(wrong)])
    expect([streamedTo(kind, store), store.state.get('decode').counter, held()]).toEqual([
      { position: null, place: null },
      7,
      1,
    ])
    // Once.
    await session()
    expect(reported()).toHaveLength(1)
  })

  test.each(foreign)('a place inside a transaction of %s', async (_, stored) => {
    const { store, session, reported } = world()
    store.state.set('decode', { ...store.state.get('decode'), partial: stored })
    await session()
    expect(reported()).toEqual([expect.stringMatching(wrong)])
    expect(store.state.get('decode').partial).toBeNull()
  })

  test.each(foreign.slice(0, 2))('a copy that %s has begun', async (_, cursor) => {
    const { store, session, reported } = world()
    await session()
    const copy = store.tables.copies[0]
    const [table] = store.tables.use(
      (await session()).tables,
      () => true,
      () => true,
    )
    if (!table || !copy) throw new Error('it is not followed')
    store.tables.progress(table, { ...copy, state: 'copying', cursor })
    await session()
    expect(reported()).toEqual([expect.stringMatching(wrong)])
    expect(store.tables.copyState(table)).toMatchObject({ state: 'waiting', sweep: true })
  })
})

test('a database that was put back, and one that has forgotten us, are reported', async () => {
  const older = world()
  older.database.restore(1)
  await older.session()
  expect(older.reported()).toEqual([expect.stringMatching(/put back to an older state/)])
  const forgotten = world()
  forgotten.database.forget()
  await forgotten.session()
  expect(forgotten.reported()).toEqual([expect.stringMatching(/has forgotten us/)])
})
