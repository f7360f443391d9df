import { expect, test } from 'vitest'
import { attempt } from '../../../test/tls/attempt.ts'
import { MISBEHAVIOURS } from '../../../test/tls/misbehaviours.ts'
import { MISBEHAVIOURS_12 } from '../../../test/tls/misbehaviours-12.ts'
import { connectTls } from './connection.ts'

test('the misbehaving server can behave', async () => {
  expect(await attempt(connectTls, {})).toMatchObject({ outcome: 'read 5', alert: 0 })
  expect(await attempt(connectTls, { early: new Uint8Array(3) })).toMatchObject({ outcome: 'read 8', alert: 0 })
  expect(await attempt(connectTls, { version: 12 })).toMatchObject({ outcome: 'read 5', alert: 0 })
})

test('a certificate without its key is worthless: the error says that the server has proved nothing', async () => {
  const found: unknown[] = []
  const told: typeof connectTls = (transport, options) =>
    connectTls(transport, options).catch((error: unknown) => {
      found.push(error)
      throw error
    })
  await attempt(told, MISBEHAVIOURS.get('the signature of another key') ?? {})
  expect(found).toEqual([expect.objectContaining({ code: 'ROCKPOOL_SOURCE_TLS', details: { reason: 'proof' } })])
})

/** What is nobody's fault, or was said by the server. */
const UNANSWERED =
  /^TLS: the connection broke off|deadline|the server ended the connection|the server accepts nothing|during the handshake|handshake_failure\)/

test.each([...MISBEHAVIOURS, ...MISBEHAVIOURS_12])('%s', async (_, misbehaviour) => {
  const { says, ...behaviour } = misbehaviour
  const { outcome, alert } = await attempt(connectTls, behaviour, says.source.includes('deadline') ? 50 : 5_000)
  expect(outcome).toMatch(says)
  if (UNANSWERED.test(outcome) || 'unheard' in misbehaviour)
    expect(alert === null || outcome.includes('deadline')).toBe(true)
  else expect(alert).toBeGreaterThan(0)
})
