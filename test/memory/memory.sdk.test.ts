import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { CLASSES_MEASURED, measured } from './isolates.ts'
import { SCENARIOS } from './scenarios.ts'
import { World } from './world.ts'

// I8 from outside, in sizes that a suite can bear; `npm run memory` has the promised ones.

/** Of an isolate, what is outside of its heap included. */
const PLATFORM_MB = 128
const short = SCENARIOS.filter(({ suite }) => suite)
let world: World

beforeAll(async () => {
  world = await World.start(
    short,
    short.flatMap(({ prepare }) => prepare?.(false) ?? []),
  )
})
afterAll(() => world?.stop())

beforeEach(() => {
  world.isolates.peaks = {}
})

test.each(short)('I8: $name passes in isolates with a limit', async (scenario) => {
  const told = await scenario.run(world, false)
  await measured(world.isolates)
  const { peaks, deaths } = world.isolates
  console.log(`${scenario.name}: peaks in MB ${JSON.stringify(peaks)}; ${told}`)
  expect(deaths).toBe(0)
  expect(Object.keys(peaks).sort()).toEqual(CLASSES_MEASURED.toSorted())
  // Buffers that wait to be collected are a part of the Worker's peak, and not of its limit here:
  // workers/transports/response-body.test.ts counts them.
  for (const [name, peak] of Object.entries(peaks)) if (name !== 'edge') expect(peak).toBeLessThan(PLATFORM_MB)
})
