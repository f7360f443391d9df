import { message } from '../../sources/postgres/tls/fragments.ts'
import { ContentType, Extension, MessageType } from '../../sources/postgres/tls/parameters.ts'
import { concat, u16, vector16, vector24, vector8, type Bytes } from '../../sources/postgres/tls/wire.ts'
import { credentials, type Credentials } from './credentials.ts'
import * as server from './server.ts'
import type { Behaviour, HelloFields, Step, TestServer } from './server.ts'

// What a server may do wrong, and what the client says of it. One list, longer than files are here, for it is read as
// one.
// The file is long because it is one list of misbehaviours.

export interface Misbehaviour extends Behaviour {
  says: RegExp
  /** P-256 otherwise. */
  credentials?: () => Promise<Credentials>
  /** When the connection is made; nothing else is sent then. */
  after?(server: TestServer): unknown
}

const { encryptedExtensions, certificate, certificateVerify, finishedMessage, FLIGHT } = server
const without = (...left: Step[]) => FLIGHT.filter((step) => !left.includes(step))
const instead = (of: Step, step: Step) => FLIGHT.map((found) => (found === of ? step : found))
const extra = (type: number, body: Bytes) => (fields: HelloFields) => ({
  ...fields,
  extensions: [...fields.extensions, [type, body] as [number, Bytes]],
})
const zeros = (length: number) => new Uint8Array(length)
const text = (of: string) => new Uint8Array(Buffer.from(of))
const share = (group: number, own: Bytes) => (fields: HelloFields) => ({
  ...fields,
  extensions: [
    fields.extensions[0] as [number, Bytes],
    [Extension.keyShare, concat(u16(group), vector16(own))] as [number, Bytes],
  ],
})
/** Without supported_versions, as a server before 1.3. */
const older =
  (version: number, end = '') =>
  (fields: HelloFields) => ({
    ...fields,
    version,
    random: concat(fields.random.subarray(0, 32 - end.length), text(end)),
    extensions: [] as [number, Bytes][],
  })
const ask = (group: number) => extra(Extension.keyShare, concat(u16(group)))
const P384 = 0x0018

const outOfPlace = /a message is out of place/
const notOffered = (what: string) => new RegExp(`chose a ${what} that was not offered`)
const badMac = /a record was changed in transit/
const notFinished = /the handshake was changed in transit/
const notAsked = /an extension was not asked for/
const acrossKeys = /a message spans a change of keys/
const tooLong = /a record is too long/
const brokeOff = /broke off without a close_notify/

/** Cuts a record of the wire in two reads, the second of which never comes. */
const cut = (at: number) => (record: Bytes, index: number) => (index < at ? [record] : [record.subarray(0, 20)])

