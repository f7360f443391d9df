import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { codes, definition, evaluated, failing, stream, synced, type Asking, type Tables } from './test-evaluate.ts'

/** A value that cannot be evaluated costs what it decides, and nothing else. */

const user = (more: Record<string, unknown> = {}): Asking => ({ jwt: { sub: 'x', ...more } })
const client = (parameters: Record<string, unknown>): Asking => ({ jwt: { sub: 'x' }, parameters })

test('the clock is refused, with the reason', () => {
  for (const yaml of [2, 3].map(
    (edition) => (expression: string) => stream(`SELECT * FROM t WHERE until > ${expression}`, edition),
  ))
    for (const [expression, name] of [
      ['now()', 'now()'],
      ['CURRENT_TIMESTAMP', 'current_timestamp'],
      ['clock_timestamp()', 'clock_timestamp()'],
    ] as const) {
      const result = compileConfig(yaml(expression))
      expect(result.ok ? [] : result.errors.map(({ code, message }) => [code, message])).toEqual([
        [
          'function',
          expect.stringContaining(`${name} cannot be used: rows are evaluated when they change, not when time passes.`),
        ],
      ])
    }
})

describe('an expression evaluates what decides', () => {
  const columns = (expression: string) => {
    const rows: Tables = { t: [{ id: 'broken', n: 0, j: 'no JSON', nil: null }, { id: 'whole', n: 5, j: '{"k":5}', nil: null }] } // prettier-ignore
    return evaluated(stream(`SELECT id, ${expression} AS r FROM t`), rows, []).data.map(([output]) =>
      output && 'data' in output ? output.data['r'] : 'lost',
    )
  }

  test.each([
    ["CASE WHEN n = 0 THEN 'none' ELSE j ->> 'k' END", ['none', 5]],
    ["CASE WHEN n = 5 THEN j ->> 'k' WHEN n = 0 THEN 'none' END", ['none', 5]],
    ["CASE n WHEN 0 THEN 'none' WHEN j ->> 'k' THEN 'k' END", ['none', 'k']],
    ["CASE n WHEN 0 THEN 'none' ELSE j ->> 'k' END", ['none', 5]],
    ["n IN ARRAY[0, j ->> 'k']", [1, 1]],
    ["n IN ARRAY[j ->> 'k', 0]", [1, 1]],
    ["n NOT IN ROW(0, j ->> 'k')", [0, 0]],
    ["nil IN ARRAY[j ->> 'k']", [null, null]],
    ["iif(n = 0, 'none', j ->> 'k')", ['none', 5]],
    ["ifnull(n, j ->> 'k')", [0, 5]],
    ["n BETWEEN 1 AND j ->> 'k'", [0, 1]],
    ["n NOT BETWEEN 1 AND j ->> 'k'", [1, 0]],
    ["nil BETWEEN j ->> 'k' AND 1", [null, null]],
    ["n = 0 OR j ->> 'k' = 5", [1, 1]],
    ["j ->> 'k' = 5 OR n = 0", [1, 1]],
    ["n = 5 AND j ->> 'k' = 5", [0, 1]],
    ["j ->> 'k' = 5 AND n = 5", [0, 1]],
    // What decides and cannot be evaluated still loses the row.
    ["CASE WHEN j ->> 'k' = 5 THEN 1 ELSE 0 END", ['lost', 1]],
    ["n IN ARRAY[1, j ->> 'k']", ['lost', 1]],
    ["n BETWEEN 0 AND j ->> 'k'", ['lost', 1]],
    ["n = 1 OR j ->> 'k' = 5", ['lost', 1]],
    ["j ->> 'k' = 5 OR n = 1", ['lost', 1]],
    ["ifnull(nil, j ->> 'k')", ['lost', 5]],
    // NULL is as before.
    ['n BETWEEN 9 AND nil', [null, null]],
    ['n BETWEEN nil AND 1', [null, null]],
    ['n IN ARRAY[9, nil]', [null, null]],
    ['CASE WHEN nil THEN 1 END', [null, null]],
  ])('%s', (expression, wanted) => expect(columns(expression)).toEqual(wanted))

  test('as filter and over the request, in each edition that has the form', () => {
    const rows: Tables = { t: [{ id: '1', n: 0, j: 'no JSON' }, { id: '2', n: 1, j: '[]' }] } // prettier-ignore
    for (const edition of [2, 3]) {
      const ids = (where: string) => synced(stream(`SELECT id FROM t WHERE ${where}`, edition), rows, user())
      expect(ids("iif(n = 0, 1, json_array_length(j))")).toEqual(['1'])
      expect(ids("n = 0 OR json_array_length(j) = 0")).toEqual(['1', '2'])
      expect(ids("json_array_length(j) = 0 OR n = 0")).toEqual(['1', '2'])
    }
    for (const edition of [1, 2]) {
      const ids = (where: string) => synced(definition(null, `SELECT id FROM t WHERE ${where}`, edition), rows, user())
      expect(ids("iif(n = 0, 1, json_array_length(j))")).toEqual(['1'])
      expect(ids("json_array_length(j) = 0 OR n = 0")).toEqual(['1', '2'])
    }
    const asked = stream("SELECT id FROM t WHERE CASE WHEN auth.parameter('admin') THEN 1 ELSE json_array_length(auth.parameter('l')) END")
    expect(synced(asked, rows, user({ admin: true, l: 'no JSON' }))).toEqual(['1', '2'])
    expect(failing(asked, rows, user({ l: 'no JSON' }))).toEqual(['s'])
    expect(synced(asked, rows, user({ l: [1] }))).toEqual(['1', '2'])
    expect(synced(asked, rows, user({ l: [] }))).toEqual([])
  }) // prettier-ignore
})

