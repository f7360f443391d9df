import type { Random } from '../test/support/random.ts'
import { definition, stream } from './test-evaluate.ts'

// The file is long because it is one grammar of random conditions.

/**
 * Random conditions of all editions, each with the same condition for SQLite, which judges them over the tables t and m
 * and the table `request`. Over 300 lines because each form of the language stands beside its form for SQLite.
 */

/** Where the language differs from the three values of SQL on purpose. null-property.test.ts says why. */
export type Exception = 'not of NULL' | 'null in a list' | 'NOT IN no list' | 'NOT over IN no list' | 'found NULL'
export type Language = 'definitions 1' | 'definitions 2' | 'streams 2' | 'streams 3'
export const LANGUAGES: readonly Language[] = ['definitions 1', 'definitions 2', 'streams 2', 'streams 3']

export interface RandomCondition {
  yaml: string
  /** The condition over a row of t. */
  judge: string
}
/** An expression or a condition, as the config has it and as SQLite has it. */
interface Text {
  sql: string
  judge: string
}
interface Scope {
  table: 't' | 'm'
  columns: readonly string[]
}

const T: Scope = { table: 't', columns: ['x', 'y'] }
const M: Scope = { table: 'm', columns: ['u', 'team'] }
const CONSTANT: Text = { sql: "'a'", judge: "'a'" }
const asked = (column: string): string => `(SELECT ${column} FROM request)`

export class Conditions {
  readonly #random: Random
  readonly #language: Language
  readonly #exceptions: ReadonlySet<Exception>

  constructor(random: Random, language: Language, exceptions: ReadonlySet<Exception>) {
    this.#random = random
    this.#language = language
    this.#exceptions = exceptions
  }

  make(): RandomCondition {
    if (this.#language === 'streams 2' || this.#language === 'streams 3') {
      const where = this.#condition(T, 2)
      const edition = this.#language === 'streams 2' ? 2 : 3
      const yaml = stream(`SELECT id FROM t WHERE ${where.sql}`, edition).replace(
        'auto_subscribe: true',
        'auto_subscribe: false',
      )
      return { yaml, judge: where.judge }
    }
    return this.#definition(this.#language === 'definitions 1' ? 1 : 2)
  }

