import { expect, test } from 'vitest'
import type { NoticeBucket, RelayFrame } from '../../protocol/messages/relay.ts'
import { frameName, hashName } from '../../protocol/names.ts'
import { RelayMachine } from './machine.ts'
import type { SavedCheckpoint, SavedStream } from './ports.ts'
import { Marks } from './marks.ts'
import { QUESTIONS_AT_ONCE, type Answer } from './questions.ts'
import { Rooms, type Room } from './room.ts'

// The file is long because every event of the state machine is played with one set of stand-ins.

test('the committed checkpoint that a relay hears covers the streams that came before it asked, and those that came later ask again', () => {
  const told: [stream: string, frame: RelayFrame][] = []
  const questions: ((checkpoint: number) => void)[] = []
  const machine = new RelayMachine<string>({
    send: (stream, frame) => told.push([stream, frame]),
    hasCredit: () => true,
    mark: (name) => name,
    close: () => {},
    saveStream: () => {},
    saveCheckpoint: () => {},
    ask: () => {},
    attach: (done) => done(),
    committed: (answer) => questions.push(answer),
  })
  const greeted = () => told.map(([stream, { checkpoint }]) => `${stream} at ${checkpoint}`)
  machine.streamArrived('a')
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p', form: 'name' })
  // It may have been at checkpoint 9 on another relay, which was committed after the question of `a` was answered.
  machine.streamArrived('b')
  expect(questions).toHaveLength(1)
  questions.shift()?.(5)
  expect(greeted()).toEqual(['a at 5'])
  expect(questions).toHaveLength(1)
  questions.shift()?.(9)
  expect(greeted()).toEqual(['a at 5'])
  machine.receive({ v: 1, type: 'gap', checkpoint: 9, plan: 'p', form: 'name' })
  expect(greeted()).toContain('b at 9')
})

test('an answer of a bucket is the business of the streams that wait for it: a thousand that come at once are not looked at for each', () => {
  const answers: (() => void)[] = []
  const told = new Set<number>()
  let looks = 0
  const machine = new RelayMachine<number>({
    send: (stream, { seq, buckets }) => void (seq === 1 && expect(buckets).toHaveLength(10) && told.add(stream)),
    hasCredit: () => looks++ >= 0,
    ask: (_bucket, _checkpoint, _stale, answer) => void answers.push(() => answer({ count: 1, checksum: 1, last: 1 })),
    mark: (name) => name,
    close: () => {},
    saveStream: () => {},
    saveCheckpoint: () => {},
    attach: (done: () => void) => done(),
    committed: (answer) => answer(5),
  })
  const streams = Array.from({ length: 1_000 }, (_, stream) => stream)
  for (const stream of streams) machine.streamArrived(stream)
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p', form: 'name' })
  // One bucket is everybody's, the others each has alone.
  const names = (stream: number) => ['shared', ...Array.from({ length: 9 }, (_, n) => `${stream}/${n}`)]
  for (const stream of streams) machine.subscribe(stream, { seq: 1, form: 'name', add: names(stream), remove: [] })
  looks = 0
  // Few at a time; each answer makes room for the next question.
  expect(answers).toHaveLength(QUESTIONS_AT_ONCE)
  for (const answer of answers) answer()
  expect(answers).toHaveLength(9_001)
  expect(told.size).toBe(1_000)
  expect(looks).toBeLessThanOrEqual(10_000)
})

// One 64-bit hash, b87272053d7edab5, which is found for any name in a second.
const ALICE = 'abcdef0123456789abcdef0123456789.a1b2c3#mine|0["alice"]'
const MALLORY = ['mailbox.a1b2c3#["mallory","蛺徘嚂黧귂油͔ṑ"]', 'mailbox.a1b2c3#["mallory","গ쑭湩笔崉뚔鞧Ꚅ"]']

