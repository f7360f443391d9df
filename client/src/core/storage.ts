import { integer, text, transaction, type Sqlite } from './sqlite.ts'

/**
 * Our own tables, all named `rp_…`. Append-only: a released step never changes.
 *
 * rp_kv: BLOB so that nothing is converted. rp_buckets: `name` null = no longer ours, its rows vanish with the next
 * whole checkpoint. `last_op`: everything up to it has been received (the resume position). `applied_op`: everything up
 * to it is in the tables. `cleared_op`: a CLEAR that waits for the next checkpoint; ops up to it are history.
 * `checksum`: sum of all received, unsigned.
 * rp_ops: of what is applied only the current PUT per (bucket, row, subkey); of what is not, every PUT and REMOVE
 * (`data` null).
 * rp_tx: local transactions that the tables show on top of the server's rows. `target`: the write checkpoint that
 * confirms one; null = accepted, number not known yet.
 * rp_capture: while it holds a transaction's id, the triggers of the app's tables write its changes into rp_outbox.
 */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE rp_kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
  CREATE TABLE rp_buckets (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    priority INTEGER NOT NULL DEFAULT 3,
    last_op INTEGER NOT NULL DEFAULT 0,
    applied_op INTEGER NOT NULL DEFAULT 0,
    cleared_op INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER NOT NULL DEFAULT 0,
    ops INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE rp_ops (
    bucket INTEGER NOT NULL,
    op_id INTEGER NOT NULL,
    type TEXT NOT NULL,
    row_id TEXT NOT NULL,
    subkey TEXT NOT NULL,
    data TEXT,
    PRIMARY KEY (bucket, op_id)
  ) WITHOUT ROWID;
  CREATE INDEX rp_ops_row ON rp_ops (type, row_id);
  CREATE TABLE rp_tx (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'accepted')),
    target INTEGER,
    request TEXT UNIQUE
  );
  CREATE TABLE rp_outbox (
    seq INTEGER PRIMARY KEY,
    tx INTEGER NOT NULL,
    op TEXT NOT NULL,
    type TEXT NOT NULL,
    row_id TEXT NOT NULL,
    data TEXT
  );
  CREATE INDEX rp_outbox_tx ON rp_outbox (tx);
  CREATE TABLE rp_failed (
    tx INTEGER PRIMARY KEY,
    failed_at INTEGER NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    ops TEXT NOT NULL
  );
  CREATE TABLE rp_capture (tx INTEGER NOT NULL);
  `,
]

/**
 * Brings our tables up to date and cleans up what a crash may have left. Throws when the file is from a newer version.
 */
export function migrate(db: Sqlite): void {
  transaction(db, () => {
    const version = integer(db.all('PRAGMA user_version')[0]?.user_version)
    if (version > MIGRATIONS.length)
      throw new Error(`This database was written by a newer version of the client (${version})`)
    // A full disk must not keep a file from being opened: nothing is written that is there.
    if (version === MIGRATIONS.length) return
    for (const step of MIGRATIONS.slice(version)) db.exec(step)
    db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`)
  })
  // A file that was copied or restored in the middle of a write: with a row in it every download would be captured as
  // the user's own write.
  db.exec('DELETE FROM rp_capture')
  // Rows to derive again, as the work list of one transaction.
  db.exec(
    'CREATE TEMP TABLE IF NOT EXISTS rp_dirty (type TEXT NOT NULL, row_id TEXT NOT NULL, PRIMARY KEY (type, row_id)) WITHOUT ROWID',
  )
}

export function getText(db: Sqlite, key: string): string | null {
  const row = db.all('SELECT value FROM rp_kv WHERE key = ?', [key])[0]
  return row ? text(row.value) : null
}

export function getNumber(db: Sqlite, key: string): number | null {
  const row = db.all('SELECT value FROM rp_kv WHERE key = ?', [key])[0]
  return row ? integer(row.value) : null
}

export function put(db: Sqlite, key: string, value: string | number): void {
  db.run('INSERT INTO rp_kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value', [
    key,
    value,
  ])
}

/** Names this local database towards the server; made once. */
export function clientId(db: Sqlite): string {
  const known = getText(db, 'client_id')
  if (known !== null) return known
  const id = crypto.randomUUID()
  put(db, 'client_id', id)
  return id
}
