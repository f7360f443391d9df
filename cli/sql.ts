import { resolve } from 'node:path'
import { connectSource } from '../sources/postgres/index.ts'
import { alignedLines, columnWidths } from './aligned.ts'
import { knownDatabase, startDatabase } from './database.ts'
import { databaseOf } from './new-database.ts'
import { UsageError } from './problem.ts'
import { unusable } from './unusable.ts'

/**
 * Runs SQL in the development database, or in the one that `--new-database` has made for a tenant. Postgres is started
 * if necessary. Returns what to print. Throws Error.
 */
export async function sql(
  text: string,
  options: { databaseUrl: string | undefined; data: string; tenant?: string | undefined },
): Promise<string> {
  const data = resolve(options.data)
  const known = options.databaseUrl === undefined ? await knownDatabase(data) : null
  if (options.databaseUrl === undefined && known === null) {
    throw new UsageError('there is no development database yet: run rockpool dev first, or give --database-url')
  }
  const started = known && !known.running ? await startDatabase(data) : null
  const own = started?.url ?? known?.url ?? ''
  const client = connected(
    options.databaseUrl ?? (options.tenant === undefined ? own : databaseOf(own, options.tenant)),
  )
  try {
    // Rows are lists, because two columns may have the same name.
    const results: unknown = await client.unsafe(text).simple().values()
    const list: unknown[] = Array.isArray(results) && !('columns' in results) ? results : [results]
    return list.map((result) => format(result)).join('\n')
  } finally {
    await client.end({ timeout: 1 })
    await started?.stop()
  }
}

/**
 * As the edge would connect, DATABASE_CA included. Throws UsageError for a URL, or a DATABASE_CA, that cannot be used.
 */
function connected(url: string): ReturnType<typeof connectSource> {
  try {
    return connectSource(url, { ca: process.env.DATABASE_CA || undefined, asIs: true })
  } catch (error) {
    throw unusable(error)
  }
}

function format(result: unknown): string {
  if (!Array.isArray(result)) return ''
  const rows: unknown[][] = result
  const command = 'command' in result ? String(result.command) : ''
  const count = 'count' in result ? Number(result.count) : rows.length
  const columns: { name: string }[] = 'columns' in result && Array.isArray(result.columns) ? result.columns : []
  const names = columns.map(({ name }) => name)
  if (names.length === 0) return `${command} ${count}`
  const cells = [names, ...rows.map((row) => names.map((_, i) => cell(row[i])))]
  const lines = alignedLines(cells)
  lines.splice(
    1,
    0,
    columnWidths(cells)
      .map((width) => '-'.repeat(width))
      .join('  '),
  )
  return `${lines.join('\n')}\n(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})`
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
