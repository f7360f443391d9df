import { request, type ClientRequest, type IncomingMessage } from 'node:http'

/** Bytes a second; `stops`: reads nothing more behind its first bytes. */
export type Pace = 'fast' | 'stops' | number

export interface ReaderOptions {
  url: string
  token: string
  clientId: string
  pace: Pace
}

const AGAIN_MS = 1_000
/** Of a line so much is kept: its start names the bucket and how far it goes. */
const KEPT = 2_048
const FIRST_BYTES = 16 * 1_024

/**
 * One of thousands of clients: it knows how far it is in each bucket, goes on there whenever its stream has ended, and
 * keeps nothing else.
 */
export class Reader {
  bytes = 0
  completes = 0
  /** Streams that were answered with 200. */
  streams = 0
  /** Codes that it was refused with, or that ended its stream, by how often. */
  readonly refused: Record<string, number> = {}
  readonly #options: ReaderOptions
  readonly #after = new Map<string, string>()
  #request: ClientRequest | null = null
  #timer: ReturnType<typeof setTimeout> | null = null
  #closed = false
  #head = ''

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#open()
  }

  /** Whether its stream runs and has completed a checkpoint. */
  get complete(): boolean {
    return this.#request !== null && this.completes > 0
  }

  close(): void {
    this.#closed = true
    if (this.#timer) clearTimeout(this.#timer)
    this.#request?.destroy()
    this.#request = null
  }

  #open(): void {
    const { url, token, clientId } = this.#options
    const headers = { 'content-type': 'application/json', authorization: `Token ${token}` }
    const posted = request(`${url}/sync/stream`, { method: 'POST', headers, agent: false }, (response) => {
      if (response.statusCode === 200) this.streams++
      this.#head = ''
      response.on('data', (chunk: Buffer) => this.#receive(response, chunk))
      response.on('error', () => {})
      response.on('close', () => {
        this.#refusal(this.#head)
        this.#again(posted)
      })
    })
    this.#request = posted
    posted.on('error', () => this.#again(posted))
    const buckets = [...this.#after].map(([name, after]) => ({ name, after }))
    posted.end(JSON.stringify({ raw_data: true, client_id: clientId, buckets }))
  }

  #again(posted: ClientRequest): void {
    if (this.#request !== posted) return
    this.#request = null
    if (!this.#closed) this.#timer = setTimeout(() => this.#open(), AGAIN_MS * (0.5 + Math.random()))
  }

  #receive(response: IncomingMessage, chunk: Buffer): void {
    this.bytes += chunk.length
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      this.#part(chunk.subarray(from, end))
      this.#line()
      from = end + 1
    }
    this.#part(chunk.subarray(from))
    const { pace } = this.#options
    if (pace === 'fast' || (pace === 'stops' && this.bytes < FIRST_BYTES)) return
    response.pause()
    if (pace !== 'stops') setTimeout(() => response.resume(), (chunk.length / pace) * 1_000)
  }

  #part(bytes: Buffer): void {
    if (this.#head.length < KEPT) this.#head += bytes.toString('latin1', 0, KEPT)
  }

  #line(): void {
    const head = this.#head
    this.#head = ''
    if (head.startsWith('{"data"')) {
      const [, bucket, after] = /"bucket":("(?:[^"\\]|\\.)*"),.*?"next_after":"(\d+)"/.exec(head) ?? []
      if (bucket === undefined || after === undefined) throw new Error(`a data line is not as expected: ${head}`)
      this.#after.set(JSON.parse(bucket) as string, after)
    } else if (head.startsWith('{"checkpoint_complete"')) this.completes++
    else this.#refusal(head)
  }

  #refusal(text: string): void {
    const code = /(?:PSYNC_S|ROCKPOOL_)\w+/.exec(text)?.[0]
    if (code !== undefined && !text.startsWith('{"checkpoint')) this.refused[code] = (this.refused[code] ?? 0) + 1
  }
}
