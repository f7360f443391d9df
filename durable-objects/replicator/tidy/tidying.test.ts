import { describe, expect, test } from 'vitest'
import { addChecksums } from '../../../protocol/checksum.ts'
import type { OpId, WireOp } from '../../../protocol/ops.ts'
import { Random } from '../../../test/support/random.ts'
import { Log } from '../../bucket/log.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Batch } from '../ingest/batch.ts'
import { Buckets } from '../store/buckets.ts'
import { clientMailboxKey, deliveredOf, MAILBOX_DEFINITION, MAILBOX_TABLE, mailboxKey } from '../writes/mailboxes.ts'
import { probeOf } from '../commit/probe.ts'
import { Removals } from './removals.ts'
import { RowStates } from '../store/row-state.ts'
import { MIGRATIONS, StateStore } from '../store/storage.ts'
import { Tidying } from './tidying.ts'

// The file is long because the life of an empty bucket is played with one set of stand-ins.

const DAY = 86_400_000
const UNUSED = 30
const table = { number: 1, schema: 'public', name: 'items' }

/** A client that holds buckets as SDKs do: what does not fit its checksum is dropped, and asked for from the start. */
class Client {
  readonly buckets = new Map<string, { after: OpId; checksum: number; rows: Map<string, string> }>()
  restarts = 0

  /** Answers the rows, as they are shown. */
  sync(bucket: string, log: Log, served: OpId): string[] {
    for (let tries = 0; tries < 2; tries++) {
      const held = this.buckets.get(bucket) ?? { after: 0, checksum: 0, rows: new Map<string, string>() }
      this.buckets.set(bucket, held)
      const answer = log.read(held.after, served, 1e9)
      if (answer.kind !== 'ops') throw new Error(answer.kind)
      for (const op of JSON.parse(`[${answer.body}]`) as WireOp[]) {
        if (op.op === 'CLEAR') {
          held.rows.clear()
          held.checksum = 0
        } else if (op.op === 'PUT') held.rows.set(`${op.object_id} ${op.subkey}`, op.data)
        else if (op.op === 'REMOVE') held.rows.delete(`${op.object_id} ${op.subkey}`)
        held.checksum = addChecksums(held.checksum, op.checksum)
        held.after = Number(op.op_id)
      }
      if (held.checksum === log.state(served).checksum) return [...held.rows.values()].sort()
      this.restarts++
      this.buckets.delete(bucket)
    }
    throw new Error(`${bucket} does not fit, from the start`)
  }
}

/** A replicator over buckets that are real logs. Batches are stored at once, and appended when the test says so. */
class World {
  readonly db = testDatabase()
  readonly logs = new Map<string, Log>()
  readonly calls: string[] = []
  now = Date.UTC(2026, 10, 29)
  served: OpId = 0
  silent = new Set<string>()
  unusedDays = UNUSED
  /** Runs when a bucket has answered, before the answer is heard. */
  meanwhile: () => void = () => {}
  #outbox: (() => void)[] = []
  #open: Batch | null = null
  state!: StateStore
  rows!: RowStates
  buckets!: Buckets
  removals!: Removals
  readonly fenced = new Set<number>()
  tidying!: Tidying

  constructor() {
    migrate(this.db, MIGRATIONS)
    this.start()
  }

  /** What is in memory is lost. */
  start(): void {
    this.state = new StateStore(this.db)
    this.rows = new RowStates(this.db)
    this.buckets = new Buckets(this.db)
    this.removals = new Removals(this.db)
    const called = async <T>(what: string, bucket: string, answer: (log: Log) => T): Promise<T> => {
      this.calls.push(`${what} ${bucket}`)
      if (this.silent.has(bucket)) throw new Error('it does not answer')
      const answered = answer(this.log(bucket))
      this.meanwhile()
      return answered
    }
    this.tidying = new Tidying({
      atomically: (work) => this.db.transaction(work),
      state: this.state,
      buckets: this.buckets,
      removals: this.removals,
      rows: () => this.rows,
      served: () => this.served,
      owners: () => new Set(['d', MAILBOX_DEFINITION]),
      isFenced: (bucket) => this.fenced.has(bucket),
      idle: (bucket, { before }) => called('idle', bucket, (log) => log.idle(before)),
      erase: (bucket, { upTo }) =>
        called('erase', bucket, (log) => {
          if (log.last > upTo) return { erased: false }
          this.logs.delete(bucket)
          return { erased: true }
        }),
      failed: () => {},
      now: () => this.now,
    })
    this.tidying.begin(this.unusedDays)
  }

