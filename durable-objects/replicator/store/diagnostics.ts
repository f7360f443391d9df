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

/** Whose problem it is: of a definition of sync configs, or of those that read a table, by the names that it goes by. */
export type ProblemOf = { definition: string } | { names: readonly TableName[] }

/** Problems that are kept: the last ones, each with its repetitions. */
export const KEPT = 100
/** Problems that are written at once in a minute. Beyond them, and when one repeats, memory waits for the end of the minute. */
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
 * What went wrong and did not stop the replicator: the last problems and a count for each code, kept over restarts. A stream of bad rows must not
 * cost a row written for each: at most 2 × AT_ONCE + KEPT + 1 rows are written in a minute, whatever comes.
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
    const problem = { code, table: table ?? null, key: key?.slice(0, MAX_KEY_LENGTH) ?? null, reason: reason.slice(0, MAX_REASON_LENGTH) }
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
      // A slot that is free, or that of the oldest.
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

  /** Writes what waits, when the minute is over. To be called now and then; `flush` does it at once. */
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

  /** `servesNobody`: whether that is of sync configs alone that were replaced. */
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
    this.#db.run('INSERT INTO diagnostics VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET body = excluded.body', slot, JSON.stringify(body))
  }
}

/** The row that holds the counts. */
const COUNTS_SLOT = 0
