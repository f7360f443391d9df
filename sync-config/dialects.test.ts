import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { codes, definition, evaluated, stream, synced, type Asking, type Tables } from './test-evaluate.ts'

/** Forms of the editions that are easily forgotten. */

const user: Asking = { jwt: { sub: 'x' } }

describe('a bucket parameter by itself', () => {
  const rows: Tables = { t: [{ id: '1', n: 1, x: 1 }, { id: '2', n: 2, x: 0 }] } // prettier-ignore
  const asked = (where: string, p: unknown) =>
    synced(definition("SELECT request.parameter('p') AS flag", `SELECT id FROM t WHERE ${where}`), rows, {
      ...user,
      parameters: { p },
    })

  test('holds when it is exactly 1', () => {
    expect([true, 1, 1.0].map((p) => asked('bucket.flag', p))).toEqual([['1', '2'], ['1', '2'], ['1', '2']]) // prettier-ignore
    expect([false, 0, 2, '1', 'true', null].map((p) => asked('bucket.flag', p))).toEqual([[], [], [], [], [], []])
  })

  test('joined with conditions and other comparisons', () => {
    expect(asked('bucket.flag AND x = 1', 1)).toEqual(['1'])
    expect([1, 2, 3].map((p) => asked('bucket.flag OR n = bucket.flag', p))).toEqual([['1', '2'], ['2'], []])
  })

  test.each(['NOT bucket.flag', 'bucket.flag IS NULL', 'iif(bucket.flag, 1, 0)', 'bucket.flag + 1'])(
    '%s is refused',
    (where) => {
      expect(codes(definition("SELECT request.parameter('p') AS flag", `SELECT id FROM t WHERE ${where}`))).toContain(
        'bucket-parameter',
      )
    },
  )
})

describe('the name of a table', () => {
  const rows: Tables = { t: [{ id: '1', owner: 'x' }, { id: '2', owner: 'y' }] } // prettier-ignore

  test.each([
    ['definitions', definition(null, 'SELECT t.* FROM t AS z')],
    ['definitions of edition 2', definition(null, 'SELECT t.* FROM t AS z', 2)],
    ['streams of edition 2', stream('SELECT t.* FROM t AS z', 2)],
  ])('stands before * beside its alias: %s', (_, yaml) => {
    const [first] = evaluated(yaml, rows, [user]).buckets[0]?.synced ?? []
    expect(first).toMatchObject({ table: 'z', id: '1' })
    expect(codes(yaml.replace('t.*', 'other.*'))).toEqual(['unknown-reference'])
  })

  test('may have its schema in edition 3', () => {
    const ids = (query: string) => synced(stream(query), rows, user)
    expect(ids('SELECT public.t.id FROM public.t WHERE public.t.owner = auth.user_id()')).toEqual(['1'])
    expect(ids('SELECT public.t.* FROM t WHERE public.t.owner = auth.user_id()')).toEqual(['1'])
    expect(
      ids('SELECT t.id FROM t WHERE owner IN (SELECT public.m.o FROM public.m WHERE public.m.u = auth.user_id())'),
    ).toEqual([])
  })

  test.each([
    'SELECT other.t.id FROM public.t',
    'SELECT public.t.id FROM other.t',
    'SELECT other.t.* FROM public.t',
    'SELECT public.z.id FROM public.t AS z',
    'SELECT public.c.id FROM c',
  ])('and no other: %s', (query) => {
    expect(codes(`${stream(query)}with:\n  c: SELECT id FROM t\n`)).toContain('column-schema')
  })
})

test('dates of numbers are those of SQLite', () => {
  const db = new DatabaseSync(':memory:')
  const numbers = ['0', '0.25', '1', '-1', '-0.1', '1721059', '1721059.5', '1721060', '5373484', '5373485', '2440587.5', '12.125']
  const seconds = ['-210866760000', '-210866760001', '-62167219201', '253402300799', '253402300800', '0', '-1']
  for (const sql of [...numbers.map((n) => `datetime(${n})`), ...numbers.map((n) => `unixepoch(${n})`), ...seconds.map((n) => `datetime(${n}, 'unixepoch')`)]) {
    const wanted = db.prepare(`SELECT ${sql} AS r`).get()?.['r']
    for (const yaml of [definition(null, `SELECT id, ${sql} AS r FROM t`), definition(null, `SELECT id, ${sql} AS r FROM t`, 2), stream(`SELECT id, ${sql} AS r FROM t`)]) {
      expect(evaluated(yaml, { t: [{ id: '1' }] }, []).data[0]?.[0], sql).toMatchObject({ data: { r: wanted } })
    }
  }
  db.close()
}) // prettier-ignore

