import type { Value } from '../expressions/values.ts'
import { MAX_BUCKET_NAME_BYTES } from '../limits.ts'
import type { EvaluationError } from '../types.ts'
import { longName } from './keys.ts'
import type { RowBudget } from './row-budget.ts'

/** A row of a data bucket or of a lookup bucket before it has its text form. */
export interface Output {
  bucket: string
  definition: string
  objectType: string
  objectId: string
  values: [name: string, value: Value][] | null
  data: string
}

interface Target {
  label: string
  definition: string
  plans: readonly number[]
}

/** Receives the outputs of the queries for a row, one query after the other. */
export class Sink {
  readonly outputs: Output[] = []
  readonly #budget: RowBudget
  readonly #errors: EvaluationError[]
  readonly #repeats: boolean
  #reader: Target | null = null
  /** The identities of the query's outputs so far. */
  #first: string | null = null
  #more: Set<string> | null = null
  #long = false

  constructor(budget: RowBudget, errors: EvaluationError[], repeats: boolean) {
    this.#budget = budget
    this.#errors = errors
    this.#repeats = repeats
  }

  begin(reader: Target): void {
    this.#reader = reader
    this.#first = null
    this.#more = null
    this.#long = false
  }

  /** Returns whether the output must be made. `identity` distinguishes outputs of the query. Throws RowTooMuch. */
  wants(bucket: string, identity: string, data: string): boolean {
    const reader = this.#reader
    if (!reader) return false
    if (longName(bucket)) {
      const message = `the name of a bucket would be longer than ${MAX_BUCKET_NAME_BYTES} bytes: the row is not in it`
      if (!this.#long) this.#errors.push({ where: reader.label, message, definition: reader.definition })
      this.#long = true
      return false
    }
    if (this.#first === identity || this.#more?.has(identity)) return this.#repeats
    this.#budget.take(reader.plans, data, reader.label)
    if (this.#first === null) this.#first = identity
    else (this.#more ??= new Set()).add(identity)
    return true
  }
}
