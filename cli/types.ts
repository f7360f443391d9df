import { writeFile } from 'node:fs/promises'
import { connectSource, readTypedTables, type TypedTable } from '../sources/postgres/index.ts'
import { compileConfig } from '../sync-config/compile.ts'
import { check } from './check.ts'
import { readSettings } from './check-settings.ts'
import { readConfigFile } from './config-file.ts'
import { knownDatabase } from './database.ts'
import { deviceTables } from './device-tables.ts'
import { limitsOf } from './limits.ts'
import { dataFolder, parse } from './options.ts'
import { UsageError } from './problem.ts'
import { schemaText } from './schema-text.ts'
import { textOf } from './settings.ts'
import { unusable } from './unusable.ts'

/**
 * `rockpool types`: the schema of the client, from a sync config and the database. Returns what to print. Throws
 * UsageError, also for a table that the database does not have.
 */
export async function types(args: readonly string[], colour: boolean): Promise<{ output: string; ok: boolean }> {
  const { positionals, text } = parse('types', args)
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new UsageError('name one file: rockpool types sync-config.yaml')
  const asked = text('database-url')
  const data = dataFolder(text('data'))
  const out = text('out')
  const result = compileConfig(await readConfigFile(file), { limits: limitsOf(process.env) })
  if (!result.ok) {
    const database = asked === undefined ? [] : ['--database-url', asked]
    return check([file, '--data', data, ...database], colour)
  }
  const { tables, missing } = deviceTables(result.plan, await source(asked, data))
  if (missing.length > 0) throw new UsageError(`the database has no table ${missing.join(', ')}`)
  const schema = schemaText(tables, file)
  if (out === undefined) return { output: schema.trimEnd(), ok: true }
  try {
    await writeFile(out, schema)
  } catch (error) {
    throw new UsageError(`${out} cannot be written: ${error instanceof Error ? error.message : String(error)}`)
  }
  return { output: `${out}: ${tables.length === 1 ? '1 table' : `${tables.length} tables`}`, ok: true }
}

/** Throws UsageError when there is no database to ask, or it cannot be asked. */
async function source(asked: string | undefined, data: string): Promise<TypedTable[]> {
  const settings = await readSettings({
    ...process.env,
    ...(asked === undefined ? {} : { DATABASE_URL: asked }),
  })
  const known = await knownDatabase(data)
  const url = textOf(settings, 'DATABASE_URL') ?? (known?.running ? known.url : undefined)
  if (url === undefined)
    throw new UsageError('name a database with --database-url or DATABASE_URL, or run rockpool dev in this folder')
  let sql: ReturnType<typeof connectSource> | undefined
  try {
    sql = connectSource(url, { ca: textOf(settings, 'DATABASE_CA') })
    return await readTypedTables(sql)
  } catch (error) {
    throw unusable(error)
  } finally {
    await sql?.end({ timeout: 1 })
  }
}
