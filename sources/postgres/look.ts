import type { Sql } from 'postgres'
import { RockpoolError } from '../../protocol/errors.ts'
import { sourceError } from './wire/connection.ts'
import { foundSlot, measureSlot, slotHolder, slotProblem, taken, type FoundSlot, type SlotMeasure } from './stream/slot.ts'
import { checkServer } from './source.ts'
import type { Lsn, SourceIdentity } from './types.ts'

/** The database as it is at this moment. */
export interface SourceFacts {
  identity: SourceIdentity
  serverVersion: number
  walEnd: Lsn
  /** Null: there is none of this name. */
  slot: (FoundSlot & { measure: SlotMeasure }) | null
}

/**
 * Asks what a session would ask before anything is made, and changes nothing. Throws ROCKPOOL_SOURCE_UNREACHABLE, ROCKPOOL_SOURCE_SETTINGS with what to do,
 * or ROCKPOOL_SLOT_TAKEN when the slot is held by somebody else.
 */
export async function lookAtSource(sql: Sql, name: string): Promise<SourceFacts> {
  try {
    const { identity, serverVersion, walEnd } = await checkServer(sql)
    const found = await foundSlot(sql, name)
    const problem = found ? null : await slotProblem(sql, name)
    if (problem !== null) throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', problem)
    const measure = found && (await measureSlot(sql, name))
    const holder = found && (await slotHolder(sql, name))
    if (holder && !holder.ours) throw taken(name, holder)
    return { identity, serverVersion, walEnd, slot: found && measure && { ...found, measure } }
  } catch (error) {
    throw sourceError(error)
  }
}
