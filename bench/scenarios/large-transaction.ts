import { now } from '../client/clock.ts'
import { check, plural, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

export const largeTransaction: Scenario = {
  name: 'large-transaction',
  about: 'one transaction of 1,000,000 rows, until a client has it, and the memory that it takes meanwhile',
  standard: true,
  async run(bench) {
    const rows = size(bench, 1_000_000, 5_000)
    await withWorld(bench, { prepare: [insertReader('reader', 1, 100)] }, async (world) => {
      await world.start()
      await world.serving()
      const clients = world.clients()
      const list = [{ token: await world.token('reader'), clientId: 'reader' }]
      await clients.call('open', {
        group: 'reader',
        url: world.url,
        transport: 'ndjson',
        clients: list,
        together: 1,
        verify: bench.quick,
      })
      const before = world.resident()
      let peak = before
      const sampling = setInterval(() => (peak = Math.max(peak, world.resident())), 50)
      const from = now()
      await world.sql.unsafe(insertItems(1, rows, 1, 100))
      const committed = now()
      const { completed } = await clients.call('reach', { group: 'reader', ops: rows })
      clearInterval(sampling)
      const { ops } = await clients.call('totals', { group: 'reader' })
      check(ops === rows, () => `${rows} rows were inserted, ${ops} ops came`)
      const { held, written } = await world.status()
      const what = plural(rows, 'row')
      const end = Math.max(...completed)
      bench.measured({
        what: `${what}, from BEGIN to the client`,
        unit: 'rows/s',
        values: [rows / ((end - from) / 1_000)],
      })
      bench.measured({ what: `${what}, after COMMIT`, unit: 's', values: [(end - committed) / 1_000] })
      bench.measured({
        what: `${what}: workerd at most`,
        unit: 'MB',
        values: [peak],
        note: `${before.toFixed(0)} MB before`,
      })
      const counts = {
        'changes held at most': held.peakChanges,
        'characters of ops held at most': held.peakSending,
        changes: written.changes,
        'rows written by the replicator': written.rows,
        appends: written.appends,
      }
      bench.counted({ what, counts })
    })
  },
}
