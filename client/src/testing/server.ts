import type { StreamRequest } from '../../../protocol/lines.ts'
import type { WireOp } from '../../../protocol/ops.ts'
import type { UploadResponse } from '../core/outbox/answer.ts'
import { ProblemError } from '../core/problem.ts'
import { decode, encode, type RowOf, type TypedSchema } from '../schema.ts'
import type { SqlValue } from '../types.ts'
import { MemorySocket } from './socket.ts'
import { jsonOf, readJson, storedValue } from './values.ts'

// The other side of a database in a test: sync service and backend in one, in memory.

export interface UploadedTransaction {
  id: string
  /** The id of the rejected transaction that it repeats. */
  retryOf: string | null
  ops: { op: 'put' | 'patch' | 'delete'; table: string; id: string; data?: Record<string, unknown> }[]
}

export interface TestServer<S extends TypedSchema> {
  /** From now on it answers, and accepts what is uploaded. So it begins. */
  accept(): void
  /** From now on it answers, and rejects what is uploaded. */
  refuse(code: string, message?: string): void
  /** From now on it does not answer. */
  offline(): void
  /** Somebody else writes a row: it is made, or all of it replaced. */
  put<T extends keyof S['tables'] & string>(table: T, row: RowOf<S, T>): void
  /** Somebody else deletes a row. */
  delete<T extends keyof S['tables'] & string>(table: T, id: string): void
  /** What it has, in the order of ids. */
  rows<T extends keyof S['tables'] & string>(table: T): RowOf<S, T>[]
  /** What it has accepted, in order. */
  readonly accepted: readonly UploadedTransaction[]
}

type Mode = { is: 'accept' } | { is: 'refuse'; code: string; message: string } | { is: 'offline' }
type StoredRow = Record<string, SqlValue>
interface Upload {
  transactions: { id: string; retry_of?: string; ops: UploadedTransaction['ops'] }[]
}

const BUCKET = 'test'

export class MemoryServer<S extends TypedSchema> implements TestServer<S> {
  readonly #schema: S
  readonly #rows = new Map<string, Map<string, StoredRow>>()
  readonly #log: WireOp[] = []
  readonly accepted: UploadedTransaction[] = []
  readonly #verdicts = new Map<string, object>()
  #mode: Mode = { is: 'accept' }
  #checkpoint = 0
  #stream: { socket: MemorySocket; request: StreamRequest; sent: number } | null = null
  /** The client is told that it is worth trying again. */
  woken: () => void = () => {}

  constructor(schema: S) {
    this.#schema = schema
  }

  accept(): void {
    this.#become({ is: 'accept' })
  }

  refuse(code: string, message = `the test server refuses it: ${code}`): void {
    this.#become({ is: 'refuse', code, message })
  }

  offline(): void {
    this.#become({ is: 'offline' })
    this.#stream?.socket.end(1006, 'the test server is offline')
    this.#stream = null
  }

