import { expect, test } from 'vitest'
import { limitSeconds, runBank } from '../bank/run.ts'

// Money moves between the accounts of 50 branches, people and branches come and go, and everything around it fails.
// Twenty clients over every transport show at each checkpoint one state of Postgres between two commits, over all of
// their branches, and of no others. `ROCKPOOL_TRANSFERS=20000 ROCKPOOL_SEED=7 npm test -- bank` runs for long.

const TRANSFERS = Number(process.env.ROCKPOOL_TRANSFERS ?? 1_000)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)

test(
  `I3, I4, I7: ${TRANSFERS} transfers, and every checkpoint of every client is one state of the bank`,
  // Whatever hangs is told before this time is over.
  { timeout: limitSeconds(TRANSFERS) * 1_000 + 60_000 },
  async () => {
    const log = process.env.ROCKPOOL_LOG ? (line: string) => console.log(line) : undefined
    const report = await runBank({ seed: SEED, transfers: TRANSFERS, ...(log ? { log } : {}) })
    console.log(JSON.stringify(report))
    expect(report.transfers).toBeGreaterThanOrEqual(TRANSFERS)
    // Nothing of it was left out. A kind that is one client may be away for most of a short run, or at a checkpoint
    // that the next one replaces.
    for (const [kind, checked] of Object.entries(report.checked)) expect(checked, kind).toBeGreaterThan(TRANSFERS / 200)
    const checked = Object.values(report.checked).reduce((total, each) => total + each, 0)
    expect(checked).toBeGreaterThan(TRANSFERS)
    for (const [kind, count] of Object.entries(report.disruptions)) expect(count, kind).toBeGreaterThan(0)
    for (const count of [
      report.accessChanges,
      report.large,
      report.rolledBack,
      report.faults.abort,
      report.moves,
      report.compacted,
    ])
      expect(count).toBeGreaterThan(0)
  },
)
