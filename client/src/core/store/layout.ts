import type { Sqlite } from '../../sqlite/sqlite.ts'
import { hash } from './hash.ts'

// Our own tables. Each row of the app is once in a real table of its own, exactly as the schema declares it, and where
// it is from stands beside it, in rp_at_<table>, by row number.
//
// A row that local changes touch is covered: the first of them moves it, as the server has it, into rp_base. What the
// server says of it from then on changes rp_base, and the row is `base ⊕ the ops of the outbox in their order`. When no
// op is left it comes back from there, with its link.

/**
 * rp_types: names of tables, also of those that the schema lacks.
 * rp_at_<table>: `rid` is the row number in the table; `proof` the hash of its id, because SQLite uses row numbers
 *   again; `src` = bucket × 256 + its generation when the op came; `sub` the hash of the op's subkey; `rest` a JSON
 *   object of what the table has no column for, NULL when that is nothing.
 * rp_copies: all copies of a row that came in several buckets, or under several subkeys of one, and every row of a
 *   table that the schema lacks. The highest op is what is shown.
 * rp_base: `data` NULL: the server has no such row; then `src`, `op` and `sub` are NULL too.
 * rp_stage: what has been received of a checkpoint and is not applied, as arrays of ops.
 * rp_buckets: `name` NULL: no longer ours, its rows vanish with the next whole checkpoint. `last_op`: everything up to
 *   it is in rp_stage or applied. `applied_op`: everything up to it is applied. `checksum`: sum of all received,
 *   unsigned. `generation`: it has grown since rows came that have another one, and what still has another one when the
 *   bucket is applied is swept away. `ops`: how many of the ops that the server counts are here, for progress only.
 * rp_streams: subscriptions. `params` is JSON with its members in order, `ttl` in seconds.
 * rp_tx: local transactions that the tables show. `id` is a UUID of version 7, by which the backend knows one that
 *   comes again. `sent`: it may have left, so it does not change any more. `target`: the write checkpoint that confirms
 *   an accepted one; NULL: not accepted, or its number is not known yet. `retry_of`: the rejected one that it takes the
 *   place of. `proof`: the hash of its id and its ops, by which it is known to be whole when it is read from a damaged
 *   file.
 * rp_outbox: `data` is JSON text, which is sent as it is. `old`: what was in the columns of `data` before, where the
 *   table wants it. `op` is `local` for a table of this device that the open transaction has changed, and no such row is
 *   left at its end.
 * rp_failed: rejected transactions. `depends_on`: nobody rejected this one, but that one, on which it builds. `next`:
 *   the transaction that has taken its place.
 * rp_fates: what became of every write that the application was told of. `id`: the one that it was given; `tx`: the one
 *   of today, `call`: how the caller names it, `value`: what it was answered, as JSON. `result` NULL: not decided.
 * rp_capture: one row while a local transaction runs, whose id the triggers write into the outbox.
 */
const TABLES = `
  CREATE TABLE rp_kv (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE rp_types (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
  CREATE TABLE rp_copies (
    type INTEGER NOT NULL, row_id TEXT NOT NULL, src INTEGER NOT NULL, sub INTEGER NOT NULL, op INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (type, row_id, src, sub)
  ) WITHOUT ROWID;
  CREATE TABLE rp_base (
    type INTEGER NOT NULL, row_id TEXT NOT NULL, src INTEGER, op INTEGER, sub INTEGER, data TEXT, rest TEXT,
    PRIMARY KEY (type, row_id)
  ) WITHOUT ROWID;
  CREATE TABLE rp_stage (bucket INTEGER NOT NULL, seq INTEGER NOT NULL, ops TEXT NOT NULL, PRIMARY KEY (bucket, seq)) WITHOUT ROWID;
  CREATE TABLE rp_buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, generation INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 3,
    last_op INTEGER NOT NULL DEFAULT 0, applied_op INTEGER NOT NULL DEFAULT 0, checksum INTEGER NOT NULL DEFAULT 0, swept INTEGER NOT NULL DEFAULT 1,
    ops INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE rp_streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, params TEXT NOT NULL, priority INTEGER, ttl INTEGER NOT NULL, used_at INTEGER NOT NULL, synced_at INTEGER,
    UNIQUE (name, params)
  );
  CREATE TABLE rp_tx (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'accepted')), target INTEGER,
    made_at INTEGER NOT NULL, retry_of TEXT, proof INTEGER
  );
  CREATE TABLE rp_outbox (
    seq INTEGER PRIMARY KEY, tx INTEGER NOT NULL, op TEXT NOT NULL, type INTEGER NOT NULL, row_id TEXT NOT NULL, data TEXT, old TEXT
  );
  CREATE INDEX rp_outbox_tx ON rp_outbox (tx);
  CREATE INDEX rp_outbox_row ON rp_outbox (type, row_id);
  CREATE TABLE rp_failed (
    tx TEXT PRIMARY KEY, seq INTEGER NOT NULL, failed_at INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, field TEXT, current TEXT, ops TEXT NOT NULL,
    depends_on TEXT, next TEXT
  );
  CREATE TABLE rp_fates (
    id TEXT PRIMARY KEY, tx TEXT NOT NULL, call TEXT UNIQUE, value TEXT, result TEXT, code TEXT, message TEXT, confirmed INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL
  );
  CREATE INDEX rp_fates_tx ON rp_fates (tx);
  CREATE TABLE rp_capture (tx INTEGER NOT NULL);
`

/** Of our own tables. A build reads those up to it. */
export const FORMAT = 1

/** Generations of one bucket: `src` = bucket × this + generation. */
export const GENERATIONS = 256

/** Prepares a connection, and makes our tables in a new file. Throws when the file is of a newer build. */
export function openLayout(db: Sqlite): void {
  db.define('rp_hash', hash)
  db.transaction(() => {
    if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'rp_types'").all().length === 0) {
      db.exec(TABLES)
      put(db, 'format', FORMAT)
    }
    const format = get(db, 'format')
    if (typeof format !== 'number' || format > FORMAT)
      throw new Error(`This database was written by a newer version of the client (${format})`)
    // A file that was copied or restored in the middle of a write: with a row in it every download would be captured as
    // the user's own write.
    db.exec('DELETE FROM rp_capture')
  })
  // Rows to derive again, as the work list of one transaction.
  db.exec(
    'CREATE TEMP TABLE IF NOT EXISTS rp_dirty (type INTEGER NOT NULL, row_id TEXT NOT NULL, PRIMARY KEY (type, row_id)) WITHOUT ROWID',
  )
}

export function get(db: Sqlite, key: string): string | number | null {
  const value = db.prepare('SELECT value FROM rp_kv WHERE key = ?').all([key])[0]?.[0]
  return typeof value === 'string' || typeof value === 'number' ? value : null
}

export function put(db: Sqlite, key: string, value: string | number): void {
  db.prepare('INSERT INTO rp_kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(
    [key, value],
  )
}

/** The number of a table's name; made when it is first met. */
export function typeOf(db: Sqlite, name: string): number {
  const find = db.prepare('SELECT id FROM rp_types WHERE name = ?')
  const known = find.all([name])[0]
  if (known) return known[0] as number
  db.prepare('INSERT INTO rp_types (name) VALUES (?)').run([name])
  return find.all([name])[0]?.[0] as number
}
