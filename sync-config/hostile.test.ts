import { expect, test } from 'vitest'
import { generator } from '../test/support/random.ts'
import { compile, loadPlan, type LoadedPlan } from './index.ts'
import { definition, stream } from './test-evaluate.ts'
import { ARRAYS, HOSTILE, scalar, SCALARS, type Plain, type View } from './test-hostile.ts'

/**
 * Requests with NULL, booleans, nested lists, numbers that are none and broken JSON, in the forms of all editions: a
 * client has exactly the rows that the condition means, computed here from the plain values. What cannot be read gives
 * no row.
 */

const ROUNDS = Number(process.env.ROCKPOOL_ROUNDS ?? 1_500)

type Edition = 'definitions' | 2 | 3
class Unreadable extends Error {}

/** What a value is equal by; null for one that is equal to nothing. */
function keyOf(value: Plain, nested: 'json' | 'text' = 'json'): string | null {
  switch (typeof value) {
    case 'string':
      return `text ${value}`
    case 'bigint':
    case 'number':
      return Number.isFinite(Number(value)) ? `number ${Number(value)}` : null
    case 'boolean':
      return `number ${Number(value)}`
    default:
      return value === null || value === undefined ? null : `${nested} ${JSON.stringify(value)}`
  }
}

function parsed(text: string): Plain {
  try {
    return JSON.parse(text)
  } catch {
    throw new Unreadable()
  }
}

/** Keys of the elements of a list of the request, null when the list is NULL. */
function elements(value: Plain, edition: Edition, view: View): string[] | null {
  const seen = scalar(value, view)
  if (seen === null) return null
  if (typeof seen !== 'string') {
    if (edition === 3) throw new Unreadable()
    return []
  }
  let list: Plain
  try {
    list = parsed(seen)
  } catch (error) {
    if (edition === 'definitions') return []
    throw error
  }
  // The value view has turned booleans to numbers.
  const booleans = edition === 3 || (view === 'value' && typeof value === 'object')
  if (edition === 3) return keysOf(members(list), true, 'text')
  return Array.isArray(list) ? keysOf(list, booleans, 'json') : []
}

const members = (list: Plain): Plain[] =>
  Array.isArray(list) ? list : typeof list === 'object' && list !== null ? Object.values(list) : [list]
const keysOf = (items: readonly Plain[], booleans: boolean, nested: 'json' | 'text'): string[] =>
  items.flatMap((item) => (typeof item === 'boolean' && !booleans ? [] : (keyOf(item, nested) ?? [])))

/** The same of an array of a row. In edition 3 objects and scalars are walked as well. */
function stored(value: Plain, edition: Edition): string[] {
  if (value === null || value === undefined) return []
  const list = parsed(String(value))
  if (edition === 3) return keysOf(members(list), true, 'text')
  if (!Array.isArray(list)) throw new Unreadable()
  return keysOf(list, false, 'json')
}

type Row = Record<string, Plain>
interface Given {
  p: Plain
  l: Plain
}
interface Form {
  name: string
  plan: LoadedPlan
  view: View
  source: 'claims' | 'parameters' | 'subscription'
  /** Whether the client has the row. Throws Unreadable when that cannot be said: it has not. */
  holds(row: Row, given: Given, members: readonly Row[]): boolean
}

function load(yaml: string): LoadedPlan {
  const result = compile(yaml)
  if (!result.ok) throw new Error(`${JSON.stringify(result.errors)}\n${yaml}`)
  return loadPlan(result.plan)
}

const same = (a: string | null, b: string | null): boolean => a !== null && a === b
const overlap = (a: readonly string[], b: readonly string[]): boolean => a.some((key) => b.includes(key))
/** Rows of the other table that can be read and pass. */
const found = (rows: readonly Row[], passes: (row: Row) => boolean): Row[] =>
  rows.filter((row) => {
    try {
      return passes(row)
    } catch (error) {
      if (error instanceof Unreadable) return false
      throw error
    }
  })

