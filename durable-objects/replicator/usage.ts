import { dayOf, nextDay } from '../../protocol/dollars.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { Allowance } from '../../protocol/messages/directory.ts'
import type { PausedStatus, UsageStatus } from '../../protocol/messages/status.ts'
import { levelOf, NO_BUDGET, type Level, type LimitName, type TenantBudget } from '../../tenants/budget.ts'
import { inBytes, type StoredSize } from './stored-size.ts'
import type { Diagnostics } from './store/diagnostics.ts'
import type { StateStore } from './store/storage.ts'
import type { Paused, StoredUsage } from './store/stored.ts'

/** Rows that are counted in memory only: that many at most are forgotten when the object is ended. */
export const UNSTORED_ROWS = 10_000
/** Rows after which the Directory is told in the middle of a session: 0.10 dollars. */
export const REPORTED_ROWS = 100_000

export interface UsagePorts {
  tenant: string
  state: Pick<StateStore, 'get' | 'set'>
  diagnostics: Pick<Diagnostics, 'add'>
  /** Rows written, and calls of buckets, since the object started. */
  written(): { rows: number; appends: number }
  now(): number
  /** Tells the Directory what was used. */
  report(): void
  stored: Pick<StoredSize, 'bytes' | 'measured' | 'goodUntil' | 'measure' | 'note'>
}

/** Counts what a tenant uses, and says when it has used as much as it may. */
export class Usage {
  readonly #ports: UsagePorts
  #budget = NO_BUDGET
  /** What of `written` is in the stored usage. */
  #counted = { rows: 0, appends: 0 }
  #sessionBegan: number | null = null
  /** Rows written when the Directory was last told. */
  #reported = 0

  constructor(ports: UsagePorts) {
    this.#ports = ports
  }

