import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SqliteValue, ValueOptions } from '../../../protocol/values.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { snapshotAndStream, type SeenTable } from '../../../test/support/snapshot-and-stream.ts'
import { connectSource, readRows, TableDecoder } from '../index.ts'
import { generator } from '../../../test/support/random.ts'

// The file is long because it has a generator and an expectation for every type.

/** The same values in every run. */
const SEED = 20261123
const ROWS = 48

type Random = () => number

const below = (random: Random, n: number) => Math.floor(random() * n)
const pick = <T>(random: Random, list: readonly T[]): T => {
  const item = list[below(random, list.length)]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}
const pad = (value: number, width = 2) => String(value).padStart(width, '0')
const digits = (random: Random, n: number) => Array.from({ length: n }, () => below(random, 10)).join('')
const hex = (random: Random, n: number) =>
  Array.from({ length: n }, () => below(random, 256).toString(16).padStart(2, '0')).join('')

const PIECES = [
  '',
  ' ',
  'a',
  '"',
  "'",
  '\\',
  '{',
  '}',
  '(',
  ')',
  '[',
  ',',
  ';',
  'NULL',
  'null',
  '\n',
  '\t',
  '\r',
  'ä',
  'ß',
  '€',
  '🌊',
  '\u2028',
  '\u0001',
  '\u007f',
  '%s',
  '%',
  '$1',
  'ÿ',
  'e\u0301',
  '=',
  '<b>',
]
const oddText = (random: Random) => Array.from({ length: below(random, 6) }, () => pick(random, PIECES)).join('')
const year = (random: Random) => pick(random, [1, 9, 1582, 1970, 1999, 2000, 2024, 2026, 9999, 10000, 123456])
const date = (random: Random) =>
  `${pad(Math.min(year(random), 9999), 4)}-${pad(1 + below(random, 12))}-${pad(1 + below(random, 28))}`
const clock = (random: Random) =>
  `${pad(below(random, 24))}:${pad(below(random, 60))}:${pad(below(random, 60))}${random() < 0.5 ? '' : `.${digits(random, 1 + below(random, 6))}`}`
const zone = (random: Random) => pick(random, ['+00', '+02', '-08', '+05:30', '-03:30', '+13'])
const moment = (random: Random) =>
  random() < 0.15
    ? pick(random, [
        'infinity',
        '-infinity',
        '0044-03-15 12:00:00 BC',
        '4713-01-01 00:00:00 BC',
        '123456-07-08 09:10:11.5',
      ])
    : `${date(random)} ${clock(random)}`
const int = (random: Random, bits: bigint) => {
  const edge = 1n << (bits - 1n)
  return String(
    pick(random, [
      0n,
      1n,
      -1n,
      edge - 1n,
      -edge,
      BigInt(below(random, 1000)) - 500n,
      (edge * BigInt(below(random, 1000))) / 1000n,
    ]),
  )
}
const float = (random: Random) =>
  pick(random, [
    '0',
    '-0',
    'NaN',
    'Infinity',
    '-Infinity',
    '1e20',
    '1e21',
    '1e-7',
    '0.1',
    '1.1',
    '-2.5',
    '123456789',
    '0.30000000000000004',
    String((random() - 0.5) * 1e6),
  ])
const wide = (random: Random) => pick(random, [float(random), '1.7976931348623157e308', '5e-324', '9007199254740993'])
const numeric = (random: Random) =>
  pick(random, [
    'NaN',
    'Infinity',
    '-Infinity',
    '0',
    '0.00',
    '-1.50',
    `${digits(random, 40)}.${digits(random, 40)}`,
    `1e${below(random, 300)}`,
    `1e-${below(random, 300)}`,
  ])
const point = (random: Random) => `(${pick(random, ['0', '1.5', '-2', '1e300', '1e-300'])},${below(random, 9)})`
const interval = (random: Random) =>
  `${below(random, 40) - 20} years ${below(random, 30) - 15} mons ${below(random, 80) - 40} days ${random() < 0.5 ? '-' : ''}${clock(random)}`
const json = (random: Random, depth = 0): string => {
  const kind = below(random, depth > 3 ? 4 : 6)
  const space = pick(random, ['', ' ', '\n  '])
  if (kind === 0) return JSON.stringify(oddText(random))
  if (kind === 1) return pick(random, ['null', 'true', 'false'])
  if (kind <= 3)
    return pick(random, ['0', '-1.50', '1e5', '9007199254740993', '0.1e-3', '123456789012345678901234567890'])
  const items = Array.from({ length: below(random, 4) }, () => json(random, depth + 1))
  if (kind === 4) return `[${space}${items.join(`,${space}`)}]`
  return `{${space}${items.map((item, i) => `"k${i}"${space}:${space}${item}`).join(',')}}`
}
const bits = (random: Random, n: number) => Array.from({ length: n }, () => below(random, 2)).join('')

