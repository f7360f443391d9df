import { readdirSync, readFileSync } from 'node:fs'
import { startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { privateAuthority, SSL } from '../test/support/private-authority.ts'
import { startSourceWorker } from '../test/support/source-worker.ts'
import { until } from '../test/support/support.ts'

// `node bench/source-tls.ts [ROWS] [ROUNDS]`: how fast one transaction comes over replication into workerd, parsed: in
// plain text, by the TLS of workerd, and by ours, of 1.3 and of 1.2. By turns, so that a busy machine is busy for all
// of them; what workerd computed (Linux) does not depend on others.

const rows = Number(process.argv[2] ?? 100_000)
const rounds = Number(process.argv[3] ?? 5)

const authority = privateAuthority()
const start = (settings: Record<string, string>) =>
  startPostgres({ ...SSL, ...settings }, { files: { ...authority.issue() } })
const postgres = await start({})
const older = await start({ ssl_max_protocol_version: 'TLSv1.2' })
const worker = await startSourceWorker(authority.ca)
const WAYS: Record<string, { server: TestPostgres; query: string; ca?: string }> = {
  'plain text': { server: postgres, query: 'sslmode=disable' },
  'TLS of workerd': { server: postgres, query: 'sslmode=verify-full' },
  'TLS 1.3 of ours': { server: postgres, query: 'sslmode=verify-full', ca: authority.ca },
  'TLS 1.2 of ours': { server: older, query: 'sslmode=verify-full', ca: authority.ca },
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
  for (const server of [postgres, older]) await server.sql()`CREATE TABLE t (id int PRIMARY KEY, x text)`
  for (let round = 0; round < rounds; round++) {
    for (const [way, { server, query, ca }] of Object.entries(WAYS)) {
      const sql = server.sql()
      await sql`TRUNCATE t`
      const before = computed()
      const answer = await worker.ask({
        url: `postgres://postgres:postgres@localhost:${server.port}/app?${query}`,
        ca,
        rows,
        timed: true,
      })
      const { seen, ms } = answer as { seen?: number; ms: number }
      if (seen !== rows) throw new Error(JSON.stringify(answer))
      measured.get(way)?.speeds.push(Math.round((rows / ms) * 1_000))
      measured.get(way)?.cpu.push(computed() - before)
      await until(
        'the slot to be free',
        async () => (await sql`SELECT FROM pg_replication_slots WHERE active`).length === 0,
      )
      await sql`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`
    }
  }
  const shown = (values: number[]) => {
    const [lowest, ...others] = values.toSorted((a, b) => a - b).map((value) => value.toLocaleString('en'))
    return `${[lowest, ...others][Math.floor(values.length / 2)]} (${lowest} – ${others.at(-1) ?? lowest})`
  }
  for (const [way, { speeds, cpu }] of measured) {
    console.log(`${way.padEnd(16)} ${shown(speeds)} rows/s, ${shown(cpu)} ms of workerd`)
  }
} finally {
  await worker.stop()
  await postgres.stop()
  await older.stop()
}
