import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { Random } from '../test/support/random.ts'
import { compileConfig } from './compile.ts'
import { loadPlan, type LoadedPlan } from './index.ts'
import { ARRAYS, HOSTILE, scalar, SCALARS, type Plain, type View } from './test-hostile.ts'
import { Conditions, LANGUAGES, type Exception, type Language } from './test-null-conditions.ts'

/**
 * What a client gets by random conditions, rows and requests, against SQLite, which evaluates the same condition with
 * its three values.
 */

export interface Outcome {
  cases: number
  /** Rows that SQLite says true for. */
  given: number
  /** Conditions that the config may not have, by the code of the error. */
  refused: Record<string, number>
  conditions: number
  /** A row that a client has and must not, or has not and must. */
  violation: string | null
}

type Row = Record<string, Plain>

const REQUESTS = 4
// More of what a lookup must not give as NULL.
const ROW_VALUES = [...SCALARS, Number.NaN, null]
// No JSON carries NaN; Infinity comes as 1e999.
const REQUEST_VALUES = HOSTILE.filter((value) => !Number.isNaN(value))

/**
 * Values for which no row may be lost either. With the others it may: true and false and nested values of a list make
 * no key before edition 3, and what cannot be read costs the row or the alternative.
 */
const PLAIN = {
  values: [undefined, null, true, false, 0, 1, 1.5, '', 'a', 'null', '1'],
  lists: [
    undefined,
    null,
    [],
    [null],
    ['a'],
    ['a', null],
    [1, 1.5],
    ['a', 'a', null],
    [''],
    ['null', 0],
    '["a"]',
    '[null]',
  ],
  scalars: [undefined, null, 1n, 0n, 1.5, Number.NaN, Number.NaN, '', 'a', 'null', '1'],
  arrays: [null, '[]', '[null]', '["a",null]', '[1]', '[0,1.5]', '["","null"]'],
} satisfies Record<string, Plain[]>
const ALL = { values: REQUEST_VALUES, lists: REQUEST_VALUES, scalars: ROW_VALUES, arrays: ARRAYS }

const COLUMNS = {
  t: ['id', 'x', 'y', 'l'],
  m: ['id', 'u', 'team', 'l'],
  request: [
    'auth_p',
    'auth_q',
    'auth_l',
    'connection_p',
    'connection_q',
    'connection_l',
    'subscription_p',
    'subscription_q',
    'subscription_l',
    'token_p',
    'token_l',
    'sub',
  ],
} satisfies Record<string, string[]>

/** `exceptions`: the differences from SQL that are meant. */
export function compare({
  seed,
  cases,
  exceptions,
}: {
  seed: number
  cases: number
  exceptions: readonly Exception[]
}): Outcome {
  const random = new Random(seed)
  const sqlite = new Tables()
  const out: Outcome = { cases: 0, given: 0, refused: {}, conditions: 0, violation: null }
  const allowed = new Set(exceptions)
  while (out.cases < cases && out.violation === null) {
    const language = LANGUAGES[out.conditions++ % LANGUAGES.length] ?? 'streams 3'
    const { yaml, judge } = new Conditions(random, language, allowed).make()
    const compiled = compileConfig(yaml)
    if (!compiled.ok) {
      for (const { code } of compiled.errors) out.refused[code] = (out.refused[code] ?? 0) + 1
      continue
    }
    const pools = random.chance(0.5) ? PLAIN : ALL
    const tables = randomRows(random, pools)
    sqlite.fill('t', tables.t)
    sqlite.fill('m', tables.m)
    const plan = loadPlan(compiled.plan)
    const stored = Object.entries(tables).flatMap(([name, rows]) =>
      rows.flatMap(
        (row) => plan.evaluateRow({ schema: 'public', name }, row as Parameters<LoadedPlan['evaluateRow']>[1]).rows,
      ),
    )
    const judged = sqlite.judge(judge)
    for (let n = 0; n < REQUESTS && out.violation === null; n++) {
      const request = new Request(random, pools, language)
      sqlite.fill('request', [request.seen])
      const wanted = judged.all().map(({ id }) => String(id))
      const synced = request.synced(plan, stored)
      const much = [...synced].filter((id) => !wanted.includes(id))
      const lost = pools === PLAIN ? wanted.filter((id) => !synced.has(id)) : []
      out.cases++
      out.given += wanted.length
      if (much.length + lost.length === 0) continue
      out.violation = [`${language}: too much ${much.join() || 'nothing'}, lost ${lost.join() || 'nothing'}`, yaml, judge, text(request.given), text(tables)].join('\n') // prettier-ignore
    }
  }
  sqlite.close()
  return out
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) =>
    member === undefined
      ? '(missing)'
      : typeof member === 'bigint'
        ? `${member}n`
        : typeof member === 'number' && !Number.isFinite(member)
          ? String(member)
          : member,
  )

