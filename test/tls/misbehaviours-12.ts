import { message } from '../../sources/postgres/tls/fragments.ts'
import { ContentType, Extension, MessageType } from '../../sources/postgres/tls/parameters.ts'
import { concat, u16, vector16, vector24, vector8, type Bytes } from '../../sources/postgres/tls/wire.ts'
import { credentials, type Credentials } from './credentials.ts'
import type { HelloFields } from './server.ts'
import * as server from './server-12.ts'
import type { Behaviour12, Step12, TestServer12 } from './server-12.ts'

// What a server of TLS 1.2 may do wrong, and what the client says of it.
// The file is long because it is one list of misbehaviours.

export interface Misbehaviour12 extends Omit<Behaviour12, 'version'> {
  says: RegExp
  /** The server has not the keys to read what the client says of it. */
  unheard?: true
  /** P-256 otherwise. */
  credentials?: () => Promise<Credentials>
  /** When the connection is made; nothing else is sent then. */
  after?(server: TestServer12): unknown
}

const {
  certificate12: certificate,
  keyExchange12: keyExchange,
  done12: done,
  finishedMessage12: finished,
  FLIGHT_12: FLIGHT,
} = server
const instead = (of: Step12, step: Step12) => FLIGHT.map((found) => (found === of ? step : found))
const zeros = (length: number) => new Uint8Array(length)
const text = (of: string) => new Uint8Array(Buffer.from(of))
type Change = (fields: HelloFields) => HelloFields
/** An extension is another one, or (null) is not there. */
const extension =
  (type: number, body: Bytes | null): Change =>
  (fields) => ({
    ...fields,
    extensions: [
      ...fields.extensions.filter(([found]) => found !== type),
      ...(body ? [[type, body] as [number, Bytes]] : []),
    ],
  })
const random = (end: string, s: TestServer12): Change => {
  s.random.set(text(end), 32 - end.length)
  return (fields) => ({ ...fields, random: s.random })
}
const parameters = (of: Bytes): Behaviour12['flight'] =>
  instead(keyExchange, (s) => server.signed12(s, concat(s.clientHello.random, s.random, of), of))

const outOfPlace = /a message is out of place/
const recordOutOfPlace = /a record is out of place/
const notOffered = (what: string) => new RegExp(`chose a ${what} that was not offered`)
const badMac = /a record was changed in transit/
const notFinished = /the handshake was changed in transit/
const notAsked = /an extension was not asked for/
const acrossKeys = /a message spans a change of keys/
const tooLong = /a record is too long/
const noKey = /does not have the key/
const inBetween = /somebody in between makes it choose an older version/
const inThisWay = /in a way that was not offered/

const plain = (type: number, ...body: number[]) => concat([type, 3, 3], u16(body.length), body)
const CHANGE = plain(ContentType.changeCipherSpec, 1)
const ticket = message(MessageType.newSessionTicket, zeros(20))

const HELLO: Record<string, Misbehaviour12> = {
  'that it speaks 1.3': { hello: (f, s) => random('DOWNGRD\x01', s)(f), says: inBetween },
  'that it speaks 1.2 or 1.3': { hello: (f, s) => random('DOWNGRD\x00', s)(f), says: inBetween },
  'its version in an extension': {
    hello: extension(Extension.supportedVersions, concat(u16(0x0303))),
    says: notOffered('version'),
  },
  'no extended master secret': {
    hello: extension(Extension.extendedMasterSecret, null),
    says: /TLS 1.2 without the extended master secret \(RFC 7627\)/,
  },
  'an extended master secret that is not one': {
    hello: extension(Extension.extendedMasterSecret, zeros(1)),
    says: /an extension is malformed/,
  },
  'no secure renegotiation': {
    hello: extension(Extension.renegotiationInfo, null),
    says: /TLS 1.2 without secure renegotiation \(RFC 5746\)/,
  },
  'a renegotiation of another connection': {
    hello: extension(Extension.renegotiationInfo, vector8(zeros(24))),
    says: /renegotiates a connection that did not exist/,
  },
  'a session that is resumed': {
    hello: (f, s) => ({ ...f, sessionId: s.clientHello.sessionId }),
    says: /resumes a session that did not exist/,
  },
  'a suite of 1.3': { hello: (f) => ({ ...f, suite: 0x1301 }), says: notOffered('cipher suite') },
  'a suite with CBC': { hello: (f) => ({ ...f, suite: 0xc027 }), says: notOffered('cipher suite') },
  'a suite without a key exchange of its own': {
    hello: (f) => ({ ...f, suite: 0x009c }),
    says: notOffered('cipher suite'),
  },
  compression: { hello: (f) => ({ ...f, compression: 1 }), says: notOffered('compression') },
  'a ticket that was not asked for': { hello: extension(35, zeros(0)), says: notAsked },
  'an extension twice': {
    hello: (f) => ({ ...f, extensions: [...f.extensions, [Extension.extendedMasterSecret, zeros(0)]] }),
    says: /an extension comes twice/,
  },
  'compressed points alone': {
    hello: extension(Extension.pointFormats, concat([1, 1])),
    says: notOffered('form of points'),
  },
  'another protocol': { hello: extension(Extension.alpn, vector16(vector8(text('h2')))), says: notOffered('protocol') },
  'two protocols': {
    hello: extension(Extension.alpn, vector16(vector8(text('postgresql')), vector8(text('h2')))),
    says: /longer than its content/,
  },
  'a ServerHello in a record of 1.0': {
    wire: (record, i) => [i === 0 ? concat([22, 3, 1], record.subarray(3)) : record],
    says: /a record has another version/,
  },
}

