import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { MAX_READ_BYTES } from './chunk.ts'
import {
  connectSource,
  emitMarker,
  openReplication,
  prepareSource,
  readChunk,
  readRows,
  relationSize,
  type CatalogTable,
  type Tuple,
} from '../index.ts'
import { LargeValue, MAX_ROW_BYTES, MAX_VALUE_BYTES } from './large-value.ts'
import { openNodeSocket } from '../wire/node-socket.ts'

/** What a statement receives beside its rows: snapshots, places, headers. */
const BESIDE = 64 * 1024

describe.each(POSTGRES_VERSIONS)('large values of Postgres %i', (version) => {
  let postgres: TestPostgres
  let received = 0
  const socket: typeof openNodeSocket = async (address, options) => {
    const opened = await openNodeSocket(address, options)
    opened.on('data', (bytes: Uint8Array) => (received += bytes.length))
    return opened
  }

  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    await postgres.sql().unsafe(`
      create table files (id int primary key, name text, content bytea);
      alter table files alter column content set storage external;
      insert into files select n, 'file ' || n, decode(repeat(md5(n::text), 327680), 'hex') from generate_series(1, 12) n;
      create table documents (id int primary key, body text);
      alter table documents alter column body set storage external;
      insert into documents select n, repeat(md5(n::text), 50000) from generate_series(1, 20) n;
      create table wide (id int primary key, a text, b text, c text, d text, e text);
      insert into wide select n, repeat('a', 2000000), repeat('b', 2000000), repeat('c', 2000000), repeat('d', 2000000), repeat('e', 2000000)
        from generate_series(1, 3) n;
      create table packed (id int primary key, body text);
      insert into packed values (1, repeat('x', 50000000)), (2, 'short'), (3, null)`)
  })
  afterAll(() => postgres?.stop())

  async function found(name: string, only?: string[]): Promise<CatalogTable> {
    const sql = connectSource(postgres.url)
    const columns = () => ({ all: only === undefined, read: new Set(only ?? ['content']), named: new Set<string>() })
    const { tables } = await prepareSource(sql, { slot: `s_${name}`, tables: [{ schema: 'public', name }], columns })
    await sql.end()
    const [table] = tables
    if (!table) throw new Error('it is not followed')
    return table
  }

  /** The whole table, chunk by chunk, and what was received of each at most. */
  async function copy(table: CatalogTable, rows = 1_000): Promise<{ tuples: Tuple[]; reads: number; most: number }> {
    const sql = connectSource(postgres.url, { socket })
    const { blocks } = await relationSize(sql, table)
    const all: Tuple[] = []
    let [reads, most] = [0, 0]
    for (let from: { block: number; item: number } | null = { block: 0, item: 0 }; from; reads++) {
      received = 0
      const { tuples, next }: Awaited<ReturnType<typeof readChunk>> = await readChunk(
        sql,
        table,
        table,
        from,
        blocks,
        rows,
      )
      most = Math.max(most, received)
      all.push(...tuples)
      from = next
    }
    await sql.end()
    return { tuples: all, reads, most }
  }

  test('of 5 MB values of a column that is read only the length is sent', async () => {
    const { tuples, most } = await copy(await found('files'))
    const size = 2 + 2 * 5 * 1024 * 1024
    expect(tuples).toEqual(Array.from({ length: 12 }, (_, i) => [String(i + 1), `file ${i + 1}`, new LargeValue(size)]))
    expect(most).toBeLessThan(BESIDE)
  })

  test('a column that nobody reads is not fetched', async () => {
    const table = await found('files', ['name'])
    expect(table.columns.map(({ name }) => name)).toEqual(['id', 'name'])
    const { tuples, most } = await copy(table)
    expect(tuples[11]).toEqual(['12', 'file 12'])
    expect(most).toBeLessThan(BESIDE)
  })

  test('values of 1.6 MB are read in chunks that are cut between two rows of a block, each row once', async () => {
    const table = await found('documents')
    expect((await relationSize(postgres.sql(), table)).blocks).toBe(1)
    const { tuples, reads, most } = await copy(table)
    expect(tuples.map(([id, body]) => [id, typeof body === 'string' ? body.length : body])).toEqual(
      Array.from({ length: 20 }, (_, i) => [String(i + 1), 1_600_000]),
    )
    expect(reads).toBe(4)
    expect(most).toBeGreaterThan(MAX_READ_BYTES / 2)
    expect(most).toBeLessThan(MAX_READ_BYTES + BESIDE)
    const few = await copy(table, 2)
    expect(few.tuples).toHaveLength(20)
    expect(few.most).toBeLessThan(4_000_000)
  })

  test('a row of many values that are large together keeps its key', async () => {
    const { tuples, most } = await copy(await found('wide'))
    const large = new LargeValue(2_000_000)
    expect(5 * 2_000_000).toBeGreaterThan(MAX_ROW_BYTES)
    expect(tuples).toEqual([1, 2, 3].map((id) => [String(id), large, large, large, large, large]))
    expect(most).toBeLessThan(BESIDE)
  })

  test('a value that is small only in its stored form is large, also when it is read by key', async () => {
    const table = await found('packed')
    const wanted = [
      ['1', new LargeValue(50_000_000)],
      ['2', 'short'],
      ['3', null],
    ]
    expect((await copy(table)).tuples).toEqual(wanted)
    const sql = connectSource(postgres.url, { socket })
    received = 0
    expect((await readRows(sql, table, ['["1"]', '["2"]', '["3"]'])).tuples).toEqual(wanted)
    expect(received).toBeLessThan(BESIDE)
    await sql.end()
  })

  test('in the stream a large value is replaced by its length, and a large message by its prefix', async () => {
    await found('packed')
    const sql = connectSource(postgres.url)
    const streaming = connectSource(postgres.url, { replication: true })
    const seen: unknown[] = []
    let largest = 0
    const done = Promise.withResolvers<void>()
    const options = { slot: 's_packed', publication: 'rockpool', walSenderTimeoutMs: 60_000 }
    const session = await openReplication(streaming, options, {
      message: (message, bytes) => {
        largest = Math.max(largest, bytes)
        if (message.type === 'insert') seen.push(message.new)
        if (message.type === 'message') {
          seen.push([message.prefix, message.content.length])
          if (message.prefix === 'end') done.resolve()
        }
      },
      keepalive: () => {},
    })
    await sql`insert into public.packed values (4, repeat('y', ${3 * MAX_VALUE_BYTES}::int)), (5, 'z')`
    await sql`select pg_logical_emit_message(true, 'of somebody', repeat('m', 60000000))`
    await emitMarker(sql, 'end', 'x')
    await Promise.race([done.promise, session.ended])
    await session.close()
    await sql.end()
    expect(seen).toEqual([
      ['4', new LargeValue(3 * MAX_VALUE_BYTES)],
      ['5', 'z'],
      ['of somebody', 0],
      ['end', 1],
    ])
    expect(largest).toBeLessThan(1_000)
  })
})