/** A text that the type's input accepts, for every type that an application may have in a table. */
const SCALARS: Record<string, (random: Random) => string> = {
  bool: (r) => pick(r, ['t', 'f']),
  int2: (r) => int(r, 16n),
  int4: (r) => int(r, 32n),
  int8: (r) => int(r, 64n),
  oid: (r) => pick(r, ['0', '4294967295', `1${digits(r, 8)}`]),
  float4: float,
  float8: wide,
  numeric,
  'numeric(20,3)': (r) => `${below(r, 2) ? '-' : ''}${digits(r, 12)}.${digits(r, 5)}`,
  money: (r) => pick(r, ['0', '-0.01', '92233720368547758.07', `${digits(r, 9)}.5`]),
  text: oddText,
  varchar: oddText,
  'varchar(4)': (r) => [...oddText(r)].slice(0, 4).join(''),
  'char(12)': (r) => [...oddText(r)].slice(0, 12).join(''),
  bpchar: (r) => `${oddText(r)}  `,
  '"char"': (r) => pick(r, ['', 'a', '"', '\\', ' ', '\u007f', 'é']),
  name: oddText,
  citext: oddText,
  uuid: (r) => hex(r, 16),
  json,
  jsonb: json,
  jsonpath: (r) => pick(r, ['$', '$.a[*]', 'strict $."b c"']),
  xml: (r) => pick(r, ['', 'text', '<a/>', '<a b="c">d &amp; e</a>\n<f/>', '<?xml version="1.0"?><a>ä</a>']),
  bytea: (r) => `\\x${hex(r, below(r, 9))}`,
  date: (r) => (r() < 0.15 ? pick(r, ['infinity', '-infinity', '0044-03-15 BC', '123456-01-02']) : date(r)),
  time: (r) => pick(r, ['24:00', clock(r)]),
  'time(2)': clock,
  timetz: (r) => `${clock(r)}${zone(r)}`,
  timestamp: moment,
  'timestamp(0)': moment,
  timestamptz: (r) => {
    const text = moment(r)
    return /BC|inf/.test(text) ? text : `${text}${zone(r)}`
  },
  interval,
  'interval year to month': interval,
  'bit(7)': (r) => bits(r, 7),
  varbit: (r) => bits(r, below(r, 20)),
  inet: (r) => pick(r, ['10.0.0.1', '192.168.0.0/16', '::1', '2001:db8::/32', '::ffff:1.2.3.4/128']),
  cidr: (r) => pick(r, ['10.0.0.0/8', '::/0', '2001:db8::/32']),
  macaddr: (r) => hex(r, 6),
  macaddr8: (r) => hex(r, 8),
  point,
  line: (r) => `{1,${below(r, 9)},-0.5}`,
  lseg: (r) => `[${point(r)},${point(r)}]`,
  box: (r) => `${point(r)},${point(r)}`,
  path: (r) =>
    `${pick(r, ['(', '['])}${point(r)},${point(r)}`.replace(
      /^(.)(.*)$/,
      (_, open: string, rest: string) => `${open}${rest}${open === '(' ? ')' : ']'}`,
    ),
  polygon: (r) => `(${point(r)},${point(r)},${point(r)})`,
  circle: (r) => `<${point(r)},${below(r, 9)}>`,
  tsvector: (r) => pick(r, ['', 'a b c', "'a b':1A,2 'it''s':3", "'\\\\'"]),
  tsquery: (r) => pick(r, ['', 'a & !b', "'c d':* <-> e"]),
  pg_lsn: (r) => `${hex(r, 1 + below(r, 3))}/${hex(r, 1 + below(r, 3))}`,
  xid: (r) => `1${digits(r, 6)}`,
  xid8: (r) => `1${digits(r, 12)}`,
  tid: (r) => `(${digits(r, 4)},${digits(r, 2)})`,
  txid_snapshot: () => '10:20:10,14,15',
  pg_snapshot: () => '10:20:10,14,15',
  regclass: (r) => pick(r, ['pg_class', 'odd."Größe; x"']),
  regtype: (r) => pick(r, ['int4', 'odd.mood[]', 'timestamptz']),
  regproc: (r) => pick(r, ['now', 'array_in']),
  regrole: (r) => pick(r, ['postgres', 'pg_monitor']),
  regnamespace: (r) => pick(r, ['odd', 'public']),
  oidvector: (r) => `1${digits(r, 3)} 2${digits(r, 2)}`,
  int2vector: (r) => pick(r, ['', '1', '1 -2 3']),
  hstore: (r) => pick(r, ['', 'a=>1, "b c"=>NULL', '"\\"" => "\\\\, "']),
  ltree: (r) => pick(r, ['', 'a.b.c']),
  'odd.mood': (r) => pick(r, ['sad', 'is "so", {so}', 'ä']),
  'odd.posint': (r) => String(1 + below(r, 1e6)),
  'odd.label': oddText,
  'odd.moment': (r) => `${date(r)} ${clock(r)}+02`,
}

