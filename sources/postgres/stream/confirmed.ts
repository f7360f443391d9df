import type { Sql } from 'postgres'
import { sourceError } from '../wire/connection.ts'
import type { Lsn } from '../types.ts'
import { parseLsn } from './lsn.ts'

/**
 * How often the slot is looked at while it is waited for, and for how long in all: a walsender in a large transaction
 * answers within milliseconds once it cannot send.
 */
const LOOK_MS = 25
const LOOKS = 120

/** What a slot has confirmed, and whether a walsender holds it; null when it is gone. */
async function look(sql: Sql, slot: string): Promise<{ confirmed: Lsn; active: boolean } | null> {
  const [row] = await sql<{ flush: string | null; active: boolean }[]>`
    SELECT confirmed_flush_lsn::text AS flush, active FROM pg_replication_slots WHERE slot_name = ${slot}`
  return row ? { confirmed: parseLsn(row.flush ?? '0/0'), active: row.active } : null
}

const pause = () => new Promise((resolve) => setTimeout(resolve, LOOK_MS))

/** Resolves when the slot has confirmed this, or after 3 s: then the next session says it again. Never rejects. */
export async function untilConfirmed(sql: Sql, slot: string, lsn: Lsn): Promise<void> {
  try {
    for (let looks = 0; looks < LOOKS; looks++) {
      const found = await look(sql, slot)
      if (!found || found.confirmed >= lsn) return
      await pause()
    }
  } catch {
    // Nobody answers any more.
  }
}

/**
 * What the slot has confirmed once nobody holds it: a walsender that still ends may hear of more. After 3 s what it has
 * confirmed by then. Throws RockpoolError.
 */
export async function confirmedAtRest(sql: Sql, slot: string): Promise<Lsn> {
  try {
    for (let looks = 0; ; looks++) {
      const found = await look(sql, slot)
      if (!found?.active || looks >= LOOKS) return found?.confirmed ?? 0n
      await pause()
    }
  } catch (error) {
    throw sourceError(error)
  }
}
