import { SyncStreamConnectionMethod } from '@powersync/common'
import type { CrudTransaction } from '@powersync/common'
import type { Sql, TransactionSql } from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { openRawStream, type RawClient } from '../support/raw-stream.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

// The file is long because write checkpoints are followed over one deployment.

const syncConfig = `
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, name, owner_id FROM lists WHERE owner_id = bucket.user_id
event_definitions:
  write_checkpoints:
    payloads:
      - SELECT user_id, client_id, n AS checkpoint FROM checkpoints
`
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let sql: Sql

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  sql = postgres.sql()
  await sql`create table lists (id text primary key, name text, owner_id text not null)`
  await sql`create table checkpoints (user_id text, client_id text, n int8, primary key (user_id, client_id))`
  await sql`insert into checkpoints values ('early', 'c', 9223372036854775806)`
  const settings = { databaseUrl: postgres.url, jwtSecret: secret, jwtAudience: AUDIENCE }
  edge = await startEdge({ ...settings, syncConfig, directory: `${directory.path}/edge` })
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

async function ask(user: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
  const headers = { authorization: `Token ${await token(secret, user)}`, 'content-type': 'application/json' }
  const init = body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) }
  const response = await fetch(`${edge.url}${path}`, init)
  return { status: response.status, body: await response.json() }
}

async function writeCheckpoint(user: string, client: string): Promise<bigint> {
  const { status, body } = await ask(user, `/write-checkpoint2.json?client_id=${client}`)
  expect(status).toBe(200)
  expect(body).toEqual({ data: { write_checkpoint: expect.stringMatching(/^[1-9]\d{0,18}$/) } })
  return BigInt((body as { data: { write_checkpoint: string } }).data.write_checkpoint)
}

const request = (user: string, client_id: string, checkpoint_request_id: unknown) =>
  ask(user, '/sync/checkpoint-request', { client_id, checkpoint_request_id })

const stored = (id: string) => ({ status: 200, body: { data: { checkpoint_request_id: id } } })

async function stream(user: string, client: string): Promise<{ client: RawClient; stop(): void }> {
  const opened = await openRawStream(edge.url, await token(secret, user), { client_id: client })
  await opened.client.until(() => opened.client.completes > 0)
  return opened
}

describe('I5: a write checkpoint', () => {
  test('comes at a checkpoint that contains everything committed before it was asked for, with many writers at once', async () => {
    const writers = 8
    const rounds = 12
    let noisy = true
    const noise = Promise.all(
      Array.from({ length: 3 }, async (_, i) => {
        for (let n = 0; noisy; n++) {
          await sql.begin(async (q) => {
            await q`insert into lists select ${`noise-${i}-${n}-`} || k, 'x', 'noise' from generate_series(1, 50) k`
            await q`select pg_sleep(0.05)`
          })
        }
      }),
    )
    const results = await Promise.all(
      Array.from({ length: writers }, async (_, i) => {
        const user = `writer${i}`
        const { client, stop } = await stream(user, 'device')
        /** What each complete checkpoint showed. */
        const shown: { write: bigint | null; rows: number }[] = []
        let completes = client.completes
        client.onLine(() => {
          if (client.completes === completes) return
          completes = client.completes
          shown.push({ write: client.writeCheckpoint, rows: client.rows.size })
        })
        const numbers: bigint[] = []
        for (let round = 0; round < rounds; round++) {
          await sql.begin(async (q) => {
            await q`insert into lists values (${`${user}-${round}`}, 'mine', ${user})`
            // Transactions that end in another order than they began.
            if ((round + i) % 3 === 0) await q`select pg_sleep(${Math.random() * 0.05})`
          })
          const n = await writeCheckpoint(user, 'device')
          numbers.push(n)
          if (round % 4 === 3) await client.until(() => (client.writeCheckpoint ?? 0n) >= n)
        }
        stop()
        return { numbers, shown }
      }),
    )
    noisy = false
    await noise
    for (const { numbers, shown } of results) {
      expect(numbers).toEqual([...numbers].sort((a, b) => (a < b ? -1 : 1)))
      expect(new Set(numbers).size).toBe(rounds)
      for (const { write, rows } of shown) {
        const confirmed = numbers.filter((n) => write !== null && n <= write).length
        expect(rows).toBeGreaterThanOrEqual(confirmed)
      }
      // Once there is one it stands on every line, and never goes back.
      const writes = shown.map(({ write }) => write)
      const first = writes.findIndex((write) => write !== null)
      expect(writes.slice(first)).not.toContain(null)
      for (let k = first + 1; k < writes.length; k++) expect((writes[k] ?? 0n) >= (writes[k - 1] ?? 0n)).toBe(true)
    }
  })

  test('is a diff and a complete of its own when nothing else has changed, and no other client hears of it', async () => {
    const mine = await stream('quiet', 'one')
    const other = await stream('quiet', 'two')
    const before = other.client.completes
    const n = await writeCheckpoint('quiet', 'one')
    await mine.client.until(() => mine.client.writeCheckpoint === n)
    expect(mine.client.seen.slice(-2)).toEqual(['checkpoint_diff', 'checkpoint_complete'])
    await sql`insert into lists values ('quiet', 'x', 'quiet')`
    await other.client.until(() => other.client.completes > before)
    expect(other.client.writeCheckpoint).toBeNull()
    await mine.client.until(() => mine.client.rows.size === 1)
    expect(mine.client.writeCheckpoint).toBe(n)
    mine.stop()
    other.stop()
    const again = await stream('quiet', 'one')
    expect(again.client.writeCheckpoint).toBe(n)
    again.stop()
  })

  test('requests that come together are one message in the WAL', async () => {
    await sql`select pg_create_logical_replication_slot('count', 'test_decoding')`
    await writeCheckpoint('many', 'first')
    // The connection that emits is stopped, so that everything else has to wait.
    const emitting = await sql<{ pid: number }[]>`
      select pid from pg_stat_activity where query like '%pg_logical_emit_message%' and pid <> pg_backend_pid() and backend_type = 'client backend'`
    expect(emitting.length).toBeGreaterThan(0)
    for (const { pid } of emitting) process.kill(pid, 'SIGSTOP')
    const asked = Array.from({ length: 300 }, (_, i) => writeCheckpoint('many', `c${i}`))
    try {
      await new Promise((resolve) => setTimeout(resolve, 1_500))
    } finally {
      for (const { pid } of emitting) process.kill(pid, 'SIGCONT')
    }
    const numbers = await Promise.all(asked)
    expect(new Set(numbers).size).toBe(300)
    const changes = await sql<
      { data: string }[]
    >`select data from pg_logical_slot_get_changes('count', null, null) where data like 'message:%'`
    const messages = changes.flatMap(({ data }) => {
      const content = /content:(\{"write":.*\})$/.exec(data)?.[1]
      return content === undefined ? [] : [(JSON.parse(content) as { write: [string, string, string][] }).write]
    })
    const mine = messages.map((write) => write.filter(([user]) => user === 'many')).filter((write) => write.length > 0)
    expect(mine.flat()).toHaveLength(301)
    expect(mine.length).toBeLessThan(15)
    await sql`select pg_drop_replication_slot('count')`
    const { client, stop } = await stream('many', 'c299')
    await client.until(() => client.writeCheckpoint === numbers[299])
    stop()
  })
})

