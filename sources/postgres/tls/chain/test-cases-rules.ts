import {
  type Keys,
  type Wanted,
  CLIENT,
  ID,
  SERVER,
  alternatives,
  ascii,
  authority,
  basic,
  bytes,
  constraints,
  dns,
  extension,
  keyUsage,
  make,
  makeKeys,
  nameOf,
  oid,
  seq,
  server,
  tlv,
  usages,
  utc,
} from './test-authority.ts'
import pss from './test-pss.json' with { type: 'json' }
import { type Case, HOST, NOW, chainCase, leafCase, middle, middleCase, root, rootCase } from './test-cases.ts'

const ANY = '2.5.29.37.0'
const UNKNOWN = '1.3.6.1.4.1.99999.1'
const anyValue = tlv(0x05)

const past = { from: utc('200101000000Z'), to: utc('210101000000Z') }
const future = { from: utc('300101000000Z') }

/** What each certificate must be for its place. */
export function ruleCases(): Case[] {
  const pin = make({ cn: ['db.example.com'], keys: makeKeys.p256() }, [basic(true), alternatives([dns(HOST)])])
  const pinned = (name: string, expected: Case['expected'], leaf: typeof pin, rest = {}) =>
    chainCase(name, expected, leaf, { anchors: [root, leaf], ...rest })
  const akiOf = (...parts: Uint8Array[]) => extension(ID.authorityKey, seq(...parts))
  const rsa = makeKeys.rsa()
  /** The root's name, and another key. */
  const namesake = authority({ cn: ['root'] })
  const easyRsa = easyRsaRoot()
  const stranger = authority({ cn: ['stranger'], ...past })
  return [
    leafCase('a server below its root', 2, {}),
    middleCase('a server below an authority below its root', 3, {}),
    leafCase(
      'a server below an authority that is no root, and is in DATABASE_CA',
      2,
      { by: middle },
      { anchors: [middle] },
    ),
    chainCase('no authority at all', 'authority', server({ by: root }), { anchors: [] }),

    // Dates: certificates know whole seconds.
    leafCase('the last second of a server', 2, { to: utc('261129120000Z') }, { now: NOW + 999 }),
    leafCase('the second after', 'expired', { to: utc('261129120000Z') }, { now: NOW + 1000 }),
    leafCase('the first second of a server', 2, { from: utc('261129120000Z') }, { now: NOW }),
    leafCase('the millisecond before', 'not-yet-valid', { from: utc('261129120000Z') }, { now: NOW - 1 }),
    middleCase('an authority that has expired', 'expired', past),
    rootCase('a root that has expired', 'expired', past),
    leafCase('a clock that is none', 'expired', {}, { now: NaN }),
    chainCase('a root that nobody knows, and that has expired', 'authority', server({ by: stranger }), {
      between: [stranger],
    }),
    rootCase('a root of the future', 'not-yet-valid', future),
    leafCase('a date after 2049', 2, { to: tlv(0x18, ascii('20991231235959Z')) }),
    leafCase('a date that there is not', 'unreadable', { to: utc('400231000000Z') }),
    leafCase('a date without seconds', 'unreadable', { to: utc('4001010000Z') }),
    leafCase('a date of another zone', 'unreadable', { to: utc('400101000000+0100') }),
    leafCase('a date with parts of seconds', 'unreadable', { to: tlv(0x18, ascii('20400101000000.5Z')) }),
    leafCase('a date that is a text', 'unreadable', { to: tlv(0x0c, ascii('400101000000Z')) }),

    // Versions, and what an authority is.
    rootCase('a root of version 1', 'not-an-authority', { version: 1 }),
    middleCase('an authority of version 1', 'not-an-authority', { version: 1 }),
    leafCase('a server of version 1', 'name', { version: 1 }),
    leafCase('a server of version 1, when the name does not matter', 2, { version: 1 }, { mode: 'ca' }),
    leafCase('version 2 with extensions', 'unreadable', { version: 2 }),
    leafCase('version 4', 'unreadable', { version: 4 }),
    middleCase('a server that signs', 'not-an-authority', { extensions: [basic(false)] }),
    middleCase('a server without basicConstraints that signs', 'not-an-authority', { without: [ID.basic] }),
    rootCase('a root without basicConstraints', 'not-an-authority', { without: [ID.basic] }),
    middleCase('an authority without keyCertSign', 'not-an-authority', { extensions: [keyUsage(0x82)] }),
    rootCase('a root without keyCertSign', 'not-an-authority', { extensions: [keyUsage(0x80)] }),
    middleCase('an authority without keyUsage', 3, { without: [ID.keyUsage] }),
    rootCase('a root without keyUsage', 2, { without: [ID.keyUsage] }),
    middleCase('basicConstraints that are not critical', 3, { extensions: [basic(true, undefined, false)] }),
    leafCase('an authority as server', 'form', { extensions: [basic(true)] }),
    leafCase('a server that may sign certificates', 'form', { extensions: [keyUsage(0x84)] }),
    leafCase('a server with a path length', 'form', { extensions: [basic(false, 0)] }),
    leafCase('a server with basicConstraints', 2, { extensions: [basic(false)] }),

    // Usages.
    leafCase('a server for clients only', 'usage', { extensions: [usages([CLIENT])] }),
    leafCase('a server for any usage as well', 'usage', { extensions: [usages([SERVER, ANY])] }),
    leafCase('a server for any usage', 'usage', { extensions: [usages([ANY])] }),
    leafCase('a server without usages', 2, { without: [ID.usages] }),
    leafCase('a server for no usage', 'usage', { extensions: [usages([])] }),
    leafCase('a critical extendedKeyUsage', 'form', { extensions: [usages([SERVER], true)] }),
    middleCase('an authority for clients only', 'usage', { extensions: [usages([CLIENT])] }),
    middleCase('an authority for e-mail only', 'usage', { extensions: [usages(['1.3.6.1.5.5.7.3.4'])] }),
    middleCase('an authority for servers and clients', 3, { extensions: [usages([CLIENT, SERVER])] }),
    rootCase('a root with usages', 'form', { extensions: [usages([SERVER])] }),
    chainCase('an authority for clients in DATABASE_CA that is no root', 2, ...clientAnchor()),
    leafCase('keyUsage without digitalSignature', 'usage', { extensions: [keyUsage(0x20)] }),
    leafCase('no keyUsage', 2, { without: [ID.keyUsage] }),

    // Keys and signatures.
    leafCase('RSA of 2,048 bits', 2, { keys: rsa }),
    leafCase('RSA of 1,024 bits', 'key', { keys: makeKeys.rsa(1024) }),
    middleCase('an authority of RSA with 1,024 bits', 'key', { keys: makeKeys.rsa(1024) }),
    rootCase('a root of RSA with 1,024 bits', 'key', { keys: makeKeys.rsa(1024) }),
    leafCase('RSA with more bits than are computed with', 'key', { spki: rsaKey(8200) }),
    leafCase('RSA with an even power', 'key', { spki: rsaKey(2048, 4) }),
    leafCase('RSA with the power 1', 'key', { spki: rsaKey(2048, 1) }),
    leafCase('P-384', 2, { keys: makeKeys.p384() }),
    leafCase('P-521', 2, { keys: makeKeys.p521() }),
    leafCase('Ed25519', 2, { keys: makeKeys.ed25519() }),
    rootCase('a root of RSA', 2, { keys: rsa }),
    rootCase('a root of P-521', 2, { keys: makeKeys.p521() }),
    rootCase('a root of Ed25519', 2, { keys: makeKeys.ed25519() }),
    leafCase('a server signed with SHA-1', 'signature', { hash: 'sha1' }),
    middleCase('an authority signed with SHA-1', 'signature', { hash: 'sha1' }),
    rootCase('a root signed with SHA-1, which nobody checks', 2, { hash: 'sha1' }),
    ...pssCases(),
    pssCase('signature', { hash: 'sha1', null: true, salt: 20 }, rsa),
    pssCase('signature', { hash: 'sha256', null: true, salt: 20 }, rsa),
    pssCase('signature', { hash: 'sha256', null: false, salt: 32 }, rsa),
    leafCase('SHA-384', 2, { hash: 'sha384' }),
    leafCase('SHA-512', 2, { hash: 'sha512' }),
    leafCase('another kind of signature outside', 'unreadable', { outside: seq(oid('1.2.840.10045.4.3.3')) }),

    // Extensions.
    leafCase('an unknown extension', 2, { extensions: [extension(UNKNOWN, anyValue)] }),
    leafCase('a critical unknown extension', 'critical', { extensions: [extension(UNKNOWN, anyValue, true)] }),
    middleCase('an authority with one', 'critical', { extensions: [extension(UNKNOWN, anyValue, true)] }),
    rootCase('a root with one', 'critical', { extensions: [extension(UNKNOWN, anyValue, true)] }),
    leafCase('an extension twice', 'unreadable', {
      extensions: [extension(UNKNOWN, anyValue), extension(UNKNOWN, anyValue)],
    }),
    leafCase('alternative names twice', 'unreadable', {
      extensions: [alternatives([dns(HOST)]), alternatives([dns('x.example.com')])],
    }),
    leafCase('alternative names of another form', 'unreadable', {
      extensions: [extension(ID.names, ascii('db.example.com'))],
    }),
    leafCase('something behind an extension', 'unreadable', {
      extensions: [extension(ID.usages, bytes(seq(oid(SERVER)), anyValue))],
    }),
    chainCase(
      'a forged certificate with a good one for clients inside, as PEM',
      'unreadable',
      forgedAround(server({ by: root, extensions: [usages([CLIENT])] })),
    ),
    leafCase('no authorityKeyIdentifier', 2, { without: [ID.authorityKey] }),
    leafCase(
      'no authorityKeyIdentifier, and two authorities of the name',
      2,
      { without: [ID.authorityKey] },
      { anchors: [namesake, root] },
    ),
    leafCase(
      'no authorityKeyIdentifier, and another authority of the name',
      'authority',
      { without: [ID.authorityKey] },
      { anchors: [namesake] },
    ),
    leafCase('an authorityKeyIdentifier without a key', 2, { extensions: [akiOf(tlv(0x82, 1))] }),
    middleCase('an authority without authorityKeyIdentifier', 3, { without: [ID.authorityKey] }),
    middleCase('an authority without subjectKeyIdentifier', 3, { without: [ID.subjectKey] }),
    rootCase('a root without subjectKeyIdentifier', 2, { without: [ID.subjectKey] }),
    rootCase('a root that names itself by issuer and serial number as well', 2, {
      keys: easyRsa.keys,
      extensions: easyRsa.extensions,
    }),
    rootCase('a root with the key of another', 'form', { extensions: [akiOf(tlv(0x80, 1, 2, 3))] }),
    rootCase('a root that asks for policies', 'critical', { extensions: [extension('2.5.29.36', seq(tlv(0x80, 0)))] }),
    middleCase('an authority that asks for policies', 'critical', {
      extensions: [extension('2.5.29.36', seq(tlv(0x80, 0)), true)],
    }),
    leafCase('name constraints in a server', 'form', { extensions: [constraints([dns('example.com')], [])] }),
    leafCase('the serial number 0', 'form', { serial: [0] }),
    leafCase('a negative serial number', 'unreadable', { serial: [0x80] }),
    leafCase('a serial number of 21 bytes', 'unreadable', { serial: new Array<number>(21).fill(1) }),
    leafCase('no issuer', 'form', { issuer: nameOf() }),
    middleCase('an authority without a name', 'form', { name: nameOf() }),
    leafCase('no subject, and alternative names that are critical', 2, {
      cn: [],
      extensions: [alternatives([dns(HOST)], true)],
    }),
    leafCase('no subject, and alternative names that are not', 'form', { cn: [] }),
    leafCase('a subject, and alternative names that are critical', 'form', {
      extensions: [alternatives([dns(HOST)], true)],
    }),

    // Pins.
    pinned('a pin: made by itself, an authority in name', 1, pin),
    pinned('a pin of another host', 'name', pin, { host: 'x.example.com' }),
    pinned('a pin of another host, when the name does not matter', 1, pin, { host: 'x.example.com', mode: 'ca' }),
    pinned('a pin that has expired', 'expired', server(past)),
    pinned('a pin of RSA with 1,024 bits', 'key', server({ keys: makeKeys.rsa(1024) })),
    pinned('a pin for clients', 'usage', server({ extensions: [usages([CLIENT])] })),
    pinned('a pin that may not sign in TLS', 'usage', server({ extensions: [keyUsage(0x20)] })),
    pinned(
      'a pin with a critical unknown extension',
      'critical',
      server({ extensions: [extension(UNKNOWN, anyValue, true)] }),
    ),
    pinned('a pin of version 1, when the name does not matter', 1, server({ version: 1 }), { mode: 'ca' }),
    pinned('a pin signed with SHA-1 by a stranger', 1, server({ by: authority({ cn: ['stranger'] }), hash: 'sha1' })),
    chainCase('what a pin that is no authority has signed', 'not-an-authority', ...belowPin()),
  ]
}

