import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { evaluateCase } from './cases/case.ts'

// The file is long because it is one list of the reference's traps.

/** Where the language surprises: what is done as everybody does it, per edition, and what is done better or refused. */

interface Request {
  jwt: Record<string, unknown>
  parameters?: Record<string, unknown>
  subscriptions?: { stream: string; parameters?: Record<string, unknown>; priority?: number }[]
  include_defaults?: boolean
}
interface Result {
  valid: boolean
  data: ({ table: string; id: string; data: Record<string, unknown> } | { error: string })[][]
  buckets: {
    error?: string
    errors: { definition: string }[]
    buckets: { bucket: string; priority: number }[]
    synced: { table: string; id: string }[]
  }[]
}

/** Rows as JSON text, so that 1 and 1.0 stay apart; as a deployed config behaves unless `copyTraps`. */
function evaluate(yaml: string, rows: string, requests: Request[], copyTraps = false): Result {
  return JSON.parse(
    evaluateCase(`{"yaml":${JSON.stringify(yaml)},"rows":${rows},"requests":${JSON.stringify(requests)}}`, {
      copyTraps,
    }),
  )
}
const row = (table: string, record: string) => `{"table":"${table}","record":${record}}`
const list = (...rows: string[]) => `[${rows.join(',')}]`
const synced = (result: Result) =>
  result.buckets.map(({ synced: rows }) => [...new Set(rows.map(({ id }) => id))].sort())

const buckets = (definition: string, edition = 1) =>
  `config: {edition: ${edition}}\nbucket_definitions:\n  b:\n${definition.replace(/^/gm, '    ')}\n`
const stream = (query: string, edition = 3, more = '') =>
  `config: {edition: ${edition}}\nstreams:\n  s:\n    auto_subscribe: true\n${more}    query: ${JSON.stringify(query)}\n`
const codes = (yaml: string) => {
  const result = compileConfig(yaml)
  return [...(result.ok ? [] : result.errors), ...result.warnings].map(({ code }) => code)
}

/** One expression over one row in the editions: bucket definitions of 1 and of 2, compiled streams. */
function values(expression: string, record: string): unknown[] {
  const select = `SELECT '1' || '' AS id, ${expression} AS r FROM t`
  const yamls = [
    buckets(`data: [${JSON.stringify(select)}]`),
    buckets(`data: [${JSON.stringify(select)}]`, 2),
    stream(select.replace("'1' || ''", 'id')),
  ]
  return yamls.map((yaml) => {
    const [first] = evaluate(yaml, list(row('t', record)), []).data?.[0] ?? []
    return first === undefined ? 'invalid' : 'error' in first ? 'fails' : first.data['r']
  })
}

describe('NOT IN over another table', () => {
  test.each([
    ['a column', 'x NOT IN (SELECT x FROM m)'],
    ['NOT around IN', 'NOT x IN (SELECT x FROM m)'],
    ['NOT around OR', 'NOT (x IN (SELECT x FROM m) OR y)'],
    ['a constant', "'banned' NOT IN (SELECT x FROM m WHERE u = auth.user_id())"],
    ['a request value', 'auth.user_id() NOT IN (SELECT x FROM m)'],
    ['elements of the same row', 'x NOT IN (SELECT value FROM json_each(t.l))'],
    ['a CTE', 'x NOT IN c'],
  ])('is refused with %s, and never grants a row', (_, where) => {
    expect(codes(`${stream(`SELECT * FROM t WHERE ${where}`)}with:\n  c: SELECT x FROM m\n`)).toContain('not-in-select')
  })
  test.each([
    ['bucket definitions', buckets('data: [SELECT id FROM t WHERE x NOT IN (SELECT y FROM u)]')],
    ['edition 2', stream('SELECT id FROM t WHERE x NOT IN (SELECT y FROM u WHERE o = auth.user_id())', 2)],
    [
      'edition 2, around',
      stream('SELECT id FROM t WHERE NOT (a OR x IN (SELECT y FROM u WHERE o = auth.user_id()))', 2),
    ],
  ])('is refused in %s', (_, yaml) => expect(compileConfig(yaml).ok).toBe(false))
})

