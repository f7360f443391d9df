import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeCertificates } from '../../../../test/support/certificates.ts'
import { readAuthorities } from './index.ts'
import { outcome } from './test-cases.ts'

// Certificates of other software: everything else in this folder is made by the writer of the tests, which may share an
// error with the reader.

let folder = ''
const run = promisify(execFile)
const openssl = (...args: string[]) => run('openssl', args, { cwd: folder })
const der = async (...names: string[]) =>
  readAuthorities((await Promise.all(names.map((name) => readFile(join(folder, `${name}.crt`), 'utf8')))).join(''))

const AUTHORITY =
  'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n'
const SERVER =
  'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n'
const EC = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']

async function issue(name: string, by: string, extensions: string, key: string[], ...more: string[]): Promise<void> {
  await writeFile(join(folder, `${name}.ext`), extensions)
  await openssl(
    'req',
    '-new',
    '-newkey',
    ...key,
    '-nodes',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    `/O=Example/CN=${name}`,
  )
  const signer =
    by === name ? ['-signkey', `${name}.key`] : ['-CA', `${by}.crt`, '-CAkey', `${by}.key`, '-CAcreateserial']
  await openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-out',
    `${name}.crt`,
    '-days',
    '30',
    '-extfile',
    `${name}.ext`,
    ...signer,
    ...more,
  )
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rockpool-chain-'))
  await issue('root', 'root', AUTHORITY, ['rsa:2048'])
  await issue('middle', 'root', AUTHORITY, EC, '-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:digest')
  await issue('server', 'middle', SERVER, ['ed25519'])
  await issue('simple', 'root', SERVER, EC, '-sha512')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('a chain of OpenSSL passes: RSA, RSA-PSS, ECDSA, and a server with Ed25519', async () => {
  const anchors = await der('root')
  for (const host of ['localhost', '127.0.0.1', '::1', '[::1]'])
    expect(outcome({ chain: await der('server', 'middle'), anchors, host, mode: 'full', now: Date.now() })).toBe(3)
  expect(outcome({ chain: await der('simple'), anchors, host: 'localhost', mode: 'full', now: Date.now() })).toBe(2)
  expect(outcome({ chain: await der('server'), anchors, host: 'localhost', mode: 'full', now: Date.now() })).toBe(
    'authority',
  )
  expect(outcome({ chain: await der('simple'), anchors, host: '127.0.0.2', mode: 'full', now: Date.now() })).toBe(
    'name',
  )
})

test('a default certificate of OpenSSL 3.0 lacks the key identifier of its authority: it passes, and works as a pin', async () => {
  const { ca, certificate } = await makeCertificates()
  const [chain, anchors] = [readAuthorities(certificate), readAuthorities(ca)]
  const options = { chain, host: 'localhost', mode: 'full' as const, now: Date.now() }
  expect(outcome({ ...options, anchors })).toBe(2)
  expect(outcome({ ...options, anchors: chain })).toBe(1)
})
