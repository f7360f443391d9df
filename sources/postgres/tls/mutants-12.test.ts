import { expect, test } from 'vitest'
import { attempt, type Plan } from '../../../test/tls/attempt.ts'
import { MISBEHAVIOURS_12 } from '../../../test/tls/misbehaviours-12.ts'
import { mutated, type Mutant } from '../../../test/tls/mutants.ts'
import { certificate12, certificateRequest12, done12, keyExchange12 } from '../../../test/tls/server-12.ts'
import { connectTls } from './connection.ts'

// As mutants.test.ts, for TLS 1.2.

const mutant = (file: string, from: string, to: string): Mutant => ({ file, from, to })
const misbehaviour = (name: string): Plan & { says: RegExp } => {
  const found = MISBEHAVIOURS_12.get(`TLS 1.2: ${name}`)
  if (!found) throw new Error(name)
  return found
}

const NOT_SIGNED = mutant('certificate-key.ts', 'if (!good)', 'if (false)')
const NOT_FINISHED = mutant('handshake-12.ts', 'if (!equal(body, expected))', 'if (false)')
const ANY_EXTENSION = mutant('extensions.ts', '!asked.has(type)', 'false')
const NO_SENTINEL = mutant('server-hello.ts', 'if (equal(random.subarray(24, 31), DOWNGRADE))', 'if (false)')
const NO_LAST_BOUNDARY = mutant('handshake-12.ts', '    incoming.boundary()\n    return keys', '    return keys')
const ANY_CHANGE = mutant('incoming.ts', 'if (!isChange(await this.#content())) throw outOfPlace()', 'await this.#content()')
const ALL_LET_BY = mutant('handshake-12.ts', '  incoming.noneMeaningless()\n', '')

