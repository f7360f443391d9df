import { describe, expect, test } from 'vitest'
import { Log } from '../../durable-objects/bucket/log.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import { addChecksums } from '../../protocol/checksum.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest, SyncLine } from '../../protocol/lines.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { NameForm, NoticeBucket, RelayFrame, SubscribeFrame } from '../../protocol/messages/relay.ts'
import type { ReadAnswer } from '../../protocol/messages/bucket.ts'
import { hashName, mailboxName } from '../../protocol/names.ts'
import { putChecksum } from '../../protocol/op-checksum.ts'
import { opText } from '../../protocol/op-text.ts'
import type { LoadedPlan, RequestProgram } from '../../sync-config/types.ts'
import { KNOWN_BUCKET_BYTES, KNOWN_ROW_BYTES, KNOWN_STREAM_BYTES } from './limits.ts'
import type { Upstream } from './ports.ts'
import { runStream } from './stream.ts'

// The file is long because the checkpoints of one stream are played over one set of stand-ins.

type Lines = Record<string, unknown>[]

/** A relay's end of the socket. Subscriptions are answered at once, at the relay's checkpoint. */
class Relay {
  readonly frames: RelayFrame[] = []
  readonly subscriptions: SubscribeFrame[] = []
  readonly #setting: Setting
  open = true
  #wake: () => void = () => {}

  constructor(setting: Setting) {
    this.#setting = setting
    this.push(null, [])
  }

  push(seq: number | null, buckets: NoticeBucket[]): void {
    const { checkpoint, plan, form } = this.#setting
    this.frames.push({ v: MESSAGE_VERSION, type: 'update', checkpoint, plan, seq, form, buckets })
    this.#wake()
  }

  fall(): void {
    this.open = false
    this.#wake()
  }

