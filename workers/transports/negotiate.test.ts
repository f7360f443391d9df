import { expect, test } from 'vitest'
import { BSON, negotiate, NDJSON } from './negotiate.ts'

test.each([
  [undefined, NDJSON],
  ['', NDJSON],
  ['*/*', NDJSON],
  ['application/*', NDJSON],
  ['text/html', NDJSON],
  ['application/json', NDJSON],
  [`${BSON};q=0.9,${NDJSON};q=0.8`, BSON],
  [`${NDJSON};q=0.8, ${BSON};q=0.9`, BSON],
  [`${BSON};q=0.5,${NDJSON};q=0.8`, NDJSON],
  [`${BSON}`, BSON],
  [`${BSON.toUpperCase()} ; Q=1`, BSON],
  [NDJSON, NDJSON],
  [`${BSON};q=0,${NDJSON}`, NDJSON],
  [`${BSON};q=0`, NDJSON],
  [`${NDJSON};q=0,*/*;q=0.1`, BSON],
  [`*/*, ${BSON}`, BSON],
  [`*/*;q=0.9, ${BSON};q=0.1`, NDJSON],
  [`${BSON},${NDJSON}`, BSON],
  [`${NDJSON},${BSON}`, NDJSON],
  [`${BSON};q=high,${NDJSON};q=0.1`, NDJSON],
])('Accept: %s → %s', (accept, type) => {
  expect(negotiate(accept)).toBe(type)
})
