import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Random } from '../../../test/support/random.ts'
import { temporaryDirectory } from '../../../test/support/support.ts'
import { applyPatch, type RawRow } from '../core/live/patch.ts'
import type { LiveListener } from '../core/live/registry.ts'
import { ProblemError } from '../core/problem.ts'
import { CANCEL_MS, DEADLINE_MS } from './calls.ts'
import { settled, Tabs } from './test-tabs.ts'

// The file is long because one setting, tabs and an owner over one file, serves all of its tests.

/** `ROCKPOOL_TAB_SCHEDULES=5000` runs for long. */
const SCHEDULES = Number(process.env.ROCKPOOL_TAB_SCHEDULES ?? 120)
const SEED = Number(process.env.ROCKPOOL_TAB_SEED ?? 1)

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
beforeEach(async () => void (directory = await temporaryDirectory(true)))
afterEach(() => directory.remove())

const INSERT = 'INSERT INTO notes (id, body) VALUES (?, ?)'

class Rows implements LiveListener {
  rows: RawRow[] = []

  patch(...[patch, columns]: Parameters<LiveListener['patch']>): void {
    this.rows = applyPatch(columns === null ? this.rows : [], patch, (row) => row)
  }

  failed(): void {}
}

async function drained(tabs: Tabs): Promise<void> {
  // What has just been delivered may lead to another message.
  for (let idle = 0; idle < 3; await settled()) idle = (await tabs.step()) ? 0 : idle + 1
}

async function begun(count: number, seed = 1): Promise<Tabs> {
  const tabs = new Tabs(`${directory.path}/file-${seed}.db`, new Random(seed))
  tabs.own()
  for (let n = 0; n < count; n++) tabs.begin()
  await drained(tabs)
  return tabs
}

/** Delivers until the call is answered. */
async function answered<T>(tabs: Tabs, call: Promise<T>): Promise<T> {
  let isOver = false
  const done = (): void => void (isOver = true)
  call.then(done, done)
  while (!isOver) if (!(await tabs.step())) await settled()
  return call
}

const codeOf = (error: unknown): string => (error instanceof ProblemError ? error.code : String(error))

