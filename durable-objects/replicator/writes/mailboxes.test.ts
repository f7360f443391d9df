import { describe, expect, test } from 'vitest'
import { MAX_MAILBOX_CLIENTS } from '../../../protocol/names.ts'
import type { WireOp } from '../../../protocol/ops.ts'
import { Batch } from '../ingest/batch.ts'
import { clientMailboxKey, deliveredOf, expiring, MAILBOX_DAYS, mailboxKey } from './mailboxes.ts'
import type { RowState } from '../store/row-state.ts'

const DAY = 20_000

/** Row state of mailboxes, and what each batch has written. */
class Mailboxes {
  readonly stored = new Map<string, RowState>()
  readonly buckets = new Map<string, number>()

  batch(work: (batch: Batch) => void): {
    ops: [bucket: string, op: string, id: string, data?: unknown][]
    rows: number
    appends: number
  } {
    const batch = new Batch(0, {
      evaluate: () => ({ rows: [], errors: [] }),
      states: (_, keys) => new Map([...this.stored].filter(([key]) => keys.includes(key))),
      number: (name) => this.buckets.get(name) ?? this.buckets.set(name, this.buckets.size + 1).size,
      skipped: () => {},
    })
    work(batch)
    const names = new Map([...this.buckets].map(([name, number]) => [number, name]))
    const ops = [...batch.appends].flatMap(([number, { texts }]) =>
      texts.map((text): [string, string, string, unknown?] => {
        const op: WireOp = JSON.parse(text)
        const id = 'object_id' in op ? op.object_id : ''
        return op.op === 'PUT'
          ? [names.get(number) ?? '', op.op, id, JSON.parse(op.data)]
          : [names.get(number) ?? '', op.op, id]
      }),
    )
    const rows = [...(batch.rows.get(0)?.states ?? [])]
    for (const [key, state] of rows) if (state) this.stored.set(key, state)
    return { ops, rows: rows.length, appends: batch.appends.size }
  }

  clients(user: string): string[] {
    return this.stored.get(mailboxKey(user))?.outputs.map(({ id }) => id) ?? []
  }

  number(user: string, client: string): bigint | null {
    return deliveredOf(this.stored.get(mailboxKey(user)) ?? null, client)
  }
}

describe('the mailbox of a user', () => {
  test('has one row for each client; another user with the same client id has another mailbox, whatever their name', () => {
    const it = new Mailboxes()
    const users = ['u', 'v', 'u","c', '["u"]', 'u"]', '', '\ud800']
    it.batch((batch) => users.forEach((user, i) => batch.deliver(user, 'c', BigInt(i + 1), DAY)))
    it.batch((batch) => batch.deliver('u', 'd', 9n, DAY))
    expect(users.map((user) => it.number(user, 'c'))).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n])
    expect(it.number('u', 'd')).toBe(9n)
    expect(new Set(it.buckets.keys()).size).toBe(users.length)
    // Nor is it the mailbox that a client of his had before.
    for (const user of users) expect(it.buckets.has(JSON.parse(clientMailboxKey(user, 'c'))[0])).toBe(false)
  })

  test('a write checkpoint is one op and one row of row state, also when a client is forgotten for it', () => {
    const it = new Mailboxes()
    for (let i = 0; i < MAX_MAILBOX_CLIENTS; i++) {
      expect(it.batch((batch) => batch.deliver('u', `c${i}`, 1n, DAY))).toEqual({
        rows: 1,
        appends: 1,
        ops: [['mailbox#["u"]', 'PUT', `c${i}`, { id: `c${i}`, n: '1' }]],
      })
    }
    // The one whose last write is longest ago goes, not the one that came first.
    it.batch((batch) => batch.deliver('u', 'c0', 2n, DAY))
    expect(it.batch((batch) => batch.deliver('u', 'new', 1n, DAY))).toEqual({
      rows: 1,
      appends: 1,
      ops: [
        ['mailbox#["u"]', 'PUT', 'new', { id: 'new', n: '1' }],
        ['mailbox#["u"]', 'REMOVE', 'c1'],
      ],
    })
    expect(it.clients('u')).toEqual([...Array.from({ length: 30 }, (_, i) => `c${i + 2}`), 'c0', 'new'])
  })

  test('a flood of client ids is one object and 32 rows', () => {
    const it = new Mailboxes()
    it.batch((batch) => {
      for (let i = 0; i < 1_500; i++) batch.deliver('u', `c${i}`, BigInt(i + 1), DAY)
    })
    expect([it.buckets.size, it.stored.size, it.clients('u').length]).toEqual([1, 1, MAX_MAILBOX_CLIENTS])
    expect(it.number('u', 'c1499')).toBe(1_500n)
  })

  test('a client without writes for 30 days is forgotten at the next write of its user, or when mailboxes are cleaned', () => {
    const it = new Mailboxes()
    it.batch((batch) => batch.deliver('u', 'old', 1n, DAY))
    it.batch((batch) => batch.deliver('u', 'young', 1n, DAY + 1))
    const mailbox = (): RowState => it.stored.get(mailboxKey('u')) ?? { outputs: [], image: null }
    expect(expiring(mailbox(), DAY + MAILBOX_DAYS - 1)).toBeNull()
    expect(expiring(mailbox(), DAY + MAILBOX_DAYS)?.removed.map(({ id }) => id)).toEqual(['old'])
    expect(expiring(mailbox(), DAY + MAILBOX_DAYS + 1)?.state).toEqual({ outputs: [], image: null })
    const { ops } = it.batch((batch) => batch.deliver('u', 'young', 2n, DAY + MAILBOX_DAYS))
    expect(ops.map(([, op, id]) => [op, id])).toEqual([
      ['PUT', 'young'],
      ['REMOVE', 'old'],
    ])
    // It comes back as a new one.
    it.batch((batch) => batch.deliver('u', 'old', 3n, DAY + MAILBOX_DAYS))
    expect([it.number('u', 'old'), it.number('u', 'young')]).toEqual([3n, 2n])
  })

  test('the earlier mailbox of a single client is written as well, until it is gone', () => {
    const it = new Mailboxes()
    const [own = ''] = JSON.parse(clientMailboxKey('u', 'c')) as string[]
    const before = { outputs: [{ bucket: 1, type: 'write_checkpoint', id: 'w', hash: '4' }], image: null }
    it.buckets.set(own, 1)
    it.stored.set(clientMailboxKey('u', 'c'), before)
    const written = it.batch((batch) => batch.deliver('u', 'c', 5n, DAY))
    expect(written).toEqual({
      rows: 2,
      appends: 2,
      ops: [
        ['mailbox#["u"]', 'PUT', 'c', { id: 'c', n: '5' }],
        [own, 'PUT', 'w', { id: 'w', n: '5' }],
      ],
    })
    expect(it.batch((batch) => batch.deliver('u', 'd', 5n, DAY))).toMatchObject({ rows: 1, appends: 1 })
  })
})