/** A relay at checkpoint 5. Buckets answer at once, each with a count of its own. */
function relayOf(form: 'name' | undefined) {
  const counts: Record<string, number> = { [ALICE]: 7 }
  const told: [stream: string, buckets: RelayFrame['buckets']][] = []
  const saved = new Map<string, SavedStream>()
  const asked: string[] = []
  const closed: string[] = []
  const why: (string | undefined)[] = []
  let listed: readonly string[] = []
  const marks = new Marks()
  const machine = () =>
    new RelayMachine<string>({
      send: (stream, { buckets }) => void (buckets.length > 0 && told.push([stream, buckets])),
      saveStream: (stream, each) => void saved.set(stream, each),
      ask: (bucket, _checkpoint, _stale, answer) => {
        asked.push(bucket)
        answer({ count: counts[bucket] ?? 0, checksum: 0, last: 5 })
      },
      close: (stream, _reason, closing) => {
        saved.delete(stream)
        closed.push(stream)
        why.push(closing)
      },
      saveCheckpoint: (_checkpoint, _plan, fenced) => (listed = fenced),
      mark: (name) => marks.of(name),
      hasCredit: () => true,
      attach: (done) => done(),
      committed: (answer) => answer(5),
    })
  let relay = machine()
  const arrive = (stream: string, add: string[], its: 'name' | 'hash' = 'name') => {
    relay.streamArrived(stream)
    relay.subscribe(stream, { seq: 1, form: its === 'name' ? its : undefined, add, remove: [] })
  }
  let checkpoint = 5
  const notice = (buckets: NoticeBucket[], fenced: string[] = []) =>
    relay.receive({
      v: 2,
      type: 'notice',
      previous: checkpoint,
      checkpoint: ++checkpoint,
      plan: 'p',
      part: 1,
      parts: 1,
      form,
      fenced,
      buckets,
    })
  relay.streamArrived('first')
  relay.replicatorArrived()
  relay.receive({ v: 2, type: 'gap', checkpoint: 5, plan: 'p', form })
  return {
    told,
    asked,
    closed,
    why,
    counts,
    arrive,
    notice,
    gap: (fenced: string[]) => relay.receive({ v: 2, type: 'gap', checkpoint, plan: 'p', form, fenced }),
    listed: () => listed,
    subscribe: (...args: Parameters<RelayMachine<string>['subscribe']>) => relay.subscribe(...args),
    owing: () => relay.owing,
    sleep: () => {
      relay = machine()
      relay.wake({ checkpoint, plan: 'p', fenced: listed }, saved)
    },
  }
}

test('names with one old hash are two buckets: neither hears of the other, in words or in silence', () => {
  for (const mallory of MALLORY) {
    expect(hashName(mallory)).toBe(hashName(ALICE))
    const { told, arrive, notice, sleep } = relayOf('name')
    // What is asked for first does not answer the others.
    arrive('mallory', [mallory])
    arrive('alice', [ALICE])
    expect(told).toEqual([
      ['mallory', [[mallory, 0, 0, 5, null]]],
      ['alice', [[ALICE, 7, 0, 5, null]]],
    ])
    for (const asleep of [false, true]) {
      if (asleep) sleep()
      told.length = 0
      notice([[ALICE, 8, 1, 6, 'her PIN']])
      expect(told).toEqual([['alice', [[ALICE, 8, 1, 6, 'her PIN']]]])
    }
  }
})

test('a replicator of version 1 says hashes: all that they may mean are asked for by name, and no ops are passed on', () => {
  const [mallory = ''] = MALLORY
  const { told, asked, counts, arrive, notice, owing, sleep, closed } = relayOf(undefined)
  arrive('mallory', [mallory, 'other'])
  arrive('alice', [ALICE])
  told.length = asked.length = 0
  counts[ALICE] = 8
  notice([[hashName(ALICE), 8, 1, 6, 'her PIN']])
  expect(asked).toEqual([mallory, ALICE])
  expect(told).toEqual([
    ['mallory', [[mallory, 0, 0, 5, null]]],
    ['alice', [[ALICE, 8, 0, 5, null]]],
  ])
  // Nobody could tell whom its hashes mean if the names were lost, so it stays awake; whoever lost them all the same
  // subscribes again.
  expect(owing()).toBe(true)
  sleep()
  notice([[hashName(ALICE), 9, 1, 7, null]])
  expect(closed.sort()).toEqual(['alice', 'mallory'])
})

