import { describe, expect, test, vi } from 'vitest'
import type { Checked, Serving } from '../../protocol/messages/replicator.ts'
import type { TokenMark } from '../../protocol/revocations.ts'
import { testDatabase } from '../test-database.ts'
import { directState, DirectStreams, type DirectState } from './direct.ts'
import { Log } from './log.ts'
import { page, put, remove, Replica } from './test-ops.ts'

interface Frame {
  ops?: object[]
  checkpoint?: { op_id: string; checksum: number; count: number }
  error?: { code: string }
}

/** A bucket whose sockets are names. */
class Setting {
  readonly db = testDatabase()
  log = new Log(this.db, { extendedBytes: 200, pageBytes: 300, afterBytes: 0 })
  readonly frames = new Map<string, Frame[]>()
  readonly saved = new Map<string, DirectState>()
  readonly closed = new Map<string, number>()
  watches: ((serving: Serving & Checked) => void)[] = []
  /** The tokens that the last call to the replicator asked about. */
  asked: TokenMark[] = []
  now = 1_000
  streams = this.#streams()

  #streams(): DirectStreams<string> {
    return new DirectStreams<string>(
      this.log,
      {
        send: (socket, text) => this.frames.set(socket, [...this.got(socket), JSON.parse(text) as Frame]),
        close: (socket, code, error) => {
          this.saved.delete(socket)
          this.closed.set(socket, code)
          this.frames.set(socket, [...this.got(socket), { error }])
        },
        save: (socket, state) => this.saved.set(socket, directState.parse(structuredClone(state))),
        watch: (tokens, answer) => {
          this.asked = tokens
          this.watches.push(answer)
        },
        now: () => this.now,
      },
      { frame: 300, length: 1_000, frames: 5 },
    )
  }

  hibernate(): void {
    this.log = new Log(this.db, { extendedBytes: 200, pageBytes: 300, afterBytes: 0 })
    this.streams = this.#streams()
    this.streams.wake(this.saved)
  }

  got(socket: string): Frame[] {
    return this.frames.get(socket) ?? []
  }

  accept(socket: string, after = 0, token?: TokenMark): void {
    this.streams.accept(socket, { after, expires: 2_000, plan: 'p', token })
  }

  /** Answers the call to the replicator that was made last. */
  watched(checkpoint: number, plan = 'p'): void {
    for (const answer of this.watches.splice(0)) answer({ checkpoint, plan })
  }

  /** What a client has that applied all frames. */
  replica(socket: string): Replica {
    const replica = new Replica()
    for (const { ops, checkpoint } of this.got(socket)) {
      const body = (ops ?? []).map((op) => JSON.stringify(op)).join(',')
      replica.apply(body, Infinity)
      if (checkpoint) expect(replica.checksum | 0).toBe(checkpoint.checksum)
    }
    return replica
  }

  checkpoints(socket: string): string[] {
    return this.got(socket).flatMap(({ checkpoint }) => (checkpoint ? [checkpoint.op_id] : []))
  }
}

// The file is long because it has everything that may happen to direct streams, over one setting.