test('a start of substring counts by the number that it begins with, as in SQLite', () => {
  const db = new DatabaseSync(':memory:')
  for (const start of ["'2D'", "'2.9'", "'D'", "' 2'", "'1e1'", "'-2x'", '2.9', '-1.5', '2']) {
    const wanted = db.prepare(`SELECT substr('abcde', ${start}) AS r`).get()?.['r']
    for (const yaml of [definition(null, `SELECT id, substring('abcde', ${start}) AS r FROM t`), stream(`SELECT id, substring('abcde', ${start}) AS r FROM t`)]) {
      expect(evaluated(yaml, { t: [{ id: '1' }] }, []).data[0]?.[0], start).toMatchObject({ data: { r: wanted } })
    }
  }
  db.close()
}) // prettier-ignore

describe('json_extract', () => {
  test('of the JSON null as a whole is NULL in each edition', () => {
    for (const path of ["j ->> '$'", "json_extract(j, '$')"]) {
      const rows: Tables = { t: [{ id: '1', j: { $json: 'null' } }] }
      for (const edition of [1, 2]) expect(synced(definition(null, `SELECT id FROM t WHERE ${path} IS NULL`, edition), rows, user)).toEqual(['1'])
      for (const edition of [2, 3]) expect(synced(stream(`SELECT id FROM t WHERE ${path} IS NULL`, edition), rows, user)).toEqual(['1'])
      // A null inside stays what edition 1 makes of it.
      const inside = { t: [{ id: '1', j: { $json: '{"k":null}' } }] }
      expect(synced(definition(null, "SELECT id FROM t WHERE j ->> 'k' = 'null'"), inside, user)).toEqual(['1'])
    }
  }) // prettier-ignore

  test.each([
    definition(null, "SELECT id, json_extract(j, 'k') AS k FROM t"),
    definition(null, "SELECT id, json_extract(j, 'k') AS k FROM t", 2),
    stream("SELECT id FROM t WHERE json_extract(j, 'k') = 1", 2),
    stream("SELECT id, json_extract(j, 'k') AS k FROM t"),
  ])('with a path that does not begin with $ is refused: %s', (yaml) => {
    expect(codes(yaml)).toEqual(['json-path'])
    expect(codes(yaml.replace("'k'", "'$.k'"))).toEqual([])
  })
})

test.each([
  ['definitions', (select: string) => definition(null, `SELECT ${select} FROM t`)],
  ['definitions of edition 2', (select: string) => definition(null, `SELECT ${select} FROM t`, 2)],
  ['streams of edition 2', (select: string) => stream(`SELECT ${select} FROM t`, 2)],
] as const)('another value as the id before * is warned of: %s', (_, yaml) => {
  expect(codes(yaml('name AS id, *'))).toEqual(['id-over-star'])
  expect(['id, *', '*, name AS id', 'NULL AS ssn, *', 'name AS id', 't.id AS id, *'].map((select) => codes(yaml(select)))).toEqual([[], [], [], [], []]) // prettier-ignore
  const rows: Tables = { t: [{ id: '1', name: null }, { id: '2', name: 'n' }] } // prettier-ignore
  expect(synced(yaml('name AS id, *'), rows, user)).toEqual(['n'])
})