test(`in ${SCHEDULES} schedules whatever a tab is told of a write is true, and every call ends`, async () => {
  const told = { ok: 0, refused: new Map<string, number>() }
  for (let seed = SEED; seed < SEED + SCHEDULES; seed++) {
    const random = new Random(seed)
    const tabs = await begun(3, seed)
    const outcomes = new Map<string, string>()
    const rows = tabs.tabs.map(({ remote }) => {
      const listener = new Rows()
      remote.follow('SELECT id FROM notes ORDER BY id', [], listener)
      return listener
    })
    let names = 0
    const write = (): void => {
      const tab = random.pick(tabs.tabs)
      if (tab.isGone) return
      const id = `w${++names}`
      const over = new AbortController()
      const statements = [id, `${id}b`].map((each) => ({ sql: INSERT, params: [each, 'x'] }))
      const done = random.chance(0.5)
        ? tab.remote.batch(statements, { signal: over.signal })
        : tab.remote.write(
            async (tx) => {
              for (const { sql, params } of statements) await tx.execute(sql, params)
            },
            { signal: over.signal },
          )
      outcomes.set(id, 'open')
      done.then(
        () => outcomes.set(id, 'ok'),
        (error: unknown) => outcomes.set(id, codeOf(error)),
      )
      if (random.chance(0.15)) void tabs.step().then(() => over.abort(new ProblemError('aborted', 'the test')))
    }
    for (let step = 0; step < 60; step++) {
      const what = random.next()
      if (what < 0.2) write()
      else if (what < 0.25) {
        tabs.kill()
        if (random.chance(0.5)) write()
        tabs.own()
      } else if (what < 0.31) {
        const tab = random.pick(tabs.tabs)
        if (tab.isGone) continue
        if (tab.isAway) tabs.resume(tab)
        else tabs.suspend(tab)
      } else if (what < 0.33) {
        const at = random.int(tabs.tabs.length)
        const tab = tabs.tabs[at]
        if (tab && !tab.isGone && tabs.tabs.filter(({ isGone }) => !isGone).length > 1) tabs.leave(tab)
      } else await tabs.step()
    }
    for (const tab of tabs.tabs) if (tab.isAway) tabs.resume(tab)
    await drained(tabs)
    // A transaction that a tab has begun while it went is rolled back when it has paused for too long.
    await tabs.owner?.db.query('SELECT 1')
    await drained(tabs)
    const gone = new Set(tabs.tabs.filter(({ isGone }) => isGone))
    for (const [at, listener] of rows.entries()) {
      const tab = tabs.tabs[at]
      if (!tab || gone.has(tab)) continue
      const { rows: stored } = await (tabs.owner?.db.query('SELECT id FROM notes ORDER BY id') ?? { rows: [] })
      expect({ seed, rows: listener.rows }).toEqual({ seed, rows: stored })
    }
    await tabs.owner?.db.close()
    const file = new DatabaseSync(`${directory.path}/file-${seed}.db`)
    const ids = new Set(
      file
        .prepare('SELECT id FROM notes')
        .all()
        .map(({ id }) => String(id)),
    )
    const ops = file.prepare('SELECT row_id, count(*) AS n FROM rp_outbox GROUP BY row_id').all()
    file.close()
    // Once in the queue, and both halves or none.
    expect({ seed, twice: ops.filter(({ n }) => n !== 1) }).toEqual({ seed, twice: [] })
    for (const [id, outcome] of outcomes) {
      const isThere = ids.has(id)
      expect({ seed, id, both: ids.has(`${id}b`) }).toEqual({ seed, id, both: isThere })
      if (outcome === 'open') {
        // Of a tab that has gone nobody hears anything.
        expect({ seed, id, gone: gone.size > 0 }).toEqual({ seed, id, gone: true })
        continue
      }
      expect({ seed, id, outcome, isThere }).toEqual({ seed, id, outcome, isThere: outcome === 'ok' })
      if (outcome === 'ok') told.ok++
      else told.refused.set(outcome, (told.refused.get(outcome) ?? 0) + 1)
    }
  }
  // The schedules reach what they are for.
  expect(told.ok).toBeGreaterThan(SCHEDULES)
  expect([...told.refused.keys()]).toEqual(expect.arrayContaining(['aborted', 'owner_lost']))
})

test('a repeat to the next owner is answered as the first was, and runs once', async () => {
  const tabs = await begun(1)
  const { remote, inbox } = tabs.tabs[0] ?? expect.unreachable()
  await answered(tabs, remote.batch([{ sql: INSERT, params: ['a', 'x'] }]))
  const update = remote.batch([{ sql: "UPDATE notes SET body = body || 'y'", params: [] }])
  tabs.owner?.desk.receive(tabs.owner.inbox.shift() ?? expect.unreachable())
  await settled()
  // It is stored, and the answer is lost with its owner.
  expect(inbox.some((message) => 'call' in message)).toBe(true)
  inbox.length = 0
  tabs.kill()
  tabs.own()
  await drained(tabs)
  expect((await update).value).toEqual([1])
  const rows = await answered(tabs, remote.query('SELECT body FROM notes'))
  expect(rows.rows).toEqual([['xy']])
})

test('a tab that comes back to the same owner hears nothing of what it was told while it was away', async () => {
  const tabs = await begun(2)
  const [a, b] = tabs.tabs
  if (!a || !b) return expect.unreachable()
  const go = Promise.withResolvers<void>()
  const slow = b.remote.write(() => go.promise)
  await drained(tabs)
  const writing = a.remote.batch([{ sql: INSERT, params: ['a', 'x'] }])
  // It waits for its turn, and its tab goes and comes back.
  await drained(tabs)
  tabs.suspend(a)
  tabs.resume(a)
  await drained(tabs)
  go.resolve()
  await answered(tabs, slow)
  expect((await answered(tabs, writing)).value).toEqual([1])
  const { rows } = await answered(tabs, b.remote.query('SELECT id FROM notes'))
  expect(rows).toEqual([['a']])
})