test('a stream of version 1 is told hashes, of its own buckets only, through hibernation', () => {
  const [mallory = ''] = MALLORY
  const long = `l${'o'.repeat(600)}ng`
  const { told, arrive, subscribe, notice, sleep, closed } = relayOf('name')
  arrive('mallory', [mallory], 'hash')
  arrive('alice', [ALICE, 'b'], 'hash')
  arrive('long', [long], 'hash')
  sleep()
  told.length = 0
  notice([[ALICE, 8, 1, 6, 'ops']])
  expect(told).toEqual([['alice', [[hashName(ALICE), 8, 1, 6, 'ops']]]])
  // It knows this name again by now; that of `b` is lost, and who subscribes again says it.
  subscribe('alice', { seq: 2, form: undefined, add: [], remove: [hashName(ALICE)] })
  notice([[ALICE, 9, 1, 7, 'ops']])
  expect(told).toHaveLength(1)
  subscribe('alice', { seq: 3, form: undefined, add: [], remove: [hashName('b')] })
  expect(closed).toEqual(['alice'])
  notice([[frameName(long), 1, 1, 8, null]])
  expect(closed).toEqual(['alice', 'long'])
})

test('a bucket whose name is long is called by a hash of 256 bits, and asked by its name', () => {
  const long = `l${'o'.repeat(600)}ng`
  const { told, asked, arrive, notice, sleep } = relayOf('name')
  arrive('s', [long])
  expect(asked).toEqual([long])
  expect(told).toEqual([['s', [[frameName(long), 0, 0, 5, null]]]])
  expect(frameName(long)).toMatch(/^~[0-9a-f]{64}$/)
  sleep()
  notice([[frameName(long), 1, 1, 6, 'ops']])
  expect(told.at(-1)).toEqual(['s', [[frameName(long), 1, 1, 6, 'ops']]])
})

/** A relay at checkpoint 5 with streams that each have some buckets; questions wait until they are answered by hand. */
function busyRelay(streams: number, bucketsOf: (stream: number) => string[], room?: Room) {
  const questions: { bucket: string; answer: (answer: Answer) => void }[] = []
  const told = new Set<number>()
  const full: number[] = []
  let looks = 0
  const machine = new RelayMachine<number>(
    {
      send: (stream, { seq }) => void (seq !== null && told.add(stream)),
      hasCredit: () => looks++ >= 0,
      ask: (bucket, _checkpoint, _stale, answer) => void questions.push({ bucket, answer }),
      close: (stream, _reason, why) => void (why === 'full' && full.push(stream)),
      mark: (name) => name,
      saveStream: () => {},
      saveCheckpoint: () => {},
      attach: (done: () => void) => done(),
      committed: (answer) => answer(5),
    },
    room,
  )
  for (let stream = 0; stream < streams; stream++) machine.streamArrived(stream)
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p', form: 'name' })
  for (let stream = 0; stream < streams; stream++)
    machine.subscribe(stream, { seq: 1, form: 'name', add: bucketsOf(stream), remove: [] })
  const state = { count: 1, checksum: 1, last: 1 }
  let asked = 0
  /** Answers all questions, the one that `choose` says first. */
  const answerAll = (choose: (waiting: number) => number, most: number) => {
    while (questions.length > 0 && asked < most) {
      asked++
      questions.splice(choose(questions.length), 1)[0]?.answer(state)
    }
    return asked
  }
  return { machine, told, full, answerAll, looks: () => looks }
}

