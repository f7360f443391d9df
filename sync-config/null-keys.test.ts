import { describe, expect, test } from 'vitest'
import { loadPlan } from './index.ts'
import { compileConfig } from './compile.ts'
import { codes, definition, stream, synced, type Asking, type Tables } from './test-evaluate.ts'

// The file is long because it is one table of cases for NULL in keys.

/**
 * A NULL of a request makes no key, and true and false are no numbers in a list: in each form, the row that comes and
 * the row that does not.
 */

const jwt = (claims: Record<string, unknown>): Asking => ({ jwt: { sub: 'u', ...claims } })
const client = (parameters: Record<string, unknown>): Asking => ({ jwt: { sub: 'u' }, parameters })
const subscribed = (parameters: Record<string, unknown>): Asking => ({
  jwt: { sub: 'u' },
  subscriptions: [{ stream: 's', parameters }],
})

const owners: Tables = { t: [{ id: 'null', owner: null }, { id: 'x', owner: 'x' }, { id: 'missing' }] }
const lists: Tables = {
  t: [
    { id: 'null', l: [null] },
    { id: 'x', l: ['x', null] },
  ],
}
const found: Tables = {
  t: [
    { id: 'null', owner: 'null' },
    { id: 'x', owner: 'x' },
  ],
  m: [
    { id: 'm1', team: 'null', l: [null], u: null },
    { id: 'm2', team: 'x', l: ['x', null], u: 'x' },
  ],
}
const lookup = (where: string) => `SELECT id FROM t WHERE owner IN (SELECT team FROM m WHERE ${where})`

interface Form {
  yaml: string
  rows: Tables
  none: Asking[]
  some: Asking
}
const form = (name: string, yaml: string, rows: Tables, none: Asking[], some: Asking): [string, Form] => [
  name,
  { yaml, rows, none, some },
]

/** Each with requests whose value is, or has in it, NULL, and one that has 'x' as well. */
const FORMS: [string, Form][] = [
  ...[2, 3].flatMap((edition) => [
    ...(
      [
        ["auth.parameter('l')", jwt],
        ["auth.parameters() -> 'l'", jwt],
        ["connection.parameter('l')", client],
        ["connection.parameters() -> 'l'", client],
        ["subscription.parameter('l')", subscribed],
      ] as const
    ).flatMap(([value, ask]) => [
      form(
        `${edition}: column IN ${value}`,
        stream(`SELECT id FROM t WHERE owner IN ${value}`, edition),
        owners,
        [ask({ l: [null] }), ask({ l: null }), ask({})],
        ask({ l: [null, 'x'] }),
      ),
      form(
        `${edition}: array && ${value}`,
        stream(`SELECT id FROM t WHERE l && ${value}`, edition),
        lists,
        [ask({ l: [null] }), ask({})],
        ask({ l: [null, 'x'] }),
      ),
      form(
        `${edition}: ${value} && array`,
        stream(`SELECT id FROM t WHERE ${value} && l`, edition),
        lists,
        [ask({ l: [null] }), ask({})],
        ask({ l: [null, 'x'] }),
      ),
      form(
        `${edition}: column IN ${value} in a subquery`,
        stream(lookup(`u IN ${value}`), edition),
        found,
        [ask({ l: [null] }), ask({})],
        ask({ l: [null, 'x'] }),
      ),
    ]),
    ...(
      [
        ["auth.parameter('p')", jwt],
        ["connection.parameter('p')", client],
        ["subscription.parameter('p')", subscribed],
      ] as const
    ).flatMap(([value, ask]) => [
      form(
        `${edition}: ${value} IN array`,
        stream(`SELECT id FROM t WHERE ${value} IN l`, edition),
        lists,
        [ask({ p: null }), ask({})],
        ask({ p: 'x' }),
      ),
      form(
        `${edition}: column = ${value}`,
        stream(`SELECT id FROM t WHERE owner = ${value}`, edition),
        owners,
        [ask({ p: null }), ask({})],
        ask({ p: 'x' }),
      ),
      form(
        `${edition}: ${value} IN array of a subquery`,
        stream(lookup(`${value} IN l`), edition),
        found,
        [ask({ p: null }), ask({})],
        ask({ p: 'x' }),
      ),
      form(
        `${edition}: column = ${value} in a subquery`,
        stream(lookup(`u = ${value}`), edition),
        found,
        [ask({ p: null }), ask({})],
        ask({ p: 'x' }),
      ),
    ]),
    form(
      `${edition}: auth.user_id() of a token without sub`,
      stream('SELECT id FROM t WHERE auth.user_id() IN l', edition),
      lists,
      [{ jwt: {} }],
      { jwt: { sub: 'x' } },
    ),
  ]),
  ...[1, 2].flatMap((edition) => [
    form(
      `definitions of edition ${edition}: column IN a list of the token`,
      definition(
        "SELECT id FROM t WHERE owner IN request.jwt() -> 'l'",
        'SELECT id FROM t WHERE id = bucket.id',
        edition,
      ),
      owners,
      [jwt({ l: [null] }), jwt({})],
      jwt({ l: [null, 'x'] }),
    ),
    form(
      `definitions of edition ${edition}: column IN a list of the client`,
      definition(
        "SELECT id FROM t WHERE owner IN request.parameters() -> 'l'",
        'SELECT id FROM t WHERE id = bucket.id',
        edition,
      ),
      owners,
      [client({ l: [null] }), client({})],
      client({ l: [null, 'x'] }),
    ),
    form(
      `definitions of edition ${edition}: a value IN an array of the row`,
      definition(
        "SELECT team FROM m WHERE request.parameter('p') IN l",
        'SELECT id FROM t WHERE owner = bucket.team',
        edition,
      ),
      found,
      [client({ p: null }), client({})],
      client({ p: 'x' }),
    ),
    form(
      `definitions of edition ${edition}: bucket parameter IN an array of the row`,
      definition("SELECT request.parameter('p') AS p", 'SELECT id FROM t WHERE bucket.p IN l', edition),
      lists,
      [client({ p: null }), client({})],
      client({ p: 'x' }),
    ),
    form(
      `definitions of edition ${edition}: a value beside what a table has`,
      definition(
        "SELECT team, request.parameter('p') AS p FROM m WHERE u = 'x'",
        'SELECT id FROM t WHERE owner = bucket.team AND bucket.p IN l',
        edition,
      ),
      {
        ...found,
        t: [
          { id: 'null', owner: 'x', l: [null] },
          { id: 'x', owner: 'x', l: ['x', null] },
        ],
      },
      [client({ p: null }), client({})],
      client({ p: 'x' }),
    ),
  ]),
  form(
    'definitions of edition 2: elements of json_each',
    definition("SELECT value AS v FROM json_each(request.jwt() -> 'l')", 'SELECT id FROM t WHERE bucket.v IN l', 2),
    lists,
    [jwt({ l: [null] }), jwt({})],
    jwt({ l: [null, 'x'] }),
  ),
]