  upstream(): Upstream {
    const frames = this.frames
    const next = async (): Promise<RelayFrame | null> => {
      for (;;) {
        const frame = frames.shift()
        if (frame) return frame
        if (!this.open) return null
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    }
    return {
      send: (frame) => {
        this.subscriptions.push(frame)
        if (this.subscriptions.reduce((sum, { add }) => sum + add.length, 0) > this.#setting.most) return this.fall()
        if (this.open && frame.add.length > 0) {
          const states = frame.add.map((name) => this.#setting.told(name, null))
          this.push(frame.seq, states)
        }
      },
      next,
      get waiting() {
        return frames.length
      },
      close: () => this.fall(),
    }
  }
}

/** A tenant: buckets that are real logs, a relay, and a stream whose lines are kept. */
class Setting {
  readonly lines: Lines = []
  readonly relays: Relay[] = []
  readonly reads: string[] = []
  readonly stop = new AbortController()
  readonly #logs = new Map<string, Log>()
  /** How its relays call buckets. */
  form: NameForm | undefined = 'name'
  checkpoint = 0
  plan: string | null = 'p'
  lookupRows = 1_000
  /** Subscriptions that each of its relays has room for. */
  most = Infinity
  /** The numbers of the relays, from 1, that have taken the stream. */
  readonly servedAt: number[] = []
  /** What the stream said that it knows, in bytes, and the most that there is room for. */
  readonly known: number[] = []
  mostKnown = Infinity
  beforeConnect: (tries: number) => void = () => {}
  /** Buckets whose rows were asked for. */
  readonly asked: string[] = []
  /** Lookups that are being read, now and at most. */
  asking = 0
  mostAsked = 0
  program: RequestProgram['resolve'] = () => buckets({})
  room: () => Promise<void> = async () => {}
  beforeRead: (bucket: string) => ReadAnswer | undefined = () => undefined
  result: Promise<unknown> = Promise.resolve()

  get relay(): Relay {
    const relay = this.relays.at(-1)
    if (!relay) throw new Error('no relay was asked')
    return relay
  }

  log(bucket: string): Log {
    const log = this.#logs.get(bucket) ?? new Log(testDatabase())
    this.#logs.set(bucket, log)
    return log
  }

  /** Rows in one source transaction: appended, committed and answered as the notice's entries, with the ops inline. */
  write(rows: Record<string, [id: string, data: string][]>): NoticeBucket[] {
    const bodies = Object.entries(rows).map(([bucket, list]) => {
      const first = this.checkpoint + 1
      let checksum = 0
      const texts = list.map(([id, data]) => {
        const op = {
          op: 'PUT' as const,
          objectType: 't',
          objectId: id,
          subkey: id,
          checksum: putChecksum('t', id, data),
          data,
        }
        checksum = addChecksums(checksum, op.checksum)
        return opText(++this.checkpoint, op)
      })
      const body = texts.join(',')
      this.log(bucket).append({ first, last: this.checkpoint, count: list.length, checksum, body })
      return { bucket, body }
    })
    return bodies.map(({ bucket, body }) => this.told(bucket, body))
  }

  told(bucket: string, ops: string | null): NoticeBucket {
    const { count, checksum, last } = this.log(bucket).state(this.checkpoint)
    return [this.form === 'name' ? bucket : hashName(bucket), count, checksum, last, ops]
  }

  start(request: StreamRequest = {}): void {
    const plan = (hash: string): LoadedPlan => ({
      hash,
      definitions: [],
      tables: [],
      reads: () => true,
      evaluateRow: () => ({ rows: [], errors: [] }),
      columns: () => ({ all: true, read: new Set(), named: new Set() }),
      request: () => ({ resolve: (rows) => this.program(rows) }),
    })
    const line = async (value: SyncLine) => {
      this.stop.signal.throwIfAborted()
      this.lines.push(value)
    }
    this.stop.signal.addEventListener('abort', () => this.relays.at(-1)?.fall())
    const run = runStream(
      { request, claims: { sub: 'u' }, user: 'u' },
      {
        connect: async () => {
          this.beforeConnect(this.relays.length + 1)
          this.relays.push(new Relay(this))
          return this.relay.upstream()
        },
        plan: async (hash) => plan(hash),
        pause: () => new Promise((resolve) => setImmediate(resolve)),
        read: async (bucket, after, checkpoint) => {
          this.reads.push(bucket)
          return this.beforeRead(bucket) ?? this.log(bucket).read(after, checkpoint, 1_000)
        },
        rows: async (bucket, checkpoint) => {
          this.asked.push(bucket)
          this.asking++
          this.mostAsked = Math.max(this.mostAsked, this.asking)
          await new Promise((resolve) => setImmediate(resolve))
          this.asking--
          return this.log(bucket).rows(checkpoint, this.lookupRows)
        },
        tails: () => {},
        know: (bytes) => {
          if (bytes > this.mostKnown) throw new RockpoolError('PSYNC_S2003', 'no room')
          this.known.push(bytes)
        },
        served: () => void this.servedAt.push(this.relays.length),
        lines: {
          signal: this.stop.signal,
          room: () => this.room(),
          send: line,
          data: ({ bucket, after, next, more, ops }) =>
            line({
              data: {
                bucket,
                after: String(after),
                next_after: String(next),
                has_more: more,
                data: JSON.parse(`[${ops}]`),
              },
            }),
        },
      },
    )
    this.result = run.catch((error: unknown) => error)
  }

  /** What was sent since the last call, when nothing moves any more. */
  async sent(): Promise<Lines> {
    for (let quiet = 0, seen = -1; quiet < 5;) {
      await new Promise((resolve) => setImmediate(resolve))
      const now = this.lines.length + this.reads.length + this.relays.length
      quiet = now === seen ? quiet + 1 : 0
      seen = now
    }
    return this.lines.splice(0)
  }
}

/** Buckets and their priorities, in order. */
function buckets(given: Record<string, number>, lookups: string[] = [], need: string[] = []) {
  const list = Object.entries(given).map(([bucket, priority]) => ({
    bucket,
    definition: 'd',
    priority,
    reasons: [{ default: 0 }],
  }))
  return { lookups, need, buckets: list, streams: [{ name: 'd', is_default: true, errors: [] }] }
}

/** The buckets that a lookup names. */
const byLookup: RequestProgram['resolve'] = (rows) => {
  const known = rows('lookup')
  const data = (known ?? []).map((text): { g: string } => JSON.parse(text)).filter(({ g }) => g !== '')
  return buckets(Object.fromEntries(data.map(({ g }) => [g, 3])), ['lookup'], known ? [] : ['lookup'])
}

/** Kind of each line, and what tells it apart. */
function brief(lines: Lines): string[] {
  return lines.map((each) => {
    const line = each as unknown as SyncLine
    if ('checkpoint' in line)
      return `checkpoint ${line.checkpoint.last_op_id}: ${line.checkpoint.buckets.map((b) => b.bucket).join()}`
    if ('checkpoint_diff' in line) {
      const { last_op_id, updated_buckets, removed_buckets, write_checkpoint } = line.checkpoint_diff
      const write = write_checkpoint === undefined ? '' : ` w${write_checkpoint}`
      return `diff ${last_op_id}${write}: +${updated_buckets.map((b) => b.bucket).join()} -${removed_buckets.join()}`
    }
    if ('data' in line)
      return `data ${line.data.bucket} ${line.data.after}-${line.data.next_after}: ${line.data.data.length}`
    if ('partial_checkpoint_complete' in line) return `partial ${line.partial_checkpoint_complete.priority}`
    if ('checkpoint_complete' in line) return `complete ${line.checkpoint_complete.last_op_id}`
    return 'token'
  })
}

const many = (count: number): [string, string][] => Array.from({ length: count }, (_, i) => [`r${i}`, `{"i":${i}}`])

describe('a stream', () => {
  test('sends the first checkpoint, data in order of priority, and a partial completion between priorities', async () => {
    const s = new Setting()
    s.write({ late: [['a', '{}']], first: [['b', '{}']], late2: [['c', '{}']] })
    s.program = () => buckets({ late: 3, first: 1, late2: 3, empty: 0 })
    s.start()
    expect(brief(await s.sent())).toEqual([
      'checkpoint 3: late,first,late2,empty',
      'data first 0-2: 1',
      'partial 1',
      'data late 0-1: 1',
      'data late2 0-3: 1',
      'complete 3',
    ])
    expect(s.relay.subscriptions).toEqual([
      {
        v: MESSAGE_VERSION,
        type: 'subscribe',
        form: 'name',
        seq: 1,
        add: [mailboxName('u'), 'late', 'first', 'late2', 'empty'],
        remove: [],
      },
    ])
    s.stop.abort()
    await s.result
  })

  test('reads nothing for a client that has everything, also when its position is beyond every op', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']], b: [['y', '{}']], c: [['z', '{}']] })
    s.program = () => buckets({ a: 3, b: 3, c: 3 })
    s.start({
      buckets: [
        { name: 'a', after: '1' },
        { name: 'b', after: '9223372036854775807' },
        { name: 'c', after: '3' },
      ],
    })
    expect(brief(await s.sent())).toEqual(['checkpoint 3: a,b,c', 'complete 3'])
    expect(s.reads).toEqual([])
    s.stop.abort()
    await s.result
  })

  test('passes ops on that came with the message, and reads when they did not', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    s.start()
    await s.sent()
    s.reads.length = 0
    s.relay.push(null, s.write({ a: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 2: +a -', 'data a 1-2: 1', 'complete 2'])
    expect(s.reads).toEqual([])
    s.write({ a: many(2) })
    s.relay.push(null, [s.told('a', null)])
    expect(brief(await s.sent())).toEqual(['diff 4: +a -', 'data a 2-4: 2', 'complete 4'])
    expect(s.reads).toEqual(['a'])
    s.stop.abort()
    await s.result
  })

  test('what comes under another name is not taken, whatever old hash it has', async () => {
    const [mine, alices] = [
      'mailbox.a1b2c3#["mallory","蛺徘嚂黧귂油͔ṑ"]',
      'abcdef0123456789abcdef0123456789.a1b2c3#mine|0["alice"]',
    ]
    expect(hashName(mine)).toBe(hashName(alices))
    const s = new Setting()
    s.write({ [mine]: [['x', '{}']] })
    s.program = () => buckets({ [mine]: 3 })
    s.start()
    await s.sent()
    s.relay.push(null, s.write({ [alices]: [['pin', '{}']] }))
    s.relay.push(null, s.write({ [mine]: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual([`diff 3: +${mine} -`, `data ${mine} 1-3: 1`, 'complete 3'])
    s.stop.abort()
    await s.result
  })

  test('a relay of version 1 says hashes: it is spoken to in its form, and ops are read by name', async () => {
    const s = new Setting()
    s.form = undefined
    s.write({ lookup: [['g', '{"g":"a"}']], a: [['x', '{}']] })
    s.program = (rows) => {
      const known = (rows('lookup') ?? []).map((text): { g: string } => JSON.parse(text)).filter(({ g }) => g !== '')
      return buckets(Object.fromEntries(known.map(({ g }) => [g, 3])), ['lookup'], rows('lookup') ? [] : ['lookup'])
    }
    s.start()
    await s.sent()
    s.reads.length = 0
    s.relay.push(null, s.write({ a: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 3: +a -', 'data a 2-3: 1', 'complete 3'])
    expect(s.reads).toEqual(['a'])
    s.relay.push(null, s.write({ lookup: [['g', '{"g":""}']] }))
    await s.sent()
    expect(s.relay.subscriptions.at(-1)).toMatchObject({ add: [], remove: [hashName('a')] })
    expect(s.relay.subscriptions.at(-1)).not.toHaveProperty('form', 'name')
    s.stop.abort()
    await s.result
  })

  test('says nothing when nothing of its buckets changed', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    s.start()
    await s.sent()
    s.write({ other: [['y', '{}']] })
    s.relay.push(null, [])
    s.relay.push(null, [s.told('a', null)])
    expect(await s.sent()).toEqual([])
    s.stop.abort()
    await s.result
  })

  test('tells the write checkpoint of its client in the mailbox of the user, on every line from then on', async () => {
    const s = new Setting()
    const mailbox = mailboxName('u')
    s.write({ a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    s.start({ client_id: 'c1' })
    expect(await s.sent()).not.toMatchObject([{ checkpoint: { write_checkpoint: expect.anything() } }, {}, {}])
    expect(s.relay.subscriptions[0]?.add).toEqual([mailbox, 'a'])
    // Nobody has written yet: the object of the mailbox is not asked, and so not made.
    expect(s.asked).toEqual([])
    s.relay.push(null, s.write({ [mailbox]: [['c1', '{"id":"c1","n":"9"}'], ['c2', '{"id":"c2","n":"12"}']] })) // prettier-ignore
    expect(brief(await s.sent())).toEqual(['diff 3 w9: + -', 'complete 3'])
    s.relay.push(null, s.write({ a: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 4 w9: +a -', 'data a 1-4: 1', 'complete 4'])
    // Another device of the user: it is read, and nothing is said.
    s.relay.push(null, s.write({ [mailbox]: [['c2', '{"id":"c2","n":"13"}']] }))
    expect(await s.sent()).toEqual([])
    expect(s.asked).toEqual([mailbox, mailbox])
    s.stop.abort()
    await s.result
  })

  test('I7: a lookup that loses a row removes the bucket at the same checkpoint, and the position with it', async () => {
    const s = new Setting()
    s.write({ lookup: [['g', '{"g":"a"}']], a: [['x', '{}']] })
    s.program = byLookup
    s.start()
    expect(brief(await s.sent())).toEqual(['checkpoint 2: a', 'data a 0-2: 1', 'complete 2'])
    s.relay.push(null, s.write({ lookup: [['g', '{"g":""}']], a: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 4: + -a', 'complete 4'])
    expect(s.relay.subscriptions.at(-1)).toMatchObject({ add: [], remove: ['a'] })
    s.relay.push(null, s.write({ lookup: [['g', '{"g":"a"}']] }))
    expect(brief(await s.sent())).toEqual(['diff 5: +a -', 'data a 0-4: 2', 'complete 5'])
    s.stop.abort()
    await s.result
  })

  test('tells what it knows of its buckets, with the rows of lookups, before it subscribes to them; who finds no room asks nothing of others', async () => {
    const mailbox = mailboxName('u')
    const run = async (most: number) => {
      const s = new Setting()
      s.mostKnown = most
      s.write({ lookup: [['g', '{"g":"a"}']], a: [['x', '{}']] })
      s.program = byLookup
      s.start()
      await s.sent()
      return s
    }
    const cost = (...names: string[]) =>
      names.reduce((sum, name) => sum + KNOWN_BUCKET_BYTES + name.length, KNOWN_STREAM_BYTES)
    const row = KNOWN_ROW_BYTES + '{"g":"a"}'.length
    const all = cost(mailbox, 'lookup', 'a') + row
    const s = await run(all)
    expect([...new Set(s.known)]).toEqual([KNOWN_STREAM_BYTES, cost(mailbox, 'lookup'), all])
    // A relay that falls: while the stream begins again it keeps its room.
    s.relay.fall()
    await s.sent()
    expect([s.relays.length, ...new Set(s.known.slice(s.known.indexOf(all)))]).toEqual([2, all])
    s.relay.push(null, s.write({ lookup: [['g', '{"g":""}']] }))
    await s.sent()
    expect(s.known.at(-1)).toBe(all - cost('a') + KNOWN_STREAM_BYTES - 1)
    s.stop.abort()
    await s.result
    const none = await run(KNOWN_STREAM_BYTES - 1)
    expect(await none.result).toMatchObject({ code: 'PSYNC_S2003' })
    expect(none.relays).toEqual([])
    const few = await run(all - 1)
    expect(await few.result).toMatchObject({ code: 'PSYNC_S2003' })
    expect(few.relay.subscriptions.map(({ add }) => add)).toEqual([['lookup', mailbox]])
    expect(few.relay.open).toBe(false)
  })

  test('I7: a lookup that was deleted is not one without rows: nothing is taken away before the next checkpoint says what serves', async () => {
    const s = new Setting()
    s.write({ lookup: [['g', '{"g":"a"}']], a: [['x', '{}']] })
    const program = (lookup: string) => (rows: (bucket: string) => readonly string[] | undefined) => {
      const known = rows(lookup)
      const names = (known ?? []).map((text) => (JSON.parse(text) as { g: string }).g)
      return buckets(Object.fromEntries(names.map((name) => [name, 3])), [lookup], known ? [] : [lookup])
    }
    s.program = program('lookup')
    s.start()
    expect(brief(await s.sent())).toEqual(['checkpoint 2: a', 'data a 0-2: 1', 'complete 2'])
    // The old plan's lookup changes and is deleted before the stream has read it again.
    s.write({ lookup: [['g', '{"g":"a"}']] })
    s.log('lookup').remove(s.checkpoint)
    s.relay.push(null, [['lookup', 9, 9, s.checkpoint, null]])
    expect(brief(await s.sent())).toEqual([])
    s.program = program('lookup of the new plan')
    s.relay.push(null, s.write({ 'lookup of the new plan': [['g', '{"g":"a"}']] }))
    expect(brief(await s.sent())).toEqual([])
    s.relay.push(null, s.write({ a: [['y', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 5: +a -', 'data a 2-5: 1', 'complete 5'])
    s.stop.abort()
    await s.result
  })

  test('a mailbox that was deleted is empty, and nobody waits for it', async () => {
    const s = new Setting()
    const mailbox = mailboxName('u')
    s.write({ [mailbox]: [['c1', '{"id":"c1","n":"9"}']], a: [['x', '{}']] })
    s.log(mailbox).remove(s.checkpoint)
    s.program = () => buckets({ a: 3 })
    s.start({ client_id: 'c1' })
    const lines = await s.sent()
    expect(brief(lines)).toEqual(['checkpoint 2: a', 'data a 0-2: 1', 'complete 2'])
    expect(lines[0]).not.toHaveProperty('checkpoint.write_checkpoint', '9')
    s.stop.abort()
    await s.result
  })

  test('a mailbox that is deleted while it is followed is empty from then on', async () => {
    const s = new Setting()
    const mailbox = mailboxName('u')
    s.write({ [mailbox]: [['c1', '{"id":"c1","n":"9"}']], a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    s.start({ client_id: 'c1' })
    await s.sent()
    s.log(mailbox).remove(s.checkpoint)
    s.relay.push(null, [[mailbox, 0, 0, 0, null], ...s.write({ a: [['y', '{}']] })])
    expect(brief(await s.sent())).toEqual(['diff 3: +a -', 'data a 2-3: 1', 'complete 3'])
    s.stop.abort()
    await s.result
  })

  test('a relay has taken the stream when all its buckets are answered, and not before', async () => {
    const s = new Setting()
    s.write({ lookup: [['g', '{"g":"a"}']], a: [['x', '{}']] })
    s.program = (rows) => {
      const known = rows('lookup')
      return buckets(known ? { a: 3 } : {}, ['lookup'], known ? [] : ['lookup'])
    }
    // The mailbox and the lookup fit, the bucket that follows from it does not.
    s.most = 2
    s.beforeConnect = (tries) => void (tries === 4 && (s.most = Infinity))
    s.start()
    expect(brief(await s.sent())).toEqual(['checkpoint 2: a', 'data a 0-2: 1', 'complete 2'])
    expect(s.relays.map(({ subscriptions }) => subscriptions.length)).toEqual([2, 2, 2, 2])
    expect(s.servedAt).toEqual([4])
    s.stop.abort()
    await s.result
  })

  test('when every relay is full it ends, and the client comes back later', async () => {
    const s = new Setting()
    s.program = () => buckets({ a: 3 })
    s.beforeConnect = (tries) => {
      if (tries === 2) throw new RockpoolError('PSYNC_S2003', 'every relay is full')
    }
    s.start()
    await s.sent()
    s.relay.fall()
    expect(await s.result).toMatchObject({ code: 'PSYNC_S2003' })
    expect(s.relays).toHaveLength(1)
  })

  test('I8: a lookup with too many rows ends the stream by name, and lookups are read a few at a time', async () => {
    const s = new Setting()
    const lookups = Array.from({ length: 50 }, (_, i) => `lookup ${i}`)
    s.write(Object.fromEntries(lookups.map((name) => [name, many(3)])))
    s.program = (rows) =>
      buckets(
        {},
        lookups,
        lookups.filter((name) => !rows(name)),
      )
    s.start()
    expect(brief(await s.sent())).toEqual(['checkpoint 150: ', 'complete 150'])
    expect(s.mostAsked).toBe(16)
    s.lookupRows = 3
    s.relay.push(null, s.write({ 'lookup 7': [['one more', '{}']] }))
    await s.sent()
    expect(await s.result).toMatchObject({ code: 'PSYNC_S2305' })
  })

  test('I7: of two lookups, one after the other, each takes the bucket away at the checkpoint at which it changes', async () => {
    const rows = (known: readonly string[] | undefined, column: string) =>
      (known ?? [])
        .map((text) => String((JSON.parse(text) as Record<string, unknown>)[column]))
        .filter((value) => value !== '')
    for (const [taken, more] of [
      [{ 'second of s': [['r', '{"b":""}']] }, ''],
      [{ first: [['g', '{"s":""}']] }, ''],
      // Both: the bucket that the first one leads to now is there at the same checkpoint.
      [{ first: [['g', '{"s":"t"}']], 'second of s': [['r', '{"b":""}']] }, 'c'],
    ] as [Record<string, [string, string][]>, '' | 'c'][]) {
      const s = new Setting()
      s.write({ first: [['g', '{"s":"s"}']], 'second of s': [['r', '{"b":"a"}']], 'second of t': [['r', '{"b":"c"}']], a: [['x', '{}']], c: [['z', '{}']] }) // prettier-ignore
      s.program = (known) => {
        const seconds = rows(known('first'), 's').map((name) => `second of ${name}`)
        const lookups = ['first', ...seconds]
        const names = seconds.flatMap((second) => rows(known(second), 'b'))
        return buckets(
          Object.fromEntries(names.map((name) => [name, 3])),
          lookups,
          lookups.filter((name) => !known(name)),
        )
      }
      s.start()
      expect(brief(await s.sent())).toEqual(['checkpoint 5: a', 'data a 0-4: 1', 'complete 5'])
      s.relay.push(null, s.write({ ...taken, a: [['y', '{}']] }))
      const at = s.checkpoint
      const data = more === 'c' ? ['data c 0-5: 1'] : []
      expect(brief(await s.sent())).toEqual([`diff ${at}: +${more} -a`, ...data, `complete ${at}`])
      s.stop.abort()
      await s.result
    }
  })

  test('finishes a checkpoint of less than 1,000 ops although a newer one is known; a larger one it leaves', async () => {
    for (const [count, lines] of [
      [900, ['checkpoint 900: a', 'complete 900', 'diff 901: +a -', 'data a 900-901: 1', 'complete 901']],
      [1_200, ['checkpoint 1200: a', 'diff 1201: +a -', 'complete 1201']],
    ] as const) {
      const s = new Setting()
      for (let n = 0; n < count; n += 10) s.write({ a: many(10) })
      s.program = () => buckets({ a: 3 })
      let reads = 0
      s.beforeRead = () => {
        if (++reads === 2) s.relay.push(null, s.write({ a: [['new', '{}']] }))
        return undefined
      }
      s.start()
      const all = await s.sent()
      const ids = all.flatMap((line) =>
        'data' in line ? (line as { data: { data: { op_id: string }[] } }).data.data.map((op) => Number(op.op_id)) : [],
      )
      expect(ids).toEqual(Array.from({ length: count + 1 }, (_, i) => i + 1))
      // Data lines up to the checkpoint are left out here.
      const rest = brief(all).filter(
        (line, i, texts) => !line.startsWith('data') || (count < 1_000 && i > texts.indexOf('complete 900')),
      )
      expect(rest).toEqual(lines)
      s.stop.abort()
      await s.result
    }
  })

  test('an upstream that falls is replaced; everything is subscribed again and nothing is told twice', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    s.start()
    await s.sent()
    s.relay.fall()
    expect(await s.sent()).toEqual([])
    expect(s.relays.length).toBe(2)
    expect(s.relay.subscriptions[0]?.add).toEqual([mailboxName('u'), 'a'])
    s.write({ a: [['y', '{}']] })
    s.relay.fall()
    expect(brief(await s.sent())).toEqual(['diff 2: +a -', 'data a 1-2: 1', 'complete 2'])
    s.stop.abort()
    await s.result
  })

  test('a bucket overtaken by compaction waits for the next message, or for the next upstream', async () => {
    for (const next of ['message', 'upstream'] as const) {
      const s = new Setting()
      s.write({ a: [['x', '{}']] })
      s.program = () => buckets({ a: 3 })
      let overtaken = true
      s.beforeRead = () => (overtaken ? { kind: 'overtaken' } : undefined)
      s.start()
      expect(brief(await s.sent())).toEqual(['checkpoint 1: a'])
      overtaken = false
      const notice = s.write({ a: [['y', '{}']] })
      if (next === 'message') s.relay.push(null, notice)
      else s.relay.fall()
      expect(brief(await s.sent())).toEqual(['diff 2: +a -', 'data a 0-2: 2', 'complete 2'])
      s.stop.abort()
      await s.result
    }
  })

  test('a large checkpoint is left between buckets too, and what was not sent yet is sent at the newer one', async () => {
    const s = new Setting()
    for (let n = 0; n < 100; n++) s.write({ a: many(11) })
    s.write({ b: [['x', '{}']], c: [['y', '{}']] })
    s.program = () => buckets({ a: 1, b: 1, c: 2 })
    s.beforeRead = (bucket) => {
      if (bucket !== 'a') return undefined
      s.relay.push(null, s.write({ c: [['new', '{}']] }))
      return s.log('a').read(0, 1_102, 1_000_000)
    }
    s.start()
    const all = brief(await s.sent())
    expect(all.filter((line) => !line.startsWith('data a'))).toEqual([
      'checkpoint 1102: a,b,c',
      'diff 1103: +c -',
      'data b 0-1101: 1',
      'partial 1',
      'data c 0-1103: 2',
      'complete 1103',
    ])
    s.stop.abort()
    await s.result
  })

  test('a changed reason or priority is told with the next change, and is none by itself', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']], b: [['y', '{}']] })
    let priority = 3
    s.program = () => buckets({ a: priority, b: 3 })
    s.start()
    await s.sent()
    priority = 1
    s.plan = 'q'
    s.relay.push(null, [])
    expect(await s.sent()).toEqual([])
    s.relay.push(null, s.write({ b: [['z', '{}']] }))
    expect(brief(await s.sent())).toEqual(['diff 3: +a,b -', 'data b 2-3: 1', 'complete 3'])
    s.stop.abort()
    await s.result
  })

  test('when the list of streams changes the client gets a whole checkpoint, because a diff cannot say so', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']], b: [['y', '{}']] })
    s.program = () => buckets({ a: 3, b: 3 })
    s.start()
    await s.sent()
    s.plan = 'q'
    s.program = () => ({ ...buckets({ b: 3 }), streams: [{ name: 'other', is_default: false, errors: [] }] })
    s.relay.push(null, s.write({ b: [['z', '{}']] }))
    const lines = await s.sent()
    expect(brief(lines)).toEqual(['checkpoint 3: b', 'data b 2-3: 1', 'complete 3'])
    expect(lines[0]).toMatchObject({ checkpoint: { streams: [{ name: 'other' }] } })
    s.plan = 'r'
    s.program = () => ({ ...buckets({ a: 3, b: 3 }), streams: [{ name: 'other', is_default: false, errors: [] }] })
    s.relay.push(null, [])
    expect(brief(await s.sent())).toEqual(['diff 3: +a -', 'data a 0-1: 1', 'complete 3'])
    s.stop.abort()
    await s.result
  })

  test('nothing is read before the receiver has room', async () => {
    const s = new Setting()
    s.write({ a: [['x', '{}']] })
    s.program = () => buckets({ a: 3 })
    const room = Promise.withResolvers<void>()
    s.room = () => room.promise
    s.start()
    expect(brief(await s.sent())).toEqual(['checkpoint 1: a'])
    expect(s.reads).toEqual([])
    room.resolve()
    expect(brief(await s.sent())).toEqual(['data a 0-1: 1', 'complete 1'])
    s.stop.abort()
    await s.result
  })

  test('waits while no plan serves', async () => {
    const s = new Setting()
    s.plan = null
    s.program = () => buckets({ a: 3 })
    s.start()
    expect(await s.sent()).toEqual([])
    s.write({ a: [['x', '{}']] })
    s.plan = 'p'
    s.relay.push(null, [])
    expect(brief(await s.sent())).toEqual(['checkpoint 1: a', 'data a 0-1: 1', 'complete 1'])
    s.stop.abort()
    await s.result
  })

  test('too many buckets end it before the first line; an abort ends it anywhere, with its reason; the upstream is closed', async () => {
    const s = new Setting()
    s.program = () => {
      throw new RockpoolError('PSYNC_S2305', 'too many buckets')
    }
    s.start()
    expect(await s.result).toMatchObject({ code: 'PSYNC_S2305' })
    expect(s.lines).toEqual([])
    expect(s.relay.open).toBe(false)
    const t = new Setting()
    t.start()
    await t.sent()
    t.stop.abort(new Error('the receiver has gone'))
    expect(await t.result).toMatchObject({ message: 'the receiver has gone' })
    expect(t.relay.open).toBe(false)
  })
})
