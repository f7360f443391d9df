import { describe, expect, test, vi } from 'vitest'
import { memoryKind } from '../../../sources/memory/memory-source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { DOCS, heldRows, MemoryLoad, OTHERS, SYNC_CONFIG } from '../../../test/support/memory-load.ts'
import { NodeReplicator } from '../../../test/support/node-replicator.ts'
import { Random } from '../../../test/support/random.ts'
import { resync } from './prepare.ts'

// The file is long because every end of a session is played over one source in memory.

// Whole sessions over a database in memory: connect, stream, copy, switch, compare, end. What the database does at its
// worst is `Misbehaviour`.

class World extends MemoryLoad {
  readonly replicator: NodeReplicator
  settings: Partial<ReplicationSettings> = { sliceChanges: 5 }

  constructor(seed = 1, syncConfig = SYNC_CONFIG) {
    super(seed)
    this.replicator = new NodeReplicator({ kind: memoryKind(() => this.database), syncConfig })
    for (let n = 0; n < 5; n++) this.load()
  }

  run(settings: Partial<ReplicationSettings> = {}) {
    return this.replicator.run({ ...this.settings, ...settings })
  }

  /** Sessions until one takes in everything. Returns how many ended before it, and why. */
  async settle(): Promise<string[]> {
    const ended: string[] = []
    for (;;) {
      const end = await this.run().catch((error: unknown) => String(error))
      if (end === 'idle') return ended
      ended.push(end)
      if (ended.length > 100) throw new Error(`no session comes to an end: ${end}`)
    }
  }

  get held(): string[] {
    return heldRows(this.replicator.objects())
  }

  get problems(): string[] {
    return this.replicator.parts.store.problems.recent.map(({ code }) => code)
  }
}

test('the first session connects, copies beside the stream, serves and ends; the next one takes in what came since', async () => {
  const w = new World()
  expect(await w.run()).toBe('idle')
  expect(w.held).toEqual(w.rows())
  expect(w.replicator.parts.store.serving.plan).not.toBeNull()
  w.load()
  expect(w.held).not.toEqual(w.rows())
  expect(await w.run()).toBe('idle')
  expect([w.held, w.replicator.settled, w.replicator.resets, w.problems]).toEqual([w.rows(), 2, [], []])
})

const SEEDS = Array.from({ length: 30 }, (_, seed) => seed + 1)
const turn = () => new Promise((resolve) => setTimeout(resolve, 1))

/**
 * A session that reads tables, over a database whose commits are delivered before reads see them and whose marks come
 * late.
 */
async function copyAtItsWorst(w: World, random: Random): Promise<void> {
  const { misbehaviour } = w.database
  misbehaviour.hidesCommits = true
  const running = w.run()
  running.catch(() => {})
  for (let n = 0; n < 3; n++) w.load()
  for (let turns = 5 + random.int(40); turns > 0; turns--) {
    misbehaviour.hidesCommits = random.chance(0.5)
    misbehaviour.delaysMarks = random.chance(0.5)
    if (random.chance(0.6)) w.load()
    if (random.chance(0.4)) w.database.reveal()
    if (random.chance(0.4)) w.database.flush()
    await turn()
  }
  behave(w)
  await running
}

/** Sessions that end anywhere, as incarnations do. Returns what ended them. */
async function endAnywhere(w: World, random: Random): Promise<string[]> {
  const { database, replicator } = w
  const { misbehaviour } = database
  misbehaviour.deliversTwice = random.chance(0.3)
  let on = true
  const disturb = async () => {
    while (on) {
      misbehaviour.hidesCommits = random.chance(0.3)
      misbehaviour.delaysMarks = random.chance(0.3)
      if (random.chance(0.3)) w.load()
      if (random.chance(0.3)) database.reveal()
      if (random.chance(0.3)) database.flush()
      if (random.chance(0.05)) replicator.session?.restart()
      await turn()
    }
  }
  const disturbing = disturb()
  const ends: string[] = []
  for (let n = 0; n < 10; n++) {
    for (let loads = random.int(4); loads > 0; loads--) w.load()
    misbehaviour.endsAfter = random.chance(0.6) ? random.int(60) : Infinity
    ends.push(await w.run({ sessionSeconds: 2 }).catch((error: unknown) => String(error)))
    if (random.chance(0.3)) replicator.restart()
  }
  on = false
  await disturbing
  behave(w)
  return ends
}

