import type { Unfollowable } from '../sources/postgres/index.ts'
import { compileConfig } from '../sync-config/compile.ts'
import { explainPlan } from '../sync-config/explain.ts'
import { readLimits } from '../sync-config/limits.ts'
import type { Finding } from '../sync-config/types.ts'
import { judgeDatabase, type Judged } from './check-database.ts'
import { checkSettings, readSettings } from './check-settings.ts'
import { readConfigFile } from './config-file.ts'
import { knownDatabase } from './database.ts'
import { frame, levelColour, printable, type Paint } from './frame.ts'
import { limitsOf } from './limits.ts'
import { dataFolder, parse } from './options.ts'
import { UsageError } from './problem.ts'
import { serviceVars } from './service-vars.ts'
import type { SettingFinding } from './setting-finding.ts'
import { textOf, type Settings } from './settings.ts'

/** With a database, a missing table or column is an error and not a guess: no row would ever be synced. */
const MISSING = new Set<string>(['unknown-source-table', 'unknown-source-column'])

/** `rockpool check`. Returns what to print, and whether the file can be deployed. Throws UsageError. */
export async function check(args: readonly string[], colour: boolean): Promise<{ output: string; ok: boolean }> {
  const { file, json, ...asked } = options('check', args)
  limitsOf(process.env)
  const yaml = await readConfigFile(file)
  const given = await readSettings({
    ...process.env,
    ...(asked.databaseUrl === undefined ? {} : { DATABASE_URL: asked.databaseUrl }),
  })
  const { limits } = readLimits(given)
  const settings = await checkSettings(given)
  const { judged: source, told } = await askedDatabase(given, settings, asked.data)
  const result = compileConfig(yaml, { limits, ...(source ? { schema: source.schema } : {}) })
  const findings = [...(result.ok ? [] : result.errors), ...result.warnings]
    .map((finding): Finding => (MISSING.has(finding.code) ? { ...finding, level: 'error' } : finding))
    .sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
  // A column that is reported with its place in the file is not reported again for its table.
  const named = !findings.some(({ code }) => code === 'unknown-source-column')
  const tables = source && result.ok ? grouped(await source.tables(result.plan, named)) : []
  await source?.close()
  const problems = source?.problems ?? []
  const all = [...findings, ...settings, ...tables, ...problems.map(() => ({ level: 'error' }))]
  const errors = all.filter(({ level }) => level === 'error').length
  const ok = errors === 0
  if (json) {
    const each = tables.flatMap(({ level, names, reason }) => names.map((table) => ({ level, table, reason })))
    const about = source ? { problem: problems[0] ?? null, problems, about: source.about, tables: each } : null
    return { ok, output: JSON.stringify({ ok, findings, settings, source: about }, null, 2) }
  }
  const paint: Paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  const blocks = findings.map((finding) => frame(file, yaml, finding, paint))
  for (const { level, code, message } of settings)
    blocks.push(`${paint(levelColour(level), level)} ${code}: ${printable(message)}`)
  for (const problem of problems) blocks.push(`${paint(levelColour('error'), 'error')} database: ${printable(problem)}`)
  for (const { level, names, reason } of tables) {
    const which = `${names.length === 1 ? 'table' : 'tables'} ${names.join(', ')}`
    blocks.push(
      `${paint(levelColour(level), level)} ${printable(`${which} cannot be followed${level === 'error' ? '' : ' whole'}: ${reason}`)}`,
    )
  }
  if (findings.some(({ level, code }) => level === 'error' && code === 'service-config'))
    blocks.push(`for wrangler.toml:\n\n${serviceVars(yaml).split('\n').map(printable).join('\n')}`)
  if (source) blocks.push(source.about.map((line) => `database: ${printable(line)}`).join('\n'))
  const warnings = all.length - errors
  blocks.push(
    errors + warnings === 0
      ? `${file} is right`
      : `${errors} ${errors === 1 ? 'error' : 'errors'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`,
  )
  if (told !== null) blocks.push(printable(told))
  return { ok, output: blocks.join('\n\n') }
}

/** `rockpool explain`. Returns what to print: with `--json` the plan itself. Throws UsageError. */
export async function explain(args: readonly string[], colour: boolean): Promise<{ output: string; ok: boolean }> {
  const { file, json } = options('explain', args)
  const result = compileConfig(await readConfigFile(file), { limits: limitsOf(process.env) })
  if (!result.ok) return check(args, colour)
  return { output: json ? JSON.stringify(result.plan, null, 2) : explainPlan(result.plan), ok: true }
}

interface CheckOptions {
  file: string
  databaseUrl: string | undefined
  json: boolean
  data: string
}

function options(command: 'check' | 'explain', args: readonly string[]): CheckOptions {
  const { positionals, text, flag } = parse(command, args)
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new UsageError(`name one file: rockpool ${command} sync-config.yaml`)
  return { file, databaseUrl: text('database-url'), json: flag('json'), data: dataFolder(text('data')) }
}

const NOT_ASKED = 'no database was asked, so whether the tables and columns are there is not known'

/**
 * Checks the database that is named, else that of a `rockpool dev` that runs with this data folder. `told` says which
 * one was used when none was named, or that none was. Throws UsageError for a named one that cannot be queried.
 */
async function askedDatabase(
  given: Settings,
  settings: readonly SettingFinding[],
  data: string,
): Promise<{ judged: Judged | null; told: string | null }> {
  const url = textOf(given, 'DATABASE_URL')
  if (url !== undefined) {
    const refused = settings.some(({ level, message }) => level === 'error' && /^DATABASE_(URL|CA)/.test(message))
    return refused ? { judged: null, told: NOT_ASKED } : { judged: await judgeDatabase(url, given), told: null }
  }
  const known = await knownDatabase(data)
  if (known?.running !== true) {
    return {
      judged: null,
      told: `${NOT_ASKED}: name one with --database-url or DATABASE_URL, or run rockpool dev in this folder`,
    }
  }
  try {
    return {
      judged: await judgeDatabase(known.url, given),
      told: 'tables and columns are those of the database of rockpool dev',
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return { judged: null, told: `${NOT_ASKED}: that of rockpool dev was tried (${error.message})` }
  }
}

interface TableFinding {
  level: 'error' | 'warning'
  names: string[]
  reason: string
}

/**
 * Makes one finding for all tables that one statement fixes. Missing columns are only a warning, because they may be
 * left out on purpose.
 */
function grouped(tables: readonly Unfollowable[]): TableFinding[] {
  const found = new Map<string, TableFinding>()
  for (const { table, reason, followed } of tables) {
    const known = found.get(reason)
    if (known) known.names.push(table)
    else found.set(reason, { level: followed ? 'warning' : 'error', names: [table], reason })
  }
  return [...found.values()]
}
