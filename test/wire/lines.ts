import { request, type IncomingMessage } from 'node:http'
import { deserialize } from 'bson'
import type { SyncLine } from '../../protocol/lines.ts'
import { decoded } from './decoded.ts'

/** Lines of an HTTP stream, whole or not at all. It can stop reading. */
export class HttpLines {
  readonly response: IncomingMessage
  readonly #lines: SyncLine[] = []
  readonly #bson: boolean
  #buffer = Buffer.alloc(0)
  #parts: Buffer[] = []
  #ended: string | null = null
  #wake: () => void = () => {}
  /** Bytes of the body so far, as they were sent. */
  bytes = 0

  private constructor(response: IncomingMessage) {
    this.response = response
    this.#bson = response.headers['content-type'] === 'application/vnd.powersync.bson-stream'
    const body = decoded(response, (bytes) => (this.bytes += bytes))
    body.on('data', (chunk: Buffer) => this.#receive(chunk))
    const end = (how: string) => {
      this.#ended ??= how
      this.#wake()
    }
    body.on('end', () => end('end'))
    body.on('error', () => end('broken'))
    response.on('error', () => end('broken'))
    body.on('close', () => end('broken'))
  }

  /** `signal` cuts it, also before it is answered. */
  static open(
    endpoint: string,
    token: string,
    body: unknown,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<HttpLines> {
    const all = { 'content-type': 'application/json', authorization: `Token ${token}`, ...headers }
    const options = { method: 'POST', headers: all, ...(signal ? { signal } : {}) }
    return new Promise((resolve, reject) => {
      const posted = request(`${endpoint}/sync/stream`, options, (response) => resolve(new HttpLines(response)))
      posted.on('error', reject)
      posted.end(JSON.stringify(body))
    })
  }

  /** The next line, or how the body ended. */
  async next(): Promise<SyncLine | 'end' | 'broken'> {
    for (;;) {
      const line = this.#lines.shift()
      if (line) return line
      if (this.#ended !== null) return this.#ended === 'end' ? 'end' : 'broken'
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  /** Lines until one with this key, that one included. Signs of life are left out. */
  async until(key: string): Promise<SyncLine[]> {
    const lines: SyncLine[] = []
    for (;;) {
      const line = await this.next()
      if (typeof line === 'string') throw new Error(`the body ended (${line}) before ${key}`)
      if (!('token_expires_in' in line) || key === 'token_expires_in') lines.push(line)
      if (key in line) return lines
    }
  }

  pause(): void {
    this.response.socket.pause()
  }

  resume(): void {
    this.response.socket.resume()
  }

  close(): void {
    this.response.destroy()
  }

  #receive(chunk: Buffer): void {
    // Concatenating every chunk with all before it would take a long line too long.
    this.#parts.push(chunk)
    const complete = this.#bson ? this.#length() >= this.#needed() : chunk.includes(10)
    if (!complete) return
    this.#buffer = Buffer.concat([this.#buffer, ...this.#parts])
    this.#parts = []
    for (let end = this.#end(); end > 0; end = this.#end()) {
      const bytes = this.#buffer.subarray(0, end)
      this.#buffer = this.#buffer.subarray(end)
      const line: SyncLine = this.#bson ? (deserialize(bytes) as SyncLine) : JSON.parse(bytes.toString('utf8'))
      this.#lines.push(line)
    }
    this.#wake()
  }

  #length(): number {
    return this.#parts.reduce((sum, part) => sum + part.length, this.#buffer.length)
  }

  #needed(): number {
    if (this.#buffer.length >= 4) return this.#buffer.readInt32LE(0)
    const head = Buffer.concat([this.#buffer, ...this.#parts.map((part) => part.subarray(0, 4))])
    return head.length < 4 ? 4 : head.readInt32LE(0)
  }

  /** Where the first whole line in the buffer ends; 0: there is none. */
  #end(): number {
    if (!this.#bson) return this.#buffer.indexOf(10) + 1
    if (this.#buffer.length < 4) return 0
    const length = this.#buffer.readInt32LE(0)
    return this.#buffer.length < length ? 0 : length
  }
}

/** A client's view of what it received: what it holds of each bucket, checked at every complete. */
export class Applied {
  readonly rows = new Map<string, Map<string, string | null>>()
  readonly #sums = new Map<string, number>()
  #announced = new Map<string, number>()
  #last = 0n
  completes = 0
  ops = 0
  /** Data lines, and the longest of them in ops. */
  lines = 0
  longest = 0
  writeCheckpoint: string | null = null

  /** Throws when a line does not fit to those before. */
  add(line: SyncLine): void {
    if ('checkpoint' in line) {
      this.#announced = new Map(line.checkpoint.buckets.map(({ bucket, checksum }) => [bucket, checksum >>> 0]))
      this.#checkpoint(line.checkpoint)
    } else if ('checkpoint_diff' in line) {
      for (const bucket of line.checkpoint_diff.removed_buckets) this.#announced.delete(bucket)
      for (const { bucket, checksum } of line.checkpoint_diff.updated_buckets)
        this.#announced.set(bucket, checksum >>> 0)
      this.#checkpoint(line.checkpoint_diff)
    } else if ('data' in line) this.#data(line.data)
    else if ('checkpoint_complete' in line) {
      this.completes++
      for (const [bucket, checksum] of this.#announced) {
        const sum = this.#sums.get(bucket) ?? 0
        if (sum !== checksum) throw new Error(`the checksum of ${bucket} is ${sum}, announced was ${checksum}`)
      }
    }
  }

  /** Number of rows over all buckets. */
  get size(): number {
    let size = 0
    for (const rows of this.rows.values()) size += rows.size
    return size
  }

  #checkpoint({ last_op_id, write_checkpoint }: { last_op_id: string; write_checkpoint?: string }): void {
    const last = BigInt(last_op_id)
    if (last < this.#last) throw new Error(`checkpoint ${last_op_id} came after ${this.#last}`)
    this.#last = last
    this.writeCheckpoint = write_checkpoint ?? null
    for (const bucket of [...this.rows.keys()]) {
      if (this.#announced.has(bucket)) continue
      this.rows.delete(bucket)
      this.#sums.delete(bucket)
    }
  }

  #data({ bucket, data, after, next_after }: Extract<SyncLine, { data: unknown }>['data']): void {
    const rows = this.rows.get(bucket) ?? new Map<string, string | null>()
    this.rows.set(bucket, rows)
    let last = BigInt(after)
    this.lines++
    this.longest = Math.max(this.longest, data.length)
    for (const op of data) {
      this.ops++
      if (BigInt(op.op_id) <= last) throw new Error(`op ${op.op_id} of ${bucket} came after ${last}`)
      last = BigInt(op.op_id)
      this.#sums.set(
        bucket,
        op.op === 'CLEAR' ? op.checksum >>> 0 : ((this.#sums.get(bucket) ?? 0) + op.checksum) % 2 ** 32,
      )
      if (op.op === 'PUT') rows.set(`${op.object_type}/${op.object_id}`, op.data)
      else if (op.op === 'REMOVE') rows.delete(`${op.object_type}/${op.object_id}`)
      else if (op.op === 'CLEAR') rows.clear()
    }
    if (last > this.#last) throw new Error(`op ${last} of ${bucket} is above the checkpoint ${this.#last}`)
    if (BigInt(next_after) !== last) throw new Error(`next_after of ${bucket} is ${next_after}, the last op is ${last}`)
  }
}
