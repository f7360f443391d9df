import { readFile } from 'node:fs/promises'
import postgres, { type Sql } from 'postgres'

/** Creates the tables and their first rows, once. `sql` is a connection that needs more than the URL. It is ended. */
export async function prepareDatabase(
  databaseUrl: string,
  sql: Sql = postgres(databaseUrl, { max: 1, onnotice: () => {} }),
): Promise<void> {
  try {
    await sql.unsafe(await readFile(new URL('../upload/tables.sql', import.meta.url), 'utf8')).simple()
    const [row] = await sql<{ there: boolean }[]>`SELECT to_regclass('public.lists') IS NOT NULL AS there`
    if (row?.there) return
    const schema = await readFile(new URL('./schema.sql', import.meta.url), 'utf8')
    await sql.begin((tx) => tx.unsafe(schema).simple())
  } finally {
    await sql.end({ timeout: 1 })
  }
}