const FORMS: Form[] = ([2, 3] as const).flatMap((edition) =>
  (
    [
      ['auth', 'claims', 'text'],
      ['connection', 'parameters', edition === 2 ? 'value' : 'text'],
      ['subscription', 'subscription', 'text'],
    ] as const
  ).flatMap(([schema, source, view]): Form[] => {
    const p = `${schema}.parameter('p')`
    const l = `${schema}.parameter('l')`
    const form = (where: string, holds: Form['holds']): Form => ({
      name: `${edition}: ${where}`,
      plan: load(stream(`SELECT id FROM t WHERE ${where}`, edition).replace('auto_subscribe: true', `auto_subscribe: ${source !== 'subscription'}`)),
      view,
      source,
      holds,
    })
    const asked = (value: Plain) => keyOf(scalar(value, view))
    const list = (value: Plain) => elements(value, edition, view)
    const nulls = (x: Plain, teams: readonly Row[]) => edition === 2 && (x ?? null) === null && teams.some(({ team }) => (team ?? null) === null)
    const inTeams = (x: Plain, teams: readonly Row[]) => teams.some(({ team }) => same(keyOf(x), keyOf(team))) || nulls(x, teams)
    const excluded = (value: Plain, ofNull: boolean): boolean => {
      const keys = excludedKeys(value, view, edition)
      return keys === null ? ofNull : !keys.includes('text a')
    }
    return [
      form(`x = ${p}`, ({ x }, given) => same(keyOf(x), asked(given.p))),
      form(`x IN ${l}`, ({ x }, given) => (list(given.l) ?? []).includes(keyOf(x) ?? '-')),
      form(`${p} IN l`, (row, given) => stored(row['l'], edition).includes(asked(given.p) ?? '-')),
      form(`l && ${l}`, (row, given) => overlap(stored(row['l'], edition), list(given.l) ?? [])),
      form(`x IN (SELECT team FROM m WHERE u = ${p})`, ({ x }, given, m) => inTeams(x, m.filter(({ u }) => same(keyOf(u), asked(given.p))))),
      form(`x IN (SELECT team FROM m WHERE u IN ${l})`, ({ x }, given, m) => {
        const keys = list(given.l) ?? []
        return inTeams(x, m.filter(({ u }) => keys.includes(keyOf(u) ?? '-')))
      }),
      form(`x IN (SELECT team FROM m WHERE ${p} IN l)`, ({ x }, given, m) =>
        inTeams(x, found(m, (row) => stored(row['l'], edition).includes(asked(given.p) ?? '-'))),
      ),
      form(`${p} IN (SELECT u FROM m)`, (_, given, m) => m.some(({ u }) => same(keyOf(u), asked(given.p)))),
      form(`NOT ('a' IN ${l})`, (_, given) => excluded(given.l, edition === 2)),
      ...(edition === 3 ? [form(`'a' NOT IN ${l}`, (_, given) => excluded(given.l, true))] : []),
    ]
  }),
) // prettier-ignore

/** Elements of a list for a condition over the request alone, where true is 1; null when it is NULL. */
function excludedKeys(value: Plain, view: View, edition: Edition): string[] | null {
  const seen = scalar(value, view)
  if (seen === null) return null
  if (typeof seen !== 'string') throw new Unreadable()
  const list = parsed(seen)
  if (edition !== 3 && !Array.isArray(list)) throw new Unreadable()
  return keysOf(members(list), true, 'text')
}

