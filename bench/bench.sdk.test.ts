import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { runScript } from '../test/support/command.ts'
import { temporaryDirectory } from '../test/support/support.ts'
import { SCENARIOS } from './scenarios/index.ts'

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
beforeAll(async () => void (directory = await temporaryDirectory()))
afterAll(() => directory?.remove())

const bench = (...args: string[]) => runScript('bench/run.ts', ...args)

const number = z.number().refine(Number.isFinite)
const summary = z.strictObject({ min: number, median: number, p95: number, p99: number, max: number })
const results = z.strictObject({
  version: z.literal(1),
  started: z.iso.datetime(),
  command: z.string(),
  quick: z.literal(true),
  machine: z.strictObject({
    cpu: z.string().min(1),
    cores: z.int().min(1),
    memoryGb: number,
    load: number,
    node: z.string().min(1),
    workerd: z.string().min(1),
    postgres: z.string().min(1),
    commit: z.string().min(1),
    storage: z.literal('memory'),
  }),
  figures: z.array(
    z.strictObject({
      scenario: z.string(),
      what: z.string().min(1),
      unit: z.string().min(1),
      values: z.array(number).min(1),
      summary,
      aim: z.string().optional(),
      note: z.string().optional(),
    }),
  ),
  counts: z.array(
    z.strictObject({ scenario: z.string(), what: z.string().min(1), counts: z.record(z.string(), number) }),
  ),
  loads: z.record(z.string(), number),
  stolen: z.record(z.string(), number),
  took: z.record(z.string(), number),
  failures: z.array(z.strictObject({ scenario: z.string(), error: z.string() })),
})

describe('npm run bench', () => {
  test('every scenario runs, and what it checks holds', async () => {
    const file = join(directory.path, 'results.json')
    const { code, output } = await bench('--quick', '--json', file)
    const { figures, counts, loads, failures } = results.parse(JSON.parse(await readFile(file, 'utf8')))
    expect(failures, output).toEqual([])
    expect(code).toBe(0)
    const names = SCENARIOS.filter(({ standard }) => standard).map(({ name }) => name)
    expect(Object.keys(loads)).toEqual(names)
    for (const name of names)
      expect(
        figures.some(({ scenario }) => scenario === name) || counts.some(({ scenario }) => scenario === name),
      ).toBe(true)
    for (const { what, values, unit } of figures)
      if (unit.endsWith('/s')) expect(Math.min(...values), what).toBeGreaterThan(0)
    // A copy writes row state and pages, a change of one row at least its row state, outbox, commit and page.
    const perMillion = (part: string) =>
      counts.find(({ what }) => what.includes(part) && what.includes('per million'))?.counts['rows written']
    expect(perMillion('initial replication')).toBeGreaterThan(1_000_000)
    expect(perMillion('updates of one row')).toBeGreaterThanOrEqual(4_000_000)
  })

  test('a scenario that there is not is refused', async () => {
    const { code, output } = await bench('copy', 'copies')
    expect(code).toBe(2)
    expect(output).toMatch(/no scenario copies; there are copy, first-sync/)
  })

  test('so are options that there are not', async () => {
    expect((await bench('--quickly')).code).toBe(2)
    expect((await bench('--rounds', '0')).output).toMatch(/--rounds must be a number of at least 1/)
  })

  test('--list tells them', async () => {
    const { code, output } = await bench('--list')
    expect(code).toBe(0)
    for (const { name, about } of SCENARIOS) expect(output).toContain(`${name.padEnd(20)}${about}`)
  })
})
