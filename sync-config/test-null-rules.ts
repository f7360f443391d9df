import type { Mutation } from '../test/support/mutations.ts'

/** A rule about NULL, and the code without it. */
export interface Rule {
  rule: string
  mutations: Mutation[]
  /** A second lock, which is opened so that the first one is seen. By itself that changes nothing. */
  besides?: Mutation[]
}

type Edit = [from: string, to: string]

const of =
  (file: string) =>
  (...edits: Edit[]): Mutation => ({ file: `sync-config/${file}`, edits })
const operators = of('expressions/operators.ts')
const lazy = of('expressions/lazy.ts')
const elements = of('expressions/elements.ts')
const values = of('expressions/values.ts')
const keys = of('evaluate/keys.ts')
const request = of('evaluate/request.ts')
const rows = of('evaluate/rows.ts')
const views = of('evaluate/views.ts')
const alpha = of('editions/streams-2/stream.ts')
const subquery = of('editions/streams-2/subquery.ts')
const lower = of('editions/streams-3/lower.ts')
const compiled = of('editions/streams-3/stream.ts')
const match = of('editions/buckets/match.ts')
const parameters = of('editions/buckets/parameters.ts')

/** The names of buckets of a request leave NULL out whatever the plan says. */
const namesTakeNull = request(["nulls: nulls && (expr[0] === 'output' || plan.copyTraps === true)", 'nulls'])
/** Rows of edition 2 have buckets of NULL. No request asks for them. */
const rowsOfNull = alpha(['nulls: found })', 'nulls: true })'])
const rowsOfNullCompiled = lower([
  'keys: keys.map((expr) => key(row.rewrite(expr))),\n    }',
  'keys: keys.map((expr) => ({ expr: row.rewrite(expr), nulls: true })),\n    }',
])
const keysOfNullCompiled = compiled([
  "parameters[i] ?? (['null'] as const), nulls: false })",
  "parameters[i] ?? (['null'] as const), nulls: true })",
])

