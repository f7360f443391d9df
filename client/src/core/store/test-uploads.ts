import type { Random } from '../../../../test/support/random.ts'
import type { LocalOp, TestServer } from './test-server.ts'

// The backend of the simulation: the contract of uploads over the server's op logs. It counts what it applies.

interface WireTransaction {
  id: string
  seq: number
  retry_of?: string
  ops: { op: LocalOp['op']; table: string; id: string; data?: Record<string, unknown> }[]
}
interface Body {
  client_id: string
  answered: number
  transactions: WireTransaction[]
}
interface Known {
  seq: number
  verdict: object
  rejected: boolean
  rows: Set<string>
}
interface Client {
  answered: number
  verdicts: Map<string, Known>
}

export class TestUploads {
  readonly #random: Random
  readonly #server: TestServer
  readonly #clients = new Map<string, Client>()
  /** The text of the ops of each transaction that ever came. */
  readonly #texts = new Map<string, string>()
  readonly #rejected: string[] = []
  /** Ids of transactions in the order in which they were applied. */
  readonly applied: string[] = []
  readonly #ever = new Set<string>()
  /** What a client did that it must not do. */
  fault: string | null = null

  constructor(random: Random, server: TestServer) {
    this.#random = random
    this.#server = server
  }

  /** Answers the body of a response. */
  receive(text: string): string {
    const { client_id, answered, transactions }: Body = JSON.parse(text)
    if (!this.#ever.has(client_id) && answered > 0)
      this.fault = `a client that nobody has seen says that it has decided up to ${answered}`
    this.#ever.add(client_id)
    const known = this.#clients.get(client_id)
    const client = known ?? { answered: 0, verdicts: new Map<string, Known>() }
    if (known === undefined && answered === 0) this.#clients.set(client_id, client)
    // What it has decided is forgotten.
    if (known) client.answered = Math.max(client.answered, answered)
    for (const [id, { seq }] of client.verdicts) if (seq <= client.answered) client.verdicts.delete(id)
    const verdicts: object[] = []
    for (const transaction of transactions) {
      if (verdicts.length > 0 && this.#random.chance(0.1)) break
      this.#unchanged(transaction)
      if (known === undefined && answered > 0) {
        verdicts.push({ id: transaction.id, result: 'client_reset' })
        break
      }
      const verdict = this.#verdict(client, transaction)
      verdicts.push({ id: transaction.id, ...verdict })
      if (!('result' in verdict) || verdict.result === 'retry' || verdict.result === 'client_reset') break
    }
    const reopen = this.#rejected.length > 0 && this.#random.chance(0.15) ? [this.#random.pick(this.#rejected)] : []
    return JSON.stringify({
      verdicts,
      reopen,
      ...(this.#random.chance(0.5) ? { write_checkpoint: String(this.#server.mark()) } : {}),
    })
  }

  /** A client that has a decision for everything is forgotten after a year. `decided`: ids of transactions. */
  forget(decided: ReadonlySet<string>): void {
    for (const [id, { verdicts }] of this.#clients)
      if ([...verdicts.keys()].every((each) => decided.has(each))) this.#clients.delete(id)
  }

  #verdict(client: Client, { id, seq, ops }: WireTransaction): object {
    const before = client.verdicts.get(id)
    if (before) return before.verdict
    if (seq <= client.answered) return { result: 'client_reset' }
    if (this.#random.chance(0.05)) return { result: 'retry', code: '40001', after: 1 }
    const rows = new Set(ops.map(({ table, id: row }) => `${table} ${row}`))
    const blocked = [...client.verdicts.values()].some(
      ({ rejected, rows: of }) => rejected && [...of].some((row) => rows.has(row)),
    )
    const decide = (verdict: object, rejected: boolean): object => {
      client.verdicts.set(id, { seq, verdict, rejected, rows })
      if (rejected) this.#rejected.push(id)
      return verdict
    }
    if (blocked) return decide({ result: 'rejected', code: 'depends_on', message: 'another one' }, true)
    if (this.#random.chance(0.35))
      return decide({ result: 'rejected', code: 'not_allowed', message: 'refused', current: { n: 1 } }, true)
    this.applied.push(id)
    this.#server.upload(
      ops.map((op) => ({
        ...op,
        data: Object.fromEntries(Object.entries(op.data ?? {}).map(([k, v]) => [k, stored(v)])),
      })),
    )
    return decide({ result: 'accepted' }, false)
  }

  /** What was sent once never changes. */
  #unchanged({ id, ops }: WireTransaction): void {
    const text = JSON.stringify(ops)
    if ((this.#texts.get(id) ?? text) !== text)
      this.fault = `transaction ${id} was sent as ${this.#texts.get(id)} and as ${text}`
    this.#texts.set(id, text)
  }
}

/**
 * Booleans are 0 and 1 in the model, an object that stands for a blob is text, and integers beyond 2^53 are one number.
 */
function stored(value: unknown): LocalOp['data'][string] {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : 7
  return typeof value === 'object' && value !== null ? 'bytes' : (value as string | null)
}
