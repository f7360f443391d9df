import type { SqlValue } from '../types.ts'

// A hash of 53 bits of the values of a row, made value by value and without a text of them: of most rows that a live
// query reads nothing but the hash is wanted. Multiplications as in MurmurHash3's finaliser (public domain).

/** What a value is, so that values of different kinds never look the same. */
const KIND = { null: 1, number: 2, bigint: 3, text: 4, blob: 5 } as const

const number = new Float64Array(1)
const halves = new Int32Array(number.buffer)
const HALF = 0xffff_ffffn

export class RowHash {
  #high = 0
  #low = 0

  begin(): void {
    this.#high = 0x9e3779b1 | 0
    this.#low = 0x85ebca6b | 0
  }

  nothing(): void {
    this.#mix(KIND.null)
  }

  number(value: number): void {
    number[0] = value
    this.#mix(KIND.number)
    this.#mix(halves[0] ?? 0)
    this.#mix(halves[1] ?? 0)
  }

  bigint(value: bigint): void {
    this.#mix(KIND.bigint)
    this.#mix(Number(value & HALF))
    this.#mix(Number((value >> 32n) & HALF))
  }

  /** UTF-8 of a text, where it lies. */
  utf8(heap: Uint8Array, from: number, length: number): void {
    this.#mix(KIND.text)
    this.#bytes(heap, from, length)
  }

  blob(heap: Uint8Array, from: number, length: number): void {
    this.#mix(KIND.blob)
    this.#bytes(heap, from, length)
  }

  /** Not the hash of the same text in UTF-8. */
  value(value: SqlValue): void {
    if (value === null) this.nothing()
    else if (typeof value === 'number') this.number(value)
    else if (typeof value === 'bigint') this.bigint(value)
    else if (typeof value === 'string') this.#text(value)
    else this.blob(value, 0, value.length)
  }

  /** An integer below 2^53. */
  end(): number {
    let high = this.#high
    let low = this.#low
    high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35)
    low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35)
    return (high & 0x1fffff) * 2 ** 32 + (low >>> 0)
  }

  #mix(unit: number): void {
    this.#high = Math.imul(this.#high ^ unit, 0xcc9e2d51)
    this.#low = Math.imul(this.#low ^ unit, 0x1b873593)
    this.#high ^= this.#low >>> 15
  }

  #text(text: string): void {
    this.#mix(KIND.text)
    this.#mix(text.length)
    let high = this.#high
    let low = this.#low
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      high = Math.imul(high ^ unit, 0xcc9e2d51)
      low = Math.imul(low ^ unit, 0x1b873593)
      high ^= low >>> 15
    }
    this.#high = high
    this.#low = low
  }

  #bytes(heap: Uint8Array, from: number, length: number): void {
    this.#mix(length)
    let high = this.#high
    let low = this.#low
    for (let at = from; at < from + length; at++) {
      const byte = heap[at] ?? 0
      high = Math.imul(high ^ byte, 0xcc9e2d51)
      low = Math.imul(low ^ byte, 0x1b873593)
      high ^= low >>> 15
    }
    this.#high = high
    this.#low = low
  }
}
