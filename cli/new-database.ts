import { connectSource } from '../sources/postgres/index.ts'
import { sourceName } from '../tenants/stored/names.ts'
import { knownDatabase } from './database.ts'
import { dataFolder } from './options.ts'
import { UsageError } from './problem.ts'

/** Bytes of a name in Postgres, which cuts off what is longer. */
const MAX_NAME = 63

/**
 * Makes a database for a tenant in the embedded Postgres of `rockpool dev`, which must run, and returns its URL. One
 * that exists is used as it is. Throws UsageError.
 */
export async function newDatabase(data: string | undefined, tenant: string): Promise<string> {
  const known = await knownDatabase(dataFolder(data))
  if (!known?.running) throw new UsageError('--new-database: rockpool dev must run with a Postgres of its own')
  const name = nameOf(tenant)
  const client = connectSource(known.url, { asIs: true })
  try {
    const [there] = await client`SELECT 1 FROM pg_database WHERE datname = ${name}`
    if (!there) await client.unsafe(`CREATE DATABASE "${name}"`)
  } finally {
    await client.end({ timeout: 1 })
  }
  return databaseOf(known.url, tenant)
}

/** Returns the URL of the database that `newDatabase` makes for a tenant, in the server of another URL. */
export function databaseOf(serverUrl: string, tenant: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${nameOf(tenant)}`
  return url.href
}

function nameOf(tenant: string): string {
  const name = `tenant_${tenant.replaceAll('-', '_')}`
  return name.length <= MAX_NAME ? name : sourceName(tenant)
}