/** Without the check the client goes on. */
const TAKEN_OUT: [string, Mutant][] = [
  ['that it speaks 1.3', NO_SENTINEL],
  ['that it speaks 1.2 or 1.3', NO_SENTINEL],
  ['an extended master secret that is not one', mutant('messages-12.ts', 'if (master.length > 0)', 'if (false)')],
  ['no secure renegotiation', mutant('messages-12.ts', 'if (!info) {', 'if (!info) return\nif (false) {')],
  ['a renegotiation of another connection', mutant('messages-12.ts', 'if (!equal(info, [0]))', 'if (false)')],
  ['a session that is resumed', mutant('messages-12.ts', 'if (equal(sessionId, hello.sessionId))', 'if (false)')],
  ['compression', mutant('server-hello.ts', 'if (compression !== 0)', 'if (false)')],
  ['a ticket that was not asked for', ANY_EXTENSION],
  ['an extension twice', mutant('extensions.ts', 'if (extensions.has(type))', 'if (false)')],
  ['compressed points alone', mutant('messages-12.ts', 'if (formats && ', 'if (false && formats && ')],
  ['another protocol', mutant('extensions.ts', 'if (!equal(chosen, new TextEncoder().encode(offered)))', 'if (false)')],
  ['two protocols', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  ['the signature of another key', NOT_SIGNED],
  ['a signature without the randoms', NOT_SIGNED],
  ['a signature for another connection', NOT_SIGNED],
  ['a signature with another random of its own', NOT_SIGNED],
  [
    'a signature of ECDSA in a suite of RSA',
    mutant('certificate-key.ts', "scheme.key.name.startsWith('RSA') !== (signs === 'RSA')", 'false'),
  ],
  ['a ServerHelloDone that says something', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  ['more than belongs to a message', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  [
    'a request for a certificate that names no kinds',
    mutant('messages-12.ts', 'if (reader.vector(1).length === 0)', 'if (reader.vector(1).length === 256)'),
  ],
  ['a change_cipher_spec before ServerHello', mutant('incoming.ts', 'if (this.#letBy)', 'if (false)')],
  ['a change_cipher_spec behind ServerHello', ALL_LET_BY],
  ['a change_cipher_spec of 2', ANY_CHANGE],
  ['a change_cipher_spec of two bytes', ANY_CHANGE],
  ['a ServerHello in a record of 1.0', mutant('framing.ts', 'if (this.#older)', 'if (false)')],
  ['the Finished of the client', NOT_FINISHED],
  ['a Finished that is cut', NOT_FINISHED],
  ['an empty Finished', NOT_FINISHED],
  ['a part of one behind Finished', NO_LAST_BOUNDARY],
  [
    'afterwards: a renegotiation',
    mutant(
      'receiver.ts',
      'if (!keys.next && found.type === MessageType.helloRequest) throw',
      'if (!keys.next && found.type === MessageType.helloRequest) continue\nif (false) throw',
    ),
  ],
  [
    'afterwards: a ticket',
    mutant(
      'receiver.ts',
      'if (keys.next && found.type === MessageType.newSessionTicket)',
      'if (found.type === MessageType.newSessionTicket)',
    ),
  ],
  [
    'afterwards: an end that is not told',
    mutant('receiver.ts', 'if (records.length === 0) throw truncated()', 'if (records.length === 0) this.#ended = true'),
  ],
  [
    'afterwards: data of 16 KB and a byte',
    mutant('framing.ts', 'if (length > (is13 ? MAX_CIPHERTEXT : MAX_PLAINTEXT + OVERHEAD_12))', 'if (false)'),
  ],
  ['afterwards: another version', mutant('framing.ts', "if (this.#version !== null) throw wrongRecord('has another version')", '')],
]

test.each(TAKEN_OUT)('%s is let through without its check (%o)', async (name, taken) => {
  const { says, ...behaviour } = misbehaviour(name)
  // What comes after it shows whether the connection went on.
  const after: Plan['after'] = async (server) => {
    await behaviour.after?.(server)
    if (name.endsWith('that is not told')) server.end.end()
    else await server.send(21, new Uint8Array([1, 0]))
  }
  expect((await attempt(connectTls, { ...behaviour, after })).outcome).toMatch(says)
  expect((await attempt(await mutated(taken), { ...behaviour, after }, 2_000)).outcome).toMatch(/^read \d+$/)
})

/** Where something else refuses it too, later and for less of a reason: the check gives the right one. */
const NAMED: [string, Mutant][] = [
  ['no extended master secret', mutant('messages-12.ts', 'if (!master) {', 'if (false) {')],
  ['a suite of 1.3', mutant('messages-12.ts', 'SUITES_12.get(number)', 'SUITES_12.get(number) ?? SUITES_12.get(0xc02b)')],
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
  ['a message behind ServerHelloDone', mutant('handshake-12.ts', '    incoming.boundary()\n    return wanted', '    return wanted')],
  ['a message behind Finished', NO_LAST_BOUNDARY],
  ['no change_cipher_spec', ANY_CHANGE],
  ['a Finished in the clear', mutant('framing.ts', 'if (length < (is13 ? MIN_CIPHERTEXT : OVERHEAD_12))', 'if (false)')],
  ['two change_cipher_spec', mutant('framing.ts', 'if (type !== alert && type !== handshake && type !== applicationData)', 'if (false)')],
  ['an alert for a certificate that is wanting', mutant('alerts.ts', 'if (error.said === Alert.handshakeFailure)', 'if (false)')],
]

test.each(NAMED)('%s is not refused for that reason without its check (%o)', async (name, taken) => {
  const { says, ...behaviour } = misbehaviour(name)
  expect((await attempt(connectTls, behaviour)).outcome).toMatch(says)
  expect((await attempt(await mutated(taken), behaviour, 500)).outcome).not.toMatch(says)
})

/** Something of what both sides hash, sign or count is left out: the honest server and the client do not agree. */
const WRONG: Mutant[] = [
  mutant('handshake-12.ts', 'concat(hello.random, random, exchange.signed)', 'concat(random, hello.random, exchange.signed)'),
  mutant('handshake-12.ts', 'flight.forEach((part) => transcript.add(part))', ''),
  mutant('handshake-12.ts', '    transcript.add(last)\n', ''),
  mutant('conversation.ts', '    this.transcript.add(found.raw)', '    if (found.type !== 14) this.transcript.add(found.raw)'),
  mutant('prf.ts', 'extended master secret', 'master secret'),
  mutant('prf.ts', 'key expansion', 'key extension'),
  mutant('prf.ts', 'concat(random.server, random.client)', 'concat(random.client, random.server)'),
  mutant('prf.ts', '${who} finished', 'finished'),
  mutant('protection-12.ts', 'this.#sequence++', 'this.#sequence'),
  mutant(
    'protection-12.ts',
    'concat(this.#number(), heading(type, body.length - OVERHEAD_12))',
    'heading(type, body.length - OVERHEAD_12)',
  ),
  mutant('protection-12.ts', 'concat(number, heading(type, data.length))', 'concat(number)'),
]

const honest: Plan = {
  version: 12,
  flight: [certificate12, keyExchange12, certificateRequest12, done12],
  after: async (server) => {
    await server.send(23, new Uint8Array(3))
    await server.send(23, new Uint8Array(4))
    await server.send(21, new Uint8Array([1, 0]))
  },
}

test('a server that asks for a certificate', async () => {
  expect(await attempt(connectTls, honest)).toMatchObject({ outcome: 'read 7', alert: 0 })
})

test.each(WRONG)('not with %o', async (wrong) => {
  expect((await attempt(await mutated(wrong), honest, 1_000)).outcome).not.toBe('read 7')
})
