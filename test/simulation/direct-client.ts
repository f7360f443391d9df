import { addChecksums } from '../../protocol/checksum.ts'
import type { WireOp } from '../../protocol/ops.ts'
import type { End } from './sim.ts'
import type { World } from './world.ts'

interface Frame {
  ops?: WireOp[]
  checkpoint?: { op_id: string; checksum: number }
  error?: unknown
}

/** Follows one bucket directly, and checks every checkpoint against the source. */
export class SimDirectClient {
  readonly #world: World
  readonly bucket: string
  #end: End<string, string> | null = null
  #rows = new Map<string, string>()
  #checksum = 0
  /** Under which it was let in. */
  #plan: string | null = null
  #last = 0
  /** Checkpoints that it was told. */
  checkpoints = 0

  constructor(world: World, bucket: string) {
    this.#world = world
    this.bucket = bucket
    void this.#connect()
  }

  disconnect(): void {
    this.#end?.cut(this.#world.sim.chance(0.5))
  }

  /** What it holds is what the source has now, and it was let in under the plan that serves. */
  current(): boolean {
    return (
      this.#plan === this.#world.plan &&
      this.#content() === JSON.stringify(this.#world.content(this.#world.source.length, this.bucket))
    )
  }

  async #connect(): Promise<void> {
    const { sim, replicator } = this.#world
    for (;;) {
      // The Worker looks whether the plan that serves gives the bucket.
      const serving = await sim.rpc(() => replicator.serving).catch(() => null)
      if (!serving) continue
      const end = await sim
        .rpc(() => this.#world.bucket(this.bucket).accept(this.#last, serving.plan))
        .catch(() => null)
      if (!end) continue
      this.#plan = serving.plan
      this.#follow(end)
      return
    }
  }

  #follow(end: End<string, string>): void {
    let frames = 0
    let waiting: WireOp[] = []
    const fallen = (): void => {
      if (this.#end !== end) return
      this.#end = null
      void this.#connect()
    }
    this.#end = end
    end.onClose = fallen
    end.onMessage = (text) => {
      if (this.#end !== end) return
      const { ops, checkpoint, error } = JSON.parse(text) as Frame
      if (error) return
      frames++
      end.send(JSON.stringify({ ack: frames }))
      waiting.push(...(ops ?? []))
      if (!checkpoint) return
      this.#apply(waiting, checkpoint)
      waiting = []
    }
    if (end.closed) fallen()
  }

  #apply(ops: readonly WireOp[], checkpoint: { op_id: string; checksum: number }): void {
    const world = this.#world
    const what = `direct stream of ${this.bucket} at ${checkpoint.op_id}`
    const id = Number(checkpoint.op_id)
    this.checkpoints++
    world.count('checkpoints of direct streams')
    for (const op of ops) {
      if (Number(op.op_id) <= this.#last) world.violate(`${what}: op ${op.op_id} came again`)
      if (Number(op.op_id) > id) world.violate(`I2: ${what}: op ${op.op_id} is above it`)
      this.#last = Number(op.op_id)
      if (op.op === 'CLEAR') this.#rows.clear()
      if (op.op === 'PUT') this.#rows.set(op.object_id, op.data)
      if (op.op === 'REMOVE') this.#rows.delete(op.object_id)
      this.#checksum = op.op === 'CLEAR' ? op.checksum >>> 0 : addChecksums(this.#checksum, op.checksum)
    }
    if (id < this.#last) world.violate(`${what}: it went back from ${this.#last}`)
    this.#last = Math.max(this.#last, id)
    if (this.#checksum !== checkpoint.checksum >>> 0) world.violate(`I3: ${what}: the checksum does not fit`)
    const boundary = world.boundaries.get(id)
    if (!boundary || id > world.replicator.serving.checkpoint)
      return world.violate(`I4: ${what}: that is no committed checkpoint`)
    if (this.#content() !== JSON.stringify(world.content(boundary.transactions, this.bucket)))
      world.violate(`I4: ${what}: ${this.#content()}`)
  }

  #content(): string {
    return JSON.stringify([...this.#rows.values()].sort())
  }
}
