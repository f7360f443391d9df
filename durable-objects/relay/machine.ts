import { frameName, hashName, isWholeName } from '../../protocol/names.ts'
import {
  MESSAGE_VERSION,
  type BucketState,
  type NameForm,
  type NoticeBucket,
  type RelayFrame,
  type ReplicatorFrame,
  type SubscribeFrame,
} from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'

/** What the machine asks of the object. `S` is a stream's socket. Calls are repeated by the object until they are answered. */
export interface RelayEffects<S> {
  send(stream: S, frame: RelayFrame): void
  /** Whether the stream has acknowledged enough for another frame. When it has again, the object calls `flush`. */
  hasCredit(stream: S): boolean
  close(stream: S, reason: string): void
  saveStream(stream: S, saved: SavedStream): void
  /** A keyed hash of a name in frames: an attachment has no room for names. */
  mark(name: string): string
  saveCheckpoint(checkpoint: OpId, plan: string | null): void
  /** State of a bucket at a checkpoint; `stale` says when the answer is not wanted any more. */
  ask(bucket: string, checkpoint: OpId, stale: () => boolean, answer: (state: BucketState | 'overtaken') => void): void
  attach(done: () => void): void
  committed(answer: (checkpoint: OpId) => void): void
}

/** What an attachment remembers of a stream. */
export interface SavedStream {
  /** Of its buckets, see `RelayEffects.mark`. */
  marks: readonly string[]
  toldPlan: string | null
  /** How it calls buckets, see `NameForm`. */
  form: NameForm | undefined
}

/** Buckets are known by their names in frames (`frameName`) wherever nothing else is said, and compared by them. */
interface StreamState {
  /** `bucket`: its whole name, null when that is long and was lost in hibernation. */
  names: Map<string, { bucket: string | null; mark: string }>
  /** Marks of buckets whose names were lost in hibernation. A notice that names one brings it back. */
  lost: Set<string>
  form: NameForm | undefined
  /** Ops that may be passed on, null: the state only. */
  owed: Map<string, string | null>
  /** Owed after a gap only if the state differs from this one. */
  maybe: Map<string, BucketState>
  seq: number | null
  /** The first message is owed; `minimum` null: not known yet. */
  hello: { minimum: OpId | null } | null
  toldPlan: string | null
}

type Notice = Extract<ReplicatorFrame, { type: 'notice' }>

/** States kept of buckets that streams asked for: many times what one stream may have. */
const KNOWN_STATES = 50_000

/**
 * The relay's decisions, as in the protocol between the objects: a notice moves the relay from one checkpoint to the next, and a stream is
 * told when everything that it is owed is known at the current checkpoint. There is no queue behind a gap.
 */
export class RelayMachine<S> {
  readonly #effects: RelayEffects<S>
  readonly #knownStates: number
  readonly #streams = new Map<S, StreamState>()
  readonly #known = new Map<string, BucketState>()
  /** Questions under way, each with the streams that wait for its answer. */
  readonly #asks = new Map<string, Set<S>>()
  readonly #overtaken = new Set<string>()
  #checkpoint: OpId | null = null
  #plan: string | null = null
  #parts: Notice[] = []
  /** The replicator is of version 1: it tells hashes in place of names. */
  #hashed = false
  #asking = false
  wants = false
  attaching = false

  constructor(effects: RelayEffects<S>, knownStates = KNOWN_STATES) {
    this.#effects = effects
    this.#knownStates = knownStates
  }

  get checkpoint(): OpId | null {
    return this.#checkpoint
  }

  get streams(): number {
    return this.#streams.size
  }

