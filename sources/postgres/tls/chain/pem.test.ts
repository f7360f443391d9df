import { expect, test } from 'vitest'
import { RockpoolError } from '../../../../protocol/errors.ts'
import { MAX_ANCHORS, MAX_PEM_LENGTH } from './limits.ts'
import { readAuthorities } from './index.ts'
import { authority, tlv } from './test-authority.ts'

const pem = (der: Uint8Array, label = 'CERTIFICATE'): string =>
  `-----BEGIN ${label}-----\n${(btoa(String.fromCharCode(...der)).match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`
const [old, renewed] = [authority({ cn: ['root'] }).der, authority({ cn: ['root'] }).der]

test('certificates are read in their order, each once, with text around them', () => {
  expect(readAuthorities(pem(old))).toEqual([old])
  expect(readAuthorities(`# old\n${pem(old)}\nRoot 2\n======\n${pem(renewed)}${pem(old)}`)).toEqual([old, renewed])
  expect(readAuthorities(pem(old).replaceAll('\n', '\r\n'))).toEqual([old])
  expect(readAuthorities((pem(old) + pem(renewed)).replaceAll('\n', '\\n'))).toEqual([old, renewed])
  // In one line, and with the mark that some editors put before a text.
  expect(readAuthorities(`\ufeff${(pem(old) + pem(renewed)).replaceAll('\n', '')}`)).toEqual([old, renewed])
})

test('unusable text is refused with what to do, and is not shown', () => {
  const cases: [text: string, says: RegExp][] = [
    ['', /empty/],
    ['  \n', /empty/],
    ['./certs/ca.pem', /name of a file/],
    ['MIIBszCCAVqgAwIBAgIU', /BEGIN CERTIFICATE----- and -----END CERTIFICATE----- are missing/],
    ['rds', /text of a PEM file/],
    [pem(old) + pem(old, 'EC PRIVATE KEY'), /contains a private key/],
    [pem(old, 'PRIVATE KEY'), /contains a private key/],
    [pem(old, 'PUBLIC KEY'), /part 1 is a "PUBLIC KEY"/],
    [pem(old, 'TRUSTED CERTIFICATE'), /openssl x509 -in FILE/],
    [pem(old).replace('END CERTIFICATE', 'END CERTIFICAT'), /part 1 is/],
    [pem(old).slice(0, 200), /contains no certificate/],
    [pem(old) + pem(renewed).slice(0, 200), /cut off/],
    [pem(old).slice(30) + pem(renewed), /cut off/],
    [pem(old).replace(/\n./, '\n!'), /not base64/],
    [pem(old).replace(/\n.{5}/, '\n'), /not base64|cannot be read/],
    [pem(new Uint8Array()), /not base64/],
    [pem(tlv(0x30, 1, 2, 3)), /certificate 1 cannot be read/],
    [pem(old) + pem(Uint8Array.from([...renewed, 0])), /certificate 2 cannot be read/],
    [pem(old).repeat(MAX_ANCHORS + 1), /201 certificates, and at most 200/],
    [' '.repeat(MAX_PEM_LENGTH + 1), /characters/],
    // As long as it may be, and for a reader that looks for each end from each beginning it takes minutes.
    ['-----BEGIN '.repeat(MAX_PEM_LENGTH / 16), /contains no certificate/],
    [pem(old) + '-----BEGIN A-----'.repeat(MAX_PEM_LENGTH / 32), /cut off/],
    [pem(old) + '-----BEGIN CERTIFICATE', /cut off/],
  ]
  for (const [text, says] of cases) {
    let error: unknown
    try {
      readAuthorities(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error, text.slice(0, 100)).toBeInstanceOf(RockpoolError)
    const { code, message } = error as RockpoolError
    expect([code, message]).toEqual(['ROCKPOOL_SETTINGS', expect.stringMatching(says)])
    expect(message).toMatch(/^DATABASE_CA: /)
    const body = text.match(/\n([A-Za-z0-9+/]{12,})/)?.[1]
    if (body !== undefined) expect(message).not.toContain(body.slice(0, 12))
  }
})
