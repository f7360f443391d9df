import type { Sql } from 'postgres'
import { sourceError } from '../wire/connection.ts'

/**
 * Emits a message into the WAL, in a transaction of its own: everything that was committed before comes before it in
 * the stream. With synchronous_commit=local it is flushed at once whatever the role's default is, and does not hang on
 * a missing standby. Throws RockpoolError.
 */
export async function emitMarker(sql: Sql, prefix: string, content: string): Promise<void> {
  try {
    await sql`SELECT pg_logical_emit_message(true, ${prefix}, ${content}::text)
      FROM (SELECT set_config('synchronous_commit', 'local', true)) AS setting`
  } catch (error) {
    throw sourceError(error)
  }
}

/**
 * The statement that lets this role emit messages; null when it may. They may be taken from everybody, as
 * docs/deploy.md advises.
 */
export async function markerProblem(sql: Sql): Promise<string | null> {
  const rows = await sql<{ statement: string }[]>`
    SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, current_user) AS statement FROM pg_proc p
    WHERE p.proname = 'pg_logical_emit_message' AND p.pronamespace = 'pg_catalog'::regnamespace AND NOT has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY 1`
  if (rows.length === 0) return null
  return `this role may not write messages into the WAL: ${rows.map(({ statement }) => statement).join('; ')}`
}
