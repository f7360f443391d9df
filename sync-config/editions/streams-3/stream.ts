import type { SelectFromStatement } from 'pgsql-ast-parser'
import { tooManyDisjuncts, type Context } from '../../context.ts'
import { canonical, type Expr, some } from '../../expressions/expression.ts'
import { usesClient, usesToken } from '../buckets/scope.ts'
import { warnDefaultWithoutParameters, warnNegatedRequest } from '../buckets/warnings.ts'
import type { Branch, Column, DataQuery, Program, Step, Variant } from '../../plan/plan.ts'
import type { CteText, StreamText } from '../../parse/config.ts'
import type { ScalarText } from '../../parse/scalar.ts'
import { Sql } from '../../parse/sql.ts'
import { readColumns } from './columns.ts'
import { disjuncts, exprsOf, type Conjunct } from './conditions.ts'
import { Lowering, type Lowered } from './lower.ts'
import { Nodes } from './nodes.ts'
import { SelectScope, type Cte, type Ctes } from './select.ts'

const DEFAULT_PRIORITY = 3

/** A disjunct with the query that it belongs to. */
interface Part {
  lowered: Lowered
  query: Omit<DataQuery, 'branches'>
}

/** Reads CTEs; every one is checked once, used or not. Those given first are shadowed by those given later. */
export function readCtes(context: Context, texts: readonly CteText[], outer: Ctes = new Map()): Map<string, Cte> {
  const own = texts.map(({ name, sql: source }): Cte => {
    const sql = new Sql(source, context.findings)
    const cte: Cte = { name, sql, select: sql.select(true), used: false }
    if (cte.select) {
      const scope = new SelectScope({
        context,
        nodes: new Nodes(context.findings.work),
        sql,
        ctes: new Map(),
        outer: null,
      })
      scope.read(cte.select)
      if (!scope.namedColumns(cte.select, null) || scope.broken) cte.select = null
    }
    return cte
  })
  return new Map([...outer, ...own.map((cte): [string, Cte] => [cte.name.toLowerCase(), cte])])
}

/** Compiles a stream of edition 3. */
export function compileStream(context: Context, text: StreamText, ctes: Ctes): Program {
  const parts = text.queries.flatMap((query, i) =>
    compileQuery(context, text, query, ctes, `query ${i + 1} of ${text.name}`),
  )
  const variants = share(context, parts, text.priority ?? DEFAULT_PRIORITY)
  const most = context.limits.streamBuckets
  if (variants.length > most) {
    context.findings.error(
      'too-many-buckets',
      `This stream needs ${variants.length} kinds of buckets, more than ${most}: split it, or raise MAX_BUCKETS_PER_STREAM.`,
      text.key,
    )
  }
  return { name: text.name, automatic: text.autoSubscribe, failsRequest: false, alwaysDefault: false, variants }
}

function compileQuery(context: Context, text: StreamText, source: ScalarText, ctes: Ctes, label: string): Part[] {
  const sql = new Sql(source, context.findings)
  const select = sql.select(true)
  if (!select) return []
  const nodes = new Nodes(context.findings.work)
  const scope = new SelectScope({ context, nodes, sql, ctes, outer: null })
  scope.read(select)
  const result = readColumns(scope, select)
  if (scope.broken || !result) return []
  warnDefaultWithoutParameters(sql, text, scope.conditions.flatMap(exprsOf), select)
  const all = disjuncts(scope.conditions, {
    most: context.limits.disjuncts,
    work: sql.work,
    mergeable: (test) => !nodes.usesRowEach(test) && !some(test, (part) => part[0] === 'each'),
  })
  if (!all) {
    sql.error('too-many-disjuncts', tooManyDisjuncts(context.limits.disjuncts), select.where ?? select)
    return []
  }
  if (!text.acceptDangerous) warnNegated(sql, all)
  const { primary, columns } = result
  const table = nodes.all[primary]
  if (table?.kind !== 'table') return []
  return all.flatMap((disjunct): Part[] => {
    if (!partitioned(sql, nodes, disjunct)) return []
    const lowered = new Lowering(context, nodes, disjunct, primary).lower()
    if (!text.acceptDangerous) warnDangerous(sql, nodes, lowered, select)
    return [{ lowered, query: { label, table: table.pattern, output: table.output, columns } }]
  })
}