  log(bucket: string): Log {
    const log = this.logs.get(bucket) ?? new Log(testDatabase())
    this.logs.set(bucket, log)
    return log
  }

  batch(): Batch {
    return new Batch(this.state.get('decode').counter, {
      evaluate: (_table, row) => ({
        errors: [],
        rows: String(row.in)
          .split(' ')
          .flatMap((bucket) =>
            bucket === ''
              ? []
              : [{ bucket, definition: 'd', objectType: 'items', objectId: String(row.id), data: JSON.stringify(row) }],
          ),
      }),
      states: ({ number, name }, keys) => this.rows.all(number, keys, name),
      number: (bucket, definition) => {
        const number = this.buckets.number(bucket, definition)
        this.tidying.touched(number)
        return number
      },
      skipped: () => {},
    })
  }

  store(batch: Batch): void {
    this.db.transaction(() => {
      this.rows.put(batch.rows.values())
      for (const bucket of batch.appends.keys()) this.tidying.touched(bucket)
      this.buckets.save()
      this.state.set('decode', { counter: batch.counter, position: null, partial: null })
    })
    for (const [number, { first, last, count, checksum, texts }] of batch.appends) {
      // As the pipeline does: the name is looked up when it is sent.
      this.#outbox.push(() =>
        this.log(this.buckets.name(number)).append({ first, last, count, checksum, body: texts.join(',') }),
      )
    }
    const { counter } = batch
    this.#outbox.push(() => (this.served = counter))
  }

  deliver(): void {
    for (const send of this.#outbox.splice(0)) send()
  }

  /** What is on its way is thrown away. */
  lose(): void {
    this.#outbox = []
  }

  /** The row is in these buckets from now on. */
  put(id: string, ...buckets: string[]): void {
    this.gather(id, ...buckets)
    this.flush()
  }

  /** The same in a batch that is not stored yet. */
  gather(id: string, ...buckets: string[]): void {
    this.#open ??= this.batch()
    this.#open.upsert(table, JSON.stringify([id]), { id, in: buckets.join(' ') }, null)
  }

  flush(): void {
    if (this.#open) this.store(this.#open)
    this.#open = null
  }

  step(): Promise<unknown> {
    return this.tidying.step(async (work, stored) => {
      this.flush()
      const batch = this.batch()
      work(batch)
      this.store(batch)
      stored?.()
    })
  }

  /** Until nothing is left to do now. */
  async tidy(): Promise<void> {
    for (let i = 0; i < 1_000 && this.tidying.pending; i++) {
      this.deliver()
      await this.step()
    }
    this.deliver()
  }

  /** So many days go by, with a round on each that is one. */
  async days(days: number): Promise<void> {
    this.now += days * DAY
    await this.tidy()
  }

  get objects(): string[] {
    return [...this.logs].filter(([, log]) => log.last > 0).map(([name]) => name).sort() // prettier-ignore
  }

  get names(): string[] {
    return this.buckets.page(0, 1e6).map(({ name }) => name).sort() // prettier-ignore
  }
}

describe('buckets that no row is in', () => {
  test('one that has been empty for a round is erased with its record; no other bucket is even asked', async () => {
    const w = new World()
    w.put('1', 'a', 'b')
    w.put('2', 'c')
    await w.tidy()
    w.put('1', 'b')
    await w.days(UNUSED)
    // It was used since the round before.
    expect(w.calls).toEqual(['idle a'])
    await w.days(UNUSED)
    expect([w.calls.splice(0), w.objects]).toEqual([
      ['idle a', 'idle a'],
      ['a', 'b', 'c'],
    ])
    const before = w.state.get('decode').counter
    await w.days(1 / 24)
    expect([w.calls.splice(0), w.objects, w.names]).toEqual([['erase a'], ['b', 'c'], ['b', 'c']])
    expect(w.state.get('decode').counter).toBe(before)
    // The next rounds find nothing.
    for (let i = 0; i < 3; i++) await w.days(UNUSED)
    expect([w.calls, w.db.all('SELECT * FROM removals')]).toEqual([[], []])
  })

  test('who has it, who had it before, and who is new: the rows are right, and at most one download begins again', async () => {
    const w = new World()
    const [live, before, after] = [new Client(), new Client(), new Client()]
    w.put('1', 'a')
    w.put('2', 'b')
    w.deliver()
    for (const each of [live, before]) expect(each.sync('a', w.log('a'), w.served)).toHaveLength(1)
    w.put('1', '')
    await w.tidy()
    for (let i = 0; i < 2; i++) {
      await w.days(UNUSED)
      expect(live.sync('a', w.log('a'), w.served)).toEqual([])
    }
    await w.days(1)
    expect(w.objects).toEqual(['b'])
    for (const each of [live, after]) expect(each.sync('a', w.log('a'), w.served)).toEqual([])
    w.put('3', 'a')
    w.deliver()
    for (const each of [live, before, after])
      expect(each.sync('a', w.log('a'), w.served)).toEqual(['{"id":"3","in":"a"}'])
    expect([live, before, after].map(({ restarts }) => restarts)).toEqual([0, 1, 0])
  })

  test.each(['idle', 'erase'])(
    'a change that comes while it answers `%s` is not lost, on its way or appended',
    async (call) => {
      for (const delivered of [true, false]) {
        const w = new World()
        w.put('1', 'a')
        w.put('1', '')
        await w.tidy()
        w.meanwhile = () => {
          if (!w.calls.at(-1)?.startsWith(call)) return
          w.meanwhile = () => {}
          w.put('2', 'a')
          if (delivered) w.deliver()
        }
        await w.days(UNUSED)
        await w.days(1)
        expect(w.calls.some((each) => each.startsWith(call))).toBe(true)
        for (let i = 0; i < 3; i++) await w.days(UNUSED)
        expect([w.names, new Client().sync('a', w.log('a'), w.served)]).toEqual([['a'], ['{"id":"2","in":"a"}']])
      }
    },
  )

  test.each(['asked whether it is empty', 'to be erased'])(
    'a change that was taken in and is not stored when its bucket is %s is not lost',
    async (when) => {
      const w = new World()
      w.put('1', 'a')
      w.put('1', '')
      await w.tidy()
      if (when === 'to be erased') await w.days(UNUSED)
      w.gather('2', 'a')
      await w.days(when === 'to be erased' ? 1 : UNUSED)
      expect(w.calls).toEqual(['idle a'])
      w.flush()
      for (let i = 0; i < 3; i++) await w.days(UNUSED)
      expect([w.names, new Client().sync('a', w.log('a'), w.served)]).toEqual([['a'], ['{"id":"2","in":"a"}']])
    },
  )

  test('a bucket that does not answer holds nobody up, and its name is kept until it does', async () => {
    const w = new World()
    for (let i = 0; i < 40; i++) w.put(String(i), `b${i}`)
    for (let i = 0; i < 40; i++) w.put(String(i), '')
    await w.tidy()
    await w.days(UNUSED)
    w.silent = new Set(['b0', 'b7'])
    await w.days(1)
    expect(w.names).toEqual(['b0', 'b7'])
    w.calls.length = 0
    await w.tidy()
    expect(w.calls).toEqual([])
    w.start()
    w.silent.clear()
    await w.days(1)
    expect([w.calls, w.names, w.objects]).toEqual([['erase b0', 'erase b7'], [], []])
  })

  test('one that lacks ops is neither asked nor erased, until it has them', async () => {
    const w = new World()
    w.put('1', 'a')
    w.put('2', 'b')
    const number = w.buckets.number('a', 'd')
    w.put('1', '')
    await w.tidy()
    w.fenced.add(number)
    await w.days(UNUSED)
    expect(w.calls).toEqual([])
    w.fenced.clear()
    await w.days(UNUSED)
    expect(w.calls.splice(0)).toEqual(['idle a'])
    w.fenced.add(number)
    await w.days(1)
    expect([w.calls, w.names]).toEqual([[], ['a', 'b']])
    w.fenced.clear()
    await w.days(1)
    expect([w.calls, w.names]).toEqual([['erase a'], ['b']])
  })

  test('one that was fenced while the op that made its sum 0 was on its way stays: the probe in its place makes another sum', async () => {
    const w = new World()
    const client = new Client()
    w.put('1', 'a')
    w.put('2', 'b')
    w.deliver()
    client.sync('a', w.log('a'), w.served)
    w.put('1', '')
    await w.tidy()
    w.now += UNUSED * DAY
    while (w.removals.recorded === 0) {
      w.deliver()
      await w.step()
    }
    const number = w.buckets.number('a', 'd')
    const barrier = w.state.get('decode').counter
    w.lose()
    // What a fence does when it begins, is probed and ends.
    w.tidying.touched(number)
    w.log('a').append(probeOf({ barrier, served: w.served }))
    w.served = barrier
    client.sync('a', w.log('a'), w.served)
    for (let i = 0; i < 3; i++) {
      await w.days(UNUSED)
      client.sync('a', w.log('a'), w.served)
    }
    await w.days(1)
    expect([client.sync('a', w.log('a'), w.served), w.names, client.restarts]).toEqual([[], ['b'], 0])
  })

  test('with UNUSED_DAYS = 0 they stay', async () => {
    const w = new World()
    w.unusedDays = 0
    w.start()
    w.put('1', 'a')
    w.put('1', '')
    for (let i = 0; i < 5; i++) await w.days(31)
    expect([w.calls, w.names]).toEqual([[], ['a']])
  })

  test('at random, with crashes, late appends and clients that come when they like: nobody ever has a wrong row', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed)
      const w = new World()
      const clients = Array.from({ length: 3 }, () => new Client())
      const truth = new Map<string, string>()
      const names = ['a', 'b', 'c', 'd']
      for (let i = 0; i < 150; i++) {
        const kind = random.int(8)
        if (kind <= 1) {
          const [id, bucket] = [String(random.int(4)), random.chance(0.6) ? '' : (names[random.int(4)] ?? '')]
          truth.set(id, bucket)
          w.put(id, bucket)
        } else if (kind === 2) w.deliver()
        else if (kind === 3) w.now += random.int(40) * DAY
        else if (kind === 4 && random.chance(0.3)) w.start()
        else if (kind <= 6) {
          w.meanwhile = () => {
            if (!random.chance(0.1)) return
            truth.set('m', 'a')
            w.put('m', 'a')
          }
          if (w.tidying.pending) await w.step()
          w.meanwhile = () => {}
        } else {
          w.deliver()
          const client = clients[random.int(3)]
          for (const name of names) {
            const rows = [...truth]
              .filter(([, bucket]) => bucket === name)
              .map(([id]) => JSON.stringify({ id, in: name }))
            expect(client?.sync(name, w.log(name), w.served), `seed ${seed}, step ${i}`).toEqual(rows.sort())
          }
        }
      }
      // In the end what is empty goes.
      for (let i = 0; i < 4; i++) await w.days(UNUSED)
      expect(w.names, `seed ${seed}`).toEqual([...new Set(truth.values())].filter((name) => name !== '').sort())
    }
  })
})

