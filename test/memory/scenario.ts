import type { Needs, World } from './world.ts'

/**
 * `long`: the size that is promised, for `npm run memory`. Otherwise the one of the suite, in which all scenarios share
 * a world.
 */
export interface Scenario extends Needs {
  name: string
  about: string
  /** SQL of rows that are there to be copied when the edge starts. */
  prepare?: (long: boolean) => string
  /** Fails when what clients have in the end is wrong. Answers what else is worth telling. */
  run(world: World, long: boolean): Promise<string>
  /** It has a small form. */
  suite: boolean
}

/** A result that is wrong measures nothing. */
export function check(holds: boolean, otherwise: () => unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(otherwise()))
}