test('I8: a notice costs its buckets and what it concerns, however many streams there are', () => {
  const { machine, answerAll, looks } = busyRelay(2_000, (stream) => [`of ${stream}`])
  answerAll(() => 0, 10_000)
  const before = looks()
  const buckets = Array.from({ length: 8_000 }, (_, n): NoticeBucket => [`of nobody ${n}`, 1, 1, 6, null])
  machine.receive({
    v: 1,
    type: 'notice',
    previous: 5,
    checkpoint: 6,
    plan: 'p',
    form: 'name',
    part: 1,
    parts: 1,
    buckets,
  })
  expect(looks() - before).toBe(0)
  const concerned: NoticeBucket[] = [['of 7', 2, 2, 7, 'ops']]
  machine.receive({
    v: 1,
    type: 'notice',
    previous: 6,
    checkpoint: 7,
    plan: 'p',
    form: 'name',
    part: 1,
    parts: 1,
    buckets: concerned,
  })
  expect(looks() - before).toBe(1)
})

test('I8: whatever the order of answers, each bucket is asked once and every stream is told', () => {
  let seed = 1
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
  const { told, answerAll, machine } = busyRelay(2_000, (stream) =>
    Array.from({ length: 60 }, (_, n) => `${stream}/${n}`),
  )
  expect(answerAll(random, 1_000_000)).toBe(120_000)
  expect(told.size).toBe(2_000)
  expect(machine.owing).toBe(false)
})

test('I8: a relay takes so many subscriptions and no more; a stream that does not fit is sent elsewhere, and one that goes makes room', () => {
  const { machine, full, told, answerAll } = busyRelay(
    12,
    (stream) => Array.from({ length: 10 }, (_, n) => `${stream}/${n}`),
    new Rooms(100).of('0'),
  )
  expect(full).toEqual([10, 11])
  expect([machine.subscriptions, machine.full, machine.streams]).toEqual([100, true, 10])
  answerAll(() => 0, 1_000)
  expect(told.size).toBe(10)
  machine.streamGone(3)
  expect([machine.subscriptions, machine.full]).toEqual([90, false])
  machine.streamArrived(12)
  machine.subscribe(12, { seq: 1, form: 'name', add: ['12/0'], remove: [] })
  machine.subscribe(12, { seq: 2, form: 'name', add: [], remove: ['12/0'] })
  expect(machine.subscriptions).toBe(90)
})

test('relays of one isolate share the room; one that sleeps has it for a minute, and its streams that do not fit any more when it wakes go elsewhere', () => {
  let now = 0
  const rooms = new Rooms(100, () => now)
  const ten = (stream: number) => Array.from({ length: 10 }, (_, n) => `${stream}/${n}`)
  const first = busyRelay(7, ten, rooms.of('0'))
  const second = busyRelay(7, ten, rooms.of('1'))
  expect([first.full, second.full]).toEqual([[], [3, 4, 5, 6]])
  expect([first.machine.full, second.machine.full]).toEqual([true, true])
  first.machine.streamGone(0)
  expect([first.machine.full, second.machine.full]).toEqual([false, false])
  // The first one sleeps, and says nothing; the second one hears of nothing, but is awake.
  now = 59_999
  second.machine.renew()
  expect(rooms.of('2').most).toBe(10)
  now = 60_000
  expect(rooms.of('2').most).toBe(70)
  for (let stream = 10; stream < 20; stream++) {
    second.machine.streamArrived(stream)
    second.machine.subscribe(stream, { seq: 1, form: 'name', add: ten(stream), remove: [] })
  }
  expect([second.machine.subscriptions, second.full.slice(4)]).toEqual([100, [17, 18, 19]])
  for (const stream of [10, 11]) second.machine.streamGone(stream)
  const awake = busyRelay(0, ten, rooms.of('0'))
  const saved = { toldPlan: 'p', form: 'name' as const, owing: false }
  awake.machine.wake(
    { checkpoint: 5, plan: 'p', fenced: [] },
    [1, 2, 3, 4].map((stream) => [stream, { ...saved, marks: ten(stream) }]),
  )
  expect([awake.machine.subscriptions, awake.full]).toEqual([20, [3, 4]])
})

