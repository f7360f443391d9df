import {
  connectSource,
  emitMarker,
  openReplication,
  prepareSource,
  readChunk,
  relationSize,
} from '../../sources/postgres/index.ts'
import type { CatalogTable, PgoutputMessage, Tuple } from '../../sources/postgres/index.ts'

export interface SeenTable {
  table: CatalogTable
  /** The columns of the stream, in its order. */
  columns: string[]
  /** The inserted rows as the stream sent them, in order. */
  streamed: Tuple[]
  /** The rows as a copy reads them, in the table's columns. */
  read: Tuple[]
}

/** Returns rows in both forms: as the stream sends them while they are inserted, and as a copy reads them. */
export async function snapshotAndStream(
  url: string,
  table: string,
  insert: () => Promise<unknown>,
): Promise<SeenTable> {
  const source = connectSource(url)
  const walsender = connectSource(url, { replication: true })
  // Names each column, because with `*` columns of bytes are not read.
  const named = await source<{ attname: string }[]>`
    SELECT attname FROM pg_attribute WHERE attnum > 0 AND attrelid = (SELECT oid FROM pg_class WHERE relname = ${table} AND relnamespace = 'public'::regnamespace)`
  const wanted = { all: true, read: new Set(named.map(({ attname }) => attname)), named: new Set<string>() }
  const prepared = await prepareSource(source, {
    slot: 'seen',
    tables: [{ schema: 'public', name: table }],
    columns: () => wanted,
  })
  const catalog = prepared.tables[0]
  if (!catalog) throw new Error(`${table} cannot be followed: ${JSON.stringify(prepared.refusedTables)}`)
  const messages: PgoutputMessage[] = []
  const marked = Promise.withResolvers<void>()
  const options = { slot: 'seen', publication: prepared.publication, walSenderTimeoutMs: 60_000 }
  const session = await openReplication(walsender, options, {
    message: (message) => {
      messages.push(message)
      if (message.type === 'message') marked.resolve()
    },
    keepalive: () => {},
  })
  await insert()
  await emitMarker(source, 'seen', 'all')
  await Promise.race([marked.promise, session.ended])
  await session.close()
  const { blocks } = await relationSize(source, catalog)
  const read = (await readChunk(source, catalog, catalog, { block: 0, item: 0 }, blocks, 1_000_000)).tuples
  await source.end()
  const relation = messages.find((message) => message.type === 'relation')
  const streamed = messages.flatMap((message) => (message.type === 'insert' ? [message.new] : []))
  return { table: catalog, columns: relation?.columns.map((column) => column.name) ?? [], streamed, read }
}
