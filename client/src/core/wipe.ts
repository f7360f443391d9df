import { identifier, text, transaction, type Sqlite } from './sqlite.ts'

/**
 * Empties the database so that nothing of its rows is left in the file: `secure_delete` overwrites what is deleted, and
 * the WAL is cut.
 */
export function wipeRows(db: Sqlite): void {
  transaction(db, () => {
    for (const row of db.all("SELECT substr(key, 8) AS name FROM rp_kv WHERE key LIKE 'schema:%'")) {
      db.exec(`DROP TABLE IF EXISTS ${identifier(text(row.name))}`)
    }
    for (const table of ['rp_kv', 'rp_buckets', 'rp_ops', 'rp_tx', 'rp_outbox', 'rp_failed', 'rp_capture', 'rp_dirty'])
      db.run(`DELETE FROM ${table}`)
  })
  db.all('PRAGMA wal_checkpoint(TRUNCATE)')
  db.exec('VACUUM')
  db.all('PRAGMA wal_checkpoint(TRUNCATE)')
}
