import { now } from '../client/clock.ts'
import { check, plural, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, SYNC_CONFIG, withWorld } from '../world.ts'

/** Another sync config for a serving tenant: the tables are read again, then the clients switch. */
export const deploy: Scenario = {
  name: 'deploy',
  about: 'a changed definition over 100,000 rows: from the start with it to the checkpoint at which it serves',
  standard: true,
  async run(bench) {
    const rows = size(bench, 100_000, 2_000)
    const rates: number[] = []
    for (let round = 0; round < bench.rounds; round++) {
      await withWorld(
        bench,
        { prepare: [insertItems(1, rows, 1, 100), insertReader('reader', 1, 100)] },
        async (world) => {
          await world.start()
          const { plan } = await world.serving()
          await world.stop()
          await world.start({
            syncConfig: SYNC_CONFIG.replace('id, shelf, title,', 'id, shelf, upper(title) AS title,'),
          })
          const from = now()
          const clients = world.clients()
          const list = [{ token: await world.token('reader'), clientId: 'reader' }]
          // The old config serves until the new one does.
          await clients.call('open', {
            group: 'reader',
            url: world.url,
            transport: 'ndjson',
            clients: list,
            together: 1,
          })
          for (;;) {
            const status = await world.status()
            if (status.plan !== plan && status.copy === null) break
            await new Promise((resolve) => setTimeout(resolve, 20))
          }
          rates.push(rows / ((now() - from) / 1_000))
          const ask = {
            group: 'other',
            url: world.url,
            transport: 'ndjson' as const,
            clients: list,
            together: 1,
            verify: true,
          }
          const { totals } = await clients.call('open', ask)
          check(
            totals.ops === rows && totals.announced === rows,
            () => `${rows} rows were expected, ${totals.announced} are announced`,
          )
        },
      )
    }
    bench.measured({
      what: `${plural(rows, 'row')} under a changed definition, 100 buckets`,
      unit: 'rows/s',
      values: rates,
    })
  },
}
