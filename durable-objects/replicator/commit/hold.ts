import type { OpId } from '../../../protocol/ops.ts'
import { servedOf } from '../store/served.ts'
import type { State } from '../store/storage.ts'

type Commit = State['commit']

/** Returns true while the comparison is incomplete, so that no commit is served. */
export const isComparing = ({ hold }: Commit): boolean => hold !== null && hold.until === null

/**
 * Begins a hold, because what is stored from now on may not be a state of the source. A hold that exists, or waits for
 * its last commit, continues.
 */
export function held(commit: Commit, since: string): Commit {
  return { ...commit, hold: { ...servedOf(commit), since: commit.hold?.since ?? since, until: null } }
}

/** Completes a comparison: what is stored up to `counter` is a state of the source again. */
export function compared(commit: Commit, counter: OpId): Commit {
  if (commit.hold === null || commit.hold.until !== null) return commit
  return released({ ...commit, hold: { ...commit.hold, until: counter } })
}

/**
 * Returns the state after a commit. The last announced notice is kept for relays that lack exactly that one, also
 * during a hold.
 */
export function afterCommit(before: Commit, now: Omit<Commit, 'hold'>): Commit {
  return released({ ...now, hold: before.hold, named: before.hold ? before.named : now.named })
}

/**
 * Returns how relays hear of a commit: by its notice; by a gap after a hold, whose notices do not follow the last one;
 * or not at all.
 */
export function tellingOf(before: Commit, after: Commit): 'notice' | 'gap' | null {
  if (before.hold === null) return 'notice'
  return after.hold === null ? 'gap' : null
}

function released(commit: Commit): Commit {
  const { hold, committed } = commit
  return hold && hold.until !== null && committed >= hold.until ? { ...commit, hold: null, named: null } : commit
}