const FLIGHTS: Record<string, Misbehaviour12> = {
  'the signature of another key': {
    flight: instead(keyExchange, async (s) =>
      keyExchange(Object.create(s, { credentials: { value: await credentials(0x0403) } }) as TestServer12),
    ),
    says: noKey,
  },
  'a signature without the randoms': {
    flight: instead(keyExchange, (s) => server.signed12(s, server.parameters12(s))),
    says: noKey,
  },
  'a signature for another connection': {
    flight: instead(keyExchange, (s) => server.signed12(s, concat(zeros(32), s.random, server.parameters12(s)))),
    says: noKey,
  },
  'a signature with another random of its own': {
    flight: instead(keyExchange, (s) =>
      server.signed12(s, concat(s.clientHello.random, zeros(32), server.parameters12(s))),
    ),
    says: noKey,
  },
  'a share that was not signed': {
    flight: instead(keyExchange, (s) =>
      server.signed12(s, concat(s.clientHello.random, s.random, [3, 0, 0x1d, 32], zeros(32))),
    ),
    says: noKey,
  },
  'a signature with SHA-1': {
    flight: instead(keyExchange, (s) => message(12, server.parameters12(s), u16(0x0203), vector16(zeros(70)))),
    says: inThisWay,
  },
  'a signature of RSA in a suite of ECDSA': {
    flight: instead(keyExchange, (s) => message(12, server.parameters12(s), u16(0x0401), vector16(zeros(256)))),
    says: inThisWay,
  },
  'a signature of ECDSA in a suite of RSA': { suite: 0xc02f, says: inThisWay },
  'a signature of another kind than the key': {
    suite: 0xc02f,
    flight: instead(keyExchange, (s) => message(12, server.parameters12(s), u16(0x0804), vector16(zeros(256)))),
    says: /has no key for the signature/,
  },
  'a signature of ECDSA with a key of Ed25519': {
    credentials: async () => ({ ...(await credentials(0x0807)), scheme: 0x0403 }),
    says: /not DER|has no key for the signature/,
  },
  'a signature that is no DER': {
    flight: instead(keyExchange, (s) => message(12, server.parameters12(s), u16(0x0403), vector16([0x30, 2, 2, 0]))),
    says: /not DER/,
  },
  'a curve of its own': { flight: parameters(concat([1, 0, 0x1d, 32], zeros(32))), says: notOffered('group') },
  'a group that was not offered': {
    flight: parameters(concat([3, 0, 0x19], vector8(zeros(133)))),
    says: notOffered('group'),
  },
  'a key share of a wrong length': {
    flight: parameters(concat([3, 0, 0x1d], vector8(zeros(31)))),
    says: /not a point of its group/,
  },
  'a key share of small order': {
    flight: parameters(concat([3, 0, 0x1d], vector8(zeros(32)))),
    says: /not a point of its group/,
  },
  'a key share that is not on the curve': {
    flight: parameters(concat([3, 0, 0x17], vector8([4], zeros(64)))),
    says: /not a point of its group/,
  },
  'a compressed key share': {
    flight: parameters(concat([3, 0, 0x17], vector8([2], zeros(32)))),
    says: /not a point of its group/,
  },
  'a certificate that is no DER': {
    flight: instead(certificate, () => message(11, vector24(vector24(zeros(100))))),
    says: /not DER/,
  },
  'no certificates': { flight: instead(certificate, () => message(11, vector24())), says: /sent no certificate/ },
  'eleven certificates': {
    flight: instead(certificate, () => message(11, vector24(...Array.from({ length: 11 }, () => vector24([1]))))),
    says: /more than 10 certificates/,
  },
  'certificates as in 1.3': {
    flight: instead(certificate, (s) => message(11, [0], vector24(vector24(s.credentials.certificate), vector16()))),
    says: /ends too early|longer than its content/,
  },
  'no Certificate': { flight: [keyExchange, done], says: outOfPlace },
  'no ServerKeyExchange': { flight: [certificate, done], says: outOfPlace },
  'ServerKeyExchange before Certificate': { flight: [keyExchange, certificate, done], says: outOfPlace },
  'Certificate twice': { flight: [certificate, certificate, keyExchange, done], says: outOfPlace },
  'ServerKeyExchange twice': { flight: [certificate, keyExchange, keyExchange, done], says: outOfPlace },
  'a status that was not asked for': {
    flight: [certificate, () => message(22, [1, 0, 0, 0]), keyExchange, done],
    says: outOfPlace,
  },
  'Finished in place of ServerHelloDone': {
    flight: [certificate, keyExchange, () => message(20, zeros(12))],
    says: outOfPlace,
  },
  'a ServerHelloDone that says something': {
    flight: instead(done, () => message(14, [0])),
    says: /longer than its content/,
  },
  'more than belongs to a message': {
    flight: instead(keyExchange, async (s) => message(12, (await keyExchange(s)).subarray(4), [0])),
    says: /longer than its content/,
  },
  'a message behind ServerHelloDone': { flight: [...FLIGHT, () => ticket], says: acrossKeys },
  'a part of one behind ServerHelloDone': { pack: (all) => [concat(...all, [4])], says: acrossKeys },
  'a request for a certificate behind ServerHelloDone': {
    flight: [...FLIGHT, server.certificateRequest12],
    says: acrossKeys,
  },
  'a request for a certificate that names no kinds': {
    flight: [certificate, keyExchange, () => message(13, vector8(), vector16(u16(0x0403)), vector16()), done],
    says: /names no kinds/,
  },
  'a message in 65 records': {
    pack: (all) => [concat(...all.slice(0, 1)), ...pieces(all[1] as Bytes, 1), concat(...all.slice(2))],
    says: /cut into too many records/,
  },
  'an empty part of a message': { pack: (all) => [zeros(0), concat(...all)], says: /a part of a message is empty/ },
  'an alert for a certificate that is wanting': {
    flight: [certificate, keyExchange, server.certificateRequest12, done],
    change: [plain(21, 2, 40)],
    says: /demands a client certificate.*\(handshake_failure\)/,
  },
  'an end for a certificate that is wanting': {
    flight: [certificate, keyExchange, server.certificateRequest12, done],
    finished: (s) => (s.end.end(), zeros(1)),
    change: [],
    says: /broke off without a close_notify.*the server asked for a client certificate/,
  },
  'an alert': { change: [plain(21, 2, 80)], says: /the server ended the connection: internal_error/ },
}

