import { branchText } from './model.ts'

/** What a client shows: of each branch that it has something of, the last transaction and the balances. */
export interface Shown {
  clock: number | null
  branches: ReadonlyMap<string, { serial: number | null; text: string }>
  total: number
}

export interface BankRow {
  /** Of the account, the book (a branch) or the clock. */
  id: string
  branch?: string
  balance?: number
  serial?: number
}

export const CLOCK = 'now'

/** One statement, and so one state of a local database: the rows that `shownOf` takes. */
export const SHOWN = `
  select id, branch_id as branch, cast(balance as integer) as balance, null as serial from accounts
  union all select id, null, null, cast(serial as integer) from books
  union all select id, null, null, cast(serial as integer) from clock`

/** A row as SQL or a bucket gives it. */
export function bankRow({ id, branch, branch_id, balance, serial }: Record<string, unknown>): BankRow {
  const name = branch ?? branch_id
  if (typeof name === 'string') return { id: String(id), branch: name, balance: Number(balance) }
  return { id: String(id), serial: Number(serial) }
}

export function shownOf(rows: Iterable<BankRow>): Shown {
  let clock: number | null = null
  let total = 0
  const accounts = new Map<string, Map<string, number>>()
  const serials = new Map<string, number>()
  for (const { id, branch, balance = NaN, serial = NaN } of rows) {
    if (branch !== undefined) {
      const known = accounts.get(branch) ?? new Map<string, number>()
      accounts.set(branch, known.set(id, balance))
      total += balance
    } else if (id === CLOCK) clock = serial
    else serials.set(id, serial)
  }
  const names = [...new Set([...accounts.keys(), ...serials.keys()])].sort()
  const branches = names.map(
    (name) => [name, { serial: serials.get(name) ?? null, text: branchText(accounts.get(name) ?? new Map()) }] as const,
  )
  return { clock, branches: new Map(branches), total }
}
