import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import { fateOf } from '../store/fates.ts'
import { openLayout } from '../store/layout.ts'
import { beginWrite, endWrite } from '../store/local.ts'
import { applySchema } from '../store/schema.ts'
import { Wake } from '../wake.ts'
import type { UploadResponse } from './answer.ts'
import { failedTransactions } from './failed.ts'
import { BLOCKED_ANSWERS, Sender, UNCONFIRMED_MS, type SenderPorts, type UploadState } from './sender.ts'

// The file is long because every test has the same queue and asks the same backend.

interface Body {
  client_id: string
  answered: number
  transactions: { id: string; seq: number; retry_of?: string; ops: { id: string; data?: object }[] }[]
}

/** A queue with its sender; `answer` is what the backend says. */
class Setting {
  readonly db: Sqlite = nodeSqlite(new DatabaseSync(':memory:'))
  readonly wake = new Wake()
  readonly bodies: Body[] = []
  /** What happened, in order. */
  readonly log: string[] = []
  readonly states: UploadState[] = []
  answer: (body: Body) => Partial<UploadResponse> | Error = accepted
  checkpoints = 0
  live = false
  readonly sender: Sender
  readonly #over = new AbortController()
  readonly #running: Promise<void>

  constructor(begin: (setting: Setting) => void = () => {}) {
    openLayout(this.db)
    const tables = applySchema(this.db, { tables: { notes: { columns: { body: 'text', n: 'integer' } } } })
    const ports: SenderPorts = {
      db: this.db,
      wake: this.wake,
      tables: () => tables,
      turn: async (work) => work(),
      flush: () => void this.log.push('flush'),
      post: async (text) => {
        const body: Body = JSON.parse(text)
        this.bodies.push(body)
        this.log.push(`post ${body.transactions.length}`)
        const answer = this.answer(body)
        if (answer instanceof Error) throw answer
        return {
          status: 200,
          contentType: 'application/json',
          redirected: false,
          body: '',
          retryAfter: null,
          ...answer,
        }
      },
      refused: () => void this.log.push('refused'),
      checkpoint: async () => {
        this.log.push('checkpoint')
        return ++this.checkpoints
      },
      isLive: () => this.live,
      changed: () => {},
      failed: (transactions) => void this.log.push(`failed ${transactions.map(({ code }) => code).join()}`),
      reset: () => void this.log.push('reset'),
      state: (state) => void this.states.push(state),
      now: () => Date.now(),
      random: () => 1,
    }
    this.sender = new Sender(ports)
    begin(this)
    this.#running = this.sender.run(this.#over.signal)
  }

  write(...ids: string[]): void {
    for (const id of ids) {
      this.db.transaction(() => {
        const seq = beginWrite(this.db, `tx ${id}`, Date.now())
        this.db.prepare('INSERT OR REPLACE INTO notes (id, body) VALUES (?, ?)').run([id, 'b'])
        endWrite(this.db, seq)
      })
    }
    this.sender?.want()
  }

  get rows(): unknown[] {
    return this.db.prepare('SELECT id FROM notes ORDER BY id').all().flat()
  }

  get waiting(): unknown[] {
    return this.db.prepare("SELECT id FROM rp_tx WHERE state <> 'accepted' ORDER BY seq").all().flat()
  }

  posts = (): number => this.bodies.length

  async end(): Promise<void> {
    this.#over.abort()
    await this.#running
    this.db.close()
  }
}

const verdicts = (list: object[], more: object = {}): Partial<UploadResponse> => ({
  body: JSON.stringify({ verdicts: list, ...more }),
})
const accepted = ({ transactions }: Body): Partial<UploadResponse> =>
  verdicts(transactions.map(({ id }) => ({ id, result: 'accepted' })))
const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)

let setting: Setting
beforeEach(() => void vi.useFakeTimers())
afterEach(async () => {
  await setting.end()
  vi.useRealTimers()
})

