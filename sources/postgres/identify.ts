import type { Sql } from 'postgres'

/**
 * Returns which database a connection leads to, whatever its address. A copy of a server's files has the same system
 * identifier, and another start.
 */
export async function identifyDatabase(
  sql: Sql,
): Promise<{ systemIdentifier: string; database: string; started: string }> {
  const [row] = await sql<{ system: string; database: string; started: string }[]>`
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system, current_database() AS database,
      extract(epoch FROM pg_postmaster_start_time())::text AS started`
  return { systemIdentifier: row?.system ?? '', database: row?.database ?? '', started: row?.started ?? '' }
}
