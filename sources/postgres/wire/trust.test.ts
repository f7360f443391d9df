import { describe, expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { privateAuthority } from '../../../test/support/private-authority.ts'
import { parseSourceUrl } from './source-url.ts'
import { trustOf } from './trust.ts'

const { ca } = privateAuthority()
const SUPABASE = 'db.abc.supabase.co'
const RDS = 'app.abc.eu-west-1.rds.amazonaws.com'
const RAILWAY = 'roundhouse.proxy.rlwy.net'

/** Who vouches for each host, in a word. */
function trusted(hosts: string, query: string, given?: string, earlierTls = false): string {
  try {
    return trustOf(parseSourceUrl(`postgres://u:p@${hosts}/d?${query}`, { earlierTls }), given)
      .map((trust) => (trust.by === 'authorities' ? `${trust.named ?? 'PEM'} ${trust.anchors.length}` : trust.by))
      .join(', ')
  } catch (error) {
    if (error instanceof RockpoolError) return `${error.code} ${error.message}`
    throw error
  }
}

describe('without DATABASE_CA', () => {
  test.each([
    ['db.example', '', 'public'],
    [SUPABASE, '', 'supabase 2'],
    [RDS, 'sslmode=require', 'rds 3'],
    [RDS, 'sslmode=verify-full&channel_binding=require', 'rds 3'],
    // The URL is taken at its word.
    [RDS, 'sslrootcert=system', 'public'],
    [RDS, 'sslmode=disable', 'public'],
    ['app.abc.il-central-1.rds.amazonaws.com', 'sslmode=disable', 'public'],
    [RAILWAY, '', 'login'],
    [RAILWAY, 'sslmode=require', 'login'],
    [RAILWAY, 'channel_binding=require', 'login'],
    [RAILWAY, 'sslmode=verify-full', 'public'],
    [RAILWAY, 'sslmode=verify-ca', 'public'],
    [RAILWAY, 'sslrootcert=system', 'public'],
    [RAILWAY, 'channel_binding=disable', 'public'],
    [`${SUPABASE},db.example,${RAILWAY}`, '', 'supabase 2, public, login'],
    // A bound login does not make up for a certificate: only a host that is known does.
    ['db.example', 'sslmode=require&channel_binding=require', 'public'],
  ])('%s?%s: %s', (host, query, expected) => expect(trusted(host, query)).toBe(expected))

  test('a region whose roots are not shipped is reported before anything connects', () => {
    expect(trusted('app.abc.il-central-1.rds.amazonaws.com', '')).toMatch(
      /^ROCKPOOL_SETTINGS DATABASE_CA: the roots of RDS in il-central-1/,
    )
  })

  test('a deployment of an earlier version continues as it did', () => {
    for (const host of [SUPABASE, RDS, RAILWAY]) expect(trusted(host, '', undefined, true)).toBe('public')
  })
})

describe('with DATABASE_CA', () => {
  test.each([
    ['db.example', '', ca, 'PEM 1'],
    [SUPABASE, '', ca, 'PEM 1'],
    ['db.example', '', 'supabase', 'supabase 2'],
    [RDS, '', ' rds\n', 'rds 3'],
    ['db.example', 'sslmode=verify-ca', 'rds', 'rds 81'],
    [RDS, 'sslmode=require', 'none', 'login'],
    ['db.example', 'channel_binding=require', 'none', 'login'],
    ['127.0.0.1', '', ca, 'PEM 1'],
  ])('%s?%s', (host, query, given, expected) => expect(trusted(host, query, given)).toBe(expected))

  test.each([
    [
      'sslmode=disable',
      ca,
      /names the authority of a certificate, .*sslmode=disable, which uses none: remove one of them/,
    ],
    ['sslmode=disable', 'none', /sslmode=disable/],
    ['sslmode=verify-full', 'none', /accepts any certificate, .* says sslmode=verify-full: remove one/],
    ['sslmode=verify-ca', 'none', /says sslmode=verify-ca/],
    ['sslrootcert=system', 'none', /says sslrootcert=system/],
    ['channel_binding=disable', 'none', /says channel_binding=disable/],
    ['', 'azure', /it contains no certificate/],
  ])('%s contradicts it', (query, given, message) => {
    expect(trusted('db.example', query, given)).toMatch(/^ROCKPOOL_SETTINGS DATABASE_CA/)
    expect(trusted('db.example', query, given)).toMatch(message)
  })
})