describe('a NULL of a request makes no key', () => {
  test.each(FORMS)('%s', (_, { yaml, rows, none, some }) => {
    for (const request of none) expect(synced(yaml, rows, request), JSON.stringify(request)).toEqual([])
    expect(synced(yaml, rows, some)).toEqual(['x'])
  })

  test('nor does a number that JSON has no name for, as 1e999 is', () => {
    const infinite = (name: string): Asking => ({ jwt: { sub: 'u' }, parameters: { [name]: Number.POSITIVE_INFINITY } })
    const text = definition("SELECT request.parameter('p') AS p", 'SELECT id FROM t WHERE bucket.p IN l')
    const result = compileConfig(text)
    if (!result.ok) throw new Error('refused')
    const context = {
      claims: {},
      ...infinite('p'),
      parameters: { p: JSON.parse('1e999') },
      includeDefaults: true,
      subscriptions: [],
    }
    expect(
      loadPlan(result.plan)
        .request(context)
        .resolve(() => []).buckets,
    ).toEqual([])
  })

  test('what a subquery finds may be NULL and match in edition 2, and in no other; it is warned of', () => {
    const rows: Tables = {
      t: [{ id: 'null', owner: null, l: [null] }],
      m: [{ id: 'm', team: null, u: 'u' }],
    }
    const equal = 'SELECT id FROM t WHERE owner IN (SELECT team FROM m WHERE u = auth.user_id())'
    const overlap = 'SELECT id FROM t WHERE l && (SELECT team FROM m WHERE u = auth.user_id())'
    expect([equal, overlap].map((query) => synced(stream(query, 2), rows, jwt({})))).toEqual([['null'], ['null']])
    expect([equal, overlap].map((query) => synced(stream(query, 3), rows, jwt({})))).toEqual([[], []])
    expect(codes(stream(equal, 2))).toEqual(['null-matches-null'])
    expect(codes(stream("SELECT id FROM t WHERE owner IN auth.parameter('l')", 2))).toEqual([])
    const table = definition(
      'SELECT team FROM m WHERE u = request.user_id()',
      'SELECT id FROM t WHERE bucket.team IN l',
    )
    expect(synced(table, rows, jwt({}))).toEqual(['null'])
  })

  test('a BLOB and a number without a name that a subquery finds are no NULL', () => {
    const yaml = stream('SELECT id FROM t WHERE owner IN (SELECT team FROM m WHERE u = auth.user_id())', 2)
    const teams = [null, { $real: 'NaN' }, { $real: 'Infinity' }, { $blob: '00' }].map((team) =>
      synced(yaml, { t: [{ id: 'null', owner: null }], m: [{ team, u: 'u' }] }, jwt({})),
    )
    expect(teams).toEqual([['null'], [], [], []])
    // That there is a row is seen all the same.
    const exists = stream(
      'SELECT t.id FROM t, m WHERE t.id = m.id AND m.u = auth.user_id() AND m.x IN (SELECT x FROM n)',
    )
    expect(
      synced(
        exists,
        { t: [{ id: '1' }], m: [{ id: '1', u: 'u', x: 1 }], n: [{ x: { $blob: '00' } }, { x: 1 }] },
        jwt({}),
      ),
    ).toEqual(['1'])
  })

  test('also under a plan that an older version has stored', () => {
    const result = compileConfig(stream("SELECT id FROM t WHERE connection.parameter('p') IN l", 2))
    if (!result.ok) throw new Error('refused')
    const old = structuredClone(result.plan)
    const [program] = old['programs'] as { variants: { parameters: { nulls: boolean }[] }[] }[]
    for (const key of program?.variants[0]?.parameters ?? []) key.nulls = true
    const context = { claims: {}, includeDefaults: true, subscriptions: [] }
    const bucketsOf = (parameters: Record<string, unknown>) =>
      loadPlan(old)
        .request({ ...context, parameters })
        .resolve(() => []).buckets
    expect([bucketsOf({}), bucketsOf({ p: null })]).toEqual([[], []])
    expect(bucketsOf({ p: 'x' })).toHaveLength(1)
  })
})

