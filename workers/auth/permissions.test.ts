import { expect, test } from 'vitest'
import { both, PERMISSIONS, permissionsOf, requirePermission, type Permissions } from './permissions.ts'
import { operatorSettings } from './settings.ts'

const listed = (...texts: string[]): Permissions => permissionsOf(texts) ?? expect.fail(`unreadable: ${texts.join()}`)
const ACME = { tenant: 'acme' }

test('a permission is for all tenants, or for those that are named, and includes no other', () => {
  const may = listed('read', 'deploy:acme')
  expect([may('read', 'all'), may('read', 'any'), may('read', ACME)]).toEqual([true, true, true])
  expect([may('deploy', 'all'), may('deploy', 'any'), may('deploy', ACME)]).toEqual([false, true, true])
  expect([may('deploy', { tenant: 'acme2' }), may('deploy', { tenant: 'acm' }), may('deploy', { tenant: '' })]).toEqual(
    [false, false, false],
  )
  for (const other of PERMISSIONS.filter((each) => each !== 'read' && each !== 'deploy'))
    expect([may(other, 'all'), may(other, 'any'), may(other, ACME)]).toEqual([false, false, false])
  // A name is never taken for a permission with its tenant, whatever it is called.
  expect(listed('read:acme')('read', { tenant: 'acme:x' })).toBe(false)
})

test('what cannot be read permits nothing', () => {
  const wrong = [
    undefined,
    null,
    'read',
    {},
    [],
    [''],
    ['READ'],
    ['read '],
    ['*'],
    ['read:'],
    ['read:Acme'],
    ['read:*'],
    ['read:a:b'],
    ['read:a,b'],
    [['read']],
    ['read', 1],
    ['constructor'],
    Array.from({ length: 1_001 }, () => 'read'),
  ]
  expect(wrong.map(permissionsOf)).toEqual(wrong.map(() => null))
})

test('both permit what each does', () => {
  const may = both(listed('read', 'write:acme'), listed('read:acme', 'write', 'tenants'))
  expect([
    may('read', ACME),
    may('read', 'all'),
    may('write', ACME),
    may('write', 'all'),
    may('tenants', ACME),
  ]).toEqual([true, false, true, false, false])
})

test('a refusal says which permission is missing, for which tenant, and who has asked', () => {
  const operator = { by: 'ann', key: 'k1', may: listed('read') }
  expect(() => requirePermission(operator, 'data', ACME)).toThrow(
    expect.objectContaining({
      code: 'ROCKPOOL_PERMISSION',
      status: 403,
      message: 'this needs the permission data for the tenant acme, which ann (key k1) does not have',
      details: { permission: 'data', tenant: 'acme', by: 'ann', key: 'k1' },
    }),
  )
})

const oct = (byte: number, more: object = {}) => ({
  kty: 'oct',
  k: Buffer.alloc(32, byte).toString('base64url'),
  ...more,
})
const keysOf = (...keys: object[]) =>
  operatorSettings({ OPERATOR_AUDIENCE: 'operators', OPERATOR_KEYS: JSON.stringify({ keys }) })?.keys ?? []

test('a key of operators permits what it lists, and everything when it lists nothing; the audit knows it by its kid', () => {
  const [all, some] = keysOf(oct(1), oct(2, { kid: 'ci', permissions: ['deploy:acme'] }))
  expect([all?.policy.operator?.key, some?.policy.operator?.key]).toEqual(['OPERATOR_KEYS[0]', 'ci'])
  expect(all?.policy.operator?.may('tenants', 'all')).toBe(true)
  expect(some?.policy.operator?.may('deploy', ACME)).toBe(true)
  expect(some?.policy.operator?.may('read', ACME)).toBe(false)
})

test('a key whose permissions cannot be read is no key, and no key is there twice with different ones', () => {
  const unusable = (message: string) =>
    expect.objectContaining({ code: 'PSYNC_S2201', message: expect.stringContaining(message) })
  for (const permissions of [[], 'read', ['reed'], null, { read: true }, ['read:ACME']])
    expect(() => keysOf(oct(1), oct(2, { permissions }))).toThrow(
      unusable('keys[1] "permissions" must be a list of read'),
    )
  const twice = unusable('is there twice')
  expect(() => keysOf(oct(1, { kid: 'a' }), oct(1, { kid: 'b', permissions: ['read'] }))).toThrow(twice)
  const padded = { ...oct(1, { kid: 'b', permissions: ['read'] }), k: `${oct(1).k}=` }
  expect(() => keysOf(oct(1, { kid: 'a' }), padded)).toThrow(twice)
  expect(keysOf(oct(1, { kid: 'a' }), oct(1, { kid: 'b' }))).toHaveLength(2)
})
