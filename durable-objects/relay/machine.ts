import { frameName, hashName, isWholeName } from '../../protocol/names.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { BucketState } from '../../protocol/messages/bucket.ts'
import type {
  NameForm,
  NoticeBucket,
  RelayFrame,
  ReplicatorFrame,
  SubscribeFrame,
} from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Closing, RelayPorts, SavedCheckpoint, SavedStream } from './ports.ts'
import { Questions } from './questions.ts'
import { Rooms, type Room } from './room.ts'
import { StreamIndex } from './stream-index.ts'

/**
 * What the machine knows about one stream. Buckets are identified by their names in frames (`frameName`), unless stated
 * otherwise.
 */
interface StreamState {
  /** `bucket` is the whole name, or null when that is long and was lost in hibernation. */
  names: Map<string, { bucket: string | null; mark: string }>
  /** Marks of buckets whose names were lost in hibernation. A notice that names one brings it back. */
  lost: Set<string>
  form: NameForm | undefined
  /** The buckets of which it is owed the state, with ops that may be sent along, or null. */
  owed: Map<string, string | null>
  /** Buckets that are owed after a gap, but only if their state differs from this one. */
  maybe: Map<string, BucketState>
  seq: number | null
  /** Set while the first message is owed. `minimum` is null until it is known. */
  hello: { minimum: OpId | null } | null
  toldPlan: string | null
  toldComparing: number | undefined
  /** The value of `owing` in the attachment. */
  savedOwing: boolean
}

const FENCED: [reason: string, why: Closing] = ['a bucket of it lacks changes', 'fenced']

type Notice = Extract<ReplicatorFrame, { type: 'notice' }>

/**
 * The decisions of a relay, as in the protocol between the objects: a notice moves the relay from one checkpoint to the
 * next, and a stream is notified when everything that it is owed is known at the current checkpoint. After a gap there
 * is no queue: streams are owed the current states.
 *
 * The work of a notice depends only on its buckets and on the streams that it concerns.
 *
 * The file is long because it is one state machine: every method changes the same state (streams, subscriptions, known
 * states, what is owed), and the simulation takes its rules out of this file one by one.
 */
export class RelayMachine<S> {
  readonly #ports: RelayPorts<S>
  readonly #room: Room
  readonly #streams = new Map<S, StreamState>()
  /** The streams that have a bucket, by its name in frames; and those that have one of which only the mark is left. */
  readonly #having = new StreamIndex<S>()
  readonly #lost = new StreamIndex<S>()
  /** The number of buckets of all streams. */
  #subscriptions = 0
  /** Streams that are owed something or were not greeted yet. */
  readonly #waiting = new Set<S>()
  /** The states at the checkpoint of buckets that a stream has. */
  readonly #known = new Map<string, BucketState>()
  readonly #questions: Questions<S>
  readonly #overtaken = new Set<string>()
  /** Marks of buckets that lack ops. */
  #fenced: ReadonlySet<string> = new Set()
  #checkpoint: OpId | null = null
  #plan: string | null = null
  /** The progress of a comparison, as the replicator reported it; undefined when there is none. */
  #comparing: number | undefined
  #parts: Notice[] = []
  /** Whether the replicator is of version 1, which sends hashes instead of names. */
  #hashed = false
  #asking = false
  wants = false
  attaching = false
  /** It has asked the replicator to come, since it woke or forgot everything. */
  #asked = false

