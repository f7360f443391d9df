// The file is long because it is one grammar of random streams.
/**
 * Random compiled streams with what they mean, for the test beside: joins, CTEs, arrays and subqueries over three small
 * tables.
 */

export type Value = string | bigint | number | null
export type Row = Record<string, Value>

/** What the query ranges over: rows of a table, elements of an array of such a row, or of an array that no row has. */
export interface Item {
  table?: string
  parent?: number
  elements?: (bound: Bound) => Row[]
}
export interface Bound {
  rows: ReadonlyMap<number, Row>
  request: Row
}
/** A condition with its SQL. A leaf knows the items that it is about. */
export type Condition =
  | { sql: string; and: Condition[] }
  | { sql: string; or: Condition[] }
  | { sql: string; items: number[]; holds(bound: Bound): boolean }

interface Term {
  sql: string
  items: number[]
  value(bound: Bound): Value
}
interface Scope {
  names: { name: string; item: number; columns: string[] }[]
  outer?: Scope
}

export const COLUMNS: Readonly<Record<string, string[]>> = { a: ['x', 'y'], b: ['u', 'v'], c: ['p', 'q'] }
const VALUES: Value[] = ['1', '2', '3', 1n, 2n, 2.0, null, 1.5, 'A', 'a']
const ARRAYS: Value[] = ['[]', '["1","2"]', '["1",2,null]', '[2.0,"3"]', null, '[1,"A"]', '["a","a"]']
const REQUEST: Readonly<Record<string, string>> = {
  sub: 'auth.user_id()',
  t: "auth.parameter('t')",
  c: "connection.parameter('c')",
  s: "subscription.parameter('s')",
}
const ASKED: unknown[] = ['1', '2', 1, 2, 1.5, 'A', null, undefined]
const ASKED_ARRAYS: unknown[] = [undefined, null, [], ['1', 2], ['A', 1.5, null], [2, 2], ['a', true]]

/** Keys are compared by their JSON, whole REALs as INTEGER; NULL is no key. */
const keyOf = (value: Value): string | undefined =>
  value === null
    ? undefined
    : typeof value === 'string'
      ? JSON.stringify(value)
      : Number.isInteger(Number(value))
        ? BigInt(value).toString()
        : String(value)
const equal = (a: Value, b: Value): boolean => keyOf(a) !== undefined && keyOf(a) === keyOf(b)
/** Numbers before text; null when one is NULL. */
function compare(a: Value, b: Value): number | null {
  if (a === null || b === null) return null
  if (typeof a !== typeof b && (typeof a === 'string' || typeof b === 'string')) return typeof a === 'string' ? 1 : -1
  return a < b ? -1 : a > b ? 1 : 0
}
const literal = (value: Value): string =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'number' && Number.isInteger(value)
      ? `${value}.0`
      : String(value)

function elementsOf(array: Value): Row[] {
  const items: unknown[] = array === null ? [] : JSON.parse(String(array))
  return items.map((item, i) => ({ key: BigInt(i), value: valueOf(item) }))
}
function valueOf(item: unknown): Value {
  if (typeof item === 'boolean') return item ? 1n : 0n
  if (typeof item === 'number') return Number.isInteger(item) ? BigInt(item) : item
  return typeof item === 'string' ? item : null
}
const read = (bound: Bound, item: number, column: string): Value => bound.rows.get(item)?.[column] ?? null

export class RandomStream {
  readonly #next: () => number
  readonly items: Item[] = []
  readonly yaml: string
  readonly sql: string
  readonly condition: Condition
  readonly #ctes: string[] = []

