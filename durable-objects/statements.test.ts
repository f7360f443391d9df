import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Log } from './bucket/log.ts'
import { page, put } from './bucket/test-ops.ts'
import { migrate } from './shared/database.ts'
import { MIGRATIONS as OF_DIRECTORY } from './directory/storage.ts'
import { MIGRATIONS } from './replicator/store/storage.ts'
import { testDatabase } from './test-database.ts'

// Every statement that stands in the code of an object, as SQLite plans it: rows read and written are what is billed,
// and what takes time.

/**
 * Those that may begin at the start of a table, as SQLite calls that. A new statement belongs here for a reason only.
 */
const SCANS: Record<string, readonly string[]> = {
  bucket: [
    // One row: the first or the last in the order of the key.
    'SELECT first_op FROM pages ORDER BY last_op LIMIT 1',
    'SELECT last_op, total_count, total_checksum, total_bytes, bytes, committed FROM pages ORDER BY last_op DESC LIMIT 1',
  ],
  directory: [
    // Once, when the object starts: the list of all names is kept in memory.
    'SELECT named FROM tenants',
    // After a break of the cron trigger every tenant is due.
    'UPDATE due SET at = MIN(at, ? + abs(random()) % ?)',
    // One row: the first in the order of the index.
    'SELECT due FROM jobs ORDER BY due LIMIT 1',
    // Tenants whose replicator has not been told of a revocation yet: as a rule none.
    'SELECT due FROM telling ORDER BY due LIMIT 1',
    // A row for each tenant that reported. Once, when the object starts or a day begins.
    'SELECT total(dollars) AS dollars, total(excused) AS excused FROM spending WHERE day = ?',
    'DELETE FROM spending WHERE day <> ? AND tenant NOT IN (SELECT name FROM tenants)',
    // One row.
    'SELECT told, next FROM spending_day WHERE day = ?',
    // When an operator asks.
    'SELECT * FROM spending WHERE day = ? ORDER BY dollars DESC, tenant LIMIT ?',
    // When a tenant is paused: at 90 percent of the budget, and after each further one.
    'SELECT tenant, CASE WHEN hour = ? THEN this_hour + last_hour WHEN hour = ? - 1 THEN this_hour ELSE 0 END AS lately FROM spending WHERE day = ? AND paused = 0 AND spared = 0 AND lately > 0 ORDER BY lately DESC LIMIT 1',
  ],
  replicator: [
    // Once, when the object starts; all are small: the outbox is what has not been answered yet, and 16 rows.
    'SELECT bucket, serial FROM watchers',
    // When a tenant is suspended or deleted.
    'SELECT bucket FROM watchers ORDER BY bucket',
    'SELECT recorded, due, name FROM removals LIMIT ?',
    'SELECT key, value FROM state',
    'SELECT name, serial FROM relays',
    'SELECT number, schema, name, fingerprint, copy, description FROM tables',
    'SELECT slot, body FROM diagnostics',
    'SELECT t, count(*) AS n FROM incomplete GROUP BY t',
    'SELECT record FROM configs ORDER BY number',
    'SELECT hash, generation, state, bucket, serial FROM definitions',
    'SELECT hash FROM plans',
    // At most 10,000 (MAX_REVOCATIONS): when the object starts, and with each further one those that have expired.
    'SELECT kind, value, before FROM revocations',
    'SELECT kind, value FROM revocations WHERE until < ?',
    // At most 1,000: what a verification has found, when the object starts and when somebody asks.
    'SELECT count(*) AS n FROM differences',
    'SELECT number, body FROM differences',
    // And when the copy of a table begins again.
    // At most 100,000 (MOST_COUNTED), once after the object has started, when an operator asks.
    'SELECT count(*) AS n FROM (SELECT 1 FROM buckets LIMIT ?)',
  ],
}

function statementsOf(folder: string): string[] {
  const all = readdirSync(new URL(`./${folder}/`, import.meta.url), { recursive: true, encoding: 'utf8' })
  const files = all.filter((name) => name.endsWith('.ts') && !name.includes('test'))
  const found = new Set<string>()
  for (const file of files) {
    const text = readFileSync(new URL(`./${folder}/${file}`, import.meta.url), 'utf8')
    for (const [, , sql = ''] of text.matchAll(/(['`])((?:SELECT|INSERT|UPDATE|DELETE|WITH)\s[^'`]*)\1/g)) {
      // Columns that several statements share.
      found.add(
        sql
          .replace(/\$\{[A-Z]+\}/g, '*')
          .replace(/\s+/g, ' ')
          .trim(),
      )
    }
  }
  return [...found].filter((sql) => !sql.includes('sqlite_master')).sort()
}

describe.each([
  ['bucket', 10],
  ['directory', 15],
  ['replicator', 30],
])('the statements of the %s', (folder, least) => {
  const db = testDatabase()
  if (folder === 'replicator') migrate(db, MIGRATIONS)
  else if (folder === 'directory') migrate(db, OF_DIRECTORY)
  else new Log(db).append(page(1, put('a', '{}')))
  const statements = statementsOf(folder)

  test('are found', () => expect(statements.length).toBeGreaterThanOrEqual(least))

  test('scan and sort nothing, but for those that may', () => {
    expect(statements.filter((sql) => /SCAN|TEMP B-TREE/.test(db.plan(sql)))).toEqual(SCANS[folder]?.toSorted())
  })
})
