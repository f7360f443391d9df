import type { Sql } from 'postgres'
import { RockpoolError } from '../../protocol/errors.ts'
import { sourceError } from './wire/connection.ts'
import {
  foundSlot,
  measureSlot,
  slotHolder,
  slotProblem,
  taken,
  type FoundSlot,
  type SlotMeasure,
} from './stream/slot.ts'
import { checkServer } from './prepare-source.ts'
import type { SourceProblem } from '../source.ts'
import { disconnected, type PostgresIdentity } from './stream/continuity.ts'
import type { PostgresPosition } from './stream/positions.ts'
import type { Lsn, SourceIdentity } from './types.ts'

/** The database as it is at the moment. */
export interface SourceFacts {
  identity: SourceIdentity
  serverVersion: number
  walEnd: Lsn
  /** Null when there is no slot of this name. */
  slot: (FoundSlot & { measure: SlotMeasure }) | null
}

/**
 * Asks everything that a session asks before it creates something, and changes nothing. Throws
 * ROCKPOOL_SOURCE_UNREACHABLE, ROCKPOOL_SOURCE_SETTINGS with what to do, or ROCKPOOL_SLOT_TAKEN when another process
 * holds the slot.
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

/**
 * Returns why nothing can be delivered, or why everything will be compared, or null when all is well. Less can be said
 * while a session runs, because it creates the slot and advances.
 */
export function problemOf(
  slot: string,
  facts: SourceFacts,
  {
    identity,
    position,
    settled,
  }: { identity: PostgresIdentity | null; position: PostgresPosition | null; settled: boolean },
): SourceProblem | null {
  const lost = (reason: string): SourceProblem => ({
    code: 'ROCKPOOL_SLOT_LOST',
    reason: `the slot ${slot}: ${reason}`,
  })
  if (!settled) return facts.slot?.lost && facts.slot.measure.walStatus === 'lost' ? lost(facts.slot.lost) : null
  const missing = { created: true, lost: null, confirmedFlush: 0n, failover: null }
  const problem = disconnected(identity, position, { ...facts, slot: facts.slot ?? missing })
  if (problem === null) return null
  return problem.slotLost ? lost(problem.reason) : { code: 'ROCKPOOL_SOURCE_CHANGED', reason: problem.reason }
}