test('what is sent is in the file, and on the disk, before it is sent', async () => {
  setting = new Setting((s) => s.write('a', 'b'))
  setting.answer = (body) => {
    expect(setting.db.prepare('SELECT DISTINCT state FROM rp_tx').all()).toEqual([['sent']])
    return accepted(body)
  }
  await pass()
  expect(setting.log.slice(0, 2)).toEqual(['flush', 'post 2'])
  expect(setting.waiting).toEqual([])
})

test('what was decided is on the disk before a request says so', async () => {
  setting = new Setting((s) => s.write('a'))
  await pass()
  setting.write('b')
  await pass()
  expect(setting.bodies.map(({ answered }) => answered)).toEqual([0, 1])
  expect(setting.log.filter((what) => what !== 'checkpoint')).toEqual(['flush', 'post 1', 'flush', 'post 1'])
})

test.each<[what: string, answer: Partial<UploadResponse>]>([
  ['a login page', { body: '<html>', contentType: 'text/html' }],
  ['an app that answers every path', { body: '<html>' }],
  ['a redirect', { redirected: true, body: '{"verdicts":[]}' }],
  ['the answer of earlier versions', { body: '{"ok":true}' }],
  ['a deploy', { status: 404, body: '{"error":{"code":"x"}}' }],
  ['a crash', { status: 500 }],
  ['no verdict at all', verdicts([])],
  ['a verdict for another transaction', verdicts([{ id: 'other', result: 'accepted' }])],
  [
    'verdicts in another order',
    verdicts([
      { id: 'tx b', result: 'accepted' },
      { id: 'tx a', result: 'accepted' },
    ]),
  ],
  [
    'a verdict after a retry',
    verdicts([
      { id: 'tx a', result: 'retry' },
      { id: 'tx b', result: 'accepted' },
    ]),
  ],
  [
    'more verdicts than transactions',
    verdicts([
      { id: 'tx a', result: 'accepted' },
      { id: 'tx b', result: 'accepted' },
      { id: 'c', result: 'accepted' },
    ]),
  ],
  ['a rejection without a code', verdicts([{ id: 'tx a', result: 'rejected' }])],
  ['a result that nobody knows', verdicts([{ id: 'tx a', result: 'postponed' }])],
  ['a write checkpoint that is none', verdicts([{ id: 'tx a', result: 'accepted' }], { write_checkpoint: 'soon' })],
])('%s decides nothing, and the queue goes on where it was', async (_, answer) => {
  setting = new Setting((s) => s.write('a', 'b'))
  setting.answer = () => answer
  await pass()
  expect(setting.waiting).toEqual(['tx a', 'tx b'])
  expect(setting.rows).toEqual(['a', 'b'])
  expect(setting.states.at(-1)).toMatchObject({ state: 'waiting', attempts: 1 })
  setting.answer = accepted
  await pass(60_000)
  expect(setting.waiting).toEqual([])
  expect(setting.bodies[1]).toEqual(setting.bodies[0])
})

test('an answer to a part of the request decides that part, and the rest is sent again', async () => {
  setting = new Setting((s) => s.write('a', 'b', 'c'))
  setting.answer = ({ transactions }) => verdicts([{ id: transactions[0]?.id, result: 'accepted' }])
  await pass()
  expect(setting.bodies.map(({ transactions }) => transactions.map(({ id }) => id))).toEqual([
    ['tx a', 'tx b', 'tx c'],
    ['tx b', 'tx c'],
    ['tx c'],
  ])
})

