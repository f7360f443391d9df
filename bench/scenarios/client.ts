import { openSync, type SyncDatabase } from '../../client/src/node.ts'
import { now } from '../client/clock.ts'
import { plural, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

const schema = {
  tables: {
    items: { columns: { shelf: 'integer', title: 'text', body: 'text', done: 'integer', created_at: 'text' } },
  },
} as const

/** Our own client with its SQLite database: what a device sees of it. */
export const client: Scenario = {
  name: 'client',
  about:
    'the web client of this repository, with its database: first download of 100,000 rows, and one row to a live query',
  standard: true,
  async run(bench) {
    const rows = size(bench, 100_000, 2_000)
    await withWorld(bench, { prepare: [insertItems(1, rows), insertReader('reader', 0)] }, async (world) => {
      await world.start()
      await world.serving()
      const opened: SyncDatabase[] = []
      const open = async (): Promise<SyncDatabase> => {
        const path = `${world.directory}/client-${opened.length}.db`
        const db = await openSync({ url: world.url, auth: () => world.token('reader'), path, schema })
        opened.push(db)
        return db
      }
      try {
        const rates: number[] = []
        for (let round = 0; round < bench.rounds; round++) {
          const from = now()
          const db = await open()
          await db.waitForSync()
          const [{ n } = { n: 0 }] = await db.query<{ n: number }>('select count(*) as n from items')
          rates.push(n / ((now() - from) / 1_000))
          if (n !== rows) throw new Error(`${rows} rows were expected, ${n} are there`)
          await db.close()
        }
        bench.measured({ what: `first download of ${plural(rows, 'row')}`, unit: 'rows/s', values: rates })
        const db = await open()
        await db.waitForSync()
        let seen = (_title: string): void => {}
        db.live<{ title: string }>("select title from items where id = '1'", [], (found) => seen(found[0]?.title ?? ''))
        const values: number[] = []
        for (let n = 0; n < size(bench, 200, 5); n++) {
          const at = new Promise<number>((resolve) => (seen = (title) => title === `change ${n}` && resolve(now())))
          await world.sql`update items set title = ${`change ${n}`} where id = 1`
          const committed = now()
          values.push(Math.max(0, (await at) - committed))
        }
        await db.close()
        bench.measured({ what: 'COMMIT → live query', unit: 'ms', values })
      } finally {
        for (const db of opened) await db.close().catch(() => {})
      }
    })
  },
}
