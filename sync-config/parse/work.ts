/**
 * The steps that are counted while a file is compiled. `yaml`: tokens, and comparisons of keys. `sql`: states that the
 * SQL parser creates. `plan`: expressions built, conditions multiplied out and compared, characters of content hashed
 * (ten are one step).
 */
export type WorkKind = 'yaml' | 'sql' | 'plan'

/**
 * The most steps for a text of a given length: a fixed part, and a number for each character. Real files take a fifth
 * of it or less. Without a limit, a short text could occupy the compiler for ever: an ambiguous call doubles the work
 * of the SQL parser with each level of nesting, and keys are compared pairwise.
 */
export const STEPS: Readonly<Record<WorkKind, { free: number; perCharacter: number }>> = {
  yaml: { free: 10_000, perCharacter: 50 },
  sql: { free: 5_000, perCharacter: 400 },
  plan: { free: 10_000, perCharacter: 50 },
}

export const allowed = (kind: WorkKind, length: number): number => STEPS[kind].free + STEPS[kind].perCharacter * length

/** Thrown when the limit is exceeded, which ends compiling. */
export class TooMuchWork extends Error {
  override readonly name = 'TooMuchWork'
  readonly kind: WorkKind

  constructor(kind: WorkKind) {
    super(`compiling takes more ${kind} steps than a text of this length may need`)
    this.kind = kind
  }
}

/** Counts the steps of compiling one text. */
export class Work {
  readonly steps: Record<WorkKind, number> = { yaml: 0, sql: 0, plan: 0 }
  readonly #most: Readonly<Record<WorkKind, number>>

  /** `length` is in characters. `planScale` is larger for tenants that may multiply conditions out further. */
  constructor(length: number, planScale = 1) {
    this.#most = {
      yaml: allowed('yaml', length),
      sql: allowed('sql', length),
      plan: planScale * allowed('plan', length),
    }
  }

  /** Counts steps. Throws TooMuchWork beyond the limit. */
  step(kind: WorkKind, steps = 1): void {
    this.steps[kind] += steps
    if (this.steps[kind] > this.#most[kind]) throw new TooMuchWork(kind)
  }
}
