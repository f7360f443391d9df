import { z } from 'zod'
import { jsonOrNull } from '../../../protocol/json.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { Batch } from '../ingest/batch.ts'
import { MAX_WRITE_CHECKPOINT } from './custom-checkpoints.ts'
import { LastNumbers, type Mark } from './last-numbers.ts'

/** Numbers are JSON numbers in messages of earlier versions. */
const number = z.union([z.string().regex(/^\d{1,19}$/), z.int()])
const message = z.object({ write: z.array(z.tuple([z.string(), z.string(), number])) })

interface Waiting {
  user: string
  clientId: string
  /** What the client chose; null: the next number. */
  id: bigint | null
  done: (n: string) => void
  failed: (error: unknown) => void
}

export interface WriteCheckpointPorts {
  /** Emits a message into the source; its transaction is committed when this resolves. */
  emit(content: string): Promise<void>
  /** Numbers up to here may have been given out by an earlier incarnation. */
  issued(): number
  setIssued(upTo: number): void
  /** What has come for a client, null: nothing yet. */
  delivered(user: string, clientId: string): bigint | null
  /** There is no slot yet, or everything is being compared: what was committed may reach the buckets behind a marker that is emitted now. */
  held(): boolean
  /** Numbers that were given out meanwhile, and whose markers are to be emitted. */
  owed(): readonly OwedWrite[]
  setOwed(owed: readonly OwedWrite[]): void
}

export type OwedWrite = [user: string, clientId: string, n: string]

/** Numbers are reserved in blocks of about 1,000 seconds, so that one row is written for very many. */
const RESERVED = 1_000_000_000
const MAX_PER_MESSAGE = 1_000
/** UTF-16 units of users and clients in one message, and what one more of them may have: as JSON in UTF-8 it stays below `MAX_MESSAGE_BYTES`. */
const MAX_MESSAGE_LENGTH = 250_000
/** JSON of what is owed while everything is compared: a stored value takes 2 MB. About 25,000 clients. */
export const MAX_OWED_BYTES = 1_900_000
/** Clients whose last emitted number is remembered: long before so many others have followed it is delivered. */
const MAX_UNDER_WAY = 10_000

/**
 * Write checkpoints: a number is a marker in the source's WAL, and comes back in the client's mailbox at the place of that marker. One
 * message is on its way at a time and carries all that wait. Whoever comes while it is on its way waits for the next one: what they committed
 * may be behind its marker.
 */
export class WriteCheckpoints {
  readonly #ports: WriteCheckpointPorts
  readonly #underWay = new LastNumbers(MAX_UNDER_WAY)
  #owed: LastNumbers
  #waiting: Waiting[] = []
  #busy = false
  #last = 0

  constructor(ports: WriteCheckpointPorts) {
    this.#ports = ports
    this.#owed = this.#storedOwed()
  }

