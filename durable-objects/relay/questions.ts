import type { BucketState } from '../../protocol/messages/bucket.ts'

/** Questions of buckets under way at a time. Each wakes an object, and a relay that has missed something asks about all that its streams have. */
export const QUESTIONS_AT_ONCE = 64

/** `null`: given up, because the answer is not wanted any more. */
export type Answer = BucketState | 'overtaken' | null

interface Question<S> {
  bucket: string
  waiting: Set<S>
  asked: boolean
}

export interface QuestionPorts<S> {
  ask(bucket: string, stale: () => boolean, answer: (answer: Answer) => void): void
  /** An answer that is still wanted, with the streams that wait for it. */
  answered(name: string, answer: BucketState | 'overtaken', waiting: ReadonlySet<S>): void
}

/** The states that streams wait for: asked in the order in which they were wanted first, each once, and few at a time. */
export class Questions<S> {
  readonly #ports: QuestionPorts<S>
  readonly #open = new Map<string, Question<S>>()
  /** Names in their order; those before `#next`, and those that are not open any more, have been asked or dropped. */
  #queue: string[] = []
  #next = 0
  #running = 0
  #pumping = false

  constructor(ports: QuestionPorts<S>) {
    this.#ports = ports
  }

  get size(): number {
    return this.#open.size
  }

  /** Whether it is asked about already; then the stream waits for the same answer. */
  join(name: string, stream: S): boolean {
    const question = this.#open.get(name)
    question?.waiting.add(stream)
    return question !== undefined
  }

  add(name: string, bucket: string, stream: S): void {
    this.#open.set(name, { bucket, waiting: new Set([stream]), asked: false })
    this.#queue.push(name)
    this.#pump()
  }

  names(): Iterable<string> {
    return this.#open.keys()
  }

  /** The answer is not wanted any more. */
  drop(name: string): void {
    this.#open.delete(name)
  }

  clear(): void {
    this.#open.clear()
    this.#queue = []
    this.#next = 0
  }

  /** An answer may come at once: then the loop that asked goes on. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    while (this.#running < QUESTIONS_AT_ONCE && this.#next < this.#queue.length) {
      const name = this.#queue[this.#next++] ?? ''
      const question = this.#open.get(name)
      if (!question || question.asked) continue
      question.asked = true
      this.#running++
      const stale = () => this.#open.get(name) !== question
      this.#ports.ask(question.bucket, stale, (answer) => {
        this.#running--
        if (answer !== null && !stale()) {
          this.#open.delete(name)
          this.#ports.answered(name, answer, question.waiting)
        }
        this.#pump()
      })
    }
    this.#pumping = false
    if (this.#next === this.#queue.length) {
      this.#queue = []
      this.#next = 0
    }
  }
}
