import type { Shown } from './shown.ts'

export interface Account {
  id: string
  branch: string
  balance: number
}

/** What a committed transaction has changed. */
export interface Committed {
  /** Its place in the order of commits, from 1 without a hole. */
  serial: number
  /** As they are now; null: closed. */
  accounts: readonly (readonly [id: string, Account | null])[]
  /** Branches whose book has this serial. */
  branches: readonly string[]
  access: readonly AccessChange[]
}

export type AccessTable = 'members' | 'staff' | 'region_branches'

/** `who` has, or `group` is given, `what`; null: no longer. */
export interface AccessChange {
  table: AccessTable
  id: string
  row: { who: string; what: string } | null
}

/** Something that was so from `from` on, until `to`. */
interface Version<T> {
  from: number
  to: number
  value: T
}

/** One client as the model knows it. */
export interface Viewer {
  readonly user: string
  /** The branch that the token gives. */
  readonly branch: string | null
}

interface Waiting {
  viewer: Viewer
  shown: Shown
  needs: number
}

/**
 * Every state that the bank was ever in, in the order of commits. What a client shows at a checkpoint must be one of
 * them: the same one for all of its branches, and for who may see them; and never an older one than it has shown
 * before.
 */
export class Model {
  readonly problems: string[] = []
  /** Checkpoints that were checked. */
  checked = 0
  /** The newest transaction that this model has. */
  head = 0
  readonly #accounts = new Map<string, Account>()
  readonly #branches = new Map<
    string,
    { accounts: Map<string, number>; versions: Map<number, Version<string>>; last: Version<string> | null }
  >()
  readonly #access: Record<AccessTable, Map<string, { who: string; what: string }>> = {
    members: new Map(),
    staff: new Map(),
    region_branches: new Map(),
  }
  readonly #viewers = new Map<Viewer, { low: number; access: Version<string>[] }>()
  readonly #early = new Map<number, Committed>()
  #issued = 0
  #waiting: Waiting[] = []

  /** `first`: what is there before the first transaction. */
  constructor(first: Omit<Committed, 'serial'>, viewers: readonly Viewer[]) {
    for (const viewer of viewers) this.#viewers.set(viewer, { low: 0, access: [] })
    this.#apply({ ...first, serial: 0 })
  }

  /** From now on a client may show this transaction. */
  issue(serial: number): void {
    this.#issued = Math.max(this.#issued, serial)
  }

  /** They may come in another order than that of their serials. */
  commit(committed: Committed): void {
    this.#early.set(committed.serial, committed)
    for (let next = this.#early.get(this.head + 1); next; next = this.#early.get(this.head + 1)) {
      this.#early.delete(next.serial)
      this.#apply(next)
    }
    const waiting = this.#waiting
    this.#waiting = []
    for (const each of waiting) this.#checkOrWait(each)
  }

  /** Looks at what a client shows as soon as every transaction that may be in it is known. */
  check(viewer: Viewer, shown: Shown): void {
    this.#checkOrWait({ viewer, shown, needs: this.#issued })
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** The branches that a client may see now, sorted. */
  visible(viewer: Viewer): string[] {
    const { members, staff, region_branches: regions } = this.#access
    const mine = (rows: Iterable<{ who: string; what: string }>) =>
      [...rows].filter(({ who }) => who === viewer.user).map(({ what }) => what)
    const branches = new Set(mine(members.values()))
    const regionsOfMine = new Set(mine(staff.values()))
    for (const { who: region, what: branch } of regions.values()) if (regionsOfMine.has(region)) branches.add(branch)
    if (viewer.branch !== null) branches.add(viewer.branch)
    return [...branches].sort()
  }

  #checkOrWait(waiting: Waiting): void {
    if (waiting.needs > this.head) this.#waiting.push(waiting)
    else {
      this.checked++
      const problem = this.#problem(waiting)
      if (problem !== null) this.problems.push(`${waiting.viewer.user}: ${problem}`)
    }
  }

  #problem({ viewer, shown }: Waiting): string | null {
    const known = this.#viewers.get(viewer)
    if (!known) throw new Error(`${viewer.user} is not known`)
    let low = known.low
    let high = Infinity
    let lowest = 'what it has shown before'
    let highest = ''
    const narrow = (what: string, { from, to }: { from: number; to: number }) => {
      if (from > low) [low, lowest] = [from, what]
      if (to < high) [high, highest] = [to, what]
    }
    for (const [branch, { serial, text }] of shown.branches) {
      const version = serial === null ? undefined : this.#branches.get(branch)?.versions.get(serial)
      if (!version) return `${branch} was never touched by transaction ${serial}`
      if (version.value !== text) return `${branch} at ${serial} is ${text}, but was ${version.value}`
      narrow(`${branch} at ${serial}`, version)
    }
    if (shown.clock !== null) narrow(`the clock at ${shown.clock}`, { from: shown.clock, to: shown.clock + 1 })
    if (low >= high) return `I4: ${lowest} is from ${low} on, ${highest} was until ${high}`
    const held = [...shown.branches.keys()].sort().join()
    const access = known.access.filter(({ from, to }) => from < high && to > low)
    const allowed = access.find(({ value }) => value === held)
    if (!allowed)
      return `I7: at ${low} to ${high} it holds ${held}; it may see ${access.map(({ value }) => value).join(' or ')}`
    known.low = Math.max(low, allowed.from)
    return null
  }

  #apply({ serial, accounts, branches, access }: Committed): void {
    this.head = serial
    for (const [id, account] of accounts) {
      const before = this.#accounts.get(id)
      if (before) this.#branch(before.branch).accounts.delete(id)
      if (account) {
        this.#accounts.set(id, account)
        this.#branch(account.branch).accounts.set(id, account.balance)
      } else this.#accounts.delete(id)
    }
    for (const name of branches) {
      const branch = this.#branch(name)
      const version = { from: serial, to: Infinity, value: branchText(branch.accounts) }
      if (branch.last) branch.last.to = serial
      branch.versions.set(serial, version)
      branch.last = version
    }
    for (const { table, id, row } of access) {
      if (row) this.#access[table].set(id, row)
      else this.#access[table].delete(id)
    }
    if (access.length === 0 && serial > 0) return
    for (const [viewer, { access: versions }] of this.#viewers) {
      const value = this.visible(viewer).join()
      const last = versions.at(-1)
      if (last?.value === value) continue
      if (last) last.to = serial
      versions.push({ from: serial, to: Infinity, value })
    }
  }

  #branch(name: string) {
    let branch = this.#branches.get(name)
    if (!branch) this.#branches.set(name, (branch = { accounts: new Map(), versions: new Map(), last: null }))
    return branch
  }
}

/** Equal for equal accounts with equal balances. */
export function branchText(accounts: ReadonlyMap<string, number>): string {
  return [...accounts]
    .map(([id, balance]) => `${id}=${balance}`)
    .sort()
    .join()
}