describe('numbers that clients choose', () => {
  test('the highest stands, exact to 64 bits, and comes with everything committed before', async () => {
    const { client, stop } = await stream('chooser', 'c')
    await sql`insert into lists values ('chosen', 'x', 'chooser')`
    expect(await request('chooser', 'c', 5)).toEqual(stored('5'))
    expect(await request('chooser', 'c', '3')).toEqual(stored('5'))
    await client.until(() => client.writeCheckpoint === 5n)
    expect(client.rows.size).toBe(1)
    for (const id of ['9007199254740993', '9223372036854775806', '9223372036854775807']) {
      expect(await request('chooser', 'c', id)).toEqual(stored(id))
      await client.until(() => client.writeCheckpoint === BigInt(id))
    }
    expect(await request('chooser', 'c', '9223372036854775806')).toEqual(stored('9223372036854775807'))
    // Other clients and other users have their own.
    expect(await request('chooser', 'd', 1)).toEqual(stored('1'))
    expect(await request('other', 'c', 1)).toEqual(stored('1'))
    stop()
  })

  test.each([
    [{ client_id: 'c', checkpoint_request_id: 0 }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: -1 }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: '0' }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: '9223372036854775808' }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: 2 ** 53 }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: 1.5 }, 'checkpoint_request_id'],
    [{ client_id: 'c', checkpoint_request_id: 'x' }, 'checkpoint_request_id'],
    [{ client_id: 'c' }, 'checkpoint_request_id'],
    [{ client_id: '', checkpoint_request_id: 1 }, 'client_id'],
    [{ client_id: 7, checkpoint_request_id: 1 }, 'client_id'],
    [{ checkpoint_request_id: 1 }, 'client_id'],
    [[], 'the body'],
  ])('%j is refused', async (body, where) => {
    expect(await ask('chooser', '/sync/checkpoint-request', body)).toMatchObject({
      status: 400,
      body: { error: { code: 'PSYNC_S2001', status: 400, description: expect.stringContaining(where) } },
    })
  })
})

