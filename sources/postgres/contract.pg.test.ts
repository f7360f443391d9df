import { afterAll, beforeAll, describe, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { contractRules, type BedChange, type ContractBed } from '../contract.ts'
import { postgresKind } from './postgres-source.ts'
import type { PostgresSettings } from './settings.ts'
import { openNodeSocket } from './wire/node-socket.ts'

describe.each(POSTGRES_VERSIONS)('Postgres %i', (version) => {
  let postgres: TestPostgres
  let made = 0

  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
  })
  afterAll(() => postgres?.stop())

  async function bedOf(): Promise<ContractBed<PostgresSettings>> {
    const slot = `contract_${++made}`
    const tables = { a: { schema: 'public', name: `a${made}` }, b: { schema: 'public', name: `b${made}` } }
    const sql = postgres.sql()
    for (const { name } of Object.values(tables)) {
      await sql.unsafe(`create table ${name} (id text primary key, v text, n int not null default 0)`)
      await sql.unsafe(`alter table ${name} alter column v set storage external`)
    }
    const write = ({ table, id, v }: BedChange): string => {
      const { name } = tables[table]
      const literal = (text: string) => `'${text.replaceAll("'", "''")}'`
      if (v === null) return `delete from ${name} where id = ${literal(id)}`
      return `insert into ${name} values (${literal(id)}, ${literal(v)}) on conflict (id) do update set v = excluded.v`
    }
    return {
      kind: postgresKind({ socket: openNodeSocket }),
      url: postgres.url,
      settings: { slot, ownPublication: slot, publicationColumns: 'all', walPolicy: 'keep', walKeepGb: 10 },
      tables,
      comesMs: 60_000,
      commit: async (...changes) => {
        await sql.begin(async (tx) => {
          for (const change of changes) await tx.unsafe(write(change))
        })
      },
      another: (stored) => ({ ...stored, xid: 4 }),
      unsent: async (id) => {
        await sql.unsafe(`update ${tables.a.name} set n = n + 1 where id = '${id}'`)
      },
      async unseen(change, work) {
        const open = Promise.withResolvers<void>()
        const written = Promise.withResolvers<void>()
        const committed = sql.begin(async (tx) => {
          await tx.unsafe(write(change))
          written.resolve()
          await open.promise
        })
        await written.promise
        await work(async () => {
          open.resolve()
          await committed
        }).finally(() => open.resolve())
        await committed
      },
      async silent(work) {
        await sql.begin(async (tx) => {
          await tx.unsafe('lock table pg_catalog.pg_publication in access exclusive mode')
          await work()
        })
      },
      async close() {
        await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = ${slot} and not active`
        await sql.unsafe(`drop publication if exists ${slot}`)
      },
    }
  }

  test.each(contractRules<PostgresSettings>())('$name', async ({ check }) => {
    const bed = await bedOf()
    await check(bed).finally(() => bed.close())
  })
})