test('comparisons that NULL makes unknown: excluded by != of bucket definitions, included by compiled streams', () => {
  const rows = list(row('t', '{"id":"a","x":null}'), row('t', '{"id":"b","x":1}'), row('t', '{"id":"c","x":2}'))
  const ids = (yaml: string) => synced(evaluate(yaml, rows, [{ jwt: { sub: 'u' } }]))[0]
  for (const edition of [1, 2]) expect(ids(buckets('data: [SELECT id FROM t WHERE x != 1]', edition))).toEqual(['c'])
  expect(ids(stream('SELECT id FROM t WHERE x != 1', 2))).toEqual(['c'])
  expect(ids(stream('SELECT id FROM t WHERE x != 1'))).toEqual(['a', 'c'])
  expect(ids(stream("SELECT id FROM t WHERE x NOT IN '[1]'"))).toEqual(['a', 'c'])
  expect(ids(stream('SELECT id FROM t WHERE x NOT BETWEEN 1 AND 1'))).toEqual(['a', 'c'])
  for (const edition of [2, 3]) expect(ids(stream('SELECT id FROM t WHERE NOT (x = 1)', edition))).toEqual(['a', 'c'])
  expect(ids(buckets('data: [SELECT id FROM t WHERE NOT (x = 1)]'))).toEqual(['a', 'c'])
})

describe('NULL equal to NULL', () => {
  const rows = list(
    row('t', '{"id":"a","owner":null}'),
    row('t', '{"id":"b","owner":"x"}'),
    row('m', '{"id":"m","team":null,"u":"ann"}'),
  )
  const subquery = 'SELECT id FROM t WHERE owner IN (SELECT team FROM m WHERE u = auth.user_id())'

  test('in subqueries of edition 2, which warns; not in compiled streams', () => {
    expect(synced(evaluate(stream(subquery, 2), rows, [{ jwt: { sub: 'ann' } }, { jwt: { sub: 'ben' } }]))).toEqual([
      ['a'],
      [],
    ])
    expect(codes(stream(subquery, 2))).toContain('null-matches-null')
    expect(synced(evaluate(stream(subquery), rows, [{ jwt: { sub: 'ann' } }]))).toEqual([[]])
    expect(codes(stream(subquery))).toEqual([])
  })
  test('not in arrays of the request of a parameter query: a client may send a NULL there', () => {
    const yaml = buckets(
      "parameters: SELECT id FROM t WHERE owner IN request.jwt() -> 'teams'\ndata: [SELECT id FROM t WHERE id = bucket.id]",
    )
    const requests = [{ jwt: { sub: 'u', teams: [null] } }, { jwt: { sub: 'u', teams: ['x'] } }]
    expect(synced(evaluate(yaml, rows, requests))).toEqual([[], ['b']])
    // What the reference gives.
    expect(synced(evaluate(yaml, rows, requests, true))).toEqual([['a'], ['b']])
    expect(codes(yaml)).toEqual([])
  })
  test('is not warned about when a filter excludes it', () => {
    expect(codes(stream(`${subquery} AND owner IS NOT NULL`, 2))).not.toContain('null-matches-null')
    expect(codes(stream(subquery.replace('WHERE u', 'WHERE team IS NOT NULL AND u'), 2))).not.toContain(
      'null-matches-null',
    )
  })
})

test('a second parameter query may name its columns in another order: every client gets its own rows', () => {
  const yaml = buckets(
    'parameters:\n  - SELECT a, b FROM m WHERE u = request.user_id()\n  - SELECT b, a FROM n WHERE u = request.user_id()\ndata: [SELECT id FROM t WHERE x = bucket.a AND y = bucket.b]',
  )
  const rows = list(
    row('m', '{"id":"1","a":"p","b":"q","u":"ann"}'),
    row('n', '{"id":"1","a":"p","b":"q","u":"ben"}'),
    row('t', '{"id":"right","x":"p","y":"q"}'),
    row('t', '{"id":"wrong","x":"q","y":"p"}'),
  )
  expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }, { jwt: { sub: 'ben' } }]))).toEqual([
    ['right'],
    ['right'],
  ])
  // What the reference gives ben.
  expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ben' } }], true))).toEqual([['wrong']])
})