for (const edition of [1, 2]) {
  const form = (name: string, parameters: string, data: string, view: View, holds: Form['holds']): void => {
    FORMS.push({
      name: `definitions ${edition}: ${name}`,
      plan: load(definition(parameters, data, edition)),
      view,
      source: 'parameters',
      holds,
    })
  }
  const data = 'SELECT id FROM t WHERE x = bucket.v'
  const asked = (value: Plain) => keyOf(scalar(value, 'value'))
  form('x = value', "SELECT request.parameter('p') AS v", data, 'value', ({ x }, { p }) => same(keyOf(x), asked(p)))
  form(
    'value IN l',
    "SELECT request.parameter('p') AS v",
    'SELECT id FROM t WHERE bucket.v IN l',
    'value',
    (row, { p }) => stored(row['l'], 'definitions').includes(asked(p) ?? '-'),
  )
  form(
    'u IN list',
    "SELECT team AS v FROM m WHERE u IN (request.parameters() -> 'l')",
    data,
    'text',
    ({ x }, { l }, m) => {
      // `->` gives text its quotes, so it is no list.
      const keys = typeof l === 'object' ? (elements(l, 'definitions', 'text') ?? []) : []
      return m.some(({ u, team }) => keys.includes(keyOf(u) ?? '-') && same(keyOf(x), keyOf(team)))
    },
  )
  form(
    'u IN list of the value view',
    "SELECT team AS v FROM m WHERE u IN request.parameter('l')",
    data,
    'value',
    ({ x }, { l }, m) => {
      const keys = elements(l, 'definitions', 'value') ?? []
      return m.some(({ u, team }) => keys.includes(keyOf(u) ?? '-') && same(keyOf(x), keyOf(team)))
    },
  )
  form(
    'value IN array of a table',
    "SELECT team AS v FROM m WHERE request.parameter('p') IN l",
    data,
    'value',
    ({ x }, { p }, m) =>
      found(m, (row) => stored(row['l'], 'definitions').includes(asked(p) ?? '-')).some(({ team }) =>
        same(keyOf(x), keyOf(team)),
      ),
  )
}

test(`${ROUNDS} hostile requests have the rows that their condition means, and no others`, () => {
  const random = generator(20_261_129)
  const pick = <T>(list: readonly T[]): T => {
    const item = list[Math.floor(random() * list.length)]
    return item as T
  }
  let given = 0
  for (let n = 0; n < ROUNDS; n++) {
    const form = FORMS[n % FORMS.length]
    if (!form) throw new Error('no form')
    const tables: Record<string, Row[]> = {
      t: Array.from({ length: 8 }, (_, i) => ({ id: `t${i}`, x: pick(SCALARS), l: pick(ARRAYS) })),
      m: Array.from({ length: 5 }, (_, i) => ({ id: `m${i}`, u: pick(SCALARS), team: pick(SCALARS), l: pick(ARRAYS) })),
    }
    const rows = Object.entries(tables).flatMap(([name, records]) =>
      records.flatMap(
        (record) =>
          form.plan.evaluateRow({ schema: 'public', name }, record as Parameters<LoadedPlan['evaluateRow']>[1]).rows,
      ),
    )
    for (let times = 0; times < 8; times++) {
      const values: Given = { p: pick(HOSTILE), l: pick(HOSTILE) }
      const none = { claims: {}, parameters: {} }
      const program = form.plan.request({
        ...none,
        ...(form.source === 'subscription' ? {} : { [form.source]: { ...values } }),
        includeDefaults: form.source !== 'subscription',
        subscriptions:
          form.source === 'subscription' ? [{ stream: 's', parameters: { ...values }, priority: null }] : [],
      })
      const { buckets } = program.resolve((lookup) =>
        rows.filter(({ bucket }) => bucket === lookup).map(({ data }) => data),
      )
      const names = new Set(buckets.map(({ bucket }) => bucket))
      const synced = [...new Set(rows.flatMap(({ bucket, objectId }) => (names.has(bucket) ? [objectId] : [])))].sort()
      const wanted = found(tables['t'] ?? [], (row) => form.holds(row, values, tables['m'] ?? [])).map(({ id }) =>
        String(id),
      )
      const what = `${form.name}\n${JSON.stringify(values)} p=${String(values.p)}\n${rows.length} rows of ${JSON.stringify(tables, (_, v: unknown) => (typeof v === 'bigint' ? Number(v) : v))}`
      expect(synced, what).toEqual(wanted)
      given += wanted.length
    }
  }
  expect(given).toBeGreaterThan(ROUNDS)
})
