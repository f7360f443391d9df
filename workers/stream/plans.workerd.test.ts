import { expect, test } from 'vitest'
import type { Environment } from '../../durable-objects/environment.ts'
import { compile } from '../../sync-config/index.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { planByHash } from './plans.ts'

const SYNC_CONFIG = `
bucket_definitions:
  a:
    data:
      - SELECT id FROM a
  b:
    data:
      - SELECT id FROM b
`

test('the limits of a tenant are those of now: a directory may give it others while the isolate goes on', async () => {
  const compiled = compile(SYNC_CONFIG)
  if (!compiled.ok) throw new Error('it has errors')
  const text = JSON.stringify(compiled.plan)
  let asked = 0
  const replicator = { plan: async () => (asked++, text) }
  const env = { REPLICATOR: { getByName: () => replicator } } as unknown as Environment
  const buckets = async (most: string) => {
    const plan = await planByHash(env, tenantOfBindings('acme', { MAX_BUCKETS: most }, ''), 'hash')
    return plan
      .request({ claims: {}, parameters: {}, includeDefaults: true, subscriptions: [] })
      .resolve(() => undefined).buckets.length
  }
  expect([await buckets('2'), await buckets('2'), asked]).toEqual([2, 2, 1])
  await expect(buckets('1')).rejects.toMatchObject({ code: 'PSYNC_S2305' })
  expect(await buckets('3')).toBe(2)
})
