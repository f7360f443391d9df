import { afterAll, beforeAll, expect, test } from 'vitest'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { ndjson } from '../wire/transports.ts'

// The replicator fails when it has stored a revocation and has told nobody yet: the Directory tells it again.

const FAILURES = 3
const directory = await temporaryDirectory()
const secret = newSecret()
const log: string[] = []
let source: TestPostgres
let edge: TenantEdge

beforeAll(async () => {
  source = await startPostgres()
  await source.sql().unsafe('CREATE TABLE items (id text PRIMARY KEY, title text)')
  const faults = { seed: 1, rate: 1, most: FAILURES, fading: false, points: ['replicator.revoked'] }
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    bindings: { FAULTS: JSON.stringify({ ...faults, kinds: ['throw', 'abort'] }) },
    log: (line) => log.push(line),
  })
  await edge.create('acme', {
    secrets: { DATABASE_URL: source.url, JWT_SECRET: secret },
    settings: {
      SYNC_CONFIG: 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n',
      JWT_AUDIENCE: AUDIENCE,
    },
  })
})
afterAll(async () => {
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

test('a revocation that the replicator could not tell is answered as such, and told until everybody has it', async () => {
  const jwt = await token(secret, 'ann', 600)
  const follower = new Follower({ url: edge.urlOf('acme'), clientId: 'ann', transport: ndjson, token: async () => jwt })
  try {
    await until(
      'the first checkpoint',
      async () => follower.checkpoints > 0,
      120,
      () => follower.state,
    )
    const answer = await edge.admin('POST', 'tenants/acme/revoke', { user: 'ann' })
    expect(answer).toMatchObject({ status: 202, data: { told: false } })
    const refused = async () => {
      const response = await fetch(`${edge.urlOf('acme')}/write-checkpoint2.json?client_id=x`, {
        headers: { authorization: `Token ${jwt}` },
      })
      return response.status === 401
    }
    await until('the refusal of the token', refused, 60)
    const faults = () => log.filter((line) => line.includes('fault replicator.revoked')).length
    await until(
      'the stream to be refused',
      async () => String(follower.ended).includes('PSYNC_S2107'),
      120,
      () => [follower.state, faults()],
    )
    expect(faults()).toBeGreaterThan(0)
  } finally {
    await follower.close()
  }
})