const pieces = (bytes: Bytes, length: number): Bytes[] =>
  Array.from({ length: Math.ceil(bytes.length / length) }, (_, i) => bytes.subarray(i * length, (i + 1) * length))
/** Where records are: the flight, change_cipher_spec, and Finished. */
const before = (at: number, ...records: Bytes[]): Pick<Behaviour12, 'wire'> => ({
  wire: (record, index) => (index === at ? [...records, record] : [record]),
})

const FINISH: Record<string, Misbehaviour12> = {
  'a change_cipher_spec before ServerHello': { ...before(0, CHANGE), says: recordOutOfPlace },
  'a change_cipher_spec behind ServerHello': {
    pack: ([hello, ...rest]) => [hello as Bytes, concat(...rest)],
    ...before(1, CHANGE),
    says: recordOutOfPlace,
  },
  'a change_cipher_spec of 2': { change: [plain(20, 2)], says: recordOutOfPlace },
  'a change_cipher_spec of two bytes': { change: [plain(20, 1, 1)], says: recordOutOfPlace },
  'two change_cipher_spec': { change: [CHANGE, CHANGE], says: /a record is of a wrong type/ },
  'no change_cipher_spec': { change: [], says: recordOutOfPlace },
  'a ticket that was not asked for, before the change': {
    beforeChange: [plain(22, ...ticket)],
    says: recordOutOfPlace,
  },
  'data in the clear': { beforeChange: [plain(23, 1)], says: /a record is of a wrong type/ },
  'a Finished in the clear': {
    wire: (record, i) => [i === 2 ? plain(22, 20, 0, 0, 12, ...zeros(12)) : record],
    says: /a record is too short/,
  },
  'the Finished of the client': {
    finished: async (s) =>
      message(
        20,
        (await finished(s)).subarray(4).map((byte) => byte ^ 1),
      ),
    says: notFinished,
  },
  'a Finished that is cut': {
    finished: async (s) => message(20, (await finished(s)).subarray(4, -1)),
    says: notFinished,
  },
  'an empty Finished': { finished: () => message(20), says: notFinished },
  'another message in place of Finished': { finished: () => ticket, says: outOfPlace },
  'a message behind Finished': { afterFinished: message(MessageType.helloRequest), says: acrossKeys },
  'a part of one behind Finished': { afterFinished: concat([4]), says: acrossKeys },
  'a master secret without the handshake': { ownMaster: true, says: badMac, unheard: true },
  'a flight that was changed': {
    wire: (record, i) => [
      i === 0 ? concat(record.subarray(0, 50), [(record[50] ?? 0) ^ 1], record.subarray(51)) : record,
    ],
    // It is the server that finds it.
    says: /the connection broke off/,
  },
  'a Finished that was changed': {
    wire: (record, i) => [i === 2 ? concat(record.subarray(0, -1), [(record.at(-1) ?? 0) ^ 1]) : record],
    says: badMac,
  },
  'a plain record that is too long': { ...before(0, concat([22, 3, 3], u16(16_385))), says: tooLong },
  'data before Finished': {
    finished: async (s) => (await s.send(23, text('early')), finished(s)),
    says: recordOutOfPlace,
  },
}

