import { RockpoolError } from '../../protocol/errors.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import { MAX_REVOCATIONS, type Subject } from '../../protocol/revocations.ts'
import type { Database, SqlRow } from '../shared/database.ts'

/** A change of revocations that the tenant's replicator has not been told, or not with all that it has to tell. */
export interface UntoldChange {
  /** Orders the changes of all tenants, also over a restored backup: it begins with a time. */
  number: number
  change: RevocationChange
}

/** Why the last attempt failed, and when the next one is due: ms since 1970. */
export interface FailedTelling {
  failures: number
  due: number
  error: string
}

/**
 * What operators have revoked or taken back, until the replicator has done it: it keeps the list. Everything is
 * synchronous.
 */
export class Untold {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  /**
   * Adds a change, due at once, and returns its number. What was to be done about the same subject before is left out
   * when it is taken back. Throws ROCKPOOL_TENANT_CONFLICT when too many wait.
   */
  add(tenant: string, change: RevocationChange, now: number): number {
    if (change.kind === 'unrevoke') this.#leaveOut(tenant, change.subject)
    const [row] = this.#db.all('SELECT count(*) AS n FROM revocations WHERE tenant = ?', tenant)
    if (Number(row?.n) >= MAX_REVOCATIONS)
      throw new RockpoolError(
        'ROCKPOOL_TENANT_CONFLICT',
        `${MAX_REVOCATIONS} revocations of the tenant ${tenant} wait until its replicator can be told: its status says why`,
      )
    const number = this.#nextNumber(now)
    this.#insert(tenant, { number, change })
    const due = this.failed(tenant)
    this.setFailed(tenant, { failures: due?.failures ?? 0, error: due?.error ?? '', due: now })
    return number
  }

  /** Returns the first change of a tenant up to a number, or null. */
  next(tenant: string, upTo: number): UntoldChange | null {
    const [row] = this.#db.all(
      'SELECT number, body FROM revocations WHERE tenant = ? AND number <= ? ORDER BY number LIMIT 1',
      tenant,
      upTo,
    )
    return row ? changeIn(row) : null
  }

  /** The number of the last change of a tenant; 0 when there is none. */
  last(tenant: string): number {
    const [row] = this.#db.all('SELECT max(number) AS n FROM revocations WHERE tenant = ?', tenant)
    return Number(row?.n ?? 0)
  }

  list(tenant: string, limit: number): UntoldChange[] {
    return this.#db
      .all('SELECT number, body FROM revocations WHERE tenant = ? ORDER BY number LIMIT ?', tenant, limit)
      .map(changeIn)
  }

  /** The replicator has done it, or it is not wanted any more. */
  done(tenant: string, number: number): void {
    this.#db.run('DELETE FROM revocations WHERE number = ?', number)
    const [row] = this.#db.all('SELECT 1 FROM revocations WHERE tenant = ? LIMIT 1', tenant)
    if (row === undefined) this.#db.run('DELETE FROM telling WHERE tenant = ?', tenant)
  }

  /** It waits behind the others: a number that is lower than one that was told would count as late. */
  postpone(tenant: string, { number, change }: UntoldChange, now: number): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM revocations WHERE number = ?', number)
      this.#insert(tenant, { number: this.#nextNumber(now), change })
    })
  }

  failed(tenant: string): FailedTelling | null {
    const [row] = this.#db.all('SELECT due, failures, error FROM telling WHERE tenant = ?', tenant)
    return row ? { due: Number(row.due), failures: Number(row.failures), error: String(row.error) } : null
  }

  setFailed(tenant: string, { due, failures, error }: FailedTelling): void {
    const insert = 'INSERT OR REPLACE INTO telling (tenant, due, failures, error) VALUES (?, ?, ?, ?)'
    this.#db.run(insert, tenant, Math.ceil(due), failures, error)
  }

  /** Returns tenants whose changes are due at a time, in ms since 1970. */
  due(at: number, limit: number): string[] {
    return this.#db
      .all('SELECT tenant FROM telling WHERE due <= ? ORDER BY due LIMIT ?', at, limit)
      .map((row) => String(row.tenant))
  }

  /** When the next attempt is due, or null. */
  get nextDue(): number | null {
    const [row] = this.#db.all('SELECT due FROM telling ORDER BY due LIMIT 1')
    return row ? Number(row.due) : null
  }

  #leaveOut(tenant: string, { of, value }: Subject): void {
    for (const { number, change } of this.list(tenant, MAX_REVOCATIONS)) {
      if (change.kind !== 'revoke' || change.revocation.of !== of || change.revocation.value !== value) continue
      this.#db.run('DELETE FROM revocations WHERE number = ?', number)
    }
  }

  #nextNumber(now: number): number {
    const [row] = this.#db.all("SELECT value FROM state WHERE key = 'revocation'")
    const number = Math.max(Number(row?.value ?? 0) + 1, now)
    this.#db.run("INSERT OR REPLACE INTO state (key, value) VALUES ('revocation', ?)", String(number))
    return number
  }

  #insert(tenant: string, { number, change }: UntoldChange): void {
    const insert = 'INSERT INTO revocations (number, tenant, body) VALUES (?, ?, ?)'
    this.#db.run(insert, number, tenant, JSON.stringify(change))
  }
}

const changeIn = (row: SqlRow): UntoldChange => ({
  number: Number(row.number),
  change: JSON.parse(String(row.body)) as RevocationChange,
})
