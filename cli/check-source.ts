import { checkConnections, checkServer, connectSource, parseSourceUrl, trustOf } from '../sources/postgres/index.ts'
import { openNodeSocket } from '../sources/postgres/wire/node-socket.ts'
import { PUBLIC } from '../sources/postgres/wire/trust.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { textOf, type Settings } from './settings.ts'
import { unusable } from './unusable.ts'

/**
 * Reports what would stop the replicator before anything is started. `given` are the settings, including DATABASE_CA.
 * Returns which parts of the URL have no effect, as text for people. Throws UsageError.
 */
export async function checkSource(url: string, given: Settings = process.env): Promise<string[]> {
  const notes = await checkReachable(url, given)
  await problem(async () => {
    const sql = connectSource(url, caOf(given))
    try {
      await checkServer(sql)
    } finally {
      await sql.end({ timeout: 1 })
    }
  })
  return notes
}

/**
 * Checks that both kinds of connections can be made, here and on Cloudflare, and lead to Postgres itself. Throws
 * UsageError.
 */
export async function checkReachable(url: string, given: Settings = process.env): Promise<string[]> {
  return problem(async () => {
    const { notes } = parseSourceUrl(url)
    const ca = caOf(given)
    const sql = connectSource(url, ca)
    const walsender = connectSource(url, { ...ca, replication: true })
    try {
      await checkConnections(sql, walsender)
    } finally {
      await Promise.all([sql.end({ timeout: 1 }), walsender.end({ timeout: 1 })])
    }
    await checkCertificate(url, ca.ca)
    return notes
  })
}

const caOf = (given: Settings) => ({ ca: textOf(given, 'DATABASE_CA') })

/**
 * Workers verify every certificate against the public authorities, whatever sslmode says here. Where anybody else
 * vouches for a host the script verifies as the connections of this process do, and nothing more needs to be checked.
 * Throws ROCKPOOL_SOURCE_SETTINGS.
 */
export async function checkCertificate(url: string, ca: string | undefined): Promise<void> {
  const source = parseSourceUrl(url)
  if (source.sslmode === 'disable') return
  const trust = trustOf(source, ca)
  for (const address of source.hosts.filter((_, i) => trust[i]?.by === 'public')) {
    try {
      const socket = await openNodeSocket(address, {
        sslmode: 'verify-full',
        trust: PUBLIC,
        signal: new AbortController().signal,
      })
      socket.destroy()
    } catch (error) {
      if (!(error instanceof RockpoolError)) continue // a host of several that is down
      const where = `${address.host}:${address.port}`
      const reason = error.cause instanceof Error ? error.cause.message : error.message
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `Cloudflare Workers will not accept the certificate of ${where} (${reason}): without DATABASE_CA they trust public authorities only, and only for the name of the host. Set DATABASE_CA to the PEM of the authority that signed it; see docs/deploy.md`,
        { cause: error },
      )
    }
  }
}

async function problem<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw unusable(error)
  }
}
