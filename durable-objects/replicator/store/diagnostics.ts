import type { Diagnostic, DiagnosticCode, DiagnosticsStatus } from '../../../protocol/diagnostics.ts'
import type { TableName } from '../../../protocol/tables.ts'
import type { Database } from '../../shared/database.ts'

export interface Problem {
  code: DiagnosticCode
  /** `schema.name` */
  table?: string
  key?: string
  reason: string
  of?: ProblemOf
}

/** What a problem concerns: a definition, or the definitions that read a table with these names. */
export type ProblemOf = { definition: string } | { names: readonly TableName[] }

/** The number of problems that are kept, the last ones, each with its repetitions. */
export const KEPT = 100
/**
 * The number of problems in a minute that are written at once. Further ones, and repetitions, are written at the end of
 * the minute.
 */
export const AT_ONCE = 10
export const MINUTE_MS = 60_000
const MAX_REASON_LENGTH = 500
const MAX_KEY_LENGTH = 200

interface Stored extends Diagnostic {
  of?: ProblemOf
}

interface Entry extends Stored {
  slot: number
  dirty: boolean
}

/**
 * Problems that did not stop the replicator: the last ones, and a count for each code, which survive restarts. A stream
 * of bad rows must not cost a written row for each, so at most 2 × AT_ONCE + KEPT + 1 rows are written in a minute.
 */
export class Diagnostics {
  readonly #db: Database
  readonly #now: () => number
  /** Oldest first. */
  readonly #entries: Entry[] = []
  readonly #counts = new Map<DiagnosticCode, number>()
  #countsDirty = false
  #minute = 0
  #written = 0

  constructor(db: Database, now: () => number = Date.now) {
    this.#db = db
    this.#now = now
    for (const row of db.all('SELECT slot, body FROM diagnostics')) {
      const slot = Number(row.slot)
      if (slot === COUNTS_SLOT) this.#counts = new Map(JSON.parse(String(row.body)) as [DiagnosticCode, number][])
      else this.#entries.push({ ...(JSON.parse(String(row.body)) as Stored), slot, dirty: false })
    }
    this.#entries.sort((a, b) => (a.last < b.last ? -1 : 1))
  }

  add({ code, table, key, reason, of }: Problem): void {
    const time = this.#now()
    const last = new Date(time).toISOString()
    const problem = {
      code,
      table: table ?? null,
      key: key?.slice(0, MAX_KEY_LENGTH) ?? null,
      reason: reason.slice(0, MAX_REASON_LENGTH),
    }
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1)
    this.#countsDirty = true
    const at = this.#entries.findIndex(
      (each) =>
        each.code === code &&
        each.table === problem.table &&
        each.key === problem.key &&
        each.reason === problem.reason &&
        JSON.stringify(each.of) === JSON.stringify(of),
    )
    const known = this.#entries[at]
    if (known) {
      this.#entries.splice(at, 1)
      this.#entries.push(Object.assign(known, { last, count: known.count + 1, dirty: true }))
    } else {
      // A free slot, or that of the oldest problem.
      const slot = this.#entries.length < KEPT ? this.#entries.length + 1 : (this.#entries.shift()?.slot ?? 1)
      this.#entries.push({ ...problem, first: last, last, count: 1, ...(of && { of }), slot, dirty: true })
    }
    this.tick()
    const newest = this.#entries.at(-1)
    if (known === undefined && newest?.dirty && this.#written < AT_ONCE) {
      this.#written++
      this.#write(newest)
      this.#saveCounts()
    }
  }

  /** Writes what waits when the minute is over. Must be called regularly. `flush` writes at once. */
  tick(): void {
    if (this.#now() - this.#minute >= MINUTE_MS) this.flush()
  }

  flush(): void {
    this.#minute = this.#now()
    this.#written = 0
    for (const entry of this.#entries) if (entry.dirty) this.#write(entry)
    this.#saveCounts()
  }

  count(code: DiagnosticCode): number {
    return this.#counts.get(code) ?? 0
  }

  /** Returns the problems. `servesNobody` returns true for one that concerns only replaced sync configs. */
  status(servesNobody: (of: ProblemOf) => boolean = () => false): DiagnosticsStatus {
    const recent = this.#entries
      .map(({ slot: _, dirty: __, of, ...diagnostic }): Diagnostic => ({
        ...diagnostic,
        ...(of && servesNobody(of) && { replaced: true }),
      }))
      .reverse()
    return { counts: Object.fromEntries(this.#counts), recent }
  }

  #saveCounts(): void {
    if (!this.#countsDirty) return
    this.#countsDirty = false
    this.#save(COUNTS_SLOT, [...this.#counts])
  }

  #write(entry: Entry): void {
    entry.dirty = false
    const { slot, dirty: _, ...diagnostic } = entry
    this.#save(slot, diagnostic)
  }

  #save(slot: number, body: unknown): void {
    this.#db.run(
      'INSERT INTO diagnostics VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET body = excluded.body',
      slot,
      JSON.stringify(body),
    )
  }
}

/** The slot of the row with the counts. */
const COUNTS_SLOT = 0
