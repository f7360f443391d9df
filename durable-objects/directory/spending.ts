import type { Spent, SpentBy } from '../../protocol/messages/directory.ts'
import { dayOf, dollarsOf, nextDay, type DayUsage } from '../../protocol/dollars.ts'
import type { Database, SqlRow } from '../shared/database.ts'

// What all tenants together use on a day of UTC, as their replicators report it, and which of them are paused when the
// budget of the deployment is nearly used up. A tenant learns of it by the answer to its next report, which comes the
// sooner the more it uses.

const HOUR_MS = 3_600_000
/** Parts of the budget, in percent, that operators are told of, once a day each. */
const TOLD = [50, 80, 90, 100]
/** From this part of the budget on, the tenant that used most lately is paused; and the next one after each `STEP`. */
const PAUSE = 0.9
const STEP = 0.01

/** What has come of a report. */
export interface Reported {
  /** Until when the tenant that reports is paused, in ms since 1970; null: it goes on. */
  pausedUntil: number | null
  /** The tenant that was chosen to be paused just now. It may be another one. */
  chosen: string | null
  /** The part of the budget, in percent, that was reached just now. */
  reached: number | null
  /** Of all tenants, on this day. */
  dollars: number
}

/** A tenant on one day, in dollars. */
interface Row {
  /** What it last reported. */
  last: number
  dollars: number
  /** What it used while it was paused, or let go on by an operator. No other tenant is paused for it. */
  excused: number
  /** The hour in which it last reported, what it used in that hour, and in the one before. */
  hour: number
  thisHour: number
  lastHour: number
  paused: boolean
  /** An operator let it go on, for the rest of the day. */
  spared: boolean
}

interface Day {
  day: string
  dollars: number
  excused: number
  /** The largest of `TOLD` that was told. */
  told: number
  /** At how many dollars, without what is excused, the next tenant is paused. */
  next: number
}

const NEW: Row = { last: 0, dollars: 0, excused: 0, hour: 0, thisHour: 0, lastHour: 0, paused: false, spared: false }

/** Everything is synchronous. A report costs one row, and no more the more tenants there are. */
export class Spending {
  readonly #db: Database
  #day: Day | null = null

  constructor(db: Database) {
    this.#db = db
  }

  /**
   * A tenant says what it has used on its day. It says the whole, so that a report which is lost or repeated changes
   * nothing.
   */
  report(tenant: string, usage: DayUsage, budget: number, now: number): Reported {
    const { day } = usage
    // Of another day, by a report that came late or a clock that goes wrong.
    if (day !== dayOf(now)) return { pausedUntil: null, chosen: null, reached: null, dollars: this.#today(now).dollars }
    try {
      return this.#db.transaction(() => this.#report(tenant, usage, budget, now))
    } catch (error) {
      // What was undone may be in it.
      this.#day = null
      throw error
    }
  }

  #report(tenant: string, usage: DayUsage, budget: number, now: number): Reported {
    const today = this.#today(now)
    const before = this.#row(tenant, today.day) ?? NEW
    const last = dollarsOf(usage)
    // It is less when a replicator was ended before it had stored what it counted. That was used, and is used again.
    const used = Math.max(0, last - before.last)
    const isPausedNow = isPausedAt(today, before, budget)
    const excused = before.spared || isPausedNow ? used : 0
    const hour = Math.floor(now / HOUR_MS)
    const lately = latelyAt(hour, before)
    const row: Row = {
      ...before,
      ...lately,
      last,
      dollars: before.dollars + used,
      excused: before.excused + excused,
      thisHour: lately.thisHour + used,
      // With a larger budget it goes on, and may be chosen again.
      paused: before.paused && isPausedNow,
    }
    today.dollars += used
    today.excused += excused
    this.#write(tenant, today.day, row)
    // Whoever used something that counts may be chosen. So the table is looked through only when somebody is.
    const chosen = used > excused ? this.#choose(today, budget, hour) : null
    const reached = TOLD.findLast((percent) => today.dollars >= (budget * percent) / 100) ?? 0
    const isNews = reached > today.told
    if (isNews) today.told = reached
    if (isNews || chosen !== null) this.#writeDay(today)
    const isPaused = isPausedAt(today, { ...row, paused: row.paused || chosen === tenant }, budget)
    return {
      pausedUntil: isPaused ? nextDay(now) : null,
      chosen,
      reached: isNews ? reached : null,
      dollars: today.dollars,
    }
  }

  /** An operator lets a tenant that is paused go on for the rest of the day. */
  spare(tenant: string, budget: number, now: number): void {
    const today = this.#today(now)
    const row = this.#row(tenant, today.day)
    if (row !== null && isPausedAt(today, row, budget))
      this.#write(tenant, today.day, { ...row, paused: false, spared: true })
  }

