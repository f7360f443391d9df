import { parseArgs } from 'node:util'
import type { Scenario } from './scenario.ts'

export interface Options {
  scenarios: Scenario[]
  list: boolean
  quick: boolean
  disk: boolean
  profile: boolean
  rounds: number
  /** The file for the results, instead of one that is named after the time. */
  json: string | null
}

/** Thrown for wrong options, with what to do. The exit code is 2. */
export class OptionError extends Error {}

export const USAGE = `npm run bench [-- OPTIONS] [SCENARIO…]
  --list        the scenarios
  --quick       small sizes, one round: shows that scenarios work, measures nothing
  --rounds N    rounds of what is repeated (3)
  --disk        the storage of objects on disk instead of in memory
  --profile     profiles of workerd beside the results, and its hottest functions
  --json FILE   results there instead of .rockpool/bench/TIME.json`

export function parseOptions(args: string[], known: readonly Scenario[]): Options {
  const { values, positionals } = parsed(args)
  const scenarios = positionals.map((name) => {
    const found = known.find((scenario) => scenario.name === name)
    if (!found)
      throw new OptionError(
        `there is no scenario ${name}; there are ${known.map((scenario) => scenario.name).join(', ')}`,
      )
    return found
  })
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3))
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new OptionError(`--rounds must be a number of at least 1, not ${values.rounds}`)
  return {
    scenarios: scenarios.length > 0 ? scenarios : known.filter(({ standard }) => standard),
    list: values.list ?? false,
    quick: values.quick ?? false,
    disk: values.disk ?? false,
    profile: values.profile ?? false,
    rounds,
    json: values.json ?? null,
  }
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        list: { type: 'boolean' },
        quick: { type: 'boolean' },
        disk: { type: 'boolean' },
        profile: { type: 'boolean' },
        rounds: { type: 'string' },
        json: { type: 'string' },
      },
    })
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error))
  }
}
