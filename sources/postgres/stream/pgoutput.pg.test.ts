import { Duplex } from 'node:stream'
import type { Sql } from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { connectSource } from '../wire/connection.ts'
import { decodePgoutput, StreamingPgoutputDecoder } from './pgoutput.ts'
import type { PgoutputMessage } from '../types.ts'

// The file is long because every message is compared with a real server of each version.

type Of<T extends PgoutputMessage['type']> = Extract<PgoutputMessage, { type: T }>

describe.each(POSTGRES_VERSIONS)('messages of Postgres %i', (version) => {
  let server: TestPostgres
  let sql: Sql
  beforeAll(async () => {
    server = await startPostgres({ max_prepared_transactions: '5', logical_decoding_work_mem: '64kB' }, { version })
    sql = server.sql()
  })
  afterAll(() => server?.stop())

  /** What a slot sends of what `run` does, decoded. */
  async function capture(publication: string, run: () => Promise<unknown>): Promise<PgoutputMessage[]> {
    await sql`SELECT pg_create_logical_replication_slot('s', 'pgoutput')`
    try {
      await run()
      const options = ['proto_version', '1', 'publication_names', publication, 'messages', 'true']
      const rows = await sql<{ data: Uint8Array }[]>`
        SELECT data FROM pg_logical_slot_get_binary_changes('s', NULL, NULL, VARIADIC ${options}::text[])`
      return rows.map(({ data }) => decodePgoutput(data))
    } finally {
      await sql`SELECT pg_drop_replication_slot('s')`
    }
  }

  /**
   * A walsender of protocol 2 that streams transactions before their end. `until` resolves when a message like that has
   * come.
   */
  async function stream(publication: string) {
    const walsender = connectSource(server.url, { replication: true })
    await sql`SELECT pg_create_logical_replication_slot('live', 'pgoutput')`
    const options = `proto_version '2', streaming 'on', publication_names '${publication}', messages 'true'`
    const copy: unknown = await walsender.unsafe(`START_REPLICATION SLOT live LOGICAL 0/0 (${options})`).writable()
    if (!(copy instanceof Duplex)) throw new Error('no stream')
    const decoder = new StreamingPgoutputDecoder()
    const messages: PgoutputMessage[] = []
    const waiting = new Set<() => void>()
    copy.on('data', (bytes: Uint8Array) => {
      if (bytes[0] === 'w'.charCodeAt(0)) messages.push(decoder.decode(bytes.subarray(25)))
      for (const look of waiting) look()
    })
    // Closing ends the copy with an error.
    copy.on('error', () => {})
    return {
      messages,
      until: (found: (message: PgoutputMessage) => boolean) =>
        new Promise<void>((resolve) => {
          const look = () => {
            if (!messages.some(found)) return
            waiting.delete(look)
            resolve()
          }
          waiting.add(look)
          look()
        }),
      async close() {
        await walsender.end({ timeout: 1 })
        await sql`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'live' AND active_pid IS NOT NULL`
        while (
          (await sql`SELECT FROM pg_replication_slots WHERE slot_name = 'live' AND active_pid IS NOT NULL`).length > 0
        );
        await sql`SELECT pg_drop_replication_slot('live')`
      },
    }
  }
  const of = <T extends PgoutputMessage['type']>(messages: PgoutputMessage[], type: T) =>
    messages.filter((message): message is Of<T> => message.type === type)
  const kinds = (messages: PgoutputMessage[]) => messages.map((message) => message.type).join(' ')
  const transaction = async (...statements: string[]) => {
    await sql.begin(async (tx) => {
      for (const statement of statements) await tx.unsafe(statement)
    })
  }

  test('rows: identity by key, keys that change, values out of line, transactions by the start of their commit record', async () => {
    await sql.unsafe(`
      CREATE TABLE t (id int PRIMARY KEY, a text, big text);
      ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
      CREATE PUBLICATION p FOR TABLE t;
    `)
    const big = 'x'.repeat(4000)
    const messages = await capture('p', async () => {
      await sql`INSERT INTO t VALUES (1, 'Grüße', ${big})`
      await sql`UPDATE t SET a = NULL WHERE id = 1`
      await sql`UPDATE t SET id = 2 WHERE id = 1`
      await sql`DELETE FROM t`
    })
    const begins = of(messages, 'begin')
    const commits = of(messages, 'commit')
    expect(begins).toHaveLength(4)
    expect(begins.map((begin) => begin.finalLsn)).toEqual(commits.map((commit) => commit.commitLsn))
    expect(commits.every((commit) => commit.endLsn > commit.commitLsn)).toBe(true)
    expect(begins.map((begin) => begin.commitTime)).toEqual(commits.map((commit) => commit.commitTime))
    expect(begins[0]?.commitTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)

    const relation = of(messages, 'relation')[0]
    expect(relation).toMatchObject({ schema: 'public', name: 't', identity: 'd' })
    expect(relation?.columns).toEqual([
      { name: 'id', key: true, typeOid: 23, typmod: -1 },
      { name: 'a', key: false, typeOid: 25, typmod: -1 },
      { name: 'big', key: false, typeOid: 25, typmod: -1 },
    ])
    const oid = relation?.oid
    expect(of(messages, 'insert')).toEqual([{ type: 'insert', oid, new: ['1', 'Grüße', big] }])
    // An unchanged out-of-line value is not sent; the key is sent only when it changes.
    expect(of(messages, 'update')).toEqual([
      { type: 'update', oid, new: ['1', null, undefined] },
      { type: 'update', oid, key: ['1', null, null], new: ['2', null, undefined] },
    ])
    expect(of(messages, 'delete')).toEqual([{ type: 'delete', oid, key: ['2', null, null] }])
  })

  test('identity FULL sends the old row, an identity index its columns', async () => {
    await sql.unsafe(`
      CREATE TABLE full_rows (id int PRIMARY KEY, a text);
      ALTER TABLE full_rows REPLICA IDENTITY FULL;
      CREATE TABLE by_index (id int PRIMARY KEY, a text NOT NULL UNIQUE, b varchar(9));
      ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_key;
      INSERT INTO full_rows VALUES (1, 'x');
      INSERT INTO by_index VALUES (1, 'x', 'y');
      CREATE PUBLICATION identities FOR TABLE full_rows, by_index;
    `)
    const messages = await capture('identities', async () => {
      await sql`UPDATE full_rows SET a = 'z'`
      await sql`DELETE FROM full_rows`
      await sql`UPDATE by_index SET a = 'z'`
      await sql`DELETE FROM by_index`
    })
    expect(
      of(messages, 'relation').map(({ identity, columns }) => [
        identity,
        columns.map(({ key, typmod }) => [key, typmod]),
      ]),
    ).toEqual([
      [
        'f',
        [
          [true, -1],
          [true, -1],
        ],
      ],
      [
        'i',
        [
          [false, -1],
          [true, -1],
          [false, 13],
        ],
      ],
    ])
    expect(of(messages, 'update')).toMatchObject([
      { old: ['1', 'x'], new: ['1', 'z'] },
      { key: [null, 'x', null], new: ['1', 'z', 'y'] },
    ])
    expect(of(messages, 'delete')).toMatchObject([{ old: ['1', 'z'] }, { key: [null, 'z', null] }])
  })

  test('types that are not built in are named before their relation', async () => {
    await sql.unsafe(`
      CREATE SCHEMA "Größe";
      CREATE TYPE "Größe".mood AS ENUM ('sad');
      CREATE DOMAIN posint AS int;
      CREATE TABLE typed (id posint PRIMARY KEY, m "Größe".mood, ms "Größe".mood[], t text);
      CREATE PUBLICATION types FOR TABLE typed;
    `)
    const messages = await capture('types', () => sql`INSERT INTO typed VALUES (1, 'sad', '{sad}', 't')`)
    expect(kinds(messages)).toBe('begin type type type relation insert commit')
    const named = new Map(of(messages, 'type').map(({ oid, schema, name }) => [oid, `${schema}.${name}`]))
    expect(of(messages, 'relation')[0]?.columns.map((column) => named.get(column.typeOid) ?? column.typeOid)).toEqual([
      // A domain has its own oid and the name of its base type.
      'pg_catalog.int4',
      'Größe.mood',
      'Größe._mood',
      25,
    ])
  })

  test('TRUNCATE names every published table that it empties', async () => {
    await sql.unsafe(`
      CREATE TABLE parent (id serial PRIMARY KEY);
      CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
      CREATE TABLE private (id int PRIMARY KEY, parent int REFERENCES parent);
      CREATE PUBLICATION truncated FOR TABLE parent, child, t;
    `)
    const [oids] = await sql<{ parent: number; child: number; t: number }[]>`
      SELECT 'parent'::regclass::oid::int AS parent, 'child'::regclass::oid::int AS child, 't'::regclass::oid::int AS t`
    const messages = await capture('truncated', async () => {
      await sql`TRUNCATE t`
      await sql`TRUNCATE parent RESTART IDENTITY CASCADE`
    })
    expect(of(messages, 'truncate')).toEqual([
      { type: 'truncate', oids: [oids?.t], cascade: false, restartIdentity: false },
      { type: 'truncate', oids: [oids?.parent, oids?.child], cascade: true, restartIdentity: true },
    ])
  })

  test('messages: in the order of commits when transactional, at once and whatever becomes of the transaction when not', async () => {
    const messages = await capture('p', async () => {
      await transaction(
        `SELECT pg_logical_emit_message(true, 'a', 'inside')`,
        `SELECT pg_logical_emit_message(false, 'b', '\\x00ff'::bytea)`,
      )
      await transaction(
        `SELECT pg_logical_emit_message(true, 'c', 'gone')`,
        `SELECT pg_logical_emit_message(false, 'd', '')`,
        `SELECT 1 / 0`,
      ).catch(() => {})
      // Flushes what the transaction that was rolled back has left in the WAL's buffers.
      await sql`SELECT pg_logical_emit_message(true, 'e', 'end')`
    })
    expect(kinds(messages)).toBe('message begin message commit message begin message commit')
    expect(
      of(messages, 'message').map(({ transactional, prefix, content }) => [
        transactional,
        prefix,
        Buffer.from(content).toString('hex'),
      ]),
    ).toEqual([
      [false, 'b', '00ff'],
      [true, 'a', Buffer.from('inside').toString('hex')],
      [false, 'd', ''],
      [true, 'e', Buffer.from('end').toString('hex')],
    ])
    const commit = of(messages, 'commit')[0]
    expect(of(messages, 'message').every(({ lsn }) => lsn > 0n)).toBe(true)
    expect(commit?.commitLsn).toBeGreaterThan(of(messages, 'message')[1]?.lsn ?? 0n)
  })

  test('a transaction that was replicated from elsewhere names its origin and its commit there', async () => {
    await sql`SELECT pg_replication_origin_create('elsewhere')`
    const messages = await capture('p', async () => {
      const own = await sql.reserve()
      try {
        await own`SELECT pg_replication_origin_session_setup('elsewhere')`
        await own`BEGIN`
        await own`SELECT pg_replication_origin_xact_setup('1/2A', now())`
        await own`INSERT INTO t VALUES (50)`
        await own`COMMIT`
        await own`SELECT pg_replication_origin_session_reset()`
      } finally {
        own.release()
      }
    })
    expect(kinds(messages)).toBe('begin origin relation insert commit')
    expect(of(messages, 'origin')).toEqual([{ type: 'origin', commitLsn: 0x1_0000002an, name: 'elsewhere' }])
  })

  test('savepoints and prepared transactions come as one transaction, without what was rolled back', async () => {
    const messages = await capture('p', async () => {
      await transaction(
        'INSERT INTO t VALUES (100)',
        'SAVEPOINT a',
        'INSERT INTO t VALUES (101)',
        'ROLLBACK TO a',
        'SAVEPOINT b',
        'INSERT INTO t VALUES (102)',
        'RELEASE b',
      )
      const own = await sql.reserve()
      try {
        for (const [name, id] of [
          ['kept', 200],
          ['gone', 201],
        ]) {
          await own`BEGIN`
          await own`INSERT INTO t VALUES (${id ?? 0})`
          await own.unsafe(`PREPARE TRANSACTION '${name}'`)
        }
        await sql`INSERT INTO t VALUES (300)`
        await own.unsafe(`COMMIT PREPARED 'kept'`)
        await own.unsafe(`ROLLBACK PREPARED 'gone'`)
      } finally {
        own.release()
      }
    })
    const sent: unknown[][] = []
    for (const message of messages) {
      if (message.type === 'begin') sent.push([])
      else if (message.type === 'insert') sent.at(-1)?.push(message.new[0])
    }
    // In commit order: the prepared one where it was committed.
    expect(sent).toEqual([['100', '102'], ['300'], ['200']])
  })

  test('protocol 2: large transactions come in blocks before their end; what is rolled back is aborted, in part or as a whole', async () => {
    await sql.unsafe(`
      CREATE TYPE size AS ENUM ('S');
      CREATE TABLE streamed (id int PRIMARY KEY, s size, a text);
      CREATE TABLE other (id int PRIMARY KEY);
      CREATE PUBLICATION streams FOR TABLE streamed, other;
    `)
    const fill = (from: number, to: number) =>
      `INSERT INTO streamed SELECT n, 'S', repeat('x', 200) FROM generate_series(${from}, ${to}) n`
    const live = await stream('streams')
    const { messages } = live
    await transaction(
      fill(1, 1000),
      `SELECT pg_logical_emit_message(true, 'm', 'inside')`,
      `UPDATE streamed SET a = 'changed' WHERE id = 1`,
      'DELETE FROM streamed WHERE id = 2',
      'SAVEPOINT a',
      fill(1001, 2000),
      'ROLLBACK TO a',
      'SAVEPOINT b',
      fill(3001, 4000),
      'RELEASE b',
      'TRUNCATE other',
      fill(5001, 6000),
    )
    await live.until((message) => message.type === 'stream commit')
    const first = messages.length
    const own = await sql.reserve()
    await own`BEGIN`
    await own.unsafe(fill(7001, 8000))
    // The walsender reads what is flushed; other transactions flush.
    await sql`INSERT INTO other VALUES (1)`
    await live.until((message) => messages.indexOf(message) >= first && message.type === 'stream start')
    await own`ROLLBACK`
    own.release()
    await sql`INSERT INTO other VALUES (2)`
    await live.until((message) => message.type === 'insert' && message.xid === undefined && message.new[0] === '2')
    await live.close()
    const seen = new Set(messages.map((message) => message.type))
    for (const kind of [
      'stream start',
      'stream stop',
      'stream commit',
      'stream abort',
      'relation',
      'type',
      'begin',
      'commit',
    ] as const) {
      expect(seen).toContain(kind)
    }
    const starts = of(messages, 'stream start')
    const commit = of(messages, 'stream commit')[0]
    expect(of(messages, 'stream commit')).toHaveLength(1)
    expect(starts.filter((start) => start.xid === commit?.xid).map((start) => start.first)).toEqual([
      true,
      ...new Array<boolean>(starts.filter((start) => start.xid === commit?.xid).length - 1).fill(false),
    ])
    // What a reader of the stream ends up with: changes by subtransaction, without those that were aborted.
    const byXid = new Map<number, PgoutputMessage[]>()
    let block: number | null = null
    for (const message of messages) {
      if (message.type === 'stream start') block = message.xid
      else if (message.type === 'stream stop') block = null
      else if (message.type === 'stream abort') byXid.delete(message.subXid)
      else if (block !== null && 'xid' in message && message.xid !== undefined) {
        byXid.set(message.xid, [...(byXid.get(message.xid) ?? []), message])
      } else if (block !== null) throw new Error(`${message.type} in a stream block has no xid`)
    }
    const aborts = of(messages, 'stream abort')
    expect(aborts.some((abort) => abort.xid === commit?.xid && abort.subXid !== abort.xid)).toBe(true)
    expect(aborts.some((abort) => abort.xid !== commit?.xid && abort.subXid === abort.xid)).toBe(true)
    const kept = [...byXid.values()].flat()
    const inserts = of(kept, 'insert').map((insert) => Number(insert.new[0]))
    const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
    expect(inserts.sort((a, b) => a - b)).toEqual([...range(1, 1000), ...range(3001, 4000), ...range(5001, 6000)])
    expect(of(kept, 'update')).toMatchObject([{ new: ['1', 'S', 'changed'] }])
    expect(of(kept, 'delete')).toMatchObject([{ key: ['2', null, null] }])
    expect(of(kept, 'message')).toMatchObject([{ prefix: 'm', transactional: true }])
    expect(of(kept, 'truncate')).toHaveLength(1)
  })
})