  /** A tenant is deleted. What it has used stays used, and one of the same name begins at nothing. */
  forget(tenant: string): void {
    this.#db.run('UPDATE spending SET last = 0, hour = 0, paused = 0, spared = 0 WHERE tenant = ?', tenant)
  }

  /** Returns what was used today, by the tenants that used most. */
  show(budget: number | null, now: number, limit: number): Spent {
    const today = this.#today(now)
    const hour = Math.floor(now / HOUR_MS)
    const rows = this.#db.all(
      'SELECT * FROM spending WHERE day = ? ORDER BY dollars DESC, tenant LIMIT ?',
      today.day,
      limit,
    )
    const tenants = rows.map((each): SpentBy => {
      const row = rowOf(each)
      const { thisHour, lastHour } = latelyAt(hour, row)
      return {
        name: String(each.tenant),
        dollars: row.dollars,
        lately: thisHour + lastHour,
        paused: budget !== null && isPausedAt(today, row, budget),
      }
    })
    return { day: today.day, budget, dollars: today.dollars, tenants }
  }

  /** Pauses the tenant that used most in this hour and the one before, when it is time. */
  #choose(today: Day, budget: number, hour: number): string | null {
    const counted = today.dollars - today.excused
    if (counted < PAUSE * budget || counted < today.next) return null
    const [found] = this.#db.all(
      `SELECT tenant, CASE WHEN hour = ? THEN this_hour + last_hour WHEN hour = ? - 1 THEN this_hour ELSE 0 END AS lately
       FROM spending WHERE day = ? AND paused = 0 AND spared = 0 AND lately > 0 ORDER BY lately DESC LIMIT 1`,
      hour,
      hour,
      today.day,
    )
    if (found === undefined) return null
    const tenant = String(found.tenant)
    this.#db.run('UPDATE spending SET paused = 1 WHERE tenant = ?', tenant)
    today.next = counted + STEP * budget
    return tenant
  }

  /** The day at a time. A new one begins at nothing. */
  #today(now: number): Day {
    const day = dayOf(now)
    if (this.#day?.day === day) return this.#day
    // What deleted tenants used counted on their last day. Their names go with it.
    this.#db.run('DELETE FROM spending WHERE day <> ? AND tenant NOT IN (SELECT name FROM tenants)', day)
    const [sums] = this.#db.all(
      'SELECT total(dollars) AS dollars, total(excused) AS excused FROM spending WHERE day = ?',
      day,
    )
    const [stored] = this.#db.all('SELECT told, next FROM spending_day WHERE day = ?', day)
    this.#day = {
      day,
      dollars: Number(sums?.dollars ?? 0),
      excused: Number(sums?.excused ?? 0),
      told: Number(stored?.told ?? 0),
      next: Number(stored?.next ?? 0),
    }
    return this.#day
  }

  #row(tenant: string, day: string): Row | null {
    const [row] = this.#db.all('SELECT * FROM spending WHERE tenant = ? AND day = ?', tenant, day)
    return row ? rowOf(row) : null
  }

  #write(tenant: string, day: string, { last, dollars, excused, hour, thisHour, lastHour, paused, spared }: Row): void {
    this.#db.run(
      `INSERT OR REPLACE INTO spending (tenant, day, last, dollars, excused, hour, this_hour, last_hour, paused, spared)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      tenant,
      day,
      last,
      dollars,
      excused,
      hour,
      thisHour,
      lastHour,
      Number(paused),
      Number(spared),
    )
  }

  #writeDay({ day, told, next }: Day): void {
    this.#db.run('INSERT OR REPLACE INTO spending_day (id, day, told, next) VALUES (1, ?, ?, ?)', day, told, next)
  }
}

/** Whether a tenant is paused. At the end of the budget all are, but for those that an operator let go on. */
function isPausedAt({ dollars, excused }: Day, { paused, spared }: Row, budget: number): boolean {
  const counted = dollars - excused
  return !spared && (counted >= budget || (paused && counted >= PAUSE * budget))
}

function latelyAt(hour: number, row: Row): Pick<Row, 'hour' | 'thisHour' | 'lastHour'> {
  if (row.hour === hour) return row
  return { hour, thisHour: 0, lastHour: row.hour === hour - 1 ? row.thisHour : 0 }
}

const rowOf = (row: SqlRow): Row => ({
  last: Number(row.last),
  dollars: Number(row.dollars),
  excused: Number(row.excused),
  hour: Number(row.hour),
  thisHour: Number(row.this_hour),
  lastHour: Number(row.last_hour),
  paused: row.paused === 1,
  spared: row.spared === 1,
})