describe('direct streams of a bucket', () => {
  test('ops from a position up to what is committed, then each commit; nothing above it', () => {
    const s = new Setting()
    s.log.append({ ...page(1, put('a', '{"n":1}'), put('b', '{"n":2}')), committed: 0 })
    s.accept('x')
    s.accept('y', 1)
    expect(s.got('x')).toEqual([])
    s.watched(2)
    expect(s.checkpoints('x')).toEqual(['2'])
    // Nobody has said yet whether its token was revoked.
    expect(s.got('y')).toEqual([])
    s.watched(2)
    expect(s.got('y')).toEqual([
      { ops: [expect.objectContaining({ op_id: '2' })], checkpoint: expect.objectContaining({ op_id: '2' }) },
    ])
    s.log.append({ ...page(5, remove('a')), committed: 2 })
    expect(s.got('x')).toHaveLength(1)
    expect(s.streams.publish({ checkpoint: 6, plan: 'p' })).toEqual({ none: false })
    expect(s.checkpoints('x')).toEqual(['2', '6'])
    expect(s.replica('x').content).toBe('[["b","{\\"n\\":2}"]]')
    // A publication that comes again, or late, says nothing.
    s.streams.publish({ checkpoint: 6, plan: 'p' })
    s.streams.publish({ checkpoint: 2, plan: 'p' })
    expect(s.checkpoints('x')).toEqual(['2', '6'])
  })

  test('I4: a part of a first copy is not shown, although the log knows it to be committed: the plan has served since, at a later checkpoint', () => {
    const s = new Setting()
    s.log.append({ ...page(1, put('a', '{"n":1}')), committed: 0 })
    s.log.append({ ...page(4, put('b', '{"n":2}')), committed: 3 })
    s.accept('x')
    expect(s.got('x')).toEqual([])
    s.watched(5)
    expect(s.checkpoints('x')).toEqual(['5'])
    expect(s.replica('x').content).toContain('["b"')
    // While the question of another one is under way too.
    s.streams.ask()
    s.accept('y')
    expect(s.got('y')).toEqual([])
    // What was answered before the switch to that plan is not for it.
    s.watched(5, 'before')
    expect(s.got('y')).toEqual([{ error: expect.objectContaining({ code: 'PSYNC_S2003' }) }])
  })

  test('a bucket without ops: its checkpoint is told once the replicator has said which', () => {
    const s = new Setting()
    s.accept('x')
    s.watched(7)
    expect(s.got('x')).toEqual([{ ops: [], checkpoint: { op_id: '7', checksum: 0, count: 0 } }])
  })

  test('a client that comes back is never told an older checkpoint than it had', () => {
    const s = new Setting()
    s.log.append({ ...page(1, put('a', '{}')), committed: 0 })
    s.accept('x', 9)
    expect(s.got('x')).toEqual([])
    s.watched(12)
    expect(s.checkpoints('x')).toEqual(['12'])
  })

  test('the object is constructed anew while the replicator is being asked: it asks again, and who came is told', () => {
    const it = new Setting()
    it.log.append({ ...page(1, put('a', '{}')), committed: 0 })
    it.accept('one')
    expect(it.watches).toHaveLength(1)
    // The answer goes to nobody.
    it.watches = []
    it.hibernate()
    expect(it.watches).toHaveLength(1)
    it.watched(1)
    expect(it.got('one').at(-1)?.checkpoint?.op_id).toBe('1')
    // Whoever was told needs no question.
    it.streams.message('one', '{"ack":1}')
    it.hibernate()
    expect(it.watches).toHaveLength(0)
  })

  test('who comes while the replicator is being asked is covered by another question', () => {
    const s = new Setting()
    s.accept('x')
    s.accept('y')
    expect(s.watches).toHaveLength(1)
    s.watched(3)
    expect(s.watches).toHaveLength(1)
    s.watched(3)
    expect(s.watches).toHaveLength(0)
  })

  test('for those who have everything the log is not read: ten thousand followers cost little when another one comes', () => {
    const s = new Setting()
    s.log.append({ ...page(1, put('a', '{}')), committed: 0 })
    for (let i = 0; i < 100; i++) s.accept(`x${i}`)
    s.watched(1)
    s.watched(1)
    const read = vi.spyOn(s.log, 'read')
    s.accept('new')
    // Other buckets have gone on.
    s.watched(5)
    expect(read.mock.calls.length).toBeLessThan(5)
    expect(s.checkpoints('x99')).toEqual(['1'])
    expect(s.checkpoints('new')).toEqual(['5'])
    s.log.append({ ...page(6, put('b', '{}')), committed: 5 })
    s.hibernate()
    s.streams.publish({ checkpoint: 6, plan: 'p' })
    for (const name of ['x99', 'new']) expect(s.checkpoints(name).at(-1)).toBe('6')
  })

  test('I8: without acknowledgements only so much is sent, also after hibernation; with them everything comes, and once', () => {
    const s = new Setting()
    for (let id = 1; id <= 40; id++)
      s.log.append({ ...page(id, put(`r${id}`, JSON.stringify({ x: 'x'.repeat(150) }))), committed: id - 1 })
    s.accept('x')
    s.watched(40)
    const first = s.got('x').length
    expect(first).toBeGreaterThan(1)
    expect(first).toBeLessThanOrEqual(5)
    s.streams.publish({ checkpoint: 41, plan: 'p' })
    expect(s.got('x')).toHaveLength(first)
    for (let acknowledged = 0; s.checkpoints('x').length === 0;) {
      s.hibernate()
      const frames = s.got('x').length
      expect(frames).toBeGreaterThan(acknowledged)
      expect(frames - acknowledged).toBeLessThanOrEqual(5)
      s.streams.message('x', JSON.stringify({ ack: ++acknowledged }))
    }
    expect(s.checkpoints('x')).toEqual(['41'])
    expect(s.replica('x').rows.size).toBe(40)
  })

  test('compaction in the middle does not get in the way', () => {
    const s = new Setting()
    for (let id = 1; id <= 60; id++)
      s.log.append({ ...page(id, put(`r${id % 5}`, JSON.stringify({ id, x: 'x'.repeat(100) }))), committed: id - 1 })
    s.accept('x')
    s.watched(60)
    for (let acknowledged = 0; s.checkpoints('x').length === 0;) {
      while (s.log.compact() !== null);
      s.hibernate()
      s.streams.message('x', JSON.stringify({ ack: ++acknowledged }))
    }
    expect(s.replica('x').rows.size).toBe(5)
    s.accept('new')
    s.watched(60)
    for (let acknowledged = 0; s.checkpoints('new').length === 0;)
      s.streams.message('new', JSON.stringify({ ack: ++acknowledged }))
    expect(s.replica('new').content).toBe(s.replica('x').content)
    expect(s.got('new').length).toBeLessThan(s.got('x').length)
  })

  test('a token that has expired ends the stream before anything else is sent', () => {
    const s = new Setting()
    s.accept('x')
    s.watched(1)
    s.log.append({ ...page(5, put('a', '{}')), committed: 1 })
    expect(s.streams.nextExpiry).toBe(2_000)
    s.now = 2_000
    s.streams.publish({ checkpoint: 5, plan: 'p' })
    expect(s.got('x').at(-1)).toMatchObject({ error: { code: 'PSYNC_S2103' } })
    expect(s.checkpoints('x')).toEqual(['1'])
    expect(s.closed.get('x')).toBe(4401)
    s.now = 1_999
    s.accept('y')
    s.now = 2_000
    s.streams.expire()
    expect(s.closed.get('y')).toBe(4401)
    expect(s.streams.size).toBe(0)
    expect(s.streams.publish({ checkpoint: 6, plan: 'p' })).toEqual({ none: true })
  })

  test('another sync config, and a bucket that is gone: the client is told to come again', () => {
    const s = new Setting()
    s.accept('x')
    s.watched(1)
    s.streams.publish({ checkpoint: 2, plan: 'q' })
    expect(s.closed.get('x')).toBe(4503)
    s.log.append({ ...page(3, put('a', '{}')), committed: 2 })
    s.accept('y')
    s.watched(3)
    s.log.remove(3)
    s.streams.close()
    expect(s.closed.get('y')).toBe(4503)
    s.accept('z')
    expect(s.closed.get('z')).toBe(4503)
  })

  test('nothing is sent to a token that the replicator refuses, and a stream ends when its token is revoked', () => {
    const s = new Setting()
    s.log.append({ ...page(1, put('a', '{}')), committed: 1 })
    const ann = { user: 'ann', jti: '1', iat: 5 }
    s.accept('x', 0, ann)
    s.watched(1)
    expect(s.asked).toEqual([ann])
    s.accept('refused', 0, { user: 'ann', jti: '2', iat: 5 })
    s.accept('other', 0, { user: 'bob', iat: 5 })
    for (const answer of s.watches.splice(0)) answer({ checkpoint: 1, plan: 'p', revoked: [0], revision: 1 })
    expect([s.closed.get('refused'), s.got('refused')]).toEqual([
      4401,
      [{ error: expect.objectContaining({ code: 'PSYNC_S2107' }) }],
    ])
    // It came while another was asked about.
    expect(s.got('other')).toEqual([])
    s.watched(1)
    expect(s.checkpoints('other')).toEqual(['1'])
    s.hibernate()
    expect(s.streams.revoked({ of: 'user', hash: 'ann', before: 4 })).toBe(0)
    expect(s.streams.revoked({ of: 'user', hash: 'ann', before: 5 })).toBe(1)
    expect([s.closed.get('x'), s.closed.get('other')]).toEqual([4401, undefined])
  })

  test('a frame that is not an acknowledgement ends the stream', () => {
    for (const text of [
      '',
      'x',
      '[]',
      '{"ack":"1"}',
      '{"ack":0}',
      '{"ack":1.5}',
      '{"ack":2}',
      '{"ack":1,"more":1}',
      new ArrayBuffer(3),
    ]) {
      const s = new Setting()
      s.accept('x')
      s.watched(1)
      s.streams.message('x', text)
      expect(s.closed.get('x'), String(text)).toBe(4400)
    }
  })
})

test('a bucket that lacks ops sends away whoever follows it, and whoever comes then is told what the replicator says', () => {
  const setting = new Setting()
  setting.log.append(page(1, put('1', 'a')))
  setting.accept('first')
  setting.watched(1)
  setting.accept('second')
  setting.streams.fenced()
  for (const socket of ['first', 'second']) {
    expect(setting.closed.get(socket)).toBe(4503)
    expect(setting.got(socket).at(-1)).toMatchObject({ error: { code: 'ROCKPOOL_BUCKET_FENCED' } })
  }
  expect(setting.got('second')).toHaveLength(1)
  setting.watches.length = 0
  setting.accept('third')
  setting.watched(1)
  expect(setting.got('third').at(-1)?.checkpoint?.op_id).toBe('1')
})
