import type { BucketState } from '../../protocol/messages/bucket.ts'

/**
 * Calls to buckets at a time. Each wakes an object, and a relay that has missed something asks about all buckets of its
 * streams.
 */
export const QUESTIONS_AT_ONCE = 64

/** `null` when the call was abandoned because its answer is not wanted any more. */
export type Answer = BucketState | 'overtaken' | null

interface Question<S> {
  bucket: string
  waiting: Set<S>
  asked: boolean
}

export interface QuestionPorts<S> {
  ask(bucket: string, stale: () => boolean, answer: (answer: Answer) => void): void
  /** Called with an answer that is still wanted, and the streams that wait for it. */
  answered(name: string, answer: BucketState | 'overtaken', waiting: ReadonlySet<S>): void
}

/**
 * The bucket states for which streams wait. They are asked for in the order in which they were first wanted, each once,
 * and few at a time.
 */
export class Questions<S> {
  readonly #ports: QuestionPorts<S>
  readonly #open = new Map<string, Question<S>>()
  /**
   * Names in their order. Those before `#next`, and those that are not in `#open` any more, have been asked for or
   * dropped.
   */
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

  /** Returns whether this state is asked for already; the stream then waits for the same answer. */
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

  /** Called when the answer is not wanted any more. */
  drop(name: string): void {
    this.#open.delete(name)
  }

  clear(): void {
    this.#open.clear()
    this.#queue = []
    this.#next = 0
  }

  /** True while the loop runs: an answer may come synchronously, and then the loop continues. */
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
