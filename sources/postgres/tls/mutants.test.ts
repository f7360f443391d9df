import { expect, test } from 'vitest'
import { attempt, type Plan } from '../../../test/tls/attempt.ts'
import { MISBEHAVIOURS } from '../../../test/tls/misbehaviours.ts'
import { MISBEHAVIOURS_12 } from '../../../test/tls/misbehaviours-12.ts'
import { mutated, type Mutant } from '../../../test/tls/mutants.ts'
import { certificateRequest, FLIGHT, type Step } from '../../../test/tls/server.ts'
import { certificate12, certificateRequest12, done12, keyExchange12 } from '../../../test/tls/server-12.ts'
import { connectTls } from './connection.ts'

// The client with a check taken out lets through what the client refuses: so each check is what refuses it, and the
// server misbehaves in nothing else. The file is long because it is one list,
// for both versions.

type Case = [misbehaviour: string, taken: Mutant]

const mutant = (file: string, from: string, to: string): Mutant => ({ file, from, to })
const in12 = (cases: Case[]): Case[] => cases.map(([name, taken]) => [`TLS 1.2: ${name}`, taken])
const misbehaviour = (name: string): Plan & { says: RegExp } => {
  const found = MISBEHAVIOURS.get(name) ?? MISBEHAVIOURS_12.get(name)
  if (!found) throw new Error(name)
  return found
}

const NOT_SIGNED = mutant('certificate-key.ts', 'if (!good)', 'if (false)')
const NOT_FINISHED = mutant('handshake-12.ts', 'if (!equal(body, expected))', 'if (false)')
const ANY_EXTENSION = mutant('extensions.ts', '!asked.has(type)', 'false')
const NO_SENTINEL = mutant('server-hello.ts', 'if (equal(random.subarray(24, 31), DOWNGRADE))', 'if (false)')
const NO_LAST_BOUNDARY = mutant('handshake-12.ts', '    incoming.boundary()\n    return keys', '    return keys')
const ANY_CHANGE = mutant(
  'incoming.ts',
  'if (!isChange(await this.#content())) throw outOfPlace()',
  'await this.#content()',
)
const ALL_LET_BY = mutant('handshake-12.ts', '  incoming.noneMeaningless()\n', '')