const DATA = text('hello')
const handshakeRecord = (of: Bytes) => (s: TestServer12) => s.send(ContentType.handshake, of)

const AFTER: Record<string, Misbehaviour12> = {
  'a renegotiation': { after: handshakeRecord(message(MessageType.helloRequest)), says: /asks for renegotiation/ },
  'a hello': { after: handshakeRecord(message(MessageType.serverHello, zeros(40))), says: outOfPlace },
  'a change of keys as in 1.3': { after: handshakeRecord(message(MessageType.keyUpdate, [0])), says: outOfPlace },
  'a ticket': { after: handshakeRecord(ticket), says: outOfPlace },
  'data in a message': {
    after: async (s) => (await handshakeRecord(ticket.subarray(0, 9))(s), await s.send(23, DATA)),
    says: /a message is interrupted/,
  },
  'a change_cipher_spec': { after: (s) => s.raw(CHANGE), says: /a record is of a wrong type/ },
  'a change_cipher_spec that is encrypted': {
    after: (s) => s.send(20, concat([1])),
    says: /a record is of a wrong type/,
  },
  'a plain alert': { after: (s) => s.raw(plain(21, 1, 0)), says: /a record is too short/ },
  'an end that is not told': { after: (s) => s.end.end(), says: /broke off without a close_notify/ },
  'a fatal alert': { after: (s) => s.send(21, concat([2, 80])), says: /internal_error/ },
  'data that is called an end': {
    after: async (s) => {
      const record = await s.sealed(23, concat([1, 0]))
      s.raw(concat([21], record.subarray(1)))
    },
    says: badMac,
  },
  'another version': {
    after: async (s) => s.raw(concat([23, 3, 1], (await s.sealed(23, DATA)).subarray(3))),
    says: /a record has another version/,
  },
  'another nonce': {
    after: async (s) => {
      const record = await s.sealed(23, DATA)
      record[12] = (record[12] ?? 0) ^ 1
      s.raw(record)
    },
    says: badMac,
  },
  'a record twice': {
    after: async (s) => {
      const record = await s.sealed(23, DATA)
      s.raw(record)
      s.raw(record)
    },
    says: badMac,
  },
  'a record that is left out': { after: async (s) => (await s.sealed(23, DATA), await s.send(23, DATA)), says: badMac },
  'a record that is too long': { after: (s) => s.raw(concat([23, 3, 3], u16(16_384 + 25))), says: tooLong },
  'data of 16 KB and a byte': { after: (s) => s.send(23, zeros(16_385)), says: tooLong },
  'empty records without end': {
    after: async (s) => {
      for (let i = 0; i < 65; i++) await s.send(23, zeros(0))
    },
    says: /sends records without data/,
  },
}

export const MISBEHAVIOURS_12: ReadonlyMap<string, Misbehaviour12 & { version: 12 }> = new Map(
  Object.entries({ ...HELLO, ...FLIGHTS, ...FINISH, ...afterwards(AFTER) }).map(([name, found]) => [
    `TLS 1.2: ${name}`,
    { ...found, version: 12 },
  ]),
)

function afterwards(of: Record<string, Misbehaviour12>) {
  return Object.fromEntries(Object.entries(of).map(([name, found]) => [`afterwards: ${name}`, found]))
}
