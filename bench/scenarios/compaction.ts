import { now } from '../client/clock.ts'
import { bucketLogs, type BucketLog } from '../storage.ts'
import { check, plural, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

const VERSIONS = 10

export const compaction: Scenario = {
  name: 'compaction',
  about: 'a bucket in which every row was changed ten times is compacted',
  standard: true,
  async run(bench) {
    const rows = size(bench, 20_000, 2_000)
    const rates: number[] = []
    for (let round = 0; round < bench.rounds; round++) {
      await withWorld(bench, { prepare: [insertItems(1, rows), insertReader('reader', 0)] }, async (world) => {
        await world.start({ bindings: { COMPACTION_SECONDS: '3600' } })
        await world.serving()
        for (let n = 1; n < VERSIONS; n++) await world.sql`update items set title = ${`version ${n}`}`
        await world.settled()
        await world.stop()
        const before = largest(bucketLogs(world.directory))
        const ops = rows * VERSIONS
        check(before.ops === ops, () => `${ops} ops were expected in the bucket, there are ${before.ops}`)
        await world.start({ bindings: { COMPACTION_SECONDS: '0' } })
        // The next append finds that it is time.
        await world.sql`update items set title = 'last' where id = 1`
        const from = now()
        let after = before
        while (!after.compacted) {
          await new Promise((resolve) => setTimeout(resolve, 10))
          after = largest(bucketLogs(world.directory))
        }
        rates.push(ops / ((now() - from) / 1_000))
        const clients = world.clients()
        const list = [{ token: await world.token('reader'), clientId: 'reader' }]
        const ask = {
          group: 'reader',
          url: world.url,
          transport: 'ndjson' as const,
          clients: list,
          together: 1,
          verify: true,
        }
        const { totals } = await clients.call('open', ask)
        check(totals.ops === after.ops, () => `${after.ops} ops are left, ${totals.ops} came`)
        check(after.bytes < before.bytes / 2, () => `${before.bytes} bytes became ${after.bytes}`)
        const counts = {
          ops,
          'bytes before': before.bytes,
          'ops after': after.ops,
          'bytes after': after.bytes,
          pages: after.pages,
        }
        if (round === 0) bench.counted({ what: `${plural(rows, 'row')} × ${VERSIONS} versions in one bucket`, counts })
      })
    }
    bench.measured({ what: `${plural(rows * VERSIONS, 'op')} of ${plural(rows, 'row')}`, unit: 'ops/s', values: rates })
  },
}

function largest(logs: readonly BucketLog[]): BucketLog {
  const [first] = [...logs].sort((a, b) => b.ops - a.ops)
  if (!first) throw new Error('there is no bucket')
  return first
}
