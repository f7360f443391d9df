import { addChecksums } from '../../protocol/checksum.ts'
import type { SyncLine } from '../../protocol/lines.ts'
import type { RelayFrame } from '../../protocol/messages/relay.ts'
import type { WireOp } from '../../protocol/ops.ts'
import { runStream } from '../../workers/stream/stream.ts'
import type { StreamPorts, Upstream } from '../../workers/stream/ports.ts'
import type { SimBucket } from './bucket.ts'
import { PLANS } from './source.ts'
import type { World } from './world.ts'

interface Held {
  last: number
  checksum: number
  rows: Map<string, { data: string; op: number }>
}

/** Bytes of a read: small, so that checkpoints are read in several pieces. */
const READ_BUDGET = 300

/** A client that checks every checkpoint it applies against the source. */
export class SimClient {
  readonly #world: World
  readonly user: string
  readonly id: string
  readonly #buckets = new Map<string, Held>()
  #stop = new AbortController()
  #target: { lastOp: number; write: string | null; buckets: Map<string, number> } | null = null
  /** Source transactions in the checkpoint applied last. */
  applied = -1
  checkpoints = 0
  violation: string | null = null

  constructor(world: World, user: string, id: string) {
    this.#world = world
    this.user = user
    this.id = id
    void this.#loop()
  }

  disconnect(): void {
    this.#stop.abort(new Error('disconnected'))
  }

  async #loop(): Promise<void> {
    for (;;) {
      this.#stop = new AbortController()
      this.#target = null
      const buckets = [...this.#buckets].map(([name, held]) => ({ name, after: String(held.last) }))
      try {
        await runStream(
          { request: { buckets, client_id: this.id }, claims: { sub: this.user }, user: this.user },
          this.#ports(this.#stop.signal),
        )
      } catch (error) {
        if (!this.#stop.signal.aborted)
          this.violation ??= `the stream failed: ${error instanceof Error ? (error.stack ?? '') : String(error)}`
      }
      if (this.violation !== null) return
      await this.#world.sim.sleep()
    }
  }

  #ports(signal: AbortSignal): StreamPorts {
    const { sim } = this.#world
    const line = async (value: SyncLine): Promise<void> => {
      await sim.sleep()
      signal.throwIfAborted()
      this.#line(value)
    }
    const answered = async <T>(bucket: string, call: (bucket: SimBucket) => T): Promise<T> => {
      for (;;) {
        signal.throwIfAborted()
        const result = await this.#world.call(bucket, (each) => ({ result: call(each) })).catch(() => null)
        if (result) return result.result
      }
    }
    return {
      plan: async (hash) => {
        const plan = PLANS[hash]
        if (!plan) throw new Error(`there is no plan ${hash}`)
        return plan
      },
      pause: () => sim.sleep(),
      read: (bucket, after, checkpoint) => answered(bucket, (each) => each.read(after, checkpoint, READ_BUDGET)),
      rows: (bucket, checkpoint) => answered(bucket, (each) => each.rows(checkpoint)),
      connect: () => this.#connect(signal),
      tails: () => {},
      know: () => {},
      served: () => {},
      lines: {
        signal,
        room: () => sim.sleep(),
        send: line,
        data: ({ bucket, after, next, more, ops }) =>
          line({
            data: {
              bucket,
              after: String(after),
              next_after: String(next),
              has_more: more,
              data: JSON.parse(`[${ops}]`) as WireOp[],
            },
          }),
      },
    }
  }