describe('two comparisons with the same parameter under AND both hold', () => {
  test('in data queries', () => {
    const yaml = buckets(
      'parameters: SELECT request.user_id() AS u\ndata: [SELECT id FROM t WHERE owner = bucket.u AND bucket.u IN readers]',
    )
    const rows = list(
      row('t', '{"id":"both","owner":"ann","readers":["ann"]}'),
      row('t', '{"id":"one","owner":"ann","readers":[]}'),
    )
    expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }]))).toEqual([['both']])
    expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }], true))).toEqual([['both', 'one']])
  })
  test('in parameter queries', () => {
    const yaml = buckets(
      'parameters: SELECT id FROM m WHERE owner = request.user_id() AND request.user_id() IN readers\ndata: [SELECT id FROM t WHERE m = bucket.id]',
    )
    const rows = list(
      row('m', '{"id":"1","owner":"ann","readers":["ann"]}'),
      row('m', '{"id":"2","owner":"ann","readers":["ben"]}'),
      row('t', '{"id":"both","m":"1"}'),
      row('t', '{"id":"one","m":"2"}'),
    )
    expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }]))).toEqual([['both']])
    expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }], true))).toEqual([['both', 'one']])
  })
  test('with an array of the request they are refused', () => {
    const where = "a IN request.jwt() -> 'l' AND b IN request.jwt() -> 'l'"
    expect(
      codes(buckets(`parameters: SELECT id FROM m WHERE ${where}\ndata: [SELECT id FROM t WHERE m = bucket.id]`)),
    ).toContain('several-arrays')
  })
})

test('numbers of the token are REAL in the text views and INTEGER in the value views; digits beyond 2^53 are lost before', () => {
  const type = (expression: string, edition: number): unknown => {
    const [definition] = expression.startsWith('auth') || expression.startsWith('connection') ? ['stream'] : ['buckets']
    const yaml =
      definition === 'stream'
        ? stream(`SELECT id FROM t WHERE id = typeof(${expression}) || ':' || ${expression}`, edition)
        : buckets(
            `parameters: "SELECT typeof(${expression}) || ':' || ${expression} AS x"\ndata: [SELECT id FROM t WHERE id = bucket.x]`,
            edition,
          )
    const jwt = { sub: 'u', n: 5, big: 2 ** 53, parameters: { n: 5 } }
    const ids = ['real:5', 'integer:5', 'text:5.0', 'real:9007199254740992']
    return synced(
      evaluate(yaml, list(...ids.map((id) => row('t', JSON.stringify({ id })))), [{ jwt, parameters: { n: 5 } }]),
    )[0]?.[0]
  }
  expect(type("request.jwt() ->> 'n'", 1)).toBe('real:5')
  expect(type("request.jwt() -> 'n'", 1)).toBe('text:5.0')
  expect(type("request.parameters() ->> 'n'", 1)).toBe('real:5')
  expect(type("request.parameter('n')", 1)).toBe('integer:5')
  expect(type('user_parameters.n', 1)).toBe('integer:5')
  expect(type('token_parameters.n', 1)).toBe('integer:5')
  expect(type("request.jwt() ->> 'big'", 1)).toBe('real:9007199254740992')
  for (const edition of [2, 3]) expect(type("auth.parameter('n')", edition)).toBe('real:5')
  expect(type("connection.parameter('n')", 2)).toBe('integer:5')
  expect(type("connection.parameter('n')", 3)).toBe('real:5')
})

test('JSON null and dots in paths, before and after `fixed_json_extract`', () => {
  const record = '{"id":"1","j":"{\\"n\\":null,\\"a\\":{\\"b\\":1},\\"a.b\\":2}"}'
  expect(values("j ->> 'n'", record)).toEqual(['null', null, null])
  expect(values("j -> 'n'", record)).toEqual([null, 'null', 'null'])
  expect(values("upper(j ->> 'n')", record)).toEqual(['NULL', null, null])
  expect(values("j ->> 'a.b'", record)).toEqual([1, 2, 2])
  expect(values("j ->> '$.a.b'", record)).toEqual([1, 1, 1])
})

