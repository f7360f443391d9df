import type { SourceFacts, SourceProblem } from '../../../sources/source.ts'
import type { RockpoolError } from '../../../protocol/errors.ts'
import type { SourceLook } from '../../../protocol/messages/status.ts'
import type { State } from '../store/storage.ts'

/** So long an operator's question waits for the database. */
export const LOOK_MS = 5_000
/** So long an answer is good for whoever asks again: many questions are one connection then. */
export const LOOK_FRESH_MS = 2_000

/** What an operator asked for, when it was found out. */
export interface Looked {
  look: SourceLook
  /** Null: the source was not reached. */
  facts: SourceFacts | null
  /** Streams of clients that are open. */
  streams: number
}

/** What the replicator knew of the source before a look, or behind it. */
export interface Known {
  position: State['decode']['position']
  /** A session is under way. */
  session: boolean
}

/** Whether the look met the source as it is between two sessions: none was under way, and none came and went. */
export const isSettled = (before: Known, after: Known): boolean =>
  !before.session && !after.session && JSON.stringify(before.position) === JSON.stringify(after.position)

interface LookedAt {
  facts: Pick<SourceFacts, 'version'> | RockpoolError
  problem: SourceProblem | null
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
  return { ...at, reachable: true, version: facts.version, problem: problem && { code: problem.code, message: problem.reason } }
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