function behave({ database }: World): void {
  Object.assign(database.misbehaviour, { hidesCommits: false, delaysMarks: false, endsAfter: Infinity })
  database.reveal()
  database.flush()
}

// Sessions wait more than they work, so those of all seeds run at the same time.
describe('whatever the database does, its rows are in the buckets in the end', () => {
  test('commits are delivered before reads see them, and marks come late, while rows are copied', async () => {
    const check = async (seed: number) => {
      const w = new World(seed)
      await copyAtItsWorst(w, new Random(seed + 1_000))
      await w.settle()
      expect(w.held, `seed ${seed}`).toEqual(w.rows())
      expect(w.replicator.resets, `seed ${seed}`).toEqual([])
    }
    await Promise.all(SEEDS.map(check))
  })

  test('the same while everything is compared, and rows that are gone are looked for', async () => {
    const check = async (seed: number) => {
      const w = new World(seed)
      await w.settle()
      resync(w.replicator.parts, 'the stream does not connect')
      await copyAtItsWorst(w, new Random(seed + 4_000))
      await w.settle()
      expect(w.held, `seed ${seed}`).toEqual(w.rows())
    }
    await Promise.all(SEEDS.map(check))
  })

  test('sessions and incarnations end anywhere, and everything is delivered twice', async () => {
    const ends = new Set<string>()
    const check = async (seed: number) => {
      const w = new World(seed)
      for (const end of await endAnywhere(w, new Random(seed + 2_000))) ends.add(end)
      await w.settle()
      expect(w.held, `seed ${seed}`).toEqual(w.rows())
      expect(w.replicator.resets, `seed ${seed}`).toEqual([])
    }
    await Promise.all(SEEDS.slice(0, 20).map(check))
    expect([...ends].sort()).toEqual(['RockpoolError: the stream has ended', 'idle', 'restart'])
  })

  // Each of these breaks a promise of the port that the replicator builds on, so the first test can fail.
  test.each(['waits for what was delivered', 'says what a read has seen'] as const)(
    'a kind that breaks a rule is noticed: %s',
    async (rule) => {
      const differs = async (seed: number) => {
        const w = new World(seed)
        w.database.broken.add(rule)
        await copyAtItsWorst(w, new Random(seed + 1_000))
        await w.settle()
        return JSON.stringify(w.held) !== JSON.stringify(w.rows())
      }
      expect(await Promise.all(SEEDS.map(differs))).toContain(true)
    },
  )
})

test.each([
  ['is read by its key', true],
  ['would be wrong if the kind guessed that value', false],
])('a row of which the stream leaves out a value before it is known, and after it was read, %s', async (_, isRight) => {
  const w = new World()
  if (!isRight) w.database.broken.add('leaves out unknown values')
  w.database.misbehaviour.delaysMarks = true
  const marks = vi.spyOn(w.database, 'mark')
  const running = w.run()
  await vi.waitFor(() => expect(marks).toHaveBeenCalledWith(expect.stringContaining('chunk')))
  for (const { row } of [...w.database.rows(DOCS, () => true).values()])
    w.database.commit({ op: 'update', table: DOCS, row: { ...row, v: 'newest' }, unsent: ['big'] })
  behave(w)
  await running
  await w.settle()
  expect(JSON.stringify(w.held) === JSON.stringify(w.rows())).toBe(isRight)
})

test('a row that a read does not see yet is not taken for one that is gone', async () => {
  const w = new World()
  await w.settle()
  resync(w.replicator.parts, 'the stream does not connect')
  const { database } = w
  const emit = database.mark.bind(database)
  const reads: string[] = []
  vi.spyOn(database, 'mark').mockImplementation((text) => {
    const read = /chunk|sweep/.exec(text)?.[0]
    emit(text)
    if (read === undefined) return
    reads.push(read)
    // It is delivered and stored before rows that we have are looked for, and reads do not see it.
    database.misbehaviour.hidesCommits = true
    if (reads.length === 1) database.commit({ op: 'insert', table: DOCS, row: { id: 'new', v: '1', big: 'b' } })
    else database.reveal()
    database.misbehaviour.hidesCommits = false
  })
  await w.settle()
  expect(reads).toEqual(['chunk', 'sweep', 'chunk', 'sweep'])
  expect(w.held).toEqual(w.rows())
})