  /**
   * Emits what was held back, and what was emitted and did not come: its marker lies before the slot, or was lost with an earlier one. To be called
   * when a session has come to what is new.
   */
  async repeat(): Promise<void> {
    if (this.#ports.held()) return
    const missing = new LastNumbers()
    for (const mark of [...this.#underWay.all(), ...this.#owed.all()]) {
      const { user, clientId, n } = mark
      if (n > larger(this.#ports.delivered(user, clientId) ?? 0n, missing.get(user, clientId))) missing.set(mark)
    }
    const list = [...missing.all()]
    while (list.length > 0) await this.#emit(list.splice(0, fitting(list)))
    if (this.#owed.size === 0) return
    this.#owed.clear()
    this.#ports.setOwed([])
  }

  /**
   * Answers the number, decimal, that will come. With `id`: the higher one of that and what this client has already; a lower one than that
   * changes nothing. Rejects with ROCKPOOL_WRITE_CHECKPOINT.
   */
  request(user: string, clientId: string, id: bigint | null = null): Promise<string> {
    const answer = new Promise<string>((done, failed) => this.#waiting.push({ user, clientId, id, done, failed }))
    if (!this.#busy) void this.#run()
    return answer
  }

  async #run(): Promise<void> {
    this.#busy = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, fitting(this.#waiting))
      try {
        await this.#serve(batch)
      } catch (cause) {
        const error = new RockpoolError('ROCKPOOL_WRITE_CHECKPOINT', 'the database does not answer', { cause })
        // Who came meanwhile would only wait once more for a database that does not answer.
        const silent = cause instanceof RockpoolError && cause.code === 'ROCKPOOL_SOURCE_UNREACHABLE'
        for (const each of silent ? [...batch, ...this.#waiting.splice(0)] : batch) each.failed(error)
      }
    }
    this.#busy = false
  }

  async #serve(batch: readonly Waiting[]): Promise<void> {
    /** By client: the highest number stands for the others. */
    const marks = new Map<string, Mark>()
    const answers: (() => void)[] = []
    for (const { user, clientId, id, done, failed } of batch) {
      const client = JSON.stringify([user, clientId])
      const delivered = this.#ports.delivered(user, clientId) ?? 0n
      const highest = larger(delivered, marks.get(client)?.n ?? this.#given(user, clientId))
      const n = id === null ? larger(BigInt(this.#next()), highest + 1n) : larger(id, highest)
      if (n > MAX_WRITE_CHECKPOINT) {
        failed(new RockpoolError('PSYNC_S2001', 'this client has used up its numbers of write checkpoints: clear its local database'))
        continue
      }
      // One that is on its way is emitted once more: clients ask again when it does not come.
      if (n > delivered) marks.set(client, { user, clientId, n })
      answers.push(() => done(n.toString()))
    }
    if (marks.size > 0 && this.#ports.held()) {
      for (const mark of marks.values()) this.#owed.set(mark)
      const list = [...this.#owed.all()].map(({ user, clientId, n }): OwedWrite => [user, clientId, n.toString()])
      if (Buffer.byteLength(JSON.stringify(list)) > MAX_OWED_BYTES) {
        const error = new RockpoolError('ROCKPOOL_WRITE_CHECKPOINT', 'too many clients wait until everything is compared: ask again later')
        for (const { failed } of batch) failed(error)
        this.#owed = this.#storedOwed()
        return
      }
      this.#ports.setOwed(list)
    } else if (marks.size > 0) await this.#emit([...marks.values()])
    for (const answer of answers) answer()
  }

  #storedOwed(): LastNumbers {
    const owed = new LastNumbers()
    for (const [user, clientId, n] of this.#ports.owed()) owed.set({ user, clientId, n: BigInt(n) })
    return owed
  }

  /** The highest number that was given out to a client and may not have come yet. */
  #given(user: string, clientId: string): bigint {
    return larger(this.#underWay.get(user, clientId), this.#owed.get(user, clientId))
  }

  async #emit(marks: readonly Mark[]): Promise<void> {
    await this.#ports.emit(JSON.stringify({ write: marks.map(({ user, clientId, n }) => [user, clientId, n.toString()]) }))
    for (const mark of marks) this.#underWay.set(mark)
  }

  /** Microseconds since 1970 or more: numbers stay above those of any earlier storage of this tenant. */
  #next(): number {
    const issued = this.#ports.issued()
    if (this.#last === 0) this.#last = issued
    this.#last = Math.max(this.#last + 1, Date.now() * 1_000)
    if (this.#last > issued) this.#ports.setIssued(this.#last + RESERVED)
    return this.#last
  }
}

/** Puts the numbers of a message into the mailboxes, up to the highest that may be. Messages of other kinds do nothing. */
export function deliver(batch: Batch, content: string, highest: bigint | number = MAX_WRITE_CHECKPOINT): void {
  const parsed = message.safeParse(jsonOrNull(content))
  if (!parsed.success) return
  for (const [user, clientId, n] of parsed.data.write) if (BigInt(n) <= highest) batch.deliver(user, clientId, BigInt(n))
}

/** How many of the first ones fit into one message. */
function fitting(list: readonly { user: string; clientId: string }[]): number {
  let length = 0
  const over = list.findIndex(({ user, clientId }, i) => {
    length += user.length + clientId.length
    return i > 0 && (i >= MAX_PER_MESSAGE || length > MAX_MESSAGE_LENGTH)
  })
  return over < 0 ? list.length : over
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b)
