import { privateAuthority, SSL, type PrivateAuthority } from './private-authority.ts'

/**
 * A database that lets the edge in over TLS alone, with a certificate of an authority that nobody but DATABASE_CA
 * names.
 */
export interface OverTls {
  version: '1.2' | '1.3'
  /** `require`: the login is bound to the certificate (SCRAM-SHA-256-PLUS). */
  channelBinding: 'require' | 'disable'
}

/** The edge's role, which pg_hba.conf knows over TLS only. Tests themselves are `postgres`, in plain text. */
const ROLE = 'edge'
const PASSWORD = 'over-tls-only'
const HBA = `host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all ${ROLE} all scram-sha-256\n`

let made: PrivateAuthority | undefined
const authority = () => (made ??= privateAuthority('Tests'))

/**
 * ROCKPOOL_TLS=1.2 or 1.3 (and ROCKPOOL_CHANNEL_BINDING=disable) lets every test that starts a database and an edge run
 * so. Null when nothing is said.
 */
export const OVER_TLS: OverTls | null = fromEnvironment(process.env)

function fromEnvironment({
  ROCKPOOL_TLS: version,
  ROCKPOOL_CHANNEL_BINDING: channelBinding = 'require',
}: NodeJS.ProcessEnv): OverTls | null {
  if (version === undefined) return null
  if ((version !== '1.2' && version !== '1.3') || (channelBinding !== 'require' && channelBinding !== 'disable'))
    throw new Error('ROCKPOOL_TLS is 1.2 or 1.3, and ROCKPOOL_CHANNEL_BINDING require or disable')
  return { version, channelBinding }
}

/** What such a database is started with, and what is said in it then. */
export function databaseOver({ version }: OverTls): {
  settings: Record<string, string>
  files: Record<string, string>
  statement: string
} {
  return {
    settings: { ...SSL, ssl_min_protocol_version: `TLSv${version}`, ssl_max_protocol_version: `TLSv${version}` },
    files: { ...authority().issue(), 'pg_hba.conf': HBA },
    statement: `CREATE ROLE ${ROLE} LOGIN SUPERUSER REPLICATION PASSWORD '${PASSWORD}'`,
  }
}

/**
 * How the edge comes to it, where a test says how it would come to one without TLS. Other roles and other hosts are
 * left as they are.
 */
export function edgeOver(
  { channelBinding }: OverTls,
  databaseUrl: string,
): { databaseUrl: string; bindings: Record<string, string> } {
  const url = new URL(databaseUrl)
  if (url.username !== 'postgres' || url.hostname !== '127.0.0.1') return { databaseUrl, bindings: {} }
  Object.assign(url, { username: ROLE, password: PASSWORD, hostname: 'localhost' })
  url.searchParams.set('sslmode', 'verify-full')
  url.searchParams.set('channel_binding', channelBinding)
  return { databaseUrl: url.href, bindings: { DATABASE_CA: authority().ca } }
}
