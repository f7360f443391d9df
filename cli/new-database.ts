import { resolve } from 'node:path'
import { connectSource } from '../sources/postgres/index.ts'
import { knownDatabase } from './database.ts'
import { DEFAULT_DATA } from './options.ts'
import { UsageError } from './problem.ts'

/**
 * Makes a database for a tenant in the embedded Postgres of `rockpool dev`, which must run, and returns its URL. One
 * that exists is used as it is. Throws UsageError.
 */
export async function newDatabase(data: string | undefined, tenant: string): Promise<string> {
  const known = await knownDatabase(resolve(data ?? (process.env.DATA || DEFAULT_DATA)))
  if (!known?.running) throw new UsageError('--new-database: rockpool dev must run with a Postgres of its own')
  const name = `tenant_${tenant.replaceAll('-', '_')}`
  const client = connectSource(known.url, { asIs: true })
  try {
    const [there] = await client`SELECT 1 FROM pg_database WHERE datname = ${name}`
    if (!there) await client.unsafe(`CREATE DATABASE "${name}"`)
  } finally {
    await client.end({ timeout: 1 })
  }
  const url = new URL(known.url)
  url.pathname = `/${name}`
  return url.href
}