const quoted = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`

/** An array of the type: none, one or two dimensions, nulls, other lower bounds. */
function arrayOf(random: Random, element: (random: Random) => string, delimiter = ','): string {
  const item = () => (random() < 0.2 ? 'NULL' : quoted(element(random)))
  const row = (n: number) => `{${Array.from({ length: n }, item).join(delimiter)}}`
  const kind = below(random, 6)
  if (kind === 0) return '{}'
  if (kind === 1) return `{${row(2)}${delimiter}${row(2)}}`
  if (kind === 2) return `[-3:-2]=${row(2)}`
  return row(1 + below(random, 3))
}

function rangeOf(random: Random, bound: (random: Random) => string, order: (a: string, b: string) => number): string {
  if (random() < 0.15) return 'empty'
  const [lower = '', upper = ''] = [bound(random), bound(random)].sort(order)
  const end = (text: string) => (random() < 0.2 ? '' : quoted(text))
  return `${pick(random, ['[', '('])}${end(lower)},${end(upper)}${pick(random, [']', ')'])}`
}
const small = (random: Random) => String(below(random, 2000) - 1000)
const byNumber = (a: string, b: string) => Number(a) - Number(b)
const byText = (a: string, b: string) => (a < b ? -1 : 1)
const multi = (one: (random: Random) => string) => (random: Random) =>
  `{${Array.from({ length: below(random, 4) }, () => one(random)).join(',')}}`
const intRange = (random: Random) => rangeOf(random, small, byNumber)
const pair = (random: Random) => {
  const member = (text: string) => (random() < 0.2 ? '' : quoted(text))
  return `(${member(small(random))},${member(oddText(random))},${member(pick(random, ['t', 'f']))},${member(json(random))})`
}

const STRUCTURED: Record<string, (random: Random) => string> = {
  int4range: intRange,
  int8range: intRange,
  numrange: (r) => rangeOf(r, (x) => `${small(x)}.50`, byNumber),
  daterange: (r) => rangeOf(r, date, byText),
  tsrange: (r) => rangeOf(r, (x) => `${date(x)} 01:02:03.4`, byText),
  tstzrange: (r) => rangeOf(r, (x) => `${date(x)} 01:02:03+05:30`, byText),
  'odd.words': (r) => rangeOf(r, oddText, byText),
  int4multirange: multi(intRange),
  tstzmultirange: multi((r) => rangeOf(r, (x) => `${date(x)} 01:02:03+05:30`, byText)),
  'int4range[]': (r) => arrayOf(r, intRange),
  'odd.pair': pair,
  'odd.pair[]': (r) => arrayOf(r, pair),
  'odd."nested, (type)"': (r) =>
    `(${quoted(pair(r))},${quoted(arrayOf(r, pair))},${quoted(intRange(r))},${quoted(moment(r))})`,
  'odd.pairs': (r) => arrayOf(r, pair),
}

const TYPES = `
  CREATE EXTENSION citext;
  CREATE EXTENSION hstore;
  CREATE EXTENSION ltree;
  CREATE SCHEMA odd;
  CREATE TABLE odd."Größe; x" (id int);
  CREATE TYPE odd.mood AS ENUM ('sad', 'is "so", {so}', 'ä');
  CREATE DOMAIN odd.posint AS int CHECK (value > 0);
  CREATE DOMAIN odd.label AS text;
  CREATE DOMAIN odd.moment AS timestamptz;
  CREATE TYPE odd.words AS RANGE (subtype = text, collation = "C");
  CREATE TYPE odd.pair AS (x int, y text, ok bool, j json);
  CREATE DOMAIN odd.pairs AS odd.pair[];
  CREATE TYPE odd."nested, (type)" AS (one odd.pair, many odd.pair[], r int4range, at timestamp);