const HELLO: Record<string, Misbehaviour> = {
  'TLS 1.2 and a suite of 1.3': { hello: older(0x0303), says: notOffered('cipher suite') },
  'TLS 1.2 after a retry': {
    retries: [ask(P384)],
    group: P384,
    hello: older(0x0303),
    says: /changed its mind about the version/,
  },
  'a suite of 1.2': { hello: (f) => ({ ...f, suite: 0xc02b }), says: notOffered('cipher suite') },
  'TLS 1.1': { hello: older(0x0302), says: /speaks only TLS 1.1, and Rockpool needs TLS 1.2 or 1.3/ },
  'TLS 1.0': { hello: older(0x0301), says: /speaks only TLS 1.0/ },
  'SSL 3.0': { hello: older(0x0300), says: /speaks only SSL 3.0/ },
  'TLS 1.2 by somebody in between': {
    hello: older(0x0303, 'DOWNGRD\x01'),
    says: /somebody in between makes it choose an older version/,
  },
  'TLS 1.1 by somebody in between': {
    hello: older(0x0302, 'DOWNGRD\x00'),
    says: /somebody in between makes it choose an older version/,
  },
  'a draft of 1.3': {
    hello: (f) => ({ ...f, extensions: [[43, concat([0x7f, 0x1c])], ...f.extensions.slice(1)] }),
    says: notOffered('version'),
  },
  'another session id': { hello: (f) => ({ ...f, sessionId: zeros(32) }), says: /answers another hello/ },
  'a suite that was not offered': { hello: (f) => ({ ...f, suite: 0x1303 }), says: notOffered('cipher suite') },
  compression: { hello: (f) => ({ ...f, compression: 1 }), says: notOffered('compression') },
  'a pre-shared key': { hello: extra(41, zeros(2)), says: notAsked },
  'an extension twice': { hello: extra(43, concat(u16(0x0304))), says: /an extension comes twice/ },
  'no key share': { hello: (f) => ({ ...f, extensions: f.extensions.slice(0, 1) }), says: /sent no key share/ },
  'a group without a share of ours': { hello: share(P384, zeros(97)), says: /chose a group that was not offered/ },
  'a key share of a wrong length': { hello: share(0x001d, zeros(31)), says: /not a point of its group/ },
  'a key share of small order': { hello: share(0x001d, zeros(32)), says: /not a point of its group/ },
  'a key share that is not on the curve': {
    hello: share(0x0017, concat([4], zeros(64))),
    says: /not a point of its group/,
  },
  'a compressed key share': { hello: share(0x0017, concat([2], zeros(32))), says: /not a point of its group/ },
  'two retries': { retries: [ask(P384), ask(P384)], group: P384, says: /asks for another hello twice/ },
  'a retry for a group that it has': {
    retries: [ask(0x0017)],
    group: 0x0017,
    says: /asks for a group of which it has a share, or that was not offered/,
  },
  'a retry for a group that was not offered': {
    retries: [ask(0x0019)],
    says: /asks for a group of which it has a share, or that was not offered/,
  },
  'a retry for nothing': { retries: [(f) => f], says: /but for no change in it/ },
  'a retry with an empty cookie': { retries: [extra(44, concat(u16(0)))], says: /cookie of the server is empty/ },
  'a retry with a cookie of 8 KB and a byte': {
    retries: [extra(44, vector16(zeros(8_193)))],
    says: /cookie of the server is too long/,
  },
  'a retry with another extension': { retries: [extra(16, zeros(0))], says: notAsked },
  'another suite after the retry': {
    retries: [ask(P384)],
    group: P384,
    hello: (f) => ({ ...f, suite: 0x1302 }),
    says: /changed its mind/,
  },
  'another group after the retry': { retries: [ask(P384)], group: 0x001d, says: /chose a group that was not offered/ },
  'a message behind ServerHello': {
    afterHello: message(MessageType.encryptedExtensions, vector16()),
    says: acrossKeys,
  },
  'a part of one behind ServerHello': { afterHello: concat([8]), says: acrossKeys },
}

