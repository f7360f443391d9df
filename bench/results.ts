import type { Machine } from './machine.ts'
import type { Counted, Measured } from './scenario.ts'
import { summary, type Summary } from './statistics.ts'

export type Figure = Measured & { scenario: string; summary: Summary }
export type Count = Counted & { scenario: string }

/** The results that a run writes to `.rockpool/bench/`. */
export interface Results {
  version: 1
  /** ISO 8601. */
  started: string
  command: string
  quick: boolean
  machine: Machine
  figures: Figure[]
  counts: Count[]
  /** Load average of the last minute before each scenario. */
  loads: Record<string, number>
  /**
   * The percentage of the processor time that the host gave to other machines during a scenario, where that is known.
   */
  stolen: Record<string, number>
  /** The seconds that each scenario took. */
  took: Record<string, number>
  failures: { scenario: string; error: string }[]
}

export const figure = (scenario: string, result: Measured): Figure => ({
  scenario,
  ...result,
  summary: summary(result.values),
})

/** Formats a number with about three digits, and with thousands separated. */
export function format(value: number): string {
  const size = Math.abs(value)
  if (size > 0 && size < 0.1) return value.toLocaleString('en', { maximumSignificantDigits: 2 })
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2
  return value.toLocaleString('en', { maximumFractionDigits: digits })
}

const HEAD = ['scenario', 'unit', 'min', 'median', 'p95', 'max', 'n']

export function figureLine({ what, unit, values, summary: { min, median, p95, max } }: Figure, width: number): string {
  const cells = [min, median, p95, max].map((value) => format(value).padStart(11))
  return `${what.padEnd(width)} ${unit.padEnd(7)}${cells.join('')}${String(values.length).padStart(7)}`
}

export const headLine = (width: number): string =>
  `${(HEAD[0] ?? '').padEnd(width)} ${(HEAD[1] ?? '').padEnd(7)}${HEAD.slice(2, 6)
    .map((name) => name.padStart(11))
    .join('')}${(HEAD[6] ?? '').padStart(7)}`

export const countLine = ({ what, counts }: Count): string =>
  `${what}: ${Object.entries(counts)
    .map(([name, n]) => `${format(n)} ${name}`)
    .join(', ')}`
