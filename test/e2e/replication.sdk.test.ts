import { expect, test } from 'vitest'
import { run } from '../random/driver.ts'

// A seeded mix of everything that Postgres does, while everything around it fails; after each quiet point every bucket
// is compared with plain SQL. `ROCKPOOL_STEPS=20000 ROCKPOOL_SEED=7 npm test -- replication` runs longer;
// ROCKPOOL_TRACE=1 shows the way to a difference.

const STEPS = 300
const SEEDS = [1, 2, 3, 4, 5]
/** Every seed that ever showed a difference. */
const FAILED: readonly { seed: number; steps: number }[] = []

const given = process.env.ROCKPOOL_SEED
const runs = given
  ? [{ seed: Number(given), steps: Number(process.env.ROCKPOOL_STEPS ?? STEPS) }]
  : [...SEEDS.map((seed) => ({ seed, steps: STEPS })), ...FAILED]

for (const { seed, steps } of runs) {
  test(
    `seed ${seed}: ${steps} steps, and every bucket has the rows of plain SQL`,
    { timeout: 600_000 + steps * 1_000 },
    async () => {
      const log = process.env.ROCKPOOL_LOG ? (line: string) => console.log(line) : undefined
      const rate = Number(process.env.ROCKPOOL_FAULTS ?? 0)
      const report = await run({ seed, steps, ...(rate > 0 ? { faults: { rate } } : {}), ...(log ? { log } : {}) })
      expect(report.steps).toBe(steps)
      expect(report.checkpoints).toBeGreaterThan(steps / 20)
      expect(report.refused).toBeLessThan(steps / 2)
      console.log(JSON.stringify({ ...report, encryption: [...report.encryption], faults: [...report.faults] }))
    },
  )
}
