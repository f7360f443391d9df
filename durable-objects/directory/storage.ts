import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { AuditEntry, NamedTenant, OverdueTenant } from '../../protocol/messages/directory.ts'
import type { TokenIdentity } from '../../tenants/stored/identities.ts'
import type { Owned, TenantRecord } from '../../tenants/stored/record.ts'
import type { Job } from './jobs.ts'
import { migrate, type Database, type SqlRow, type Step } from '../shared/database.ts'

/**
 * What the Directory keeps. Append-only: a released step never changes.
 *
 * tenants: one row a tenant; `record` is a `TenantRecord` as JSON, `sealed` its encrypted secrets. owned: what only one
 * tenant may have. identities: by what each accepts tokens. jobs: what is being done to tenants. due: when active ones
 * are to be heard of. tombstones: names that are not given again before `until` (ms since 1970). audit: what was done
 * to tenants.
 */
export const MIGRATIONS: readonly Step[] = [
  `
  CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE tenants (name TEXT PRIMARY KEY, named TEXT NOT NULL, sealed TEXT NOT NULL, record TEXT NOT NULL);
  CREATE TABLE owned (kind TEXT NOT NULL, value TEXT NOT NULL, tenant TEXT NOT NULL, PRIMARY KEY (kind, value)) WITHOUT ROWID;
  CREATE INDEX owned_by ON owned (tenant);
  CREATE TABLE identities (tenant TEXT NOT NULL, n INTEGER NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, n)) WITHOUT ROWID;
  CREATE INDEX identities_by_key ON identities (key, tenant);
  CREATE TABLE tombstones (name TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE audit (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
  `,
  // What is being done so that the objects of a tenant know its state, see `jobs.ts`.
  'CREATE TABLE jobs (tenant TEXT PRIMARY KEY, due INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID; CREATE INDEX jobs_by_due ON jobs (due)',
  // When active tenants are to be heard of, ms since 1970. Of those that were made before, nothing was heard.
  `
  CREATE TABLE due (tenant TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX due_by_time ON due (at);
  INSERT INTO due SELECT name, 0 FROM tenants WHERE named LIKE '%"state":"active"%';
  `,
  // Revocations that are to be told to replicators, and when, see `untold.ts`.
  `
  CREATE TABLE revocations (number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, body TEXT NOT NULL);
  CREATE INDEX revocations_by_tenant ON revocations (tenant, number);
  CREATE TABLE telling (tenant TEXT PRIMARY KEY, due INTEGER NOT NULL, failures INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;
  CREATE INDEX telling_by_due ON telling (due);
  `,
  // What tenants used on their day, in dollars, and what was done about it, see `spending.ts`.
  `
  CREATE TABLE spending (
    tenant TEXT PRIMARY KEY, day TEXT NOT NULL, last REAL NOT NULL, dollars REAL NOT NULL, excused REAL NOT NULL,
    hour INTEGER NOT NULL, this_hour REAL NOT NULL, last_hour REAL NOT NULL, paused INTEGER NOT NULL, spared INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE spending_day (id INTEGER PRIMARY KEY, day TEXT NOT NULL, told INTEGER NOT NULL, next REAL NOT NULL);
  `,
]

/** How often it is stored that the cron trigger runs, and after how long without it all tenants are woken: ms. */
const CRON_NOTED_MS = 5 * 60_000
export const BREAK_MS = 10 * 60_000
/** Within this time, so that within 10 minutes each has been woken by a run of the trigger. */
export const BREAK_SPREAD_MS = 8 * 60_000

/** Entries of the audit that are kept; older ones are forgotten. */
export const MAX_AUDIT = 100_000

export interface StoredTenant {
  record: TenantRecord
  /** By the names of their settings. */
  sealed: Record<string, string>
}

/** The claim of the tenant's tokens, and one of its identities. */
export interface StoredIdentity {
  tenant: string
  claim: string | null
  identity: TokenIdentity
}

const sealedShape = z.record(z.string(), z.string())
const identityShape = z.object({
  key: z.string(),
  audiences: z.array(z.string()),
  issuers: z.array(z.string()).nullable(),
  claim: z.string().nullable(),
})
const namedShape = z.object({ name: z.string(), version: z.number(), state: z.string(), hosts: z.array(z.string()) })
const entryShape = z.object({
  at: z.string(),
  by: z.string(),
  key: z.string().optional(),
  from: z.string().optional(),
  action: z.string(),
  tenant: z.string(),
  details: z.string().optional(),
})

/**
 * The tables of the Directory. Everything is synchronous; what decides is in `directory/decisions.ts`. The file is long
 * because it has every statement of the Directory.
 */
export class DirectoryStore {
  readonly #db: Database
  readonly #salt: string
  #named: Map<string, NamedTenant> | null = null

  constructor(db: Database) {
    this.#db = db
    migrate(db, MIGRATIONS)
    this.#salt = this.#stateOf('salt') ?? this.#setState('salt', randomBytes(16).toString('base64url'))
  }