/**
 * As Easy-RSA makes it: `authorityKeyIdentifier = keyid,issuer:always`, and `basicConstraints` that are not critical.
 */
function easyRsaRoot(): { keys: Keys; extensions: Wanted['extensions'] } {
  const { keys, keyId } = authority({ cn: ['changed root'] })
  const issuer = tlv(0xa1, tlv(0xa4, nameOf('changed root')))
  const named = extension(ID.authorityKey, seq(tlv(0x80, keyId), issuer, tlv(0x82, 1)))
  return { keys, extensions: [basic(true, undefined, false), named] }
}

/**
 * A certificate that the root has not signed, which holds one that it has signed: the runtime looks for PEM in whatever
 * it gets.
 */
function forgedAround(good: ReturnType<typeof server>): ReturnType<typeof server> {
  const pem = `\n-----BEGIN CERTIFICATE-----\n${btoa(String.fromCharCode(...good.der))
    .replaceAll(/.{64}/g, '$&\n')
    .trim()}\n-----END CERTIFICATE-----\n`
  return server({
    by: { ...root, keys: good.keys },
    keys: good.keys,
    extensions: [extension(UNKNOWN, tlv(0x04, ascii(pem)))],
  })
}

/** Made in Node with the writer of these tests: in workerd `sign` does not heed the length of the salt (2026-11). */
function pssCases(): Case[] {
  const der = (text: string) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
  return pss.leaves.map((leaf, i) => ({
    name: `RSA-PSS ${i}`,
    expected: 2,
    options: { chain: [der(leaf)], anchors: [der(pss.root)], host: HOST, mode: 'full', now: NOW },
  }))
}

function pssCase(expected: Case['expected'], pss: NonNullable<Wanted['pss']>, keys: Keys): Case {
  const signer = authority({ cn: ['RSA-PSS'], keys })
  return chainCase(`RSA-PSS: ${JSON.stringify(pss)}`, expected, server({ by: signer, pss }), { anchors: [signer] })
}

function clientAnchor(): [ReturnType<typeof server>, { anchors: ReturnType<typeof server>[] }] {
  const anchor = authority({ cn: ['clients'], by: root, extensions: [usages([CLIENT])] })
  return [server({ by: anchor }), { anchors: [anchor] }]
}

function belowPin(): [ReturnType<typeof server>, { anchors: ReturnType<typeof server>[] }] {
  const pin = server({ by: root })
  return [server({ by: pin }), { anchors: [pin] }]
}

/** A key that no one can use, of this size. */
function rsaKey(bits: number, power = 3): Uint8Array {
  const modulus = tlv(0x02, 0, 0xff, new Uint8Array(bits / 8 - 1).fill(0xff))
  return seq(seq(oid('1.2.840.113549.1.1.1'), tlv(0x05)), tlv(0x03, 0, seq(modulus, tlv(0x02, power))))
}
