import type { Random } from '../support/random.ts'
import { change, transfer } from './changes.ts'
import { SPARE } from './source.ts'

// Changes of what tables are. Most send nothing through the stream. Each is tried where it makes sense; one that fails
// changed nothing.

/**
 * What may be refused is put right with the next statement, so that every table can be followed whenever it is looked
 * at.
 */
export const DEFINITIONS: readonly (readonly [weight: number, statements: (r: Random) => string[]])[] = [
  [3, (r) => [`ALTER TABLE ${someTable(r)} ADD COLUMN x${r.int(3)} int DEFAULT ${r.int(100)}`]],
  [1, (r) => [`ALTER TABLE ${someTable(r)} ADD COLUMN x${r.int(3)} int`]],
  [1, (r) => [`ALTER TABLE ${someTable(r)} ADD COLUMN x${r.int(3)} int DEFAULT (random() * 1000)::int`]],
  [3, (r) => [`ALTER TABLE ${someTable(r)} DROP COLUMN x${r.int(3)}`]],
  [2, (r) => [`ALTER TABLE ${someTable(r)} RENAME COLUMN x${r.int(3)} TO x${r.int(3)}`]],
  [2, (r) => column(r, (name) => `TYPE text USING 'v' || ${name}`)],
  [2, (r) => column(r, (name) => `TYPE int USING length(${name}::text)`)],
  [1, (r) => column(r, (name) => `TYPE bigint USING length(${name}::text)`)],
  // Rows before and behind it are of one transaction, and have other columns.
  [
    4,
    (r) => [
      'BEGIN',
      ...transfer(r),
      `ALTER TABLE ledger DROP COLUMN IF EXISTS ${r.pick(SPARE)}`,
      ...transfer(r),
      'COMMIT',
    ],
  ],
  [
    1,
    (r) => [
      'BEGIN',
      ...transfer(r),
      `ALTER TABLE ledger ADD COLUMN IF NOT EXISTS ${r.pick(SPARE)} int`,
      ...transfer(r),
      'COMMIT',
    ],
  ],
  [
    2,
    (r) => ['BEGIN', change(r), `ALTER TABLE ${someTable(r)} DROP COLUMN x${r.int(3)}`, change(r), change(r), 'COMMIT'],
  ],
  [
    1,
    (r) => [
      'BEGIN',
      change(r),
      `ALTER TABLE ${someTable(r)} ADD COLUMN x${r.int(3)} int DEFAULT 5`,
      change(r),
      change(r),
      'COMMIT',
    ],
  ],
  [1, () => ['ALTER TABLE items RENAME TO items_away']],
  [4, () => ['ALTER TABLE items_away RENAME TO items']],
  [1, () => ['ALTER TABLE pairs RENAME TO pairs_away']],
  [4, () => ['ALTER TABLE pairs_away RENAME TO pairs']],
  [1, () => ['ALTER SCHEMA other RENAME TO another']],
  [4, () => ['ALTER SCHEMA another RENAME TO other']],
  [1, () => ['ALTER TABLE logs_a RENAME TO old_logs_a']],
  [3, () => ['ALTER TABLE old_logs_a RENAME TO logs_a']],
  [
    1,
    () => ['DROP TABLE codes', ...CODES, `INSERT INTO codes SELECT 'code' || i, 'b', i FROM generate_series(5, 15) i`],
  ],
  [
    1,
    () => [
      'BEGIN; DROP TABLE pairs',
      ...PAIRS,
      `INSERT INTO pairs SELECT 'new', i, 'c', i FROM generate_series(1, 9) i; COMMIT`,
    ],
  ],
  [
    2,
    () => [
      'CREATE TABLE logs_c (id int PRIMARY KEY, line text)',
      `INSERT INTO logs_c VALUES (1, 'there at once')`,
      '%PUBLISH% logs_c',
    ],
  ],
  [1, () => ['DROP TABLE logs_c']],
  [1, () => ['ALTER TABLE items REPLICA IDENTITY FULL']],
  [2, () => ['ALTER TABLE items REPLICA IDENTITY DEFAULT']],
  [1, () => ['ALTER TABLE fulls REPLICA IDENTITY DEFAULT']],
  [2, () => ['ALTER TABLE fulls REPLICA IDENTITY FULL']],
  [1, () => ['ALTER TABLE codes REPLICA IDENTITY FULL']],
  [2, () => ['ALTER TABLE codes REPLICA IDENTITY USING INDEX codes_code']],
  [2, () => ['ALTER TABLE parts ATTACH PARTITION parts_3 FOR VALUES FROM (20) TO (30)']],
  [1, () => ['ALTER TABLE parts DETACH PARTITION parts_3']],
  [1, () => ['CREATE TABLE parts_4 PARTITION OF parts DEFAULT']],
  [1, () => ['DROP TABLE parts_4']],
  [1, () => ['ALTER TABLE parts DETACH PARTITION parts_1']],
  [
    2,
    () => [
      'DELETE FROM parts_1 WHERE day NOT BETWEEN 0 AND 9',
      'ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (10)',
    ],
  ],
  [1, () => [`ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'`]],
  [1, () => [`ALTER TYPE mood RENAME VALUE 'blue' TO 'sad'`]],
  [1, (r) => [`ALTER TYPE mood ADD VALUE IF NOT EXISTS 'mood${r.int(3)}'`]],
  [2, (r) => [`VACUUM FULL ${r.pick(['items', 'bag', 'fulls', 'other.things'])}`]],
  [1, () => ['CLUSTER items USING items_pkey']],
  [1, (r) => [`VACUUM ${r.pick(['items', 'bag', 'parts', 'texts'])}`]],
  [1, (r) => [`ANALYZE ${r.pick(['items', 'bag', 'parts', 'texts'])}`]],
  [1, (r) => [`CREATE INDEX IF NOT EXISTS items_n ON items (${r.pick(['n', 'grp'])})`]],
  [1, () => ['%UNPUBLISH% fulls']],
  [3, () => ['%PUBLISH% fulls']],
]

const CODES = [
  'CREATE TABLE codes (code text NOT NULL, grp text, n int)',
  'CREATE UNIQUE INDEX codes_code ON codes (code)',
  'ALTER TABLE codes REPLICA IDENTITY USING INDEX codes_code',
  '%PUBLISH% codes',
]
const PAIRS = ['CREATE TABLE pairs (b text, a int, grp text, n int, PRIMARY KEY (a, b))', '%PUBLISH% pairs']

const someTable = (r: Random) => r.pick(['items', 'logs_a', 'fulls', 'parts', 'other.things'])

function column(r: Random, to: (name: string) => string): string[] {
  const name = `x${r.int(3)}`
  return [`ALTER TABLE ${someTable(r)} ALTER COLUMN ${name} DROP DEFAULT, ALTER COLUMN ${name} ${to(name)}`]
}

/** What was moved away comes back, so that at the end everything is compared. */
export const RESTORE: readonly string[] = [
  'ALTER TABLE items_away RENAME TO items',
  'ALTER TABLE pairs_away RENAME TO pairs',
  'ALTER SCHEMA another RENAME TO other',
  'ALTER TABLE old_logs_a RENAME TO logs_a',
]

/** Statements for the publication that is the application's own; Rockpool keeps its own itself. */
export function publicationStatement(text: string, publication: string | null): string | null {
  const match = /^%(UN)?PUBLISH% (.*)$/.exec(text)
  if (!match) return text
  if (publication === null) return null
  return `ALTER PUBLICATION ${publication} ${match[1] ? 'DROP' : 'ADD'} TABLE ${match[2]}`
}
