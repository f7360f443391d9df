import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres } from '../test/postgres.ts'
import type { TestPostgres } from '../test/postgres.ts'
import { decodePgoutput } from './pgoutput.ts'
import type { PgoutputMessage } from './types.ts'

let server: TestPostgres
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(async () => {
  await server?.stop()
})

test('every kind of message that Postgres sends is decoded', async () => {
  const sql = server.sql()
  await sql.unsafe(`
    create table t (id int primary key, a text, big text);
    alter table t alter big set storage external;
    create publication p for table t;
  `)
  await sql`select pg_create_logical_replication_slot('s', 'pgoutput')`
  const big = 'x'.repeat(4000)
  await sql`insert into t values (1, 'Grüße', ${big})`
  await sql`update t set a = null where id = 1`
  await sql`update t set id = 2 where id = 1`
  await sql`select pg_logical_emit_message(true, 'rockpool', 'hello')`
  await sql`delete from t`
  await sql`truncate t`
  const rows = await sql<{ data: Uint8Array }[]>`
    select data from pg_logical_slot_get_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`
  const messages = rows.map((row) => decodePgoutput(row.data))
  const of = <T extends PgoutputMessage['type']>(type: T) =>
    messages.filter((m): m is Extract<PgoutputMessage, { type: T }> => m.type === type)

  const begins = of('begin')
  const commits = of('commit')
  expect(begins).toHaveLength(6)
  // A transaction is known by the start of its commit record, at both ends.
  expect(begins.map((b) => b.finalLsn)).toEqual(commits.map((c) => c.commitLsn))
  expect(commits.every((c) => c.endLsn > c.commitLsn)).toBe(true)
  expect(begins.map((b) => b.commitTime)).toEqual(commits.map((c) => c.commitTime))
  expect(begins[0]!.commitTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)

  const relation = of('relation')[0]!
  expect([relation.schema, relation.name, relation.identity]).toEqual(['public', 't', 'd'])
  expect(relation.columns.map((c) => [c.name, c.key, c.typeOid])).toEqual([
    ['id', true, 23],
    ['a', false, 25],
    ['big', false, 25],
  ])
  expect(of('insert')[0]!.new).toEqual(['1', 'Grüße', big])
  // An unchanged out-of-line value is not sent; the key is sent only when it changes.
  expect(of('update')[0]).toMatchObject({ new: ['1', null, undefined] })
  expect(of('update')[0]!.key).toBeUndefined()
  expect(of('update')[1]).toMatchObject({ key: ['1', null, null], new: ['2', null, undefined] })
  expect(of('delete')[0]).toMatchObject({ key: ['2', null, null] })
  expect(of('truncate')[0]).toMatchObject({ oids: [relation.oid], cascade: false, restartIdentity: false })
  const message = of('message')[0]!
  expect([message.transactional, message.prefix, new TextDecoder().decode(message.content)]).toEqual([true, 'rockpool', 'hello'])
})

test('a message that is cut short is an error, not a change', () => {
  expect(() => decodePgoutput(new Uint8Array([0x42, 0, 0]))).toThrow('shorter than it says')
  expect(() => decodePgoutput(new Uint8Array([0x5a]))).toThrow('unknown type')
})
