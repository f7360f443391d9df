import { RockpoolError } from '../../protocol/errors.ts'
import type { ConfigStatus } from '../../protocol/messages.ts'
import type { Database } from '../database.ts'

/** Kept in the history beside those that are still in use. */
const KEPT = 30

/** The sync configs as they were deployed, newest last, with their texts. */
export class Configs {
  readonly #db: Database
  #records: ConfigStatus[]

  constructor(db: Database) {
    this.#db = db
    this.#records = db.all('SELECT record FROM configs ORDER BY number').map((row) => JSON.parse(String(row.record)) as ConfigStatus)
  }

  get all(): readonly ConfigStatus[] {
    return this.#records
  }

  get newest(): ConfigStatus | null {
    return this.#records.at(-1) ?? null
  }

  get serving(): ConfigStatus | null {
    return this.#records.find(({ state }) => state === 'serving') ?? null
  }

  /** The one that is to serve. */
  get next(): ConfigStatus | null {
    return this.#records.find(({ state }) => state === 'copying') ?? null
  }

  get previous(): ConfigStatus[] {
    return this.#records.filter(({ state }) => state === 'previous')
  }

  /** The one that served before: the last that ceased to, and whose text is known. */
  get target(): ConfigStatus | null {
    const serving = this.serving
    const candidates = this.#records.filter(
      (each) => each.retired !== null && each.plan !== serving?.plan && !this.withdrawn(each.plan) && this.text(each.number) !== '',
    )
    return candidates.sort((a, b) => ((a.retired ?? '') < (b.retired ?? '') ? 1 : -1))[0] ?? null
  }

  /** One with this plan that must never serve again: a plan is what clients get, whatever the text. */
  withdrawn(plan: string | null): ConfigStatus | undefined {
    return plan === null ? undefined : this.#records.find((each) => each.plan === plan && each.withdrawn)
  }

  text(number: number): string {
    return String(this.#db.all('SELECT yaml FROM configs WHERE number = ?', number)[0]?.yaml ?? '')
  }

  /** In a transaction. */
  add(record: Omit<ConfigStatus, 'number'>, yaml: string): ConfigStatus {
    const added = { number: (this.newest?.number ?? 0) + 1, ...record }
    this.#db.run('INSERT INTO configs VALUES (?, ?, ?)', added.number, JSON.stringify(added), yaml)
    this.#records.push(added)
    this.#prune()
    return added
  }

  /** In a transaction. */
  change(number: number, change: Partial<Omit<ConfigStatus, 'number'>>): void {
    this.#records = this.#records.map((each) => {
      if (each.number !== number) return each
      const changed = { ...each, ...change }
      this.#db.run('UPDATE configs SET record = ? WHERE number = ?', JSON.stringify(changed), number)
      return changed
    })
  }

  #prune(): void {
    const target = this.target?.number
    const old = this.#records
      .slice(0, -KEPT)
      .filter(({ state, number, withdrawn }) => (state === 'failed' || state === 'superseded') && number !== target && !withdrawn)
    for (const { number } of old) this.#db.run('DELETE FROM configs WHERE number = ?', number)
    this.#records = this.#records.filter((each) => !old.includes(each))
  }
}

/** Throws ROCKPOOL_DEPLOY for a plan that must never serve again. */
export function refuseWithdrawn(configs: Configs, plan: string): void {
  const withdrawn = configs.withdrawn(plan)
  if (!withdrawn) return
  const { number, withdrawn: mark } = withdrawn
  throw new RockpoolError(
    'ROCKPOOL_DEPLOY',
    `this is the sync config of deploy ${number}, which was withdrawn by ${mark?.by ?? ''} at ${mark?.at ?? ''}`,
  )
}