describe('objects of dropped definitions', () => {
  test('are erased a day later, also after a restart; one that does not answer keeps its name', async () => {
    const w = new World()
    await w.tidy()
    for (const [i, name] of ['x', 'y'].entries()) {
      w.log(name).append({
        first: i + 1,
        last: i + 1,
        count: 1,
        checksum: 1,
        body: `{"op_id":"${i + 1}","op":"MOVE","checksum":1}`,
      })
      w.log(name).remove(i + 1)
      w.tidying.dropped({ number: i + 1, name }, i + 1)
    }
    w.served = 2
    expect(w.tidying.pending).toBe(false)
    w.start()
    w.silent.add('x')
    await w.days(1)
    expect([w.calls.splice(0), w.logs.has('x'), w.logs.has('y')]).toEqual([['erase x', 'erase y'], true, false])
    w.silent.clear()
    await w.days(1)
    expect([w.calls, w.logs.size, w.db.all('SELECT * FROM removals')]).toEqual([['erase x'], 0, []])
  })
})

describe('mailboxes', () => {
  const now = (w: World) => Math.floor(w.now / DAY)
  const number = (w: World, user: string, client: string) =>
    deliveredOf(w.rows.get({ t: 0, key: mailboxKey(user) }, MAILBOX_TABLE.name), client)

  test('one that nobody has used for 30 days expires, and its object goes with the next rounds', async () => {
    const w = new World()
    await w.tidy()
    const batch = w.batch()
    batch.deliver('u', 'c', 1n, now(w))
    batch.deliver('v', 'c', 2n, now(w) + 20)
    w.store(batch)
    await w.days(UNUSED)
    expect([number(w, 'u', 'c'), number(w, 'v', 'c'), w.names.length]).toEqual([null, 2n, 2])
    for (let i = 0; i < 4; i++) await w.days(UNUSED)
    expect([w.names, w.objects, number(w, 'v', 'c')]).toEqual([[], [], null])
  })

  test('those of one client each become rows of the mailbox of their user with the first round, and go with a later one', async () => {
    const w = new World()
    const day = now(w)
    const ours = (daysAgo: number, more = 0) => BigInt(day - daysAgo) * BigInt(DAY * 1_000) + BigInt(more)
    const clients: [user: string, client: string, n: bigint][] = [
      ...Array.from({ length: 40 }, (_, i): [string, string, bigint] => ['u', `c${i}`, ours(20 - (i % 20), i)]),
      ['v', 'old', ours(31)],
      ['v', 'custom', 7n],
    ]
    const older = w.batch()
    for (const [i, [user, client, n]] of clients.entries()) {
      const key = clientMailboxKey(user, client)
      const bucket = w.buckets.number((JSON.parse(key) as string[])[0] ?? '', MAILBOX_DEFINITION)
      older.restate(MAILBOX_TABLE, key, {
        outputs: [{ bucket, type: MAILBOX_TABLE.name, id: 'w', hash: n.toString() }],
        image: null,
      })
      older.removeStray({ bucket, type: 'x', id: String(i), subkey: 'x' })
    }
    w.store(older)
    await w.tidy()
    // Of 40 clients those that wrote last: the days of the last 16 are there twice.
    const kept = clients.filter(([user, client]) => user === 'u' && number(w, user, client) !== null)
    expect(kept).toHaveLength(32)
    for (const [user, client, n] of kept) expect(number(w, user, client)).toBe(n)
    const daysAgo = (n: bigint) => day - Number(n / BigInt(DAY * 1_000))
    expect(Math.max(...kept.map(([, , n]) => daysAgo(n)))).toBe(16)
    expect([number(w, 'v', 'old'), number(w, 'v', 'custom')]).toEqual([null, 7n])
    // They are answered as well meanwhile, and are no more than that.
    const batch = w.batch()
    batch.deliver('u', 'c39', ours(0, 100), day)
    expect(batch.appends.size).toBe(2)
    w.store(batch)
    for (let i = 0; i < 4; i++) await w.days(UNUSED)
    expect([w.names, w.rows.keys(0, '', 100)]).toEqual([[], []])
  })

  test('after a time under an older release numbers that it gave are there with the next round, and mailboxes of one client stay for the next time', async () => {
    const w = new World()
    const given = (n: bigint) => {
      const key = clientMailboxKey('u', 'c')
      const bucket = w.buckets.number((JSON.parse(key) as string[])[0] ?? '', MAILBOX_DEFINITION)
      const batch = w.batch()
      batch.restate(MAILBOX_TABLE, key, {
        outputs: [{ bucket, type: MAILBOX_TABLE.name, id: 'w', hash: n.toString() }],
        image: null,
      })
      batch.removeStray({ bucket, type: 'x', id: 'x', subkey: 'x' })
      w.store(batch)
    }
    given(3n)
    await w.tidy()
    const batch = w.batch()
    batch.deliver('u', 'c', 4n, now(w))
    batch.deliver('u', 'new', 5n, now(w))
    w.store(batch)
    for (const n of [6n, 7n]) {
      given(n)
      w.state.set('round', null)
      await w.tidy()
      expect([number(w, 'u', 'c'), number(w, 'u', 'new')]).toEqual([n, 5n])
      expect(w.rows.keys(0, '', 100)).toEqual([clientMailboxKey('u', 'c'), mailboxKey('u')])
    }
    // One that the older release has not written to.
    w.state.set('round', null)
    await w.tidy()
    expect(w.rows.keys(0, '', 100)).toHaveLength(2)
    await w.days(UNUSED)
    expect(w.rows.keys(0, '', 100)).not.toContain(clientMailboxKey('u', 'c'))
  })
})
