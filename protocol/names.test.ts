import { expect, test } from 'vitest'
import { bucketObjectName, relayName, replicatorName } from './names.ts'

test('an object is named by its tenant', async () => {
  expect([replicatorName('acme'), relayName('acme', 'main', 0), await bucketObjectName('acme', 'mine["1"]')]).toEqual([
    'acme',
    'acme/main/0',
    'acme/mine["1"]',
  ])
  expect(await bucketObjectName('acme', 'b'.repeat(512))).toMatch(/^acme\/~[0-9a-f]{64}$/)
})

// `acme/eu` and its bucket `mine` would be `acme` and its bucket `eu/mine`, and its replicator would be told the
// secrets of `acme`.
test.each(['acme/eu', 'acme/', '/', '', 'acme%2Feu', 'Acme', 'acme eu', 'acmé', 'a'.repeat(64)])(
  '%j is no name of a tenant',
  async (tenant) => {
    const refused = expect.objectContaining({
      code: 'ROCKPOOL_SETTINGS',
      message: expect.stringContaining('a to z, 0 to 9 and -'),
    })
    expect(() => replicatorName(tenant)).toThrow(refused)
    expect(() => relayName(tenant, 'main', 0)).toThrow(refused)
    await expect(bucketObjectName(tenant, 'mine')).rejects.toEqual(refused)
  },
)
