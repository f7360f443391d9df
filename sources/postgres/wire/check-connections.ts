import type { Sql } from 'postgres'
import { checkConnection } from './connection.ts'
import { checkServer } from '../prepare-source.ts'

/**
 * Whether both connections can be opened and lead to Postgres itself. Throws ROCKPOOL_SOURCE_SETTINGS, also for a pooler, or
 * ROCKPOOL_SOURCE_UNREACHABLE.
 */
export async function checkConnections(sql: Sql, walsender: Sql): Promise<void> {
  await checkConnection(sql)
  try {
    await checkConnection(walsender)
  } catch (error) {
    // A role or a server that may not replicate is better explained by what a plain connection can ask.
    await checkServer(sql)
    throw error
  }
}