test('a stream that is owed something when the relay sleeps subscribes again; one that is not hears of what comes', () => {
  let credit = true
  const saved = new Map<string, SavedStream>()
  const closed: string[] = []
  const told: [string, NoticeBucket[]][] = []
  const machineOf = () =>
    new RelayMachine<string>({
      send: (stream, { buckets }) => void (buckets.length > 0 && told.push([stream, buckets])),
      saveStream: (stream, each) => void saved.set(stream, each),
      hasCredit: (stream) => credit || stream !== 'slow',
      ask: (_bucket, _checkpoint, _stale, answer) => answer({ count: 0, checksum: 0, last: 0 }),
      close: (stream) => void closed.push(stream),
      mark: (name) => name,
      saveCheckpoint: () => {},
      attach: (done) => done(),
      committed: (answer) => answer(5),
    })
  const machine = machineOf()
  for (const stream of ['slow', 'quick']) machine.streamArrived(stream)
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p', form: 'name' })
  for (const stream of ['slow', 'quick']) machine.subscribe(stream, { seq: 1, form: 'name', add: ['b'], remove: [] })
  expect([...saved.values()].map(({ owing }) => owing)).toEqual([false, false])
  credit = false
  machine.receive({
    v: 1,
    type: 'notice',
    previous: 5,
    checkpoint: 6,
    plan: 'p',
    form: 'name',
    part: 1,
    parts: 1,
    buckets: [['b', 1, 1, 6, 'x']],
  })
  expect(saved.get('slow')?.owing).toBe(true)
  const awake = machineOf()
  awake.wake({ checkpoint: 6, plan: 'p', fenced: [] }, saved)
  expect(closed).toEqual(['slow'])
  told.length = 0
  awake.receive({
    v: 1,
    type: 'notice',
    previous: 6,
    checkpoint: 7,
    plan: 'p',
    form: 'name',
    part: 1,
    parts: 1,
    buckets: [['b', 2, 2, 7, 'y']],
  })
  expect(told).toEqual([['quick', [['b', 2, 2, 7, 'y']]]])
})

test('a relay that slept before the replicator had come asks for it once more', () => {
  let attached = 0
  const machine = new RelayMachine<string>({
    send: () => {},
    hasCredit: () => true,
    close: () => {},
    mark: (name) => name,
    saveStream: () => {},
    saveCheckpoint: () => {},
    ask: () => {},
    committed: () => {},
    attach: () => void attached++,
  })
  machine.wake(null, [['s', { marks: [], toldPlan: null, form: 'name', owing: false }]])
  expect(attached).toBe(1)
})

test('a relay that wakes without streams, to a socket that has brought nothing, asks with the first stream, and once', () => {
  let attached = 0
  const machine = new RelayMachine<string>({
    send: () => {},
    hasCredit: () => true,
    close: () => {},
    mark: (name) => name,
    saveStream: () => {},
    saveCheckpoint: () => {},
    ask: () => {},
    committed: () => {},
    attach: (done) => void (attached++, done()),
  })
  machine.wake(null, [])
  // The object: the replicator may not know of the socket, since its answer may have been lost.
  machine.wants = true
  machine.streamArrived('s')
  machine.streamArrived('t')
  expect(attached).toBe(1)
})

test('streams of a bucket that lacks ops end, when it is told, when they come, and after a sleep; the others go on', () => {
  const { arrive, closed, why, told, notice, gap, listed, sleep } = relayOf('name')
  const lacking = 'x'.repeat(600)
  arrive('alice', [ALICE])
  arrive('bob', ['bob', lacking])
  sleep()
  told.length = 0
  notice([[ALICE, 8, 1, 6, 'ops']], [frameName(lacking)])
  expect([closed, why, listed().length]).toEqual([['bob'], ['fenced'], 1])
  expect(told).toEqual([['alice', [[ALICE, 8, 1, 6, 'ops']]]])
  for (const stream of ['bob again', 'bob after a sleep']) {
    arrive(stream, ['bob', lacking])
    expect([closed.at(-1), why.at(-1)]).toEqual([stream, 'fenced'])
    sleep()
  }
  // Those that stay hear of what comes, as behind any sleep.
  told.length = 0
  notice([[ALICE, 9, 1, 7, 'more']], [frameName(lacking)])
  expect(told).toEqual([['alice', [[ALICE, 9, 1, 7, 'more']]]])
  // The same checkpoint, and another list.
  gap([ALICE])
  expect([closed.at(-1), why.at(-1)]).toEqual(['alice', 'fenced'])
  arrive('bob at last', ['bob', lacking])
  gap([])
  arrive('alice at last', [ALICE])
  expect([closed.length, listed()]).toEqual([4, []])
})

