import type { Sql, TransactionSql } from 'postgres'
import type { Random } from '../support/random.ts'
import type { AccessChange, Account, Model } from './model.ts'
import { ACCOUNTS, BRANCHES, REGIONS } from './source.ts'

type Kind = 'pair' | 'several' | 'move' | 'open' | 'close' | 'large' | 'access'

const KINDS: readonly (readonly [weight: number, kind: Kind])[] = [
  [50, 'pair'],
  [20, 'several'],
  [6, 'move'],
  // More than are closed: now and then there is none that could be.
  [6, 'open'],
  [4, 'close'],
  [1, 'large'],
  [10, 'access'],
]
/** Changes of each of 40 accounts in a large transaction: more rows than a slice takes. */
const ROUNDS = [60, 180] as const
const ROLLED_BACK = 0.04
/** So many accounts there may be. */
const NAMES = ACCOUNTS + 80

/** Accounts as they are now, and the branches that they were and are in. */
interface Moved {
  moved: ReadonlyMap<string, Account | null>
  touched: ReadonlySet<string>
}

const NOTHING: Moved = { moved: new Map(), touched: new Set() }

class RolledBack extends Error {}

/**
 * Moves money in transactions that several connections have open at a time, and tells the model of each. The clock is
 * the last row that a transaction locks, and the first that nobody else gets before the commit: its serials are the
 * order of the commits.
 */
export class Teller {
  readonly #sql: Sql
  readonly #model: Model
  readonly #users: readonly string[]
  readonly #random: Random
  /** Committed transactions that moved money, that changed who sees what, and that were large. */
  transfers = 0
  accessChanges = 0
  large = 0
  rolledBack = 0

  constructor(sql: Sql, model: Model, users: readonly string[], random: Random) {
    this.#sql = sql
    this.#model = model
    this.#users = users
    this.#random = random
  }