  constructor(next: () => number) {
    this.#next = next
    const scope: Scope = { names: [{ name: 'a', item: this.#add({ table: 'a' }), columns: COLUMNS['a'] ?? [] }] }
    const from = ['a']
    const all: Condition[] = []
    for (let n = Math.floor(next() * 3); n > 0; n--) all.push(...this.#join(scope, from))
    all.push(this.#condition(scope, 2))
    this.condition = this.#and(all)
    this.sql = `SELECT a.id FROM ${from.join(', ')} WHERE ${this.condition.sql}`
    const ctes = this.#ctes.length > 0 ? `with:\n${this.#ctes.join('')}` : ''
    const stream = `    accept_potentially_dangerous_queries: true\n    query: ${JSON.stringify(this.sql)}\n`
    this.yaml = `config:\n  edition: 3\n${ctes}streams:\n  s:\n${stream}`
  }

  row(table: string, n: number): Row {
    const columns = (COLUMNS[table] ?? []).map((column): [string, Value] => [column, this.#pick(VALUES)])
    return { id: `${table}${n}`, l: this.#pick(ARRAYS), ...Object.fromEntries(columns) }
  }

  /** Plain values of a request, and as conditions see them. */
  request(): { plain: Record<string, unknown>; values: Row } {
    const plain = {
      sub: this.#pick(ASKED.slice(0, 6)),
      t: this.#pick(ASKED),
      c: this.#pick(ASKED),
      s: this.#pick(ASKED),
      arr: this.#pick(ASKED_ARRAYS),
    }
    const scalar = (value: unknown): Value => (typeof value === 'string' || typeof value === 'number' ? value : null)
    const arr = Array.isArray(plain.arr) ? JSON.stringify(plain.arr) : null
    return {
      plain,
      values: { sub: scalar(plain.sub), t: scalar(plain.t), c: scalar(plain.c), s: scalar(plain.s), arr },
    }
  }

  #pick<T>(list: readonly T[]): T {
    const at = Math.floor(this.#next() * list.length)
    for (const item of list.slice(at)) return item
    throw new Error('nothing to pick')
  }

  #chance(p: number): boolean {
    return this.#next() < p
  }

  #add(item: Item): number {
    return this.items.push(item) - 1
  }

  #and(parts: Condition[]): Condition {
    const written = parts.map((part) => ('or' in part ? `(${part.sql})` : part.sql)).filter((sql) => sql !== '')
    return { and: parts, sql: written.join(' AND ') }
  }

  /** One more FROM item; answers what connects it. */
  #join(scope: Scope, from: string[]): Condition[] {
    const [primary] = scope.names
    const dice = this.#next()
    const name = `j${this.items.length}`
    if (dice < 0.6) {
      const table = this.#pick(['b', 'c', 'a', 'b'])
      const joined = { name, item: this.#add({ table }), columns: COLUMNS[table] ?? [] }
      const on = this.#equal(this.#column({ names: [joined] }), this.#chance(0.8) ? this.#column(scope) : this.#asked())
      scope.names.push(joined)
      from.push(`${table} AS ${name}`)
      return [on]
    }
    if (dice < 0.75) {
      scope.names.push({ name, item: this.#rowArray(0), columns: ['value', 'value', 'key'] })
      from.push(`json_each(a.l) AS ${name}`)
      return []
    }
    if (dice < 0.88) {
      scope.names.push({
        name,
        item: this.#add({ elements: (bound) => elementsOf(bound.request['arr'] ?? null) }),
        columns: ['value'],
      })
      from.push(`json_each(auth.parameter('arr')) AS ${name}`)
      return []
    }
    const table = this.#pick(['b', 'c'])
    const columns = COLUMNS[table] ?? []
    const item = this.#add({ table })
    const inside = this.#condition({ names: [{ name: table, item, columns }] }, 1)
    this.#ctes.push(`  ${name}: ${JSON.stringify(`SELECT ${columns.join(', ')} FROM ${table} WHERE ${inside.sql}`)}\n`)
    const cte = { name, item, columns }
    scope.names.push(cte)
    from.push(name)
    return [
      { and: [inside], sql: '' },
      this.#equal(this.#column({ names: [cte] }), this.#column({ names: primary ? [primary] : [] })),
    ]
  }

  #rowArray(parent: number): number {
    return this.#add({ parent, elements: (bound) => elementsOf(read(bound, parent, 'l')) })
  }

  #column(scope: Scope): Term {
    const { name, item, columns } = this.#pick(scope.names)
    const column = this.#pick(columns)
    const sql = `${name}.${column}`
    const value = (bound: Bound): Value => read(bound, item, column)
    const lower = (bound: Bound): Value => {
      const plain = value(bound)
      return plain === null ? null : String(plain).toLowerCase()
    }
    if (this.#chance(0.12)) return { sql: `lower(${sql})`, items: [item], value: lower }
    if (this.#chance(0.1)) return { sql: `ifnull(${sql}, '1')`, items: [item], value: (bound) => value(bound) ?? '1' }
    return { sql, items: [item], value }
  }

  #asked(): Term {
    const name = this.#pick(Object.keys(REQUEST))
    return { sql: REQUEST[name] ?? '', items: [], value: (bound) => bound.request[name] ?? null }
  }

  #outside(scope: Scope): Term {
    return scope.outer && this.#chance(0.3) ? this.#column(scope.outer) : this.#asked()
  }

  #equal(left: Term, right: Term): Condition {
    const [a, b] = this.#chance(0.5) ? [left, right] : [right, left]
    return {
      sql: `${a.sql} = ${b.sql}`,
      items: [...a.items, ...b.items],
      holds: (bound) => equal(a.value(bound), b.value(bound)),
    }
  }

  /** Something about one value, NULL included. */
  #test(term: Term): Condition {
    const { sql, items } = term
    const other = this.#pick(VALUES.filter((value) => value !== null))
    const text = literal(other)
    const order = (x: Value, y: Value, test: (order: number) => boolean): boolean => {
      const result = compare(x, y)
      return result !== null && test(result)
    }
    const listed = (x: Value): boolean => equal(x, '1') || equal(x, 2n)
    const [written, holds] = this.#pick<[string, (x: Value) => boolean]>([
      [`${sql} = ${text}`, (x) => equal(x, other)],
      [`${sql} != ${text}`, (x) => !equal(x, other)],
      [`${sql} IS NULL`, (x) => x === null],
      [`${sql} IS NOT NULL`, (x) => x !== null],
      [`${sql} < ${text}`, (x) => order(x, other, (o) => o < 0)],
      [`NOT ${sql} >= ${text}`, (x) => !order(x, other, (o) => o >= 0)],
      [`${sql} BETWEEN 1 AND '2'`, (x) => order(x, 1n, (o) => o >= 0) && order(x, '2', (o) => o <= 0)],
      [`${sql} NOT IN '["1",2]'`, (x) => !listed(x)],
      [`${sql} IN ARRAY['1', 2]`, listed],
    ])
    return { sql: written, items, holds: (bound) => holds(term.value(bound)) }
  }

  #array(scope: Scope, of: 'row' | 'request' | 'constant'): { sql: string; element: Term } {
    const array = this.#arrayItem(scope, of)
    return {
      sql: array.sql,
      element: { sql: '', items: [array.item], value: (bound) => read(bound, array.item, 'value') },
    }
  }

