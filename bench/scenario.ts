import type { TestPostgres } from '../test/support/postgres.ts'

/** A measured figure of a scenario. */
export interface Measured {
  what: string
  unit: string
  /** One value for each round, or each event. */
  values: number[]
  /** The aim, in words: `≥ 50,000`. */
  aim?: string
  /** A remark about the figure. */
  note?: string
}

/** A figure that is counted, not timed, so it is the same on every machine. */
export interface Counted {
  what: string
  counts: Record<string, number>
}

export interface Bench {
  readonly postgres: TestPostgres
  readonly rounds: number
  /** Whether to use the small sizes, which only show that the scenario works. */
  readonly quick: boolean
  /** Whether objects are stored on a disk instead of in memory. */
  readonly disk: boolean
  /** The folder for profiles of workerd, or null. */
  readonly profiles: string | null
  measured(result: Measured): void
  counted(result: Counted): void
  say(line: string): void
}

export interface Scenario {
  name: string
  about: string
  /** Whether it runs when no scenario is named. */
  standard: boolean
  run(bench: Bench): Promise<void>
}

/** Returns the size of a full run, or the small one. */
export const size = <T>(bench: Bench, full: T, quick: T): T => (bench.quick ? quick : full)

/** Fails a scenario with a wrong result, because then its figures mean nothing. */
export function check(holds: boolean, otherwise: () => string): asserts holds {
  if (!holds) throw new Error(otherwise())
}

export const plural = (n: number, what: string): string => `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`