  /** Something is owed that no attachment remembers: the object must not sleep. */
  get owing(): boolean {
    for (const s of this.#streams.values()) if (s.hello !== null || s.seq !== null || s.owed.size > 0) return true
    // Nobody could tell from the hashes of an older replicator which of the marks are meant.
    if (this.#hashed && this.#streams.size > 0) return true
    return this.attaching || this.#asks.size > 0
  }

  /** After hibernation: what the attachments say. The names are gone, whom to tell is not. */
  wake(at: { checkpoint: OpId; plan: string | null } | null, streams: Iterable<[S, SavedStream]>): void {
    if (at) {
      this.#checkpoint = at.checkpoint
      this.#plan = at.plan
    }
    for (const [stream, { marks, toldPlan, form }] of streams) {
      this.#streams.set(stream, { ...newStream(), lost: new Set(marks), hello: null, toldPlan, form })
    }
    this.wants = at !== null || this.#streams.size > 0
  }

  streamArrived(stream: S): void {
    this.#streams.set(stream, newStream())
    if (!this.wants) {
      this.wants = true
      this.attaching = true
      this.#effects.attach(() => (this.attaching = false))
    }
    this.#freshness()
    this.flush(stream)
  }

  streamGone(stream: S): void {
    this.#streams.delete(stream)
  }

  subscribe(stream: S, { seq, add, remove, form }: Pick<SubscribeFrame, 'seq' | 'add' | 'remove' | 'form'>): void {
    const s = this.#streams.get(stream)
    if (!s) return
    s.form = form
    const byHash =
      form === 'name' || remove.length === 0 ? null : new Map([...s.names].map(([name, each]) => [hashName(each.bucket ?? name), name]))
    for (const called of remove) {
      const name = byHash ? byHash.get(called) : called
      // A hash of version 1, and its name was lost.
      if (name === undefined) return this.#drop(stream, 'the names of its buckets were lost')
      if (!s.names.delete(name)) s.lost.delete(this.#effects.mark(name))
      s.owed.delete(name)
      s.maybe.delete(name)
    }
    for (const bucket of add) {
      const name = frameName(bucket)
      const mark = this.#effects.mark(name)
      s.lost.delete(mark)
      s.names.set(name, { bucket, mark })
      s.owed.set(name, null)
      s.maybe.delete(name)
    }
    if (add.length > 0) s.seq = seq
    this.#save(stream, s)
    this.flush(stream)
  }

  /** False: refused. The object closes the older socket and answers `checkpoint`. */
  replicatorArrived(): boolean {
    if (!this.wants) return false
    this.#parts = []
    if (this.#checkpoint !== null) this.#effects.saveCheckpoint(this.#checkpoint, this.#plan)
    return true
  }

  /** No stream for the linger: forget everything; the replicator opens again, is refused, and forgets this relay. */
  forget(): void {
    this.wants = false
    this.#checkpoint = null
    this.#plan = null
    this.#known.clear()
    this.#asks.clear()
    this.#overtaken.clear()
    this.#parts = []
  }

  receive(frame: ReplicatorFrame): void {
    if (this.#checkpoint !== null && frame.checkpoint <= this.#checkpoint) return
    let gap = frame.type === 'gap'
    let buckets: NoticeBucket[] = []
    if (frame.type === 'notice') {
      if (this.#parts[0]?.checkpoint !== frame.checkpoint) this.#parts = []
      this.#parts.push(frame)
      if (frame.part < frame.parts) return
      // Asleep between two parts: what the lost ones said is not known.
      if (this.#parts.length !== frame.parts) gap = true
      else if (frame.previous !== this.#checkpoint) gap = true
      else buckets = this.#parts.flatMap((part) => part.buckets)
    }
    this.#parts = []
    this.#hashed = frame.form !== 'name'
    this.#checkpoint = frame.checkpoint
    this.#plan = frame.plan
    this.#overtaken.clear()
    this.#effects.saveCheckpoint(frame.checkpoint, frame.plan)
    if (gap) this.#gap()
    else if (this.#hashed) this.#hint(buckets)
    else this.#notice(buckets)
    for (const stream of [...this.#streams.keys()]) this.flush(stream)
  }

  /** Tells the stream what it is owed, when all of that is known. */
  flush(stream: S): void {
    const s = this.#streams.get(stream)
    const checkpoint = this.#checkpoint
    if (!s || checkpoint === null) return
    if (!this.#effects.hasCredit(stream)) {
      for (const name of s.owed.keys()) s.owed.set(name, null)
      return
    }
    if (s.hello) {
      if (s.hello.minimum === null || checkpoint < s.hello.minimum) return
      s.hello = null
      s.toldPlan = this.#plan
      this.#send(stream, null, [], 'name')
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
      // Ops are passed on at once or not at all.
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
    this.#send(stream, seq, buckets, s.form)
    if (planChanged) this.#save(stream, s)
  }

  #notice(buckets: readonly NoticeBucket[]): void {
    for (const [name, count, checksum, last, ops] of buckets) {
      const wanted = this.#having(name)
      if (wanted.length > 0 || this.#known.has(name)) this.#know(name, { count, checksum, last })
      this.#asks.delete(name)
      for (const s of wanted) {
        // Owed already: ops of two notices are not put together. Owed perhaps: now it is owed.
        s.owed.set(name, s.owed.has(name) ? null : ops)
        s.maybe.delete(name)
      }
    }
  }

  #having(name: string): StreamState[] {
    let mark: string | null = null
    return [...this.#streams.values()].filter((s) => {
      if (s.lost.size > 0 && !s.names.has(name)) {
        mark ??= this.#effects.mark(name)
        if (s.lost.delete(mark)) s.names.set(name, { bucket: isWholeName(name) ? name : null, mark })
      }
      return s.names.has(name)
    })
  }

  /** A notice of version 1. Its hashes say that some buckets may have changed, not which: the states of all that have such a hash are asked for, by name. */
  #hint(buckets: readonly NoticeBucket[]): void {
    const hashes = new Set(buckets.map(([hash]) => hash))
    const isMeant = (name: string) => !isWholeName(name) || hashes.has(hashName(name))
    for (const name of this.#known.keys()) if (isMeant(name)) this.#known.delete(name)
    for (const name of this.#asks.keys()) if (isMeant(name)) this.#asks.delete(name)
    for (const [stream, s] of [...this.#streams]) {
      if (s.lost.size > 0) {
        this.#drop(stream, 'the names of its buckets were lost')
        continue
      }
      for (const name of s.names.keys()) {
        if (!isMeant(name)) continue
        s.owed.set(name, null)
        s.maybe.delete(name)
      }
    }
  }

  #gap(): void {
    const before = new Map(this.#known)
    this.#known.clear()
    this.#asks.clear()
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
    }
  }

  #owes(s: StreamState): boolean {
    return s.owed.size > 0 || s.seq !== null || s.toldPlan !== this.#plan
  }

  #send(stream: S, seq: number | null, buckets: NoticeBucket[], form: NameForm | undefined): void {
    const at = { checkpoint: this.#checkpoint ?? 0, plan: this.#plan }
    const frame: RelayFrame = { v: MESSAGE_VERSION, type: 'update', ...at, seq, ...(form && { form }), buckets }
    this.#effects.send(stream, frame)
  }

  #drop(stream: S, reason: string): void {
    this.#streams.delete(stream)
    this.#effects.close(stream, reason)
  }

  #save(stream: S, s: StreamState): void {
    const marks = [...s.names.values()].map(({ mark }) => mark)
    this.#effects.saveStream(stream, { marks: [...marks, ...s.lost], toldPlan: s.toldPlan, form: s.form })
  }

  #know(name: string, state: BucketState): void {
    this.#known.delete(name)
    this.#known.set(name, state)
    if (this.#known.size <= this.#knownStates) return
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest)
      break
    }
  }

  /** False: the name is not known. */
  #ask(name: string, stream: S, s: StreamState): boolean {
    const asked = this.#asks.get(name)?.add(stream)
    if (asked || this.#overtaken.has(name)) return true
    const bucket = s.names.get(name)?.bucket ?? null
    if (bucket === null) return false
    const waiting = new Set([stream])
    this.#asks.set(name, waiting)
    const stale = () => this.#asks.get(name) !== waiting
    this.#effects.ask(bucket, this.#checkpoint ?? 0, stale, (state) => {
      // The relay has moved on, or a notice has said more.
      if (stale()) return
      this.#asks.delete(name)
      if (state === 'overtaken') {
        this.#overtaken.add(name)
        return
      }
      this.#know(name, state)
      for (const each of waiting) this.flush(each)
    })
    return true
  }

  /** A stream is greeted at a checkpoint that was committed when it arrived, or later: one question for all that wait. */
  #freshness(): void {
    if (this.#asking) return
    const waiting = [...this.#streams.values()].flatMap((s) => (s.hello && s.hello.minimum === null ? [s.hello] : []))
    if (waiting.length === 0) return
    this.#asking = true
    this.#effects.committed((checkpoint) => {
      this.#asking = false
      for (const hello of waiting) hello.minimum = checkpoint
      this.#freshness()
      for (const stream of [...this.#streams.keys()]) this.flush(stream)
    })
  }
}

function newStream(): StreamState {
  const names: Pick<StreamState, 'names' | 'lost' | 'form'> = { names: new Map(), lost: new Set(), form: undefined }
  return { ...names, owed: new Map(), maybe: new Map(), seq: null, hello: { minimum: null }, toldPlan: null }
}

/** For a stream of version 1; null: a long name that was lost. */
function hashOf(name: string, { names }: StreamState): string | null {
  const bucket = names.get(name)?.bucket ?? null
  return bucket === null ? null : hashName(bucket)
}