  #arrayItem(scope: Scope, of: 'row' | 'request' | 'constant'): { sql: string; item: number } {
    const tables = scope.names.filter(
      ({ item, name }) =>
        this.items[item]?.table !== undefined && !this.#ctes.some((cte) => cte.startsWith(`  ${name}:`)),
    )
    if (of === 'row' && tables.length > 0) {
      const { name, item } = this.#pick(tables)
      return { sql: `${name}.l`, item: this.#rowArray(item) }
    }
    if (of === 'constant') {
      const array = this.#pick(ARRAYS.filter((each) => each !== null))
      return { sql: `'${String(array)}'`, item: this.#add({ elements: () => elementsOf(array) }) }
    }
    return {
      sql: "auth.parameter('arr')",
      item: this.#add({ elements: (bound) => elementsOf(bound.request['arr'] ?? null) }),
    }
  }

  #subquery(scope: Scope, depth: number): { sql: string; output: Term; condition: Condition } {
    const table = this.#pick(Object.keys(COLUMNS))
    const name = `s${this.items.length}`
    const inner: Scope = { names: [{ name, item: this.#add({ table }), columns: COLUMNS[table] ?? [] }], outer: scope }
    const output = this.#column(inner)
    const condition = this.#chance(0.9) ? this.#condition(inner, depth - 1) : this.#and([])
    return {
      sql: `(SELECT ${output.sql} FROM ${table} AS ${name}${condition.sql === '' ? '' : ` WHERE ${condition.sql}`})`,
      output,
      condition,
    }
  }

  #condition(scope: Scope, depth: number): Condition {
    const dice = this.#next()
    if (depth > 0 && dice < 0.22)
      return this.#and([this.#condition(scope, depth - 1), this.#condition(scope, depth - 1)])
    if (depth > 0 && dice < 0.4) {
      const or = [this.#condition(scope, depth - 1), this.#condition(scope, depth - 1)]
      return { or, sql: or.map((part) => `(${part.sql})`).join(' OR ') }
    }
    if (dice < 0.55) return this.#test(this.#column(scope))
    if (dice < 0.6) return this.#test(this.#asked())
    if (dice < 0.74) return this.#equal(this.#column(scope), this.#outside(scope))
    if (dice < 0.8) {
      const array = this.#array(scope, this.#pick(['request', 'constant']))
      const term = this.#column(scope)
      return { sql: `${term.sql} IN ${array.sql}`, and: [this.#equal(term, array.element)] }
    }
    if (dice < 0.86) {
      const array = this.#array(scope, 'row')
      const term = this.#outside(scope)
      return { sql: `${term.sql} IN ${array.sql}`, and: [this.#equal(term, array.element)] }
    }
    if (dice < 0.9) {
      const [left, right] = [this.#array(scope, 'row'), this.#array(scope, 'request')]
      return { sql: `${left.sql} && ${right.sql}`, and: [this.#equal(left.element, right.element)] }
    }
    if (depth === 0) return this.#equal(this.#column(scope), this.#outside(scope))
    const found = this.#subquery(scope, depth)
    if (this.#chance(0.15)) {
      const array = this.#array(scope, 'row')
      return { sql: `${array.sql} && ${found.sql}`, and: [this.#equal(array.element, found.output), found.condition] }
    }
    const term = this.#chance(0.8) ? this.#column(scope) : this.#asked()
    return { sql: `${term.sql} IN ${found.sql}`, and: [this.#equal(term, found.output), found.condition] }
  }
}

type Leaf = Extract<Condition, { holds: unknown }>

/** All ways in which the condition can hold. */
function disjuncts(condition: Condition): Leaf[][] {
  if ('and' in condition)
    return condition.and.reduce<Leaf[][]>(
      (out, part) => out.flatMap((left) => disjuncts(part).map((right) => [...left, ...right])),
      [[]],
    )
  return 'or' in condition ? condition.or.flatMap(disjuncts) : [[condition]]
}

/**
 * The rows of table `a` that the stream gives: those for which rows and elements of everything that a disjunct mentions
 * make it hold.
 */
export function wantedRows(stream: RandomStream, tables: Readonly<Record<string, Row[]>>, request: Row): string[] {
  const ways = disjuncts(stream.condition).map((leaves) => {
    const mentioned = new Set(leaves.flatMap(({ items }) => items))
    for (const item of mentioned) {
      const parent = stream.items[item]?.parent
      if (parent !== undefined) mentioned.add(parent)
    }
    mentioned.delete(0)
    const elementsLast = [...mentioned].sort(
      (a, b) => Number(stream.items[a]?.parent !== undefined) - Number(stream.items[b]?.parent !== undefined),
    )
    return { leaves, order: elementsLast }
  })
  const exists = ({ leaves, order }: (typeof ways)[number], n: number, rows: Map<number, Row>): boolean => {
    const bound = { rows, request }
    const index = order[n]
    const item = index === undefined ? undefined : stream.items[index]
    if (index === undefined || !item) return leaves.every((leaf) => leaf.holds(bound))
    const candidates = item.table === undefined ? (item.elements?.(bound) ?? []) : (tables[item.table] ?? [])
    return candidates.some((row) => exists({ leaves, order }, n + 1, new Map(rows).set(index, row)))
  }
  return (tables['a'] ?? [])
    .filter((row) => ways.some((way) => exists(way, 0, new Map([[0, row]]))))
    .map((row) => String(row['id']))
}
