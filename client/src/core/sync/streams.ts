import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { get, put } from '../store/layout.ts'

// Which streams this database has subscribed to. They outlive the page: one that nobody has open is kept up to date
// until its time is over, so that whoever comes back sees its rows at once.

/** Without another wish a stream that nobody has open is kept for so long, in seconds. */
export const DEFAULT_TTL = 24 * 3_600

export interface Subscription {
  id: number
  name: string
  parameters: Record<string, unknown> | null
  /** 0 (most urgent) to 3; null: what the stream itself says. */
  priority: number | null
  /** When everything of it was here last, in milliseconds since 1970; null: never. */
  syncedAt: number | null
}

export interface Wanted {
  name: string
  parameters: Record<string, unknown> | null
  priority: number | null
  /** Seconds. */
  ttl: number
}

/** Answers its number, and whether the server has to be told of it. Name and parameters name a subscription. */
export function subscribe(
  db: Sqlite,
  { name, parameters, priority, ttl }: Wanted,
  now: number,
): { id: number; isNew: boolean } {
  const params = canonical(parameters)
  const find = db.prepare('SELECT id, priority FROM rp_streams WHERE name = ? AND params = ?')
  const [known] = find.all([name, params])
  if (known) {
    db.prepare('UPDATE rp_streams SET priority = ?, ttl = ?, used_at = ? WHERE id = ?').run([
      priority,
      ttl,
      clock(db, now),
      integer(known[0]),
    ])
    return { id: integer(known[0]), isNew: known[1] !== priority }
  }
  db.prepare('INSERT INTO rp_streams (name, params, priority, ttl, used_at) VALUES (?, ?, ?, ?, ?)').run([
    name,
    params,
    priority,
    ttl,
    clock(db, now),
  ])
  return { id: integer(find.all([name, params])[0]?.[0]), isNew: true }
}

/** Nobody has it open any more: from now on its time runs. */
export function release(db: Sqlite, id: number, now: number): void {
  db.prepare('UPDATE rp_streams SET used_at = ? WHERE id = ?').run([clock(db, now), id])
}

/** Forgets those whose time is over, but for these, which are open. Answers whether there were any. */
export function expire(db: Sqlite, open: ReadonlySet<number>, now: number): boolean {
  const time = clock(db, now)
  const over = db
    .prepare('SELECT id FROM rp_streams WHERE used_at + ttl * 1000 <= ?')
    .all([time])
    .filter(([id]) => !open.has(integer(id)))
  for (const [id] of over) db.prepare('DELETE FROM rp_streams WHERE id = ?').run([integer(id)])
  return over.length > 0
}

/** In the order in which the server is told of them: it answers by their place. */
export function subscriptions(db: Sqlite): Subscription[] {
  const rows = db.prepare('SELECT id, name, params, priority, synced_at FROM rp_streams ORDER BY id').all()
  return rows.map(([id, name, params, priority, syncedAt]) => ({
    id: integer(id),
    name: text(name),
    parameters: parametersOf(text(params)),
    priority: typeof priority === 'number' ? priority : null,
    syncedAt: typeof syncedAt === 'number' ? syncedAt : null,
  }))
}

export function markSynced(db: Sqlite, ids: readonly number[], now: number): void {
  for (const id of ids) db.prepare('UPDATE rp_streams SET synced_at = ? WHERE id = ?').run([now, id])
}

/** The clock of a device may be put back; then time stands still until it has caught up. */
function clock(db: Sqlite, now: number): number {
  const last = Number(get(db, 'stream_clock') ?? 0)
  if (now > last) put(db, 'stream_clock', now)
  return Math.max(now, last)
}

/** The same text for the same parameters, whatever the order of their members. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).filter(([, each]) => each !== undefined)
  return `{${members
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, each]) => `${JSON.stringify(key)}:${canonical(each)}`)
    .join(',')}}`
}

function parametersOf(params: string): Record<string, unknown> | null {
  const value: Record<string, unknown> | null = JSON.parse(params)
  return value
}
