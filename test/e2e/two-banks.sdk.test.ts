import { expect, test } from 'vitest'
import { bankBindings, limitSeconds, runBank } from '../bank/run.ts'
import { temporaryDirectory } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// Two banks are two tenants of one edge, with the same tables, buckets, users and client ids. Their money moves in
// other ways: a row, a count or a checksum of one bank that came to a client of the other would be a state that its own
// bank was never in.

const TRANSFERS = Number(process.env.ROCKPOOL_TRANSFERS ?? 250)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)
const NAMES = ['alpha', 'beta']

test(
  `${NAMES.length} banks side by side, ${TRANSFERS} transfers in each: every checkpoint is one state of the client's own bank`,
  { timeout: 2 * limitSeconds(TRANSFERS) * 1_000 + 60_000 },
  async () => {
    const directory = await temporaryDirectory()
    const log = process.env.ROCKPOOL_LOG ? (line: string) => console.log(line) : undefined
    const edge = await TenantEdge.start({
      directory: `${directory.path}/edge`,
      bindings: bankBindings(SEED),
      ...(log ? { log } : {}),
    })
    try {
      const reports = await Promise.all(
        NAMES.map((name, i) =>
          runBank({ seed: SEED + i, transfers: TRANSFERS, serve: (settings) => edge.serve(name, settings) }),
        ),
      )
      console.log(JSON.stringify(reports))
      for (const { transfers, checked, disruptions } of reports) {
        expect(transfers).toBeGreaterThanOrEqual(TRANSFERS)
        for (const [kind, count] of Object.entries(checked)) expect(count, kind).toBeGreaterThan(0)
        for (const [kind, count] of Object.entries(disruptions)) expect(count, kind).toBeGreaterThan(0)
      }
    } finally {
      await edge.edge.dispose()
      await directory.remove()
    }
  },
)
