import { expect, test } from 'vitest'
import { attempt } from '../../../test/tls/attempt.ts'
import { MISBEHAVIOURS, type Misbehaviour } from '../../../test/tls/misbehaviours.ts'
import { mutated, type Mutant } from '../../../test/tls/mutants.ts'
import { certificateRequest, FLIGHT, type Step } from '../../../test/tls/server.ts'
import { connectTls } from './connection.ts'

// The client with a check taken out lets through what the client refuses: so each check is what refuses it, and the
// server misbehaves in nothing else.

const mutant = (file: string, from: string, to: string): Mutant => ({ file, from, to })

const TAKEN_OUT: [string, Mutant][] = [
  ['the signature of another key', mutant('certificate-key.ts', 'if (!good)', 'if (false)')],
  ['the signature of a client', mutant('certificate-key.ts', 'if (!good)', 'if (false)')],
  ['the Finished of a client', mutant('handshake-13.ts', 'if (!(await isFinished(suite, secrets.server, said, body)))', 'if (false)')],
  ['an empty Finished', mutant('handshake-13.ts', 'if (!(await isFinished(suite, secrets.server, said, body)))', 'if (false)')],
  ['a message behind Finished', mutant('handshake-13.ts', '  incoming.boundary()\n  const { client', '  const { client')],
  ['a part of one behind Finished', mutant('handshake-13.ts', '  incoming.boundary()\n  const { client', '  const { client')],
  ['another session id', mutant('server-hello.ts', '!equal(echo, sessionId)', 'false')],
  ['compression', mutant('server-hello.ts', 'if (compression !== 0)', 'if (false)')],
  ['a draft of 1.3', mutant('server-hello.ts', 'if (!equal(chosen, [VERSION_13 >>> 8, VERSION_13 & 0xff]))', 'if (false)')],
  ['a pre-shared key', mutant('extensions.ts', '!asked.has(type)', 'false')],
  ['an extension twice', mutant('extensions.ts', 'if (extensions.has(type))', 'if (false)')],
  ['an extension that was not asked for', mutant('extensions.ts', '!asked.has(type)', 'false')],
  ['a certificate with an extension', mutant('messages.ts', 'onlyOf(readExtensions(list), NONE)', 'readExtensions(list)')],
  ['another protocol', mutant('extensions.ts', 'if (!equal(chosen, new TextEncoder().encode(offered)))', 'if (false)')],
  ['more than belongs to a message', mutant('wire.ts', 'if (!this.done)', 'if (false)')],
  ['a request for a certificate without signatures', mutant('messages.ts', '!extensions.has(Extension.signatureAlgorithms)', 'false')],
  ['a retry for a group that it has', mutant('handshake.ts', ' || first.shares.has(group)', '')],
  ['a retry for nothing', mutant('server-hello.ts', 'if (!group && !cookie)', 'if (false)')],
  ['a retry with an empty cookie', mutant('server-hello.ts', 'asked.cookie?.length === 0', 'false')],
  [
    'certificates for a request of ours',
    mutant(
      'messages.ts',
      "if (reader.vector(1).length > 0) throw violation(Alert.illegalParameter, 'certificates answer",
      "if (reader.vector(1).length > 9) throw violation(Alert.illegalParameter, 'certificates answer",
    ),
  ],
  ['a message in 65 records', mutant('fragments.ts', 'MAX_MESSAGE_RECORDS = 64', 'MAX_MESSAGE_RECORDS = 10_000')],
  ['an empty part of a message', mutant('fragments.ts', 'if (data.length === 0)', 'if (false)')],
  ['a ServerHello in a record of 1.0', mutant('framing.ts', 'if (this.#older)', 'if (false)')],
  ['a change_cipher_spec of 2', mutant('incoming.ts', ' && data[0] === 1', '')],
  ['a change_cipher_spec in a message', mutant('incoming.ts', ' || !this.#fragments.empty) throw outOfPlace()', ') throw outOfPlace()')],
  ['seventy change_cipher_spec', mutant('incoming.ts', 'records === MAX_MESSAGE_RECORDS', 'false')],
  ['afterwards: data of 16 KB and a byte', mutant('protection-13.ts', 'inner.length > MAX_PLAINTEXT + 1', 'false')],
  [
    'afterwards: an end that is not told',
    mutant('receiver.ts', 'if (records.length === 0) throw truncated()', 'if (records.length === 0) this.#ended = true'),
  ],
  [
    'afterwards: a request for a certificate',
    mutant('receiver.ts', 'if (!keys.next || found.type !== MessageType.keyUpdate)', 'if (found.type === 13) continue\nif (!keys.next)'),
  ],
  [
    'afterwards: a message behind a change of keys',
    mutant(
      'receiver.ts',
      "if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message spans",
      "if (false) throw violation(Alert.unexpectedMessage, 'a message spans",
    ),
  ],
  ['afterwards: data in a message', mutant('receiver.ts', 'type !== ContentType.handshake && !this.#fragments.empty', 'false')],
  ['afterwards: tickets without end', mutant('receiver.ts', 'this.#idle > MAX_IDLE_RECORDS', 'false')],
  ['afterwards: changes of keys without end, with data', mutant('receiver.ts', 'updates > MAX_KEY_UPDATES', 'false')],
  ['afterwards: a change of keys that is not one', mutant('messages.ts', 'if (wanted > 1)', 'if (false)')],
]