  async #connect(signal: AbortSignal): Promise<Upstream> {
    const { sim, relays } = this.#world
    const relay = relays[sim.int(relays.length)]
    if (!relay) throw new Error('no relay')
    const end = await sim.rpc(() => relay.acceptStream())
    const frames: RelayFrame[] = []
    let fallen = end.closed
    let wake: () => void = () => {}
    const fall = (): void => {
      fallen = true
      wake()
    }
    end.onMessage = (frame) => {
      frames.push(frame)
      wake()
    }
    end.onClose = fall
    const close = (): void => {
      end.close()
      fall()
    }
    if (signal.aborted) close()
    else signal.addEventListener('abort', close)
    return {
      send: (frame) => end.send(frame),
      get waiting() {
        return frames.length
      },
      async next() {
        for (;;) {
          const frame = frames.shift()
          if (frame) {
            end.send('ack')
            return frame
          }
          if (fallen) return null
          await new Promise<void>((resolve) => (wake = resolve))
        }
      },
      close,
    }
  }

  #line(line: SyncLine): void {
    if ('checkpoint' in line) {
      const buckets = new Map(line.checkpoint.buckets.map((entry) => [entry.bucket, entry.checksum >>> 0]))
      this.#target = {
        lastOp: Number(line.checkpoint.last_op_id),
        write: line.checkpoint.write_checkpoint ?? null,
        buckets,
      }
      for (const name of this.#buckets.keys()) if (!buckets.has(name)) this.#buckets.delete(name)
    } else if ('checkpoint_diff' in line) {
      const { last_op_id, write_checkpoint, updated_buckets, removed_buckets } = line.checkpoint_diff
      if (!this.#target) return this.#violate('a diff before the first checkpoint')
      for (const name of removed_buckets) {
        this.#target.buckets.delete(name)
        this.#buckets.delete(name)
      }
      for (const entry of updated_buckets) this.#target.buckets.set(entry.bucket, entry.checksum >>> 0)
      this.#target = { ...this.#target, lastOp: Number(last_op_id), write: write_checkpoint ?? null }
    } else if ('data' in line) this.#data(line.data.bucket, line.data.data)
    else if ('checkpoint_complete' in line) this.#complete()
  }

  #data(name: string, ops: readonly WireOp[]): void {
    const held = this.#buckets.get(name) ?? {
      last: 0,
      checksum: 0,
      rows: new Map<string, { data: string; op: number }>(),
    }
    this.#buckets.set(name, held)
    for (const op of ops) {
      const id = Number(op.op_id)
      if (id <= held.last) this.#violate(`op ${id} of ${name} came again`)
      if (id > (this.#target?.lastOp ?? 0)) this.#violate(`I2: op ${id} is above the announced checkpoint`)
      held.last = id
      if (op.op === 'CLEAR') {
        held.rows.clear()
        held.checksum = 0
      }
      held.checksum = addChecksums(held.checksum, op.checksum)
      if (op.op === 'PUT') {
        held.rows.set(op.object_id, { data: op.data, op: id })
        const { group = '', v } = JSON.parse(op.data) as Record<string, string>
        if (!this.#world.mayHave(this.user, group, Number(v)))
          this.#violate(`I7: ${op.object_id} of transaction ${v} came to ${this.user}, who had lost ${group} before`)
      }
      if (op.op === 'REMOVE') held.rows.delete(op.object_id)
    }
  }

  #complete(): void {
    const target = this.#target
    if (!target) return this.#violate('complete before a checkpoint')
    this.checkpoints++
    for (const [name, checksum] of target.buckets) {
      const held = this.#buckets.get(name)
      if ((held?.checksum ?? 0) !== checksum)
        this.#violate(`I3: the checksum of ${name} at ${target.lastOp} does not fit`)
      // As clients do: everything up to the checkpoint has come.
      if (held) held.last = Math.max(held.last, target.lastOp)
    }
    const boundary = this.#world.boundaries.get(target.lastOp)
    if (boundary === undefined) return this.#violate(`I4: ${target.lastOp} is no boundary of a transaction`)
    const { transactions, plan } = boundary
    if (transactions < this.applied) this.#violate(`it went back from ${this.applied} to ${transactions}`)
    this.applied = transactions
    const rows = [...this.#buckets.values()].flatMap((held) => [...held.rows.values()].map((row) => row.data)).sort()
    const truth = this.#world.truth(transactions, plan, this.user, this.id)
    if (JSON.stringify(rows) !== JSON.stringify(truth.rows))
      this.#violate(`I4/I7 at ${transactions}: ${rows.join()} instead of ${truth.rows.join()}`)
    if (target.write !== truth.write)
      this.#violate(`I5 at ${transactions}: write checkpoint ${target.write} instead of ${truth.write}`)
  }

  /** What the client holds is what the source has now. */
  current(): boolean {
    const rows = [...this.#buckets.values()].flatMap((held) => [...held.rows.values()].map((row) => row.data)).sort()
    const { source, plan } = this.#world
    return JSON.stringify(rows) === JSON.stringify(this.#world.truth(source.length, plan, this.user, this.id).rows)
  }

  #violate(what: string): void {
    this.violation ??= what
  }
}
