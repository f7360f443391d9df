import { expect, test } from 'vitest'
import { run } from '../random/driver.ts'
import type { OverTls } from '../support/over-tls.ts'
import { POSTGRES_VERSIONS, type PostgresVersion } from '../support/postgres.ts'

// The random source of replication.sdk.test.ts, with copies, kills, cut sockets and verifications, and a database that
// lets the edge in over our own TLS alone. Any other test runs so with ROCKPOOL_TLS: see CONTRIBUTING.md.

/** 10 to 50 s for each combination, on two cores that others keep busy (2026-11-30). */
const STEPS = 100
const WAYS: OverTls[] = [
  { version: '1.3', channelBinding: 'require' },
  { version: '1.2', channelBinding: 'require' },
  { version: '1.3', channelBinding: 'disable' },
  { version: '1.2', channelBinding: 'disable' },
]
const ALL = POSTGRES_VERSIONS.flatMap((postgres) => WAYS.map((way): [PostgresVersion, OverTls] => [postgres, way]))

test.each(ALL.map(([postgres, way], i) => ({ postgres, ...way, seed: 1 + i })))(
  'Postgres $postgres, TLS $version, channel_binding=$channelBinding: every bucket is what plain SQL says',
  async ({ postgres, version, channelBinding, seed }) => {
    const report = await run({ seed, steps: STEPS, between: 25, postgres, overTls: { version, channelBinding } })
    expect(report.quietPoints).toBeGreaterThan(STEPS / 25)
    expect([...report.encryption]).toEqual([`TLSv${version}`])
  },
)