`

interface Column {
  name: string
  type: string
  value: (random: Random) => string
}
const COLUMNS: Column[] = [
  ...Object.entries(SCALARS).map(([type, value], i) => ({ name: `s${i}`, type, value })),
  ...Object.entries(SCALARS).map(([type, value], i) => ({
    name: `a${i}`,
    type: `${type}[]`,
    value: (random: Random) => arrayOf(random, value, type === 'box' ? ';' : ','),
  })),
  ...Object.entries(STRUCTURED).map(([type, value], i) => ({ name: `c${i}`, type, value })),
]
const columnOf = (type: string) => COLUMNS.find((column) => column.type === type)?.name ?? ''

const MODES: ValueOptions[] = [
  { timestampsIso8601: false, customPostgresTypes: false },
  { timestampsIso8601: true, customPostgresTypes: false },
  { timestampsIso8601: false, customPostgresTypes: true },
  { timestampsIso8601: true, customPostgresTypes: true },
  { timestampsIso8601: true, customPostgresTypes: true, timestampDigits: 3 },
]
const PLAIN: ValueOptions = { timestampsIso8601: false, customPostgresTypes: true }

describe.each(POSTGRES_VERSIONS)('generated values of Postgres %i', (version) => {
  let postgres: TestPostgres
  let seen: SeenTable

  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    const sql = postgres.sql()
    await sql.unsafe(TYPES).simple()
    for (const setting of [
      `datestyle = 'Postgres, MDY'`,
      `intervalstyle = 'iso_8601'`,
      `timezone = 'America/St_Johns'`,
      'extra_float_digits = 0',
      'bytea_output = escape',
      'search_path = odd, public',
    ]) {
      await sql.unsafe(`ALTER ROLE postgres IN DATABASE app SET ${setting}`)
    }
    await sql.unsafe(
      `CREATE TABLE t (id int PRIMARY KEY, ${COLUMNS.map(({ name, type }) => `${name} ${type}`).join(', ')}, twice int GENERATED ALWAYS AS (id * 2) STORED)`,
    )
    const random = generator(SEED)
    const insert = `INSERT INTO t (id, ${COLUMNS.map(({ name }) => name).join(', ')}) VALUES ($1::text::int, ${COLUMNS.map(({ type }, i) => `$${i + 2}::text::${type}`).join(', ')})`
    const rows = Array.from({ length: ROWS }, (_, id) => [
      String(id),
      ...COLUMNS.map(({ value }) => (random() < 0.05 ? null : value(random))),
    ])
    seen = await snapshotAndStream(postgres.url, 't', async () => {
      for (const row of rows) await sql.unsafe(insert, row)
    })
  })
  afterAll(() => postgres?.stop())

  test('a copy reads byte for byte what the stream sends', async () => {
    expect(seen.columns).toEqual(['id', ...COLUMNS.map(({ name }) => name)])
    expect(seen.streamed).toHaveLength(ROWS)
    const streamed = new Map(seen.streamed.map((tuple) => [tuple[0], tuple]))
    for (const tuple of seen.read) expect(tuple).toEqual(streamed.get(tuple[0]))
    expect(seen.read).toHaveLength(ROWS)
    expect(seen.streamed.flat().filter((text) => text !== null).length).toBeGreaterThan(5_000)
    const source = connectSource(postgres.url)
    const byKey = await readRows(source, seen.table, ['["3"]', '["44"]'])
    await source.end()
    expect(byKey.tuples).toEqual([streamed.get('3'), streamed.get('44')])
  })

  const decoded = (tuple: SeenTable['streamed'][number], options: ValueOptions): Record<string, SqliteValue> => {
    const { row } = new TableDecoder(seen.table, seen.columns).row(tuple)
    const entries = Object.entries(row).map(([name, value]): [string, SqliteValue] => {
      if (value === undefined) throw new Error(`${name} is missing`)
      return [name, value !== null && typeof value === 'object' && 'resolve' in value ? value.resolve(options) : value]
    })
    return Object.fromEntries(entries)
  }

  test('every value can be decoded in every mode, and arrays and custom types are JSON', () => {
    const structured = new Set(Object.keys(STRUCTURED).map(columnOf))
    for (const options of MODES) {
      for (const tuple of seen.streamed) {
        for (const [name, value] of Object.entries(decoded(tuple, options))) {
          const custom = structured.has(name)
          const type = COLUMNS.find((column) => column.name === name)?.type ?? ''
          const array = type.endsWith('[]') && !type.startsWith('odd.') && type !== 'int4range[]'
          if (value === null || (custom && (!options.customPostgresTypes || value === 'empty')) || (!custom && !array))
            continue
          if (typeof value !== 'string') throw new Error(`${name} ${type} is ${String(value)}`)
          expect(() => JSON.parse(value), `${type} ${value}`).not.toThrow()
        }
      }
    }
  })

  /** What Postgres itself makes of a column, by id. */
  const asked = async (expression: string) =>
    new Map(
      (await postgres.sql().unsafe(`SELECT id, (${expression})::text AS v FROM t`)).map((row) => [
        String(row.id),
        row.v === null ? null : String(row.v),
      ]),
    )
  const parsed = (text: SqliteValue | undefined): unknown => (typeof text === 'string' ? JSON.parse(text) : text)

  test.each([
    'text[]',
    'varchar(4)[]',
    'char(12)[]',
    'citext[]',
    'int2[]',
    'int4[]',
    'jsonb[]',
    'json[]',
    'uuid[]',
    'odd.mood[]',
    'odd.posint[]',
    'odd.label[]',
    'inet[]',
    'xml[]',
    'tsvector[]',
    'hstore[]',
  ])('%s is what to_json returns', async (type) => {
    const column = columnOf(type)
    // hstore is given to JSON as an object.
    const expected = await asked(`to_json(${type === 'hstore[]' ? `${column}::text[]` : column})`)
    for (const tuple of seen.streamed) {
      expect(parsed(decoded(tuple, PLAIN)[column])).toEqual(parsed(expected.get(String(tuple[0]))))
    }
  })

  test('int8[] and bool[] are what to_json returns, digit by digit', async () => {
    const longs = await asked(`to_json(${columnOf('int8[]')})`)
    const flags = await asked(`to_json(${columnOf('bool[]')}::int[])`)
    for (const tuple of seen.streamed) {
      const row = decoded(tuple, PLAIN)
      expect(row[columnOf('int8[]')]).toBe(longs.get(String(tuple[0])))
      expect(row[columnOf('bool[]')]).toBe(flags.get(String(tuple[0])))
    }
  })

  test('composites are what to_json returns, with 1 and 0 for booleans', async () => {
    const column = columnOf('odd.pair')
    const nested = columnOf('odd."nested, (type)"')
    const of = (c: string) =>
      `CASE WHEN ${c} IS NOT DISTINCT FROM NULL THEN NULL ELSE json_build_object('x', (${c}).x, 'y', (${c}).y, 'ok', (${c}).ok::int, 'j', (${c}).j) END`
    const expected = await asked(of(column))
    const inner = await asked(of(`(${nested}).one`))
    for (const tuple of seen.streamed) {
      const row = decoded(tuple, PLAIN)
      expect(parsed(row[column])).toEqual(parsed(expected.get(String(tuple[0]))))
      const outer = parsed(row[nested])
      if (outer !== null) expect(outer).toMatchObject({ one: parsed(inner.get(String(tuple[0]))) })
    }
  })

  test.each(['int4range', 'numrange', 'daterange', 'odd.words'])(
    '%s has the bounds that Postgres returns',
    async (type) => {
      const c = columnOf(type)
      const expected = await asked(
        `CASE WHEN ${c} IS NULL THEN NULL WHEN isempty(${c}) THEN to_json('empty'::text) ELSE json_build_object('lower', lower(${c})::text, 'upper', upper(${c})::text,
        'lower_exclusive', (NOT lower_inc(${c}))::int, 'upper_exclusive', (NOT upper_inc(${c}))::int) END`,
      )
      for (const tuple of seen.streamed) {
        const text = decoded(tuple, PLAIN)[c]
        const mine = text === 'empty' ? 'empty' : parsed(text)
        const bounds =
          mine !== null && typeof mine === 'object'
            ? Object.fromEntries(
                Object.entries(mine).map(([name, value]) => [
                  name,
                  name.endsWith('clusive') || value === null ? value : String(value),
                ]),
              )
            : mine
        expect(bounds).toEqual(parsed(expected.get(String(tuple[0]))))
      }
    },
  )
})

describe.each(POSTGRES_VERSIONS)('a database of another encoding, Postgres %i', (version) => {
  let postgres: TestPostgres
  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    await postgres.sql()`CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`
  })
  afterAll(() => postgres?.stop())

  test('texts and names arrive as UTF-8 from copies and from the stream', async () => {
    const url = postgres.urlOf({ database: 'latin' })
    const sql = connectSource(url)
    await sql.unsafe('CREATE TABLE public.größe (id int PRIMARY KEY, "ä" text)')
    const seen = await snapshotAndStream(url, 'größe', () =>
      sql.unsafe(`INSERT INTO public.größe VALUES (1, 'Grüße ÿ')`),
    )
    await sql.end()
    expect(seen.columns).toEqual(['id', 'ä'])
    expect(seen.streamed).toEqual([['1', 'Grüße ÿ']])
    expect(seen.read).toEqual(seen.streamed)
  })
})