test('* hides columns that begin with _ and overrides no alias; in compiled streams it shows and overrides', () => {
  const rows = list(row('t', '{"id":"1","x":"real","_h":1}'))
  const data = (yaml: string) =>
    evaluate(yaml, rows, []).data[0]?.map((output) => ('data' in output ? output.data : output))
  for (const edition of [1, 2])
    expect(data(buckets('data: ["SELECT \'alias\' AS x, * FROM t"]', edition))).toEqual([{ x: 'alias', id: '1' }])
  expect(data(stream("SELECT 'alias' AS x, * FROM t", 2))).toEqual([{ x: 'alias', id: '1' }])
  expect(data(stream("SELECT 'alias' AS x, * FROM t"))).toEqual([{ x: 'real', id: '1', _h: 1 }])
  expect(codes(stream("SELECT 'alias' AS x, * FROM t"))).toContain('star-overrides')
})

test('DISTINCT and a second statement have no effect in compiled streams and are refused elsewhere', () => {
  const rows = list(row('t', '{"id":"1"}'))
  for (const query of ['SELECT DISTINCT id FROM t', 'SELECT id FROM t; SELECT id FROM u']) {
    expect(synced(evaluate(stream(query), rows, [{ jwt: { sub: 'u' } }]))).toEqual([['1']])
    expect([compileConfig(stream(query, 2)).ok, compileConfig(buckets(`data: ["${query}"]`)).ok]).toEqual([
      false,
      false,
    ])
  }
})

test('WHERE of an event and the priority of a stream of edition 2 have no effect', () => {
  const yaml = `${stream('SELECT id FROM t', 2, '    priority: 1\n')}event_definitions:\n  e:\n    payloads: [SELECT id FROM t WHERE id = 'none']\n`
  const result: Result & { events: { event: string }[][] } = JSON.parse(
    evaluateCase(
      JSON.stringify({ yaml, rows: [{ table: 't', record: { id: '1' } }], requests: [{ jwt: { sub: 'u' } }] }),
    ),
  )
  expect(result.events[0]).toHaveLength(1)
  expect(result.buckets[0]?.buckets.map(({ priority }) => priority)).toEqual([3])
})

test('truth: IS TRUE compares with 1, text counts by its integer prefix', () => {
  const truth = (text: string) => values(`iif('${text}', 1, 0)`, '{"id":"1"}')
  for (const text of ['0.5', 'true', 't', '']) expect(truth(text)).toEqual([0, 0, 0])
  for (const text of ['1x', ' 5', '-1']) expect(truth(text)).toEqual([1, 1, 1])
  expect(
    ['2 IS TRUE', "'1' IS TRUE", '1.0 IS TRUE', 'NULL IS NOT TRUE'].map((sql) => values(sql, '{"id":"1"}')[2]),
  ).toEqual([0, 0, 1, 1])
  expect(values('2 IS TRUE', '{"id":"1"}').slice(0, 2)).toEqual(['invalid', 'invalid'])
})

test('CAST to integer floors, integers have no limit, numbers in text are printed as JavaScript does', () => {
  const record = '{"id":"1","r":-1.5,"w":3.0,"b":9223372036854775807,"e":1e21}'
  expect(values('CAST(r AS integer)', record)).toEqual([-2, -2, -2])
  expect(values("(b + 1) || ''", record)).toEqual(Array(3).fill('9223372036854775808'))
  expect(values("w || ''", record)).toEqual(['3', '3', '3'])
  expect(values("e || ''", record)).toEqual(['1e+21', '1e+21', '1e+21'])
})

test('lengths, positions and comparisons count UTF-16 units', () => {
  const record = '{"id":"1","s":"a😀b"}'
  expect(values('length(s)', record)).toEqual([4, 4, 4])
  expect(values("instr(s, 'b')", record)).toEqual([4, 4, 4])
  expect(values('substring(s, 4)', record)).toEqual(['b', 'b', 'b'])
  // By code points U+FFFD is the smaller one.
  expect(values("'😀' < '\ufffd'", record)).toEqual([1, 1, 1])
})

