import { openSync } from '@rockpool/client/node'
import { Follower, type FollowedBucket } from '../support/follower.ts'
import type { Transport } from '../wire/transports.ts'
import { bankRow, SHOWN, shownOf, type BankRow, type Shown } from './shown.ts'

/** A client of the bank. It calls `ClientSetting.shows` with what it shows, at every checkpoint that it applies. */
export interface BankClient {
  disconnect(): void | Promise<void>
  connect(): void | Promise<void>
  close(): Promise<void>
  /** What it shows now. */
  shown(): Promise<Shown>
  /** Whatever the client itself found to be wrong. */
  readonly problems: readonly string[]
  /** How its connection is, for people. */
  state(): unknown
  /** What is under it, when that is a follower of lines. */
  readonly follower?: Follower
}

export interface ClientSetting {
  url: string
  user: string
  /** For files of this client. */
  path: string
  token(): Promise<string>
  shows(shown: Shown): void
}

/**
 * A client that does nothing but follow the lines of a transport: what it shows is what its buckets hold, and they are
 * looked at one by one.
 */
export function rawClient(transport: Transport) {
  return (setting: ClientSetting): BankClient & { readonly follower: Follower } => {
    const { url, user, token, shows } = setting
    const problems: string[] = []
    const parsed = new WeakMap<FollowedBucket, { after: number; rows: BankRow[] }>()
    const rowsOf = (name: string, bucket: FollowedBucket): BankRow[] => {
      const known = parsed.get(bucket)
      if (known?.after === bucket.after) return known.rows
      const rows = [...bucket.rows.values()].map((data) => bankRow(JSON.parse(data) as Record<string, unknown>))
      parsed.set(bucket, { after: bucket.after, rows })
      for (const { id, branch } of rows) {
        if (!name.endsWith(`[${JSON.stringify(branch ?? id)}]`)) problems.push(`${name} holds a row of ${branch ?? id}`)
      }
      // Every branch has a book, so that a bucket that is held is always seen.
      if (rows.length === 0) problems.push(`${name} is empty`)
      return rows
    }
    const view = (buckets: ReadonlyMap<string, FollowedBucket>) =>
      shownOf([...buckets].flatMap(([name, bucket]) => rowsOf(name, bucket)))
    // Of the last complete checkpoint; what has come since is not to be seen.
    let last = shownOf([])
    const at = (_: number, buckets: ReadonlyMap<string, FollowedBucket>) => shows((last = view(buckets)))
    const follower = new Follower({ url, token, clientId: user, transport, at })
    return {
      follower,
      disconnect: () => follower.disconnect(),
      connect: () => follower.connect(),
      close: () => follower.close(),
      shown: async () => last,
      state: () => follower.state,
      get problems() {
        return [...follower.problems, ...problems]
      },
    }
  }
}

/** Our own client, in Node. */
export async function ourClient({ url, user, path, token, shows }: ClientSetting): Promise<BankClient> {
  const problems: string[] = []
  const columns = (...names: string[]) => ({
    columns: Object.fromEntries(names.map((name) => [name, 'text' as const])),
  })
  const db = await openSync({
    url,
    auth: token,
    path: `${path}.db`,
    name: user,
    schema: {
      tables: { accounts: columns('branch_id', 'balance'), books: columns('serial'), clock: columns('serial') },
    },
  })
  db.on('mismatch', ({ bucket }) => void problems.push(`the checksum of ${bucket} did not fit`))
  db.on('status', (status) => {
    if (status.state !== 'error' || !['checksum', 'protocol', 'storage'].includes(status.error.code)) return
    problems.push(`${status.error.code}: ${status.error.message}`)
  })
  const view = (rows: readonly Record<string, unknown>[]) => shownOf(rows.map(bankRow))
  db.live(SHOWN, [], (rows) => {
    // Before the first checkpoint it shows nothing.
    if (rows.length > 0 || db.status.lastSyncedAt !== null) shows(view(rows))
  })
  return {
    disconnect: () => db.disconnect(),
    connect: () => db.connect(),
    close: () => db.close(),
    shown: async () => view(await db.query(SHOWN)),
    state: () => db.status,
    problems,
  }
}