describe('numbers that the application chooses', () => {
  test('a row of the payload delivers its number at its place in the stream; what was there before comes with the copy', async () => {
    const early = await stream('early', 'c')
    expect(early.client.writeCheckpoint).toBe(9223372036854775806n)
    early.stop()
    const { client, stop } = await stream('custom', 'c')
    const shown: [bigint | null, number][] = []
    client.onLine(() => void shown.push([client.writeCheckpoint, client.rows.size]))
    for (let n = 1; n <= 20; n++) {
      await sql.begin(async (q) => {
        const count = () => q`
          insert into checkpoints values ('custom', 'c', ${n}) on conflict (user_id, client_id) do update set n = excluded.n`
        // In both orders within the transaction.
        if (n % 2 === 0) await count()
        await q`insert into lists values (${`custom-${n}`}, 'x', 'custom')`
        if (n % 2 === 1) await count()
      })
    }
    await client.until(() => client.writeCheckpoint === 20n)
    for (const [write, rows] of shown) expect(BigInt(rows)).toBe(write ?? 0n)
    stop()
  })

  test('a row that is no write checkpoint is skipped and shown to operators', async () => {
    await sql`insert into checkpoints values ('custom', 'bad', -4)`
    const seen = await until('the skipped row', async () => {
      const headers = { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` }
      const { data }: { data: { skippedRows: { recent: { table: string; reason: string }[] } } } = await (
        await fetch(`${edge.url}/status`, { headers })
      ).json()
      return data.skippedRows.recent.find((row) => row.table.includes('checkpoints'))
    })
    expect(seen.reason).toBe('write_checkpoints: checkpoint must be in 1 … 2^63-1')
  })
})

describe('an unmodified SDK', () => {
  async function upload(
    tx: CrudTransaction,
    also: (q: TransactionSql) => Promise<unknown> = async () => {},
  ): Promise<void> {
    await sql.begin(async (q) => {
      for (const entry of tx.crud) {
        await q`insert into lists values (${entry.id}, ${`${String(entry.opData?.name)} (stored)`}, ${String(entry.opData?.owner_id)})`
      }
      await also(q)
    })
  }

  test('in the mode of checkpoint requests: local writes stay until they have come back', async () => {
    const database = powersync(directory.path, 'requests')
    const asked: string[] = []
    try {
      await database.connect(
        connector(
          edge.url,
          () => token(secret, 'requests'),
          async (db) => {
            for (let tx = await db.getNextCrudTransaction(); tx; tx = await db.getNextCrudTransaction()) {
              await upload(tx)
              await tx.complete()
              asked.push('upload')
            }
          },
        ),
        { connectionMethod: SyncStreamConnectionMethod.HTTP, checkpointMode: 'requests', retryDelayMs: 200 },
      )
      await database.waitForFirstSync()
      const names = async () =>
        (await database.getAll<{ name: string }>('select name from lists order by name')).map((row) => row.name)
      const seen: string[][] = []
      for (let i = 1; i <= 3; i++) {
        await database.execute('insert into lists (id, name, owner_id) values (?, ?, ?)', [
          `r${i}`,
          `n${i}`,
          'requests',
        ])
        await until(
          'it came back',
          async () => (seen.push(await names()), (await names()).includes(`n${i} (stored)`)),
          60,
          async () => [asked, await names()],
        )
      }
      expect(await names()).toEqual(['n1 (stored)', 'n2 (stored)', 'n3 (stored)'])
      // Numbers of the client's own counting, not those of the other mode, which are times.
      const kept = await database.getAll<{ key: string; value: string }>(
        "select key, cast(value as text) as value from ps_kv where key like '%request_id'",
      )
      expect(kept.length).toBeGreaterThan(0)
      for (const { value } of kept) expect(Number(value)).toBeLessThan(1_000)
    } finally {
      await database.close()
    }
  })

  test('with numbers of its application', async () => {
    const database = powersync(directory.path, 'numbered')
    let n = 0
    try {
      await database.connect(
        connector(
          edge.url,
          () => token(secret, 'numbered'),
          async (db) => {
            const client = await db.getClientId()
            for (let tx = await db.getNextCrudTransaction(); tx; tx = await db.getNextCrudTransaction()) {
              n++
              await upload(
                tx,
                (q) =>
                  q`insert into checkpoints values ('numbered', ${client}, ${n}) on conflict (user_id, client_id) do update set n = excluded.n`,
              )
              await tx.complete(String(n))
            }
          },
        ),
        { connectionMethod: SyncStreamConnectionMethod.HTTP, retryDelayMs: 200 },
      )
      await database.waitForFirstSync()
      for (let i = 1; i <= 3; i++) {
        await database.execute('insert into lists (id, name, owner_id) values (?, ?, ?)', [
          `a${i}`,
          `n${i}`,
          'numbered',
        ])
        await until(
          'it came back',
          async () => (await database.getAll('select 1 from lists where name = ?', [`n${i} (stored)`])).length === 1,
          60,
        )
      }
      expect(n).toBe(3)
    } finally {
      await database.close()
    }
  })
})
