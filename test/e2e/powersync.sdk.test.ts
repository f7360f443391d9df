import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SyncStreamConnectionMethod } from '@powersync/common'
import { startEdge } from '../support/edge.ts'
import type { Edge } from '../support/edge.ts'
import { startPostgres } from '../support/postgres.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

const syncConfig = `
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, name, owner_id, shared, created_at FROM lists WHERE owner_id = bucket.user_id
  shared:
    data:
      - SELECT id, name, owner_id, shared, created_at FROM lists WHERE shared = true
`

describe('an unmodified PowerSync SDK', () => {
  const secret = newSecret()
  let postgres: TestPostgres
  let edge: Edge
  let directory: { path: string; remove(): Promise<void> }

  beforeAll(async () => {
    directory = await temporaryDirectory()
    postgres = await startPostgres()
    const sql = postgres.sql()
    await sql`create table lists (id uuid primary key, name text not null, owner_id text not null, shared boolean not null default false, created_at timestamptz not null default now())`
    await sql`insert into lists (id, name, owner_id, shared) values
      ('00000000-0000-4000-8000-000000000001', 'Groceries', 'alice', false),
      ('00000000-0000-4000-8000-000000000002', 'Bob only', 'bob', false),
      ('00000000-0000-4000-8000-000000000003', 'For all', 'bob', true)`
    edge = await startEdge({
      databaseUrl: postgres.url,
      jwtSecret: secret,
      jwtAudience: AUDIENCE,
      syncConfig,
      directory: `${directory.path}/edge`,
    })
  })

  afterAll(async () => {
    await edge?.dispose()
    await postgres?.stop()
    await directory?.remove()
  })

  test('syncs its tables, uploads a local write and sees it come back through a write checkpoint', async () => {
    const sql = postgres.sql()
    const database = powersync(directory.path, 'alice')
    const uploaded: string[] = []
    try {
      await database.connect(
        connector(
          edge.url,
          () => token(secret, 'alice'),
          async (db) => {
            for (let tx = await db.getNextCrudTransaction(); tx; tx = await db.getNextCrudTransaction()) {
              await sql.begin(async (q) => {
                for (const entry of tx.crud) {
                  const data = entry.opData ?? {}
                  await q`insert into lists (id, name, owner_id) values (${entry.id}, ${String(data.name)}, ${String(data.owner_id)}) on conflict (id) do update set name = excluded.name`
                  // A trigger-like change on the server: it can reach the client only through the stream.
                  await q`update lists set name = name || ' (stored)' where id = ${entry.id}`
                  uploaded.push(entry.id)
                }
              })
              await tx.complete()
            }
          },
        ),
        { connectionMethod: SyncStreamConnectionMethod.HTTP },
      )
      await database.waitForFirstSync()
      const names = async (): Promise<string[]> =>
        (await database.getAll<{ name: string }>('select name from lists order by name')).map((row) => row.name)
      expect(await names()).toEqual(['For all', 'Groceries'])

      await sql`insert into lists (id, name, owner_id) values ('00000000-0000-4000-8000-000000000004', 'Added later', 'alice')`
      await until('the streamed row', async () => (await names()).includes('Added later'), 60, names)

      await sql`update lists set owner_id = 'bob' where id = '00000000-0000-4000-8000-000000000004'`
      await until('the row to leave', async () => !(await names()).includes('Added later'), 60, names)

      const id = '00000000-0000-4000-8000-000000000009'
      await database.execute('insert into lists (id, name, owner_id) values (?, ?, ?)', [id, 'Written here', 'alice'])
      expect(await names()).toContain('Written here')
      await until(
        'the write to come back',
        async () => (await names()).includes('Written here (stored)'),
        60,
        async () => [uploaded, await names()],
      )
      expect(uploaded).toEqual([id])
      const pending = await database.get<{ n: number }>('select count(*) as n from ps_crud')
      expect(pending.n).toBe(0)
    } finally {
      await database.close()
    }
  })

  test('two buckets are two objects', async () => {
    const ids = await edge.objectIds('Bucket')
    // mine["alice"], mine["bob"], shared[] and alice's mailbox
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.length).toBe(4)
  })

  test('a client cannot create storage by asking', async () => {
    const before = await edge.objectIds('Bucket')
    const database = powersync(directory.path, 'stranger')
    try {
      await database.connect(connector(edge.url, () => token(secret, 'a-user-without-rows')))
      await database.waitForFirstSync()
      expect(await database.getAll('select * from lists')).toHaveLength(1)
    } finally {
      await database.close()
    }
    const tables = await edge.objectTables('Bucket')
    const written = tables.filter((object) => object.tables.length > 0).map((object) => object.id)
    expect(written.sort()).toEqual(before.sort())
  })
})
