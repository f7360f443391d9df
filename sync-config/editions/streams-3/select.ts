import type { ExprCall, ExprRef, From, FromCall, PGNode, SelectFromStatement } from 'pgsql-ast-parser'
import type { Context } from '../../context.ts'
import { ExpressionBuilder, type Scope } from '../../expressions/build.ts'
import type { Expr } from '../../expressions/expression.ts'
import { tablePattern } from '../buckets/table.ts'
import { streamRequest } from '../buckets/scope.ts'
import type { FindingCode } from '../../parse/codes.ts'
import type { Sql, SqlExpr } from '../../parse/sql.ts'
import { Conditions, type Condition, type ConditionScope } from './conditions.ts'
import type { Item, Nodes } from './nodes.ts'

/** A common table expression: its text is read again for each use, so that every use ranges over rows of its own. */
export interface Cte {
  name: string
  sql: Sql
  select: SelectFromStatement | null
  used: boolean
}
export type Ctes = ReadonlyMap<string, Cte>

/** Names in one SELECT: its own FROM items, then those of the queries around it. */
export class SelectScope implements ConditionScope<Cte> {
  readonly context: Context
  readonly nodes: Nodes
  readonly sql: Sql
  readonly ctes: Ctes
  readonly outer: SelectScope | null
  readonly items: Item[] = []
  readonly conditions: Condition[] = []
  /** Something in FROM could not be read: names that are not found then are no errors of their own. */
  broken = false

  constructor(parts: { context: Context; nodes: Nodes; sql: Sql; ctes: Ctes; outer: SelectScope | null }) {
    this.context = parts.context
    this.nodes = parts.nodes
    this.sql = parts.sql
    this.ctes = parts.ctes
    this.outer = parts.outer
  }

  builder(scalarIn = true): ExpressionBuilder {
    const scope: Scope = {
      dialect: 'compiled',
      fixedJson: this.context.fixedJson,
      copyTraps: this.context.copyTraps,
      scalarIn,
      column: (ref) => this.column(ref),
      schemaCall: (node, args) => this.#call(node, args),
      built: (expr, node) => this.nodes.told(expr, node),
    }
    return new ExpressionBuilder(this.sql, scope)
  }

  another(within: boolean): SelectScope {
    return new SelectScope({
      context: this.context,
      nodes: this.nodes,
      sql: this.sql,
      ctes: this.ctes,
      outer: within ? this : null,
    })
  }

  /** Reads FROM, ON and WHERE. */
  read(select: SelectFromStatement): void {
    for (const from of select.from ?? []) this.#from(from)
    const conditions = new Conditions(this)
    for (const from of select.from ?? []) {
      const on = from.join?.on
      if (on) this.#condition(conditions.read(on, false))
    }
    if (select.where) this.#condition(conditions.read(select.where, false))
  }