describe('text of the client that is no JSON', () => {
  const rows: Tables = { m: [{ id: 'm', owner: 'x' }, { id: 'm2', owner: 'y' }], t: [{ id: '1', m: 'm' }, { id: '2', m: 'm2' }] } // prettier-ignore
  const two = (edition: number) =>
    `config: {edition: ${edition}}\nbucket_definitions:\n  mine: {parameters: SELECT id FROM m WHERE owner = request.user_id(), data: [SELECT id FROM t WHERE m = bucket.id]}\n  listed:\n    parameters: SELECT id FROM m WHERE owner IN request.parameters() ->> 'l'\n    data: [SELECT id FROM t WHERE m = bucket.id]\n`

  test.each([1, 2])('finds nothing in a parameter query of edition %i, like JSON that is no list', (edition) => {
    for (const copyTraps of [false, true]) {
      const answers = evaluated(
        two(edition),
        rows,
        [client({ l: 'a,b' }), client({ l: '{}' }), client({ l: '["y"]' })],
        copyTraps,
      ).buckets
      expect(answers.map(({ error, errors, buckets }) => [error, errors, buckets.length])).toEqual([
        [undefined, [], 1],
        [undefined, [], 1],
        [undefined, [], 2],
      ])
    }
    expect(synced(two(edition), rows, client({ l: 'a,b' }))).toEqual(['1'])
  })

  test.each([2, 3])('is reported for a stream of edition %i', (edition) => {
    const yaml = stream("SELECT id FROM m WHERE owner IN connection.parameter('l')", edition)
    expect(failing(yaml, rows, client({ l: 'a,b' }))).toEqual(['s'])
    expect(synced(yaml, rows, client({ l: ['x'] }))).toEqual(['m'])
  })
})

describe('an alternative that fails', () => {
  const rows: Tables = { t: [{ id: '1', owner: 'x' }, { id: '2', owner: 'y' }] } // prettier-ignore
  const forms = (listed: string): [string, string][] => [
    ['OR of edition 2, first', stream(`SELECT id FROM t WHERE ${listed} OR owner = auth.user_id()`, 2)],
    ['OR of edition 2, last', stream(`SELECT id FROM t WHERE owner = auth.user_id() OR ${listed}`, 2)],
    ['OR of edition 3, first', stream(`SELECT id FROM t WHERE ${listed} OR owner = auth.user_id()`)],
    ['OR of edition 3, last', stream(`SELECT id FROM t WHERE owner = auth.user_id() OR ${listed}`)],
    [
      'queries of edition 3',
      `config: {edition: 3}\nstreams:\n  s:\n    auto_subscribe: true\n    queries: ${JSON.stringify([`SELECT id FROM t WHERE ${listed}`, 'SELECT id FROM t WHERE owner = auth.user_id()'])}\n`,
    ],
  ]

  test.each(forms("owner IN connection.parameter('l')"))(
    '%s: the others are given, and it is reported once',
    (_, yaml) => {
      const broken = client({ l: 'broken' })
      expect(synced(yaml, rows, broken)).toEqual(['1'])
      expect(failing(yaml, rows, broken)).toEqual(['s'])
      expect(synced(yaml, rows, client({ l: ['y'] }))).toEqual(['1', '2'])
      expect(failing(yaml, rows, client({ l: ['y'] }))).toEqual([])
    },
  )

  test.each(forms("uuid_blob(connection.parameter('l')) IS NULL"))(
    '%s: one that is a condition over the request as well',
    (_, yaml) => {
      expect(synced(yaml, rows, client({ l: 'broken' }))).toEqual(['1'])
      expect(failing(yaml, rows, client({ l: 'broken' }))).toEqual(['s'])
      expect(synced(yaml, rows, client({}))).toEqual(['1', '2'])
    },
  )

  test('gives nothing of what it had found before', () => {
    const yaml = stream("SELECT t.id FROM t, json_each(connection.parameter('l')) AS e WHERE t.owner = e.value AND e.value = ifnull(e.value, '') AND uuid_blob(e.value) IS NOT NULL")
    const request = client({ l: ['550e8400-e29b-41d4-a716-446655440000', 'broken'] })
    expect(evaluated(yaml, rows, [request]).buckets[0]).toMatchObject({ buckets: [], errors: [{ definition: 's' }] })
  }) // prettier-ignore

  test('two definitions: one fails alone', () => {
    const yaml = `bucket_definitions:\n  a: {parameters: "SELECT value AS v FROM json_each(request.parameters() ->> 'l')", data: [SELECT id FROM t WHERE owner = bucket.v]}\n  b: {parameters: SELECT request.user_id() AS u, data: [SELECT id FROM t WHERE owner = bucket.u]}\n`
    // Where it is compared the whole request fails, as in the reference.
    expect(evaluated(yaml, rows, [client({ l: 'broken' })]).buckets[0]?.error).toBeTruthy()
    expect(synced(yaml, rows, client({ l: '["y"]' }))).toEqual(['1', '2'])
  })
})