  get #compiled(): boolean {
    return this.#language === 'streams 3'
  }

  get #streams(): boolean {
    return this.#language === 'streams 2' || this.#compiled
  }

  /** A parameter query over the request, over a table, or both, and a data query that compares what it gives. */
  #definition(edition: number): RandomCondition {
    const r = this.#random
    const value = this.#value()
    const kind = r.int(4)
    const rows = r.chance(0.4) ? this.#over(() => this.#ofRow(T), 1) : null
    const and = (sql: string): string => (rows ? `${sql} AND (${rows.sql})` : sql)
    const judged = (judge: string): string => (rows ? `${judge} AND (${rows.judge})` : judge)
    if (kind === 0) {
      const where = this.#over(() => this.#ofRequest(), 1)
      const data = rows ? ` WHERE ${rows.sql}` : ''
      return {
        yaml: definition(`SELECT WHERE ${where.sql}`, `SELECT id FROM t${data}`, edition),
        judge: judged(`(${where.judge})`),
      }
    }
    const data = r.pick(['t.x = bucket.v', 'bucket.v IN t.l'])
    const match = (v: string): string =>
      data === 't.x = bucket.v' ? `t.x = ${v}` : this.#inList(v, 't.l', { found: v.startsWith('m.') })
    const query = `SELECT id FROM t WHERE ${and(data)}`
    if (kind === 1) {
      const where = r.chance(0.4) ? this.#over(() => this.#ofRequest(), 1) : null
      const parameters = `SELECT ${value.sql} AS v${where ? ` WHERE ${where.sql}` : ''}`
      return {
        yaml: definition(parameters, query, edition),
        judge: judged(`${match(value.judge)}${where ? ` AND (${where.judge})` : ''}`),
      }
    }
    const where = this.#found()
    if (kind === 2) {
      return {
        yaml: definition(
          `SELECT team AS v, ${value.sql} AS w FROM m WHERE ${where.sql}`,
          `SELECT id FROM t WHERE ${and('t.x = bucket.v AND bucket.w IN t.l')}`,
          edition,
        ),
        judge: judged(
          `EXISTS (SELECT 1 FROM m WHERE (${where.judge}) AND t.x = m.team AND ${this.#inList(value.judge, 't.l')})`,
        ),
      }
    }
    return {
      yaml: definition(`SELECT team AS v FROM m WHERE ${where.sql}`, query, edition),
      judge: judged(`EXISTS (SELECT 1 FROM m WHERE (${where.judge}) AND ${match('m.team')})`),
    }
  }

  /** Conditions over one side, joined by AND, OR and NOT. */
  #over(leaf: () => Text, depth: number): Text {
    const r = this.#random
    if (depth === 0 || r.chance(0.5)) return r.chance(0.3) ? this.#not(leaf()) : leaf()
    const joined = this.#join(r.pick(['AND', 'OR']), this.#over(leaf, depth - 1), this.#over(leaf, depth - 1))
    return r.chance(0.3) ? this.#not(joined) : joined
  }

  #join(op: string, a: Text, b: Text): Text {
    return { sql: `(${a.sql}) ${op} (${b.sql})`, judge: `(${a.judge}) ${op} (${b.judge})` }
  }

  #not({ sql, judge }: Text): Text {
    return { sql: `NOT (${sql})`, judge: `NOT (${judge})` }
  }

  /** WHERE of a stream. */
  #condition(scope: Scope, depth: number): Text {
    const r = this.#random
    if (depth > 0 && r.chance(0.45))
      return this.#join(r.pick(['AND', 'OR']), this.#condition(scope, depth - 1), this.#condition(scope, depth - 1))
    const dice = r.int(10)
    if (dice < 2) return this.#over(() => this.#ofRow(scope), 1)
    if (dice < 4) return this.#over(() => this.#ofRequest(), 1)
    if (dice < 7 || depth === 0) return this.#both(scope)
    return this.#subquery(scope)
  }

  /** WHERE of what finds something in m. */
  #found(): Text {
    const r = this.#random
    if (this.#compiled) return this.#condition({ ...M }, r.int(2))
    const match = r.chance(0.9) || !this.#streams ? this.#both(M) : this.#ofRequest()
    const more = r.int(4)
    if (more === 0)
      return this.#join(
        'AND',
        match,
        this.#over(() => this.#ofRow(M), 1),
      )
    return more === 1
      ? this.#join(
          'AND',
          match,
          this.#over(() => this.#ofRequest(), 1),
        )
      : match
  }

  #subquery(scope: Scope): Text {
    const r = this.#random
    if (scope.table === 'm') return this.#both(scope)
    const where = this.#found()
    const query = (column: string): string => `(SELECT ${column} FROM m WHERE ${where.sql})`
    const found = (judge: string): string => `EXISTS (SELECT 1 FROM m WHERE (${where.judge}) AND ${judge})`
    const dice = r.int(4)
    if (dice === 0) {
      const value = this.#value()
      return { sql: `${value.sql} IN ${query('u')}`, judge: found(`m.u = ${value.judge}`) }
    }
    if (dice === 1)
      return { sql: `l && ${query('team')}`, judge: found(this.#inList('m.team', 't.l', { found: true })) }
    const column = r.pick(scope.columns)
    const equal = this.#language === 'streams 2' && this.#has('found NULL') ? 'IS' : '='
    return { sql: `${column} IN ${query('team')}`, judge: found(`t.${column} ${equal} m.team`) }
  }

  /** A value or an array of the row with one of the request. */
  #both({ table, columns }: Scope): Text {
    const r = this.#random
    const column = r.pick(columns)
    const value = this.#value()
    const list = this.#list()
    const of = `${table}.${column}`
    switch (r.int(this.#streams ? 5 : 4)) {
      case 0:
        return { sql: `${column} = ${value.sql}`, judge: `${of} = ${value.judge}` }
      case 1:
        return { sql: `${value.sql} = ${column}`, judge: `${of} = ${value.judge}` }
      case 2:
        return { sql: `${column} IN ${list.sql}`, judge: this.#inList(of, list.judge) }
      case 3:
        return { sql: `${value.sql} IN l`, judge: this.#inList(value.judge, `${table}.l`) }
      default: {
        // In a subquery of edition 2 there is no &&.
        if (table === 'm' && !this.#compiled)
          return { sql: `${column} IN ${list.sql}`, judge: this.#inList(of, list.judge) }
        const [a, b] = r.chance(0.5) ? ['l', list.sql] : [list.sql, 'l']
        const hit = `EXISTS (SELECT 1 FROM ${this.#each(`${table}.l`)} AS a JOIN ${this.#each(list.judge)} AS b ON a.value = b.value)`
        return { sql: `${a} && ${b}`, judge: hit }
      }
    }
  }

  #ofRow({ table, columns }: Scope): Text {
    const r = this.#random
    const column = r.pick(columns)
    const other = columns.find((name) => name !== column) ?? column
    if (r.chance(0.25))
      return this.#comparison({ sql: column, judge: `${table}.${column}` }, { sql: other, judge: `${table}.${other}` })
    return r.chance(0.35)
      ? this.#member(r.chance(0.3) ? CONSTANT : { sql: column, judge: `${table}.${column}` }, {
          sql: 'l',
          judge: `${table}.l`,
        })
      : this.#test({ sql: column, judge: `${table}.${column}` })
  }

  #ofRequest(): Text {
    const r = this.#random
    const value = this.#value()
    const dice = r.int(4)
    if (dice === 0) return this.#comparison(value, this.#value())
    if (dice === 1) return this.#test(value)
    return this.#member(r.chance(0.7) ? CONSTANT : value, this.#list())
  }

  /** IN of one side: what NOT says of a list is looked at here. */
  #member(value: Text, list: Text): Text {
    if (this.#compiled && this.#random.chance(0.4)) {
      const none = this.#has('NOT IN no list') ? 1 : 'NULL'
      const held = `NOT ${this.#inList(value.judge, list.judge)}`
      return {
        sql: `${value.sql} NOT IN ${list.sql}`,
        judge: `CASE WHEN ${list.judge} IS NULL THEN ${none} ELSE ${held} END`,
      }
    }
    return { sql: `${value.sql} IN ${list.sql}`, judge: this.#inList(value.judge, list.judge) }
  }

  #comparison(a: Text, b: Text): Text {
    const op = this.#random.pick(['=', '!=', '<', '>='])
    return { sql: `${a.sql} ${op} ${b.sql}`, judge: this.#compare(a.judge, op, b.judge) }
  }

  #compare(a: string, op: string, b: string): string {
    if (op === '!=' && this.#compiled) return `NOT ${this.#known(`${a} = ${b}`)}`
    return this.#known(`${a} ${op} ${b}`)
  }

  /** Something about one value. */
  #test({ sql, judge }: Text): Text {
    const r = this.#random
    const constant = r.pick(["'a'", '1', "'null'", "''", '0', '1.5'])
    const tests: Text[] = [
      ...['=', '!=', '<', '>='].map((op) => ({
        sql: `${sql} ${op} ${constant}`,
        judge: this.#compare(judge, op, constant),
      })),
      { sql: `${sql} IS NULL`, judge: `${judge} IS NULL` },
      { sql: `${sql} IS NOT NULL`, judge: `${judge} IS NOT NULL` },
      { sql: `ifnull(${sql}, 'a') = 'a'`, judge: `ifnull(${judge}, 'a') = 'a'` },
      { sql: `${sql} = NULL`, judge: this.#known(`${judge} = NULL`) },
      { sql: `${sql} IN '["a",1,null]'`, judge: this.#inList(judge, `'["a",1,null]'`) },
    ]
    if (this.#compiled) {
      const between = this.#known(`${judge} BETWEEN 0 AND ${constant}`)
      const listed = this.#known(`${judge} IN ('a', NULL, 1)`)
      tests.push(
        { sql: `${sql} BETWEEN 0 AND ${constant}`, judge: between },
        { sql: `${sql} NOT BETWEEN 0 AND ${constant}`, judge: `NOT ${between}` },
        { sql: `${sql} IN ARRAY['a', NULL, 1]`, judge: listed },
        { sql: `${sql} NOT IN ARRAY['a', NULL, 1]`, judge: `NOT ${listed}` },
        { sql: `${sql} NOT IN '["a",1,null]'`, judge: `NOT ${this.#inList(judge, `'["a",1,null]'`)}` },
        {
          sql: `CASE WHEN ${sql} = ${constant} THEN 1 ELSE 0 END = 1`,
          judge: `CASE WHEN ${judge} = ${constant} THEN 1 ELSE 0 END = 1`,
        },
        { sql: `CASE ${sql} WHEN NULL THEN 1 ELSE 0 END = 1`, judge: `CASE ${judge} WHEN NULL THEN 1 ELSE 0 END = 1` },
      )
    }
    return r.pick(tests)
  }

  #value(): Text {
    const r = this.#random
    if (!this.#streams) {
      const [sql, column] = r.pick([
        ["request.parameter('p')", 'connection_p'],
        ["request.parameter('q')", 'connection_q'],
        ['user_parameters.p', 'connection_p'],
        ['token_parameters.p', 'token_p'],
        ['request.user_id()', 'sub'],
      ] as const)
      return { sql, judge: asked(column) }
    }
    if (r.chance(0.2)) return { sql: 'auth.user_id()', judge: asked('sub') }
    const schema = r.pick(['auth', 'auth', 'connection', 'subscription'])
    const name = r.pick(['p', 'q'])
    return { sql: `${schema}.parameter('${name}')`, judge: asked(`${schema}_${name}`) }
  }

  #list(): Text {
    const r = this.#random
    if (!this.#streams) {
      const [sql, column] = r.pick([
        ["request.parameter('l')", 'connection_l'],
        ['token_parameters.l', 'token_l'],
        ["request.parameter('p')", 'connection_p'],
      ] as const)
      return { sql, judge: asked(column) }
    }
    const schema = r.pick(['auth', 'connection', 'subscription'])
    const name = r.chance(0.9) ? 'l' : 'p'
    return { sql: `${schema}.parameter('${name}')`, judge: asked(`${schema}_${name}`) }
  }

  #has(exception: Exception): boolean {
    return this.#exceptions.has(exception)
  }

  /** A comparison under NOT: NULL counts as false there. Without NOT it is the same either way. */
  #known(judge: string): string {
    return this.#has('not of NULL') ? `coalesce(${judge}, 0)` : `(${judge})`
  }

  /** Whether a list can be walked: editions before 3 walk nothing but arrays. */
  #usable(list: string): string {
    const array = this.#compiled ? '1' : `json_type(${list}) = 'array'`
    return `iif(typeof(${list}) = 'text', iif(json_valid(${list}), ${array}, 0), 0)`
  }

  #each(list: string): string {
    return `json_each(iif(${this.#usable(list)}, ${list}, NULL))`
  }

  /** Elements that are NULL make IN unknown, which NOT leaves so; in the language they are equal to nothing. */
  #inList(value: string, list: string, { found = false } = {}): string {
    const elements = `SELECT value FROM ${this.#each(list)}${this.#has('null in a list') ? ' WHERE value IS NOT NULL' : ''}`
    const hit = `(${value} IN (${elements}))`
    const matches =
      found && !this.#compiled && this.#has('found NULL')
        ? `(${hit} OR (${value} IS NULL AND EXISTS (SELECT 1 FROM ${this.#each(list)} WHERE value IS NULL)))`
        : hit
    const none = !this.#compiled && this.#has('NOT over IN no list') ? '0' : 'NULL'
    // A value that is NULL decides before the list is read.
    const unknown = this.#has('not of NULL') && !found ? `WHEN ${value} IS NULL THEN 0 ` : ''
    return `CASE WHEN ${list} IS NULL THEN ${none} ${unknown}WHEN ${this.#usable(list)} THEN ${matches} ELSE NULL END`
  }
}
