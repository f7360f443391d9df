import { expect, test } from 'vitest'
import { Random } from '../../../../test/support/random.ts'
import { server } from './test-authority.ts'
import { HOST, NOW, middle, outcome, root } from './test-cases.ts'
import { mutated } from './test-fuzz.ts'
import { nameCases } from './test-cases-names.ts'
import { pathCases } from './test-cases-path.ts'
import { ruleCases } from './test-cases-rules.ts'

test('workerd judges every chain as Node does', () => {
  const cases = [...ruleCases(), ...nameCases(), ...pathCases()]
  expect(cases.map(({ name, options }) => [name, outcome(options)])).toEqual(
    cases.map(({ name, expected }) => [name, expected]),
  )
})

test('workerd also refuses a changed certificate, and nothing else happens', () => {
  const random = new Random(5)
  const leaf = server({ by: middle }).der
  for (let i = 0; i < 1_000; i++) {
    const changed = mutated(leaf, random)
    if (changed.every((byte, at) => byte === leaf[at]) && changed.length === leaf.length) continue
    const result = outcome({ chain: [changed, middle.der], anchors: [root.der], host: HOST, mode: 'full', now: NOW })
    expect(result, `input ${i}`).toBeTypeOf('string')
  }
})