const FLIGHTS: Record<string, Misbehaviour> = {
  'the signature of a client': {
    flight: instead(certificateVerify, (s) => server.signed(s, 'TLS 1.3, client CertificateVerify\0')),
    says: /does not have the key/,
  },
  'the signature of another key': {
    flight: instead(certificateVerify, async (s) =>
      server.signed(
        Object.create(s, { credentials: { value: await credentials(0x0403) } }) as TestServer,
        'TLS 1.3, server CertificateVerify\0',
      ),
    ),
    says: /does not have the key/,
  },
  'a signature of a kind that was not offered': {
    flight: instead(certificateVerify, () => message(15, u16(0x0401), vector16(zeros(256)))),
    says: /in a way that was not offered/,
  },
  'a signature of another kind than the key': {
    flight: instead(certificateVerify, () => message(15, u16(0x0804), vector16(zeros(256)))),
    says: /has no key for the signature/,
  },
  'a signature that is no DER': {
    flight: instead(certificateVerify, () => message(15, u16(0x0403), vector16([0x30, 2, 2, 0]))),
    says: /not DER/,
  },
  'a certificate that is no DER': {
    flight: instead(certificate, () => message(11, [0], vector24(vector24(zeros(100)), vector16()))),
    says: /not DER/,
  },
  'no certificates': { flight: instead(certificate, () => message(11, [0], vector24())), says: /sent no certificate/ },
  'eleven certificates': {
    flight: instead(certificate, () =>
      message(11, [0], vector24(...Array.from({ length: 11 }, () => concat(vector24([1]), vector16())))),
    ),
    says: /more than 10 certificates/,
  },
  'a certificate with an extension': {
    flight: instead(certificate, (s) =>
      message(11, [0], vector24(vector24(s.credentials.certificate), vector16(u16(5), vector16()))),
    ),
    says: notAsked,
  },
  'certificates for a request of ours': {
    flight: instead(certificate, (s) => message(11, [1, 7], vector24(vector24(s.credentials.certificate), vector16()))),
    says: /answer a request that was not made/,
  },
  'no EncryptedExtensions': { flight: without(encryptedExtensions), says: outOfPlace },
  'no Certificate and no CertificateVerify': { flight: without(certificate, certificateVerify), says: outOfPlace },
  'no CertificateVerify': { flight: without(certificateVerify), says: outOfPlace },
  'no Finished': { flight: without(finishedMessage), early: zeros(5), says: badMac },
  'CertificateVerify before Certificate': {
    flight: [encryptedExtensions, certificateVerify, certificate, finishedMessage],
    says: outOfPlace,
  },
  'Certificate twice': {
    flight: [encryptedExtensions, certificate, certificate, certificateVerify, finishedMessage],
    says: outOfPlace,
  },
  'Finished at once': { flight: [finishedMessage], says: outOfPlace },
  'the Finished of a client': {
    flight: instead(finishedMessage, (s) =>
      finishedMessage(
        Object.create(s, { secrets: { value: { ...s.secrets, server: s.secrets.client } } }) as TestServer,
      ),
    ),
    says: notFinished,
  },
  'a Finished that is cut': {
    flight: instead(finishedMessage, async (s) => message(20, (await finishedMessage(s)).subarray(4, -1))),
    says: notFinished,
  },
  'an empty Finished': { flight: instead(finishedMessage, () => message(20)), says: notFinished },
  'an extension that was not asked for': {
    flight: instead(encryptedExtensions, () => message(8, vector16(u16(42), vector16()))),
    says: notAsked,
  },
  'another protocol': {
    flight: instead(encryptedExtensions, () => message(8, vector16(u16(16), vector16(vector16(vector8(text('h2'))))))),
    says: notOffered('protocol'),
  },
  'more than belongs to a message': {
    flight: instead(encryptedExtensions, () => message(8, vector16(), [0])),
    says: /longer than its content/,
  },
  'a request for a certificate with a context': {
    flight: [
      encryptedExtensions,
      () => message(13, [1, 1], vector16(u16(13), vector16(vector16(u16(0x0403))))),
      ...FLIGHT.slice(1),
    ],
    says: /not one of the handshake/,
  },
  'a request for a certificate without signatures': {
    flight: [encryptedExtensions, () => message(13, [0], vector16()), ...FLIGHT.slice(1)],
    says: /names no signatures/,
  },
  'a message of 1 MB': {
    flight: instead(certificate, () => message(11, [0], vector24(vector24(zeros(1024 * 1024)), vector16()))),
    pack: (all) => pieces(concat(...all), 16_384),
    says: /a message is too long/,
  },
  'a message in 65 records': {
    flight: FLIGHT,
    pack: ([first, second, ...rest]) => [first as Bytes, ...pieces(second as Bytes, 1), concat(...rest)],
    says: /cut into too many records/,
  },
  'an empty part of a message': { pack: (all) => [zeros(0), concat(...all)], says: /a part of a message is empty/ },
  'a message behind Finished': { afterFlight: message(MessageType.newSessionTicket), says: acrossKeys },
  'a part of one behind Finished': { afterFlight: concat([4]), says: acrossKeys },
}