describe('true and false in a list are no numbers', () => {
  const numbers: Tables = { t: [{ id: 'one', x: 1 }, { id: 'zero', x: 0 }], m: [{ id: 'one', x: 1 }, { id: 'zero', x: 0 }] } // prettier-ignore
  const json: Tables = { t: [{ id: 'true', j: { $json: '[true]' } }, { id: 'one', j: { $json: '[1]' } }, { id: 'array', j: [true] }] } // prettier-ignore

  test.each([
    [
      'definitions',
      definition("SELECT id FROM m WHERE x IN (request.jwt() -> 'l')", 'SELECT id FROM t WHERE id = bucket.id'),
      jwt,
    ],
    [
      'definitions, edition 2',
      definition("SELECT id FROM m WHERE x IN (request.jwt() -> 'l')", 'SELECT id FROM t WHERE id = bucket.id', 2),
      jwt,
    ],
    ['edition 2, auth', stream("SELECT id FROM t WHERE x IN auth.parameter('l')", 2), jwt],
    ['edition 2, subscription', stream("SELECT id FROM t WHERE x IN subscription.parameter('l')", 2), subscribed],
    [
      'edition 2, subquery',
      stream("SELECT id FROM t WHERE id IN (SELECT id FROM m WHERE x IN auth.parameter('l'))", 2),
      jwt,
    ],
  ] as const)('of the request: %s', (_, yaml, ask) => {
    // prettier-ignore
    expect([ask({ l: [true] }), ask({ l: [false] })].map((request) => synced(yaml, numbers, request))).toEqual([[], []])
    expect(synced(yaml, numbers, ask({ l: [true, 1] }))).toEqual(['one'])
  })

  test.each([
    ['definitions', definition("SELECT request.parameter('p') AS p", 'SELECT id FROM t WHERE bucket.p IN j')],
    [
      'definitions, edition 2',
      definition("SELECT request.parameter('p') AS p", 'SELECT id FROM t WHERE bucket.p IN j', 2),
    ],
    ['edition 2, IN', stream("SELECT id FROM t WHERE connection.parameter('p') IN j", 2)],
    ['edition 2, &&', stream("SELECT id FROM t WHERE j && connection.parameter('l')", 2)],
  ])('of the row: %s', (_, yaml) => {
    // Postgres's own boolean[] arrives as numbers.
    expect(synced(yaml, json, client({ p: 1, l: [1] }))).toEqual(['array', 'one'])
  })

  test('but true is 1 where an array overlaps with a subquery, and as a plain value', () => {
    const overlap = stream('SELECT id FROM t WHERE j && (SELECT x FROM m WHERE u = auth.user_id())', 2)
    expect(synced(overlap, { ...json, m: [{ id: 'm', x: 1, u: 'u' }] }, jwt({}))).toEqual(['array', 'one', 'true'])
    for (const edition of [2, 3]) {
      expect(
        synced(stream("SELECT id FROM t WHERE x = auth.parameter('p')", edition), numbers, jwt({ p: true })),
      ).toEqual(['one'])
      expect(
        synced(stream("SELECT id FROM t WHERE x = auth.parameter('p')", edition), numbers, jwt({ p: false })),
      ).toEqual(['zero'])
    }
  })

  test('edition 3 walks arrays as json_each does, where true is 1', () => {
    expect(synced(stream("SELECT id FROM t WHERE x IN auth.parameter('l')"), numbers, jwt({ l: [true] }))).toEqual([
      'one',
    ])
  })
})

