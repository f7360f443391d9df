import type { Sql } from 'postgres'
import { sourceError } from '../wire/connection.ts'
import type { Snapshot } from '../types.ts'
import { currentSnapshot } from './chunk.ts'

/**
 * Waits until every transaction that was delivered before the reader began to remember is visible. Each of them has an
 * xid below one that is taken now, so it is enough to wait until all xids up to that one have ended. (The xmax of a
 * snapshot is not enough: it is one above the last xid that has ENDED, and a commit that waits for a standby has been
 * streamed but has not ended.)
 */
export async function waitForEarlier(
  ask: <T>(work: (sql: Sql) => Promise<T>) => Promise<T>,
  pause: (milliseconds: number) => Promise<void>,
  waitsFor: (what: string | null) => void,
  seen: (snapshot: Snapshot) => void,
): Promise<void> {
  const xid = await ask(currentXid)
  for (let wait = 10; ; wait = Math.min(wait * 2, 1_000)) {
    const snapshot = await ask(currentSnapshot)
    if (snapshot.xmin > xid) break
    // The wait may take hours. Transactions that have become visible meanwhile need not be remembered.
    seen(snapshot)
    waitsFor('transactions that were open when the copy began')
    await pause(wait)
  }
  waitsFor(null)
}

async function currentXid(sql: Sql): Promise<bigint> {
  try {
    const [row] = await sql<{ xid: string }[]>`
      SELECT pg_current_xact_id()::text AS xid FROM (SELECT set_config('synchronous_commit', 'off', true)) AS s`
    return BigInt(row?.xid ?? 0)
  } catch (error) {
    throw sourceError(error)
  }
}