test('a stream that ends after any event of a transaction continues there in the next session, slice by slice', async () => {
  const changes = 23
  const check = async (cut: number) => {
    const w = new World(7)
    await w.settle()
    w.commit(changes)
    w.database.misbehaviour.endsAfter = cut
    expect(await w.settle(), `cut ${cut}`).toEqual(['RockpoolError: the stream has ended'])
    expect(w.held, `cut ${cut}`).toEqual(w.rows())
  }
  await Promise.all(Array.from({ length: changes + 2 }, (_, cut) => check(cut)))
})

test('a session ends only when its own mark has come back, however late that is', async () => {
  const w = new World()
  await w.settle()
  w.database.misbehaviour.delaysMarks = true
  let end: unknown = null
  const running = w.run().then((each) => (end = each))
  await vi.waitFor(() => expect(w.replicator.session?.status().streaming).toBe(true))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect([end, w.replicator.settled]).toEqual([null, 1])
  w.load()
  await running
  expect([end, w.held]).toEqual(['idle', w.rows()])
})

test('what is committed before somebody asks comes before the session ends', async () => {
  const w = new World()
  await w.settle()
  w.database.misbehaviour.delaysMarks = true
  const running = w.run()
  await vi.waitFor(() => expect(w.replicator.session?.status().streaming).toBe(true))
  expect(w.replicator.session?.requestCatchUp()).toBe('accepted')
  // The mark that ends the session is one more, emitted after the first has come.
  const marks = vi.spyOn(w.database, 'mark')
  w.database.flush()
  await vi.waitFor(() => expect(marks).toHaveBeenCalledOnce())
  w.load()
  expect(await running).toBe('idle')
  expect(w.held).toEqual(w.rows())
})

test('a session lasts while a client is connected, and ends after it has left', async () => {
  const w = new World()
  await w.settle()
  w.replicator.isLive = true
  const running = w.run()
  await vi.waitFor(() => expect(w.replicator.settled).toBe(2))
  w.load()
  await vi.waitFor(() => expect(w.held).toEqual(w.rows()))
  w.replicator.isLive = false
  expect(await running).toBe('idle')
})

test.each<[string, Partial<ReplicationSettings>, (w: World) => void]>([
  ['it has taken in as many changes as one may', { sessionChanges: 30 }, () => {}],
  ['it has lasted long enough', { sessionSeconds: 0.2 }, () => {}],
  ['definitions have changed', { catalogWatchSeconds: 0.05 }, (w) => void w.database.version++],
  ['another one should begin', {}, (w) => w.replicator.session?.restart()],
])('a session is followed by the next at once when %s', async (_, settings, change) => {
  const w = new World()
  await w.settle()
  w.replicator.isLive = true
  const running = w.run(settings)
  await vi.waitFor(() => expect(w.replicator.session?.status().streaming).toBe(true))
  change(w)
  for (let n = 0; n < 10; n++) w.load()
  expect(await running).toBe('restart')
  w.replicator.isLive = false
  await w.settle()
  expect(w.held).toEqual(w.rows())
})

test('a database that answers nothing ends the session, which says so, whether it connects or has connected', async () => {
  const w = new World()
  w.database.misbehaviour.neverAnswers = true
  const answersNothing = { code: 'ROCKPOOL_SOURCE_UNREACHABLE' }
  await expect(w.run({ callSeconds: 0.05 })).rejects.toMatchObject(answersNothing)
  w.database.misbehaviour.neverAnswers = false
  await w.settle()
  w.replicator.isLive = true
  const running = w.run({ callSeconds: 0.05, catalogWatchSeconds: 0.05 })
  running.catch(() => {})
  await vi.waitFor(() => expect(w.replicator.settled).toBe(2))
  w.database.misbehaviour.neverAnswers = true
  await expect(running).rejects.toMatchObject(answersNothing)
})

