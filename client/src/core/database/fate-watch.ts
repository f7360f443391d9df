import type { Sqlite } from '../../sqlite/sqlite.ts'
import { fateOf, type Fate } from '../store/fates.ts'

// Promises about what becomes of writes. What they say is in the file, so a promise that is asked for after a reload
// says the same.

/** `unknown`: no write of this id is known, or it is forgotten. */
export type Verdict =
  { result: 'accepted' } | { result: 'rejected'; code: string; message: string } | { result: 'unknown' }

export interface WrittenPromises {
  /** Resolves with the server's decision, and never rejects. */
  readonly accepted: Promise<Verdict>
  /** The same, once its effect has come back: then the server has it, and every other client may. */
  readonly confirmed: Promise<Verdict>
}

interface Watched extends WrittenPromises {
  accept(verdict: Verdict): void
  confirm(verdict: Verdict): void
}

export class FateWatch {
  readonly #db: Sqlite
  readonly #open = new Map<string, Watched>()

  constructor(db: Sqlite) {
    this.#db = db
  }

  /** The caller has the turn. */
  watch(id: string): WrittenPromises {
    const known = this.#open.get(id)
    if (known) return known
    const accepted = Promise.withResolvers<Verdict>()
    const confirmed = Promise.withResolvers<Verdict>()
    const watched = {
      accepted: accepted.promise,
      confirmed: confirmed.promise,
      accept: accepted.resolve,
      confirm: confirmed.resolve,
    }
    this.#open.set(id, watched)
    this.#look(id, watched)
    return watched
  }

  /** Something may have been decided. The caller has the turn. */
  look(): void {
    for (const [id, watched] of [...this.#open]) this.#look(id, watched)
  }

  #look(id: string, watched: Watched): void {
    const fate = fateOf(this.#db, id)
    if (fate?.result === 'pending') return
    const verdict = verdictOf(fate)
    watched.accept(verdict)
    if (fate?.result === 'accepted' && !fate.confirmed) return
    watched.confirm(verdict)
    this.#open.delete(id)
  }
}

function verdictOf(fate: Exclude<Fate, { result: 'pending' }> | null): Verdict {
  if (fate === null) return { result: 'unknown' }
  return fate.result === 'accepted' ? { result: 'accepted' } : fate
}
