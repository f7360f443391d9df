import { addChecksums, signedChecksum } from '../../protocol/checksum.ts'
import type { BucketEntry, SyncLine } from '../../protocol/lines.ts'
import { now } from './clock.ts'
import { open, type Connection, type Transport } from './transport.ts'

export interface ClientOptions {
  url: string
  transport: Transport
  token: string
  clientId: string | undefined
  /** Whether to parse everything, and to throw when the checksums do not match the announced ones. */
  verify: boolean
}

/** One client. It counts what arrives, remembers its place in each bucket, and keeps no rows. */
export class SyncClient {
  /** The ops of all its streams since it was created. */
  ops = 0
  bytes = 0
  /** Bytes of bodies and messages, as they were sent. */
  received = 0
  completes = 0
  writeCheckpoint = 0n
  /** The ops that it had when it was last complete. */
  completedOps = 0
  completedWrite = 0n
  /** When its present stream was opened, had its first checkpoint, and was last complete, or null. */
  opened = 0
  announced: number | null = null
  completed: number | null = null
  /** Why there is no stream, or null. */
  ended: string | null = null
  problem: string | null = null
  changed: () => void = () => {}
  readonly #options: ClientOptions
  readonly #buckets = new Map<string, BucketEntry>()
  readonly #sums = new Map<string, number>()
  #checkpoint = '0'
  #connection: Connection | null = null

  constructor(options: ClientOptions) {
    this.#options = options
  }

  /** Opens a stream from its last complete checkpoint. */
  open(): void {
    const { url, transport, token, clientId, verify } = this.#options
    this.#connection?.destroy()
    const buckets =
      this.completes > 0 ? [...this.#buckets.keys()].map((name) => ({ name, after: this.#checkpoint })) : []
    const request = { client_id: clientId, buckets }
    this.opened = now()
    this.announced = null
    this.completed = null
    this.ended = null
    const connection = open(transport, { url, token, request, verify }, this.#events, (why) => {
      if (this.#connection !== connection) return
      this.ended = why
      this.changed()
    })
    this.#connection = connection
  }

  get buckets(): number {
    return this.#buckets.size
  }

  /** The ops of its buckets as last announced. */
  get count(): number {
    let count = 0
    for (const entry of this.#buckets.values()) count += entry.count
    return count
  }

  close(): void {
    const connection = this.#connection
    this.#connection = null
    connection?.destroy()
  }

  readonly #events = {
    data: (bytes: number, ops: number): void => {
      this.bytes += bytes
      this.ops += ops
    },
    received: (bytes: number): void => {
      this.received += bytes
    },
    line: (line: SyncLine): void => this.#line(line),
  }

  #line(line: SyncLine): void {
    if ('checkpoint' in line) {
      this.announced ??= now()
      this.#buckets.clear()
      for (const entry of line.checkpoint.buckets) this.#buckets.set(entry.bucket, entry)
      this.#announce(line.checkpoint)
    } else if ('checkpoint_diff' in line) {
      for (const name of line.checkpoint_diff.removed_buckets) {
        this.#buckets.delete(name)
        this.#sums.delete(name)
      }
      for (const entry of line.checkpoint_diff.updated_buckets) this.#buckets.set(entry.bucket, entry)
      this.#announce(line.checkpoint_diff)
    } else if ('data' in line) {
      const { bucket, data } = line.data
      for (const op of data) {
        this.#sums.set(bucket, op.op === 'CLEAR' ? op.checksum : addChecksums(this.#sums.get(bucket) ?? 0, op.checksum))
      }
    } else if ('checkpoint_complete' in line) {
      this.#checkpoint = line.checkpoint_complete.last_op_id
      this.completed = now()
      this.completedOps = this.ops
      this.completedWrite = this.writeCheckpoint
      this.completes++
      if (this.#options.verify) this.#verify()
    }
    this.changed()
  }

  #announce({ write_checkpoint }: { write_checkpoint?: string }): void {
    if (write_checkpoint !== undefined) this.writeCheckpoint = BigInt(write_checkpoint)
  }

  #verify(): void {
    for (const { bucket, checksum } of this.#buckets.values()) {
      const sum = signedChecksum(this.#sums.get(bucket) ?? 0)
      if (sum !== checksum) this.problem ??= `the checksum of ${bucket} is ${sum}, announced was ${checksum}`
    }
  }
}