describe('a config that asks for the SQLite engine', () => {
  const asking = (query: string, config = 'edition: 3') => {
    const head = config.startsWith('edition: 1') ? definition(null, query) : stream(query)
    const result = compileConfig(
      head.replace(/config: \{.*?\}/, `config: {${config}, unstable_sqlite_expression_engine: true}`),
    )
    return [
      result.ok,
      ...(result.ok ? [] : result.errors.map(({ code }) => code)),
      ...result.warnings.map(({ code }) => code),
    ]
  }
  const accepted = [true, 'sqlite-engine']
  const refused = [false, 'sqlite-engine']

  test.each([
    'SELECT * FROM t',
    "SELECT id, name AS n, 'x' AS x, ifnull(a, b) AS c FROM t WHERE owner = auth.user_id()",
    "SELECT id FROM t WHERE done = 0 AND (day >= '2026-01-01' OR day IS NULL) AND team = auth.parameter('team')",
    "SELECT id FROM t WHERE team IN (SELECT team FROM m WHERE u = auth.user_id() AND kind = 'x')",
    "SELECT id FROM t WHERE owner IN auth.parameter('l')",
    "SELECT id FROM t WHERE x BETWEEN 1 AND 9 AND y IN ARRAY['a', 'b'] AND z IS TRUE",
    'SELECT CASE WHEN n = 0 THEN id ELSE other END AS id FROM t',
  ])('is accepted with a warning when it makes no difference: %s', (query) => expect(asking(query)).toEqual(accepted))

  test.each([
    'SELECT id FROM t WHERE done',
    'SELECT id FROM t WHERE NOT (x = 1)',
    'SELECT id FROM t WHERE x != 1',
    "SELECT id FROM t WHERE x NOT IN '[1]'",
    'SELECT id, CAST(x AS integer) AS x FROM t',
    'SELECT id, length(x) AS x FROM t',
    "SELECT id, j ->> 'k' AS x FROM t",
    'SELECT id, x + 1 AS x FROM t',
    'SELECT id FROM t WHERE x < y',
    "SELECT id FROM t WHERE x < '\uffff'",
    'SELECT id, 9223372036854775808 AS x FROM t',
    'SELECT id FROM t WHERE team IN (SELECT team FROM m WHERE upper(u) = auth.user_id())',
    "SELECT id FROM t WHERE owner = upper(auth.parameter('p'))",
    'SELECT id FROM t WHERE x = y',
  ])('and refused when it could: %s', (query) => expect(asking(query)).toEqual(refused))

  test('in edition 2 it has no effect, in edition 1 it is refused', () => {
    expect(asking('SELECT id FROM t WHERE NOT (x = 1)', 'edition: 2')).toEqual([true, 'alpha-streams', 'sqlite-engine'])
    expect(asking('SELECT id FROM t', 'edition: 1')).toEqual([false, 'sqlite-engine'])
  })

  test('what is accepted is what SQLite gives', () => {
    const db = new DatabaseSync(':memory:')
    const values = [null, 0n, 1n, -1n, 2.0, 0.5, '', '0.5', '1', 'a', '\ud7ff', '\uffff', '😀', '2026-01-01']
    const conditions = ["x = 'a'", 'x = 1', "x >= '2026-01-01'", "x < 'a'", 'x < 1', 'x IS NULL', 'x IS TRUE', 'x IS NOT FALSE', "x IN ARRAY['a', NULL]", "x = 'a' OR x IS NULL", "x BETWEEN 0 AND 1", "ifnull(x, 'a') = 'a'", "typeof(x) = 'text'", "iif(x = 'a', 1, 0) = 1"] // prettier-ignore
    db.exec('CREATE TABLE t (id, x)')
    for (const [i, x] of values.entries()) db.prepare('INSERT INTO t VALUES (?, ?)').run(String(i), x)
    const rows = values.map((x, i) => ({ id: String(i), x: typeof x === 'bigint' ? { $int: String(x) } : typeof x === 'number' ? { $real: String(x) } : x })) // prettier-ignore
    for (const condition of conditions) {
      expect(asking(`SELECT id FROM t WHERE ${condition}`), condition).toEqual(accepted)
      // IS TRUE is IS 1 in the language, with either engine.
      const sql = condition
        .replace(/ARRAY\[(.*?)\]/, '($1)')
        .replace('IS TRUE', 'IS 1')
        .replace('IS NOT FALSE', 'IS NOT 0')
      const wanted = db.prepare(`SELECT id FROM t WHERE ${sql}`).all().map(({ id }) => String(id)).sort() // prettier-ignore
      expect(synced(stream(`SELECT id FROM t WHERE ${condition}`), { t: rows }, user), condition).toEqual(wanted)
    }
    db.close()
  })
})
