import type { PGNode } from 'pgsql-ast-parser'
import { some, type Expr } from '../../expressions/expression.ts'
import type { TablePattern } from '../../plan/plan.ts'
import type { SqlExpr } from '../../parse/sql.ts'
import type { Work } from '../../parse/work.ts'

/**
 * What a query ranges over, CTEs and sub-selects already replaced by what they are made of: tables, arrays of a table's
 * row, and arrays of the request (or constant ones).
 */
export type Node =
  | { kind: 'table'; pattern: TablePattern; output: string | null; name: string }
  | { kind: 'row-each'; table: number; expr: Expr }
  | { kind: 'request-each'; expr: Expr }

/** One side of a comparison: a table (by node), an array of the request (by node), or the request itself. */
export type Side = number | 'request'

/** An entry of FROM as names see it. */
export interface Item {
  name: string
  /** The columns of a CTE or sub-select; null = any column of a table. */
  columns: Map<string, Expr> | null
  /** Schema and name of a table that has no alias, by which its columns may be qualified. */
  source?: { schema: string; name: string }
  column(name: string): Expr | null
}

/** All nodes of one query, and where each column and request value was written. */
export class Nodes {
  readonly all: Node[] = []
  readonly #written = new Map<Expr, SqlExpr>()
  readonly #places = new Map<number, PGNode>()
  readonly #work: Work

  constructor(work: Work) {
    this.#work = work
  }

  /** `at`: where an array was written. */
  add(node: Node, at?: PGNode): number {
    if (at) this.#places.set(this.all.length, at)
    return this.all.push(node) - 1
  }

  place(index: number): PGNode | undefined {
    return this.#places.get(index)
  }

  told(expr: Expr, node: SqlExpr): void {
    some(expr, (part) => {
      if ((part === expr || part[0] === 'request' || part[0] === 'member') && !this.#written.has(part))
        this.#written.set(part, node)
      return false
    })
  }

  written(expr: Expr): SqlExpr | undefined {
    return this.#written.get(expr)
  }

  /** Leaves of the expression in the order of the text, each with the side it belongs to. */
  leaves(expr: Expr): { side: Side; leaf: Expr }[] {
    const found: { side: Side; leaf: Expr }[] = []
    some(expr, (leaf) => {
      this.#work.step('plan')
      const side = this.#sideOf(leaf)
      if (side !== null) found.push({ side, leaf })
      return false
    })
    return found
  }

  sides(expr: Expr): Side[] {
    return [...new Set(this.leaves(expr).map(({ side }) => side))]
  }

  #sideOf(leaf: Expr): Side | null {
    if (leaf[0] === 'request' || leaf[0] === 'member') return 'request'
    const index = leaf[0] === 'column' ? leaf[2] : leaf[0] === 'each' ? leaf[3] : undefined
    if (index === undefined) return null
    const node = this.all[index]
    return node?.kind === 'row-each' ? node.table : index
  }

  /** Whether the expression reads an element of an array of a row. */
  usesRowEach(expr: Expr): boolean {
    return some(expr, (leaf) => leaf[0] === 'each' && this.all[leaf[3] ?? -1]?.kind === 'row-each')
  }
}