/** The tables that SQLite judges over. */
class Tables {
  readonly #db = new DatabaseSync(':memory:')
  readonly #inserts = new Map<string, StatementSync>()

  constructor() {
    for (const [table, columns] of Object.entries(COLUMNS)) {
      this.#db.exec(`CREATE TABLE ${table} (${columns.join(', ')})`)
      this.#inserts.set(table, this.#db.prepare(`INSERT INTO ${table} VALUES (${columns.map(() => '?').join(', ')})`))
    }
  }

  fill(table: keyof typeof COLUMNS, rows: readonly Row[]): void {
    this.#db.exec(`DELETE FROM ${table}`)
    for (const row of rows) this.#inserts.get(table)?.run(...COLUMNS[table].map((name) => storedIn(table, row[name])))
  }

  judge(condition: string): StatementSync {
    return this.#db.prepare(`SELECT id FROM t WHERE ${condition} ORDER BY id`)
  }

  close(): void {
    this.#inserts.clear()
    this.#db.close()
  }
}

function randomRows(random: Random, { scalars, arrays }: typeof ALL): { t: Row[]; m: Row[] } {
  const value = (): Plain => oneOf(random, scalars)
  const list = (): Plain => oneOf(random, arrays)
  return {
    t: Array.from({ length: 8 }, (_, n): Row => ({ id: `t${n}`, x: value(), y: value(), l: list() })),
    m: Array.from({ length: 5 }, (_, n): Row => ({ id: `m${n}`, u: value(), team: value(), l: list() })),
  }
}

/**
 * SQLite makes NULL of NaN. A number that is greater than all others stands for it, in each table another one: as a
 * key, NaN is equal to none.
 */
const nanOf: Record<string, number> = { t: Number.POSITIVE_INFINITY, m: Number.MAX_VALUE }
const storedIn = (table: string, value: Plain): SQLInputValue =>
  (Number.isNaN(value) ? (nanOf[table] ?? null) : (value ?? null)) as SQLInputValue

/** `Random.pick` takes undefined for a fault. */
function oneOf(random: Random, list: readonly Plain[]): Plain {
  return list[random.int(list.length)]
}

/** Values in all sources of a request. */
class Request {
  readonly given: { claims: Row; parameters: Row; subscription: Row }
  /** The same as the table `request` has it. */
  readonly seen: Row = {}
  readonly #streams: boolean

  constructor(random: Random, { values, lists }: typeof ALL, language: Language) {
    const some = (): Row => ({ p: oneOf(random, values), q: oneOf(random, values), l: oneOf(random, lists) })
    const token = some()
    this.given = {
      claims: { ...some(), sub: oneOf(random, values), parameters: token },
      parameters: some(),
      subscription: some(),
    }
    this.#streams = language.startsWith('streams')
    const connection: View = language === 'streams 3' ? 'text' : 'value'
    for (const name of ['p', 'q', 'l']) {
      this.seen[`auth_${name}`] = bound(this.given.claims[name], 'text')
      this.seen[`connection_${name}`] = bound(this.given.parameters[name], connection)
      this.seen[`subscription_${name}`] = bound(this.given.subscription[name], 'text')
      if (name !== 'q') this.seen[`token_${name}`] = bound(token[name], 'value')
    }
    const { sub } = this.given.claims
    this.seen['sub'] = bound(sub, typeof sub === 'number' ? 'value' : 'text')
  }

  synced(plan: LoadedPlan, stored: ReturnType<LoadedPlan['evaluateRow']>['rows']): Set<string> {
    const { claims, parameters, subscription } = this.given
    const subscriptions = this.#streams ? [{ stream: 's', parameters: subscription, priority: null }] : []
    const program = plan.request({ claims, parameters, includeDefaults: !this.#streams, subscriptions })
    const { buckets } = program.resolve((lookup) =>
      stored.filter(({ bucket }) => bucket === lookup).map(({ data }) => data),
    )
    const names = new Set(buckets.map(({ bucket }) => bucket))
    return new Set(stored.flatMap(({ bucket, objectId }) => (names.has(bucket) ? [objectId] : [])))
  }
}

/** A value of the request in SQLite: true is 1, and in the value view also inside of lists. */
function bound(value: Plain, view: View): Plain {
  if (typeof value === 'boolean') return Number(value)
  if (view === 'value' && typeof value === 'object' && value !== null) {
    return JSON.stringify(value, (_, member: unknown) => (typeof member === 'boolean' ? Number(member) : member))
  }
  return scalar(value, view)
}