  async transact(): Promise<void> {
    const r = this.#random
    const kind = r.weighted(KINDS)
    // Of those that move money some change in the same transaction who sees it.
    const access = kind === 'access' || r.chance(0.05)
    const rolledBack = r.chance(ROLLED_BACK)
    try {
      const committed = await this.#sql.begin(async (tx) => {
        const { moved, touched } = kind === 'access' ? NOTHING : await this.#money(tx, kind)
        const changes = access ? await this.#access(tx) : []
        if (rolledBack || (moved.size === 0 && changes.length === 0)) throw new RolledBack()
        const [clock] = await tx<{ serial: number }[]>`update clock set serial = serial + 1 returning serial`
        if (!clock) throw new Error('there is no clock')
        const branches = [...touched]
        if (branches.length > 0) await tx`update books set serial = ${clock.serial} where id in ${tx(branches)}`
        this.#model.issue(clock.serial)
        return { serial: clock.serial, accounts: [...moved], branches, access: changes }
      })
      this.#model.commit(committed)
      if (committed.accounts.length > 0) this.transfers++
      if (committed.access.length > 0) this.accessChanges++
      if (kind === 'large') this.large++
    } catch (error) {
      if (error instanceof RolledBack) this.rolledBack++
      // Two transactions waited for each other.
      else if (!(error instanceof Error && 'code' in error && error.code === '40P01')) throw error
    }
  }

  async #money(tx: TransactionSql, kind: Kind): Promise<Moved> {
    const r = this.#random
    const wanted = kind === 'several' ? 3 + r.int(6) : kind === 'large' ? 40 : 2
    const limit = wanted * 3
    // Not all of them are there. Locked in order, so that few wait in a circle.
    const ids = Array.from({ length: limit }, () => `a${1 + r.int(NAMES)}`)
    const locked = await tx<Account[]>`
      select id, branch_id as branch, balance from accounts where id in ${tx(ids)} order by id limit ${wanted} for update`
    const accounts = locked.slice(0, locked.length - (locked.length % 2)).map((account) => ({ ...account }))
    const moved = new Map<string, Account | null>()
    const touched = new Set(accounts.map(({ branch }) => branch))
    const [first, second] = accounts
    if (!first || !second) return NOTHING
    const amount = 1 + r.int(50)
    if (kind === 'large') {
      const rounds = ROUNDS[0] + r.int(ROUNDS[1] - ROUNDS[0])
      for (const [i, account] of accounts.entries()) account.balance += (i % 2 === 0 ? 1 : -1) * rounds
      await tx.unsafe(`do $$ begin for round in 1..${rounds} loop
        update accounts set balance = balance + case when array_position(array[${texts(accounts)}], id) % 2 = 1 then 1 else -1 end where id in (${texts(accounts)});
      end loop; end $$`)
      for (const account of accounts) moved.set(account.id, account)
      return { moved, touched }
    }
    const put = async (account: Account) => {
      moved.set(account.id, account)
      touched.add(account.branch)
      await tx`update accounts set branch_id = ${account.branch}, balance = ${account.balance} where id = ${account.id}`
    }
    if (kind === 'open') {
      const opened = { branch: r.pick(BRANCHES), balance: amount }
      const free = Array.from({ length: 10 }, () => `a${1 + r.int(NAMES)}`)
      const [row] = await tx<{ id: string }[]>`
        insert into accounts select id, ${opened.branch}, ${opened.balance}::int from unnest(${free}::text[]) id
        where id not in (select id from accounts) limit 1 on conflict do nothing returning id`
      if (!row) return NOTHING
      moved.set(row.id, { id: row.id, ...opened })
      touched.add(opened.branch)
      await put({ ...first, balance: first.balance - amount })
    } else if (kind === 'close') {
      moved.set(first.id, null)
      await tx`delete from accounts where id = ${first.id}`
      await put({ ...second, balance: second.balance + first.balance })
    } else {
      for (let i = 0; i + 1 < accounts.length; i += 2) {
        const [from, to] = [accounts[i], accounts[i + 1]]
        if (!from || !to) break
        await put({ ...from, balance: from.balance - amount })
        // With its money.
        await put({ ...to, balance: to.balance + amount, branch: kind === 'move' ? r.pick(BRANCHES) : to.branch })
      }
    }
    return { moved, touched }
  }

  /** Somebody joins or leaves a branch or a region, or a branch another region. */
  async #access(tx: TransactionSql): Promise<AccessChange[]> {
    const r = this.#random
    const user = r.pick(this.#users)
    switch (
      r.weighted([
        [4, 'join'],
        [4, 'leave'],
        [3, 'staff'],
        [2, 'region'],
      ] as const)
    ) {
      case 'join': {
        const row = { who: user, what: r.pick(BRANCHES) }
        const id = `${row.who}/${row.what}`
        await tx`insert into members values (${id}, ${row.who}, ${row.what}) on conflict (id) do update set user_id = excluded.user_id`
        return [{ table: 'members', id, row }]
      }
      case 'leave': {
        const left = await tx<{ id: string }[]>`
          delete from members where id in (select id from members where user_id = ${user} order by id limit ${1 + r.int(3)}) returning id`
        return left.map(({ id }) => ({ table: 'members', id, row: null }))
      }
      case 'staff': {
        // One region at a time, or none.
        const region = r.chance(0.3) ? null : r.pick(REGIONS)
        if (region === null) {
          const left = await tx<{ id: string }[]>`delete from staff where id = ${user} returning id`
          return left.map(({ id }) => ({ table: 'staff', id, row: null }))
        }
        await tx`insert into staff values (${user}, ${user}, ${region}) on conflict (id) do update set region_id = excluded.region_id`
        return [{ table: 'staff', id: user, row: { who: user, what: region } }]
      }
      case 'region': {
        const [branch, region] = [r.pick(BRANCHES), r.pick(REGIONS)]
        await tx`update region_branches set region_id = ${region} where id = ${branch}`
        return [{ table: 'region_branches', id: branch, row: { who: region, what: branch } }]
      }
    }
  }
}

const texts = (accounts: readonly Account[]): string => accounts.map(({ id }) => `'${id}'`).join()
