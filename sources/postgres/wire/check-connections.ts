import type { Sql } from 'postgres'
import { checkConnection } from './connection.ts'
import { checkServer } from '../prepare-source.ts'

/**
 * Checks that both connections can be opened and lead to Postgres itself. Throws ROCKPOOL_SOURCE_SETTINGS, also for a
 * pooler, or ROCKPOOL_SOURCE_UNREACHABLE.
 */
export async function checkConnections(sql: Sql, walsender: Sql): Promise<void> {
  await checkConnection(sql)
  try {
    await checkConnection(walsender)
  } catch (error) {
    // A plain connection can explain better why a role or a server may not replicate.
    await checkServer(sql)
    throw error
  }
}
