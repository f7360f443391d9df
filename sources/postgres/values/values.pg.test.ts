import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ValueFailure, type SqliteValue, type ValueOptions } from '../../../protocol/values.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { snapshotAndStream, type SeenTable } from '../../../test/support/snapshot-and-stream.ts'
import { TableDecoder } from '../index.ts'

const LEGACY: ValueOptions = { timestampsIso8601: false, customPostgresTypes: false }
const ISO: ValueOptions = { timestampsIso8601: true, customPostgresTypes: true }

const range = (lower: string, upper: string, lowerExclusive: 0 | 1, upperExclusive: 0 | 1) =>
  `{"lower":${lower},"upper":${upper},"lower_exclusive":${lowerExclusive},"upper_exclusive":${upperExclusive}}`

const TYPES = `
  CREATE EXTENSION citext;
  CREATE EXTENSION hstore;
  CREATE SCHEMA types;
  CREATE TYPE mood AS ENUM ('sad', 'happy', 'a "b", {c}');
  CREATE DOMAIN posint AS int CHECK (value > 0);
  CREATE DOMAIN smallpos AS posint CHECK (value < 100);
  CREATE DOMAIN moment AS timestamptz;
  CREATE DOMAIN ints AS int[];
  CREATE TYPE pair AS (x int, y text);
  CREATE TYPE types."Odd ""name""" AS ("a ""b""" pair, list pair[], at timestamptz, raw bytea, ok bool, r float8, doc json, d smallpos);
  CREATE TYPE moods AS RANGE (subtype = mood);
  CREATE TYPE lacking AS (a int, gone text, b int);
  ALTER TYPE lacking DROP ATTRIBUTE gone;
  CREATE TYPE empty AS ();
  CREATE TABLE place (id int, name text);
`
/** Composites in each other, one level each: the innermost is \`n1\`. */
const NESTED = [
  'CREATE TYPE n1 AS (v int)',
  ...Array.from({ length: 11 }, (_, i) => `CREATE TYPE n${i + 2} AS (v n${i + 1})`),
]
const nested = (levels: number) => `${'ROW('.repeat(levels)}7${')'.repeat(levels)}`
/** Each level doubles the quotes of those inside it. */
const nestedText = (levels: number): string =>
  levels === 1 ? '(7)' : `("${nestedText(levels - 1).replaceAll('"', '""')}")`
const nestedJson = (levels: number) => `${'{"v":'.repeat(levels)}7${'}'.repeat(levels)}`

