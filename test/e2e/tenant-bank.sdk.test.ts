import { expect, test } from 'vitest'
import { limitSeconds, runBank } from '../bank/run.ts'
import type { EdgeSettings } from '../support/edge.ts'
import { temporaryDirectory } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// Two banks as tenants of one edge: the same tables, buckets, users and client ids, each with a database of its own.
// Each client of each is compared with the states that its own bank was ever in, so whatever crosses from the other one
// is a state that never was.

const TRANSFERS = Number(process.env.ROCKPOOL_TRANSFERS ?? 250)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)

test(
  `two banks on one edge: every checkpoint of every client is one state of its own bank, for ${TRANSFERS} transfers in each`,
  { timeout: 2 * limitSeconds(TRANSFERS) * 1_000 },
  async () => {
    // It outlives the folder of the bank that ends first.
    const folder = await temporaryDirectory()
    let starting: Promise<TenantEdge> | undefined
    const logs: ((line: string) => void)[] = []
    const serve = (name: string) => async (settings: EdgeSettings) => {
      if (settings.log) logs.push(settings.log)
      const { bindings } = settings
      const log = (line: string) => logs.forEach((each) => each(line))
      starting ??= TenantEdge.start({ directory: folder.path, log, ...(bindings && { bindings }) })
      return (await starting).serve(name, settings)
    }
    const bank = (name: string, seed: number) => runBank({ seed, transfers: TRANSFERS, serve: serve(name) })
    const ended = await Promise.allSettled([bank('north', SEED), bank('south', SEED + 1)])
    await (await starting)?.edge.dispose()
    await folder.remove()
    for (const each of ended) {
      if (each.status === 'rejected') throw each.reason
      console.log(JSON.stringify(each.value))
      expect(each.value.transfers).toBeGreaterThanOrEqual(TRANSFERS)
      for (const [kind, checked] of Object.entries(each.value.checked)) expect(checked, kind).toBeGreaterThan(0)
      expect(each.value.disruptions['workerd killed']).toBeGreaterThan(0)
    }
  },
)
