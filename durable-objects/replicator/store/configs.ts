import { RockpoolError } from '../../../protocol/errors.ts'
import type { ConfigStatus } from '../../../protocol/messages/admin.ts'
import type { Database } from '../../shared/database.ts'

/** The number of configs in the history, besides those that are still in use. */
const KEPT = 30

/** The deployed sync configs with their texts, newest last. */
export class Configs {
  readonly #db: Database
  #records: ConfigStatus[]

  constructor(db: Database) {
    this.#db = db
    this.#records = db
      .all('SELECT record FROM configs ORDER BY number')
      .map((row) => JSON.parse(String(row.record)) as ConfigStatus)
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

  /** The config that is to serve next, or null. */
  get next(): ConfigStatus | null {
    return this.#records.find(({ state }) => state === 'copying') ?? null
  }

  get previous(): ConfigStatus[] {
    return this.#records.filter(({ state }) => state === 'previous')
  }

  /**
   * The config to roll back to, or null: the last one that served before the present one, and whose text is known. If
   * the present one is a rollback, the last one before its target: a config that was rolled back is not a target, so
   * rolling back twice does not go forward.
   */
  get target(): ConfigStatus | null {
    const serving = this.serving
    const from = serving === null ? Infinity : this.firstOf(serving)
    const candidates = this.#records.filter(
      (each) => each.number < from && each.retired !== null && mayServe(this, each),
    )
    return candidates.at(-1) ?? null
  }

  /**
   * Returns the number of the deploy that a rollback restores, also through another rollback, or the own number of any
   * other deploy.
   */
  firstOf({ number, origin, plan, of }: ConfigStatus): number {
    if (origin !== 'rollback') return number
    const earlier = this.#records.filter((each) => each.number < number)
    // An earlier version did not store `of`.
    const isIt = (each: ConfigStatus) =>
      of === undefined ? each.plan === plan && each.served !== null : each.number === of
    const to = earlier.findLast(isIt)
    return to === undefined ? (of ?? number) : this.firstOf(to)
  }

  /**
   * Returns a withdrawn config with this plan, which must never serve again. The plan decides what clients get, not the
   * text.
   */
  withdrawn(plan: string | null): ConfigStatus | undefined {
    return plan === null ? undefined : this.#records.find((each) => each.plan === plan && each.withdrawn)
  }

  text(number: number): string {
    return String(this.#db.all('SELECT yaml FROM configs WHERE number = ?', number)[0]?.yaml ?? '')
  }

  /** Adds a config. Called in a transaction. */
  add(record: Omit<ConfigStatus, 'number'>, yaml: string): ConfigStatus {
    const added = { number: (this.newest?.number ?? 0) + 1, ...record }
    this.#db.run('INSERT INTO configs VALUES (?, ?, ?)', added.number, JSON.stringify(added), yaml)
    this.#records.push(added)
    this.#prune()
    return added
  }

  /** Changes a record. Called in a transaction. */
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
      .filter(
        ({ state, number, withdrawn }) =>
          (state === 'failed' || state === 'superseded') && number !== target && !withdrawn,
      )
    for (const { number } of old) this.#db.run('DELETE FROM configs WHERE number = ?', number)
    this.#records = this.#records.filter((each) => !old.includes(each))
  }
}

/** How many numbers an error names, the newest ones. `rockpool deploys` lists all. */
const NAMED = 10

/**
 * Returns the config to roll back to: the one with the number `to`, or `Configs.target`. Throws ROCKPOOL_DEPLOY when
 * there is none, or it cannot serve again.
 */
export function rollbackTarget(configs: Configs, to?: number): ConfigStatus {
  const { serving, target } = configs
  const refused = (reason: string, status?: number) => {
    return new RockpoolError('ROCKPOOL_DEPLOY', reason + choices(configs), status === undefined ? {} : { status })
  }
  if (to === undefined) {
    if (target) return target
    const first = serving && configs.firstOf(serving)
    const why = serving && first !== serving.number ? `: deploy ${serving.number} is a rollback to deploy ${first}` : ''
    throw refused(`there is no earlier sync config to roll back to${why}`)
  }
  const config = configs.all.find((each) => each.number === to)
  if (!config) throw refused(`there is no sync config with the number ${to}`, 404)
  if (config.plan !== null) refuseWithdrawn(configs, config.plan)
  if (config.plan === serving?.plan) throw refused(`the sync config of deploy ${to} already serves`)
  if (!mayServe(configs, config)) throw refused(`deploy ${to} never served, or its text is not known: deploy its file`)
  return config
}

/** Lists the possible numbers, newest first, and says how many it leaves out. */
function choices(configs: Configs): string {
  const numbers = configs.all.filter((each) => mayServe(configs, each)).map(({ number }) => number)
  if (numbers.length === 0) return ''
  const named = numbers.reverse().slice(0, NAMED).join(', ')
  const older = numbers.length - NAMED
  return `. rockpool rollback --to takes ${named}${older > 0 ? ` and ${older} older` : ''}; rockpool deploys lists all`
}

/** Returns true for a config that served, and may serve again. */
function mayServe(configs: Configs, { number, plan, served }: ConfigStatus): boolean {
  return served !== null && plan !== configs.serving?.plan && !configs.withdrawn(plan) && configs.text(number) !== ''
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
