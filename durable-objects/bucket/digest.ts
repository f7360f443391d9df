import { addChecksums } from '../../protocol/checksum.ts'
import { Digester, noRows, rowKey } from '../../protocol/digest.ts'
import { hash64 } from '../../protocol/hash.ts'
import type { BucketState, DigestAnswer, DigestRequest } from '../../protocol/messages/bucket.ts'
import { strongHash } from '../../protocol/strong-hash.ts'
import { opIdOf, parseOp, splitOps } from '../../protocol/op-text.ts'
import type { Page } from './storage.ts'

/** The number of rows that one pass remembers. */
const PASS_ROWS = 50_000

export interface DigestLog {
  overtaken(checkpoint: number): boolean
  state(checkpoint: number): BucketState
  pageAfter(op: number): Page | null
}

/**
 * Applies the ops up to a checkpoint as a client does, in steps. Compaction may run between two steps: an op that was
 * already read and becomes a MOVE is superseded by one that is still to be read, and a CLEAR starts again for us as for
 * a client.
 */
export class Digest {
  readonly #request: DigestRequest
  readonly #log: DigestLog
  readonly #passes: number
  readonly #digester: Digester
  /** The hashes of the rows' contents; `weak` only when rows are listed. */
  readonly #rows = new Map<string, { hash: string; weak?: string }>()
  #summed: BucketState = { count: 0, checksum: 0, last: 0 }

  constructor(log: DigestLog, request: DigestRequest, passRows = PASS_ROWS) {
    this.#log = log
    this.#request = request
    this.#digester = new Digester(request.key)
    this.#passes = Math.max(1, Math.ceil(log.state(request.checkpoint).count / request.parts / passRows))
  }

  /** Reads about this many UTF-16 units of ops, at least one page. */
  step(length: number): DigestAnswer {
    const { checkpoint } = this.#request
    if (this.#log.overtaken(checkpoint)) return { kind: 'overtaken' }
    for (let read = 0; ;) {
      const page = this.#log.pageAfter(this.#summed.last)
      if (!page || page.first > checkpoint) return this.#answer()
      if (page.target > checkpoint) return { kind: 'overtaken' }
      if (read > 0 && read + page.body.length > length) return { kind: 'more' }
      read += page.body.length
      for (const text of splitOps(page.body)) {
        const id = opIdOf(text)
        if (id <= this.#summed.last) continue
        if (id > checkpoint) return this.#answer()
        this.#op(id, text)
      }
    }
  }

  #op(id: number, text: string): void {
    const op = parseOp(text)
    const { count, checksum } = this.#summed
    if (op.op === 'CLEAR') {
      this.#rows.clear()
      this.#summed = { count: 1, checksum: op.checksum, last: id }
      return
    }
    this.#summed = { count: count + 1, checksum: addChecksums(checksum, op.checksum), last: id }
    if (op.op === 'MOVE') return
    const key = rowKey(op.object_type, op.object_id, op.subkey)
    const { pass } = this.#request
    if (this.#digester.passOf(key, this.#passes) !== pass || this.#digester.subpartOf(key, this.#request, 1) === null)
      return
    if (op.op === 'PUT') this.#rows.set(key, this.#contentOf(op.data))
    else this.#rows.delete(key)
  }

  #contentOf(data: string): { hash: string; weak?: string } {
    const { key, list } = this.#request
    if (key === undefined) return { hash: hash64(data) }
    return list ? { hash: strongHash(data), weak: hash64(data) } : { hash: strongHash(data) }
  }

  #answer(): DigestAnswer {
    const { checkpoint, split, list, key: keyed } = this.#request
    const sums = Array.from({ length: split }, noRows)
    for (const [key, { hash }] of this.#rows) {
      const sum = sums[this.#digester.subpartOf(key, this.#request, split) ?? 0]
      if (sum) this.#digester.addRow(sum, key, hash, 1)
    }
    const announced = this.#log.state(checkpoint)
    return {
      kind: 'digest',
      sums,
      rows: list ? [...this.#rows].map(([key, content]) => ({ key, ...content })) : [],
      ...(keyed !== undefined && { keyed: true }),
      passes: this.#passes,
      announced,
      summed: this.#summed,
    }
  }
}