  transaction<T>(work: () => T): T {
    try {
      return this.#db.transaction(work)
    } catch (error) {
      // What was undone may be in it.
      this.#named = null
      throw error
    }
  }

  /**
   * Grows whenever the list of names changes. It begins with a time, so that storage which was restored from a backup
   * does not repeat one.
   */
  get revision(): number {
    return Number(this.#stateOf('revision') ?? 0)
  }

  /** Whether a tenant was ever stored. From then on the settings of the script are none. */
  get adopted(): boolean {
    return this.#stateOf('adopted') !== null || this.named.size > 0
  }

  adopt(): void {
    if (this.#stateOf('adopted') === null) this.#setState('adopted', '1')
  }

  /** All tenants by name. They stay in memory: every isolate asks for them. */
  get named(): ReadonlyMap<string, NamedTenant> {
    return this.#names()
  }

  find(name: string): StoredTenant | null {
    const [row] = this.#db.all('SELECT sealed, record FROM tenants WHERE name = ?', name)
    return row
      ? {
          sealed: sealedShape.parse(JSON.parse(text(row, 'sealed'))),
          record: JSON.parse(text(row, 'record')) as TenantRecord,
        }
      : null
  }

  write({ record, sealed }: StoredTenant): void {
    const { name, version, state, hosts } = record
    const named: NamedTenant = { name, version, state, hosts }
    const insert = 'INSERT OR REPLACE INTO tenants (name, named, sealed, record) VALUES (?, ?, ?, ?)'
    this.#db.run(insert, name, JSON.stringify(named), JSON.stringify(sealed), JSON.stringify(record))
    this.#names().set(name, named)
    this.#listChanged()
    // At once: what has changed is of interest to its replicator.
    if (state === 'active') this.#db.run('INSERT OR REPLACE INTO due (tenant, at) VALUES (?, ?)', name, 0)
    else this.#db.run('DELETE FROM due WHERE tenant = ?', name)
  }

  /** When an active tenant is to be heard of next. Of others nothing is expected. */
  heard(tenant: string, due: number): void {
    const at = Math.ceil(due)
    this.#db.run('UPDATE due SET at = ? WHERE tenant = ? AND at <> ?', at, tenant, at)
  }

  /**
   * Called by each run of the cron trigger. When there was none for a long time, objects may have lost their alarms
   * meanwhile without a word: then all tenants become due, each at a random time within `BREAK_SPREAD_MS`. Returns
   * whether that was within this time. It costs one row in five minutes.
   */
  cronRan(now: number): boolean {
    const before = Number(this.#stateOf('cron') ?? 0)
    const since = Number(this.#stateOf('break') ?? 0)
    if (before === 0 || now - before >= CRON_NOTED_MS) this.#setState('cron', String(now))
    if (before > 0 && now - before >= BREAK_MS) {
      this.#setState('break', String(now))
      this.#db.run('UPDATE due SET at = MIN(at, ? + abs(random()) % ?)', now, BREAK_SPREAD_MS)
      return true
    }
    return since > 0 && now - since < 2 * BREAK_SPREAD_MS
  }

  /** Returns tenants that were due at a time, in ms since 1970, the longest overdue first. */
  overdue(at: number, limit: number): OverdueTenant[] {
    const rows = this.#db.all('SELECT tenant, at FROM due WHERE at <= ? ORDER BY at LIMIT ?', at, limit)
    return rows.map((row) => ({ name: text(row, 'tenant'), due: Number(row.at) }))
  }

  /**
   * Replaces encrypted secrets by the same ones under another key. The version stays, because nothing changes for those
   * who read them.
   */
  reseal(name: string, sealed: Record<string, string>): void {
    this.#db.run('UPDATE tenants SET sealed = ? WHERE name = ?', JSON.stringify(sealed), name)
  }

  /** Names after this one, in their order. */
  namesAfter(after: string, limit: number): string[] {
    return this.#db
      .all('SELECT name FROM tenants WHERE name > ? ORDER BY name LIMIT ?', after, limit)
      .map((row) => text(row, 'name'))
  }

  erase(name: string): void {
    this.#db.run('DELETE FROM tenants WHERE name = ?', name)
    this.#db.run('DELETE FROM owned WHERE tenant = ?', name)
    this.#db.run('DELETE FROM identities WHERE tenant = ?', name)
    this.#db.run('DELETE FROM jobs WHERE tenant = ?', name)
    this.#db.run('DELETE FROM due WHERE tenant = ?', name)
    this.#db.run('DELETE FROM revocations WHERE tenant = ?', name)
    this.#db.run('DELETE FROM telling WHERE tenant = ?', name)
    this.#names().delete(name)
    this.#listChanged()
  }

  /** Returns the tenant that has it, or null. */
  ownerOf({ kind, value }: Owned): string | null {
    const [row] = this.#db.all('SELECT tenant FROM owned WHERE kind = ? AND value = ?', kind, this.#hidden(value))
    return row ? text(row, 'tenant') : null
  }

  own(tenant: string, owned: readonly Owned[]): void {
    this.#db.run('DELETE FROM owned WHERE tenant = ?', tenant)
    for (const { kind, value } of owned) {
      this.#db.run('INSERT INTO owned (kind, value, tenant) VALUES (?, ?, ?)', kind, this.#hidden(value), tenant)
    }
  }

  /** Returns the identities of other tenants that take the same key. Their `key` is a hash of it. */
  identitiesLike(tenant: string, key: string): StoredIdentity[] {
    const rows = this.#db.all(
      'SELECT tenant, body FROM identities WHERE key = ? AND tenant <> ?',
      this.#hidden(key),
      tenant,
    )
    return rows.map((row) => {
      const { claim, ...identity } = identityShape.parse(JSON.parse(text(row, 'body')))
      return { tenant: text(row, 'tenant'), claim, identity: { ...identity, key } }
    })
  }

  identify(tenant: string, claim: string | null, identities: readonly TokenIdentity[]): void {
    this.#db.run('DELETE FROM identities WHERE tenant = ?', tenant)
    for (const [n, identity] of identities.entries()) {
      const key = this.#hidden(identity.key)
      const insert = 'INSERT INTO identities (tenant, n, key, body) VALUES (?, ?, ?, ?)'
      this.#db.run(insert, tenant, n, key, JSON.stringify({ ...identity, key, claim }))
    }
  }

  job(tenant: string): Job | null {
    const [row] = this.#db.all('SELECT body FROM jobs WHERE tenant = ?', tenant)
    return row ? jobOf(row) : null
  }

  /** Null: it is done. */
  setJob(tenant: string, job: Job | null): void {
    if (job === null) this.#db.run('DELETE FROM jobs WHERE tenant = ?', tenant)
    else
      this.#db.run(
        'INSERT OR REPLACE INTO jobs (tenant, due, body) VALUES (?, ?, ?)',
        tenant,
        Math.ceil(job.due),
        JSON.stringify(job),
      )
  }

  /** Returns tenants whose jobs are due at a time, in ms since 1970, the longest due first. */
  dueJobs(at: number, limit: number): string[] {
    return this.#db
      .all('SELECT tenant FROM jobs WHERE due <= ? ORDER BY due LIMIT ?', at, limit)
      .map((row) => text(row, 'tenant'))
  }

  /** When the next job is due, or null when there is none. */
  get nextJob(): number | null {
    const [row] = this.#db.all('SELECT due FROM jobs ORDER BY due LIMIT 1')
    return row ? Number(row.due) : null
  }

  /** Until when a name is not given again, in ms since 1970; null: it was not deleted. */
  tombstone(name: string): number | null {
    const [row] = this.#db.all('SELECT until FROM tombstones WHERE name = ?', name)
    return row ? Number(row.until) : null
  }

  /** Null takes it away. */
  setTombstone(name: string, until: number | null): void {
    if (until === null) this.#db.run('DELETE FROM tombstones WHERE name = ?', name)
    else this.#db.run('INSERT OR REPLACE INTO tombstones (name, until) VALUES (?, ?)', name, until)
  }

  note(entry: Omit<AuditEntry, 'number'>): void {
    this.#db.run('INSERT INTO audit (body) VALUES (?)', JSON.stringify(entry))
    this.#db.run('DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - ?', MAX_AUDIT)
  }

  audit(before: number, limit: number): AuditEntry[] {
    const rows = this.#db.all(
      'SELECT number, body FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?',
      before,
      limit,
    )
    return rows.map((row) => ({ number: Number(row.number), ...entryShape.parse(JSON.parse(text(row, 'body'))) }))
  }

  #listChanged(): void {
    this.#setState('revision', String(Math.max(this.revision + 1, Date.now())))
  }

  #names(): Map<string, NamedTenant> {
    if (this.#named === null) {
      const rows = this.#db.all('SELECT named FROM tenants')
      this.#named = new Map(
        rows.map((row) => namedShape.parse(JSON.parse(text(row, 'named')))).map((named) => [named.name, named]),
      )
    }
    return this.#named
  }

  /**
   * Secrets and addresses are compared, not kept: whoever reads the storage cannot try guesses without the salt of this
   * Directory.
   */
  #hidden(value: string): string {
    return createHash('sha256').update(`${this.#salt}\n${value}`).digest('base64url')
  }

  #stateOf(key: string): string | null {
    const [row] = this.#db.all('SELECT value FROM state WHERE key = ?', key)
    return row ? text(row, 'value') : null
  }

  #setState(key: string, value: string): string {
    this.#db.run('INSERT OR REPLACE INTO state (key, value) VALUES (?, ?)', key, value)
    return value
  }
}

const jobOf = (row: SqlRow): Job => JSON.parse(text(row, 'body')) as Job
const text = (row: SqlRow, column: string): string => String(row[column])
