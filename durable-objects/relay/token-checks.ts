import type { Checked, Serving } from '../../protocol/messages/replicator.ts'
import { isRevokedBy, type TokenMark, type ToldRevocation } from '../../protocol/revocations.ts'

export interface TokenCheckPorts<S> {
  /** Asks the replicator what is committed, and about tokens. Null: the answer is not wanted any more. */
  ask(tokens: TokenMark[]): Promise<(Serving & Checked) | null>
  /** All streams whose tokens are known, with these. A stream of an older Worker is none of them. */
  streams(): Iterable<[S, TokenMark]>
  /** Ends a stream whose token was revoked. */
  end(stream: S): void
  /** Tells a stream that the token of its frame `seq` is accepted. */
  admitted(stream: S, seq: number): void
  /** Stores the revision, for after hibernation. */
  saveRevision(revision: number): void
}

interface Waiting {
  token: TokenMark
  /** Of the frame that is to be answered; null when the stream is new. */
  seq: number | null
}

/**
 * Which streams of a relay have a token that was revoked. The relay keeps no list. The replicator has one, and answers
 * about new streams together with what is committed, before which no stream is greeted. Of a revocation that comes
 * later the relay is told. Its number shows whether one was missed; then the replicator is asked about all streams.
 */
export class TokenChecks<S> {
  readonly #ports: TokenCheckPorts<S>
  /** Streams that the replicator has not answered about. An entry is another object whenever it must be asked again. */
  readonly #waiting = new Map<S, Waiting>()
  #revision = 0
  #saved = 0
  #checking = false

  constructor(ports: TokenCheckPorts<S>) {
    this.#ports = ports
  }

  /** Whether something waits that no attachment records. */
  get owing(): boolean {
    return this.#waiting.size > 0
  }

  /** The number of the newest revocation that it has heard of. */
  get revision(): number {
    return this.#revision
  }

  /** Restores the revision at which streams were checked, after hibernation. */
  wake(revision: number): void {
    this.#saved = this.#revision = revision
  }

  /** A new stream: the next question is about it, too. */
  arrived(stream: S, token: TokenMark): void {
    this.#waiting.set(stream, { token, seq: null })
  }

  gone(stream: S): void {
    this.#waiting.delete(stream)
  }

  /** A stream continues under another token. */
  renewed(stream: S, token: TokenMark, seq: number): void {
    this.#waiting.set(stream, { token, seq })
    void this.#checkAll()
  }

  /** Asks what is committed, and about the streams that wait. Returns null when that is not wanted any more. */
  async question(): Promise<Serving | null> {
    const asked = [...this.#waiting]
    const answer = await this.#ports.ask(asked.map(([, { token }]) => token))
    if (answer === null) return null
    const { revoked = [], revision = 0, ...serving } = answer
    const refused = new Set(revoked)
    const checked = new Set<S>()
    for (const [i, [stream, waiting]] of asked.entries()) {
      // It has gone, has another token by now, or an earlier question was answered first.
      if (this.#waiting.get(stream) !== waiting) continue
      this.#waiting.delete(stream)
      checked.add(stream)
      if (refused.has(i)) this.#ports.end(stream)
      else if (waiting.seq !== null) this.#ports.admitted(stream, waiting.seq)
    }
    this.heard(revision, checked)
    this.#save()
    return serving
  }

  /** Ends what a revocation concerns. Returns how many streams that were. */
  revoked(told: ToldRevocation, revision: number): number {
    // One that was missed in between is found by asking.
    if (revision > this.#revision + 1) this.heard(revision)
    else this.#revision = Math.max(this.#revision, revision)
    const concerned = [...this.#ports.streams()].filter(([, token]) => isRevokedBy(token, told))
    for (const [stream] of concerned) {
      this.#waiting.delete(stream)
      this.#ports.end(stream)
    }
    this.#save()
    return concerned.length
  }

  /**
   * There is a revocation of this number. When it was missed, all streams are checked again, but those in `checked`,
   * which were just now.
   */
  heard(revision: number, checked: ReadonlySet<S> = new Set()): void {
    if (revision <= this.#revision) return
    this.#revision = revision
    for (const [stream, token] of this.#ports.streams()) {
      if (checked.has(stream)) continue
      this.#waiting.set(stream, { token, seq: this.#waiting.get(stream)?.seq ?? null })
    }
    void this.#checkAll()
  }

  /** Stores the revision, once all streams are checked at it. */
  #save(): void {
    if (this.#saved === this.#revision || this.#waiting.size > 0) return
    this.#saved = this.#revision
    this.#ports.saveRevision(this.#revision)
  }

  /** Asks until nothing waits. */
  async #checkAll(): Promise<void> {
    if (this.#checking) return
    this.#checking = true
    try {
      while (this.#waiting.size > 0 && (await this.question()) !== null);
    } finally {
      this.#checking = false
    }
  }
}
