import { addChecksums, signedChecksum } from '../../protocol/checksum.ts'
import type { BucketEntry, StreamRequest, SyncLine } from '../../protocol/lines.ts'
import type { WireOp } from '../../protocol/ops.ts'
import { ndjson, type Transport } from '../wire/transports.ts'

/** The state of one bucket at a client. */
export class FollowedBucket {
  /** The op up to which everything was received. */
  after = 0
  /** Ops that were received, but are not in a completed checkpoint yet. */
  #staged: WireOp[] = []
  #count = 0
  #cleared = false
  #checksum = 0
  /** `[object type, id, subkey]` as JSON → data text, at the last completed checkpoint. */
  readonly rows = new Map<string, string>()

  receive(ops: readonly WireOp[], next: number): void {
    this.#staged.push(...ops)
    this.after = next
  }

  /** Applies everything up to the checkpoint. Returns what does not match the announced state, or null. */
  complete(checkpoint: number, announced: BucketEntry): string | null {
    for (const op of this.#staged) {
      if (Number(op.op_id) > checkpoint) return `op ${op.op_id} is above checkpoint ${checkpoint}`
      this.#count++
      this.#checksum = addChecksums(this.#checksum, op.checksum)
      if (op.op === 'PUT') this.rows.set(JSON.stringify([op.object_type, op.object_id, op.subkey]), op.data)
      else if (op.op === 'REMOVE') this.rows.delete(JSON.stringify([op.object_type, op.object_id, op.subkey]))
      else if (op.op === 'CLEAR') {
        this.rows.clear()
        this.#count = 1
        this.#cleared = true
        this.#checksum = op.checksum
      }
    }
    this.#staged = []
    // A client from before compaction made one CLEAR of the start has more ops than are announced; one that reads just
    // then has fewer.
    const counted = this.#cleared || this.#count >= announced.count
    if (signedChecksum(this.#checksum) === announced.checksum && counted) return null
    return `${this.#count} ops with checksum ${signedChecksum(this.#checksum)}; announced are ${announced.count} with ${announced.checksum}`
  }
}

/** The state of a client after its lines, and the violations that it found in them. */
export class Followed {
  readonly buckets = new Map<string, FollowedBucket>()
  /** Violations of the protocol. */
  readonly problems: string[] = []
  checkpoint = 0
  checkpoints = 0
  /** The number of ops that arrived, including repeated ones. */
  received = 0
  /** The write checkpoint of the last completed checkpoint. */
  writeCheckpoint = 0n
  /** The write checkpoint of the last announced checkpoint, whose rows may still be in flight. */
  #announcedWrite = 0n
  /** The number of MOVE ops, which compaction makes. */
  moves = 0
  clears = 0
  #last = { line: 'none', at: Date.now() }
  readonly #announced = new Map<string, BucketEntry>()
  readonly #ids = new Map<number, string>()

  /** Shown to people when the test hangs. */
  get state(): object {
    const { checkpoint, checkpoints, received } = this
    return {
      checkpoint,
      checkpoints,
      received,
      last: this.#last.line,
      secondsAgo: (Date.now() - this.#last.at) / 1_000,
    }
  }

  line(line: SyncLine): void {
    this.#last = { line: Object.keys(line)[0] ?? '', at: Date.now() }
    if ('checkpoint' in line) {
      this.#announced.clear()
      for (const entry of line.checkpoint.buckets) this.#announced.set(entry.bucket, entry)
      for (const name of [...this.buckets.keys()]) if (!this.#announced.has(name)) this.buckets.delete(name)
      this.#announce(line.checkpoint)
    } else if ('checkpoint_diff' in line) {
      for (const entry of line.checkpoint_diff.updated_buckets) this.#announced.set(entry.bucket, entry)
      for (const name of line.checkpoint_diff.removed_buckets) {
        this.#announced.delete(name)
        this.buckets.delete(name)
      }
      this.#announce(line.checkpoint_diff)
    } else if ('data' in line) this.#data(line.data)
    else if ('checkpoint_complete' in line) this.#complete(Number(line.checkpoint_complete.last_op_id))
  }

  #announce(line: { last_op_id: string; write_checkpoint?: string }): void {
    const checkpoint = Number(line.last_op_id)
    if (checkpoint < this.checkpoint) this.problems.push(`checkpoint ${checkpoint} came after ${this.checkpoint}`)
    const write = BigInt(line.write_checkpoint ?? this.#announcedWrite)
    if (write < this.#announcedWrite) this.problems.push(`write checkpoint ${write} came after ${this.#announcedWrite}`)
    this.#announcedWrite = write
  }

  #data({ bucket, data, next_after }: { bucket: string; data: WireOp[]; next_after: string }): void {
    if (!this.#announced.has(bucket)) this.problems.push(`${bucket}: ops came, but it is not announced`)
    const held = this.buckets.get(bucket) ?? new FollowedBucket()
    this.buckets.set(bucket, held)
    let after = held.after
    this.received += data.length
    for (const op of data) {
      const id = Number(op.op_id)
      if (id <= after) this.problems.push(`${bucket}: op ${id} came after ${after}`)
      const other = this.#ids.get(id)
      if (other !== undefined && other !== bucket) this.problems.push(`op ${id} is in ${bucket} and in ${other}`)
      // Long runs remember only the last ids.
      if (this.#ids.size > 100_000) this.#ids.clear()
      this.#ids.set(id, bucket)
      if (op.op === 'MOVE') this.moves++
      else if (op.op === 'CLEAR') this.clears++
      after = id
    }
    held.receive(data, Number(next_after))
  }

  #complete(checkpoint: number): void {
    for (const [name, entry] of this.#announced) {
      let held = this.buckets.get(name)
      if (!held) this.buckets.set(name, (held = new FollowedBucket()))
      const problem = held.complete(checkpoint, entry)
      if (problem !== null) this.problems.push(`${name} at ${checkpoint}: ${problem}`)
    }
    this.checkpoint = checkpoint
    this.writeCheckpoint = this.#announcedWrite
    this.checkpoints++
  }
}

export interface FollowerOptions {
  url: string
  token: () => Promise<string>
  clientId: string
  request?: Omit<StreamRequest, 'buckets' | 'client_id'>
  /** Called at every completed checkpoint, when all buckets are at it. */
  at?: (checkpoint: number, buckets: ReadonlyMap<string, FollowedBucket>) => void
  /** NDJSON over HTTP by default. */
  transport?: Transport
}

/**
 * A client of `/sync/stream` that keeps its buckets in memory, reconnects whenever its stream ends, and records
 * violations of the protocol.
 */
export class Follower extends Followed {
  /** Streams opened, and how the last one ended. */
  streams = 0
  ended: unknown = null
  readonly #options: FollowerOptions
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  #stream = new AbortController()
  #away: Promise<void> | null = null
  #back: () => void = () => {}

  constructor(options: FollowerOptions) {
    super()
    this.#options = options
    this.#running = this.#run()
  }

  override get state(): object {
    return { ...super.state, streams: this.streams, away: this.#away !== null, ended: String(this.ended) }
  }

  /** Drops its connection until `connect`. */
  disconnect(): void {
    this.#away ??= new Promise((resolve) => (this.#back = resolve))
    this.#stream.abort()
  }

  connect(): void {
    this.#away = null
    this.#back()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.connect()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#stream = new AbortController()
      // A broken stream is normal here, and its ops stay.
      if (!this.#away)
        await this.#follow(AbortSignal.any([this.#stop.signal, this.#stream.signal])).catch(
          (error: unknown) => (this.ended = error),
        )
      if (!this.#stop.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 100))
      await this.#away
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { url, token, clientId, request, transport = ndjson, at } = this.#options
    const buckets = [...this.buckets].map(([name, { after }]) => ({ name, after: String(after) }))
    const lines = transport({
      url,
      token: await token(),
      request: { raw_data: true, ...request, client_id: clientId, buckets },
      signal,
    })
    let first = true
    for await (const line of lines) {
      if (signal.aborted) return
      if (first) this.streams++
      first = false
      this.line(line)
      if ('checkpoint_complete' in line) at?.(this.checkpoint, this.buckets)
    }
  }
}

/** Returns the parsed rows of the buckets whose name contains `part`, e.g. `#items[`. */
export function rowsOf(buckets: ReadonlyMap<string, FollowedBucket>, part: string): Record<string, unknown>[] {
  return [...buckets]
    .filter(([name]) => name.includes(part))
    .flatMap(([, bucket]) => [...bucket.rows.values()].map((data) => JSON.parse(data) as Record<string, unknown>))
}
