import { env as bound } from 'cloudflare:test'
import { describe, expect, test } from 'vitest'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { Environment } from '../environment.ts'
import type { SettingBindings } from '../../tenants/bindings.ts'
import { tenantOf } from '../../test/support/tenant.ts'
import { bucketStub, isElsewhere, placedAt, relayStub, replicatorStub } from './namespaces.ts'

/** Notes how a stub is made. `jurisdiction` throws what it is given. */
function namespace(refusal?: Error) {
  const asked: unknown[] = []
  const getByName = (...options: unknown[]) => void asked.push(options)
  const jurisdiction = (name: string) => {
    asked.push(name)
    if (refusal) throw refusal
    return { getByName }
  }
  const idFromName = (name: string) => ({ name })
  return { asked, binding: { getByName, jurisdiction, idFromName } }
}

function made(settings: Partial<Environment>, refusal?: Error): unknown[] {
  const { asked, binding } = namespace(refusal)
  const env = { REPLICATOR: binding, BUCKET: binding, RELAY: binding, ...settings } as unknown as Environment
  const tenant = placedAt(env, { id: env.REPLICATOR.idFromName('default') }, 'default')
  replicatorStub(env, tenant)
  bucketStub(env, tenant, 'default/b')
  relayStub(env, tenant, 'default/main')
  return asked
}

test('nothing said: the platform chooses the place', () => {
  expect(made({})).toEqual([['default'], ['default/b'], ['default/main']])
  expect(made({ LOCATION: '', JURISDICTION: '' })).toEqual(made({}))
})

test('each object is made within the jurisdiction, and with the hint', () => {
  const hint = { locationHint: 'weur' }
  expect(made({ LOCATION: 'weur' })).toEqual(['default', 'default/b', 'default/main'].map((name) => [name, hint]))
  expect(made({ LOCATION: 'weur', JURISDICTION: 'eu' })).toEqual(
    ['default', 'default/b', 'default/main'].flatMap((name) => ['eu', [name, hint]]),
  )
})

test('only the local runtime, which has no jurisdictions, makes objects without', () => {
  const local = new Error('Jurisdiction restrictions are not implemented in workerd.')
  expect(made({ JURISDICTION: 'us' }, local)).toEqual(['us', ['default'], 'us', ['default/b'], 'us', ['default/main']])
  expect(() => made({ JURISDICTION: 'us' }, new Error('no such jurisdiction'))).toThrow('no such jurisdiction')
})

test('a place that is not known names no object', () => {
  const { asked, binding } = namespace()
  const env = { REPLICATOR: binding, LOCATION: 'mars' } as unknown as Environment
  expect(() => replicatorStub(env, tenantOf({ LOCATION: 'mars' }))).toThrow(
    expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' }),
  )
  expect(asked).toEqual([])
})

describe('a stored tenant', () => {
  const stored = (binding: object) =>
    ({
      REPLICATOR: binding,
      BUCKET: binding,
      RELAY: binding,
      DIRECTORY: binding,
      TENANT_KEYS: 'k',
      LOCATION: 'apac',
      JURISDICTION: 'us',
    }) as unknown as Environment

  test('has its objects where it was made, wherever the script says that others are', () => {
    const { asked, binding } = namespace()
    const env = stored(binding)
    const tenant = { name: 'acme', place: { location: 'weur', jurisdiction: 'eu' } as const }
    replicatorStub(env, tenant)
    bucketStub(env, tenant, 'acme/b')
    relayStub(env, tenant, 'acme/main/0')
    const hint = { locationHint: 'weur' }
    expect(asked).toEqual(['acme', 'acme/b', 'acme/main/0'].flatMap((name) => ['eu', [name, hint]]))
  })

  test('has objects that call each other in the jurisdiction that their ids say, without a question', () => {
    const { asked, binding } = namespace()
    const env = stored(binding)
    const at = (jurisdiction?: string) =>
      placedAt(env, { id: { name: 'acme', ...(jurisdiction && { jurisdiction }) } as DurableObjectId }, 'acme')
    replicatorStub(env, at('fedramp'))
    bucketStub(env, at(), 'acme/b')
    expect(asked).toEqual(['fedramp', ['acme'], ['acme/b']])
  })

  test('is never taken for one that is elsewhere', () => {
    const { binding } = namespace()
    expect(isElsewhere(stored(binding), { name: 'acme', jurisdiction: 'eu' } as DurableObjectId)).toBe(false)
  })
})

test('the local runtime takes both settings, and the objects are the same', async () => {
  const state = (settings: SettingBindings) =>
    bucketStub(bound, tenantOf(settings), 'default/placed').state({ v: MESSAGE_VERSION, checkpoint: 1 })
  await bucketStub(bound, tenantOf({ LOCATION: 'weur', JURISDICTION: 'eu' }), 'default/placed').append({
    v: MESSAGE_VERSION,
    first: 1,
    last: 1,
    count: 1,
    checksum: 7,
    committed: 0,
    body: '{"op_id":"1","op":"CLEAR","checksum":7}',
  })
  const expected = await state({ LOCATION: 'weur', JURISDICTION: 'eu' })
  expect(expected).toMatchObject({ kind: 'state', count: 1 })
  expect(await state({})).toEqual(expected)
})
