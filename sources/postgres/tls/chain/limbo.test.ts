import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { PASSES, REFUSED, differences, judge, type LimboCase } from './test-limbo.ts'

const file = new URL('../../../../test/fixtures/x509-limbo/cases.json.gz', import.meta.url)
const { testcases: cases }: { testcases: LimboCase[] } = JSON.parse(gunzipSync(readFileSync(file)).toString())

test('x509-limbo: every case passes or fails as it must, except those that are listed with a reason', () => {
  expect(cases.length).toBe(176)
  expect(cases.filter((each) => each.expected_result === 'FAILURE').length).toBe(136)
  expect(differences(cases)).toEqual([])
  const result = new Map(cases.map((each) => [each.id, each.expected_result]))
  expect(Object.keys(PASSES).map((id) => result.get(id))).toEqual(new Array(12).fill('FAILURE'))
  expect(Object.keys(REFUSED).map((id) => result.get(id))).toEqual(['SUCCESS', 'SUCCESS'])
})

test('x509-limbo: a case is refused for what is wrong with it', () => {
  const reasons = Object.groupBy(cases, (each) => judge(each))
  const counts = Object.fromEntries(Object.entries(reasons).map(([reason, each]) => [reason, each?.length]))
  expect(counts).toMatchInlineSnapshot(`
    {
      "authority": 7,
      "constraints": 21,
      "critical": 7,
      "expired": 5,
      "form": 21,
      "key": 8,
      "name": 17,
      "not-an-authority": 3,
      "not-yet-valid": 3,
      "ok": 50,
      "path-length": 4,
      "signature": 1,
      "too-large": 7,
      "unreadable": 15,
      "usage": 7,
    }
  `)
})
