import type { Context } from '../../context.ts'
import { call, canonical, conjunction, rewrite, type Expr } from '../../expressions/expression.ts'
import type { Branch, Key, Step, Walked } from '../../plan/plan.ts'
import type { Conjunct } from './conditions.ts'
import type { Nodes, Side } from './nodes.ts'

/** An equality as seen from one of its sides. */
interface Pair {
  own: Expr
  theirs: Expr
  side: Side
}

function add<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list) list.push(value)
  else lists.set(key, [value])
}

/** A disjunct as part of a plan: the row side of the primary table, and how a request finds the values of its keys. */
export interface Lowered {
  branch: Branch
  steps: Step[]
  /** Has the same length and order as the branch's keys. */
  parameters: Expr[]
  /** The expressions that decide about the buckets, from which a warning follows when the client alone decides. */
  judged: Expr[]
}

const key = (expr: Expr): Key => ({ expr, nulls: false })
const byText = (a: Expr, b: Expr): number => (canonical(a) < canonical(b) ? -1 : 1)

/** Lowers one disjunct of a query whose result comes from the table `primary`. */
export class Lowering {
  readonly #nodes: Nodes
  readonly #context: Context
  readonly #walk: 'each' | 'each-null-text'
  readonly #primary: number
  readonly #testsOf = new Map<Side | null, Expr[]>()
  readonly #pairsOf = new Map<Side, Pair[]>()
  readonly #signatures = new Map<number, string>()
  readonly #steps: Step[] = []
  readonly #bound = new Set<Side>(['request'])
  /** Where expressions of bound sides come from: outputs of lookups, or elements. */
  readonly #outputs = new Map<string, Expr>()
  readonly #elementOf = new Map<number, number>()
  #lookupSteps = 0
  /** The request expressions on which each step depends. */
  readonly #sources = new Map<Side, Expr[]>()

