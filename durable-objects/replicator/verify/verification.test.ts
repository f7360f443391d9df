import { expect, test } from 'vitest'
import { putChecksum } from '../../../protocol/op-checksum.ts'
import { opText } from '../../../protocol/op-text.ts'
import type { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { Log } from '../../bucket/log.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Batch } from '../ingest/batch.ts'
import { Buckets } from '../store/buckets.ts'
import { Definitions } from '../store/definitions.ts'
import { Diagnostics } from '../store/diagnostics.ts'
import { Differences } from '../store/differences.ts'
import { MAILBOX_DEFINITION, MAILBOX_TABLE } from '../writes/mailboxes.ts'
import { RowStates } from '../store/row-state.ts'
import { MIGRATIONS, StateStore } from '../store/storage.ts'
import { newCopy } from '../copy/copy-state.ts'
import { Tables } from '../store/tables.ts'
import type { Outcome } from './comparisons.ts'
import { newVerifying } from './progress.ts'
import type { SessionAccess } from './session-access.ts'
import { Verification } from './verification.ts'

// Two mailboxes that row state says hold a number each; what their buckets hold is what was appended to their logs.

class World {
  readonly db = testDatabase()
  readonly logs = new Map([1, 2].map((bucket) => [`b${bucket}`, new Log(testDatabase())]))
  readonly outcomes: [readonly number[], Outcome][] = []
  /** Called when a bucket has been asked. */
  digested: () => void = () => {}
  state!: StateStore
  verification!: Verification

  constructor() {
    migrate(this.db, MIGRATIONS)
    this.start()
    const buckets = new Buckets(this.db)
    const batch = new Batch(0, {
      evaluate: () => ({ rows: [], errors: [] }),
      states: () => new Map(),
      number: (name) => buckets.number(name.includes('alice') ? 'b1' : 'b2', MAILBOX_DEFINITION),
      skipped: () => {},
    })
    for (const user of ['alice', 'bob']) batch.deliver(user, 'c', 1n)
    buckets.save()
    new RowStates(this.db).put(batch.rows.values())
    for (const [number, { texts, ...append }] of batch.appends)
      this.append[`b${number}`] = () => this.logs.get(`b${number}`)?.append({ ...append, body: texts.join(',') })
    this.state.set('decode', { counter: batch.counter, position: null, partial: null })
    this.state.set('commit', { ...this.state.get('commit'), committed: batch.counter, plan: 'p' })
  }

  /** By bucket: puts there what row state says is there. */
  readonly append: Record<string, () => void> = {}

  start(): void {
    this.state = new StateStore(this.db)
    this.verification = new Verification({
      state: this.state,
      tables: new Tables(this.db),
      buckets: new Buckets(this.db),
      definitions: new Definitions(this.db),
      differences: new Differences(this.db),
      diagnostics: new Diagnostics(this.db),
      rows: () => new RowStates(this.db),
      serving: () => 'p',
      trial: (batch) => batch,
      silent: () => [],
      digest: async (bucket, request) => {
        const answer = this.logs.get(bucket)?.digest(request) ?? { kind: 'gone' as const }
        this.digested()
        return answer
      },
      mend: async () => ({ more: false }),
    })
    this.verification.onCompared((buckets, outcome) => void this.outcomes.push([buckets, outcome]))
  }

  /** A turn of a session. */
  async run(others: Partial<SessionAccess> = {}): Promise<void> {
    this.verification.begin()
    const session: SessionAccess = {
      intake: {} as Intake,
      tables: [],
      room: async () => {},
      pause: async () => {},
      isOver: () => false,
      ...others,
    }
    this.verification.tableComparison(session).end()
    while (
      this.verification.running &&
      !this.verification.readsTables &&
      (await this.verification.steps(session)) === 'busy'
    );
  }
}

test('buckets that answer again are compared, and what an operator has found stays: nobody else takes its place', async () => {
  const w = new World()
  w.append.b2?.()
  w.verification.start(false, 'ops')
  await w.run()
  const found = w.verification.answer(null)
  expect(found.verify).toMatchObject({ number: 1, by: 'ops', state: 'done', counts: { 'op-missing': 1 } })
  expect(found.differences).toMatchObject([
    { code: 'op-missing', table: `${MAILBOX_TABLE.schema}.${MAILBOX_TABLE.name}`, bucket: 'b1' },
  ])

  w.append.b1?.()
  w.verification.compareBuckets([1])
  expect([w.verification.running, w.verification.readsTables]).toEqual([true, false])
  expect(w.verification.answer(null)).toEqual(found)
  await w.run()
  expect(w.outcomes).toEqual([[[1], 'equal']])
  w.start()
  expect(w.verification.answer(null)).toEqual(found)
})

test('a bucket that lacks ops again while it is compared is not taken for one that is equal', async () => {
  const w = new World()
  for (const append of Object.values(w.append)) append()
  w.verification.compareBuckets([1, 2])
  w.verification.lacksAgain(3)
  expect(w.verification.running).toBe(true)
  w.verification.lacksAgain(2)
  expect(w.verification.running).toBe(false)
  await w.run()
  expect(w.outcomes).toEqual([])
  // Also when it is being asked.
  w.verification.compareBuckets([1, 2])
  w.digested = () => w.verification.lacksAgain(1)
  await w.run()
  expect([w.verification.running, w.outcomes]).toEqual([false, []])
})

test('an operator does not wait for it, and what it has found by then is not part of the answer', async () => {
  const w = new World()
  w.verification.compareBuckets([1, 2])
  expect(() => w.verification.cancel()).toThrow('no verification is under way')
  w.digested = () => {
    if (w.verification.answer(null).verify === null) w.verification.start(false, 'ops')
  }
  await w.run()
  expect(w.outcomes).toEqual([])
  await w.run()
  const { verify, differences } = w.verification.answer(null)
  expect(verify).toMatchObject({ number: 1, by: 'ops', state: 'done', found: 2, counts: { 'op-missing': 2 } })
  expect(differences).toHaveLength(2)
})

test('what an earlier version has stored of a comparison of some buckets is not shown as the one that an operator has asked for', () => {
  const w = new World()
  w.state.set('verify', { ...newVerifying(3, true, 'then'), phase: 'buckets', only: [1] })
  w.start()
  expect([w.verification.running, w.verification.answer(null).verify]).toEqual([false, null])
})

test('what was found is not repaired when it was cancelled while the repair waited for room: it is not known which rows got an op since', async () => {
  const w = new World()
  for (const append of Object.values(w.append)) append()
  // A row that only its bucket has.
  const data = '{"id":"9"}'
  const checksum = putChecksum('todos', '9', data)
  const body = opText(50, { op: 'PUT', objectType: 'todos', objectId: '9', subkey: 's', checksum, data })
  w.logs.get('b1')?.append({ first: 50, last: 50, count: 1, checksum, body })
  w.state.set('decode', { ...w.state.get('decode'), counter: 50 })
  w.state.set('commit', { ...w.state.get('commit'), committed: 50 })
  const batch = new Batch(50, {
    evaluate: () => ({ rows: [], errors: [] }),
    states: () => new Map(),
    number: () => 1,
    skipped: () => {},
  })
  const between: Intake['between'] = (work) => work(batch, () => {})
  let rooms = 0
  const room = async () => {
    if (rooms++ === 0) w.verification.cancel()
  }
  w.verification.start(true, 'ops')
  await w.run({ intake: { isBetween: true, flush: () => {}, between } as Partial<Intake> as Intake, room })
  expect([rooms, w.verification.answer(null).verify?.state, batch.changes]).toEqual([1, 'cancelled', 0])
  w.verification.start(true, 'ops')
  await w.run({ intake: { isBetween: true, flush: () => {}, between } as Partial<Intake> as Intake, room })
  expect([...batch.appends.keys()]).toEqual([1])
})

test('what is read of a table for a verification that was cancelled says nothing of the next one', () => {
  const w = new World()
  const table = { number: 7 } as FollowedTable
  w.verification.start(false, 'ops')
  const session = { tables: [table], isOver: () => false, intake: { flush: () => {} } }
  const comparison = w.verification.tableComparison(session)
  expect(comparison.isEnded).toBe(false)
  w.verification.cancel()
  w.verification.start(false, 'ops')
  expect(comparison.isEnded).toBe(true)
  comparison.progress(table, { ...newCopy(true), state: 'done' })
  expect(w.verification.tableComparison(session).copyState(table).state).toBe('waiting')
})

test('one that is asked for while a bucket of the cancelled one is asked begins with the tables, and compares all buckets', async () => {
  const w = new World()
  w.verification.start(false, 'ops')
  let asked = 0
  w.digested = () => {
    if (asked++ > 0) return
    w.verification.cancel()
    w.verification.start(false, 'ops')
  }
  await w.run()
  expect([w.verification.readsTables, w.verification.answer(null).verify]).toMatchObject([
    true,
    { number: 2, phase: 'source', buckets: 0 },
  ])
  await w.run()
  expect(w.verification.answer(null).verify).toMatchObject({ number: 2, state: 'done', buckets: 2, found: 2 })
})
