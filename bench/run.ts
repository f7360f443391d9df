import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { bundle, ROOT } from '../cli/bundle.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { describeMachine, load, machineLine, measureStolen } from './machine.ts'
import { OptionError, parseOptions, USAGE, type Options } from './options.ts'
import { countLine, figure, figureLine, headLine, type Results } from './results.ts'
import type { Bench } from './scenario.ts'
import { SCENARIOS } from './scenarios/index.ts'

// `npm run bench`: starts everything, measures and checks it. Nothing is asserted about times, because machines are
// shared and noisy.

const WIDTH = 58
const FOLDER = join(ROOT, '.rockpool', 'bench')

const options = readOptions()
if (options.list) for (const { name, about } of SCENARIOS) console.log(`${name.padEnd(20)}${about}`)
else process.exitCode = (await run(options)) ? 0 : 1

function readOptions(): Options {
  try {
    return parseOptions(process.argv.slice(2), SCENARIOS)
  } catch (error) {
    if (!(error instanceof OptionError)) throw error
    console.error(`${error.message}\n\n${USAGE}`)
    process.exit(2)
  }
}

/** Returns false when a scenario has failed. */
async function run({ scenarios, quick, disk, profile, rounds, json }: Options): Promise<boolean> {
  const started = new Date()
  const name = started.toISOString().replaceAll(':', '-').slice(0, 19)
  const file = json ?? join(FOLDER, `${name}.json`)
  const loadAtStart = load()
  await bundle()
  const postgres = await startPostgres({
    fsync: 'on',
    max_wal_size: '4GB',
    max_wal_senders: '20',
    max_replication_slots: '20',
  })
  try {
    const [row] = await postgres.sql()<{ version: string }[]>`select current_setting('server_version') as version`
    const machine = { ...describeMachine(row?.version ?? '', disk ? 'disk' : 'memory'), load: loadAtStart }
    const options = [
      ...(quick ? ['--quick'] : []),
      ...(disk ? ['--disk'] : []),
      ...(rounds === 3 ? [] : [`--rounds ${rounds}`]),
    ]
    const named = process.argv.slice(2).filter((each) => scenarios.some((scenario) => scenario.name === each))
    const command = ['npm run bench', ...(options.length + named.length > 0 ? ['--'] : []), ...options, ...named].join(
      ' ',
    )
    const results: Results = {
      version: 1,
      started: started.toISOString(),
      command,
      quick,
      machine,
      figures: [],
      counts: [],
      loads: {},
      stolen: {},
      took: {},
      failures: [],
    }
    console.log(machineLine(machine))
    console.log(headLine(WIDTH))
    for (const scenario of scenarios) {
      const bench: Bench = {
        postgres,
        rounds,
        quick,
        disk,
        profiles: profile ? join(FOLDER, name, scenario.name) : null,
        measured(result) {
          const each = figure(scenario.name, result)
          results.figures.push(each)
          console.log(
            figureLine(each, WIDTH) +
              (each.aim === undefined ? '' : `   aim ${each.aim}`) +
              (each.note ? `   (${each.note})` : ''),
          )
        },
        counted(result) {
          results.counts.push({ scenario: scenario.name, ...result })
          console.log(countLine({ scenario: scenario.name, ...result }))
        },
        say: (line) => console.log(line),
      }
      results.loads[scenario.name] = load()
      const from = performance.now()
      const stolen = measureStolen()
      console.log(`— ${scenario.name}: ${scenario.about}`)
      try {
        await scenario.run(bench)
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        console.error(`✗ ${scenario.name} failed: ${error instanceof Error ? error.stack : text}`)
        results.failures.push({ scenario: scenario.name, error: text })
      }
      results.took[scenario.name] = Math.round((performance.now() - from) / 100) / 10
      const share = stolen()
      if (share !== null) results.stolen[scenario.name] = share
      if (share !== null && share >= 1) console.log(`${share} % of the processor time went to other machines meanwhile`)
      // Written after each scenario, so that an interrupted run leaves its results.
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`)
    }
    console.log(`results in ${file}`)
    return results.failures.length === 0
  } finally {
    await postgres.stop()
  }
}
