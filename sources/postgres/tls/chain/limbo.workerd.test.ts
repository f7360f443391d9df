import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import archive from '../../../../test/fixtures/x509-limbo/cases.json.gz?url&inline'
import { differences, type LimboCase } from './test-limbo.ts'

test('workerd judges x509-limbo as Node does', () => {
  const bytes = Uint8Array.from(atob(archive.slice(archive.indexOf(',') + 1)), (each) => each.charCodeAt(0))
  const { testcases }: { testcases: LimboCase[] } = JSON.parse(new TextDecoder().decode(gunzipSync(bytes)))
  expect(testcases.length).toBe(176)
  expect(differences(testcases)).toEqual([])
})
