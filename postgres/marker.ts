import type { Sql } from 'postgres'
import { sourceError } from './connection.ts'

/**
 * Emits a message into the WAL, in a transaction of its own: everything that was committed before comes before it in the stream. With
 * synchronous_commit=local it is flushed at once whatever the role's default is, and does not hang on a missing standby. Throws RockpoolError.
 */
export async function emitMarker(sql: Sql, prefix: string, content: string): Promise<void> {
  try {
    await sql`SELECT pg_logical_emit_message(true, ${prefix}, ${content}::text)
      FROM (SELECT set_config('synchronous_commit', 'local', true)) AS setting`
  } catch (error) {
    throw sourceError(error)
  }
}
