import { describe, expect, test } from 'vitest'
import type { WireOp } from '../../../protocol/ops.ts'
import { MAX_MESSAGE_BYTES } from '../../../sources/postgres/copy/large-value.ts'
import { compile, loadPlan } from '../../../sync-config/index.ts'
import { Batch, type BatchTable } from '../ingest/batch.ts'
import { deliveredOf, MAILBOX_TABLE, mailboxKey } from './mailboxes.ts'
import type { RowState } from '../store/row-state.ts'
import { evaluateNames } from '../../../sync-config/evaluate/names.ts'
import { MAX_WRITE_CHECKPOINT } from './custom-checkpoints.ts'
import { deliver, MAX_OWED_BYTES, WriteCheckpoints, type OwedWrite } from './write-checkpoints.ts'

// The file is long because numbers are followed through one set of stand-ins.

/** A source that commits each message when the test says so, and a replicator that follows it. */
class Source {
  readonly messages: string[] = []
  readonly stored = new Map<string, RowState>()
  issued = 0
  issuedWrites = 0
  hold = false
  fails = false
  held = false
  owed: OwedWrite[] = []
  #release: (() => void)[] = []
  writes = this.restarted()

  restarted(): WriteCheckpoints {
    return new WriteCheckpoints({
      emit: async (content) => {
        if (this.hold) await new Promise<void>((resolve) => this.#release.push(resolve))
        if (this.fails) throw new Error('the connection is gone')
        this.messages.push(content)
      },
      issued: () => this.issued,
      setIssued: (upTo) => {
        this.issued = upTo
        this.issuedWrites++
      },
      delivered: (user, client) => deliveredOf(this.stored.get(mailboxKey(user)) ?? null, client),
      held: () => this.held,
      owed: () => this.owed,
      setOwed: (owed) => (this.owed = [...owed]),
    })
  }

  release(): void {
    for (const go of this.#release.splice(0)) go()
  }

  /** The stream comes to the messages, in the order given. */
  follow(messages = this.messages): Batch {
    const batch = this.batch()
    for (const each of messages) deliver(batch, each)
    this.keep(batch)
    return batch
  }

  batch(): Batch {
    return new Batch(0, {
      evaluate: () => ({ rows: [], errors: [] }),
      states: (_, keys) => new Map([...this.stored].filter(([key]) => keys.includes(key))),
      number: () => 1,
      skipped: () => {},
    })
  }

  keep(batch: Batch): void {
    for (const { states } of batch.rows.values())
      for (const [key, state] of states) if (state) this.stored.set(key, state)
  }

  mailbox(user: string, client: string): string | undefined {
    return deliveredOf(this.stored.get(mailboxKey(user)) ?? null, client)?.toString()
  }
}

const entries = (content: string): [string, string, string][] => JSON.parse(content).write
const flush = () => new Promise((resolve) => setImmediate(resolve))

describe('I5: numbers', () => {
  test('requests that arrive while a message is in flight share the next one', async () => {
    const source = new Source()
    source.hold = true
    const first = source.writes.request('u', 'c0')
    await flush()
    const others = Array.from({ length: 500 }, (_, i) => source.writes.request('u', `c${i}`))
    source.release()
    expect(Number(await first)).toBeGreaterThan(0)
    expect(source.messages).toHaveLength(1)
    await flush()
    source.release()
    await Promise.all(others)
    expect(source.messages).toHaveLength(2)
    expect(source.messages.map((content) => entries(content).length)).toEqual([1, 500])
    source.follow()
    expect(source.mailbox('u', 'c499')).toBe(await others[499])
  })

  test('a message carries a bounded number, and one for each mailbox', async () => {
    const source = new Source()
    source.hold = true
    const all = [...Array(2_500).keys()].map((i) => source.writes.request('u', `c${i % 2_000}`))
    for (let i = 0; i < 4; i++) {
      await flush()
      source.release()
    }
    await Promise.all(all)
    expect(source.messages.map((content) => entries(content).length)).toEqual([1, 1_000, 1_000, 499])
    const same = [...Array(50).keys()].map(() => source.writes.request('u', 'same'))
    source.hold = false
    source.release()
    const numbers = (await Promise.all(same)).map(BigInt)
    source.follow()
    // Nobody waits for more than what comes.
    expect(source.mailbox('u', 'same')).toBe(numbers.reduce((a, b) => (a > b ? a : b)).toString())
  })

  test('a message has a bounded length, however long the names of users and clients are', async () => {
    const source = new Source()
    source.hold = true
    const all = [...Array(40).keys()].map((i) => source.writes.request('\u0001'.repeat(32_000), `c${i}`))
    for (let i = 0; i < 10; i++) {
      await flush()
      source.release()
    }
    await Promise.all(all)
    expect(source.messages.flatMap(entries)).toHaveLength(40)
    expect(Math.max(...source.messages.map((content) => Buffer.byteLength(content)))).toBeLessThan(MAX_MESSAGE_BYTES)
  })

  test('increase for a client across crashes, and one written row covers very many', async () => {
    const source = new Source()
    let last = 0n
    for (let i = 0; i < 30; i++) {
      if (i % 10 === 9) source.writes = source.restarted()
      const n = BigInt(await source.writes.request('u', 'c'))
      expect(n > last).toBe(true)
      last = n
    }
    expect(source.issuedWrites).toBeLessThanOrEqual(4)
    source.follow(source.messages.toReversed())
    expect(source.mailbox('u', 'c')).toBe(last.toString())
  })

  test('users and clients have their own mailboxes', async () => {
    const source = new Source()
    const a = await source.writes.request('a', 'c')
    const b = await source.writes.request('b', 'c')
    const none = await source.writes.request('a', '')
    source.follow()
    expect([source.mailbox('a', 'c'), source.mailbox('b', 'c'), source.mailbox('a', '')]).toEqual([a, b, none])
  })

  test('a failed message fails the requests that it carries, and the next one is tried', async () => {
    const source = new Source()
    source.fails = true
    await expect(source.writes.request('u', 'c')).rejects.toMatchObject({
      code: 'ROCKPOOL_WRITE_CHECKPOINT',
      status: 503,
    })
    source.fails = false
    await expect(source.writes.request('u', 'c')).resolves.toMatch(/^\d+$/)
  })
})

describe('I5: numbers that clients choose', () => {
  const max = MAX_WRITE_CHECKPOINT

  test('the highest number of a client counts; a request with a lower one returns it and changes nothing', async () => {
    const source = new Source()
    expect(await source.writes.request('u', 'c', 10n)).toBe('10')
    // Not delivered yet, and known all the same.
    expect(await source.writes.request('u', 'c', 7n)).toBe('10')
    expect(await source.writes.request('u', 'd', 7n)).toBe('7')
    source.follow()
    expect([source.mailbox('u', 'c'), source.mailbox('u', 'd')]).toEqual(['10', '7'])
    const before = source.messages.length
    expect(await source.writes.request('u', 'c', 10n)).toBe('10')
    expect(await source.writes.request('u', 'c', 3n)).toBe('10')
    source.writes = source.restarted()
    expect(await source.writes.request('u', 'c', 9n)).toBe('10')
    expect(source.messages).toHaveLength(before)
    expect(await source.writes.request('u', 'c', 11n)).toBe('11')
    expect(source.messages).toHaveLength(before + 1)
  })

  test('a number that has not arrived is emitted again when it is requested again', async () => {
    const source = new Source()
    await source.writes.request('u', 'c', 10n)
    const lost = source.messages.splice(0)
    expect(lost).toHaveLength(1)
    await source.writes.request('u', 'c', 10n)
    source.follow()
    expect(source.mailbox('u', 'c')).toBe('10')
  })

  test('64-bit numbers are exact, also adjacent ones, in the mailbox and in the op', async () => {
    const source = new Source()
    for (const id of [2n ** 53n, 2n ** 53n + 1n, max - 1n, max]) {
      expect(await source.writes.request('u', 'c', id)).toBe(id.toString())
      const batch = source.follow(source.messages.splice(0))
      const texts = [...batch.appends.values()].flatMap((append) => append.texts)
      const ops = texts.map((text): WireOp => JSON.parse(text))
      expect(ops.map((op) => (op.op === 'PUT' ? op.data : ''))).toEqual([`{"id":"c","n":"${id}"}`])
    }
    expect(await source.writes.request('u', 'c', max - 1n)).toBe(max.toString())
    // There is none behind the last one.
    await expect(source.writes.request('u', 'c')).rejects.toMatchObject({ code: 'PSYNC_S2001' })
  })

  test('our next number is above what the client chose, delivered or not', async () => {
    const source = new Source()
    await source.writes.request('u', 'c', 2n ** 60n)
    expect(await source.writes.request('u', 'c')).toBe((2n ** 60n + 1n).toString())
    source.follow()
    source.writes = source.restarted()
    expect(await source.writes.request('u', 'c')).toBe((2n ** 60n + 2n).toString())
    // And the other way round: a chosen one is never below one of ours that is on its way.
    const managed = await source.writes.request('u', 'e')
    expect(await source.writes.request('u', 'e', 5n)).toBe(managed)
  })
})

test('messages of earlier versions, and messages that are not ours', () => {
  const source = new Source()
  source.follow([
    '{"write":[["u","c",1700000000000001]]}',
    '{"mark":"x"}',
    'garbage',
    '{"write":[["u","c",-5]]}',
    '{"write":"x"}',
  ])
  expect(source.mailbox('u', 'c')).toBe('1700000000000001')
  source.follow(['{"write":[["u","c","1700000000000002"]]}'])
  expect(source.mailbox('u', 'c')).toBe('1700000000000002')
})

describe('custom write checkpoints', () => {
  const yaml = `
bucket_definitions:
  mine:
    data:
      - SELECT id FROM lists
event_definitions:
  write_checkpoints:
    payloads:
      - SELECT user_id, client AS client_id, n AS checkpoint FROM checkpoints WHERE n = 0
  other:
    payloads:
      - SELECT user_id FROM checkpoints
`
  const result = compile(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  const plan = loadPlan(result.plan)
  const table: BatchTable = { number: 1, schema: 'public', name: 'checkpoints' }

  function batch(source: Source, skipped: string[] = []): Batch {
    return new Batch(0, {
      evaluate: (of, row) => evaluateNames(plan, [of, of], row),
      states: ({ number }, keys) =>
        new Map(number === MAILBOX_TABLE.number ? [...source.stored].filter(([key]) => keys.includes(key)) : []),
      number: () => 1,
      skipped: (_, key, why) => void skipped.push(`${key} ${why}`),
    })
  }

  test('a row of a payload delivers its number, regardless of WHERE; the highest stays', () => {
    const source = new Source()
    const first = batch(source)
    expect(plan.reads(table)).toBe(true)
    first.upsert(table, '["1"]', { user_id: 'u', client: 'c', n: 7n }, null)
    first.upsert(table, '["1"]', { user_id: 'u', client: 'c', n: 5n }, null)
    first.upsert(table, '["2"]', { user_id: 42n, client: null, n: '9223372036854775807' }, null)
    first.remove(table, '["1"]')
    source.keep(first)
    expect([source.mailbox('u', 'c'), source.mailbox('42', '')]).toEqual(['7', '9223372036854775807'])
  })

  test.each([
    [{ user_id: null, client: 'c', n: 1n }, 'user_id must be text or an integer'],
    [{ user_id: '', client: 'c', n: 1n }, 'user_id must be text or an integer'],
    [{ user_id: 'u'.repeat(1_025), client: 'c', n: 1n }, 'user_id is longer than 1024 characters'],
    [{ user_id: 'u', client: 1.5, n: 1n }, 'client_id must be text'],
    [{ user_id: 'u', client: 'a client', n: 1n }, 'client_id must match ^[\\w.:-]{1,128}$'],
    [{ user_id: 'u', client: 'c'.repeat(129), n: 1n }, 'client_id must match ^[\\w.:-]{1,128}$'],
    [{ user_id: 'u', client: 'c', n: 1.5 }, 'checkpoint must be an integer'],
    [{ user_id: 'u', client: 'c', n: 'x' }, 'checkpoint must be an integer'],
    [{ user_id: 'u', client: 'c' }, 'checkpoint must be an integer'],
    [{ user_id: 'u', client: 'c', n: 0n }, 'checkpoint must be in 1 … 2^63-1'],
    [{ user_id: 'u', client: 'c', n: 2n ** 63n }, 'checkpoint must be in 1 … 2^63-1'],
  ])('%o is skipped and reported', (row, why) => {
    const skipped: string[] = []
    const source = new Source()
    const one = batch(source, skipped)
    one.upsert(table, '["1"]', row, null)
    expect(new Set(skipped)).toEqual(new Set([`["1"] write_checkpoints: ${why}`]))
    expect(one.appends.size).toBe(0)
  })
})

describe('a slot that was lost', () => {
  test('I5: during a comparison numbers are issued but no marker is emitted; they arrive after it, also after a crash', async () => {
    const source = new Source()
    source.held = true
    const first = BigInt(await source.writes.request('alice', 'a'))
    const second = BigInt(await source.writes.request('alice', 'a'))
    await source.writes.request('bob', 'b', 7n)
    expect(second).toBeGreaterThan(first)
    await source.writes.repeat()
    expect(source.messages).toEqual([])

    const restarted = source.restarted()
    expect(BigInt(await restarted.request('alice', 'a'))).toBeGreaterThan(second)
    source.held = false
    await restarted.repeat()
    source.follow()
    expect(source.messages).toHaveLength(1)
    expect(BigInt(source.mailbox('alice', 'a') ?? 0)).toBeGreaterThan(second)
    expect(source.mailbox('bob', 'b')).toBe('7')
    expect(source.owed).toEqual([])
    await restarted.repeat()
    expect(source.messages).toHaveLength(1)
  })

  test('owed numbers always fit into a stored value: one client too many is refused, and those with a number keep it', async () => {
    const source = new Source()
    source.held = true
    const user = 'u'.repeat(1_000_000)
    const first = await source.writes.request('alice', 'a')
    await source.writes.request(user, 'a')
    await expect(source.writes.request(user, 'b')).rejects.toMatchObject({ code: 'ROCKPOOL_WRITE_CHECKPOINT' })
    await source.writes.request('bob', 'b')
    expect(Buffer.byteLength(JSON.stringify(source.owed))).toBeLessThan(MAX_OWED_BYTES)
    expect(source.owed.map(([name]) => name[0])).toEqual(['a', 'u', 'b'])
    expect(source.owed[0]?.[2]).toBe(first)
  })

  test('a marker that was lost with the slot is emitted again, one that arrived is not', async () => {
    const source = new Source()
    await source.writes.request('alice', 'a')
    source.follow()
    const lost = BigInt(await source.writes.request('bob', 'b'))
    source.messages.length = 0
    await source.writes.repeat()
    expect(source.messages).toHaveLength(1)
    expect(source.messages[0]).not.toContain('alice')
    source.follow()
    expect(source.mailbox('bob', 'b')).toBe(lost.toString())
  })

  test('of a flood of clients of one user only as many are emitted again as the mailbox holds, and none that arrived', async () => {
    const source = new Source()
    source.hold = true
    const all = Array.from({ length: 200 }, (_, i) => source.writes.request('u', `c${i}`))
    for (let i = 0; i < 2; i++) {
      await flush()
      source.release()
    }
    await Promise.all(all)
    source.hold = false
    const sent = source.messages.splice(0)
    await source.writes.repeat()
    expect(source.messages.flatMap(entries).map(([, client]) => client)).toEqual(
      Array.from({ length: 32 }, (_, i) => `c${i + 168}`),
    )
    source.messages.length = 0
    source.follow(sent)
    await source.writes.repeat()
    expect(source.messages).toEqual([])
    // Those that wait for the end of a comparison are stored as one value.
    source.held = true
    for (let i = 0; i < 100; i++) await source.writes.request('u', `d${i}`)
    await source.writes.request('v', 'd')
    expect(source.owed).toHaveLength(33)
  })
})
