import { bucketHash } from '../../protocol/names.ts'
import { MESSAGE_VERSION, type BucketState, type NoticeBucket, type RelayFrame, type ReplicatorFrame } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'

/** What the machine asks of the object. `S` is a stream's socket. Calls are repeated by the object until they are answered. */
export interface RelayEffects<S> {
  send(stream: S, frame: RelayFrame): void
  /** Whether the stream has acknowledged enough for another frame. When it has again, the object calls `flush`. */
  hasCredit(stream: S): boolean
  close(stream: S, reason: string): void
  saveStream(stream: S, hashes: readonly string[], toldPlan: string | null): void
  saveCheckpoint(checkpoint: OpId, plan: string | null): void
  /** State of a bucket at a checkpoint; `stale` says when the answer is not wanted any more. */
  ask(bucket: string, checkpoint: OpId, stale: () => boolean, answer: (state: BucketState | 'overtaken') => void): void
  attach(done: () => void): void
  committed(answer: (checkpoint: OpId) => void): void
}

interface StreamState {
  /** hash → name; null when the name was lost in hibernation. */
  names: Map<string, string | null>
  lost: boolean
  /** hash → ops that may be passed on, null: the state only. */
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
    return this.attaching || this.#asks.size > 0
  }

  /** After hibernation: what the attachments say. The names are gone, whom to tell is not. */
  wake(
    at: { checkpoint: OpId; plan: string | null } | null,
    streams: Iterable<[S, { hashes: readonly string[]; toldPlan: string | null }]>,
  ): void {
    if (at) {
      this.#checkpoint = at.checkpoint
      this.#plan = at.plan
    }
    for (const [stream, { hashes, toldPlan }] of streams) {
      const names = new Map(hashes.map((hash) => [hash, null]))
      this.#streams.set(stream, { ...newStream(), names, lost: hashes.length > 0, hello: null, toldPlan })
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

  subscribe(stream: S, seq: number, add: readonly string[], remove: readonly string[]): void {
    const s = this.#streams.get(stream)
    if (!s) return
    for (const hash of remove) {
      s.names.delete(hash)
      s.owed.delete(hash)
      s.maybe.delete(hash)
    }
    for (const name of add) {
      const hash = bucketHash(name)
      s.names.set(hash, name)
      s.owed.set(hash, null)
      s.maybe.delete(hash)
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
    this.#checkpoint = frame.checkpoint
    this.#plan = frame.plan
    this.#overtaken.clear()
    this.#effects.saveCheckpoint(frame.checkpoint, frame.plan)
    if (gap) this.#gap()
    else this.#notice(buckets)
    for (const stream of [...this.#streams.keys()]) this.flush(stream)
  }

  /** Tells the stream what it is owed, when all of that is known. */
  flush(stream: S): void {
    const s = this.#streams.get(stream)
    const checkpoint = this.#checkpoint
    if (!s || checkpoint === null) return
    if (!this.#effects.hasCredit(stream)) {
      for (const hash of s.owed.keys()) s.owed.set(hash, null)
      return
    }
    if (s.hello) {
      if (s.hello.minimum === null || checkpoint < s.hello.minimum) return
      s.hello = null
      s.toldPlan = this.#plan
      this.#send(stream, null, [])
      this.#save(stream, s)
    }
    if (!this.#owes(s)) return
    let missing = false
    for (const hash of s.owed.keys()) {
      if (this.#known.has(hash)) continue
      missing = true
      if (!this.#ask(hash, stream, s)) {
        this.#drop(stream, 'the names of its buckets were lost')
        return
      }
    }
    if (missing) {
      // Ops are passed on at once or not at all.
      for (const hash of s.owed.keys()) s.owed.set(hash, null)
      return
    }
    for (const [hash, before] of s.maybe) {
      const known = this.#known.get(hash)
      if (known && known.checksum === before.checksum && known.count === before.count) s.owed.delete(hash)
    }
    s.maybe.clear()
    if (!this.#owes(s)) return
    const buckets: NoticeBucket[] = []
    for (const [hash, ops] of s.owed) {
      const known = this.#known.get(hash)
      if (known) buckets.push([hash, known.count, known.checksum, known.last, ops])
    }
    const seq = s.seq
    s.owed.clear()
    s.seq = null
    const planChanged = s.toldPlan !== this.#plan
    s.toldPlan = this.#plan
    this.#send(stream, seq, buckets)
    if (planChanged) this.#save(stream, s)
  }

  #notice(buckets: readonly NoticeBucket[]): void {
    for (const [hash, count, checksum, last, ops] of buckets) {
      const wanted = [...this.#streams.values()].filter((s) => s.names.has(hash))
      if (wanted.length > 0 || this.#known.has(hash)) this.#know(hash, { count, checksum, last })
      this.#asks.delete(hash)
      for (const s of wanted) {
        // Owed already: ops of two notices are not put together. Owed perhaps: now it is owed.
        s.owed.set(hash, s.owed.has(hash) ? null : ops)
        s.maybe.delete(hash)
      }
    }
  }

  #gap(): void {
    const before = new Map(this.#known)
    this.#known.clear()
    this.#asks.clear()
    for (const [stream, s] of [...this.#streams]) {
      if (s.lost && s.hello === null) {
        this.#drop(stream, 'the names of its buckets were lost')
        continue
      }
      for (const hash of s.names.keys()) {
        if (s.owed.has(hash)) {
          if (!s.maybe.has(hash)) s.owed.set(hash, null)
          continue
        }
        s.owed.set(hash, null)
        const state = before.get(hash)
        if (state) s.maybe.set(hash, state)
      }
    }
  }

  #owes(s: StreamState): boolean {
    return s.owed.size > 0 || s.seq !== null || s.toldPlan !== this.#plan
  }

  #send(stream: S, seq: number | null, buckets: NoticeBucket[]): void {
    const frame: RelayFrame = { v: MESSAGE_VERSION, type: 'update', checkpoint: this.#checkpoint ?? 0, plan: this.#plan, seq, buckets }
    this.#effects.send(stream, frame)
  }

  #drop(stream: S, reason: string): void {
    this.#streams.delete(stream)
    this.#effects.close(stream, reason)
  }

  #save(stream: S, s: StreamState): void {
    this.#effects.saveStream(stream, [...s.names.keys()], s.toldPlan)
  }

  #know(hash: string, state: BucketState): void {
    this.#known.delete(hash)
    this.#known.set(hash, state)
    if (this.#known.size <= this.#knownStates) return
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest)
      break
    }
  }

  /** False: the name is not known. */
  #ask(hash: string, stream: S, s: StreamState): boolean {
    const asked = this.#asks.get(hash)?.add(stream)
    if (asked || this.#overtaken.has(hash)) return true
    const name = s.names.get(hash)
    if (name === null || name === undefined) return false
    const waiting = new Set([stream])
    this.#asks.set(hash, waiting)
    const stale = () => this.#asks.get(hash) !== waiting
    this.#effects.ask(name, this.#checkpoint ?? 0, stale, (state) => {
      // The relay has moved on, or a notice has said more.
      if (stale()) return
      this.#asks.delete(hash)
      if (state === 'overtaken') {
        this.#overtaken.add(hash)
        return
      }
      this.#know(hash, state)
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
  return { names: new Map(), lost: false, owed: new Map(), maybe: new Map(), seq: null, hello: { minimum: null }, toldPlan: null }
}
