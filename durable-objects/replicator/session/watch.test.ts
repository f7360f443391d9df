import { expect, test } from 'vitest'
import { CatalogChecks } from './catalog-checks.ts'
import { SessionState } from './session-state.ts'
import { watchDefinitions } from './watch.ts'

function watchOf(isCurrent: () => Promise<boolean>) {
  const checks = new CatalogChecks()
  const state = new SessionState()
  const seen: string[] = []
  void watchDefinitions({
    settings: { catalogWatchSeconds: 60 },
    state: { ending: state.ending, pause: () => new Promise<void>(() => {}) },
    checks,
    prepared: { isCurrent },
    call: () => ({ signal: new AbortController().signal, deadlineMs: 1_000 }),
    unchanged: () => void seen.push('unchanged'),
    restart: () => void seen.push('restart'),
  })
  return { checks, state, seen }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('the stream waits for a check, and continues when nothing has changed', async () => {
  const { checks, seen } = watchOf(async () => true)
  checks.request()
  await turn()
  expect([seen, checks.pending]).toEqual([['unchanged'], false])
})

test('a check that finds another catalog restarts the session, and the stream still waits', async () => {
  const { checks, seen } = watchOf(async () => false)
  checks.request()
  await turn()
  expect([seen, checks.pending]).toEqual([['restart'], true])
})

test('a check that the stream requests when the session is ending already ends it: a read may wait for the stream, and nobody checks any more', async () => {
  const { checks, state, seen } = watchOf(async () => true)
  state.end()
  await turn()
  expect(seen).toEqual([])
  checks.request()
  await turn()
  expect([seen, checks.pending]).toEqual([['restart'], true])
})
