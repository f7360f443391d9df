import { checkConnections, checkServer, connectSource, parseSourceUrl, sourceError } from '../sources/postgres/index.ts'
import { openNodeSocket } from '../sources/postgres/wire/node-socket.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { UsageError } from './problem.ts'

/**
 * What would stop the replicator is said before anything is started. Answers what of the URL has no effect, for people. Throws UsageError.
 */
export async function checkSource(url: string): Promise<string[]> {
  const notes = await checkReachable(url)
  await problem(async () => {
    const sql = connectSource(url, caOf())
    try {
      await checkServer(sql)
    } finally {
      await sql.end({ timeout: 1 })
    }
  })
  return notes
}

/** Whether both kinds of connections can be made, here and on Cloudflare, and lead to Postgres itself. Throws UsageError. */
export async function checkReachable(url: string): Promise<string[]> {
  return problem(async () => {
    const { notes } = parseSourceUrl(url)
    const sql = connectSource(url, caOf())
    const walsender = connectSource(url, { ...caOf(), replication: true })
    try {
      await checkConnections(sql, walsender)
    } finally {
      await Promise.all([sql.end({ timeout: 1 }), walsender.end({ timeout: 1 })])
    }
    await checkCertificate(url)
    return notes
  })
}

export const caOf = () => ({ ca: process.env.DATABASE_CA || undefined })

/** Workers verify every certificate against the public authorities, whatever sslmode and DATABASE_CA say here. Throws ROCKPOOL_SOURCE_SETTINGS. */
export async function checkCertificate(url: string): Promise<void> {
  const { hosts, sslmode } = parseSourceUrl(url)
  if (sslmode === 'disable') return
  for (const address of hosts) {
    try {
      const socket = await openNodeSocket(address, { sslmode: 'verify-full', ca: undefined, signal: new AbortController().signal })
      socket.destroy()
    } catch (error) {
      if (!(error instanceof RockpoolError)) continue // a host of several that is down
      const where = `${address.host}:${address.port}`
      const reason = error.cause instanceof Error ? error.cause.message : error.message
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `Cloudflare Workers will not accept the certificate of ${where} (${reason}): they trust public authorities only, and only for the name of the host. See docs/deploy.md`,
        { cause: error },
      )
    }
  }
}

async function problem<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw new UsageError(`the database cannot be used: ${sourceError(error).message}`)
  }
}
