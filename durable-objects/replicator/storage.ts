import type { OpId } from '../../protocol/ops.ts'
import type { Database } from '../database.ts'

/**
 * What the replicator keeps. Append-only: a released step never changes.
 *
 * state: small values as JSON, see `State`. rows: the row state, `outputs` and `image` as in `row-state.ts`; `t` is a number of `tables`, 0 for
 * mailboxes. outbox: a stored batch cut into parts, see `outbox.ts`. incomplete: rows of which Postgres left out values that we do not have.
 * relays: whom to keep a socket to. No secondary index but the names of buckets: every one costs a row written.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE plans (hash TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE tables (number INTEGER PRIMARY KEY, schema TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, copy TEXT NOT NULL);
  CREATE TABLE buckets (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition TEXT NOT NULL, generation INTEGER NOT NULL);
  CREATE TABLE rows (t INTEGER NOT NULL, key TEXT NOT NULL, outputs TEXT NOT NULL, image TEXT, PRIMARY KEY (t, key)) WITHOUT ROWID;
  CREATE TABLE outbox (batch INTEGER NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (batch, part)) WITHOUT ROWID;
  CREATE TABLE incomplete (t INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (t, key)) WITHOUT ROWID;
  CREATE TABLE relays (name TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
  `,
  // What rows of the table are called and told apart by, as JSON: see `KnownTable`.
  `ALTER TABLE tables ADD COLUMN description TEXT NOT NULL DEFAULT '{}'`,
  // Buckets that somebody follows directly.
  'CREATE TABLE watchers (bucket TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID',
]

/** The last whole transaction stored, and how much of the next one is stored already in slices. LSNs as `X/X`, times as Postgres sent them. */
export interface Position {
  lsn: string
  xid: number
  time: string
}

export interface PartialTransaction {
  lsn: string
  xid: number
  /** Its first changes that are stored. */
  changes: number
}

/** The values of table `state`. */
export interface State {
  decode: { counter: OpId; position: Position | null; partial: PartialTransaction | null }
  commit: { committed: OpId; plan: string | null }
  /** The last notice as parts that are ready to send; null when it was too large to keep. */
  notice: { previous: OpId; parts: string[] } | null
  serial: number
  /** The plan that is being copied, null when the serving one is what is wanted. */
  next: string | null
  source: { systemIdentifier: string; database: string } | null
  /** Numbers of write checkpoints up to here may have been given out. */
  issued: number
  /** Polls that found nothing, one after the other. */
  idlePolls: number
  /** True while a session runs, and after one that ended by a crash. */
  running: boolean
}

const INITIAL: State = {
  decode: { counter: 0, position: null, partial: null },
  commit: { committed: 0, plan: null },
  notice: null,
  serial: 0,
  next: null,
  source: null,
  issued: 0,
  idlePolls: 0,
  running: false,
}

/** Reads are served from memory: the object is the only writer. */
export class StateStore {
  readonly #db: Database
  readonly #values: State

  constructor(db: Database) {
    this.#db = db
    const stored = new Map(db.all('SELECT key, value FROM state').map((row) => [String(row.key), String(row.value)]))
    const read = <K extends keyof State>(key: K): State[K] => {
      const text = stored.get(key)
      return text === undefined ? INITIAL[key] : (JSON.parse(text) as State[K])
    }
    this.#values = {
      decode: read('decode'),
      commit: read('commit'),
      notice: read('notice'),
      serial: read('serial'),
      next: read('next'),
      source: read('source'),
      issued: read('issued'),
      idlePolls: read('idlePolls'),
      running: read('running'),
    }
  }

  get<K extends keyof State>(key: K): State[K] {
    return this.#values[key]
  }

  /** One row written. Inside a transaction that is rolled back, memory and storage would differ: such an object must be reset. */
  set<K extends keyof State>(key: K, value: State[K]): void {
    this.#db.run('INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value', key, JSON.stringify(value))
    this.#values[key] = value
  }
}