test('a rejected transaction is rolled back with all that builds on it, and the queue goes on', async () => {
  setting = new Setting((s) => s.write('a', 'b'))
  setting.answer = ({ transactions }) =>
    verdicts(
      transactions
        .filter(({ id }) => id !== 'tx a again')
        .map(({ id }) =>
          id === 'tx a'
            ? { id, result: 'rejected', code: 'not_allowed', message: 'no', field: 'body' }
            : { id, result: 'accepted' },
        ),
    )
  setting.db.transaction(() => {
    const seq = beginWrite(setting.db, 'tx a again', 1)
    setting.db.exec("UPDATE notes SET n = 9007199254740993 WHERE id = 'a'")
    endWrite(setting.db, seq)
  })
  await pass()
  setting.answer = accepted
  await pass(60_000)
  expect(setting.rows).toEqual(['b'])
  expect(setting.log).toContain('failed not_allowed,depends_on')
  const failed = failedTransactions(setting.db)
  expect(failed).toMatchObject([
    { id: 'tx a', code: 'not_allowed', message: 'no', field: 'body', dependsOn: null },
    { id: 'tx a again', code: 'depends_on', dependsOn: 'tx a', ops: [{ op: 'patch', data: '{"n":9007199254740993}' }] },
  ])
  expect(fateOf(setting.db, 'tx a')).toEqual({ result: 'rejected', code: 'not_allowed', message: 'no' })
  expect(fateOf(setting.db, 'tx b')).toEqual({ result: 'accepted', confirmed: false })
})

test('the row of a conflict keeps every digit', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => ({
    body: '{"verdicts":[{"id":"tx a","result":"rejected","code":"conflict","current":{"n":9007199254740993}}]}',
  })
  await pass()
  expect(failedTransactions(setting.db)[0]?.current).toBe('{"n":9007199254740993}')
})

test('a request that is too large is halved, and a single transaction is given up when it was too large twice', async () => {
  setting = new Setting((s) => s.write('a', 'b', 'c', 'd', 'e'))
  setting.answer = (body) => (body.transactions.some(({ id }) => id === 'tx b') ? { status: 413 } : accepted(body))
  await pass(60_000)
  expect(setting.bodies.map(({ transactions }) => transactions.map(({ id }) => id.slice(3)).join(''))).toEqual([
    'abcde',
    'abc',
    'ab',
    'a',
    'b',
    'b',
    'c',
    'd',
    'e',
  ])
  expect(failedTransactions(setting.db)).toMatchObject([{ id: 'tx b', code: 'too_large' }])
  expect(setting.bodies.map(({ answered }) => answered)).toEqual([0, 0, 0, 0, 1, 1, 2, 3, 4])
  expect(setting.rows).toEqual(['a', 'c', 'd', 'e'])
})

test('a token that was refused is replaced at once, and the next one is waited for', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => ({ status: 401 })
  await pass()
  expect(setting.log).toEqual(['flush', 'post 1', 'refused', 'flush', 'post 1', 'refused'])
  expect(setting.states.at(-1)).toMatchObject({ state: 'waiting', error: { code: 'auth' } })
})

test('the server says when: Retry-After, and after a retry', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => ({ status: 503, retryAfter: 100 })
  await pass(99_000)
  expect(setting.posts()).toBe(1)
  setting.answer = ({ transactions }) =>
    verdicts([{ id: transactions[0]?.id, result: 'retry', code: '42P01', after: 30 }])
  await pass(1_000)
  expect(setting.posts()).toBe(2)
  expect(setting.states.at(-1)).toMatchObject({ state: 'waiting', error: { code: '42P01' } })
  await pass(29_000)
  expect(setting.posts()).toBe(2)
  await pass(1_000)
  expect(setting.posts()).toBe(3)
})

test('a device that wakes tries again at once', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => new Error('no network')
  await pass()
  expect(setting.posts()).toBe(1)
  setting.answer = accepted
  setting.wake.now()
  await pass()
  expect(setting.waiting).toEqual([])
})

test('after 20 answers in an hour that decide nothing uploads are blocked, and go on', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => ({ status: 404 })
  for (let posts = 0; posts < BLOCKED_ANSWERS; posts = setting.posts()) {
    expect(setting.states.at(-1)?.state).not.toBe('blocked')
    await pass(1_000)
  }
  await pass()
  expect(setting.states.at(-1)).toMatchObject({ state: 'blocked', error: { code: 'upload_answer' } })
  expect(setting.waiting).toEqual(['tx a'])
  setting.answer = accepted
  await pass(60_000)
  expect(setting.waiting).toEqual([])
})

