import { CLASSES_MEASURED, measured } from './isolates.ts'
import { SCENARIOS } from './scenarios.ts'
import { HEAP_MB, World } from './world.ts'

// `npm run memory [-- --short] [SCENARIO…]`: the scenarios in their full size, each in a world of its own; a row of the
// table in docs/performance.md for each.

const args = process.argv.slice(2)
const long = !args.includes('--short')
const named = args.filter((arg) => !arg.startsWith('--'))
const unknown = named.filter((name) => SCENARIOS.every((scenario) => scenario.name !== name))
if (unknown.length > 0) {
  console.error(`there is no ${unknown.join(', ')}; there are ${SCENARIOS.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}

console.log(
  `heaps of ${HEAP_MB} MB\n\n| scenario | ${CLASSES_MEASURED.join(' | ')} | ended | s |\n| --- |${' --- |'.repeat(CLASSES_MEASURED.length + 2)}`,
)
for (const scenario of SCENARIOS) {
  if (named.length > 0 && !named.includes(scenario.name)) continue
  const from = performance.now()
  const world = await World.start([scenario], scenario.prepare ? [scenario.prepare(long)] : [])
  try {
    const told = await scenario.run(world, long)
    await measured(world.isolates)
    const { peaks, deaths } = world.isolates
    if (deaths > 0) process.exitCode = 1
    const figures = [
      ...CLASSES_MEASURED.map((name) => (peaks[name] ?? 0).toFixed(0)),
      deaths,
      ((performance.now() - from) / 1_000).toFixed(0),
    ]
    console.log(`| ${scenario.name}: ${scenario.about} | ${figures.join(' | ')} |`)
    const { answered, missed } = world.isolates.looks
    console.log(`<!-- ${answered} looks, ${missed} missed. ${told} -->`)
  } catch (error) {
    process.exitCode = 1
    console.error(
      `✗ ${scenario.name}: peaks ${JSON.stringify(world.isolates.peaks)}, ended ${world.isolates.deaths} times:`,
      error,
    )
  } finally {
    await world.stop()
  }
}
