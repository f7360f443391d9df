// The tables of the randomised test: one for each way in which rows are told apart, and what the sync config makes of
// them.

export const GROUPS = ['a', 'b', 'c', 'd'] as const

/** Columns of the ledger that stand before its others, and are dropped in the middle of transactions. */
export const SPARE = ['spare0', 'spare1', 'spare2', 'spare3'] as const

/** Statements that make everything. `%PUBLIC%` tables first. */
export const TABLES: readonly string[] = [
  `CREATE TYPE mood AS ENUM ('sad', 'glad', 'calm')`,
  `CREATE TABLE items (id int PRIMARY KEY, grp text, n int, note text)`,
  `CREATE TABLE pairs (b text, a int, grp text, n int, PRIMARY KEY (a, b))`,
  `CREATE TABLE codes (code text NOT NULL, grp text, n int)`,
  `CREATE UNIQUE INDEX codes_code ON codes (code)`,
  `ALTER TABLE codes REPLICA IDENTITY USING INDEX codes_code`,
  `CREATE TABLE fulls (id int PRIMARY KEY, grp text, n int, body text)`,
  `ALTER TABLE fulls REPLICA IDENTITY FULL`,
  `ALTER TABLE fulls ALTER COLUMN body SET STORAGE EXTERNAL`,
  `CREATE TABLE bag (label text, n int)`,
  `ALTER TABLE bag REPLICA IDENTITY FULL`,
  `CREATE TABLE parts (id int, day int, grp text, t text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)`,
  `CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)`,
  // Another order of columns, and one that was dropped.
  `CREATE TABLE parts_2 (t text, gone int, day int NOT NULL, grp text, id int NOT NULL, PRIMARY KEY (id, day))`,
  `ALTER TABLE parts_2 DROP COLUMN gone`,
  `ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20)`,
  `CREATE TABLE parts_3 (id int NOT NULL, day int NOT NULL, grp text, t text, PRIMARY KEY (id, day))`,
  `CREATE TABLE texts (k text PRIMARY KEY, n int, body text)`,
  `ALTER TABLE texts ALTER COLUMN k SET STORAGE EXTERNAL`,
  `ALTER TABLE texts ALTER COLUMN body SET STORAGE EXTERNAL`,
  `CREATE TABLE logs_a (id int PRIMARY KEY, line text)`,
  `CREATE TABLE logs_b (id int PRIMARY KEY, line text)`,
  `CREATE SCHEMA other`,
  `CREATE TABLE other.things (id int PRIMARY KEY, grp text, feels mood, n int)`,
  `CREATE TABLE members (u text, grp text, since int, PRIMARY KEY (u, grp))`,
  // What it holds sums up to zero after every transaction, over all its buckets.
  `CREATE TABLE ledger (${SPARE.map((name) => `${name} int DEFAULT 7, `).join('')}id int PRIMARY KEY, grp text NOT NULL, amount int NOT NULL)`,
  `INSERT INTO ledger (id, grp, amount) SELECT i, (ARRAY['a','b','c','d'])[1 + i % 4], 0 FROM generate_series(1, 40) i`,
  `INSERT INTO items SELECT i, (ARRAY['a','b','c','d'])[1 + i % 4], i, 'first' FROM generate_series(1, 60) i`,
  `INSERT INTO pairs SELECT 'b' || i % 5, i, (ARRAY['a','b','c','d'])[1 + i % 4], i FROM generate_series(1, 30) i`,
  `INSERT INTO codes SELECT 'code' || i, (ARRAY['a','b','c','d'])[1 + i % 4], i FROM generate_series(1, 30) i`,
  `INSERT INTO fulls SELECT i, (ARRAY['a','b','c','d'])[1 + i % 4], i, repeat(md5(i::text), 90) FROM generate_series(1, 20) i`,
  `INSERT INTO bag SELECT 'l' || i % 4, i % 3 FROM generate_series(1, 40) i`,
  `INSERT INTO parts SELECT i, i % 20, (ARRAY['a','b','c','d'])[1 + i % 4], 'row ' || i FROM generate_series(1, 40) i`,
  `INSERT INTO texts SELECT repeat(md5(i::text), CASE WHEN i % 2 = 0 THEN 70 ELSE 1 END) || i, i % 8, repeat(md5(i::text), 20 * (i % 5)) FROM generate_series(1, 20) i`,
  `INSERT INTO logs_a SELECT i, 'line ' || i FROM generate_series(1, 10) i`,
  `INSERT INTO members VALUES ('u1', 'a', 1), ('u1', 'b', 1), ('u2', 'b', 1)`,
]

/** Tables of the publication when it is not Rockpool's own. */
export const PUBLISHED = 'items, pairs, codes, fulls, bag, parts, texts, logs_a, logs_b, other.things, members, ledger'