test('without a network nothing is blocked: nobody has answered', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = () => new Error('no network')
  await pass(50 * 60_000)
  expect(setting.posts()).toBeGreaterThan(40)
  expect(setting.states.filter(({ state }) => state === 'blocked')).toEqual([])
})

test('while something has failed, a connection asks first what is wanted again', async () => {
  setting = new Setting((s) => s.write('a', 'b'))
  setting.answer = ({ transactions }) =>
    verdicts(transactions.map(({ id }) => ({ id, result: 'rejected', code: 'not_allowed' })))
  await pass()
  expect(setting.rows).toEqual([])
  const { db } = setting
  setting.bodies.length = 0
  const over = new AbortController()
  setting.answer = ({ transactions }) =>
    transactions.length === 0
      ? verdicts([], { reopen: ['tx a', 'tx nobody knows'] })
      : accepted({ client_id: '', answered: 0, transactions })
  const second = setting.sender.run(over.signal)
  await pass()
  over.abort()
  await second
  expect(
    setting.bodies.map(({ transactions, answered }) => [answered, transactions.map(({ retry_of }) => retry_of)]),
  ).toEqual([
    [2, []],
    [2, ['tx a']],
  ])
  expect(setting.rows).toEqual(['a'])
  expect(failedTransactions(db).map(({ id }) => id)).toEqual(['tx b'])
})

test('a client that the server does not know any more begins anew, and the application hears of it first', async () => {
  setting = new Setting((s) => s.write('a'))
  await pass()
  setting.write('b', 'c')
  setting.answer = (body) =>
    body.answered > 0 ? verdicts([{ id: body.transactions[0]?.id, result: 'client_reset' }]) : accepted(body)
  setting.log.length = 0
  await pass()
  const [first, before, after] = setting.bodies
  expect(setting.log.slice(0, 5)).toEqual(['flush', 'post 2', 'reset', 'flush', 'post 2'])
  expect(after?.client_id).not.toBe(first?.client_id)
  expect(after?.transactions.map(({ seq }) => seq)).toEqual([1, 2])
  expect(after?.transactions.map(({ ops }) => ops)).toEqual(before?.transactions.map(({ ops }) => ops))
  expect(after?.transactions.map(({ id }) => id)).not.toContain('tx b')
  expect(fateOf(setting.db, 'tx b')).toEqual({ result: 'accepted', confirmed: false })
})

test('a write checkpoint in the answer saves the question for it', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.answer = ({ transactions }) =>
    verdicts(
      transactions.map(({ id }) => ({ id, result: 'accepted' })),
      { write_checkpoint: '7' },
    )
  await pass()
  expect(setting.log).toEqual(['flush', 'post 1'])
  expect(setting.db.prepare('SELECT target FROM rp_tx').all()).toEqual([[7]])
})

test('in a long queue the write checkpoint is asked for on the way', async () => {
  setting = new Setting((s) => s.write(...Array.from({ length: 120 }, (_, n) => `n${n}`)))
  await pass()
  expect(setting.log).toEqual(['flush', 'post 100', 'checkpoint', 'flush', 'post 20', 'checkpoint'])
})

test('one that does not come is asked for again while the stream is live', async () => {
  setting = new Setting((s) => s.write('a'))
  setting.live = true
  await pass(UNCONFIRMED_MS * 3)
  expect(setting.checkpoints).toBeGreaterThan(1)
  expect(setting.db.prepare('SELECT target FROM rp_tx').all()).toEqual([[setting.checkpoints]])
})

test('stopped at any step, it ends', async () => {
  setting = new Setting()
  for (const writes of [[], ['a']]) {
    for (let steps = 0; steps < 60; steps++) {
      const one = new Setting((s) => s.write(...writes))
      for (let n = 0; n < steps; n++) await Promise.resolve()
      const ended = one.end().then(() => 'ended')
      await pass()
      expect([steps, await Promise.race([ended, pass().then(() => 'hangs')])]).toEqual([steps, 'ended'])
    }
  }
})