test('a transaction is its tab’s: another tab, and one of an owner before, get nothing into it', async () => {
  const tabs = await begun(2)
  const [a, b] = tabs.tabs
  if (!a || !b) return expect.unreachable()
  const go = Promise.withResolvers<void>()
  const writing = a.remote.write(async (tx) => {
    await tx.execute(INSERT, ['a', 'x'])
    await go.promise
  })
  await drained(tabs)
  const owner = tabs.owner?.id ?? ''
  const request = { do: 'execute', tx: `${owner} 1`, sql: INSERT, params: ['stranger', 'x'] } as const
  tabs.owner?.desk.receive({ tab: b.name, owner, call: 99, request })
  await settled()
  expect(b.inbox.at(-1)).toMatchObject({ call: 99, problem: { code: 'write_limit' } })
  b.inbox.length = 0
  go.resolve()
  await answered(tabs, writing)
  const { rows } = await answered(tabs, b.remote.query('SELECT id FROM notes'))
  expect(rows).toEqual([['a']])
})

test('when a tab goes in the middle of a transaction, others need not wait for it', async () => {
  const tabs = await begun(2)
  const [a, b] = tabs.tabs
  if (!a || !b) return expect.unreachable()
  const writing = a.remote.write(async (tx) => {
    await tx.execute(INSERT, ['a', 'x'])
    await new Promise(() => {})
  })
  void writing.catch(() => {})
  await drained(tabs)
  tabs.leave(a)
  await settled()
  const { rows } = await answered(tabs, b.remote.query('SELECT id FROM notes'))
  expect(rows).toEqual([])
})

test('a call that nobody answers ends: a read, a write that nobody got, and one that somebody may have stored', async () => {
  const tabs = await begun(1)
  const { remote } = tabs.tabs[0] ?? expect.unreachable()
  tabs.kill()
  remote.lost()
  const unsent = remote.batch([{ sql: INSERT, params: ['a', 'x'] }]).catch(codeOf)
  const read = remote.query('SELECT 1').catch(codeOf)
  tabs.now += DEADLINE_MS
  remote.tick()
  expect(await unsent).toBe('not_stored')
  expect(await read).toBe('timeout')
  tabs.own()
  await drained(tabs)
  // An owner that hears, and never answers.
  let call: string | undefined
  const sent = remote.batch([{ sql: INSERT, params: ['b', 'x'] }]).catch((error: ProblemError) => {
    call = error.call
    return error.code
  })
  let outcome: unknown = 'open'
  void sent.then((code) => (outcome = code))
  tabs.now += DEADLINE_MS
  remote.tick()
  await settled()
  expect(outcome).toBe('open')
  expect(tabs.owner?.inbox.map((message) => Object.keys(message).at(-1))).toContain('cancel')
  tabs.now += CANCEL_MS
  remote.tick()
  expect(await sent).toBe('fate_unknown')
  // It says later what nobody said then: the owner had got the write after all, and then that it is taken back.
  const fate = remote.fate(call ?? '')
  const never = remote.fate('another')
  await drained(tabs)
  const { rows } = await answered(tabs, remote.query('SELECT id FROM notes'))
  expect(await fate).toEqual(rows.length === 1 ? expect.stringMatching(/^[0-9a-f-]{36}$/) : null)
  expect(await never).toBeNull()
})

test('the fate of a write that an owner has stored and not answered is told by the next one', async () => {
  const tabs = await begun(1)
  const { remote } = tabs.tabs[0] ?? expect.unreachable()
  let call: string | undefined
  const writing = remote.batch([{ sql: INSERT, params: ['a', 'x'] }]).catch((error: ProblemError) => {
    call = error.call
    return error.code
  })
  // The owner stores it, and its answer is on its way for ever.
  const inbox = tabs.tabs[0]?.inbox ?? []
  while ((tabs.owner?.inbox.length ?? 0) > 0) await tabs.step()
  inbox.length = 0
  tabs.now += DEADLINE_MS
  remote.tick()
  tabs.owner?.inbox.splice(0)
  tabs.now += CANCEL_MS
  remote.tick()
  expect(await writing).toBe('fate_unknown')
  const fate = remote.fate(call ?? '')
  await drained(tabs)
  expect(await fate).toMatch(/^[0-9a-f-]{36}$/)
})

