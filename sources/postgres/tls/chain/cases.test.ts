import { expect, test } from 'vitest'
import { outcome } from './test-cases.ts'
import { nameCases } from './test-cases-names.ts'
import { pathCases } from './test-cases-path.ts'
import { ruleCases } from './test-cases-rules.ts'

const groups = { rules: ruleCases(), names: nameCases(), paths: pathCases() }

test.each(Object.entries(groups))('%s: each chain is judged by the one thing that is special about it', (_, cases) => {
  expect(cases.length).toBeGreaterThan(25)
  expect(cases.map(({ name, options }) => [name, outcome(options)])).toEqual(
    cases.map(({ name, expected }) => [name, expected]),
  )
})
