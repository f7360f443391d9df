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
  /** The number that the client chose, or null for the next one. */
  id: bigint | null
  done: (n: string) => void
  failed: (error: unknown) => void
}

export interface WriteCheckpointPorts {
  /** Emits a message into the source. Resolves when its transaction is committed. */
  emit(content: string): Promise<void>
  /** Returns the number up to which an earlier incarnation may have issued numbers. */
  issued(): number
  setIssued(upTo: number): void
  /** Returns the number that has arrived for a client, or null. */
  delivered(user: string, clientId: string): bigint | null
  /**
   * Returns true while there is no slot, or everything is being compared: earlier commits may then reach the buckets
   * after a marker that is emitted now.
   */
  held(): boolean
  /** Returns the numbers that were issued meanwhile, and whose markers have yet to be emitted. */
  owed(): readonly OwedWrite[]
  setOwed(owed: readonly OwedWrite[]): void
}

export type OwedWrite = [user: string, clientId: string, n: string]

/** Numbers are reserved in blocks of about 1,000 seconds, so that one written row covers very many. */
const RESERVED = 1_000_000_000
const MAX_PER_MESSAGE = 1_000
/**
 * The most UTF-16 units of users and clients in one message, to which one more may be added: as JSON in UTF-8 it stays
 * below `MAX_MESSAGE_BYTES`.
 */
const MAX_MESSAGE_LENGTH = 250_000
/**
 * The most bytes of JSON of owed numbers while everything is compared, about 25,000 clients. A stored value takes 2 MB.
 */
export const MAX_OWED_BYTES = 1_900_000
/**
 * The number of clients whose last emitted number is remembered. It is delivered long before this many others have
 * followed.
 */
const MAX_UNDER_WAY = 10_000

/**
 * Write checkpoints. A number is a marker in the source's WAL, and arrives in the client's mailbox at the place of that
 * marker. One message is in flight at a time and carries all waiting requests. Requests that arrive meanwhile wait for
 * the next one, because their commits may come after its marker.
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
   * Emits what was held back, and what was emitted but has not arrived, because its marker is before the slot, or was
   * lost with an earlier one. To be called when a session has caught up.
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
   * Returns the number, in decimal, that will arrive. With `id` it is the higher one of `id` and what this client
   * already has; a lower `id` changes nothing. Rejects with ROCKPOOL_WRITE_CHECKPOINT.
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
        // Requests that arrived meanwhile would only wait for the same silent database.
        const silent = cause instanceof RockpoolError && cause.code === 'ROCKPOOL_SOURCE_UNREACHABLE'
        for (const each of silent ? [...batch, ...this.#waiting.splice(0)] : batch) each.failed(error)
      }
    }
    this.#busy = false
  }

  async #serve(batch: readonly Waiting[]): Promise<void> {
    /** The highest number of each client, which stands for its others. */
    const marks = new Map<string, Mark>()
    const answers: (() => void)[] = []
    for (const { user, clientId, id, done, failed } of batch) {
      const client = JSON.stringify([user, clientId])
      const delivered = this.#ports.delivered(user, clientId) ?? 0n
      const highest = larger(delivered, marks.get(client)?.n ?? this.#given(user, clientId))
      const n = id === null ? larger(BigInt(this.#next()), highest + 1n) : larger(id, highest)
      if (n > MAX_WRITE_CHECKPOINT) {
        failed(
          new RockpoolError(
            'PSYNC_S2001',
            'this client has used up its numbers of write checkpoints: clear its local database',
          ),
        )
        continue
      }
      // A number in flight is emitted again, because clients ask again when it does not arrive.
      if (n > delivered) marks.set(client, { user, clientId, n })
      answers.push(() => done(n.toString()))
    }
    if (marks.size > 0 && this.#ports.held()) {
      for (const mark of marks.values()) this.#owed.set(mark)
      const list = [...this.#owed.all()].map(({ user, clientId, n }): OwedWrite => [user, clientId, n.toString()])
      if (Buffer.byteLength(JSON.stringify(list)) > MAX_OWED_BYTES) {
        const error = new RockpoolError(
          'ROCKPOOL_WRITE_CHECKPOINT',
          'too many clients wait until everything is compared: ask again later',
        )
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

  /** Returns the highest number that was issued to a client and may not have arrived yet. */
  #given(user: string, clientId: string): bigint {
    return larger(this.#underWay.get(user, clientId), this.#owed.get(user, clientId))
  }

  async #emit(marks: readonly Mark[]): Promise<void> {
    await this.#ports.emit(
      JSON.stringify({ write: marks.map(({ user, clientId, n }) => [user, clientId, n.toString()]) }),
    )
    for (const mark of marks) this.#underWay.set(mark)
  }

  /**
   * Returns the next number, at least the microseconds since 1970, so that numbers stay above those of any earlier
   * storage of this tenant.
   */
  #next(): number {
    const issued = this.#ports.issued()
    if (this.#last === 0) this.#last = issued
    this.#last = Math.max(this.#last + 1, Date.now() * 1_000)
    if (this.#last > issued) this.#ports.setIssued(this.#last + RESERVED)
    return this.#last
  }
}

/** Puts the numbers of a message into the mailboxes, up to `highest`. Other messages do nothing. */
export function deliver(batch: Batch, content: string, highest: bigint | number = MAX_WRITE_CHECKPOINT): void {
  const parsed = message.safeParse(jsonOrNull(content))
  if (!parsed.success) return
  for (const [user, clientId, n] of parsed.data.write)
    if (BigInt(n) <= highest) batch.deliver(user, clientId, BigInt(n))
}

/** Returns how many of the first requests fit into one message. */
function fitting(list: readonly { user: string; clientId: string }[]): number {
  let length = 0
  const over = list.findIndex(({ user, clientId }, i) => {
    length += user.length + clientId.length
    return i > 0 && (i >= MAX_PER_MESSAGE || length > MAX_MESSAGE_LENGTH)
  })
  return over < 0 ? list.length : over
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b)