/** Without the check the client goes on. */
const TAKEN_OUT: Case[] = [
  ['the signature of a client', NOT_SIGNED],
  [
    'the Finished of a client',
    mutant('handshake-13.ts', 'if (!(await isFinished(suite, secrets.server, said, body)))', 'if (false)'),
  ],
  [
    'an empty Finished',
    mutant('handshake-13.ts', 'if (!(await isFinished(suite, secrets.server, said, body)))', 'if (false)'),
  ],
  [
    'a message behind Finished',
    mutant('handshake-13.ts', '  incoming.boundary()\n  const { client', '  const { client'),
  ],
  [
    'a part of one behind Finished',
    mutant('handshake-13.ts', '  incoming.boundary()\n  const { client', '  const { client'),
  ],
  ['another session id', mutant('server-hello.ts', '!equal(echo, sessionId)', 'false')],
  [
    'a draft of 1.3',
    mutant('server-hello.ts', 'if (!equal(chosen, [VERSION_13 >>> 8, VERSION_13 & 0xff]))', 'if (false)'),
  ],
  ['a pre-shared key', ANY_EXTENSION],
  ['an extension that was not asked for', ANY_EXTENSION],
  [
    'a certificate with an extension',
    mutant('messages.ts', 'onlyOf(readExtensions(list), NONE)', 'readExtensions(list)'),
  ],
  [
    'a request for a certificate without signatures',
    mutant('messages.ts', '!extensions.has(Extension.signatureAlgorithms)', 'false'),
  ],
  ['a retry for a group that it has', mutant('handshake.ts', ' || first.shares.has(group)', '')],
  ['a retry for nothing', mutant('server-hello.ts', 'if (!group && !cookie)', 'if (false)')],
  [
    'a retry with a cookie of 8 KB and a byte',
    mutant('server-hello.ts', 'asked.cookie && asked.cookie.length > MAX_COOKIE', 'false'),
  ],
  ['a retry with an empty cookie', mutant('server-hello.ts', 'asked.cookie?.length === 0', 'false')],
  [
    'certificates for a request of ours',
    mutant(
      'messages.ts',
      "if (reader.vector(1).length > 0)\n      throw violation(Alert.illegalParameter, 'certificates answer",
      "if (reader.vector(1).length > 9)\n      throw violation(Alert.illegalParameter, 'certificates answer",
    ),
  ],
  ['a message in 65 records', mutant('fragments.ts', 'MAX_MESSAGE_RECORDS = 64', 'MAX_MESSAGE_RECORDS = 10_000')],
  ['an empty part of a message', mutant('fragments.ts', 'if (data.length === 0)', 'if (false)')],
  ['a change_cipher_spec of 2', mutant('incoming.ts', ' && data[0] === 1', '')],
  [
    'a change_cipher_spec in a message',
    mutant('incoming.ts', ' || !this.#fragments.empty) throw outOfPlace()', ') throw outOfPlace()'),
  ],
  ['seventy change_cipher_spec', mutant('incoming.ts', 'records === MAX_MESSAGE_RECORDS', 'false')],
  ['afterwards: data of 16 KB and a byte', mutant('protection-13.ts', 'inner.length > MAX_PLAINTEXT + 1', 'false')],
  [
    'afterwards: a request for a certificate',
    mutant(
      'receiver.ts',
      'if (!is13 || found.type !== MessageType.keyUpdate)',
      'if (found.type === 13) continue\nif (!is13)',
    ),
  ],
  [
    'afterwards: a message behind a change of keys',
    mutant(
      'receiver.ts',
      "if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message spans",
      "if (false) throw violation(Alert.unexpectedMessage, 'a message spans",
    ),
  ],
  [
    'afterwards: data in a message',
    mutant('receiver.ts', 'type !== ContentType.handshake && !this.#fragments.empty', 'false'),
  ],
  ['afterwards: tickets without end', mutant('receiver.ts', 'this.#idle > MAX_IDLE_RECORDS', 'false')],
  ['afterwards: changes of keys without end, with data', mutant('receiver.ts', 'updates > MAX_KEY_UPDATES', 'false')],
  ['afterwards: a change of keys that is not one', mutant('messages.ts', 'if (wanted > 1)', 'if (false)')],
]
const TAKEN_OUT_12: Case[] = [
  ['that it speaks 1.3', NO_SENTINEL],
  ['that it speaks 1.2 or 1.3', NO_SENTINEL],
  ['an extended master secret that is not one', mutant('messages-12.ts', 'if (master.length > 0)', 'if (false)')],
  ['no secure renegotiation', mutant('messages-12.ts', 'if (!info) {', 'if (!info) return\nif (false) {')],
  ['a renegotiation of another connection', mutant('messages-12.ts', 'if (!equal(info, [0]))', 'if (false)')],
  ['a session that is resumed', mutant('messages-12.ts', 'if (equal(sessionId, hello.sessionId))', 'if (false)')],
  ['a ticket that was not asked for', ANY_EXTENSION],
  ['compressed points alone', mutant('messages-12.ts', 'if (formats && ', 'if (false && formats && ')],
  ['two protocols', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  ['a signature without the randoms', NOT_SIGNED],
  ['a signature for another connection', NOT_SIGNED],
  ['a signature with another random of its own', NOT_SIGNED],
  [
    'a signature of ECDSA in a suite of RSA',
    mutant('certificate-key.ts', "scheme.key.name.startsWith('RSA') !== (signs === 'RSA')", 'false'),
  ],
  ['a ServerHelloDone that says something', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  [
    'a request for a certificate that names no kinds',
    mutant('messages-12.ts', 'if (reader.vector(1).length === 0)', 'if (reader.vector(1).length === 256)'),
  ],
  ['a change_cipher_spec before ServerHello', mutant('incoming.ts', 'if (this.#letBy)', 'if (false)')],
  ['a change_cipher_spec behind ServerHello', ALL_LET_BY],
  ['a change_cipher_spec of 2', ANY_CHANGE],
  ['a change_cipher_spec of two bytes', ANY_CHANGE],
  ['the Finished of the client', NOT_FINISHED],
  ['a Finished that is cut', NOT_FINISHED],
  ['an empty Finished', NOT_FINISHED],
  ['a part of one behind Finished', NO_LAST_BOUNDARY],
  [
    'afterwards: a renegotiation',
    mutant(
      'receiver.ts',
      'if (!is13 && found.type === MessageType.helloRequest) throw',
      'if (!is13 && found.type === MessageType.helloRequest) continue\nif (false) throw',
    ),
  ],
  [
    'afterwards: a ticket',
    mutant(
      'receiver.ts',
      'if (is13 && found.type === MessageType.newSessionTicket)',
      'if (found.type === MessageType.newSessionTicket)',
    ),
  ],
  [
    'afterwards: data of 16 KB and a byte',
    mutant('framing.ts', 'if (length > (is13 ? MAX_CIPHERTEXT : MAX_PLAINTEXT + OVERHEAD_12))', 'if (false)'),
  ],
  [
    'afterwards: another version',
    mutant('framing.ts', "if (this.#version !== null) throw wrongRecord('has another version')", ''),
  ],
]
const TAKEN_OUT_OF_BOTH: Case[] = [
  ['the signature of another key', NOT_SIGNED],
  ['compression', mutant('server-hello.ts', 'if (compression !== 0)', 'if (false)')],
  ['an extension twice', mutant('extensions.ts', 'if (extensions.has(type))', 'if (false)')],
  ['another protocol', mutant('extensions.ts', 'if (!equal(chosen, new TextEncoder().encode(offered)))', 'if (false)')],
  ['more than belongs to a message', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  ['a ServerHello in a record of 1.0', mutant('framing.ts', 'if (this.#older)', 'if (false)')],
  [
    'afterwards: an end that is not told',
    mutant(
      'receiver.ts',
      'if (records.length === 0) throw truncated()',
      'if (records.length === 0) this.#ended = true',
    ),
  ],
]

test.each([...TAKEN_OUT, ...TAKEN_OUT_OF_BOTH, ...in12(TAKEN_OUT_12), ...in12(TAKEN_OUT_OF_BOTH)])(
  '%s is let through without its check (%o)',
  async (name, taken) => {
    const { says, after, ...behaviour } = misbehaviour(name)
    // What comes after it shows whether the connection went on.
    const goesOn: Pick<Plan, 'after'> = after
      ? {
          after: async (server) => {
            await after(server)
            await server.send(21, new Uint8Array([1, 0]))
          },
        }
      : {}
    expect((await attempt(connectTls, { ...behaviour, ...goesOn })).outcome).toMatch(says)
    expect((await attempt(await mutated(taken), { ...behaviour, ...goesOn })).outcome).toMatch(/^read \d+$/)
  },
)

/** Where something else refuses it too, later and for less of a reason: the check gives the right one. */
const NAMED: Case[] = [
  ['TLS 1.2 by somebody in between', NO_SENTINEL],
  ['TLS 1.1 by somebody in between', NO_SENTINEL],
  ['another suite after the retry', mutant('handshake.ts', 'second.suite !== suite', 'false')],
  ['a message behind ServerHello', mutant('incoming.ts', '    this.boundary()\n    this.#keys', '    this.#keys')],
  ['a message of 1 MB', mutant('fragments.ts', 'if (length > MAX_MESSAGE)', 'if (false)')],
  [
    'an encrypted record that is too long',
    mutant('framing.ts', 'if (length > (is13 ? MAX_CIPHERTEXT : MAX_PLAINTEXT + OVERHEAD_12))', 'if (false)'),
  ],
  ['a plain record that is too long', mutant('framing.ts', 'if (length > MAX_PLAINTEXT)', 'if (false)')],
  [
    'afterwards: a late change_cipher_spec',
    mutant('framing.ts', "phase === 'handshake' && type === changeCipherSpec", 'type === changeCipherSpec'),
  ],
]
const NAMED_12: Case[] = [
  ['no extended master secret', mutant('messages-12.ts', 'if (!master) {', 'if (false) {')],
  [
    'a suite of 1.3',
    mutant('messages-12.ts', 'SUITES_12.get(number)', 'SUITES_12.get(number) ?? SUITES_12.get(0xc02b)'),
  ],
  [
    'a group that was not offered',
    mutant('messages-12.ts', 'GROUPS.get(reader.number(2))', 'GROUPS.get(reader.number(2)) ?? GROUPS.get(0x1d)'),
  ],
  ['a curve of its own', mutant('messages-12.ts', 'type !== NAMED_CURVE || ', '')],
  [
    'a signature with SHA-1',
    mutant(
      'certificate-key.ts',
      'SCHEMES.get(number) ?? PKCS1_SCHEMES.get(number)',
      'SCHEMES.get(number) ?? PKCS1_SCHEMES.get(number) ?? SCHEMES.get(0x0403)',
    ),
  ],
  [
    'a signature of RSA in a suite of ECDSA',
    mutant('certificate-key.ts', "scheme.key.name.startsWith('RSA') !== (signs === 'RSA')", 'false'),
  ],
  [
    'a message behind ServerHelloDone',
    mutant('handshake-12.ts', '    incoming.boundary()\n    return wanted', '    return wanted'),
  ],
  ['a message behind Finished', NO_LAST_BOUNDARY],
  ['no change_cipher_spec', ANY_CHANGE],
  [
    'a Finished in the clear',
    mutant('framing.ts', 'if (length < (is13 ? MIN_CIPHERTEXT : OVERHEAD_12))', 'if (false)'),
  ],
  [
    'two change_cipher_spec',
    mutant('framing.ts', 'if (type !== alert && type !== handshake && type !== applicationData)', 'if (false)'),
  ],
  [
    'an alert for a certificate that is wanting',
    mutant('alerts.ts', 'if (error.said === Alert.handshakeFailure)', 'if (false)'),
  ],
]

test.each([...NAMED, ...in12(NAMED_12)])(
  '%s is not refused for that reason without its check (%o)',
  async (name, taken) => {
    const { says, ...behaviour } = misbehaviour(name)
    expect((await attempt(connectTls, behaviour)).outcome).toMatch(says)
    expect((await attempt(await mutated(taken), behaviour, 500)).outcome).not.toMatch(says)
  },
)

/**
 * Where nothing is refused, but something of what both sides hash, sign or count is left out: the honest server and the
 * client do not agree.
 */
const WRONG: Mutant[] = [
  mutant('certificate-key.ts', 'TLS 1.3, server', 'TLS 1.3, client'),
  mutant('certificate-key.ts', 'fill(0x20)', 'fill(0x21)'),
  mutant('key-schedule.ts', 'hmacKey(suite.hash, await finishedKey(suite, secret))', 'hmacKey(suite.hash, secret)'),
  mutant(
    'conversation.ts',
    '    this.transcript.add(found.raw)',
    '    if (found.type !== 11) this.transcript.add(found.raw)',
  ),
  mutant('handshake-13.ts', 'flight.forEach((part) => transcript.add(part))', ''),
  mutant('transcript.ts', 'MessageType.messageHash', 'MessageType.clientHello'),
  mutant('handshake.ts', 'if (retry) await transcript.retry(suite)', ''),
  mutant('protection-13.ts', 'this.#sequence++', 'this.#sequence'),
  mutant('protection-13.ts', 'this.#nonce(), additionalData: header }', 'this.#nonce() }'),
  mutant('key-schedule.ts', "'c hs traffic'", "'s hs traffic'"),
  mutant('key-schedule.ts', "'s ap traffic'", "'c ap traffic'"),
  mutant('key-schedule.ts', "'traffic upd'", "'traffic update'"),
  mutant('receiver.ts', 'if (this.#renewed && keys.next) this.#keys = await keys.next()', ''),
]
const WRONG_12: Mutant[] = [
  mutant(
    'handshake-12.ts',
    'concat(hello.random, random, exchange.signed)',
    'concat(random, hello.random, exchange.signed)',
  ),
  mutant('handshake-12.ts', 'flight.forEach((part) => transcript.add(part))', ''),
  mutant('handshake-12.ts', '    transcript.add(last)\n', ''),
  mutant(
    'conversation.ts',
    '    this.transcript.add(found.raw)',
    '    if (found.type !== 14) this.transcript.add(found.raw)',
  ),
  mutant('prf.ts', 'extended master secret', 'master secret'),
  mutant('prf.ts', 'key expansion', 'key extension'),
  mutant('prf.ts', 'concat(random.server, random.client)', 'concat(random.client, random.server)'),
  mutant('prf.ts', '${who} finished', 'finished'),
  mutant('protection-12.ts', 'this.#sequence++', 'this.#sequence'),
  mutant('protection-12.ts', 'this.#view.setUint8(8, type)', ''),
  mutant('protection-12.ts', 'this.#view.setUint16(11, length)', ''),
]

/** Three bytes and four: in between other keys, where there are any. */
const after: Plan['after'] = async (server) => {
  await server.send(23, new Uint8Array(3))
  if (server.sealing?.next) server.raw(await server.update(false))
  await server.send(23, new Uint8Array(4))
  await server.send(21, new Uint8Array([1, 0]))
}
const honest: Plan = {
  retries: [
    (fields) => ({
      ...fields,
      extensions: [...fields.extensions, [44, new Uint8Array([0, 1, 7])], [51, new Uint8Array([0, 0x18])]],
    }),
  ],
  group: 0x0018,
  flight: [FLIGHT[0] as Step, certificateRequest, ...FLIGHT.slice(1)],
  after,
}
const honest12: Plan = { version: 12, flight: [certificate12, keyExchange12, certificateRequest12, done12], after }

test('a server with everything: a retry with a cookie, a request for a certificate, a change of keys', async () => {
  const { outcome, server } = await attempt(connectTls, honest)
  expect(outcome).toBe('read 7')
  expect(server.hellos).toHaveLength(2)
  expect(server.clientHello.extensions.get(44)).toEqual(new Uint8Array([0, 1, 7]))
})

test('a server of TLS 1.2 that asks for a certificate', async () => {
  expect(await attempt(connectTls, honest12)).toMatchObject({ outcome: 'read 7', alert: 0 })
})

test.each([...WRONG.map((wrong) => [wrong, honest] as const), ...WRONG_12.map((wrong) => [wrong, honest12] as const)])(
  'not with %o',
  async (wrong, plan) => {
    expect((await attempt(await mutated(wrong), plan, 1_000)).outcome).not.toBe('read 7')
  },
)

test('not with a client that is not believed', async () => {
  const refused: typeof connectTls = (transport, options) =>
    connectTls(transport, { ...options, verify: () => Promise.reject(new Error('no such authority')) })
  expect(await attempt(refused, {})).toMatchObject({
    outcome: 'TLS: the certificate of localhost cannot be verified: no such authority',
    alert: 42,
  })
})