  constructor(ports: RelayPorts<S>, room: Room = new Rooms().of('')) {
    this.#ports = ports
    this.#room = room
    this.#questions = new Questions<S>({
      ask: (bucket, stale, answer) => ports.ask(bucket, this.#checkpoint ?? 0, stale, answer),
      answered: (name, answer, waiting) => this.#answered(name, answer, waiting),
    })
  }

  get checkpoint(): OpId | null {
    return this.#checkpoint
  }

  get streams(): number {
    return this.#streams.size
  }

  get subscriptions(): number {
    return this.#subscriptions
  }

  /** The number of buckets of one stream. */
  bucketsOf(stream: S): number {
    const state = this.#streams.get(stream)
    return state === undefined ? 0 : state.names.size + state.lost.size
  }

  /** Whether there is no room for another stream. */
  get full(): boolean {
    return this.#subscriptions >= this.#room.most
  }

  /**
   * Whether something is owed that no attachment records, so that the object should not hibernate. The platform may
   * hibernate it anyway after a while (15 minutes for calls in progress, 2026-10): see `SavedStream.owing`.
   */
  get owing(): boolean {
    if (this.#waiting.size > 0) return true
    // The hashes of an older replicator do not say which of the marks are meant.
    if (this.#hashed && this.#streams.size > 0) return true
    return this.attaching || this.#questions.size > 0
  }

  /**
   * Restores the state from attachments after hibernation. Names are lost; marks still say which streams a notice
   * concerns. `at` is null when there is no socket of the replicator, or when its attachment does not say which buckets
   * are fenced. Then no stream is notified before the replicator connects again.
   */
  wake(at: SavedCheckpoint | null, streams: Iterable<[S, SavedStream]>): void {
    if (at) {
      this.#fenced = new Set(at.fenced)
      this.#checkpoint = at.checkpoint
      this.#plan = at.plan
      this.#comparing = at.comparing
    }
    for (const [stream, { marks, toldPlan, form, owing, comparing }] of streams) {
      if (owing) {
        this.#ports.close(stream, 'what it was owed was lost')
        continue
      }
      // Other relays have taken its room meanwhile.
      if (this.#subscriptions + marks.length > this.#room.most) {
        this.#ports.close(stream, 'the relay has no room for its buckets', 'full')
        continue
      }
      const told = { toldPlan, toldComparing: comparing }
      this.#streams.set(stream, { ...newStream(), lost: new Set(marks), hello: null, ...told, form, savedOwing: false })
      if (comparing !== this.#comparing) this.#waiting.add(stream)
      for (const mark of marks) this.#lost.add(mark, stream)
      this.#subscriptions += marks.length
    }
    this.renew()
    this.wants = at !== null || this.#streams.size > 0
    // Its call to the replicator before hibernation may have been lost, or the answer.
    if (at === null && this.#streams.size > 0) this.#attach()
  }

  streamArrived(stream: S): void {
    this.#streams.set(stream, newStream())
    this.#waiting.add(stream)
    // A socket over which nothing has come may be one that the replicator does not know of: the answer with its other
    // end was lost.
    if (!this.wants || (this.#checkpoint === null && !this.#asked)) {
      this.wants = true
      this.#attach()
    }
    this.#freshness()
    this.flush(stream)
  }

  streamGone(stream: S): void {
    const s = this.#streams.get(stream)
    if (!s) return
    this.#streams.delete(stream)
    this.#waiting.delete(stream)
    this.#subscriptions -= s.names.size + s.lost.size
    this.renew()
    for (const name of s.names.keys()) this.#hasNoMore(name, stream)
    for (const mark of s.lost) this.#lost.delete(mark, stream)
  }

  #attach(): void {
    this.#asked = true
    this.attaching = true
    this.#ports.attach(() => (this.attaching = false))
  }

  /**
   * Removes a stream from a bucket. The state of a bucket that no stream has is forgotten, because it is not kept
   * current.
   */
  #hasNoMore(name: string, stream: S): void {
    if (!this.#having.delete(name, stream)) return
    this.#known.delete(name)
    this.#questions.drop(name)
    this.#overtaken.delete(name)
  }

  subscribe(stream: S, { seq, add, remove, form }: Pick<SubscribeFrame, 'seq' | 'add' | 'remove' | 'form'>): void {
    const s = this.#streams.get(stream)
    if (!s) return
    if (this.#subscriptions + add.length > this.#room.most)
      return this.#drop(stream, 'the relay has no room for its buckets', 'full')
    s.form = form
    const byHash =
      form === 'name' || remove.length === 0
        ? null
        : new Map([...s.names].map(([name, each]) => [hashName(each.bucket ?? name), name]))
    for (const called of remove) {
      const name = byHash ? byHash.get(called) : called
      // The stream named the bucket by a hash of version 1, and the name was lost.
      if (name === undefined) return this.#drop(stream, 'the names of its buckets were lost')
      if (s.names.delete(name)) {
        this.#subscriptions--
        this.#hasNoMore(name, stream)
      } else this.#forgetLost(stream, s, this.#ports.mark(name))
      s.owed.delete(name)
      s.maybe.delete(name)
    }
    let fenced = false
    for (const bucket of add) {
      const name = frameName(bucket)
      const mark = this.#ports.mark(name)
      fenced ||= this.#fenced.has(mark)
      this.#forgetLost(stream, s, mark)
      if (!s.names.has(name)) this.#subscriptions++
      s.names.set(name, { bucket, mark })
      this.#having.add(name, stream)
      s.owed.set(name, null)
      s.maybe.delete(name)
    }
    this.renew()
    if (add.length > 0) s.seq = seq
    if (fenced) return this.#drop(stream, ...FENCED)
    this.#save(stream, s)
    this.flush(stream)
  }

  /**
   * Returns false when the replicator is refused. Otherwise the object closes the older socket and answers
   * `checkpoint`.
   */
  replicatorArrived(): boolean {
    if (!this.wants) return false
    this.#parts = []
    if (this.#checkpoint !== null)
      this.#ports.saveCheckpoint(this.#checkpoint, this.#plan, [...this.#fenced], this.#comparing)
    return true
  }

  /**
   * Called when there was no stream for the linger time. Forgets everything: the replicator connects again, is refused,
   * and forgets this relay.
   */
  forget(): void {
    this.wants = false
    this.#asked = false
    this.#checkpoint = null
    this.#plan = null
    this.#comparing = undefined
    this.#fenced = new Set()
    this.#known.clear()
    this.#questions.clear()
    this.#overtaken.clear()
    this.#parts = []
  }

  /** Renews the relay's part of the room, which shows that it is awake. */
  renew(): void {
    this.#room.has(this.#subscriptions)
  }

  receive(frame: ReplicatorFrame): void {
    this.renew()
    if (this.#checkpoint !== null && frame.checkpoint <= this.#checkpoint) {
      if (frame.type !== 'gap' || frame.checkpoint !== this.#checkpoint) return
      const moved = this.#compare(frame)
      this.#fence(frame)
      if (moved) this.#flushAll(true)
      return
    }
    let gap = frame.type === 'gap'
    let buckets: NoticeBucket[] = []
    if (frame.type === 'notice') {
      if (this.#parts[0]?.checkpoint !== frame.checkpoint) this.#parts = []
      this.#parts.push(frame)
      if (frame.part < frame.parts) return
      // The relay hibernated between two parts, so earlier ones are lost.
      if (this.#parts.length !== frame.parts) gap = true
      else if (frame.previous !== this.#checkpoint) gap = true
      else buckets = this.#parts.flatMap((part) => part.buckets)
    }
    this.#parts = []
    this.#hashed = frame.form !== 'name'
    const switched = frame.plan !== this.#plan
    this.#checkpoint = frame.checkpoint
    this.#plan = frame.plan
    this.#overtaken.clear()
    const moved = this.#compare(frame)
    this.#fence(frame)
    if (gap) this.#gap()
    else if (this.#hashed) this.#hint(buckets)
    else this.#notice(buckets)
    this.#flushAll(switched || moved)
  }

  /** With `all`, flushes also streams that wait for no bucket. */
  #flushAll(all: boolean): void {
    for (const stream of [...(all ? this.#streams.keys() : this.#waiting)]) this.flush(stream)
  }

  /** Takes the progress of a comparison from a frame. Returns whether it has changed. */
  #compare(frame: ReplicatorFrame): boolean {
    const before = this.#comparing
    this.#comparing = frame.type === 'gap' ? frame.comparing : undefined
    return this.#comparing !== before
  }

  /**
   * Ends the streams of fenced buckets, which lack ops: such a stream could not be complete at any checkpoint from now
   * on.
   */
  #fence({ fenced = [] }: ReplicatorFrame): void {
    this.#fenced = new Set(fenced.map((name) => this.#ports.mark(name)))
    this.#ports.saveCheckpoint(this.#checkpoint ?? 0, this.#plan, [...this.#fenced], this.#comparing)
    for (const name of fenced) {
      this.#find(name)
      for (const stream of [...this.#having.get(name)]) this.#drop(stream, ...FENCED)
    }
  }

  /** Sends the stream what it is owed, when all of that is known. */
  flush(stream: S): void {
    const s = this.#streams.get(stream)
    if (!s) return
    this.#flush(stream, s)
    if (!this.#streams.has(stream)) return
    const owing = s.hello !== null || s.seq !== null || s.owed.size > 0
    if (owing || s.toldComparing !== this.#comparing) this.#waiting.add(stream)
    else this.#waiting.delete(stream)
    if (owing !== s.savedOwing) this.#save(stream, s)
  }

  #flush(stream: S, s: StreamState): void {
    const checkpoint = this.#checkpoint
    if (checkpoint === null) return
    if (!this.#ports.hasCredit(stream)) {
      for (const name of s.owed.keys()) s.owed.set(name, null)
      return
    }
    if (s.hello) {
      if (s.hello.minimum === null || checkpoint < s.hello.minimum) return
      s.hello = null
      s.toldPlan = this.#plan
      this.#send(stream, s, null, [], 'name')
      this.#save(stream, s)
    }
    if (!this.#owes(s)) return
    let missing = false
    for (const name of s.owed.keys()) {
      if (this.#known.has(name)) continue
      missing = true
      if (!this.#ask(name, stream, s)) {
        this.#drop(stream, 'the names of its buckets were lost')
        return
      }
    }
    if (missing) {
      // Ops are sent along at once or not at all.
      for (const name of s.owed.keys()) s.owed.set(name, null)
      return
    }
    for (const [name, before] of s.maybe) {
      const known = this.#known.get(name)
      if (known && known.checksum === before.checksum && known.count === before.count) s.owed.delete(name)
    }
    s.maybe.clear()
    if (!this.#owes(s)) return
    const buckets: NoticeBucket[] = []
    for (const [name, ops] of s.owed) {
      const known = this.#known.get(name)
      if (!known) continue
      const called = s.form === 'name' ? name : hashOf(name, s)
      if (called === null) return this.#drop(stream, 'the names of its buckets were lost')
      buckets.push([called, known.count, known.checksum, known.last, ops])
    }
    const seq = s.seq
    s.owed.clear()
    s.seq = null
    const planChanged = s.toldPlan !== this.#plan
    s.toldPlan = this.#plan
    this.#send(stream, s, seq, buckets, s.form)
    if (planChanged) this.#save(stream, s)
  }

  #notice(buckets: readonly NoticeBucket[]): void {
    for (const [name, count, checksum, last, ops] of buckets) {
      this.#find(name)
      if (!this.#having.has(name)) continue
      this.#known.set(name, { count, checksum, last })
      this.#questions.drop(name)
      for (const stream of this.#having.get(name)) {
        const s = this.#streams.get(stream)
        if (!s) continue
        // If the bucket is owed already, ops of two notices are not joined. If it was owed only perhaps, it is owed
        // now.
        s.owed.set(name, s.owed.has(name) ? null : ops)
        s.maybe.delete(name)
        this.#waiting.add(stream)
      }
    }
  }

  /** Gives streams that have only the mark of this bucket its name again. */
  #find(name: string): void {
    if (this.#lost.size === 0) return
    const mark = this.#ports.mark(name)
    for (const stream of [...this.#lost.get(mark)]) {
      const s = this.#streams.get(stream)
      this.#lost.delete(mark, stream)
      if (!s?.lost.delete(mark)) continue
      s.names.set(name, { bucket: isWholeName(name) ? name : null, mark })
      this.#having.add(name, stream)
    }
  }

  #forgetLost(stream: S, s: StreamState, mark: string): void {
    if (!s.lost.delete(mark)) return
    this.#lost.delete(mark, stream)
    this.#subscriptions--
  }

  /**
   * Handles a notice of version 1. Its hashes only hint which buckets may have changed, so the states of all with such
   * a hash are asked for, by name.
   */
  #hint(buckets: readonly NoticeBucket[]): void {
    const hashes = new Set(buckets.map(([hash]) => hash))
    const isMeant = (name: string) => !isWholeName(name) || hashes.has(hashName(name))
    for (const name of this.#known.keys()) if (isMeant(name)) this.#known.delete(name)
    for (const name of this.#questions.names()) if (isMeant(name)) this.#questions.drop(name)
    for (const [stream, s] of [...this.#streams]) {
      if (s.lost.size > 0) {
        this.#drop(stream, 'the names of its buckets were lost')
        continue
      }
      for (const name of s.names.keys()) {
        if (!isMeant(name)) continue
        s.owed.set(name, null)
        s.maybe.delete(name)
        this.#waiting.add(stream)
      }
    }
  }

  #gap(): void {
    const before = new Map(this.#known)
    this.#known.clear()
    this.#questions.clear()
    for (const [stream, s] of [...this.#streams]) {
      if (s.lost.size > 0) {
        this.#drop(stream, 'the names of its buckets were lost')
        continue
      }
      for (const name of s.names.keys()) {
        if (s.owed.has(name)) {
          if (!s.maybe.has(name)) s.owed.set(name, null)
          continue
        }
        s.owed.set(name, null)
        const state = before.get(name)
        if (state) s.maybe.set(name, state)
      }
      if (s.owed.size > 0) this.#waiting.add(stream)
    }
  }

  #owes(s: StreamState): boolean {
    return s.owed.size > 0 || s.seq !== null || s.toldPlan !== this.#plan || s.toldComparing !== this.#comparing
  }

  #send(stream: S, s: StreamState, seq: number | null, buckets: NoticeBucket[], form: NameForm | undefined): void {
    const comparing = (s.toldComparing = this.#comparing)
    const at = { checkpoint: this.#checkpoint ?? 0, plan: this.#plan, ...(comparing !== undefined && { comparing }) }
    const frame: RelayFrame = { v: MESSAGE_VERSION, type: 'update', ...at, seq, ...(form && { form }), buckets }
    this.#ports.send(stream, frame)
  }

  #drop(stream: S, reason: string, why?: Closing): void {
    this.streamGone(stream)
    this.#ports.close(stream, reason, why)
  }

  #save(stream: S, s: StreamState): void {
    const marks = [...s.names.values()].map(({ mark }) => mark)
    s.savedOwing = s.hello !== null || s.seq !== null || s.owed.size > 0
    this.#ports.saveStream(stream, {
      marks: [...marks, ...s.lost],
      toldPlan: s.toldPlan,
      form: s.form,
      owing: s.savedOwing,
    })
  }

  /** Asks for the state of a bucket. Returns false when its name is not known. */
  #ask(name: string, stream: S, s: StreamState): boolean {
    if (this.#questions.join(name, stream) || this.#overtaken.has(name)) return true
    const bucket = s.names.get(name)?.bucket ?? null
    if (bucket === null) return false
    this.#questions.add(name, bucket, stream)
    return true
  }

  #answered(name: string, answer: BucketState | 'overtaken', waiting: ReadonlySet<S>): void {
    if (answer === 'overtaken') {
      this.#overtaken.add(name)
      return
    }
    this.#known.set(name, answer)
    for (const each of waiting) this.flush(each)
  }

  /**
   * Finds out at which checkpoint new streams may be greeted: one that was committed when they arrived, or later. One
   * question serves all that wait.
   */
  #freshness(): void {
    if (this.#asking) return
    const waiting = [...this.#streams.values()].flatMap((s) => (s.hello && s.hello.minimum === null ? [s.hello] : []))
    if (waiting.length === 0) return
    this.#asking = true
    this.#ports.committed((checkpoint) => {
      this.#asking = false
      for (const hello of waiting) hello.minimum = checkpoint
      this.#freshness()
      for (const stream of [...this.#streams.keys()]) this.flush(stream)
    })
  }
}

function newStream(): StreamState {
  const names: Pick<StreamState, 'names' | 'lost' | 'form'> = { names: new Map(), lost: new Set(), form: undefined }
  return {
    ...names,
    owed: new Map(),
    maybe: new Map(),
    seq: null,
    hello: { minimum: null },
    toldPlan: null,
    toldComparing: undefined,
    savedOwing: true,
  }
}

/** Returns the name of a bucket for a stream of version 1, or null when it is a long name that was lost. */
function hashOf(name: string, { names }: StreamState): string | null {
  const bucket = names.get(name)?.bucket ?? null
  return bucket === null ? null : hashName(bucket)
}
