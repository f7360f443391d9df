import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { replicationSettings } from '../../tenants/replication.ts'
import { JURISDICTIONS, LOCATIONS, placementOf } from './placement.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('nothing said is no place', () => {
  const none = { location: null, jurisdiction: null }
  expect(placementOf({})).toEqual(none)
  expect(placementOf({ LOCATION: '', JURISDICTION: '' })).toEqual(none)
})

test.each([
  [{ LOCATION: 'mars' }, /LOCATION: must be one of wnam, /],
  [{ JURISDICTION: 'EU' }, /JURISDICTION: must be one of eu, fedramp, us/],
  [{ LOCATION: 'mars', JURISDICTION: 'moon' }, /LOCATION: .*; JURISDICTION: /],
])('%j is refused by name, also by the replicator', (settings, message) => {
  const refused = () => placementOf(settings)
  expect(refused).toThrow(expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' }))
  expect(refused).toThrow(message)
  expect(() => replicationSettings({ DATABASE_URL: 'postgres://a@b/c', SYNC_CONFIG: 'x', ...settings }, '')).toThrow(
    message,
  )
})

test('the settings of a tenant have it', () => {
  for (const location of LOCATIONS)
    for (const jurisdiction of JURISDICTIONS) {
      const bindings = {
        DATABASE_URL: 'postgres://a@b/c',
        SYNC_CONFIG: 'x',
        LOCATION: location,
        JURISDICTION: jurisdiction,
      }
      expect(replicationSettings(bindings, '')).toMatchObject({ location, jurisdiction })
      expect(placementOf(bindings)).toEqual({ location, jurisdiction })
    }
})

test('no other source makes a stub, or holds a namespace', async () => {
  const found: string[] = []
  let looked = 0
  for (const folder of ['workers', 'durable-objects']) {
    for (const file of await readdir(join(root, folder), { recursive: true })) {
      const path = `${folder}/${file}`
      if (!path.endsWith('.ts') || path.endsWith('.test.ts') || path.endsWith('.d.ts')) continue
      looked++
      const text = await readFile(join(root, path), 'utf8')
      if (
        /\b(getByName|idFromName|idFromString|newUniqueId|jurisdiction)\(|\benv\??\.(REPLICATOR|BUCKET|RELAY)\b/.test(
          text,
        )
      )
        found.push(path)
    }
  }
  expect(looked).toBeGreaterThan(100)
  expect(found).toEqual(['durable-objects/shared/namespaces.ts'])
})