test('an owner that says it is busy is waited for, and a write that it has taken back is not stored', async () => {
  const tabs = await begun(1)
  const { remote } = tabs.tabs[0] ?? expect.unreachable()
  const owner = tabs.owner?.id ?? ''
  const writing = remote.batch([{ sql: INSERT, params: ['a', 'x'] }]).catch(codeOf)
  let outcome: unknown = 'open'
  void writing.then((code) => (outcome = code))
  for (let second = 0; second < 90; second += 10) {
    tabs.now += 10_000
    remote.receiveAll({ owner, busy: true })
    remote.tick()
  }
  await settled()
  expect(outcome).toBe('open')
  expect(tabs.owner?.inbox.some((message) => 'cancel' in message)).toBe(false)
  tabs.now += DEADLINE_MS
  remote.tick()
  // The owner reads both: the write has not had its turn.
  const inbox = tabs.owner?.inbox.splice(0) ?? []
  for (const message of inbox) tabs.owner?.desk.receive(message)
  await drained(tabs)
  expect(await writing).toBe('not_stored')
  const { rows } = await answered(tabs, remote.query('SELECT id FROM notes'))
  expect(rows).toEqual([])
})

test('one message brings all that a commit changed, before the write is answered', async () => {
  const tabs = await begun(1)
  const { remote, inbox } = tabs.tabs[0] ?? expect.unreachable()
  const list = new Rows()
  const count = new Rows()
  remote.follow('SELECT id FROM notes', [], list)
  remote.follow('SELECT count(*) FROM notes', [], count)
  await drained(tabs)
  void remote.batch([{ sql: INSERT, params: ['a', 'x'] }])
  tabs.owner?.desk.receive(tabs.owner.inbox.shift() ?? expect.unreachable())
  await settled()
  expect(
    inbox.map((message) => ('patches' in message ? message.patches.length : 'call' in message && 'answer')),
  ).toEqual([2, 'answer'])
  await drained(tabs)
  expect([list.rows, count.rows]).toEqual([[['a']], [[1]]])
})

test('an owner that is silent is asked, and said to be', async () => {
  const tabs = await begun(1)
  const { remote } = tabs.tabs[0] ?? expect.unreachable()
  void remote.query('SELECT 1').catch(() => {})
  tabs.now += 3_000
  remote.tick()
  expect(tabs.owner?.inbox.some((message) => 'wish' in message && 'ping' in message.wish)).toBe(true)
  tabs.now += 7_000
  remote.tick()
  expect(remote.status.storage).toMatchObject({ state: 'blocked' })
  await drained(tabs)
  expect(remote.status.storage).toMatchObject({ state: 'ok' })
})

test('nothing is shown to a tab of another user, and nothing written by it', async () => {
  const tabs = await begun(0)
  const { remote } = tabs.begin()
  await drained(tabs)
  const db = tabs.owner?.db ?? expect.unreachable()
  Object.defineProperty(db, 'user', { value: 'alice' })
  remote.user = 'bob'
  remote.hello()
  await drained(tabs)
  expect(remote.status).toMatchObject({ state: 'needs-auth', error: { code: 'other_user' } })
  const refused = Promise.all([
    remote.query('SELECT 1').catch(codeOf),
    remote.batch([{ sql: INSERT, params: ['a', 'x'] }]).catch(codeOf),
    remote.write(() => {}).catch(codeOf),
    remote.failed().catch(codeOf),
  ])
  await drained(tabs)
  expect(await refused).toEqual(['other_user', 'other_user', 'other_user', 'other_user'])
})