  /** What was used today. */
  get today(): StoredUsage {
    const { state, written, now } = this.#ports
    const day = dayOf(now())
    const stored = state.get('usage')
    const before =
      stored?.day === day
        ? stored
        : { day, rows: 0, requests: 0, awakeMs: 0, level: 'within' as const, ...storedLevelOf(stored) }
    const { rows, appends } = written()
    const newAppends = appends - this.#counted.appends
    return {
      ...before,
      rows: before.rows + rows - this.#counted.rows + newAppends,
      requests: before.requests + newAppends,
      awakeMs: before.awakeMs + (this.#sessionBegan === null ? 0 : now() - this.#sessionBegan),
    }
  }

  /** A session is to begin, with what the tenant may use now. Returns why it must not, or null. */
  begin(budget: TenantBudget): Paused | null {
    this.#budget = budget
    this.check()
    const { state, now } = this.#ports
    const paused = state.get('paused')
    const isOver = paused !== null && now() >= paused.until
    const isRaised =
      (paused?.why === 'rowsPerDay' && this.#levelAt(this.today.rows) !== 'refuse') ||
      (paused?.why === 'storedGb' && this.#storedLevel !== 'refuse')
    if (isOver || isRaised) state.set('paused', null)
    return state.get('paused')
  }

  /** The same, when it is not paused: measures what is stored, if that is limited and it is time to. */
  async beginStored(): Promise<Paused | null> {
    const { state, stored, now } = this.#ports
    const isMeasured = await stored.measure(this.#budget.storedGb)
    const level = this.#storedLevel
    const { today } = this
    if (level !== (today.storedLevel ?? 'within')) {
      if (level !== 'within') this.tell('storedGb', level, stored.bytes ?? 0)
      this.#store({ ...today, storedLevel: level })
    }
    if (level === 'refuse') {
      // What was appended since is rather too much: compaction may have made room, which is seen when that is over.
      this.pause({ why: 'storedGb', until: isMeasured ? nextDay(now()) : stored.goodUntil })
    }
    return state.get('paused')
  }

  sessionBegan(): void {
    this.#sessionBegan = this.#ports.now()
  }

  sessionEnded(): void {
    this.flush(1)
  }

  /** Called while rows are written. Returns whether the session must end. */
  check(): boolean {
    const { state, now, written, report } = this.#ports
    const today = this.today
    const { rows, appends } = written()
    if (rows + appends - this.#reported >= REPORTED_ROWS) {
      this.#reported = rows + appends
      report()
    }
    const level = this.#levelAt(today.rows)
    if (today.rows - (state.get('usage')?.rows ?? 0) >= UNSTORED_ROWS || today.day !== state.get('usage')?.day)
      this.flush()
    if (level !== today.level) {
      if (level !== 'within') this.tell('rowsPerDay', level, today.rows)
      this.#store({ ...this.today, level })
    }
    if (level === 'refuse') this.pause({ why: 'rowsPerDay', until: nextDay(now()) })
    // The next session measures first.
    return state.get('paused') !== null || this.#storedLevel === 'refuse'
  }

  /** Stores what is counted. `sessions`: that many have ended. */
  flush(sessions = 0): void {
    const { today } = this
    if (sessions > 0) {
      this.#sessionBegan = null
      this.#ports.stored.note()
    }
    this.#store({ ...today, requests: today.requests + sessions })
  }

  pause({ why, until }: Pick<Paused, 'why' | 'until'>): void {
    const { state, now } = this.#ports
    const before = state.get('paused')
    // What paused it first is over no sooner.
    if (before !== null && before.until >= until) return
    state.set('paused', { why, until, since: before?.since ?? now() })
  }

  /** The budget of the deployment says whether there may be sessions. Returns what has changed by that. */
  allow({ pausedUntil }: Allowance): 'paused' | 'resumed' | null {
    const { paused } = this
    if (pausedUntil === null) {
      if (paused?.why !== 'deployment') return null
      this.#ports.state.set('paused', null)
      return 'resumed'
    }
    if (paused !== null) return null
    this.pause({ why: 'deployment', until: pausedUntil })
    this.#ports.diagnostics.add({ code: 'ROCKPOOL_LIMIT', key: 'deployment', reason: OVER_BUDGET })
    return 'paused'
  }

  get paused(): Paused | null {
    return this.#ports.state.get('paused')
  }

  /** Throws ROCKPOOL_LIMIT while replication is paused: what is asked for would not come before it goes on. */
  refusePaused(): void {
    const { paused } = this
    if (paused === null) return
    const retryAfter = Math.max(1, Math.ceil((paused.until - this.#ports.now()) / 1_000))
    const what =
      paused.why === 'storedGb'
        ? 'this tenant stores as much as it may'
        : 'there is no more for today: this tenant has used what it may'
    throw new RockpoolError('ROCKPOOL_LIMIT', what, { details: { retryAfter } })
  }

  /** Tells the operator that a limit is near, or reached. */
  tell(limit: LimitName, level: Exclude<Level, 'within'>, used: number): void {
    const { tenant, diagnostics } = this.#ports
    console.error(JSON.stringify({ event: 'limit', tenant, limit, level, used }))
    diagnostics.add({ code: 'ROCKPOOL_LIMIT', key: limit, reason: TEXTS[limit][level] })
  }

  status(): { usage: UsageStatus; paused: PausedStatus | null } {
    const { day, rows, requests, awakeMs } = this.today
    const { paused } = this
    const { stored } = this.#ports
    return {
      usage: {
        day,
        rows,
        requests,
        awakeSeconds: Math.round(awakeMs / 1_000),
        storedBytes: stored.bytes,
        storedMeasured: stored.measured === null ? null : new Date(stored.measured).toISOString(),
      },
      paused: paused && {
        why: paused.why,
        since: new Date(paused.since).toISOString(),
        until: new Date(paused.until).toISOString(),
      },
    }
  }

  get #storedLevel(): Level {
    const { bytes } = this.#ports.stored
    return bytes === null ? 'within' : levelOf(bytes, inBytes(this.#budget.storedGb))
  }

  #levelAt(rows: number): Level {
    return levelOf(rows, this.#budget.rowsPerDay)
  }

  #store(usage: StoredUsage): void {
    this.#counted = this.#ports.written()
    if (this.#sessionBegan !== null) this.#sessionBegan = this.#ports.now()
    this.#ports.state.set('usage', usage)
  }
}

/** What was told of what is stored is not told again each day. */
const storedLevelOf = (usage: StoredUsage | null): Pick<StoredUsage, 'storedLevel'> =>
  usage?.storedLevel === undefined ? {} : { storedLevel: usage.storedLevel }

const OVER_BUDGET =
  'BUDGET_DOLLARS_DAY is nearly used up, and this tenant used most of it lately: replication is paused until the day is over, until the tenant is resumed, or until the budget is raised'

const TEXTS: Record<LimitName, Record<Exclude<Level, 'within'>, string>> = {
  rowsPerDay: {
    warn: 'the tenant has written as many rows today as is to be told',
    refuse:
      'the tenant has written as many rows today as it may: replication is paused until the day is over, or until the limit is raised',
  },
  storedGb: {
    warn: 'the tenant stores as much as is to be told',
    refuse:
      'the tenant stores as much as it may: replication is paused until the limit is raised; it is measured again each day',
  },
  streams: {
    warn: 'the tenant has as many streams open as is to be told',
    refuse: 'the tenant has as many streams open as it may: further ones are refused',
  },
}