const pieces = (bytes: Bytes, length: number): Bytes[] =>
  Array.from({ length: Math.ceil(bytes.length / length) }, (_, i) => bytes.subarray(i * length, (i + 1) * length))

/** Where the records of the handshake are: ServerHello, change_cipher_spec, and the flight. */
const before = (at: number, ...records: Bytes[]): Behaviour => ({
  wire: (record, index) => (index === at ? [...records, record] : [record]),
})
const plain = (type: number, ...body: number[]) => concat([type, 3, 3], u16(body.length), body)
const CHANGE = plain(ContentType.changeCipherSpec, 1)

const RECORDS: Record<string, Misbehaviour> = {
  'a plain record that is too long': { ...before(0, concat([22, 3, 3], u16(16_385))), says: tooLong },
  'an encrypted record that is too long': { ...before(2, concat([23, 3, 3], u16(16_641))), says: tooLong },
  'an encrypted record that is too short': { ...before(2, plain(23, ...zeros(16))), says: /a record is too short/ },
  'more in a record than fits': {
    flight: instead(encryptedExtensions, () => message(8, vector16(zeros(16_384)))),
    pack: (all) => all,
    says: tooLong,
  },
  'a record of another type': { ...before(0, plain(24, 1)), says: /a record is of a wrong type/ },
  'a record of another version': {
    wire: (record, i) => [i === 2 ? concat([23, 3, 1], record.subarray(3)) : record],
    says: /a record has another version/,
  },
  'a ServerHello in a record of 1.0': {
    wire: (record, i) => [i === 0 ? concat([22, 3, 1], record.subarray(3)) : record],
    says: /a record has another version/,
  },
  'a plain message after the keys': { ...before(2, plain(22, 8, 0, 0, 2, 0, 0)), says: /a record is not encrypted/ },
  'data before the keys': { ...before(0, plain(23, 1)), says: /a record is of a wrong type/ },
  'a change_cipher_spec of 2': { ...before(0, plain(20, 2)), says: /a record is out of place/ },
  'a change_cipher_spec of two bytes': { ...before(0, plain(20, 1, 1)), says: /a record is out of place/ },
  'seventy change_cipher_spec': {
    ...before(0, ...Array.from({ length: 70 }, () => CHANGE)),
    says: /sends records without a message/,
  },
  'a change_cipher_spec in a message': {
    pack: (all) => pieces(concat(...all), 100),
    ...before(3, CHANGE),
    says: /a record is out of place/,
  },
  'an alert': { ...before(0, plain(21, 2, 40)), says: /accepts nothing that is offered.*handshake_failure/ },
  'an alert that is not known': { ...before(0, plain(21, 2, 99)), says: /the server ended the connection: alert 99/ },
  'an alert of three bytes': { ...before(0, plain(21, 2, 40, 0)), says: /an alert is malformed/ },
  close_notify: { ...before(0, plain(21, 1, 0)), says: /closed the connection during the handshake/ },
  'a flight that was changed': {
    wire: (record, i) => [i === 2 ? concat(record.subarray(0, -1), [(record.at(-1) ?? 0) ^ 1]) : record],
    says: badMac,
  },
  'no word': { wire: (_, i) => (i === 0 ? [] : []), after: () => {}, says: /^the deadline/ },
  'a ServerHello that is cut': { wire: cut(0), says: /^the deadline/ },
  'a flight that is cut': { wire: cut(2), says: /^the deadline/ },
}

const ticket = message(MessageType.newSessionTicket, zeros(20))
const handshakeRecord = (of: Bytes) => (s: TestServer) => s.send(ContentType.handshake, of)
/** And other keys from there. */
const changed = (of: Bytes) => async (s: TestServer) => {
  await s.send(ContentType.handshake, of)
  s.sealing = (await s.sealing?.next?.()) ?? null
}
const DATA = text('hello')