/** What every sync config has. */
const STREAMS = `config:
  edition: 3
streams:
  items:
    query: SELECT * FROM items WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  pairs:
    query: SELECT a || '/' || b AS id, a, b, grp, n FROM pairs WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  codes:
    query: SELECT code AS id, grp, n FROM codes WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  parts:
    query: SELECT * FROM parts WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  things:
    query: SELECT * FROM other.things WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  ledger:
    query: SELECT * FROM ledger WHERE grp = subscription.parameter('grp')
    accept_potentially_dangerous_queries: true
  fulls:
    query: SELECT * FROM fulls WHERE grp IN (SELECT grp FROM members WHERE u = auth.user_id())
    auto_subscribe: true
  bag:
    query: SELECT label || n AS id, label, n FROM bag
    auto_subscribe: true
  texts:
    query: SELECT k AS id, n, body FROM texts WHERE n > 3
    auto_subscribe: true
  logs:
    query: SELECT * FROM "logs_%"
    auto_subscribe: true
`

/** Streams that deploys add and take away. Their names are those of their tables on the client, too. */
const OPTIONAL: Readonly<Record<string, string>> = {
  items2: `SELECT id, n, grp FROM items AS items2 WHERE grp = subscription.parameter('grp')`,
  ledger2: `SELECT id, amount, grp FROM ledger AS ledger2 WHERE grp = subscription.parameter('grp')`,
  codes2: `SELECT code AS id, n FROM codes AS codes2`,
  parts2: `SELECT * FROM parts AS parts2`,
  bag2: `SELECT label || n AS id, n FROM bag AS bag2`,
}
export const OPTIONS: readonly string[] = Object.keys(OPTIONAL)

/** A sync config with some of the optional streams; `optionsOf` reads from its text which. */
export function syncConfigOf(options: readonly string[]): string {
  const streams = options.map((name) => {
    const query = OPTIONAL[name] ?? ''
    const subscribed = query.includes('subscription')
      ? 'accept_potentially_dangerous_queries: true'
      : 'auto_subscribe: true'
    return `  ${name}:\n    query: ${query}\n    ${subscribed}\n`
  })
  return `# options: ${options.join()}\n${STREAMS}${streams.join('')}`
}

export const optionsOf = (yaml: string): string[] =>
  (/^# options: (.*)$/m.exec(yaml)?.[1] ?? '').split(',').filter((name) => name !== '')

/** A bucket without its hash → the optional stream that it belongs to, null when it is always there. */
export const optionOf = (bucket: string): string | null => OPTIONS.find((name) => bucket.startsWith(`${name}[`)) ?? null

/** Everything that a client can have here: all groups of the streams that take one. */
export const SUBSCRIPTIONS = ['items', 'pairs', 'codes', 'parts', 'things', 'ledger', 'items2', 'ledger2'].flatMap(
  (stream) => GROUPS.map((grp) => ({ stream, parameters: { grp }, override_priority: null })),
)

/** What plain SQL says of one definition: its rows, in buckets by `by` or all in one. */
export interface Truth {
  /** As in bucket names, before the parameters. */
  name: string
  table: string
  columns: string
  where?: string
  by?: string
  /** Equal rows are one. */
  distinct?: boolean
}

export const TRUTHS: readonly Truth[] = [
  { name: 'items', table: 'public.items', columns: '*', by: 'grp' },
  { name: 'pairs', table: 'public.pairs', columns: `a || '/' || b AS id, a, b, grp, n`, by: 'grp' },
  { name: 'codes', table: 'public.codes', columns: 'code AS id, grp, n', by: 'grp' },
  { name: 'parts', table: 'public.parts', columns: '*', by: 'grp' },
  { name: 'things', table: 'other.things', columns: '*', by: 'grp' },
  { name: 'ledger', table: 'public.ledger', columns: '*', by: 'grp' },
  { name: 'items2', table: 'public.items', columns: 'id, n, grp', by: 'grp' },
  { name: 'ledger2', table: 'public.ledger', columns: 'id, amount, grp', by: 'grp' },
  { name: 'codes2', table: 'public.codes', columns: 'code AS id, n' },
  { name: 'parts2', table: 'public.parts', columns: '*' },
  { name: 'bag2', table: 'public.bag', columns: 'label || n AS id, n', distinct: true },
  { name: 'fulls', table: 'public.fulls', columns: '*', by: 'grp' },
  { name: 'bag', table: 'public.bag', columns: 'label || n AS id, label, n', distinct: true },
  { name: 'texts', table: 'public.texts', columns: 'k AS id, n, body', where: 'n > 3' },
]