test.each(TAKEN_OUT)('%s is let through without its check (%o)', async (name, taken) => {
  const { says, ...behaviour } = MISBEHAVIOURS.get(name) as Misbehaviour
  // What comes after it shows whether the connection went on.
  const after = behaviour.after
  const goesOn = after && {
    after: (async (server) => (await after(server), await server.send(21, new Uint8Array([1, 0])))) as NonNullable<Misbehaviour['after']>,
  }
  expect((await attempt(connectTls, { ...behaviour, ...goesOn })).outcome).toMatch(says)
  expect((await attempt(await mutated(taken), { ...behaviour, ...goesOn })).outcome).toMatch(/^read \d+$/)
})

/** Where something else refuses it too, later and for less of a reason: the check gives the right one. */
const NAMED: [string, Mutant][] = [
  ['TLS 1.2 by somebody in between', mutant('server-hello.ts', 'if (equal(random.subarray(24, 31), DOWNGRADE))', 'if (false)')],
  ['TLS 1.1 by somebody in between', mutant('server-hello.ts', 'if (equal(random.subarray(24, 31), DOWNGRADE))', 'if (false)')],
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

test.each(NAMED)('%s is not refused for that reason without its check (%o)', async (name, taken) => {
  const { says, ...behaviour } = MISBEHAVIOURS.get(name) as Misbehaviour
  expect((await attempt(connectTls, behaviour)).outcome).toMatch(says)
  expect((await attempt(await mutated(taken), behaviour, 500)).outcome).not.toMatch(says)
})

/**
 * Where nothing is refused, but something of what both sides hash, sign or count is left out: the honest server and the
 * client do not agree.
 */
const WRONG: Mutant[] = [
  mutant('certificate-key.ts', 'TLS 1.3, server', 'TLS 1.3, client'),
  mutant('certificate-key.ts', 'fill(0x20)', 'fill(0x21)'),
  mutant('key-schedule.ts', 'hmacKey(suite.hash, await finishedKey(suite, secret))', 'hmacKey(suite.hash, secret)'),
  mutant('conversation.ts', '    this.transcript.add(found.raw)', '    if (found.type !== 11) this.transcript.add(found.raw)'),
  mutant('handshake-13.ts', 'flight.forEach((part) => transcript.add(part))', ''),
  mutant('transcript.ts', 'MessageType.messageHash', 'MessageType.clientHello'),
  mutant('handshake.ts', 'if (retry) await transcript.retry(suite)', ''),
  mutant('protection-13.ts', 'this.#sequence++', 'this.#sequence'),
  mutant('protection-13.ts', 'iv, additionalData: header }, this.#key, body)', 'iv }, this.#key, body)'),
  mutant('key-schedule.ts', "'c hs traffic'", "'s hs traffic'"),
  mutant('key-schedule.ts', "'s ap traffic'", "'c ap traffic'"),
  mutant('key-schedule.ts', "'traffic upd'", "'traffic update'"),
  mutant('receiver.ts', 'this.#keys = await keys.next()', ''),
]

const honest: Misbehaviour = {
  says: /^read 7$/,
  retries: [
    (fields) => ({ ...fields, extensions: [...fields.extensions, [44, new Uint8Array([0, 1, 7])], [51, new Uint8Array([0, 0x18])]] }),
  ],
  group: 0x0018,
  flight: [FLIGHT[0] as Step, certificateRequest, ...FLIGHT.slice(1)],
  after: async (server) => {
    await server.send(23, new Uint8Array(3))
    server.raw(await server.update(false))
    await server.send(23, new Uint8Array(4))
    await server.send(21, new Uint8Array([1, 0]))
  },
}

test('a server with everything: a retry with a cookie, a request for a certificate, a change of keys', async () => {
  const { outcome, server } = await attempt(connectTls, honest)
  expect(outcome).toMatch(honest.says)
  expect(server.hellos).toHaveLength(2)
  expect(server.clientHello.extensions.get(44)).toEqual(new Uint8Array([0, 1, 7]))
})

test.each(WRONG)('not with %o', async (wrong) => {
  expect((await attempt(await mutated(wrong), honest, 1_000)).outcome).not.toMatch(honest.says)
})

test('not with a client that is not believed', async () => {
  const refused: typeof connectTls = (transport, options) =>
    connectTls(transport, { ...options, verify: () => Promise.reject(new Error('no such authority')) })
  expect(await attempt(refused, {})).toMatchObject({
    outcome: 'TLS: the certificate of localhost cannot be verified: no such authority',
    alert: 42,
  })
})
