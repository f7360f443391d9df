import type { Expr } from './expressions/expression.ts'
import {
  contentOf,
  type Branch,
  type PlanContent,
  type Program,
  type Step,
  type TablePattern,
  type Variant,
} from './plan/plan.ts'
import type { Plan } from './types.ts'

/**
 * Returns a plan as text for people: what goes into which buckets, how a client's buckets are found, and what that
 * costs.
 */
export function explainPlan(plan: Plan): string {
  const content = contentOf(plan)
  const lines: string[] = [
    `edition ${content.edition}, ${count(content.programs.length, 'stream or definition', 'streams and definitions')}`,
  ]
  for (const program of content.programs) lines.push('', ...explainProgram(content, program))
  if (content.lookups.length > 0) {
    lines.push('', 'lookups: one small bucket for each key, watched like any other')
    for (const [i, lookup] of content.lookups.entries()) {
      lines.push(`  L${i} ${lookup.name} from ${tableText(lookup.table)}  (${lookup.hash.slice(0, 8)})`)
      for (const branch of lookup.branches)
        lines.push(`     ${branchText(branch)} → ${branch.outputs.map(expressionText).join(', ') || '(exists)'}`)
    }
  }
  return lines.join('\n')
}

function explainProgram(content: PlanContent, program: Program): string[] {
  const lines = [`${program.name}${program.automatic ? '' : '  (on demand)'}`]
  for (const [v, variant] of program.variants.entries()) {
    const definition = content.definitions[variant.definition]
    if (!definition) continue
    const parameters = variant.parameters.map((key) => expressionText(key.expr)).join(', ')
    lines.push(
      `  buckets ${definition.name}[${parameters}]  priority ${variant.priority}  (${definition.hash.slice(0, 8)})`,
    )
    lines.push(...variant.steps.map((step) => `    ${stepText(step)}`))
    lines.push(`    cost    ${cost(variant)}`)
    if (program.variants.findIndex((other) => other.definition === variant.definition) < v) continue
    for (const query of definition.queries) {
      const columns = query.columns.map((column) => ('all' in column ? '*' : column.name)).join(', ')
      lines.push(`    rows    ${tableText(query.table)} as ${query.output ?? 'its own name'}: ${columns}`)
      for (const branch of query.branches) lines.push(`            ${branchText(branch)}`)
    }
  }
  return lines
}

/** Returns the reads per stage, and how many buckets result. */
function cost(variant: Variant): string {
  const stages = variant.steps.filter((step) => 'lookup' in step).length
  const many = variant.steps.filter((step) => 'lookup' in step || 'each' in step).length
  const buckets =
    many === 0
      ? variant.parameters.length === 0
        ? 'one bucket for everybody'
        : 'one bucket for each user'
      : 'a bucket for each result'
  return stages === 0
    ? `${buckets}, no lookup`
    : `${buckets}, ${count(stages, 'stage of lookups', 'stages of lookups')}: a read for each key of each stage`
}

function stepText(step: Step): string {
  if ('filter' in step) return `if      ${expressionText(step.filter)}`
  if ('each' in step) return `each    ${expressionText(step.each.expr)}`
  return `lookup  L${step.lookup}[${step.keys.map((key) => expressionText(key.expr)).join(', ')}]`
}

function branchText(branch: Branch): string {
  const each = branch.each.map((walked) => `each ${expressionText(walked.expr)}; `).join('')
  const filter = branch.filter ? `where ${expressionText(branch.filter)}; ` : ''
  return `${each}${filter}key [${branch.keys.map((key) => expressionText(key.expr)).join(', ')}]`
}

function tableText({ schema, name, wildcard }: TablePattern): string {
  return `${schema}.${name}${wildcard ? '%' : ''}`
}

/** Returns the expression as text for people. */
export function expressionText(expr: Expr): string {
  switch (expr[0]) {
    case 'null':
      return 'NULL'
    case 'int':
    case 'real':
      return String(expr[1])
    case 'text':
      return `'${expr[1].replaceAll("'", "''")}'`
    case 'column':
      return expr[1]
    case 'meta':
      return `row ${expr[1]}`
    case 'each':
      return `element.${expr[2]}`
    case 'output':
      return `L result ${expr[2]}`
    case 'request':
      return expr[1] === 'sub' ? 'user_id' : expr[1]
    case 'member':
      return `${expr[1]}.${typeof expr[2] === 'string' ? expr[2] : `(${expressionText(expr[2])})`}`
    case 'call':
      return `${expr[1]}(${expr[2].map(expressionText).join(', ')})`
  }
}

const count = (n: number, one: string, many: string) => `${n} ${n === 1 ? one : many}`
