import { clientMailboxName, mailboxName, mailboxPrefix, MAX_MAILBOX_CLIENTS } from '../../../protocol/names.ts'
import type { Output, RowState, RowStates } from '../store/row-state.ts'

/** Table 0 of row state, which is no table of the source. */
export const MAILBOX_TABLE = { number: 0, schema: 'rockpool', name: 'write_checkpoint' }
export const MAILBOX_DEFINITION = 'mailbox'
export const MAILBOX_SUBKEY = 'w'

/** Days without a request after which the number of a client is forgotten. */
export const MAILBOX_DAYS = 30
const DAY_MS = 86_400_000

/** Returns the number of days since 1970. */
export const today = (now = Date.now()): number => Math.floor(now / DAY_MS)

/**
 * Returns the day on which a number was issued. Ours are microseconds since 1970. A number that the application chose
 * counts as issued today.
 */
export function dayOf(n: bigint, today: number): number {
  const day = Number(n / BigInt(DAY_MS * 1_000))
  return day >= FIRST_DAY && day <= today ? day : today
}
/** The first day on which a number of ours can have been issued: 2026-01-01. */
const FIRST_DAY = 20_454

/** Keys of row state: for a user, and for one client as in versions before there was one mailbox per user. */
export const mailboxKey = (user: string): string => JSON.stringify([mailboxName(user)])
export const clientMailboxKey = (user: string, clientId: string): string =>
  JSON.stringify([clientMailboxName(user, clientId)])

export function ownerOfMailbox(key: string): { user: string; clientId: string | null } {
  const [name = ''] = JSON.parse(key) as string[]
  const [user = '', clientId = null] = JSON.parse(name.slice(mailboxPrefix().length)) as string[]
  return { user, clientId }
}

/** Returns the data of the row of a client. (`w` is the only row in the mailbox of one client.) */
export const mailboxData = (id: string, n: string): string => JSON.stringify({ id, n })

/**
 * Returns the highest number that has arrived for a client, from its user's mailbox or its own, or null when none has.
 */
export function deliveredOf(state: RowState | null, id: string): bigint | null {
  const output = state?.outputs.find((each) => each.id === id)
  return output === undefined ? null : BigInt(output.hash)
}

/** The id of the only row in the mailbox of one client. */
export const OWN_ROW = 'w'

/** Returns the write checkpoint that was last stored for a client, or null. */
export function lastDelivered(rows: Pick<RowStates, 'get'>, user: string, clientId: string): bigint | null {
  const state = (key: string) => rows.get({ t: MAILBOX_TABLE.number, key }, MAILBOX_TABLE.name)
  return deliveredOf(state(mailboxKey(user)), clientId) ?? deliveredOf(state(clientMailboxKey(user, clientId)), OWN_ROW)
}

export interface Delivered {
  state: RowState
  put: Output
  /** The clients that are forgotten. */
  removed: Output[]
}

/**
 * Returns the mailbox after write checkpoint `n` has arrived for a client on `day`, or null when the client already has
 * a higher one. In row state an output is a client, its `hash` the number, in the order in which they were issued, with
 * the day of each in `image`.
 */
export function delivering(
  before: RowState | null,
  bucket: number,
  id: string,
  n: bigint,
  day: number,
): Delivered | null {
  const there = deliveredOf(before, id)
  if (there !== null && there >= n) return null
  const put: Output = { bucket, type: MAILBOX_TABLE.name, id, hash: n.toString() }
  const others = clientsOf(before).filter(({ output }) => output.id !== id)
  // The newest come last. Numbers of an older mailbox may be older than those here.
  const clients = [...others, { output: put, day }].sort((a, b) => a.day - b.day)
  const kept = clients.slice(-MAX_MAILBOX_CLIENTS).filter((each) => each.day > day - MAILBOX_DAYS)
  if (!kept.some(({ output }) => output === put)) return null
  const removed = others.filter((each) => !kept.includes(each)).map(({ output }) => output)
  return { state: stateOf(kept), put, removed }
}

/** Returns what is left of a mailbox on `day`, or null when nothing expires. */
export function expiring(before: RowState, day: number): Pick<Delivered, 'state' | 'removed'> | null {
  const clients = clientsOf(before)
  const kept = clients.filter((each) => each.day > day - MAILBOX_DAYS)
  if (kept.length === clients.length) return null
  return { state: stateOf(kept), removed: clients.filter((each) => !kept.includes(each)).map(({ output }) => output) }
}

interface Client {
  output: Output
  day: number
}

/** Returns the clients in the order in which their numbers arrived. */
function clientsOf(state: RowState | null): Client[] {
  const days = (state?.image?.days ?? '').split(' ')
  return (state?.outputs ?? []).map((output, i) => ({ output, day: Number(days[i] ?? 0) }))
}

const stateOf = (clients: readonly Client[]): RowState => ({
  outputs: clients.map(({ output }) => output),
  image: clients.length === 0 ? null : { days: clients.map(({ day }) => day).join(' ') },
})
