import type { SyncLine } from '../../protocol/lines.ts'

/**
 * A client that only reads lines. It has rows by bucket and key, and the write checkpoint of the last complete
 * checkpoint.
 */
export class RawClient {
  /** The rows of complete checkpoints: data by `table/id`. */
  rows = new Map<string, Record<string, unknown>>()
  buckets: string[] = []
  writeCheckpoint: bigint | null = null
  /** The number of complete checkpoints. */
  completes = 0
  /** The types of the lines. */
  readonly seen: string[] = []
  expires: number | null = null
  readonly #ops = new Map<string, Map<string, Record<string, unknown>>>()
  #announced = new Set<string>()
  #write: string | undefined
  #listeners: (() => void)[] = []

  line(line: SyncLine): void {
    this.seen.push(Object.keys(line)[0] ?? '')
    if ('checkpoint' in line) {
      this.#announced = new Set(line.checkpoint.buckets.map((each) => each.bucket))
      this.#write = line.checkpoint.write_checkpoint
    } else if ('checkpoint_diff' in line) {
      for (const { bucket } of line.checkpoint_diff.updated_buckets) this.#announced.add(bucket)
      for (const bucket of line.checkpoint_diff.removed_buckets) {
        this.#announced.delete(bucket)
        this.#ops.delete(bucket)
      }
      this.#write = line.checkpoint_diff.write_checkpoint
    } else if ('data' in line) {
      const rows = this.#ops.get(line.data.bucket) ?? new Map<string, Record<string, unknown>>()
      this.#ops.set(line.data.bucket, rows)
      for (const op of line.data.data) {
        if (op.op === 'PUT') rows.set(`${op.object_type}/${op.object_id}`, JSON.parse(op.data))
        else if (op.op === 'REMOVE') rows.delete(`${op.object_type}/${op.object_id}`)
        else if (op.op === 'CLEAR') rows.clear()
      }
    } else if ('checkpoint_complete' in line) {
      this.buckets = [...this.#announced].sort()
      this.rows = new Map([...this.#announced].flatMap((bucket) => [...(this.#ops.get(bucket) ?? [])]))
      this.writeCheckpoint = this.#write === undefined ? null : BigInt(this.#write)
      this.completes++
    } else if ('token_expires_in' in line) this.expires = line.token_expires_in
    for (const listener of this.#listeners) listener()
  }

  /** Called after every line. */
  onLine(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** Resolves when `reached` returns true, which is checked after every line. */
  until(reached: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!reached()) return
        this.#listeners = this.#listeners.filter((each) => each !== look)
        resolve()
      }
      this.#listeners.push(look)
      look()
    })
  }
}

/**
 * Reads `POST /sync/stream` as NDJSON until `stop`. `over` resolves when the stream ends, and rejects when it breaks.
 */
export async function openRawStream(
  url: string,
  token: string,
  request: Record<string, unknown>,
): Promise<{ client: RawClient; over: Promise<void>; stop(): void }> {
  const abort = new AbortController()
  const response = await fetch(`${url}/sync/stream`, {
    method: 'POST',
    headers: { authorization: `Token ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ raw_data: true, ...request }),
    signal: abort.signal,
  })
  if (response.status !== 200 || !response.body)
    throw new Error(`the stream was answered ${response.status}: ${await response.text()}`)
  const client = new RawClient()
  const over = read(response.body, client).catch((error: unknown) => {
    if (!abort.signal.aborted) throw error
  })
  over.catch(() => {})
  return { client, over, stop: () => abort.abort() }
}

async function read(body: ReadableStream<Uint8Array>, client: RawClient): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) client.line(JSON.parse(part))
  }
}
