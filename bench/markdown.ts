import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../cli/bundle.ts'
import { machineLine } from './machine.ts'
import { format, type Count, type Figure, type Results } from './results.ts'

// `npm run bench:docs -- FILE…`: puts results into docs/performance.md and docs/costs.md. For each scenario the last
// file that has it counts.

const files = process.argv.slice(2)
if (files.length === 0) {
  console.error('name the results: npm run bench:docs -- .rockpool/bench/TIME.json')
  process.exit(2)
}
const runs = files.map((file): Results => JSON.parse(readFileSync(file, 'utf8')))
if (runs.some(({ quick }) => quick)) {
  console.error('results of --quick measure nothing')
  process.exit(2)
}

/** The last run of each scenario. */
const latest = new Map(runs.flatMap((run) => Object.keys(run.loads).map((scenario) => [scenario, run] as const)))
const figures = [...latest].flatMap(([scenario, run]) => run.figures.filter((each) => each.scenario === scenario))
const counts = [...latest].flatMap(([scenario, run]) => run.counts.filter((each) => each.scenario === scenario))

put('docs/performance.md', 'figures', [machines(), '', figureTable(figures), '', loads()].join('\n'))
put('docs/costs.md', 'bill', billTable(counts.filter(({ what }) => what.includes('per million'))))
put(
  'docs/costs.md',
  'counts',
  countTable(counts.filter(({ scenario, what }) => scenario === 'idle' || what.includes('as counted'))),
)

function put(path: string, name: string, text: string): void {
  const file = join(ROOT, path)
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const before = readFileSync(file, 'utf8')
  const [from, to] = [before.indexOf(begin), before.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${path} has no place for ${name}`)
  writeFileSync(file, `${before.slice(0, from + begin.length)}\n\n${text}\n\n${before.slice(to)}`)
}

function machines(): string {
  const lines = [...new Set(latest.values())].map(
    (run) => `\`${run.command}\`, ${run.started.slice(0, 10)}: ${machineLine(run.machine)}.`,
  )
  return lines.join('\n\n')
}

function figureTable(rows: readonly Figure[]): string {
  const lines = rows.map(({ scenario, what, unit, aim, note, values, summary: { min, median, p95, p99, max } }) => {
    const late = values.length >= 20 ? `${format(p95)} / ${format(p99)}` : ''
    return [
      scenario,
      note ? `${what} (${note})` : what,
      aim ?? '',
      `**${format(median)}** ${unit}`,
      `${format(min)} – ${format(max)}`,
      late,
      values.length,
    ]
  })
  return table(['scenario', 'what', 'aim', 'median', 'min – max', 'p95 / p99', 'n'], lines)
}

function loads(): string {
  const each = [...latest].map(([scenario, run]) => `${scenario} ${run.loads[scenario]}`)
  const stolen = [...latest].flatMap(([scenario, run]) => {
    const share = run.stolen[scenario]
    return share === undefined ? [] : [`${scenario} ${share} %`]
  })
  const lines = [`Load average when each scenario began: ${each.join(', ')}.`]
  if (stolen.length > 0) lines.push(`Processor time that went to other machines meanwhile: ${stolen.join(', ')}.`)
  return lines.join(' ')
}

function billTable(rows: readonly Count[]): string {
  const names = ['rows written', 'rows read', 'requests', 'dollars']
  const lines = rows
    .filter(({ counts: each }) => 'dollars' in each)
    .map(({ what, counts: each }) => [what, ...names.map((name) => format(each[name] ?? 0))])
  const stored = rows
    .filter(({ counts: each }) => 'dollars a month' in each)
    .map(
      ({ what, counts: each }) =>
        `${what}: ${Object.entries(each)
          .map(([name, n]) => `${name} ${format(n)}`)
          .join(', ')}.`,
    )
  return [table(['what', ...names], lines), '', ...stored].join('\n')
}

function countTable(rows: readonly Count[]): string {
  const lines = rows.map(({ what, counts: each }) => [
    what,
    Object.entries(each)
      .filter(([, n]) => n !== 0)
      .map(([name, n]) => `${format(n)} ${name}`)
      .join(', '),
  ])
  return table(['what', 'counted'], lines)
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
