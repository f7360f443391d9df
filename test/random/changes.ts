import { GROUPS } from './source.ts'
import type { Random } from '../support/random.ts'

// Changes of rows. Ids come from small ranges, so that rows are met again and again; a statement may well find nothing,
// or fail.

const literal = (text: string | null) => (text === null ? 'NULL' : `'${text.replaceAll("'", "''")}'`)
const group = (r: Random) => (r.chance(0.06) ? null : r.pick(GROUPS))
/** Compressible or not, inline or out of line. */
const long = (r: Random) => `repeat(md5(${r.int(1000)}::text), ${r.pick([0, 1, 20, 80, 200])})`
/** A key near the most that a btree takes, stored out of line. */
const textKey = (n: number) => `repeat(md5('${n}'), ${n % 2 === 0 ? 70 : 1}) || ${n}`

type Change = (r: Random) => string

export const CHANGES: readonly (readonly [weight: number, change: Change])[] = [
  [
    6,
    (r) =>
      `INSERT INTO items (id, grp, n, note) VALUES (${r.int(80)}, ${literal(group(r))}, ${r.int(100)}, 'n${r.int(1000)}')
       ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, n = excluded.n, note = excluded.note`,
  ],
  [4, (r) => `UPDATE items SET n = n + 1 WHERE id % ${2 + r.int(9)} = 0`],
  [2, (r) => `UPDATE items SET n = n WHERE id < ${r.int(80)}`],
  [3, (r) => `UPDATE items SET grp = ${literal(group(r))} WHERE id = ${r.int(80)}`],
  [2, (r) => `UPDATE items SET id = ${r.int(100)} WHERE id = ${r.int(80)}`],
  [1, (r) => `UPDATE items SET id = id + 1000 WHERE id % 7 = ${r.int(7)} AND id < 1000`],
  [3, (r) => `DELETE FROM items WHERE id = ${r.int(90)}`],
  [1, (r) => `DELETE FROM items WHERE id > ${90 + r.int(3000)}`],
  [
    1,
    (r) =>
      `INSERT INTO items SELECT i, ${literal(group(r))}, i, 'many' FROM generate_series(2000, ${2100 + r.int(400)}) i ON CONFLICT DO NOTHING`,
  ],
  [
    4,
    (r) =>
      `INSERT INTO pairs VALUES ('b${r.int(6)}', ${r.int(12)}, ${literal(group(r))}, ${r.int(50)}) ON CONFLICT (a, b) DO UPDATE SET grp = excluded.grp, n = excluded.n`,
  ],
  [2, (r) => `UPDATE pairs SET a = a + ${r.int(3)}, b = 'b${r.int(6)}' WHERE a = ${r.int(12)} AND b = 'b${r.int(6)}'`],
  [2, (r) => `UPDATE pairs SET n = n + 1, grp = ${literal(group(r))} WHERE a = ${r.int(12)}`],
  [2, (r) => `DELETE FROM pairs WHERE a = ${r.int(12)} AND b < 'b${r.int(6)}'`],
  [
    3,
    (r) =>
      `INSERT INTO codes VALUES ('code${r.int(40)}', ${literal(group(r))}, ${r.int(50)}) ON CONFLICT (code) DO UPDATE SET grp = excluded.grp, n = excluded.n`,
  ],
  [2, (r) => `UPDATE codes SET code = code || 'x' WHERE code = 'code${r.int(40)}'`],
  [2, (r) => `UPDATE codes SET n = n + 1 WHERE n % ${2 + r.int(5)} = 0`],
  [2, (r) => `DELETE FROM codes WHERE code LIKE '%${r.int(10)}x%' OR code = 'code${r.int(40)}'`],
  [
    3,
    (r) =>
      `INSERT INTO fulls VALUES (${r.int(30)}, ${literal(group(r))}, ${r.int(9)}, ${long(r)}) ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, body = excluded.body`,
  ],
  [3, (r) => `UPDATE fulls SET n = n + 1 WHERE id % 4 = ${r.int(4)}`],
  [2, (r) => `UPDATE fulls SET id = ${r.int(40)}, grp = ${literal(group(r))} WHERE id = ${r.int(30)}`],
  [2, (r) => `DELETE FROM fulls WHERE id = ${r.int(30)}`],
  [4, (r) => `INSERT INTO bag SELECT 'l${r.int(5)}', ${r.int(4)} FROM generate_series(1, ${1 + r.int(3)})`],
  [
    3,
    (r) =>
      `DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE label = 'l${r.int(5)}' AND n = ${r.int(4)} LIMIT ${1 + r.int(2)})`,
  ],
  [
    2,
    (r) => `UPDATE bag SET n = ${r.int(4)} WHERE ctid IN (SELECT ctid FROM bag WHERE label = 'l${r.int(5)}' LIMIT 2)`,
  ],
  [1, (r) => `DELETE FROM bag WHERE label = 'l${r.int(5)}' AND n = ${r.int(4)}`],
  [
    4,
    (r) =>
      `INSERT INTO parts (id, day, grp, t) VALUES (${r.int(60)}, ${r.int(22)}, ${literal(group(r))}, 't${r.int(100)}') ON CONFLICT (id, day) DO UPDATE SET grp = excluded.grp, t = excluded.t`,
  ],
  [3, (r) => `UPDATE parts SET day = (day + ${r.int(20)}) % 20 WHERE id = ${r.int(60)}`],
  [2, (r) => `UPDATE parts SET t = t || '!', grp = ${literal(group(r))} WHERE day = ${r.int(20)} AND length(t) < 20`],
  [2, (r) => `DELETE FROM parts WHERE id % 11 = ${r.int(11)}`],
  [
    1,
    (r) =>
      `INSERT INTO parts_${1 + r.int(3)} (id, day, grp, t) VALUES (${r.int(60)}, ${r.int(30)}, ${literal(group(r))}, 'direct')`,
  ],
  [
    3,
    (r) =>
      `INSERT INTO texts VALUES (${textKey(r.int(30))}, ${r.int(8)}, ${long(r)}) ON CONFLICT (k) DO UPDATE SET n = excluded.n`,
  ],
  [3, (r) => `UPDATE texts SET n = (n + 1) % 8 WHERE n < ${r.int(8)}`],
  [2, (r) => `UPDATE texts SET k = ${textKey(r.int(30))} WHERE k = ${textKey(r.int(30))}`],
  [1, (r) => `UPDATE texts SET body = ${long(r)} WHERE k = ${textKey(r.int(30))}`],
  [2, (r) => `DELETE FROM texts WHERE k = ${textKey(r.int(30))}`],
  [
    3,
    (r) =>
      `INSERT INTO logs_${r.pick(['a', 'b', 'c'])} VALUES (${r.int(30)}, 'l${r.int(99)}') ON CONFLICT (id) DO UPDATE SET line = excluded.line`,
  ],
  [2, (r) => `DELETE FROM logs_${r.pick(['a', 'b', 'c'])} WHERE id % 5 = ${r.int(5)}`],
  [
    3,
    (r) =>
      `INSERT INTO other.things (id, grp, n) VALUES (${r.int(30)}, ${literal(group(r))}, ${r.int(9)}) ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, n = excluded.n`,
  ],
  [2, (r) => `UPDATE other.things SET feels = (enum_range(NULL::mood))[1 + ${r.int(3)}] WHERE id % 3 = ${r.int(3)}`],
  [2, (r) => `DELETE FROM other.things WHERE id = ${r.int(30)}`],
  [
    2,
    (r) =>
      `INSERT INTO members VALUES ('${r.pick(['u1', 'u1', 'u2'])}', ${literal(r.pick(GROUPS))}, ${r.int(9)}) ON CONFLICT (u, grp) DO UPDATE SET since = excluded.since`,
  ],
  [2, (r) => `DELETE FROM members WHERE u = '${r.pick(['u1', 'u2'])}' AND grp = ${literal(r.pick(GROUPS))}`],
]