function warnNegated(sql: Sql, all: readonly Conjunct[][]): void {
  const tests = new Map(
    all.flat().flatMap((part) => ('test' in part && part.side === 'request' ? [[part.test, part.node] as const] : [])),
  )
  for (const [test, node] of tests) warnNegatedRequest(sql, test, node)
}

/** An array of the request can be compared with one table only. */
function partitioned(sql: Sql, nodes: Nodes, disjunct: Conjunct[]): boolean {
  for (const [index, node] of nodes.all.entries()) {
    if (node.kind !== 'request-each') continue
    const others = new Set(
      disjunct
        .flatMap((part) => ('equal' in part && part.sides.includes(index) ? part.sides : []))
        .filter((side) => side !== index && side !== 'request'),
    )
    if (others.size < 2) continue
    sql.error(
      'each-two-tables',
      'An array of the request can be compared with one table only: compare the tables with each other.',
      nodes.place(index),
    )
    return false
  }
  return true
}

function warnDangerous(sql: Sql, nodes: Nodes, { judged }: Lowered, select: SelectFromStatement): void {
  const client = judged.find(usesClient)
  if (!client || judged.some(usesToken)) return
  let at: Expr | undefined
  some(client, (part) => {
    if (at === undefined && nodes.written(part)) at = part
    return false
  })
  sql.warning(
    'dangerous-parameter',
    'Clients can send any value here, so anybody can have these rows. Compare a value of auth too, or set accept_potentially_dangerous_queries: true.',
    (at && nodes.written(at)) ?? select,
  )
}

/** Parts whose parameters come about in the same way share a bucket. */
function share(context: Context, parts: Part[], priority: number): Variant[] {
  const groups = new Map<string, { steps: Step[]; members: { part: Part; order: number[] }[]; parameters: Expr[] }>()
  for (const part of parts) {
    const { parameters, branch, steps } = part.lowered
    const order = parameters
      .map((_, i) => i)
      .sort((a, b) =>
        canonical([parameters[a], branch.keys[a]]) < canonical([parameters[b], branch.keys[b]]) ? -1 : 1,
      )
    const asked = order.map((i): Expr => parameters[i] ?? ['null'])
    const signature = canonical([steps, asked])
    context.findings.work.step('plan', 1 + Math.ceil(signature.length / 10))
    const group = groups.get(signature)
    if (group) group.members.push({ part, order })
    else groups.set(signature, { steps, members: [{ part, order }], parameters: asked })
  }
  return [...groups.values()].map(({ steps, members, parameters }): Variant => {
    const queries = members
      .map(({ part, order }) => ({
        query: part.query,
        branch: part.lowered.branch,
        keys: order.flatMap((i) => part.lowered.branch.keys[i] ?? []),
      }))
      .sort((a, b) => (contentOf(a) < contentOf(b) ? -1 : 1))
    const positions = parameters
      .map((_, i) => i)
      .sort((a, b) => (canonical(queries.map((q) => q.keys[a])) < canonical(queries.map((q) => q.keys[b])) ? -1 : 1))
    const unique = new Map(queries.map((query) => [contentOf(query) + canonical(query.keys), query]))
    const content = [...unique.values()].map(({ query, branch, keys }): DataQuery => ({
      ...query,
      branches: [{ ...branch, keys: positions.flatMap((i) => keys[i] ?? []) }],
    }))
    const definition = context.definition({ name: nameOf(content), queries: content })
    return {
      definition,
      steps,
      parameters: positions.map((i) => ({ expr: parameters[i] ?? (['null'] as const), nulls: false })),
      priority,
    }
  })
}

const contentOf = ({
  query,
  branch,
}: {
  query: { table: unknown; output: string | null; columns: Column[] }
  branch: Branch
}): string => canonical([query.table, query.output, query.columns, branch.each, branch.filter])

/**
 * A bucket of a stream is called after the tables in it: streams with the same content share it, whatever their names.
 */
function nameOf(queries: readonly DataQuery[]): string {
  const tables = new Set(queries.map((query) => query.output ?? `${query.table.name}%`))
  return [...tables].sort().join('+').slice(0, 60)
}
