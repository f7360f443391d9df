import { RockpoolError } from '../../../protocol/errors.ts'
import type { Checked, RevocationChange, StoredRevocation } from '../../../protocol/messages/replicator.ts'
import {
  isRevoked,
  MAX_REVOCATIONS,
  REVOKED_BY,
  subjectHash,
  type Revocation,
  type Subject,
  type TokenMark,
} from '../../../protocol/revocations.ts'
import type { Database, SqlRow } from '../../shared/database.ts'
import type { StateStore } from './storage.ts'

/**
 * The tokens that are refused. The list that counts is this one: whoever is to decide about a token asks the
 * replicator, or was told by it. Reads are served from memory.
 */
export class Revocations {
  readonly #db: Database
  readonly #state: StateStore
  readonly #now: () => number
  /** What tokens are compared with, by the subject's kind and hash. */
  readonly #before = new Map<string, number | null>()

  /** `now`: ms since 1970. */
  constructor(db: Database, state: StateStore, now: () => number = Date.now) {
    this.#db = db
    this.#state = state
    this.#now = now
    for (const row of db.all('SELECT kind, value, before FROM revocations'))
      this.#before.set(keyOf(subjectIn(row)), numberIn(row, 'before'))
  }

  /** The number of the newest one; 0 when there never was any. */
  get revision(): number {
    return this.#state.get('revoked').revision
  }

  get size(): number {
    return this.#before.size
  }

  /** Throws PSYNC_S2107 for a token that is refused. */
  refuse(token: TokenMark | undefined): void {
    if (token !== undefined && this.#has(token)) throw new RockpoolError('PSYNC_S2107', 'the token was revoked')
  }

  /** Returns what is said of tokens along with another answer; nothing when none was asked about. */
  check(tokens: readonly TokenMark[] | undefined): Checked {
    if (tokens === undefined) return {}
    return { revoked: tokens.flatMap((token, i) => (this.#has(token) ? [i] : [])), revision: this.revision }
  }

  /** Returns whether a change was overtaken by a later one of the Directory, and must not be made any more. */
  isLate({ number }: RevocationChange): boolean {
    return number !== undefined && number < this.#state.get('revoked').number
  }

  /** Throws ROCKPOOL_TENANT_CONFLICT when there is no room for a change, because too many have not expired. */
  makeRoom(change: RevocationChange): void {
    if (change.kind === 'unrevoke') return
    const expired = this.#db.all('SELECT kind, value FROM revocations WHERE until < ?', this.#now() / 1_000)
    for (const row of expired) this.#remove(subjectIn(row))
    if (this.#before.size < MAX_REVOCATIONS || this.#before.has(keyOf(change.revocation))) return
    throw new RockpoolError(
      'ROCKPOOL_TENANT_CONFLICT',
      `there are ${MAX_REVOCATIONS} revocations that have not expired, and a tenant has no more: take some back, or give the tenant other keys for its tokens`,
    )
  }

  /** Makes a change, in the transaction of the caller. Of two revocations of one subject the stricter one counts. */
  change(change: RevocationChange): void {
    const { revision, number } = this.#state.get('revoked')
    if (change.kind === 'revoke') this.#add(change.revocation, change.by)
    else this.#remove(change.subject)
    this.#state.set('revoked', {
      revision: revision + (change.kind === 'revoke' ? 1 : 0),
      number: change.number ?? number,
    })
  }

  list(after: Subject | undefined, limit: number): StoredRevocation[] {
    const rows = this.#db.all(
      'SELECT * FROM revocations WHERE (kind, value) > (?, ?) ORDER BY kind, value LIMIT ?',
      after?.of ?? '',
      after?.value ?? '',
      limit,
    )
    return rows.map((row) => ({
      ...subjectIn(row),
      before: numberIn(row, 'before'),
      until: numberIn(row, 'until'),
      by: String(row.by_whom),
      at: String(row.at),
    }))
  }

  #has(token: TokenMark): boolean {
    return this.#before.size > 0 && isRevoked(token, (of, hash) => this.#before.get(`${of} ${hash}`))
  }

  #add(revocation: Revocation, by: string): void {
    const { of, value } = revocation
    const [row] = this.#db.all('SELECT before, until FROM revocations WHERE kind = ? AND value = ?', of, value)
    const before = row ? later(numberIn(row, 'before'), revocation.before) : revocation.before
    const until = row ? later(numberIn(row, 'until'), revocation.until) : revocation.until
    this.#db.run(
      'INSERT OR REPLACE INTO revocations (kind, value, before, until, by_whom, at) VALUES (?, ?, ?, ?, ?, ?)',
      of,
      value,
      before,
      until,
      by,
      new Date(this.#now()).toISOString(),
    )
    this.#before.set(keyOf(revocation), before)
  }

  #remove(subject: Subject): void {
    this.#db.run('DELETE FROM revocations WHERE kind = ? AND value = ?', subject.of, subject.value)
    this.#before.delete(keyOf(subject))
  }
}

/** Null is later than any time. */
const later = (a: number | null, b: number | null): number | null => (a === null || b === null ? null : Math.max(a, b))

const keyOf = ({ of, value }: Subject): string => `${of} ${subjectHash(value)}`

function subjectIn(row: SqlRow): Subject {
  const of = REVOKED_BY.find((each) => each === row.kind)
  if (of === undefined) throw new RockpoolError('ROCKPOOL_INTERNAL', `revocations of the kind ${String(row.kind)}`)
  return { of, value: String(row.value) }
}

const numberIn = (row: SqlRow, column: string): number | null => (row[column] === null ? null : Number(row[column]))