test('streams are told how far a comparison is when it moves and when they come, and nobody asks for anything; its end may be all that they hear', () => {
  const told: string[] = []
  const saved = new Map<string, SavedStream>()
  let credit = true
  let asked = 0
  let at: SavedCheckpoint | null = null
  const machineOf = () =>
    new RelayMachine<string>({
      send: (stream, { checkpoint, comparing, seq, buckets }) => {
        if (seq === null) told.push(`${stream} at ${checkpoint}: ${comparing} ${buckets.length}`)
        saved.set(stream, {
          ...(saved.get(stream) ?? { marks: [], toldPlan: null, form: 'name', owing: true }),
          comparing,
        })
      },
      saveStream: (stream, each) => void saved.set(stream, { ...each, comparing: saved.get(stream)?.comparing }),
      hasCredit: (stream) => credit || stream !== 'slow',
      ask: (_bucket, _checkpoint, _stale, answer) => void (asked++, answer({ count: 0, checksum: 0, last: 0 })),
      saveCheckpoint: (checkpoint, plan, fenced, comparing) => (at = { checkpoint, plan, fenced, comparing }),
      mark: (name) => name,
      close: (stream) => told.push(`${stream} closed`),
      attach: (done) => done(),
      committed: (answer) => answer(5),
    })
  let machine = machineOf()
  const hear = (checkpoint: number, comparing?: number) => {
    told.length = asked = 0
    machine.receive({ v: 2, type: 'gap', checkpoint, plan: 'p', form: 'name', comparing })
    return told
  }
  for (const stream of ['quick', 'slow']) machine.streamArrived(stream)
  machine.replicatorArrived()
  expect(hear(5)).toEqual(['quick at 5: undefined 0', 'slow at 5: undefined 0'])
  for (const stream of ['quick', 'slow']) machine.subscribe(stream, { seq: 1, form: 'name', add: ['b'], remove: [] })
  expect(hear(5, 0.1)).toEqual(['quick at 5: 0.1 0', 'slow at 5: 0.1 0'])
  expect([hear(5, 0.1), asked]).toEqual([[], 0])
  machine.streamArrived('late')
  expect(told).toEqual(['late at 5: 0.1 0'])

  // One that takes nothing hears the newest when it does, and nothing of it is owed to a relay that sleeps.
  credit = false
  expect(hear(5, 0.2)).toEqual(['quick at 5: 0.2 0', 'late at 5: 0.2 0'])
  expect([...saved.values()].map(({ owing }) => owing)).toEqual([false, false, false])
  machine = machineOf()
  machine.wake(at, saved)
  credit = true
  told.length = 0
  machine.flush('slow')
  expect(told).toEqual(['slow at 5: 0.2 0'])
  // It knows where it is for who comes now.
  machine.streamArrived('later')
  expect(told.at(-1)).toBe('later at 5: 0.2 0')
  expect(hear(5, 0.3)).toHaveLength(4)

  // Nothing differed: the checkpoint is the same. It slept, and the replicator has gone meanwhile: of streams without
  // buckets, too, it knows what it told them.
  machine = machineOf()
  machine.wake(null, saved)
  machine.replicatorArrived()
  expect(hear(5)).toEqual(['quick closed', 'slow closed', 'late at 5: undefined 0', 'later at 5: undefined 0'])

  // A notice is of what is not held.
  hear(5, 0.9)
  told.length = 0
  machine.receive({
    v: 2,
    type: 'notice',
    previous: 5,
    checkpoint: 6,
    plan: 'p',
    form: 'name',
    part: 1,
    parts: 1,
    buckets: [],
  })
  expect(told).toEqual(['late at 6: undefined 0', 'later at 6: undefined 0'])
})