describe('a value of the request IN (SELECT …) of edition 2 that asks nothing else', () => {
  const rows: Tables = {
    t: [{ id: '1', owner: 'y' }, { id: '2', owner: 'z' }],
    users: [{ id: 'x', is_admin: 1 }, { id: 'y', is_admin: 0 }, { id: null, is_admin: 1 }],
  } // prettier-ignore
  const asks = (yaml: string) =>
    [user(), { jwt: { sub: 'y' } }, { jwt: {} }].map((request) => synced(yaml, rows, request))

  test.each([2, 3])('edition %i: all rows for who is found, none for others and for nobody', (edition) => {
    const yaml = stream('SELECT id FROM t WHERE auth.user_id() IN (SELECT id FROM users WHERE is_admin)', edition)
    expect(asks(yaml)).toEqual([['1', '2'], [], []])
    expect(codes(yaml)).toEqual([])
    const without = stream('SELECT id FROM t WHERE auth.user_id() IN (SELECT id FROM users)', edition)
    expect(asks(without)).toEqual([['1', '2'], ['1', '2'], []])
    const or = stream(
      'SELECT id FROM t WHERE auth.user_id() IN (SELECT id FROM users WHERE is_admin) OR owner = auth.user_id()',
      edition,
    )
    expect(asks(or)).toEqual([['1', '2'], ['1'], []])
  })

  test('of the row it is refused as before', () => {
    expect(codes(stream('SELECT id FROM t WHERE owner IN (SELECT id FROM users WHERE is_admin)', 2))).toEqual([
      'stream-subquery',
    ])
  })
})

describe('a negated IN of edition 3 walks what IN walks', () => {
  const rows: Tables = {
    t: [
      { id: 'object', x: 0, j: { $json: '{"k": 1}' } },
      { id: 'object with it', x: 1, j: { $json: '{"k": 1}' } },
      { id: 'number', x: 0, j: { $json: '1' } },
      { id: 'number itself', x: 1, j: { $json: '1' } },
      { id: 'array', x: 0, j: { $json: '[1]' } },
      { id: 'array with it', x: 1, j: { $json: '[1]' } },
      { id: 'broken', x: 1, j: { $json: '[1' } },
    ],
  }
  test.each(['NOT (x IN j)', 'x NOT IN j'])('%s', (where) => {
    expect(synced(stream(`SELECT id FROM t WHERE ${where}`), rows, user())).toEqual(['array', 'number', 'object'])
    expect(synced(stream('SELECT id FROM t WHERE x IN j'), rows, user())).toEqual([
      'array with it',
      'number itself',
      'object with it',
    ])
  })

  test.each(["NOT ('a' IN auth.parameter('l'))", "'a' NOT IN auth.parameter('l')"])('of the request: %s', (where) => {
    const yaml = stream(`SELECT id FROM t WHERE x = 0 AND ${where}`)
    const all = ['array', 'number', 'object']
    const asked = [{ k: 'b' }, '"b"', { k: 'a' }, '"a"'].map((l) => synced(yaml, rows, user({ l })))
    expect(asked).toEqual([all, all, [], []])
    expect(failing(yaml, rows, user({ l: 'a' }))).toEqual(['s'])
  })

  test('with exact numbers', () => {
    const big = JSON.parse('{"id":"1"}') as Record<string, unknown>
    const text = { $json: '[9007199254740993]' }
    const tables: Tables = {
      t: [
        { ...big, x: { $int: '9007199254740993' }, j: text },
        { id: '2', x: { $int: '9007199254740992' }, j: text },
      ],
    }
    expect(synced(stream('SELECT id FROM t WHERE x NOT IN j'), tables, user())).toEqual(['2'])
  })
})
