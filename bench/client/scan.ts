import { deserialize } from 'bson'
import type { SyncLine } from '../../protocol/lines.ts'

/** Called for the lines of a stream. */
export interface LineEvents {
  /** This many bytes and ops of a `data` line have arrived. More of it may follow. */
  data(bytes: number, ops: number): void
  /** Any other line, and with verification every line. */
  line(line: SyncLine): void
}

/** The form of lines on the wire. */
interface Form {
  /** The number of bytes at the beginning of a line that show whether it is a `data` line. */
  head: number
  isData(head: Buffer): boolean
  /** Bytes that occur once in each op, and nowhere else. */
  mark: Buffer
  parse(line: Buffer): SyncLine
}

const JSON_FORM: Form = {
  head: 8,
  isData: (head) => head.toString('latin1', 0, 8) === '{"data":',
  // Quotes in the text of rows are escaped.
  mark: Buffer.from('"op_id":"'),
  parse: (line) => JSON.parse(line.toString('utf8')),
}

const BSON_FORM: Form = {
  head: 10,
  isData: (head) => head[4] === 3 && head.toString('latin1', 5, 10) === 'data\0',
  mark: Buffer.from('\x02op_id\0', 'latin1'),
  parse: (line) => deserialize(line) as SyncLine,
}

/**
 * Scans lines as they arrive, in pieces. A client that measures shares the machine with what it measures, so it does
 * not parse `data` lines: it counts ops by searching for their first bytes.
 */
export class Scanner {
  readonly #form: Form
  readonly #events: LineEvents
  readonly #verify: boolean
  #parts: Buffer[] = []
  #length = 0
  #data: boolean | null = null
  /** The end of the last piece, where a mark may begin. */
  #carry: Buffer = Buffer.alloc(0)

  constructor(form: 'json' | 'bson', events: LineEvents, verify: boolean) {
    this.#form = form === 'json' ? JSON_FORM : BSON_FORM
    this.#events = events
    this.#verify = verify
  }

  /** The next bytes of the present line. */
  feed(bytes: Buffer): void {
    this.#length += bytes.length
    if (this.#data === true) return this.#count(bytes)
    this.#parts.push(bytes)
    if (this.#data === false || this.#length < this.#form.head) return
    const head = this.#parts.length === 1 ? bytes : Buffer.concat(this.#parts)
    this.#data = !this.#verify && this.#form.isData(head)
    if (!this.#data) return
    this.#parts = []
    this.#count(head)
  }

  /** The present line is complete. */
  end(): void {
    if (this.#data !== true && this.#length > 0) {
      const bytes = Buffer.concat(this.#parts)
      const line = this.#form.parse(bytes)
      if ('data' in line) this.#events.data(bytes.length, line.data.data.length)
      this.#events.line(line)
    }
    this.#parts = []
    this.#length = 0
    this.#data = null
    this.#carry = Buffer.alloc(0)
  }

  #count(bytes: Buffer): void {
    const { mark } = this.#form
    let ops = 0
    if (this.#carry.length > 0)
      ops += occurrences(Buffer.concat([this.#carry, bytes.subarray(0, mark.length - 1)]), mark)
    ops += occurrences(bytes, mark)
    const tail = bytes.length >= mark.length - 1 ? bytes : Buffer.concat([this.#carry, bytes])
    this.#carry = tail.subarray(Math.max(0, tail.length - mark.length + 1))
    this.#events.data(bytes.length, ops)
  }
}

function occurrences(bytes: Buffer, mark: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + mark.length)) count++
  return count
}
