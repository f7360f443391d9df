import type { OpId } from '../../../protocol/ops.ts'
import { servedOf } from '../store/served.ts'
import type { State } from '../store/storage.ts'

type Commit = State['commit']

/** The comparison is not complete: no commit is served. */
export const isComparing = ({ hold }: Commit): boolean => hold !== null && hold.until === null

/** What is stored from now on may be no state of the source. A hold that stands, or that waits for its last commit, goes on. */
export function held(commit: Commit, since: string): Commit {
  return { ...commit, hold: { ...servedOf(commit), since: commit.hold?.since ?? since, until: null } }
}

/** What is stored up to `counter` is a state of the source again. */
export function compared(commit: Commit, counter: OpId): Commit {
  if (commit.hold === null || commit.hold.until !== null) return commit
  return released({ ...commit, hold: { ...commit.hold, until: counter } })
}

/** The state behind a commit. A notice is kept for those that it follows: while it is held, the last one that was told. */
export function afterCommit(before: Commit, now: Omit<Commit, 'hold'>): Commit {
  return released({ ...now, hold: before.hold, named: before.hold ? before.named : now.named })
}

/** How the relays are told: by the notice of the commit, by a gap, because what was held is no notice that follows the last one, or not at all. */
export function tellingOf(before: Commit, after: Commit): 'notice' | 'gap' | null {
  if (before.hold === null) return 'notice'
  return after.hold === null ? 'gap' : null
}

function released(commit: Commit): Commit {
  const { hold, committed } = commit
  return hold && hold.until !== null && committed >= hold.until ? { ...commit, hold: null, named: null } : commit
}
