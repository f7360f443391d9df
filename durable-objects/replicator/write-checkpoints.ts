import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { mailboxName } from '../../protocol/names.ts'
import type { Batch } from './batch.ts'

const message = z.object({ write: z.array(z.tuple([z.string(), z.string(), z.number()])) })

interface Waiting {
  user: string
  clientId: string
  done: (n: string) => void
  failed: (error: unknown) => void
}

export interface WriteCheckpointSources {
  /** Emits a message into the source; its transaction is committed when this resolves. */
  emit(content: string): Promise<void>
  /** Numbers up to here may have been given out by an earlier incarnation. */
  issued(): number
  setIssued(upTo: number): void
}

/** Numbers are reserved in blocks of about 1,000 seconds, so that one row is written for very many. */
const RESERVED = 1_000_000_000
const MAX_PER_MESSAGE = 1_000

/**
 * Write checkpoints: a number is a marker in the source's WAL, and comes back in the client's mailbox at the place of that marker. One
 * message is on its way at a time and carries all that wait, so numbers commit in their order.
 */
export class WriteCheckpoints {
  readonly #sources: WriteCheckpointSources
  #waiting: Waiting[] = []
  #busy = false
  #last = 0

  constructor(sources: WriteCheckpointSources) {
    this.#sources = sources
  }

  request(user: string, clientId: string): Promise<string> {
    const answer = new Promise<string>((done, failed) => this.#waiting.push({ user, clientId, done, failed }))
    if (!this.#busy) void this.#run()
    return answer
  }

  async #run(): Promise<void> {
    this.#busy = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_PER_MESSAGE)
      try {
        const numbered = batch.map((each) => ({ ...each, n: this.#next() }))
        await this.#sources.emit(JSON.stringify({ write: numbered.map(({ user, clientId, n }) => [user, clientId, n]) }))
        for (const each of numbered) each.done(String(each.n))
      } catch (cause) {
        const error = new RockpoolError('ROCKPOOL_WRITE_CHECKPOINT', `the marker could not be written: ${reason(cause)}`, { cause })
        for (const each of batch) each.failed(error)
      }
    }
    this.#busy = false
  }

  /** Microseconds since 1970 or more: numbers stay above those of any earlier storage of this tenant. */
  #next(): number {
    const issued = this.#sources.issued()
    if (this.#last === 0) this.#last = issued
    this.#last = Math.max(this.#last + 1, Date.now() * 1_000)
    if (this.#last > issued) this.#sources.setIssued(this.#last + RESERVED)
    return this.#last
  }
}

/** Puts the numbers of a message into the mailboxes. Anything else that came under our prefix is not ours. */
export function deliver(batch: Batch, content: string): void {
  const parsed = message.safeParse(json(content))
  if (!parsed.success) return
  for (const [user, clientId, n] of parsed.data.write) batch.deliver(mailboxName(user, clientId), n)
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const reason = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause))
