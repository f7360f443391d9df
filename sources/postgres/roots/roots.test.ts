import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { readCertificate } from '../tls/chain/certificate.ts'
import { checkAuthority } from '../tls/chain/rules.ts'
import { isSelfSigned, rootsFor, rootsOfHost } from './index.ts'
import { RDS_ROOTS } from './rds.ts'
import { SUPABASE_ROOTS } from './supabase.ts'

const YEAR_MS = 365 * 86_400_000

/** Each with the name that it must have, and the key. */
const ALL = [
  ...SUPABASE_ROOTS.map((root) => ({ ...root, name: 'Supabase Root 2021 CA', key: 'rsa2048' })),
  ...Object.entries(RDS_ROOTS).flatMap(([region, roots]) =>
    Object.entries(roots).map(([key, root]) => ({
      ...root,
      name: `Amazon RDS ${region} Root CA ${key.toUpperCase()} G1`,
      key,
    })),
  ),
]

test.each(ALL)(
  '$name has the key and the end that are written down, signs itself, and is an authority by our rules',
  ({ name, key, until, der }) => {
    const bytes = Buffer.from(der, 'base64')
    const root = new X509Certificate(bytes)
    expect(root.subject.split('\n')).toContain(`CN=${name}`)
    expect(root.verify(root.publicKey)).toBe(true)
    expect(new Date(root.validTo).toISOString().slice(0, 10)).toBe(until)
    const { modulusLength, namedCurve } = root.publicKey.asymmetricKeyDetails ?? {}
    expect(key).toBe(namedCurve === 'secp384r1' ? 'ecc384' : `rsa${modulusLength}`)
    expect(() => checkAuthority(readCertificate(bytes, name), true, Date.now())).not.toThrow()
  },
)

test('every root is valid for another year: otherwise ask its host for the next one, and ship both', () => {
  expect(
    ALL.filter(({ until }) => Date.parse(until) < Date.now() + YEAR_MS).map(
      ({ name, until }) => `${name} ends ${until}`,
    ),
  ).toEqual([])
})

test('the fingerprints of Supabase are those that others have published', () => {
  expect(SUPABASE_ROOTS.map(({ der }) => new X509Certificate(Buffer.from(der, 'base64')).fingerprint256)).toEqual([
    '80:70:25:AD:50:D4:ED:21:9D:2C:9C:7D:29:9C:00:4F:82:4E:B0:0C:F7:F6:5A:FE:F6:07:D0:7B:72:E6:CA:FA',
    '5F:9B:77:95:1A:7A:A1:30:3F:9B:58:EE:A9:BF:A8:9E:35:8C:FD:C1:5F:97:86:FF:10:D4:93:0A:72:2C:9A:E2',
  ])
})

test.each([
  ['db.abc.supabase.co', 'supabase'],
  ['DB.ABC.Supabase.co.', 'supabase'],
  ['aws-0-eu-central-1.pooler.supabase.com', 'supabase'],
  ['app.abc.eu-west-1.rds.amazonaws.com', 'rds'],
  ['app.cluster-abc.cn-north-1.rds.amazonaws.com.cn', 'rds'],
  ['supabase.co.example', null],
  ['notsupabase.co', null],
  ['ec2-1.eu-west-1.compute.amazonaws.com', null],
  ['ep-x.eu-central-1.aws.neon.tech', null],
  ['10.0.0.1', null],
])('the roots of %s: %s', (host, name) => expect(rootsOfHost(host)).toBe(name))

test('RDS: the roots of the region, all of them for a host without a region, and advice for one that is not shipped', () => {
  const names = (host: string) =>
    rootsFor('rds', host).map((der) => /CN=(.*)/.exec(new X509Certificate(der).subject)?.[1])
  expect(names('app.abc.eu-west-1.rds.amazonaws.com')).toEqual([
    'Amazon RDS eu-west-1 Root CA RSA2048 G1',
    'Amazon RDS eu-west-1 Root CA RSA4096 G1',
    'Amazon RDS eu-west-1 Root CA ECC384 G1',
  ])
  expect(names('db.my-company.example')).toHaveLength(81)
  for (const region of ['il-central-1', 'us-gov-west-1', 'cn-north-1']) {
    const host = `app.abc.${region}.rds.amazonaws.com${region.startsWith('cn') ? '.cn' : ''}`
    const asked = () => rootsFor('rds', host)
    expect(asked).toThrow(RockpoolError)
    expect(asked).toThrow(new RegExp(`^DATABASE_CA: the roots of RDS in ${region} are not shipped`))
  }
})

test('hosts with self-signed certificates', () => {
  expect(
    ['roundhouse.proxy.rlwy.net', 'proxy.rlwy.net', 'db.example', 'x.proxy.rlwy.net.example'].map(isSelfSigned),
  ).toEqual([...[true, false, false, false]])
})