  constructor(context: Context, nodes: Nodes, disjunct: Conjunct[], primary: number) {
    this.#context = context
    this.#nodes = nodes
    this.#primary = primary
    this.#walk = context.fixedJson ? 'each' : 'each-null-text'
    context.findings.work.step('plan', disjunct.length)
    for (const part of disjunct) {
      if ('test' in part) add(this.#testsOf, part.side, part.test)
      else {
        const {
          equal: [left, right],
          sides: [a, b],
        } = part
        add(this.#pairsOf, a, { own: left, theirs: right, side: b })
        add(this.#pairsOf, b, { own: right, theirs: left, side: a })
      }
    }
    for (const tests of this.#testsOf.values()) tests.sort(byText)
  }

  lower(): Lowered {
    for (const side of ['request', null] as const)
      for (const test of this.#tests(side)) this.#steps.push({ filter: test })
    for (;;) {
      const next = this.#next()
      if (next === null) break
      if (this.#nodes.all[next]?.kind === 'request-each') this.#bindEach(next)
      else this.#bindTable(next)
    }
    return this.#finish()
  }

  #tests(side: Side | null): readonly Expr[] {
    return this.#testsOf.get(side) ?? []
  }

  /** Returns the equalities between a side and any other side that passes the test. */
  #pairs(side: Side, other: (side: Side) => boolean): Pair[] {
    const all = this.#pairsOf.get(side) ?? []
    this.#context.findings.work.step('plan', all.length)
    return all.filter((pair) => other(pair.side))
  }

  /**
   * Returns the unbound sides that the disjunct mentions: arrays of the request first, then tables that a bound side
   * leads to.
   */
  #next(): number | null {
    let best: { side: number; rank: number; signature: string } | null = null
    for (const side of new Set([...this.#testsOf.keys(), ...this.#pairsOf.keys()])) {
      this.#context.findings.work.step('plan')
      if (typeof side !== 'number' || side === this.#primary || this.#bound.has(side)) continue
      const rank =
        this.#nodes.all[side]?.kind === 'request-each'
          ? 0
          : this.#pairs(side, (other) => this.#bound.has(other)).length > 0
            ? 1
            : 2
      const signature = this.#signature(side)
      if (!best || rank < best.rank || (rank === best.rank && signature < best.signature))
        best = { side, rank, signature }
    }
    return best?.side ?? null
  }

  #signature(side: number): string {
    let signature = this.#signatures.get(side)
    if (signature === undefined) {
      signature = canonical([this.#nodes.all[side], this.#tests(side).map((test) => this.#strip(test))])
      this.#signatures.set(side, signature)
    }
    return signature
  }

  #bindEach(side: number): void {
    const node = this.#nodes.all[side]
    if (node?.kind !== 'request-each') return
    this.#elementOf.set(side, this.#elementOf.size)
    this.#steps.push({ each: { expr: node.expr, how: this.#walk } })
    const pairs = this.#pairs(side, (other) => this.#bound.has(other))
    this.#sources.set(side, [node.expr, ...pairs.flatMap((pair) => this.#sourcesOf(pair.theirs, pair.side))])
    this.#bound.add(side)
    for (const test of this.#tests(side)) this.#steps.push({ filter: this.#request(test, side) })
    for (const { own, theirs, side: other } of pairs)
      this.#steps.push({ filter: call('same key', this.#request(own, side), this.#request(theirs, other)) })
  }

  #bindTable(side: number): void {
    const node = this.#nodes.all[side]
    if (node?.kind !== 'table') return
    const pairs = this.#pairs(side, (other) => this.#bound.has(other))
    const keys = distinct(pairs.map((pair) => pair.own)).sort(byText)
    const outputs = distinct(this.#pairs(side, (other) => !this.#bound.has(other)).map((pair) => pair.own)).sort(byText)
    const row = this.#row(side, [...this.#tests(side), ...keys, ...outputs])
    const lookup = this.#context.lookup({
      name: node.pattern.name + (node.pattern.wildcard ? '%' : ''),
      label: `lookup in ${node.pattern.name}`,
      table: node.pattern,
      branches: [
        {
          each: row.each,
          filter: conjunction(this.#tests(side).map(row.rewrite)),
          keys: keys.map((expr) => key(row.rewrite(expr))),
          outputs: outputs.map(row.rewrite),
        },
      ],
    })
    const asked = keys.map((own) => {
      const [first, ...more] = pairs
        .filter((pair) => canonical(pair.own) === canonical(own))
        .map((pair) => this.#request(pair.theirs, pair.side))
      for (const other of more) if (first) this.#steps.push({ filter: call('same key', first, other) })
      return key(first ?? ['null'])
    })
    this.#sources.set(
      side,
      pairs.flatMap((pair) => this.#sourcesOf(pair.theirs, pair.side)),
    )
    this.#steps.push({ lookup, keys: asked })
    outputs.forEach((own, m) => this.#outputs.set(canonical([side, own]), ['output', this.#lookupSteps, m]))
    this.#lookupSteps++
    this.#bound.add(side)
  }

  #finish(): Lowered {
    const pairs = this.#pairs(this.#primary, () => true)
    const keys = distinct(pairs.map((pair) => pair.own))
    const tests = this.#tests(this.#primary)
    const row = this.#row(this.#primary, [...tests, ...keys])
    const parameters = keys.map((own) => {
      const [first, ...more] = pairs
        .filter((pair) => canonical(pair.own) === canonical(own))
        .map((pair) => this.#request(pair.theirs, pair.side))
        .sort(byText)
      for (const other of more) if (first) this.#steps.push({ filter: call('same key', first, other) })
      return first ?? (['null'] as const)
    })
    const branch = {
      each: row.each,
      filter: conjunction(tests.map(row.rewrite)),
      keys: keys.map((expr) => key(row.rewrite(expr))),
    }
    const fromKeys = pairs.flatMap((pair) => this.#sourcesOf(pair.theirs, pair.side))
    const judged = keys.length > 0 ? fromKeys : [...this.#tests('request'), ...[...this.#sources.values()].flat()]
    return { branch, steps: this.#steps, parameters, judged }
  }

  #sourcesOf(expr: Expr, side: Side): Expr[] {
    return side === 'request' ? [expr] : (this.#sources.get(side) ?? [])
  }

  /** Returns an expression of a bound side as the request program sees it. */
  #request(expr: Expr, side: Side): Expr {
    if (side === 'request') return expr
    const output = this.#outputs.get(canonical([side, expr]))
    if (output) return output
    return rewrite(expr, (part) =>
      part[0] === 'each' ? ['each', this.#elementOf.get(part[3] ?? -1) ?? 0, part[2]] : undefined,
    )
  }

  /** How expressions over a table's row are written in its evaluator: arrays of the row become numbered walks. */
  #row(side: number, exprs: readonly Expr[]): { each: Walked[]; rewrite: (expr: Expr) => Expr } {
    const used = new Set<number>()
    for (const expr of exprs) {
      for (const { leaf } of this.#nodes.leaves(expr))
        if (leaf[0] === 'each' && leaf[3] !== undefined) used.add(leaf[3])
    }
    const arrays = [...used].filter((index) => this.#nodes.all[index]?.kind === 'row-each')
    const each = arrays.flatMap((index): Walked[] => {
      const node = this.#nodes.all[index]
      return node?.kind === 'row-each' && node.table === side ? [{ expr: this.#strip(node.expr), how: this.#walk }] : []
    })
    const replace = (part: Expr): Expr | undefined =>
      part[0] === 'column'
        ? ['column', part[1]]
        : part[0] === 'each'
          ? ['each', arrays.indexOf(part[3] ?? -1), part[2]]
          : undefined
    return { each, rewrite: (expr) => rewrite(expr, replace) }
  }

  #strip(expr: Expr): Expr {
    return rewrite(expr, (part) =>
      part[0] === 'column' ? ['column', part[1]] : part[0] === 'each' ? ['each', part[1], part[2]] : undefined,
    )
  }
}

const distinct = (exprs: readonly Expr[]): Expr[] => [...new Map(exprs.map((expr) => [canonical(expr), expr])).values()]