export const RULES: Rule[] = [
  {
    rule: 'a comparison with NULL is NULL',
    mutations: [
      operators([
        '(isNull(a) || isNull(b) ? null : bool(test(compare(a, b)))))',
        '(isNull(a) || isNull(b) ? bool(isNull(a) && isNull(b)) : bool(test(compare(a, b)))))',
      ]),
    ],
  },
  {
    rule: 'NULL is not true',
    mutations: [
      values([
        '    default:\n      return false\n  }\n}\n\nexport const bool',
        '    default:\n      return true\n  }\n}\n\nexport const bool',
      ]),
    ],
  },
  {
    rule: 'CASE finds no NULL',
    mutations: [
      operators([
        '!isNull(a) && !isNull(b) && compare(a, b) === 0',
        '(isNull(a) ? isNull(b) : !isNull(b) && compare(a, b) === 0)',
      ]),
    ],
  },
  {
    rule: 'NULL IN an array of the row is NULL',
    mutations: [
      operators([
        'if (isNull(x) || isNull(list)) return null',
        'if (isNull(list)) return null\n  if (isNull(x)) return bool(arrayOf(list).includes(null))',
      ]),
    ],
  },
  {
    rule: 'NULL IN a list that does not change is NULL',
    mutations: [
      operators(['holds: bool, nullValue: null, nullList: null', 'holds: bool, nullValue: 1n, nullList: null']),
    ],
  },
  {
    rule: 'IN a list that is NULL is NULL',
    mutations: [
      operators(['holds: bool, nullValue: null, nullList: null', 'holds: bool, nullValue: null, nullList: 1n']),
    ],
  },
  {
    rule: 'NOT (x IN array) of edition 3 does not hold when the array of the row is NULL',
    mutations: [operators(['notIn(args, null)', 'notIn(args, 1n)'])],
  },
  {
    rule: 'NOT (x IN list) of edition 3 does not hold when the list of the request is NULL',
    mutations: [operators(['nullValue: 1n, nullList: null', 'nullValue: 1n, nullList: 1n'])],
  },
  {
    rule: 'NULL BETWEEN is NULL',
    mutations: [lazy(['if (isNull(value)) return null\n  const least', 'if (isNull(value)) return 1n\n  const least'])],
  },
  {
    rule: 'NULL IN ARRAY[…] is NULL',
    mutations: [
      lazy([
        'if (isNull(value)) return null\n  let unknown',
        'if (isNull(value)) return bool(items.some((item) => isNull(item(e))))\n  let unknown',
      ]),
    ],
  },
  {
    rule: 'IN ARRAY[…] with NULL in it does not hold',
    mutations: [lazy(['unknown ? null : 0n', 'unknown ? 1n : 0n'])],
  },
  { rule: 'NULL makes no key', mutations: [keys(['if (isNull(value) && !key.nulls) return undefined', ''])] },
  {
    rule: 'null in a list of the request makes no key',
    mutations: [elements([" && !(item === null && (how === 'request-array' || how === 'request-list'))", ''])],
    besides: [
      namesTakeNull,
      rowsOfNull,
      alpha([
        "return { expr: ['each', counters.elements++, 'value'], nulls: false }\n  })\n  return { branch",
        "return { expr: ['each', counters.elements++, 'value'], nulls: true }\n  })\n  return { branch",
      ]),
    ],
  },
  {
    rule: 'a NULL of the request makes no key in edition 2',
    mutations: [alpha(['nulls: requestNulls }', 'nulls: true }'])],
    besides: [namesTakeNull, rowsOfNull],
  },
  {
    rule: 'a NULL of the request makes no key in bucket definitions',
    mutations: [
      parameters([
        'outputs.map(({ expr }) => ({ expr, nulls: context.copyTraps }))',
        'outputs.map(({ expr }) => ({ expr, nulls: true }))',
      ]),
    ],
    besides: [namesTakeNull],
  },
  {
    rule: 'a NULL of the request beside what a table has makes no key in bucket definitions',
    mutations: [
      parameters([
        'if (!usesRow(expr)) return { expr, nulls: context.copyTraps }',
        'if (!usesRow(expr)) return { expr, nulls: true }',
      ]),
    ],
    besides: [namesTakeNull],
  },
  {
    rule: 'a NULL of the request makes no key in edition 3',
    mutations: [keysOfNullCompiled],
    besides: [namesTakeNull, rowsOfNullCompiled],
  },
  {
    rule: 'a NULL that a lookup finds matches nothing in edition 3',
    mutations: [keysOfNullCompiled],
    besides: [rowsOfNullCompiled],
  },
  {
    rule: 'a NULL of the request finds nothing in a lookup of edition 3',
    mutations: [lower(["return key(first ?? ['null'])", "return { expr: first ?? ['null'], nulls: true }"])],
    besides: [
      namesTakeNull,
      lower([
        'keys: keys.map((expr) => key(row.rewrite(expr))),\n          outputs',
        'keys: keys.map((expr) => ({ expr: row.rewrite(expr), nulls: true })),\n          outputs',
      ]),
    ],
  },
  {
    rule: 'a NULL of the request finds nothing in a lookup of edition 2',
    mutations: [subquery(['if (!array) return { expr, nulls: false }', 'if (!array) return { expr, nulls: true }'])],
    besides: [namesTakeNull, subquery(["'value'] : row, nulls: false }", "'value'] : row, nulls: true }"])],
  },
  {
    rule: 'a NULL of the request finds nothing in a lookup of bucket definitions',
    mutations: [
      parameters([
        'if (!asked.array) return { expr: asked.expr, nulls: false }',
        'if (!asked.array) return { expr: asked.expr, nulls: true }',
      ]),
    ],
    besides: [namesTakeNull, match(['copyTraps && (first.rowArray || first.request.array)', 'true'])],
  },
  {
    rule: 'a plan that says that a NULL of the request makes a key is not believed',
    mutations: [namesTakeNull],
    besides: [rowsOfNull, alpha(['nulls: requestNulls }', 'nulls: true }'])],
  },
  {
    rule: 'a NULL of a column makes no key in bucket definitions, whoever found one',
    mutations: [match(['first.request === undefined ? first.rowArray :', 'first.request === undefined ? true :'])],
  },
  {
    rule: 'a value of the request that is compared with what a lookup finds is not NULL',
    mutations: [
      operators(['bool(!isNull(a) && !isNull(b) && keyText(a) !== undefined', 'bool(keyText(a) !== undefined']),
    ],
  },
  {
    rule: 'JSON null is NULL and no text',
    mutations: [elements(["item === null ? (nullText ? 'null' : null)", "item === null ? 'null'"])],
  },
  {
    rule: 'null of the request is NULL and no text',
    mutations: [
      views([
        'return value === null || value === undefined ? null : jsonText(value)',
        'return value === undefined ? null : jsonText(value)',
      ]),
    ],
  },
  {
    rule: 'a number without a name that a lookup finds is no NULL',
    mutations: [
      rows([
        "return number || value instanceof Uint8Array ? '1e999' :",
        "return number || value instanceof Uint8Array ? 'null' :",
      ]),
    ],
  },
]