describe('a list that is NULL and NOT', () => {
  const rows: Tables = { t: [{ id: '1' }] }
  const all = ['1']

  test.each([
    ["NOT ('guest' IN auth.parameter('roles'))", jwt],
    ["NOT ('guest' IN connection.parameter('roles'))", client],
    ["NOT ('guest' IN subscription.parameter('roles'))", subscribed],
    ["NOT ('guest' IN auth.parameter('roles') OR 'bot' IN auth.parameter('roles'))", jwt],
    ["NOT (NOT (NOT ('guest' IN auth.parameter('roles'))))", jwt],
  ] as const)('edition 3: %s gives no row then', (where, ask) => {
    const yaml = stream(`SELECT id FROM t WHERE ${where}`)
    expect(
      [ask({}), ask({ roles: null }), ask({ roles: ['guest'] })].map((request) => synced(yaml, rows, request)),
    ).toEqual([[], [], []])
    expect([ask({ roles: ['admin'] }), ask({ roles: [] })].map((request) => synced(yaml, rows, request))).toEqual([
      all,
      all,
    ])
    expect(codes(yaml)).toContain('negated-request')
  })

  test('edition 3: of the row as well', () => {
    const arrays: Tables = {
      t: [
        { id: 'null', l: null },
        { id: 'x', l: ['x'] },
        { id: 'y', l: ['y'] },
        { id: 'empty', l: [] },
      ],
    }
    expect(synced(stream("SELECT id FROM t WHERE NOT ('x' IN l)"), arrays, jwt({}))).toEqual(['empty', 'y'])
    expect(synced(stream("SELECT id FROM t WHERE 'x' NOT IN l"), arrays, jwt({}))).toEqual(['empty', 'null', 'y'])
  })

  test.each([
    ['NOT IN of edition 3', stream("SELECT id FROM t WHERE 'guest' NOT IN auth.parameter('roles')")],
    ['edition 2', stream("SELECT id FROM t WHERE NOT ('guest' IN auth.parameter('roles'))", 2)],
    ['definitions', definition("SELECT WHERE NOT 'guest' IN (request.jwt() -> 'roles')", 'SELECT id FROM t')],
    [
      'definitions over a table',
      definition(
        "SELECT id FROM t WHERE NOT 'guest' IN (request.jwt() -> 'roles')",
        'SELECT id FROM t WHERE id = bucket.id',
      ),
    ],
  ])('%s gives the rows to who lacks the claim, with a warning', (_, yaml) => {
    // prettier-ignore
    expect(synced(yaml, rows, jwt({}))).toEqual(all)
    expect(synced(yaml, rows, jwt({ roles: ['guest'] }))).toEqual([])
    expect(codes(yaml)).toEqual(['negated-request'])
  })

  test('the warning is of conditions that only exclude, and can be turned off', () => {
    expect(codes(stream("SELECT id FROM t WHERE NOT (auth.parameter('role') = 'guest')"))).toEqual(['negated-request'])
    expect(codes(stream("SELECT id FROM t WHERE auth.parameter('role') IS NOT NULL"))).toEqual([])
    expect(codes(stream("SELECT id FROM t WHERE NOT (x = 1) AND auth.parameter('role') = 'admin'"))).toEqual([])
    expect(
      codes(
        stream("SELECT id FROM t WHERE 'guest' NOT IN auth.parameter('roles')").replace(
          '    query',
          '    accept_potentially_dangerous_queries: true\n    query',
        ),
      ),
    ).toEqual([])
  })
})
