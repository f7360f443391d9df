import type { TestPostgres } from '../test/support/postgres.ts'

/** What one scenario measured of one thing. */
export interface Measured {
  what: string
  unit: string
  /** One for each round, or each event. */
  values: number[]
  /** What is aimed at, in words: `≥ 50,000`. */
  aim?: string
  /** What the figure does not say. */
  note?: string
}

/** Counted, not timed: the same on every machine. */
export interface Counted {
  what: string
  counts: Record<string, number>
}

export interface Bench {
  readonly postgres: TestPostgres
  readonly rounds: number
  /** The small sizes, which only show that the scenario works. */
  readonly quick: boolean
  /** Storage of objects on a disk instead of in memory. */
  readonly disk: boolean
  /** Folder for profiles of workerd, when they are wanted. */
  readonly profiles: string | null
  measured(result: Measured): void
  counted(result: Counted): void
  say(line: string): void
}

export interface Scenario {
  name: string
  about: string
  /** Run when no scenario is named. */
  standard: boolean
  run(bench: Bench): Promise<void>
}

/** The size of a full run, or the small one. */
export const size = <T>(bench: Bench, full: T, quick: T): T => (bench.quick ? quick : full)

/** A scenario whose result is wrong measures nothing. */
export function check(holds: boolean, otherwise: () => string): asserts holds {
  if (!holds) throw new Error(otherwise())
}

export const plural = (n: number, what: string): string => `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`