test('a call that never ends, whatever its own deadline is, ends the session while it connects and while it reads', async () => {
  const w = new World()
  const { database } = w
  const { misbehaviour } = database
  database.broken.add('answers in time or not at all')
  misbehaviour.neverAnswers = true
  await expect(w.run({ callSeconds: 0.05 })).rejects.toThrow('Postgres did not answer in time')
  misbehaviour.neverAnswers = false
  // The first mark is emitted when the stream is open: what reads rows gets no answer any more.
  const mark = vi.spyOn(database, 'mark').mockImplementationOnce(() => void (misbehaviour.neverAnswers = true))
  await expect(w.run({ callSeconds: 0.2, sessionSeconds: 0.05 })).rejects.toThrow('Postgres did not answer in time')
  expect(mark).toHaveBeenCalledOnce()
  misbehaviour.neverAnswers = false
  await w.settle()
  expect(w.held).toEqual(w.rows())
})

test('a session that nobody waits for any more stores nothing, and asks for nothing', async () => {
  const w = new World()
  await w.settle()
  w.replicator.isLive = true
  const running = w.run()
  running.catch(() => {})
  await vi.waitFor(() => expect(w.replicator.settled).toBe(2))
  const { counter } = w.replicator.parts.store.state.get('decode')
  // It is delivered before the stream is closed, and has several slices.
  w.commit(50)
  w.replicator.session?.abandon()
  await expect(running).rejects.toThrow('the session is over')
  expect(w.replicator.parts.store.state.get('decode').counter).toBe(counter)
  w.replicator.isLive = false
  await w.settle()
  expect(w.held).toEqual(w.rows())
})

test('another sync config is copied while the one before serves, and takes its place', async () => {
  const w = new World()
  await w.settle()
  const { plan, checkpoint } = w.replicator.parts.store.serving
  const syncConfig = SYNC_CONFIG.replace('SELECT id, v, big FROM docs', "SELECT id, v, big, 'x' AS x FROM docs")
  w.settings.syncConfig = syncConfig
  await w.settle()
  const { serving } = w.replicator.parts.store
  expect(serving.plan).not.toBe(plan)
  expect(serving.checkpoint).toBeGreaterThan(checkpoint)
  const docs = w.replicator.objects().filter(({ type, data }) => type === 'docs' && data.includes('"x":"x"'))
  expect(docs).toHaveLength([...w.database.rows(DOCS, () => true)].length)
})

test('a comparison finds what is missing in a bucket and in row state, and repairs both', async () => {
  const w = new World()
  await w.settle()
  const { store, verification } = w.replicator.parts
  const [table] = store.tables.numbers
  const [key = ''] = store.rows.keys(table ?? 0, '', 1)
  // Row state forgets a row; the bucket keeps it.
  store.rows.put([{ table: { number: table ?? 0, ...DOCS }, states: new Map([[key, null]]) }])
  verification.start(true)
  expect(await w.settle()).toEqual([])
  const { verify } = verification.answer(null)
  expect(verify).toMatchObject({ state: 'done', repair: true, counts: { 'row-missing': 1 }, mended: 1 })
  expect(w.held).toEqual(w.rows())
  // A bucket that has lost all that it had.
  for (const name of w.replicator.buckets.keys()) w.replicator.buckets.delete(name)
  verification.start(true)
  await w.settle()
  expect(verification.answer(null).verify).toMatchObject({
    number: 2,
    state: 'done',
    counts: { 'op-missing': w.rows().length },
  })
  expect(w.held).toEqual(w.rows())
})

test('a database that was put back, or is another one, is compared row by row, and rows that it does not have go', async () => {
  const w = new World()
  await w.settle()
  const { length } = w.database
  for (let n = 0; n < 5; n++) w.load()
  await w.settle()
  w.database.restore(length)
  w.database.commit({ op: 'insert', table: OTHERS, row: { id: 'only here', v: '1' } })
  await w.settle()
  expect(w.held).toEqual(w.rows())
  expect(w.problems).toContain('ROCKPOOL_RESYNC')
})

test('marks of others are ignored and reported once in a session', async () => {
  const w = new World()
  await w.settle()
  for (let n = 0; n < 3; n++) w.database.mark('{"mark":"session of another"}')
  await w.settle()
  expect(w.replicator.parts.store.problems.counts).toEqual({ ROCKPOOL_FOREIGN_MARKER: 1 })
})
