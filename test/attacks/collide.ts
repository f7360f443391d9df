import { hash64 } from '../../protocol/hash.ts'

/**
 * Second preimages of `hash64` in about a second: eight characters that give a text, between a prefix and a suffix, the
 * hash of another one. Each lane is `(state ^ unit) * odd constant` and the finalizer is a bijection, so the hash runs
 * backwards from its end as well as forwards from its start, and the two meet in the middle. Who compares such hashes
 * in place of names or contents is deceived by whoever chooses a text.
 */

type Lanes = [a: number, b: number]

const A = 2654435761
const B = 1597334677
const START: Lanes = [0xdeadbeef, 0x41c6ce57]
/** States that are remembered from the front. Each from the back meets one of them with a chance of so many in 2^32. */
const REMEMBERED = 2 ** 17
/** The low halves of the lanes in the middle. Any would do. */
const [MIDDLE_A, MIDDLE_B] = [0x1234, 0x9abc]

/** Modulo 2^32, by Newton's method. */
function inverse(odd: number): number {
  let result = 1
  for (let i = 0; i < 6; i++) result = Math.imul(result, 2 - Math.imul(odd, result))
  return result
}

const A_INVERSE = inverse(A)
const B_INVERSE = inverse(B)

/** The h of which h ^ (h >>> bits) is this. */
function unshift(shifted: number, bits: number): number {
  let h = shifted
  for (let known = bits; known < 32; known += bits) h = shifted ^ (h >>> bits)
  return h
}

/** The finalizer, backwards. */
const unmix = (h: number): number =>
  unshift(Math.imul(unshift(Math.imul(unshift(h, 16), inverse(0xc2b2ae35)), 13), inverse(0x85ebca6b)), 16)

const units = (text: string): number[] => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))
const text = (...codes: number[]): string => String.fromCharCode(...codes)

const forwards = (lanes: Lanes, codes: readonly number[]): Lanes =>
  codes.reduce<Lanes>(([a, b], code) => [Math.imul(a ^ code, A), Math.imul(b ^ code, B)], lanes)

const backwards = (lanes: Lanes, codes: readonly number[]): Lanes =>
  codes.reduceRight<Lanes>(([a, b], code) => [Math.imul(a, A_INVERSE) ^ code, Math.imul(b, B_INVERSE) ^ code], lanes)

/** A letter that JSON, YAML and Postgres take as it is: no control character, no half of a surrogate pair. */
const isUsable = (code: number): boolean => (code >= 0x4e00 && code < 0xd7a4) || (code >= 0xa0 && code < 0x2000)

function randomLetter(): number {
  for (;;) {
    const code = Math.floor(Math.random() * 65_536)
    if (isUsable(code)) return code
  }
}

/**
 * All 16-bit u for which the low halves of (p ^ u) * m and (q ^ u) * n differ by `difference`. Bit by bit: none depends
 * on a higher one.
 */
function solve(p: number, q: number, m: number, n: number, difference: number, bit = 0, u = 0): number[] {
  if (bit === 16) return [u]
  const fits = (v: number) => ((Math.imul(p ^ v, m) ^ Math.imul(q ^ v, n) ^ difference) & ((2 << bit) - 1)) === 0
  return [u, u | (1 << bit)].flatMap((v) => (fits(v) ? solve(p, q, m, n, difference, bit + 1, v) : []))
}

const highHalves = ([a, b]: Lanes): number => (a >>> 16) * 65_536 + (b >>> 16)

/**
 * Four letters each that lead from the start to a state with the low halves of the middle, by the high halves of that
 * state.
 */
function fromTheFront(start: Lanes): Map<number, string> {
  const [backA, backB] = [Math.imul(MIDDLE_A, A_INVERSE), Math.imul(MIDDLE_B, B_INVERSE)]
  const met = new Map<number, string>()
  while (met.size < REMEMBERED) {
    const two = [randomLetter(), randomLetter()]
    const lanes = forwards(start, two)
    for (const u of solve(...lanes, A, B, (backA ^ backB) & 0xffff)) {
      const v = (Math.imul(lanes[0] ^ u, A) ^ backA) & 0xffff
      if (isUsable(u) && isUsable(v)) met.set(highHalves(forwards(lanes, [u, v])), text(...two, u, v))
    }
  }
  return met
}

/** Eight letters x for which `hash64(prefix + x + suffix)` is the target. */
export function collide(prefix: string, suffix: string, target: string): string {
  const [first, second] = [target.slice(0, 8), target.slice(8)].map((half) => Number.parseInt(half, 16) | 0)
  const b = unmix(second ?? 0) ^ Math.imul(first ?? 0, 0x9e3779b1)
  const end = backwards([unmix(first ?? 0) ^ (b >>> 13), b], units(suffix))
  const met = fromTheFront(forwards(START, units(prefix)))
  for (;;) {
    const two = [randomLetter(), randomLetter()]
    const lanes = backwards(end, two)
    const [a, c] = [Math.imul(lanes[0], A_INVERSE), Math.imul(lanes[1], B_INVERSE)]
    for (const u of solve(a, c, A_INVERSE, B_INVERSE, (MIDDLE_A ^ MIDDLE_B) & 0xffff)) {
      const v = (Math.imul(a ^ u, A_INVERSE) ^ MIDDLE_A) & 0xffff
      if (!isUsable(u) || !isUsable(v)) continue
      const front = met.get(highHalves(backwards(lanes, [v, u])))
      const found = front === undefined ? null : front + text(v, u, ...two)
      if (found !== null && hash64(prefix + found + suffix) === target) return found
    }
  }
}