  #become(mode: Mode): void {
    this.#mode = mode
    if (mode.is !== 'offline') this.woken()
  }

  put<T extends keyof S['tables'] & string>(table: T, row: RowOf<S, T>): void {
    const { id, ...values }: { id: string } & Record<string, unknown> = row
    const columns = this.#columns(table)
    const stored = Object.entries(columns).map(([name, each]): [string, SqlValue] => [
      name,
      encode(each, values[name], `${table}.${name}`),
    ])
    this.#put(table, id, Object.fromEntries(stored))
    this.#announce()
  }

  delete<T extends keyof S['tables'] & string>(table: T, id: string): void {
    this.#delete(table, id)
    this.#announce()
  }

  rows<T extends keyof S['tables'] & string>(table: T): RowOf<S, T>[] {
    const columns = Object.entries(this.#columns(table))
    const all = [...(this.#rows.get(table) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))
    return all.map(
      ([id, row]) =>
        ({
          id,
          ...Object.fromEntries(columns.map(([name, { kind }]) => [name, decode(kind, row[name] ?? null)])),
        }) as RowOf<S, T>,
    )
  }

  // What the client calls.

  socket(): MemorySocket {
    const socket = new MemorySocket((frame) => {
      if (typeof frame !== 'object' || frame === null || !('open' in frame)) return
      if (this.#mode.is === 'offline') return socket.end(1006, 'the test server is offline')
      this.#stream = { socket, request: frame.open as StreamRequest, sent: positionOf(frame.open as StreamRequest) }
      this.#announce()
    })
    return socket
  }

  post(body: string): Promise<UploadResponse> {
    if (this.#mode.is === 'offline') return Promise.reject(offline())
    const { transactions } = readJson(body) as Upload
    const verdicts = transactions.map(({ id, retry_of: retryOf = null, ops }) => {
      const verdict = this.#verdicts.get(id) ?? this.#decide({ id, retryOf, ops })
      this.#verdicts.set(id, verdict)
      return { id, ...verdict }
    })
    this.#announce()
    const text = JSON.stringify({ verdicts })
    const head = { status: 200, contentType: 'application/json', redirected: false, retryAfter: null }
    return Promise.resolve({ ...head, body: text })
  }

  checkpoint(): Promise<number> {
    if (this.#mode.is === 'offline') return Promise.reject(offline())
    this.#checkpoint++
    // It comes after the answer, as everywhere.
    queueMicrotask(() => this.#announce())
    return Promise.resolve(this.#checkpoint)
  }

  #decide(transaction: UploadedTransaction): object {
    if (this.#mode.is === 'refuse') return { result: 'rejected', code: this.#mode.code, message: this.#mode.message }
    for (const { op, table, id, data = {} } of transaction.ops) {
      const row = this.#rows.get(table)?.get(id)
      if (op === 'delete') this.#delete(table, id)
      else if (op === 'patch' && row === undefined)
        return { result: 'rejected', code: 'not_found', message: 'there is no such row' }
      else {
        const values = Object.entries(data).map(([name, value]): [string, SqlValue] => [name, storedValue(value)])
        this.#put(table, id, { ...(op === 'patch' ? row : {}), ...Object.fromEntries(values) })
      }
    }
    this.accepted.push(transaction)
    return { result: 'accepted' }
  }

  #columns(table: string): S['tables'][string]['columns'] {
    const found = this.#schema.tables[table]
    if (!found) throw new ProblemError('value', `there is no table ${table}`)
    return found.columns
  }

  #put(table: string, id: string, row: StoredRow): void {
    const rows = this.#rows.get(table) ?? new Map<string, StoredRow>()
    this.#rows.set(table, rows.set(id, row))
    this.#log.push({ ...this.#next(table, id), op: 'PUT', data: jsonOf({ id, ...row }) })
  }

  #delete(table: string, id: string): void {
    if (this.#rows.get(table)?.delete(id)) this.#log.push({ ...this.#next(table, id), op: 'REMOVE', data: null })
  }

  #next(table: string, id: string) {
    const op_id = String(this.#log.length + 1)
    return { op_id, object_type: table, object_id: id, subkey: '', checksum: this.#log.length + 1 }
  }

  /** A checkpoint of all that there is, to whoever is connected. */
  #announce(): void {
    const { socket, request, sent } = this.#stream ?? {}
    if (!socket || !request || sent === undefined || !this.#stream) return
    const subscriptions = request.streams?.subscriptions ?? []
    const last = String(this.#log.length)
    const bucket = {
      bucket: BUCKET,
      checksum: this.#log.reduce((sum, { checksum }) => (sum + checksum) | 0, 0),
      count: this.#log.length,
      priority: 3,
      subscriptions: subscriptions.map((_, sub) => ({ sub })),
    }
    const names = [...new Set(subscriptions.map(({ stream }) => stream))]
    const streams = names.map((name) => ({ name, is_default: false, errors: [] }))
    const number = this.#checkpoint === 0 ? {} : { write_checkpoint: String(this.#checkpoint) }
    socket.say({ checkpoint: { last_op_id: last, ...number, buckets: [bucket], streams } })
    if (sent < this.#log.length) {
      const data = this.#log.slice(sent)
      socket.say({ data: { bucket: BUCKET, after: String(sent), next_after: last, has_more: false, data } })
      this.#stream.sent = this.#log.length
    }
    socket.say({ checkpoint_complete: { last_op_id: last } })
  }
}

const positionOf = ({ buckets = [] }: StreamRequest): number =>
  Number(buckets.find(({ name }) => name === BUCKET)?.after ?? 0)
const offline = (): ProblemError => new ProblemError('network', 'the test server is offline')
