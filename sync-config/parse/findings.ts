import type { Finding, Place } from '../types.ts'
import type { FindingCode } from './codes.ts'
import { Work } from './work.ts'

/** Offsets into the YAML text in UTF-16 units: the start, and the place after the end. */
export type Range = readonly [start: number, end: number]

/** Turns offsets into lines and columns. */
export class Lines {
  readonly #starts: number[] = [0]

  constructor(text: string) {
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) this.#starts.push(at + 1)
  }

  place(offset: number): Place {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - (this.#starts[low] ?? 0) + 1 }
  }

  offset(place: Place): number {
    return (this.#starts[place.line - 1] ?? 0) + place.column - 1
  }
}

/** The most findings. More say nothing new, and must not fill the memory. */
const MOST = 500

/** Collects all errors and warnings of one file, and counts the work that reading it takes. */
export class Findings {
  readonly #lines: Lines
  /** The length of the file in UTF-16 units. */
  readonly length: number
  readonly all: Finding[] = []
  readonly work: Work

  constructor(text: string, planScale = 1) {
    this.work = new Work(text.length, planScale)
    this.#lines = new Lines(text)
    this.length = text.length
  }

  error(code: FindingCode, message: string, range: Range): void {
    this.#add('error', code, message, range)
  }

  warning(code: FindingCode, message: string, range: Range): void {
    this.#add('warning', code, message, range)
  }

  get failed(): boolean {
    return this.all.some((finding) => finding.level === 'error')
  }

  #add(level: Finding['level'], code: FindingCode, message: string, [start, end]: Range): void {
    if (this.all.length >= MOST) {
      if (level === 'warning' || this.failed) return
      this.all.pop()
    }
    const from = Math.min(Math.max(0, start), this.length)
    const to = Math.min(Math.max(from, end), this.length)
    this.all.push({ level, code, message, place: this.#lines.place(from), end: this.#lines.place(to) })
  }
}
