import { readdirSync, readFileSync } from 'node:fs'
import { startPostgres } from '../test/support/postgres.ts'
import { privateAuthority, SSL } from '../test/support/private-authority.ts'
import { startSourceWorker } from '../test/support/source-worker.ts'
import { until } from '../test/support/support.ts'

// `node bench/source-tls.ts [ROWS] [ROUNDS]`: how fast one transaction comes over replication into workerd, parsed: in plain text, by the TLS of workerd, and by
// ours. By turns, so that a busy machine is busy for all of them; what workerd computed (Linux) does not depend on others.

const rows = Number(process.argv[2] ?? 100_000)
const rounds = Number(process.argv[3] ?? 5)

const authority = privateAuthority()
const postgres = await startPostgres(SSL, { files: { ...authority.issue() } })
const worker = await startSourceWorker(authority.ca)
const WAYS: Record<string, { query: string; ca?: string }> = {
  'plain text': { query: 'sslmode=disable' },
  'TLS of workerd': { query: 'sslmode=verify-full' },
  'TLS of ours': { query: 'sslmode=verify-full', ca: authority.ca },
}
const measured = new Map(Object.keys(WAYS).map((way) => [way, { speeds: [] as number[], cpu: [] as number[] }]))

/** Returns the processor time of workerd in ms. proc(5) counts it in ticks, 100 a second. */
function computed(): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const [, name, rest = ''] = /\((.*)\) (.*)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
      const fields = rest.split(' ').map(Number)
      if (name === 'workerd' && fields[1] === process.pid) return ((fields[11] ?? 0) + (fields[12] ?? 0)) * 10
    } catch {
      // It has gone.
    }
  }
  return 0
}
try {
  const sql = postgres.sql()
  await sql`CREATE TABLE t (id int PRIMARY KEY, x text)`
  for (let round = 0; round < rounds; round++) {
    for (const [way, { query, ca }] of Object.entries(WAYS)) {
      await sql`TRUNCATE t`
      const before = computed()
      const answer = await worker.ask({
        url: `postgres://postgres:postgres@localhost:${postgres.port}/app?${query}`,
        ca,
        rows,
        timed: true,
      })
      const { seen, ms } = answer as { seen?: number; ms: number }
      if (seen !== rows) throw new Error(JSON.stringify(answer))
      measured.get(way)?.speeds.push(Math.round((rows / ms) * 1_000))
      measured.get(way)?.cpu.push(computed() - before)
      await until('the slot to be free', async () => (await sql`SELECT FROM pg_replication_slots WHERE active`).length === 0)
      await sql`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`
    }
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]?.toLocaleString('en')
  for (const [way, { speeds, cpu }] of measured) {
    console.log(`${way.padEnd(16)} median ${median(speeds)} rows/s, ${median(cpu)} ms of workerd`)
  }
} finally {
  await worker.stop()
  await postgres.stop()
}