const AFTER: Record<string, Misbehaviour> = {
  'an end that is not told, for a certificate that is wanting': {
    flight: [encryptedExtensions, server.certificateRequest, ...FLIGHT.slice(1)],
    after: (s) => s.end.end(),
    says: /broke off without a close_notify.*the server asked for a client certificate/,
  },
  'an end that is not told': { after: (s) => s.end.end(), says: brokeOff },
  'a reset': { after: (s) => s.end.reset(new Error('ECONNRESET')), says: /broke off: ECONNRESET/ },
  'an end in a record': {
    after: async (s) => (s.raw((await s.sealed(23, DATA)).subarray(0, 20)), s.end.end()),
    says: brokeOff,
  },
  'a fatal alert': { after: (s) => s.send(21, concat([2, 80])), says: /internal_error/ },
  'a renegotiation': { after: handshakeRecord(message(0)), says: outOfPlace },
  'a request for a certificate': {
    after: handshakeRecord(message(13, [0], vector16(u16(13), vector16(vector16(u16(0x0403)))))),
    says: outOfPlace,
  },
  'a change of keys that is not one': { after: changed(message(24, [2])), says: /a KeyUpdate is malformed/ },
  'a change of keys of two bytes': { after: handshakeRecord(message(24, [0, 0])), says: /longer than its content/ },
  'a message behind a change of keys': { after: changed(concat(message(24, [0]), ticket)), says: acrossKeys },
  'a change of keys without other keys': {
    after: async (s) => (await handshakeRecord(message(24, [0]))(s), await s.send(23, DATA)),
    says: badMac,
  },
  'other keys without a change': { after: async (s) => (await s.update(false), await s.send(23, DATA)), says: badMac },
  'data in a message': {
    after: async (s) => (await handshakeRecord(ticket.subarray(0, 9))(s), await s.send(23, DATA)),
    says: /a message is interrupted/,
  },
  'a plain record': { after: (s) => s.raw(plain(22, 0, 0, 0, 0)), says: /a record is not encrypted/ },
  'a late change_cipher_spec': { after: (s) => s.raw(CHANGE), says: /a record is not encrypted/ },
  'a record that is too long': { after: (s) => s.raw(concat([23, 3, 3], u16(16_641))), says: tooLong },
  'data of 16 KB and a byte': { after: (s) => s.send(23, zeros(16_385)), says: tooLong },
  'padding and nothing else': { after: (s) => s.send(0, zeros(10)), says: /nothing but padding/ },
  'a record of an unknown type': { after: (s) => s.send(24, zeros(10)), says: /a record is out of place/ },
  'a record twice': {
    after: async (s) => {
      const record = await s.sealed(23, DATA)
      s.raw(record)
      s.raw(record)
    },
    says: badMac,
  },
  'a record that is left out': { after: async (s) => (await s.sealed(23, DATA), await s.send(23, DATA)), says: badMac },
  'a record that was changed': {
    after: async (s) => {
      const record = await s.sealed(23, DATA)
      record[7] = (record[7] ?? 0) ^ 4
      s.raw(record)
    },
    says: badMac,
  },
  'tickets without end': {
    after: async (s) => {
      for (let i = 0; i < 65; i++) await handshakeRecord(ticket)(s)
    },
    says: /sends records without data/,
  },
  'empty records without end': {
    after: async (s) => {
      for (let i = 0; i < 65; i++) await s.send(23, zeros(0))
    },
    says: /sends records without data/,
  },
  'changes of keys without end, with data': {
    after: async (s) => {
      const records: Bytes[] = []
      for (let i = 0; i < 20; i++) records.push(await s.update(false), await s.sealed(23, DATA))
      s.raw(concat(...records))
    },
    says: /changes its keys all the time/,
  },
}

export const MISBEHAVIOURS: ReadonlyMap<string, Misbehaviour> = new Map(
  Object.entries({ ...HELLO, ...FLIGHTS, ...RECORDS, ...prefixed(AFTER) }),
)

function prefixed(of: Record<string, Misbehaviour>) {
  return Object.fromEntries(Object.entries(of).map(([name, found]) => [`afterwards: ${name}`, found]))
}
