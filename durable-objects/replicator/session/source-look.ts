import type { SourceFacts, SourceProblem } from '../../../sources/source.ts'
import type { RockpoolError } from '../../../protocol/errors.ts'
import type { SourceLook } from '../../../protocol/messages/status.ts'
import type { State } from '../store/storage.ts'

/** What the replicator knew of the source before an examination, or knows after it. */
export interface KnownOfSource {
  position: State['decode']['position']
  /** A session is under way. */
  session: boolean
}

/**
 * Returns whether the source was examined between two sessions: none was under way, and none began and ended meanwhile.
 */
export const isSettled = (before: KnownOfSource, after: KnownOfSource): boolean =>
  !before.session && !after.session && JSON.stringify(before.position) === JSON.stringify(after.position)

interface LookedAt {
  facts: Pick<SourceFacts, 'version'> | RockpoolError
  problem: SourceProblem | null
  /** Ms since 1970. */
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
  return {
    ...at,
    reachable: true,
    version: facts.version,
    problem: problem && { code: problem.code, message: problem.reason },
  }
}

/**
 * Makes one call at a time. A caller that comes while one is under way, or within `freshMs` of its end, gets its
 * answer. All callers must be in one object, whose calls share a context.
 */
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
