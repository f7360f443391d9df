import { readdirSync, readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Setting } from '../protocol/settings.ts'
import { authSettings, operatorSettings } from '../workers/auth/settings.ts'
import type { SettingBindings } from './bindings.ts'
import { SETTINGS } from './declarations.ts'
import { tenantOfBindings } from './from-bindings.ts'
import { DIRECTORY, directoryOf, storedTenants } from './of-environment.ts'
import { tenantOfObject } from './of-object.ts'
import { tenantOfRequest } from './of-request.ts'
import { DEFAULT_TENANT, SingleTenant } from './single.ts'
import type { Tenant } from './tenant.ts'

const refused = expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' })
const bindings: SettingBindings = { DATABASE_URL: 'postgres://a@b/c', JWT_SECRET: 'A'.repeat(43), JWT_AUDIENCE: 'app' }
const SECTIONS = ['replication', 'streams', 'limits', 'compaction', 'version'] as const

describe('the directory of a script with one tenant', () => {
  const directory = new SingleTenant(bindings, 'bundled')

  test('knows that one, whose settings are the bindings', async () => {
    const names: string[] = []
    for await (const name of directory.names()) names.push(name)
    expect(names).toEqual([DEFAULT_TENANT])
    const tenant = await directory.find(DEFAULT_TENANT)
    expect([tenant.name, tenant.replication.slot, tenant.replication.syncConfig]).toEqual([
      'default',
      'rockpool',
      'bundled',
    ])
    expect(await directory.secret(DEFAULT_TENANT, 'source.url')).toBe('postgres://a@b/c')
    expect(await directory.secret(DEFAULT_TENANT, 'token.keys')).toMatchObject({ JWT_AUDIENCE: 'app' })
  })

  test('refuses every other name', async () => {
    await expect(directory.find('other')).rejects.toEqual(refused)
    await expect(directory.secret('other', 'source.url')).rejects.toEqual(refused)
  })

  test('serves objects by their names, and every request', async () => {
    for (const name of ['default', 'default/mine[1]', 'default/main/0']) {
      const own = tenantOfObject(bindings, name)
      expect([own.name, (await own.find()).name]).toEqual(['default', 'default'])
    }
    await expect(tenantOfObject(bindings, 'other/mine[1]').find()).rejects.toEqual(refused)
    expect((await tenantOfRequest(bindings, new Request('https://any.example/sync/stream'))).name).toBe('default')
  })

  test('gives way to one that the script brings along', async () => {
    const other = new SingleTenant({ ...bindings, DATABASE_URL: 'postgres://x@y/z' }, '')
    expect(await directoryOf({ ...bindings, [DIRECTORY]: other }).secret(DEFAULT_TENANT, 'source.url')).toBe(
      'postgres://x@y/z',
    )
    expect(directoryOf(bindings)).toBeInstanceOf(SingleTenant)
  })

  test('is named where directories are chosen, and nowhere else', () => {
    const folders = ['protocol', 'sources', 'sync-config', 'tenants', 'durable-objects', 'workers', 'client/src', 'cli']
    const files = folders.flatMap((folder) =>
      readdirSync(new URL(`../${folder}`, import.meta.url), { recursive: true, encoding: 'utf8' }).map(
        (file) => `${folder}/${file}`,
      ),
    )
    const sources = files.filter((file) => file.endsWith('.ts') && !/\.test\.ts$/.test(file))
    expect(sources.length).toBeGreaterThan(300)
    const naming = sources.filter((file) =>
      readFileSync(new URL(`../${file}`, import.meta.url), 'utf8').includes('DEFAULT_TENANT'),
    )
    expect(naming.sort()).toEqual(['tenants/of-environment.ts', 'tenants/script.ts', 'tenants/single.ts'])
  })
})

test('a setting that is wrong concerns those who need its section, and nobody else', () => {
  const tenant = tenantOfBindings('a', { ...bindings, COMPACTION_BYTES: 'x' }, '')
  expect(() => tenant.compaction).toThrow(/COMPACTION_BYTES/)
  expect([tenant.streams.relays, tenant.limits.buckets, tenant.replication.slot]).toEqual([1, 1_000, 'rockpool'])
})

describe('secrets', () => {
  const MARK = 'Marked0Secret'
  const secrets = Object.entries<Setting<unknown>>(SETTINGS).filter(([, { scope }]) => scope === 'secret')

  test('are those whose documentation says so', () => {
    const told = Object.entries<Setting<unknown>>(SETTINGS).filter(([, { about }]) => /\ba secret\b/.test(about))
    expect(secrets.length).toBeGreaterThan(3)
    expect(secrets.map(([name]) => name)).toEqual(told.map(([name]) => name))
  })

  test('are not in a tenant: not in its sections, and not where somebody prints it', () => {
    const marked = Object.fromEntries(secrets.map(([name]) => [name, `${MARK} of ${name}`]))
    const tenant = tenantOfBindings('a', { ...bindings, ...marked, DATABASE_URL: `postgres://${MARK}:${MARK}@b/c` }, '')
    const shown = [tenant, ...SECTIONS.map((section) => tenant[section])].flatMap((part) => [
      JSON.stringify(part),
      inspect(part, { depth: 9, getters: true, showHidden: true }),
    ])
    expect(shown.join('\n')).toContain('rockpool')
    expect(shown.filter((text) => text.includes(MARK))).toEqual([])
    expect(structuredClone({ ...tenant, ...tenant.replication })).not.toHaveProperty('databaseUrl')
  })

  test.each([...secrets.map(([name]) => name)])('%s is in no error, whatever is wrong with it', (name) => {
    const wrong = { ...bindings, OPERATOR_AUDIENCE: 'ops', [name]: `${MARK}, which is none` }
    const tenant = tenantOfBindings('a', wrong, '')
    const reads: (() => unknown)[] = [
      ...SECTIONS.map((section: keyof Tenant) => () => tenant[section]),
      () => authSettings(wrong),
      () => operatorSettings(wrong),
      () => storedTenants({ ...wrong, DIRECTORY: { getByName: () => expect.unreachable() } }),
    ]
    const errors = reads.flatMap((read) => {
      try {
        read()
        return []
      } catch (error) {
        return [inspect(error, { depth: 9 })]
      }
    })
    expect(errors.join('\n')).toContain(name)
    expect(errors.filter((text) => text.includes(MARK))).toEqual([])
  })
})
