import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { codes, definition, evaluated, failing, stream, synced, type Asking, type Tables } from './test-evaluate.ts'

/** The table "Coming from PowerSync" of docs/sync-config.md: each row is a test here, under the same name. */

const user = (claims: Record<string, unknown> = {}): Asking => ({ jwt: { sub: 'u', ...claims } })
const client = (parameters: Record<string, unknown>): Asking => ({ jwt: { sub: 'u' }, parameters })
const one: Tables = { t: [{ id: '1' }] }
const big = (text: string) => ({ $int: text })

/** The value of an expression in edition 3, `fails` when the row is lost. */
function value(expression: string, record: Record<string, unknown> = {}): unknown {
  const [output] =
    evaluated(stream(`SELECT id, ${expression} AS r FROM t`), { t: [{ id: '1', ...record }] }, []).data[0] ?? []
  return output && 'data' in output ? output.data['r'] : 'fails'
}

const DIFFERENCES: Record<string, () => void> = {
  'NOT over IN of a list': () => {
    const forms = ["NOT ('g' IN auth.parameter('l'))", "('g' IN auth.parameter('l')) IS FALSE", "iif('g' IN auth.parameter('l'), 0, 1)", "CASE WHEN 'g' IN auth.parameter('l') THEN 0 ELSE 1 END"] // prettier-ignore
    for (const where of forms) {
      const yaml = stream(`SELECT id FROM t WHERE ${where}`)
      expect(
        [['g', 'h'], ['h']].map((l) => synced(yaml, one, user({ l }))),
        where,
      ).toEqual([[], ['1']])
    }
  },
  'NOT over IN of an array of the row': () => {
    const rows: Tables = { t: [{ id: 'with', x: 1, j: [1, 2] }, { id: 'without', x: 1, j: [2] }, { id: 'empty', x: 1, j: [] }] } // prettier-ignore
    for (const where of ['NOT (x IN j)', '(x IN j) IS FALSE', '(x IN j) = 0']) {
      expect(synced(stream(`SELECT id FROM t WHERE ${where}`), rows, user()), where).toEqual(['empty', 'without'])
    }
  },
  'NOT IN (SELECT …)': () => {
    const wheres = [
      "'off' NOT IN (SELECT x FROM m WHERE u = auth.user_id())",
      'x NOT IN (SELECT value FROM json_each(t.j))',
    ]
    for (const where of wheres) expect(codes(stream(`SELECT * FROM t WHERE ${where}`))).toContain('not-in-select')
  },
  'two comparisons with one array': () => {
    const rows: Tables = { t: [{ id: 'both', j: ['u', 'p'] }, { id: 'one', j: ['u'] }] } // prettier-ignore
    for (const where of [
      "auth.user_id() IN j AND auth.parameter('p') IN j",
      "j && auth.parameter('a') AND j && auth.parameter('b')",
    ]) {
      expect(
        synced(stream(`SELECT id FROM t WHERE ${where}`), rows, user({ p: 'p', a: ['u'], b: ['p', 'x'] })),
        where,
      ).toEqual(['both'])
    }
  },
  'numbers that meet in one column': () => {
    const rows: Tables = { t: [{ id: 1 }, { id: 2 }], m: [{ x: 1, u: 'u' }, { x: 3, u: 'u' }] } // prettier-ignore
    const found = 'id IN (SELECT x FROM m WHERE u = auth.user_id())'
    expect(
      synced(stream(`SELECT id FROM t WHERE id IN auth.parameter('l') AND ${found}`), rows, user({ l: [1, 2] })),
    ).toEqual(['1'])
    const asked: Asking = { ...user(), subscriptions: [{ stream: 's', parameters: { id: 1 } }] }
    expect(
      synced(stream(`SELECT id FROM t WHERE id = subscription.parameter('id') AND ${found}`), rows, asked),
    ).toEqual(['1'])
  },
  'a NULL of the request and a null in a list': () => {
    const yaml = definition('SELECT id FROM m WHERE request.user_id() IN l', 'SELECT id FROM t WHERE id = bucket.id')
    const rows: Tables = { ...one, m: [{ id: '1', l: [null, 'u'] }] }
    expect([{ jwt: {} }, user()].map((request) => synced(yaml, rows, request))).toEqual([[], ['1']])
    const listed = definition(
      "SELECT id FROM m WHERE owner IN request.jwt() -> 'l'",
      'SELECT id FROM t WHERE id = bucket.id',
    )
    expect(synced(listed, { ...one, m: [{ id: '1', owner: null }] }, user({ l: [null] }))).toEqual([])
  },
  'an alias before *': () => {
    for (const yaml of [definition(null, 'SELECT NULL AS ssn, * FROM t'), stream('SELECT NULL AS ssn, * FROM t', 2)]) {
      expect(evaluated(yaml, { t: [{ id: '1', ssn: '078-05-1120' }] }, []).data[0]?.[0]).toMatchObject({
        data: { id: '1', ssn: null },
      })
    }
    expect(codes(definition(null, 'SELECT name AS id, * FROM t'))).toEqual(['id-over-star'])
  },
  'a row without an id': () => {
    for (const yaml of [definition(null, 'SELECT * FROM t'), stream('SELECT * FROM t', 2), stream('SELECT * FROM t')]) {
      const { data } = evaluated(yaml, { t: [{ id: null }, { x: 1 }, { id: 'a' }] }, [])
      expect(data.map(([output]) => (output && 'id' in output ? output.id : 'left out'))).toEqual([
        'left out',
        'left out',
        'a',
      ])
    }
    expect(codes(stream('SELECT x FROM t'))).toEqual(['id-missing'])
  },
  'columns of several parameter queries': () => {
    const yaml = `bucket_definitions:\n  b:\n    parameters: ["SELECT a, b FROM m WHERE u = request.user_id()", "SELECT b, a FROM n WHERE u = request.user_id()"]\n    data: [SELECT id FROM t WHERE x = bucket.a AND y = bucket.b]\n`
    const rows: Tables = { n: [{ a: 'p', b: 'q', u: 'u' }], t: [{ id: 'right', x: 'p', y: 'q' }, { id: 'wrong', x: 'q', y: 'p' }] } // prettier-ignore
    expect(synced(yaml, rows, user())).toEqual(['right'])
  },
  'one parameter compared twice': () => {
    const rows: Tables = { t: [{ id: 'both', owner: 'u', readers: ['u'] }, { id: 'one', owner: 'u', readers: [] }], m: [] } // prettier-ignore
    const data = 'SELECT id FROM t WHERE owner = bucket.u AND bucket.u IN readers'
    expect(synced(definition('SELECT request.user_id() AS u', data), rows, user())).toEqual(['both'])
  },
  'a wildcard table with an alias and a filter': () => {
    const yaml = stream('SELECT id FROM "log_%" AS l WHERE l.open = 1 AND l.owner = auth.user_id()', 2)
    expect(synced(yaml, { log_a: [{ id: '1', open: 1, owner: 'u' }, { id: '2', open: 0, owner: 'u' }] }, user())).toEqual(['1']) // prettier-ignore
  },
  'operators of integers and substring FROM': () => {
    expect(
      ['7 % 4', '6 & 3', '6 | 1', '1 << 4', '16 >> 2', "substring('abc' FROM 2)"].map((sql) => value(sql)),
    ).toEqual([3, 2, 7, 16, 4, 'bc'])
  },
  'NOT (NOT (…)) around OR': () => {
    const rows: Tables = { t: [{ id: '1', a: 1, b: 0, c: 1 }, { id: '2', a: 1, b: 0, c: 0 }] } // prettier-ignore
    for (const edition of [2, 3])
      expect(synced(stream('SELECT id FROM t WHERE NOT (NOT (a AND (b OR c)))', edition), rows, user())).toEqual(['1'])
  },
  'a part that has no value and does not decide': () => {
    const rows: Tables = { t: [{ id: '1', a: 1, x: 1, j: 'no JSON' }] }
    for (const where of ["a OR j ->> 'k'", "j ->> 'k' OR a", 'a OR (x IN j)', "iif(a, 1, j ->> 'k')"])
      expect(synced(stream(`SELECT id FROM t WHERE ${where}`), rows, user()), where).toEqual(['1'])
  },
  dates: () => {
    expect(value("datetime('2023-06-28', 'unixepoch')")).toBeNull()
    expect(value("datetime('0001-01-01')")).toBe('0001-01-01 00:00:00')
    expect([
      value("datetime('20230628')"),
      value("datetime('+12023-06-28')"),
      value("datetime('-0001-06-28')"),
    ]).toEqual([null, null, null])
    expect(value("datetime('2023-06-28T12:00:00+0200')")).toBe('2023-06-28 10:00:00')
    expect(value('datetime(2460000.5)')).toBe('2023-02-25 00:00:00')
  },
  'JSON that others read': () => {
    expect(value("j ->> '$[0]'", { j: [1, 2] })).toBeNull()
    expect(value("j ->> 'a'", { j: { $json: '{"a":.5}' } })).toBe('fails')
    expect([value("json_array_length(j, '$')", { j: '5' }), value("json_array_length(j, '$')", { j: [1] })]).toEqual([
      0, 1,
    ])
  },
  'integers beyond 2^53': () => {
    const yaml = definition('SELECT n FROM m WHERE u = request.user_id()', 'SELECT id FROM t WHERE bucket.n IN j')
    const arrays = ['9007199254740992', '9007199254740993'].map((n) => ({ id: n, j: { $json: `[${n}]` } }))
    expect(synced(yaml, { m: [{ u: 'u', n: big('9007199254740993') }], t: arrays }, user())).toEqual([
      '9007199254740993',
    ])
  },
  'json_each of a value that is missing': () => {
    for (const from of ['token_parameters.l', 'user_parameters.l']) {
      const yaml = definition(`SELECT value AS v FROM json_each(${from})`, 'SELECT id FROM t WHERE x = bucket.v')
      expect(
        synced(`${yaml}  all: {data: [SELECT id FROM t WHERE x = 'a']}\n`, { t: [{ id: '1', x: 'a' }] }, user()),
      ).toEqual(['1'])
    }
  },
  'a subquery whose condition over the request is false': () => {
    const yaml = stream(
      "SELECT id FROM t WHERE auth.user_id() IN (SELECT u FROM m WHERE auth.parameter('admin') = 1)",
      2,
    )
    const rows: Tables = { ...one, m: [{ u: 'u' }] }
    expect([user(), user({ admin: 1 })].map((request) => [synced(yaml, rows, request), failing(yaml, rows, request)])).toEqual([[[], []], [['1'], []]]) // prettier-ignore
  },
  'lists that are compared with lists': () => {
    const asked = stream("SELECT id FROM t WHERE auth.parameter('p') IN connection.parameter('l')")
    expect([['p', 'q'], ['q']].map((l) => synced(asked, one, { ...user({ p: 'p' }), parameters: { l } }))).toEqual([
      ['1'],
      [],
    ])
  },
  'priorities, tags and constants': () => {
    const twice = `config: {edition: 3}\nstreams:\n  a: {auto_subscribe: true, priority: 1, query: SELECT id FROM t}\n  b: {auto_subscribe: true, priority: 3, query: SELECT id FROM t}\n`
    expect(evaluated(twice, one, [user()]).buckets[0]?.synced).toMatchObject([{ id: '1', priority: 1 }])
    const tagged = `bucket_definitions:\n  b:\n    parameters: !accept_potentially_dangerous_queries SELECT request.parameter('p') AS p\n    data: [SELECT id FROM t WHERE x = bucket.p]\n`
    expect(codes(tagged)).toEqual([])
    expect(value("uuid_blob('') IS NULL")).toBe('fails')
  },
  'an alternative that fails': () => {
    const yaml = stream("SELECT id FROM t WHERE owner IN connection.parameter('l') OR owner = auth.user_id()")
    const rows: Tables = { t: [{ id: '1', owner: 'u' }] }
    expect([synced(yaml, rows, client({ l: 'no JSON' })), failing(yaml, rows, client({ l: 'no JSON' }))]).toEqual([
      ['1'],
      ['s'],
    ])
  },
  'what a config cannot mean': () => {
    expect(codes(stream("SELECT id FROM t WHERE x = auth.parameter('exp')"))).toEqual(['renewed-claim'])
    expect(codes(stream("SELECT id, json_extract(j, 'k') AS k FROM t"))).toEqual(['json-path'])
    expect(
      compileConfig(stream('SELECT id FROM t WHERE x != 1').replace('}', ', unstable_sqlite_expression_engine: true}'))
        .ok,
    ).toBe(false)
  },
}

test.each(Object.entries(DIFFERENCES))('%s', (_, check) => check())

test('the table of the documentation has these rows and no others', () => {
  const text = readFileSync(new URL('../docs/sync-config.md', import.meta.url), 'utf8')
  const section = text.slice(text.indexOf('## Coming from PowerSync')).split(/\n##+ /)[0] ?? ''
  const rows = [...section.matchAll(/^\| (.*?) \|/gm)].map(([, name]) => name)
  expect(rows.slice(2)).toEqual(Object.keys(DIFFERENCES))
})