  #condition(condition: Condition | null): void {
    if (condition) this.conditions.push(condition)
    else this.broken = true
  }

  #from(from: From): void {
    const join = from.join
    if (join && join.type !== 'INNER JOIN')
      this.sql.error('join-type', `${join.type} is not supported: only inner joins are.`, join)
    if (join?.using) this.sql.error('join-using', 'USING is not supported: write ON a.x = b.x.', join)
    const before = this.sql
    const item =
      from.type === 'table' ? this.#table(from) : from.type === 'call' ? this.#call_(from) : this.#statement(from)
    if (!item) {
      this.broken = true
      return
    }
    if (this.items.some((other) => other.name.toLowerCase() === item.name.toLowerCase())) {
      before.error('duplicate-from', `'${item.name}' appears twice in FROM: give one of them an alias.`, from)
    }
    this.items.push(item)
  }

  #table(from: From & { type: 'table' }): Item | null {
    const { name, schema, alias } = from.name
    const cte = schema ? undefined : this.ctes.get(name.toLowerCase())
    if (cte) return this.cteItem(cte, alias ?? name)
    const pattern = tablePattern(this.sql, from, this.context.defaultSchema)
    if (!pattern) return null
    this.context.schema?.checkTable(this.sql, pattern, from)
    const index = this.nodes.add({
      kind: 'table',
      pattern,
      name: alias ?? name,
      output: alias ?? (pattern.wildcard ? null : pattern.name),
    })
    const source = alias === undefined ? { schema: pattern.schema, name } : undefined
    return {
      name: alias ?? name,
      columns: null,
      column: (column) => ['column', column, index],
      ...(source ? { source } : {}),
    }
  }

  cteItem(cte: Cte, name: string): Item | null {
    cte.used = true
    return cte.select && this.#inner(cte.sql, cte.select, new Map(), null, name, null)
  }

  #statement(from: From & { type: 'statement' }): Item | null {
    const { statement, alias, columnNames } = from
    if (statement.type !== 'select') {
      this.sql.error('not-a-select', 'Only SELECT is supported here.', from)
      return null
    }
    return this.#inner(this.sql, statement, this.ctes, null, alias, columnNames?.map((column) => column.name) ?? null)
  }

  /** A select in FROM or a CTE: its conditions join ours, its columns stand for their expressions. */
  #inner(
    sql: Sql,
    select: SelectFromStatement,
    ctes: Ctes,
    outer: SelectScope | null,
    name: string,
    rename: string[] | null,
  ): Item | null {
    if (!sql.clauses(select, true)) return null
    const inner = new SelectScope({ context: this.context, nodes: this.nodes, sql, ctes, outer })
    inner.read(select)
    const columns = inner.namedColumns(select, rename)
    if (inner.broken || !columns) return null
    this.conditions.push(...inner.conditions)
    return {
      name,
      columns,
      column: (column) => columns.get(column) ?? null,
    }
  }

  /** Columns of a CTE or sub-select: explicit, each name once. */
  namedColumns(select: SelectFromStatement, rename: string[] | null): Map<string, Expr> | null {
    const out = new Map<string, Expr>()
    let failed = false
    for (const [i, column] of (select.columns ?? []).entries()) {
      const { expr: node } = column
      if (node.type === 'ref' && node.name === '*') {
        this.sql.error('star', '* is not possible here: name the columns.', node)
        failed = true
        continue
      }
      const name = rename?.[i] ?? column.alias?.name ?? (node.type === 'ref' ? node.name : this.sql.slice(node))
      if (out.has(name)) {
        this.sql.error('duplicate-column', `The column '${name}' stands here twice.`, column)
        failed = true
      }
      const expr = this.builder(false).build(node)
      if (expr) out.set(name, expr)
      else failed = true
    }
    return failed ? null : out
  }

  #call_(from: FromCall): Item | null {
    const [arg] = from.args
    if (from.function.name.toLowerCase() !== 'json_each' || from.function.schema || !arg || from.args.length !== 1) {
      this.sql.error('table-function', 'The only table function is json_each(array).', from.function)
      return null
    }
    return this.each(arg, from.alias?.name ?? 'json_each', from)
  }

  /** The elements of an array as a FROM item; null with an error. */
  each(arg: SqlExpr, name: string, at: PGNode = arg): Item | null {
    const expr = this.builder().build(arg)
    if (!expr) return null
    const sides = this.nodes.sides(expr)
    const [side] = sides
    if (
      sides.length > 1 ||
      (typeof side === 'number' && (this.nodes.all[side]?.kind !== 'table' || this.nodes.usesRowEach(expr)))
    ) {
      this.sql.error(
        'each-sources',
        'The array must come from one table, or from the request, and not from another json_each.',
        arg,
      )
      return null
    }
    const index = this.nodes.add(
      typeof side === 'number' ? { kind: 'row-each', table: side, expr } : { kind: 'request-each', expr },
      at,
    )
    return {
      name,
      columns: null,
      column: (part) => ['each', 0, part === 'key' ? 'key' : part === 'value' ? 'value' : 'other', index],
    }
  }

  /** Finds a FROM item by its name here or in the queries around. */
  item(name: string): Item | null {
    return this.items.find((item) => item.name.toLowerCase() === name.toLowerCase()) ?? this.outer?.item(name) ?? null
  }

  /** Whether a name with a schema means the item: a table that has no alias. */
  named(item: Item, { schema, name }: { schema?: string; name: string }): boolean {
    return schema === undefined || (item.source?.schema === schema && item.source.name === name)
  }

  column(ref: ExprRef): Expr | null {
    if (ref.name === '*') return this.#refuse('star', '* is not possible here.', ref)
    const [only] = this.items
    let item: Item | null
    if (ref.table) {
      item = this.item(ref.table.name)
      if (item && !this.named(item, ref.table))
        return this.#refuse(
          'column-schema',
          'Write table.column: this schema is not that of the table in FROM, or the table has an alias.',
          ref,
        )
      if (!item)
        return this.broken ? null : this.#refuse('unknown-table', `'${ref.table.name}' does not stand in FROM.`, ref)
    } else {
      if (this.items.length === 0 && this.outer) return this.outer.column(ref)
      if (this.items.length !== 1 || !only) {
        return this.broken
          ? null
          : this.#refuse(
              'ambiguous-column',
              `Write table.${ref.name}: with several tables a column must say whose it is.`,
              ref,
            )
      }
      item = only
    }
    const expr = item.column(ref.name)
    if (!expr) return this.#refuse('unknown-column', `'${item.name}' has no column '${ref.name}'.`, ref)
    const node = expr[0] === 'column' ? this.nodes.all[expr[2] ?? -1] : undefined
    if (node?.kind === 'table' && expr[0] === 'column')
      this.context.schema?.checkColumn(this.sql, node.pattern, expr[1], ref)
    // A fresh object, so that its place in the text is known.
    return expr[0] === 'column'
      ? ['column', expr[1], expr[2]]
      : expr[0] === 'each'
        ? ['each', expr[1], expr[2], expr[3]]
        : expr
  }

  #call(node: ExprCall, args: readonly Expr[]): Expr | null | undefined {
    const found = streamRequest(node, args, { dialect: 'compiled', fixedJson: this.context.fixedJson })
    if (found === null)
      return this.#refuse(
        'arity',
        `${node.function.schema}.${node.function.name} has another number of arguments.`,
        node.function,
      )
    return found
  }

  #refuse(code: FindingCode, message: string, node: PGNode): null {
    this.sql.error(code, message, node)
    return null
  }
}