test('JSON: no brackets in paths, printed again compactly; broken JSON and ambiguous keys lose the row, and say so', () => {
  const record = '{"id":"1","j":"{\\"a\\": [1.50, {\\"b\\" : 1}]}","bad":"{","twice":"{\\"a\\":1,\\"a\\":2}"}'
  expect(values("j ->> '$.a[0]'", record)).toEqual([null, null, null])
  expect(values("j -> 'a'", record)).toEqual(Array(3).fill('[1.5,{"b":1}]'))
  expect(values("bad ->> 'a'", record)).toEqual(['fails', 'fails', 'fails'])
  expect(values("twice ->> 'a'", record)).toEqual(['fails', 'fails', 'fails'])
})

test('json_each reads numbers as JavaScript does, and walks objects and scalars', () => {
  const each = (json: string) => {
    const yaml = stream("SELECT t.id FROM t, json_each(auth.parameter('j')) AS e WHERE e.value = t.id")
    return synced(
      evaluate(yaml, list(...['2', '9007199254740992', '9007199254740993'].map((id) => row('t', `{"id":${id}}`))), [
        { jwt: { sub: 'u', j: json } },
      ]),
    )[0]
  }
  expect(each('[2.0]')).toEqual(['2'])
  expect(each('{"k":2}')).toEqual(['2'])
  expect(each('2')).toEqual(['2'])
  expect(each('[9007199254740993]')).toEqual(['9007199254740992'])
})

describe('what others accept and then fail with', () => {
  test('integer operators of compiled streams work as in SQLite; elsewhere they are refused', () => {
    const record = '{"id":"1","a":7,"b":2,"n":null,"t":"9x"}'
    const compiled = (sql: string) => values(sql, record)[2]
    expect(
      ['a % b', 'a % 0', 'a & 3', 'a | 8', 'a << b', 'a >> 1', '-7 % 2', 't % 2', 'n % 2', '1.9 % 2'].map(compiled),
    ).toEqual([1, null, 3, 15, 28, 3, -1, 1, null, 1])
    expect(["(1 << 64) || ''", "(1 << 63) || ''", '-1 >> 100', '8 >> -1'].map(compiled)).toEqual([
      '0',
      '-9223372036854775808',
      -1,
      16,
    ])
    expect(values('a % b', record).slice(0, 2)).toEqual(['invalid', 'invalid'])
  })
  test('substring(x FROM a FOR b) of compiled streams works; elsewhere it is refused', () => {
    expect(values("substring('abcde' FROM 2 FOR 3)", '{"id":"1"}')).toEqual(['invalid', 'invalid', 'bcd'])
    expect(values("substring('abcde' FROM 2)", '{"id":"1"}')[2]).toBe('bcde')
  })
  test('a double negation around OR is what stands in it', () => {
    const rows = list(
      ...['110', '101', '100', '011'].map((id) =>
        row('t', JSON.stringify({ id, a: Number(id[0]), b: Number(id[1]), c: Number(id[2]) })),
      ),
    )
    for (const edition of [2, 3]) {
      const yaml = stream('SELECT id FROM t WHERE NOT (NOT (a AND (b OR c)))', edition)
      expect(synced(evaluate(yaml, rows, [{ jwt: { sub: 'u' } }]))).toEqual([['101', '110']])
    }
    const mixed = stream('SELECT id FROM t WHERE NOT (NOT (a AND (b OR id = auth.user_id())))')
    expect(synced(evaluate(mixed, rows, [{ jwt: { sub: '100' } }]))).toEqual([['100', '110']])
  })
  test('the SQLite engine is refused with a word about it when it could give something else', () => {
    const asking = (query: string, edition = 3) =>
      compileConfig(stream(query, edition).replace('}', ', unstable_sqlite_expression_engine: true}'))
    const refused = asking("SELECT id FROM t WHERE x != 'a'")
    expect(refused.ok ? [] : refused.errors).toMatchObject([
      { code: 'sqlite-engine', message: expect.stringContaining("not(=(x, 'a'))") },
    ])
    const accepted = asking("SELECT id FROM t WHERE x = 'a'")
    expect([accepted.ok, accepted.warnings.map(({ code }) => code)]).toEqual([true, ['sqlite-engine']])
  })
})

