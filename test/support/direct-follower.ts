import type { WireOp } from '../../protocol/ops.ts'
import { Followed } from './follower.ts'

type Frame = {
  ops: WireOp[]
  checkpoint?: { op_id: string; checksum: number; count: number }
  error?: { code: string; message: string }
}

export interface DirectFollowerOptions {
  url: string
  token: () => Promise<string>
  /** Called at every checkpoint. */
  at?: () => void
  /** A part of the bucket's name, for a token that gives several buckets. */
  part?: string
}

/** A direct stream of one bucket that reconnects whenever it ends. It makes the same checks as a follower of lines. */
export class DirectFollower extends Followed {
  bucket = ''
  /** The number of streams that were opened, and how the last one ended. */
  streams = 0
  ended: unknown = null
  readonly #options: DirectFollowerOptions
  readonly #running: Promise<void>
  /** Ops of a checkpoint that is not complete yet. */
  #waiting: WireOp[] = []
  /** Aborts the connection, also while it is being opened. */
  #cut = new AbortController()
  #away = false
  #over = false

  constructor(options: DirectFollowerOptions) {
    super()
    this.#options = options
    this.#running = this.#run()
  }

  override get state(): object {
    return { ...super.state, streams: this.streams, away: this.#away, bucket: this.bucket, ended: String(this.ended) }
  }

  disconnect(): void {
    this.#away = true
    this.#cut.abort()
  }

  connect(): void {
    this.#away = false
  }

  async close(): Promise<void> {
    this.#over = true
    this.#cut.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      this.#cut = new AbortController()
      if (!this.#away) await this.#connect(this.#cut.signal).catch((error: unknown) => (this.ended = error))
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const { url, token, part = '' } = this.#options
    const jwt = await token()
    const response = await fetch(`${url}/buckets`, { headers: { authorization: `Token ${jwt}` }, signal })
    const { data }: { data?: { buckets: { bucket: string }[] } } = await response.json()
    const name = data?.buckets.find(({ bucket }) => bucket.includes(part))?.bucket
    if (name === undefined) throw new Error('there is no bucket yet')
    if (this.bucket !== '' && this.bucket !== name) this.problems.push(`the bucket was ${this.bucket} and is ${name}`)
    this.bucket = name
    // These ops are sent again.
    this.received += this.#waiting.splice(0).length
    const after = this.buckets.get(name)?.after ?? 0
    const address = `${url.replace('http', 'ws')}/buckets/${encodeURIComponent(name)}/stream?after=${after}`
    const socket = new WebSocket(address, ['rockpool.direct', jwt])
    let frames = 0
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return
      if (frames === 0) this.streams++
      socket.send(JSON.stringify({ ack: ++frames }))
      this.#frame(JSON.parse(String(data)) as Frame)
    }
    await new Promise((resolve) => {
      socket.onclose = resolve
      signal.onabort = resolve
    })
    socket.close()
  }

  #frame({ ops, checkpoint, error }: Frame): void {
    // What the protocol says of faults: connect again.
    if (error) return
    this.#waiting.push(...ops)
    if (!checkpoint) return
    const { op_id, checksum, count } = checkpoint
    const entry = { bucket: this.bucket, checksum, count, priority: 3, subscriptions: [] }
    if (this.buckets.has(this.bucket))
      this.line({ checkpoint_diff: { last_op_id: op_id, updated_buckets: [entry], removed_buckets: [] } })
    else this.line({ checkpoint: { last_op_id: op_id, buckets: [entry], streams: [] } })
    const data = this.#waiting.splice(0)
    const last = data.at(-1)
    if (last) this.line({ data: { bucket: this.bucket, after: '0', next_after: last.op_id, has_more: false, data } })
    this.line({ checkpoint_complete: { last_op_id: op_id } })
    this.#options.at?.()
  }
}
