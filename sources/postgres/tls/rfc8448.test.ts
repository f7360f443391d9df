import { expect, test } from 'vitest'
import { pipe } from '../../../test/tls/pipe.ts'
import * as rfc from '../../../test/tls/rfc8448.ts'
import { connectTls } from './connection.ts'
import type { Hello } from './hello.ts'
import { agree } from './key-exchange.ts'
import { applicationSecrets, finished, handshakeSecrets, isFinished, trafficKey } from './key-schedule.ts'
import { GROUPS, SUITES, type Group, type Suite } from './parameters.ts'
import { Transcript } from './transcript.ts'
import { concat, type Bytes } from './wire.ts'

// RFC 8448: traces of handshakes, byte by byte.

const suite = SUITES.get(0x1301) as Suite
const x25519 = GROUPS.get(0x001d) as Group
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex')

async function agreed(theirs: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey('pkcs8', concat(PKCS8, rfc.CLIENT_PRIVATE), 'X25519', false, ['deriveBits'])
  return agree(x25519, key, theirs)
}

test('the key schedule', async () => {
  expect(await agreed(rfc.SERVER_PUBLIC)).toEqual(rfc.SHARED_SECRET)
  const transcript = new Transcript()
  transcript.add(rfc.CLIENT_HELLO)
  transcript.add(rfc.SERVER_HELLO_RECORD.subarray(5))
  const handshake = await handshakeSecrets(suite, rfc.SHARED_SECRET, await transcript.hash(suite))
  expect(handshake).toEqual({ client: rfc.CLIENT_HANDSHAKE, server: rfc.SERVER_HANDSHAKE, master: rfc.MASTER_SECRET })
  expect(await trafficKey(suite, handshake.server)).toEqual(rfc.SERVER_HANDSHAKE_KEY)
  expect(await trafficKey(suite, handshake.client)).toEqual(rfc.CLIENT_HANDSHAKE_KEY)

  const finishedBytes = 36
  transcript.add(rfc.SERVER_FLIGHT.subarray(0, -finishedBytes))
  const beforeFinished = await transcript.hash(suite)
  expect(await isFinished(suite, handshake.server, beforeFinished, rfc.SERVER_FINISHED)).toBe(true)
  expect(await isFinished(suite, handshake.client, beforeFinished, rfc.SERVER_FINISHED)).toBe(false)
  transcript.add(rfc.SERVER_FLIGHT.subarray(-finishedBytes))
  const flight = await transcript.hash(suite)
  expect(await finished(suite, handshake.client, flight)).toEqual(rfc.CLIENT_FINISHED)

  const application = await applicationSecrets(suite, handshake.master, flight)
  expect(application).toEqual({ client: rfc.CLIENT_APPLICATION, server: rfc.SERVER_APPLICATION })
  expect(await trafficKey(suite, application.server)).toEqual(rfc.SERVER_APPLICATION_KEY)
  expect(await trafficKey(suite, application.client)).toEqual(rfc.CLIENT_APPLICATION_KEY)
})

/** The client of the trace: without a session id, and with extensions that ours does not send. */
const hello: Hello = {
  raw: rfc.CLIENT_HELLO,
  random: rfc.CLIENT_HELLO.slice(6, 38),
  sessionId: new Uint8Array(),
  alpn: 'postgresql',
  shares: new Map([[0x001d, { own: rfc.CLIENT_PUBLIC, agree: agreed }]]),
  asked: new Set([0, 10, 28]),
  asked12: new Set(),
  again: () => Promise.reject(new Error('the trace has no retry')),
}

test('a whole connection: the client sends what the trace shows, from Finished to close_notify', async () => {
  const { client, server } = pipe()
  server.write(rfc.SERVER_HELLO_RECORD)
  server.write(rfc.SERVER_FLIGHT_RECORD)
  const chains: Uint8Array[][] = []
  const verify = (chain: Uint8Array[]) => void chains.push(chain)
  const socket = await connectTls(client, { host: 'server', verify, signal: AbortSignal.timeout(5_000), hello })
  expect(await server.read(5 + rfc.CLIENT_HELLO.length)).toEqual(
    concat([22, 3, 1, 0, rfc.CLIENT_HELLO.length], rfc.CLIENT_HELLO),
  )
  expect(await server.read(rfc.CLIENT_FINISHED_RECORD.length)).toEqual(rfc.CLIENT_FINISHED_RECORD)
  expect(chains.map((chain) => chain.map(({ length }) => length))).toEqual([[432]])

  const reader = socket.readable.getReader()
  server.write(concat(rfc.TICKET_RECORD, rfc.SERVER_DATA_RECORD))
  expect((await reader.read()).value).toEqual(rfc.DATA)
  await socket.writable.getWriter().write(rfc.DATA)
  expect(await server.read(rfc.CLIENT_DATA_RECORD.length)).toEqual(rfc.CLIENT_DATA_RECORD)
  server.write(rfc.SERVER_ALERT_RECORD)
  expect(await reader.read()).toEqual({ done: true, value: undefined })
  expect(await server.read(rfc.CLIENT_ALERT_RECORD.length)).toEqual(rfc.CLIENT_ALERT_RECORD)
  await socket.closed
})

test('a connection with a retry for P-256 and a cookie', async () => {
  const { client, server } = pipe()
  const p256 = GROUPS.get(0x0017) as Group
  const own = rfc.RETRIED_PUBLIC
  const [x, y] = [own.subarray(1, 33), own.subarray(33)].map((number) => Buffer.from(number).toString('base64url'))
  const jwk = { kty: 'EC', crv: 'P-256', x, y, d: Buffer.from(rfc.RETRIED_PRIVATE).toString('base64url') } as JsonWebKey
  const key = await crypto.subtle.importKey('jwk', jwk, p256.algorithm, false, ['deriveBits'])
  const asked: unknown[] = []
  const again: Hello['again'] = async (group, cookie) => {
    asked.push(group, cookie?.length)
    const shares = new Map([[0x0017, { own, agree: (theirs: Bytes) => agree(p256, key, theirs) }]])
    return { ...hello, raw: rfc.SECOND_HELLO_RECORD.subarray(5), shares }
  }
  server.write(rfc.RETRY_RECORD)
  server.write(concat(rfc.RETRIED_SERVER_HELLO_RECORD, rfc.RETRIED_FLIGHT_RECORD))
  const retried = { ...hello, raw: rfc.RETRIED_HELLO_RECORD.subarray(5), again }
  const socket = await connectTls(client, {
    host: 'server',
    verify: () => {},
    signal: AbortSignal.timeout(5_000),
    hello: retried,
  })
  expect(asked).toEqual([0x0017, 114])
  expect(socket).toMatchObject({ suite: 'TLS_AES_128_GCM_SHA256', group: 'P-256' })
  await socket.close()
  for (const record of [
    rfc.RETRIED_HELLO_RECORD,
    rfc.SECOND_HELLO_RECORD,
    rfc.RETRIED_CLIENT_FINISHED_RECORD,
    rfc.RETRIED_CLIENT_ALERT_RECORD,
  ]) {
    expect(await server.read(record.length)).toEqual(record)
  }
})
