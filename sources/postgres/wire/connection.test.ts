import { expect, test } from 'vitest'
import { sourceError } from './connection.ts'

const withCode = (code: string) => Object.assign(new Error('what it says'), { code })

test.each([
  ['42501', 'ROCKPOOL_SOURCE_SETTINGS', 'Postgres refuses: what it says (42501)'],
  ['XX000', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres fails: what it says (XX000)'],
  ['40001', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres fails: what it says (40001)'],
  ['57P03', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (57P03)'],
  ['08006', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (08006)'],
  ['EPIPE', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (EPIPE)'],
  ['CONNECTION_CLOSED', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (CONNECTION_CLOSED)'],
])('%s is told as %s', (state, code, message) => {
  expect(sourceError(withCode(state))).toMatchObject({ code, message })
})