/** Type, value, what clients get in edition 1, and from edition 2 on when that is something else. */
const CASES: [column: string, type: string, value: string, legacy: SqliteValue, iso?: SqliteValue][] = [
  ['c_int2', 'int2', "'-32768'", -32768n],
  ['c_int', 'int8', "'9007199254740993'", 9007199254740993n],
  ['c_min', 'int8', "'-9223372036854775808'", -9223372036854775808n],
  ['c_max', 'int8', "'9223372036854775807'", 9223372036854775807n],
  ['c_oid', 'oid', "'4294967295'", 4294967295n],
  ['c_f4', 'float4', '1.1', 1.1],
  ['c_f8', 'float8', '0.1::float8 + 0.2::float8', 0.30000000000000004],
  ['c_tiny', 'float8', "'4.9406564584124654e-324'", 5e-324],
  ['c_minus', 'float8', "'-0'", -0],
  ['c_nan', 'float8', "'NaN'", Number.NaN],
  ['c_finf', 'float4', "'-Infinity'", Number.NEGATIVE_INFINITY],
  ['c_num', 'numeric', '1.50', '1.50'],
  ['c_numinf', 'numeric', "'-Infinity'", '-Infinity'],
  ['c_numnan', 'numeric', "'NaN'", 'NaN'],
  ['c_huge', 'numeric', `'${'9'.repeat(400)}.${'7'.repeat(300)}'`, `${'9'.repeat(400)}.${'7'.repeat(300)}`],
  ['c_money', 'money', "'-1234.5'", '-$1,234.50'],
  ['c_bool', 'bool', 'true', 1n],
  ['c_false', 'bool', 'false', 0n],
  ['c_char', 'char(5)', "'ab'", 'ab   '],
  ['c_bpchar', 'bpchar', "'ab  '", 'ab  '],
  ['c_varchar', 'varchar(3)', "' a '", ' a '],
  ['c_onechar', '"char"', "'x'", 'x'],
  ['c_name', 'name', "'Größe'", 'Größe'],
  ['c_empty', 'text', "''", ''],
  ['c_text', 'text', `E'\\u0001 \\t\\n "\\' \\\\ 🌊 \\u2028'`, '\u0001 \t\n "\' \\ 🌊 \u2028'],
  ['c_citext', 'citext', "'ÄbC'", 'ÄbC'],
  ['c_hstore', 'hstore', `'b => NULL, a => "x, y"'`, '"a"=>"x, y", "b"=>NULL'],
  ['c_uuid', 'uuid', "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['c_json', 'json', `E'{"a":  1,\\n "a": "\\\\u0000"}'`, '{"a":  1,\n "a": "\\u0000"}'],
  ['c_jsonb', 'jsonb', `'{"b":1,"a":[1,2.50]}'`, '{"a": [1, 2.50], "b": 1}'],
  ['c_bytea', 'bytea', "'\\x00ff'", new Uint8Array([0, 255])],
  ['c_nobytes', 'bytea', "''", new Uint8Array()],
  ['c_date', 'date', "'2023-03-06'", '2023-03-06'],
  ['c_inf', 'date', "'infinity'", '9999-12-31'],
  ['c_minf', 'date', "'-infinity'", '0000-01-01'],
  ['c_datebc', 'date', "'0044-03-15 BC'", '0044-03-15 BC'],
  ['c_time', 'time', "'17:42:01.12'", '17:42:01.12', '17:42:01.120000'],
  ['c_time24', 'time', "'24:00'", '24:00:00', '24:00:00.000000'],
  ['c_timetz', 'timetz', "'17:42:01.12+05:30'", '17:42:01.12+05:30'],
  ['c_ts', 'timestamp', "'2023-03-06 15:47:12.4'", '2023-03-06 15:47:12.4', '2023-03-06T15:47:12.400000'],
  ['c_tsz', 'timestamptz', "'2023-03-06 15:47+02'", '2023-03-06 13:47:00Z', '2023-03-06T13:47:00.000000Z'],
  ['c_bc', 'timestamp', "'0044-03-15 12:00 BC'", null],
  ['c_bctz', 'timestamptz', "'0044-03-15 12:00 BC'", null],
  ['c_far', 'timestamp', "'12345-01-02 03:04:05'", '12345-01-02 03:04:05', '12345-01-02T03:04:05.000000'],
  ['c_fartz', 'timestamptz', "'12345-01-02 03:04:05'", null],
  ['c_tsinf', 'timestamptz', "'-infinity'", '0000-01-01 00:00:00Z', '0000-01-01T00:00:00.000000Z'],
  ['c_tspinf', 'timestamp', "'infinity'", '9999-12-31 23:59:59', '9999-12-31T23:59:59.000000'],
  ['c_interval', 'interval', "'-1 year 2 mons 1 day -02:00:00.5'", '-10 mons +1 day -02:00:00.5'],
  ['c_lsn', 'pg_lsn', "'16/B374D848'", '00000016/B374D848'],
  ['c_bit', 'bit(3)', "'101'", '101'],
  ['c_varbit', 'varbit', "''", ''],
  ['c_xml', 'xml', '\'<a b="c">d</a> e\'', '<a b="c">d</a> e'],
  ['c_tsv', 'tsvector', `$$'a b':1A 'c'$$`, `'a b':1A 'c'`],
  ['c_tsq', 'tsquery', "'a & !b'", `'a' & !'b'`],
  ['c_inet', 'inet', "'192.168.1.5/24'", '192.168.1.5/24'],
  ['c_cidr', 'cidr', "'10.0.0.0/8'", '10.0.0.0/8'],
  ['c_mac', 'macaddr', "'08002b010203'", '08:00:2b:01:02:03'],
  ['c_mac8', 'macaddr8', "'08002b0102030405'", '08:00:2b:01:02:03:04:05'],
  ['c_point', 'point', "'1.5,-2'", '(1.5,-2)'],
  ['c_line', 'line', "'{1,2,3}'", '{1,2,3}'],
  ['c_lseg', 'lseg', "'(0,0),(1,1)'", '[(0,0),(1,1)]'],
  ['c_box', 'box', "'(0,0),(1,1)'", '(1,1),(0,0)'],
  ['c_path', 'path', "'[(0,0),(1,1)]'", '[(0,0),(1,1)]'],
  ['c_polygon', 'polygon', "'((0,0),(1,1))'", '((0,0),(1,1))'],
  ['c_circle', 'circle', "'<(0,0),2>'", '<(0,0),2>'],
  ['c_regclass', 'regclass', "'place'", 'public.place'],
  ['c_regtype', 'regtype', "'mood'", 'public.mood'],
  ['c_oidvec', 'oidvector', "'1 2'", '1 2'],
  ['c_intvec', 'int2vector', "'3 -4'", '3 -4'],
  ['c_xid8', 'xid8', "'12'", '12'],
  ['c_jsonpath', 'jsonpath', "'$.a[*]'", '$."a"[*]'],
  ['c_ints', 'int4[]', "'{{1,2},{3,NULL}}'", '[[1,2],[3,null]]'],
  ['c_none', 'int4[]', "'{}'", '[]'],
  ['c_from0', 'int8[]', "'[0:1][-1:0]={{1,2},{3,9007199254740993}}'", '[[1,2],[3,9007199254740993]]'],
  ['c_dims', 'int4[]', "'{{{{{{1}}}}}}'", '[[[[[[1]]]]]]'],
  ['c_bools', 'bool[]', "'{t,f}'", '[1,0]'],
  ['c_floats', 'float8[]', "'{2,0.5,1e300,-0,NaN,-Infinity}'", '[2.0,0.5,1e+300,-0.0,null,null]'],
  ['c_nums', 'numeric[]', "'{1.50,NaN}'", '["1.50","NaN"]'],
  [
    'c_texts',
    'text[]',
    `array['a "b"', 'c,d', 'NULL', 'null', null, '\\', '', ' ', '{}']`,
    JSON.stringify(['a "b"', 'c,d', 'NULL', 'null', null, '\\', '', ' ', '{}']),
  ],
  ['c_jsons', 'jsonb[]', `array['{"a": [1, "{"]}'::jsonb, 'null', '"x"']`, '[{"a": [1, "{"]},null,"x"]'],
  ['c_rawjsons', 'json[]', `array['{"a":  1}'::json]`, '[{"a":  1}]'],
  ['c_byteas', 'bytea[]', "array['\\x00'::bytea]", '[null]'],
  ['c_boxes', 'box[]', "'{(1,1),(0,0);(2,2),(1,1)}'", '["(1,1),(0,0)","(2,2),(1,1)"]'],
  ['c_dates', 'date[]', "'{2023-03-06,-infinity}'", '["2023-03-06","0000-01-01"]'],
  ['c_tss', 'timestamptz[]', "'{2023-03-06 15:47+02}'", '["2023-03-06 13:47:00Z"]', '["2023-03-06T13:47:00.000000Z"]'],
  ['c_times', 'time[]', "'{01:02:03.4}'", '["01:02:03.4"]', '["01:02:03.400000"]'],
  ['c_lsns', 'pg_lsn[]', "'{16/B374D848}'", '["00000016/B374D848"]'],
  ['c_vecs', 'int2vector[]', `'{"1 2"}'`, '["1 2"]'],
  ['c_chars', 'char(3)[]', "'{a}'", '["a  "]'],
  ['c_enum', 'mood', "'sad'", 'sad'],
  ['c_enums', 'mood[]', `'{sad,"a \\"b\\", {c}"}'`, `{sad,"a \\"b\\", {c}"}`, '["sad","a \\"b\\", {c}"]'],
  ['c_dom', 'posint', '7', '7', 7n],
  ['c_domdom', 'smallpos', '7', '7', 7n],
  ['c_doms', 'smallpos[]', "'{7,8}'", '{7,8}', '[7,8]'],
  ['c_dommoment', 'moment', "'2023-03-06 15:47+02'", '2023-03-06 13:47:00+00', '2023-03-06T13:47:00.000000Z'],
  ['c_domarray', 'ints', "'{{1},{2}}'", '{{1},{2}}', '[[1],[2]]'],
  ['c_domarrays', 'ints[]', `array['{1,2}'::ints]`, '{"{1,2}"}', '[[1,2]]'],
  ['c_comp', 'pair', `row(1, 'a "b", c')`, '(1,"a ""b"", c")', '{"x":1,"y":"a \\"b\\", c"}'],
  ['c_compnull', 'pair', 'row(NULL, NULL)', '(,)', '{"x":null,"y":null}'],
  ['c_compempty', 'pair', `row(NULL, '')`, '(,"")', '{"x":null,"y":""}'],
  ['c_comps', 'pair[]', `array[row(1, 'a')::pair, NULL]`, '{"(1,a)",NULL}', '[{"x":1,"y":"a"},null]'],
  ['c_lacking', 'lacking', 'row(1, 2)', '(1,2)', '{"a":1,"b":2}'],
  ['c_nocomp', 'empty', 'row()', '()', '{}'],
  ['c_rowtype', 'place', `row(1, 'x')`, '(1,x)', '{"id":1,"name":"x"}'],
  ['c_rowtypes', 'place[]', `array[row(1, 'x')::place]`, '{"(1,x)"}', '[{"id":1,"name":"x"}]'],
  [
    'c_deep',
    'types."Odd ""name"""',
    `row(row(1, '\\'), array[row(2, '"')::pair], '2023-03-06 15:47+02', '\\x00', true, 1, '{"k":  [1]}', 9)`,
    '("(1,""\\\\\\\\"")","{""(2,\\\\""\\\\""\\\\""\\\\"")""}","2023-03-06 13:47:00+00","\\\\x00",t,1,"{""k"":  [1]}",9)',
    '{"a \\"b\\"":{"x":1,"y":"\\\\"},"list":[{"x":2,"y":"\\""}],"at":"2023-03-06T13:47:00.000000Z","raw":null,"ok":1,"r":1.0,"doc":{"k":  [1]},"d":9}',
  ],
  ['c_range', 'int4range', "'[1,10)'", '[1,10)', range('1', '10', 0, 1)],
  ['c_empty_range', 'int4range', "'empty'", 'empty'],
  ['c_open', 'int8range', "'(,)'", '(,)', range('null', 'null', 1, 1)],
  ['c_numrange', 'numrange', "'(1.50,Infinity]'", '(1.50,Infinity]', range('"1.50"', '"Infinity"', 1, 0)],
  [
    'c_dates_range',
    'daterange',
    "'[2023-03-06,infinity)'",
    '[2023-03-06,infinity)',
    range('"2023-03-06"', '"9999-12-31"', 0, 1),
  ],
  [
    'c_tsrange',
    'tsrange',
    "'[2023-03-06 15:47,2023-03-07]'",
    '["2023-03-06 15:47:00","2023-03-07 00:00:00"]',
    range('"2023-03-06T15:47:00.000000"', '"2023-03-07T00:00:00.000000"', 0, 0),
  ],
  ['c_moods', 'moods', `'[sad,"a \\"b\\", {c}")'`, '[sad,"a ""b"", {c}")', range('"sad"', '"a \\"b\\", {c}"', 0, 1)],
  ['c_ranges', 'int4range[]', `'{"[1,3)",empty}'`, '{"[1,3)",empty}', `[${range('1', '3', 0, 1)},"empty"]`],
  [
    'c_multi',
    'int4multirange',
    "'{[1,3),[5,7)}'",
    '{[1,3),[5,7)}',
    `[${range('1', '3', 0, 1)},${range('5', '7', 0, 1)}]`,
  ],
  ['c_nomulti', 'int4multirange', "'{}'", '{}', '[]'],
  [
    'c_tsmulti',
    'tstzmultirange',
    "'{[2023-03-06 15:47+02,)}'",
    '{["2023-03-06 13:47:00+00",)}',
    `[${range('"2023-03-06T13:47:00.000000Z"', 'null', 0, 1)}]`,
  ],
  ['c_null', 'text', 'NULL', null],
  ['c_11', 'n11', nested(11), nestedText(11), nestedJson(11)],
]

describe.each(POSTGRES_VERSIONS)('values of Postgres %i', (version) => {
  let postgres: TestPostgres
  let seen: SeenTable

  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    const sql = postgres.sql()
    // A database and a role whose defaults print everything otherwise.
    for (const [name, value] of Object.entries({
      datestyle: `'SQL, DMY'`,
      intervalstyle: 'sql_standard',
      timezone: `'Asia/Tokyo'`,
      extra_float_digits: '-3',
      bytea_output: 'escape',
    })) {
      await sql.unsafe(`ALTER DATABASE app SET ${name} = ${value}`)
    }
    for (const setting of [
      `search_path = types, public`,
      'quote_all_identifiers = on',
      `default_transaction_isolation = 'serializable'`,
    ]) {
      await sql.unsafe(`ALTER ROLE postgres SET ${setting}`)
    }
    await sql.unsafe(TYPES).simple()
    for (const statement of NESTED) await sql.unsafe(statement)
    const virtual = version >= 18 ? ', gen2 int GENERATED ALWAYS AS (id + 2) VIRTUAL' : ''
    await sql.unsafe(
      `CREATE TABLE v (id int PRIMARY KEY, ${CASES.map(([name, type]) => `${name} ${type}`).join(', ')}, c_12 n12,
        gen int GENERATED ALWAYS AS (id + 1) STORED${virtual})`,
    )
    const names = CASES.map(([name]) => name).join(', ')
    const values = CASES.map(([, type, value]) => `${value}::${type}`).join(', ')
    seen = await snapshotAndStream(postgres.url, 'v', () =>
      sql.unsafe(`INSERT INTO v (id, ${names}, c_12) VALUES (1, ${values}, ${nested(12)}::n12)`),
    )
  })
  afterAll(() => postgres?.stop())

  test('a copy reads byte for byte what the stream sends, regardless of defaults; generated columns are in neither', () => {
    expect(seen.columns).toEqual(seen.table.columns.map((column) => column.name))
    expect(seen.columns).not.toContain('gen')
    expect(seen.read).toEqual(seen.streamed)
    expect(seen.read).toHaveLength(1)
  })

  const value = (column: string, options: ValueOptions): SqliteValue => {
    const decoded = new TableDecoder(seen.table, seen.columns).row(seen.streamed[0] ?? []).row[column]
    if (decoded === undefined) throw new Error(`${column} is missing`)
    return decoded !== null && typeof decoded === 'object' && 'resolve' in decoded ? decoded.resolve(options) : decoded
  }

  test.each(CASES)('%s %s', (column, _type, _value, legacy, iso) => {
    expect(value(column, LEGACY)).toEqual(legacy)
    expect(value(column, ISO)).toEqual(iso ?? legacy)
  })

  test('the options are independent, and timestamps are truncated to the configured digits, never padded beyond six', () => {
    expect(value('c_tss', { timestampsIso8601: true, customPostgresTypes: false })).toBe(
      '["2023-03-06T13:47:00.000000Z"]',
    )
    expect(value('c_dommoment', { timestampsIso8601: false, customPostgresTypes: true })).toBe('2023-03-06 13:47:00Z')
    const digits = (timestampDigits: number) => value('c_ts', { ...ISO, timestampDigits })
    expect([0, 3, 6, 9].map(digits)).toEqual([
      '2023-03-06T15:47:12',
      '2023-03-06T15:47:12.400',
      '2023-03-06T15:47:12.400000',
      '2023-03-06T15:47:12.400000',
    ])
  })

  test('a value nested too deeply fails; as raw text it does not', () => {
    expect(() => value('c_12', ISO)).toThrow(ValueFailure)
    expect(value('c_12', LEGACY)).toBe(nestedText(12))
  })

  test('a key is taken from the old tuple where the new one says "unchanged"', () => {
    const decoder = new TableDecoder({ ...seen.table, key: ['c_uuid', 'id'] }, ['id', 'c_uuid'])
    expect(decoder.key(['5', undefined], [null, 'long'])).toBe('["long","5"]')
    expect(decoder.key(['5', 'x'])).toBe('["x","5"]')
  })
})
