import type { ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import { chmod, stat, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { knownDatabase, startDatabase } from '../../cli/database.ts'
import type { Report } from '../../cli/status-report.ts'
import { startCommand, type Command } from '../support/command.ts'
import { edgeOver } from '../support/over-tls.ts'
import { freePort, startPostgres } from '../support/postgres.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// The file is long because all of `rockpool dev` is tried over one data folder.

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const children: ChildProcess[] = []

beforeAll(async () => {
  directory = await temporaryDirectory()
  // Otherwise the database of root is elsewhere, and stays there.
  await chmod(directory.path, 0o755)
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await directory?.remove()
})

function rockpool(...args: string[]): Command {
  return rockpoolWith({}, ...args)
}

function rockpoolWith(env: Record<string, string>, ...args: string[]): Command {
  const run = startCommand(process.execPath, ['cli/rockpool.mjs', ...args], { ...process.env, ...env })
  children.push(run.child)
  return run
}

async function refused(...args: string[]): Promise<string> {
  return refusedWith({}, ...args)
}

async function refusedWith(env: Record<string, string>, ...args: string[]): Promise<string> {
  const run = rockpoolWith(env, ...args)
  expect(await run.ended, run.output).toBe(2)
  return run.output
}

describe('rockpool dev', () => {
  test('starts everything, continues with its data, and Ctrl-C ends it cleanly', async () => {
    const data = `${directory.path}/data`
    const port = await freePort()
    const start = async (): Promise<Command> => {
      const run = rockpool('dev', '--port', String(port), '--data', data, '--no-example')
      await until(
        'the ready line',
        async () => run.output.includes(`ready http://127.0.0.1:${port}\n`),
        120,
        () => run.output,
      )
      return run
    }
    const sql = async (text: string): Promise<string> => {
      const run = rockpool('sql', text, '--data', data)
      expect(await run.ended, run.output).toBe(0)
      return run.output
    }
    const first = await start()
    // What can be typed elsewhere.
    expect(first.output).toContain(`\nstatus     npx rockpool status http://127.0.0.1:${port} --data ${data}\n`)
    expect((await fetch(`http://127.0.0.1:${port}/probes/liveness`)).status).toBe(200)
    expect((await stat(data)).mode & 0o007).toBe(0)
    expect((await stat(`${data}/edge`)).mode & 0o077).toBe(0)
    await sql('create table notes (id int primary key, body text); insert into notes values (1, $$kept$$)')
    expect(await sql('select * from notes')).toMatch(/id {2}body\n-- {2}-+\n1 {3}kept\n\(1 row\)/)
    // In the middle of a session, which goes on while somebody is connected.
    const report = async (): Promise<Report> => {
      const run = rockpool('status', `http://127.0.0.1:${port}`, '--data', data, '--json')
      // The tables of the example are not there.
      expect(await run.ended, run.output).toBe(1)
      return JSON.parse(run.output)
    }
    const alice = rockpool('token', '--sub', 'alice', '--data', data)
    expect(await alice.ended).toBe(0)
    await fetch(`http://127.0.0.1:${port}/sync/stream`, {
      method: 'POST',
      body: '{"buckets":[]}',
      headers: { authorization: `Token ${alice.output.trim()}`, 'content-type': 'application/json' },
    })
    await until('a live session', async () => (await report()).replication.state === 'live')
    first.child.kill('SIGINT')
    expect(await first.ended).toBe(0)
    await expect(fetch(`http://127.0.0.1:${port}/probes/liveness`)).rejects.toThrow()
    // Without the server running it is started for the statement.
    expect(await sql('select body from notes')).toContain('kept')
    const second = await start()
    expect(await sql('select body from notes')).toContain('kept')
    const { noted, problems, streams } = await report()
    expect([noted.map(({ code }) => code), new Set(problems.map(({ code }) => code)), streams]).toEqual([
      ['ROCKPOOL_TABLE_REFUSED'],
      new Set(['ROCKPOOL_TABLE_REFUSED']),
      0,
    ])
    const token = rockpool('token', '--sub', 'alice', '--ttl', '5m', '--claim', 'role=admin', '--data', data)
    expect(await token.ended).toBe(0)
    const status = await fetch(`http://127.0.0.1:${port}/status`, {
      headers: { authorization: `Token ${token.output.trim()}` },
    })
    expect(status.status).toBe(200)
    second.child.kill('SIGTERM')
    expect(await second.ended).toBe(0)
  })

  test('a port in use', async () => {
    const server = createServer()
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address()
        resolve(address !== null && typeof address === 'object' ? address.port : 0)
      })
    })
    expect(await refused('dev', '--port', String(port), '--no-example')).toMatch(
      new RegExp(
        `^rockpool: port ${port} is in use by .* \\(process ${process.pid}\\): end it, or choose another one with --port\\n$`,
      ),
    )
    server.close()
  })

  test('bad options', async () => {
    expect(await refused('dev', '--port', 'x')).toMatch(/--port x is not a port/)
    expect(await refused('dev', '--nonsense')).toMatch(/there is no option --nonsense/)
    expect(await refused('dev', '--jwt-secret', 'c2hvcnQ')).toMatch(/needs at least 32/)
    expect(await refused('dev', '--database-url', 'mysql://x')).toMatch(/postgres:\/\//)
    expect(await refused('dev', '--data', 'package.json', '--port', String(await freePort()))).toMatch(
      /the data folder cannot be used.*--data/,
    )
    expect(await refused('token')).toMatch(/--sub USER/)
    expect(await refused('nonsense')).toMatch(/no command nonsense/)
  })

  test('a database that cannot be reached, or is not set up', async () => {
    const port = String(await freePort())
    const run = (url: string) =>
      refused('dev', '--port', port, '--no-example', '--data', `${directory.path}/other`, '--database-url', url)
    const unreachable = await run('postgres://me:geheim@127.0.0.1:1/none')
    expect(unreachable).toMatch(/the database cannot be used: .*ECONNREFUSED/)
    expect(unreachable).not.toContain('geheim')
    const postgres = await startPostgres({ wal_level: 'replica' })
    try {
      expect(await run(postgres.url)).toMatch(/wal_level is replica.*ALTER SYSTEM SET wal_level = logical/)
      expect(await run(postgres.url.replace('postgres:postgres@', 'postgres:wrong@'))).toMatch(
        /password authentication failed/,
      )
    } finally {
      await postgres.stop()
    }
    const logical = await startPostgres()
    try {
      await logical.sql()`create role plain login password 'x'`
      expect(await run(logical.url.replace('postgres:postgres@', 'plain:x@'))).toMatch(
        /plain may not replicate: ALTER ROLE plain REPLICATION/,
      )
    } finally {
      await logical.stop()
    }
  })

  test('it is ready when the source is followed, and says why when it is not', async () => {
    const source = await startPostgres()
    try {
      const sql = source.sql()
      await sql`create table one (id int primary key)`
      await sql`create table loose (n int)`
      await sql`create role weak login replication password 'x'`
      await sql`grant select on one, loose to weak`
      const file = `${directory.path}/one.yaml`
      await writeFile(
        file,
        'bucket_definitions:\n  a:\n    data:\n      - SELECT id FROM one\n      - SELECT n AS id FROM loose\n',
      )
      const url = source.url.replace('postgres:postgres@', 'weak:x@')
      const options = ['--data', `${directory.path}/weak`, '--sync-config', file, '--database-url', url]
      const polls = { IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' }
      const run = rockpoolWith(polls, 'dev', '--port', String(await freePort()), ...options)
      const said = () => run.output
      await until(
        'the reason',
        async () => /\nnot ready {2}.*ROCKPOOL_SOURCE_SETTINGS: .*publication/.test(run.output),
        120,
        said,
      )
      expect(run.output).not.toContain('\nready ')
      await sql`alter role weak superuser`
      await until('the ready line', async () => run.output.includes('\nready '), 180, said)
      // Its database is somebody's: nothing is made in it but what replication needs.
      expect(run.output).toMatch(/\nexample {4}none, .*--example/)
      expect(
        await sql`select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1`,
      ).toEqual([{ relname: 'loose' }, { relname: 'one' }])
      expect(run.output).toMatch(/\nsource {5}table public\.loose cannot be followed: it has no primary key/)
      const slots = () => sql<{ slot_name: string }[]>`select slot_name from pg_replication_slots`
      const [slot] = await slots()
      expect(slot?.slot_name).toMatch(/^rockpool_dev_[0-9a-f]{8}$/)
      expect(await sql`select pubname from pg_publication`).toEqual([{ pubname: slot?.slot_name }])
      await sql`alter table one drop constraint one_pkey`
      await until(
        'the refusal',
        async () => /\nsource {5}table public\.one cannot be followed/.test(run.output),
        60,
        said,
      )
      run.child.kill('SIGTERM')
      expect(await run.ended).toBe(0)
      expect(await slots()).toEqual([])
      expect(await sql`select pubname from pg_publication`).toEqual([])
      expect(run.output).toMatch(
        /\ndatabase {3}the slot rockpool_dev_\w+ is dropped\ndatabase {3}the publication rockpool_dev_\w+ is dropped\nstopped\n$/,
      )
    } finally {
      await source.stop()
    }
  })

  test('--example with DATABASE_CA: check, page and edge reach a database that its own authority vouches for', async () => {
    const overTls = { version: '1.3', channelBinding: 'require' } as const
    const source = await startPostgres({}, { overTls })
    const { databaseUrl, bindings } = edgeOver(overTls, source.url)
    const options = ['--example', '--data', `${directory.path}/over-tls`, '--database-url', databaseUrl]
    try {
      const sql = source.sql()
      expect(await refused('dev', '--port', String(await freePort()), ...options)).toMatch(
        /the certificate of localhost:\d+ .*Set DATABASE_CA/,
      )
      const run = rockpoolWith(bindings, 'dev', '--port', String(await freePort()), ...options)
      await until(
        'the ready line',
        async () => run.output.includes('\nready '),
        180,
        () => run.output,
      )
      const example = /\nexample {4}(http\S+)\n/.exec(run.output)?.[1] ?? ''
      const post = async (path: string, body: unknown, token = '') => {
        const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
        return (await fetch(`${example}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })).json()
      }
      const { token } = z.object({ token: z.string() }).parse(await post('/api/token', { user: 'alice' }))
      const put = { op: 'put', table: 'lists', id: crypto.randomUUID(), data: { name: 'Over TLS', owner_id: 'alice' } }
      const transaction = { id: crypto.randomUUID(), seq: 1, made_at: new Date().toISOString(), ops: [put] }
      const upload = { client_id: 'c', answered: 0, transactions: [transaction] }
      expect(await post('/api/upload', upload, token)).toMatchObject({
        verdicts: [{ id: transaction.id, result: 'accepted' }],
      })
      expect(await sql`select name from lists where id = ${put.id}`).toEqual([{ name: 'Over TLS' }])
      const connections =
        await sql`select distinct ssl, version from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'edge'`
      expect(connections).toEqual([{ ssl: true, version: 'TLSv1.3' }])
      run.child.kill('SIGTERM')
      expect(await run.ended).toBe(0)
      expect(await sql`select slot_name from pg_replication_slots`).toEqual([])
    } finally {
      await source.stop()
    }
  })

  test('settings that the script would refuse are refused at the start, and near misses are reported', async () => {
    const options = [
      'dev',
      '--port',
      String(await freePort()),
      '--data',
      `${directory.path}/keys`,
      '--sync-config',
      `${directory.path}/none.yaml`,
    ]
    const wrong = { WAL_KEEP_GB: 'x', JWT_KEYS: '{"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}' }
    const output = await refusedWith(wrong, ...options)
    expect(output).toMatch(/\nROCKPOOL_SETTINGS: WAL_KEEP_GB: must be a number from 0\.001 to 1000000\n/)
    expect(output).toMatch(/\nPSYNC_S2201: .*JWT_KEYS/)
    expect(output).not.toContain('c2hvcnQ')
    expect(await refusedWith({ PUBLICATON: 'app' }, ...options)).toMatch(
      /^settings {3}PUBLICATON is not a setting.*Did you mean PUBLICATION\?\n/,
    )
  })

  test('a data folder whose Postgres runs already: that is said, and it stays known by its port', async () => {
    const data = `${directory.path}/used`
    const database = await startDatabase(data)
    try {
      await expect(startDatabase(data)).rejects.toThrow(
        /uses .*used.postgres already \(process \d+\).*another folder with --data/,
      )
      expect(await knownDatabase(data)).toEqual({ url: database.url, running: true })
    } finally {
      await database.stop()
    }
  })

  test('a sync config with a mistake', async () => {
    const file = `${directory.path}/bad.yaml`
    await writeFile(file, 'bucket_definitions:\n  a:\n    data:\n      - SELECT FROM\n')
    expect(await refused('dev', '--sync-config', file, '--no-example', '--port', String(await freePort()))).toMatch(
      /bad\.yaml:4:\d+ /,
    )
    expect(await refused('dev', '--sync-config', `${file}.none`, '--no-example')).toMatch(/cannot be read/)
  })
})
