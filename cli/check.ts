import { checkServer, connectSource, readSchema, sourceError, unfollowable } from '../postgres/index.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { compileConfig } from '../sync-config/compile.ts'
import { explainPlan } from '../sync-config/explain.ts'
import { loadPlan } from '../sync-config/index.ts'
import { readLimits } from '../sync-config/limits.ts'
import type { Finding } from '../sync-config/types.ts'
import { checkSettings, readSettings } from './check-settings.ts'
import { checkReachable } from './check-source.ts'
import { readConfigFile } from './config-file.ts'
import { frame, levelColour, printable, type Paint } from './frame.ts'
import { limitsOf } from './limits.ts'
import { parse } from './options.ts'
import { UsageError } from './problem.ts'
import { textOf, type Settings } from './settings.ts'

/** With a database, what it does not have is not a guess: no row would ever be synced. */
const MISSING = new Set<string>(['unknown-source-table', 'unknown-source-column', 'id-missing'])

/** `rockpool check`: what to print, and whether the file can be deployed. Throws UsageError. */
export async function check(args: readonly string[], colour: boolean): Promise<{ output: string; ok: boolean }> {
  const { file, json, ...asked } = options(args)
  limitsOf(process.env)
  const yaml = await readConfigFile(file)
  const given = await readSettings({ ...process.env, ...(asked.databaseUrl === undefined ? {} : { DATABASE_URL: asked.databaseUrl }) })
  const databaseUrl = textOf(given, 'DATABASE_URL')
  const { limits } = readLimits(given)
  const settings = await checkSettings(given)
  const usable = !settings.some(({ level, message }) => level === 'error' && message.startsWith('DATABASE_URL'))
  const source = databaseUrl === undefined || !usable ? null : await readSource(databaseUrl, given)
  const result = compileConfig(yaml, { limits, ...(source ? { schema: source.schema } : {}) })
  const findings = [...(result.ok ? [] : result.errors), ...result.warnings]
    .map((finding): Finding => (MISSING.has(finding.code) ? { ...finding, level: 'error' } : finding))
    .sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
  const refused = source && result.ok ? await source.refused(loadPlan(result.plan).tables) : []
  await source?.close()
  const errors = [...findings, ...settings].filter(({ level }) => level === 'error').length + (source?.problem ? 1 : 0)
  const ok = errors === 0
  if (json) {
    const about = source ? { problem: source.problem, tables: refused } : null
    return { ok, output: JSON.stringify({ ok, findings, settings, source: about }, null, 2) }
  }
  const paint: Paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  const blocks = findings.map((finding) => frame(file, yaml, finding, paint))
  for (const { level, code, message } of settings) blocks.push(`${paint(levelColour(level), level)} ${code}: ${printable(message)}`)
  if (source?.problem) blocks.push(`${paint(31, 'error')} database: ${source.problem}`)
  for (const { table, reason } of refused) blocks.push(`${paint(33, 'warning')} table ${table} cannot be followed: ${reason}`)
  const warnings = findings.length + settings.length + refused.length + (source?.problem ? 1 : 0) - errors
  blocks.push(
    errors + warnings === 0
      ? `${file} is right`
      : `${errors} ${errors === 1 ? 'error' : 'errors'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`,
  )
  return { ok, output: blocks.join('\n\n') }
}

/** `rockpool explain`; with `--json` the plan itself. Throws UsageError. */
export async function explain(args: readonly string[], colour: boolean): Promise<{ output: string; ok: boolean }> {
  const { file, json } = options(args)
  const result = compileConfig(await readConfigFile(file), { limits: limitsOf(process.env) })
  if (!result.ok) return check(args, colour)
  return { output: json ? JSON.stringify(result.plan, null, 2) : explainPlan(result.plan), ok: true }
}

function options(args: readonly string[]): { file: string; databaseUrl: string | undefined; json: boolean } {
  const { values, positionals } = parse(args, { 'database-url': { type: 'string' }, json: { type: 'boolean' } })
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new UsageError('name one file, for instance sync-config.yaml')
  return { file, databaseUrl: values['database-url'], json: values.json ?? false }
}

/** What the database says: tables and columns for names, and which of them cannot be followed. */
async function readSource(url: string, given: Settings) {
  await checkReachable(url)
  const sql = connectSource(url, { ca: textOf(given, 'DATABASE_CA') })
  const close = () => sql.end({ timeout: 1 })
  try {
    const schema = await readSchema(sql)
    const problem = await checkServer(sql).then(
      () => null,
      (error: unknown) => (error instanceof RockpoolError ? error.message : String(error)),
    )
    // That a table is missing is among the warnings of the file.
    const refused = async (tables: readonly { schema: string; name: string }[]) =>
      (await unfollowable(sql, tables, textOf(given, 'PUBLICATION'), textOf(given, 'OWN_PUBLICATION'))).flatMap(
        ({ missing, table, reason }) => (missing ? [] : [{ table, reason }]),
      )
    return { schema, problem, refused, close }
  } catch (error) {
    await close()
    throw new UsageError(`the database cannot be used: ${sourceError(error).message}`)
  }
}
