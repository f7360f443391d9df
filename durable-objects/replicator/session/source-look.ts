import type { SlotMeasure, SourceFacts } from '../../../sources/postgres/index.ts'
import type { RockpoolError } from '../../../protocol/errors.ts'
import type { SourceLook } from '../../../protocol/messages/status.ts'
import { disconnected } from './position.ts'
import type { Position, State } from '../store/storage.ts'

/** So long an operator's question waits for the database. */
export const LOOK_MS = 5_000
/** So long an answer is good for whoever asks again: many questions are one connection then. */
export const LOOK_FRESH_MS = 2_000

/** What an operator asked for, when it was found out. */
export interface Looked {
  look: SourceLook
  /** What the slot keeps, null when there is none; undefined: that is not known. */
  slot: SlotMeasure | null | undefined
  /** Streams of clients that are open. */
  streams: number
}

/** What the replicator knew of the source before a look, or behind it. */
export interface Known {
  source: State['source']
  position: Position | null
  /** A session is under way. */
  session: boolean
}

/** Why nothing can come, or everything will be compared, by what was found; null: all is well. What a session does meanwhile is no problem. */
export function problemOf(slot: string, facts: SourceFacts, before: Known, after: Known): SourceLook['problem'] {
  const lost = (message: string) => ({ code: 'ROCKPOOL_SLOT_LOST', message: `the slot ${slot}: ${message}` }) as const
  // A session makes the slot, and moves on.
  if (before.session || after.session || before.position?.lsn !== after.position?.lsn)
    return facts.slot?.lost && facts.slot.measure.walStatus === 'lost' ? lost(facts.slot.lost) : null
  const missing = { created: true, lost: null, confirmedFlush: 0n, failover: null }
  const problem = disconnected(after.source, after.position, { ...facts, slot: facts.slot ?? missing })
  if (problem === null) return null
  return problem.slotLost ? lost(problem.reason) : { code: 'ROCKPOOL_SOURCE_CHANGED', message: problem.reason }
}

interface LookedAt {
  facts: SourceFacts | RockpoolError
  problem: SourceLook['problem']
  began: number
  ended: number
}

export function lookOf({ facts, problem, began, ended }: LookedAt): SourceLook {
  const at = { at: new Date(ended).toISOString(), ms: ended - began }
  if (facts instanceof Error) {
    const { code, message } = facts
    const reachable = code !== 'ROCKPOOL_SOURCE_UNREACHABLE' && code !== 'ROCKPOOL_SETTINGS'
    return { ...at, reachable, version: null, problem: { code, message } }
  }
  const { serverVersion } = facts
  return { ...at, reachable: true, version: `${Math.floor(serverVersion / 10_000)}.${serverVersion % 10_000}`, problem }
}

/** One call at a time: who asks meanwhile, or within `freshMs` of its end, gets its answer. In an object, all of whose calls share one context. */
export function oneAtATime<T>(work: () => Promise<T>, freshMs: number, now: () => number = Date.now): () => Promise<T> {
  let running: Promise<T> | null = null
  let last: { value: T; until: number } | null = null
  return async () => {
    if (running) return running
    if (last && now() < last.until) return last.value
    running = work()
    try {
      const value = await running
      last = { value, until: now() + freshMs }
      return value
    } finally {
      running = null
    }
  }
}