test('streams with the same content share their buckets; a client of one gets no row that the other would not give', () => {
  const yaml = `config: {edition: 3}\nstreams:\n  a:\n    query: SELECT * FROM t WHERE owner = auth.user_id()\n  b:\n    priority: 1\n    query: SELECT * FROM t WHERE owner = auth.user_id()\n`
  const rows = list(row('t', '{"id":"1","owner":"ann"}'))
  const { buckets: answers } = evaluate(yaml, rows, [
    { jwt: { sub: 'ann' }, subscriptions: [{ stream: 'a' }] },
    { jwt: { sub: 'ann' }, subscriptions: [{ stream: 'a' }, { stream: 'b' }] },
  ])
  expect(answers.map((answer) => answer.buckets.map(({ priority }) => priority))).toEqual([[3], [1]])
})

test('the id of a client row is the text of the column id: 1 and "1" are one row there, and without one there is none', () => {
  const rows = list(
    ...['{"id":1}', '{"id":"1"}', '{"id":null}', '{"x":1}', '{"id":2.0}', '{"id":{"$blob":"31"}}'].map((record) =>
      row('t', record),
    ),
  )
  const ids = (yaml: string) =>
    evaluate(yaml, rows, []).data.map(([output]) => (output && 'id' in output ? output.id : null))
  expect(ids(buckets('data: [SELECT * FROM t]'))).toEqual(['1', '1', null, null, '2', null])
  expect(ids(stream('SELECT * FROM t'))).toEqual(['1', '1', null, null, '2', null])
})

test('an alias renames the table on the client', () => {
  const rows = list(row('comments', '{"id":"1","issue":"i"}'), row('issues', '{"id":"i","owner":"ann"}'))
  const table = (yaml: string) =>
    evaluate(yaml, rows, [{ jwt: { sub: 'ann' } }]).buckets[0]?.synced.map((each) => each.table)
  expect(table(buckets('data: [SELECT * FROM comments AS c]'))).toEqual(['c'])
  expect(table(stream('SELECT * FROM comments c', 2))).toEqual(['c'])
  expect(
    table(stream('SELECT c.* FROM comments c JOIN issues i ON i.id = c.issue WHERE i.owner = auth.user_id()')),
  ).toEqual(['c'])
})

test('subscribing to a stream that is automatic adds to the default and does not replace it', () => {
  const yaml = stream("SELECT id FROM t WHERE x = ifnull(subscription.parameter('x'), 'none')")
  const rows = list(row('t', '{"id":"default","x":"none"}'), row('t', '{"id":"asked","x":"y"}'))
  const request = { jwt: { sub: 'u' }, subscriptions: [{ stream: 's', parameters: { x: 'y' } }] }
  expect(synced(evaluate(yaml, rows, [request, { ...request, include_defaults: false }]))).toEqual([
    ['asked', 'default'],
    ['asked'],
  ])
  expect(codes(yaml)).toContain('auto-subscribe-parameters')
  const edition2 = stream("SELECT id FROM t WHERE x = ifnull(subscription.parameter('x'), 'none')", 2)
  expect(synced(evaluate(edition2, rows, [{ ...request, include_defaults: false }]))).toEqual([['asked', 'default']])
})

test('one row or one stream that fails is lost alone; a bucket definition that fails takes the request with it where it is compared', () => {
  const yaml = `config: {edition: 3}\nstreams:\n  bad: {auto_subscribe: true, query: "SELECT id FROM t WHERE id IN auth.parameter('l')"}\n  good: {auto_subscribe: true, query: SELECT id FROM t WHERE j ->> 'a' = 1}\n`
  const rows = list(row('t', '{"id":"1","j":"{"}'), row('t', '{"id":"2","j":"{\\"a\\":1}"}'))
  const result = evaluate(yaml, rows, [{ jwt: { sub: 'u', l: 'not json' } }])
  expect(synced(result)).toEqual([['2']])
  expect(result.buckets[0]?.errors.map(({ definition }) => definition)).toEqual(['bad'])
  const definitions = buckets(
    "parameters: SELECT 'a' AS x WHERE 1 IN request.jwt() ->> 'l'\ndata: [SELECT id FROM t WHERE id = bucket.x]",
  )
  expect(evaluate(definitions, rows, [{ jwt: { sub: 'u', l: 'not json' } }]).buckets[0]?.error).toBeTruthy()
})