export const change = (r: Random): string => r.weighted(CHANGES)(r)

/**
 * Money moves between rows of several buckets; the sum stays zero. Locks are taken in order, so that transfers never
 * wait for each other in a circle.
 */
export function transfer(r: Random): string[] {
  const from = 1 + r.int(40)
  const to = 1 + ((from + r.int(39)) % 40)
  const amount = 1 + r.int(50)
  const moves: [number, number][] = [
    [from, -amount],
    [to, amount],
  ]
  moves.sort(([a], [b]) => a - b)
  return moves.map(([id, by]) => `UPDATE ledger SET amount = amount + (${by}) WHERE id = ${id}`)
}

/** Statements of one transaction that is neither a single change nor open for long. */
export function transaction(r: Random): string[] {
  const statements: string[] = []
  if (r.chance(0.5)) statements.push(...transfer(r))
  for (let n = r.int(6); n >= 0; n--) {
    const dice = r.next()
    if (dice < 0.15)
      statements.push('SAVEPOINT s', change(r), r.chance(0.5) ? 'ROLLBACK TO SAVEPOINT s' : 'RELEASE SAVEPOINT s')
    else if (dice < 0.22)
      statements.push(
        `DO $do$ BEGIN BEGIN ${change(r)}; RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN ${change(r)}; END; EXCEPTION WHEN OTHERS THEN NULL; END $do$`,
      )
    else statements.push(change(r))
  }
  return statements
}

/** More rows than a slice takes, and in many subtransactions. */
export function largeTransaction(r: Random): string[] {
  const from = 10_000 + 1_000 * r.int(5)
  const to = from + 1_000 + r.int(5_000)
  // One half at each end: whoever sees only a part of it sees a sum that is wrong.
  const [taken = '', ...given] = transfer(r)
  const statements = [taken]
  statements.push(
    r.pick([
      `INSERT INTO items SELECT i, (ARRAY['a','b','c','d'])[1 + i % 4], i, 'large' FROM generate_series(${from}, ${to}) i ON CONFLICT (id) DO UPDATE SET n = items.n + 1`,
      `DELETE FROM items WHERE id BETWEEN ${from} AND ${to}`,
      `UPDATE items SET grp = ${literal(r.pick(GROUPS))} WHERE id >= ${from}`,
      `INSERT INTO bag SELECT 'l' || i % 3, i % 4 FROM generate_series(1, ${r.int(3_000)}) i`,
      // 70 subtransactions: more than a backend keeps at hand.
      `DO $do$ BEGIN FOR i IN 1..70 LOOP BEGIN INSERT INTO pairs VALUES ('s' || i, i, 'a', i); EXCEPTION WHEN unique_violation THEN UPDATE pairs SET n = n + 1 WHERE a = i; END; END LOOP; END $do$`,
    ]),
  )
  statements.push(...given)
  return statements
}

export function truncate(r: Random): string {
  return `TRUNCATE ${r.pick(['items', 'pairs', 'codes, bag', 'fulls', 'bag', 'parts', 'parts_1', 'parts_2', 'texts', 'logs_a, logs_b', 'other.things'])}`
}
