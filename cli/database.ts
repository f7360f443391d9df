import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import { clusterOf, lostCluster, makeDataFolder, makePrivateFolder, placeCluster } from './data-folder.ts'
import { DevServer, isCluster, makeCluster } from './postgres-server.ts'
import { serverUser } from './server-user.ts'

export interface DevDatabase {
  url: string
  /** The folder of its files. */
  cluster: string
  /** The process id of the postmaster, or null while there is none. */
  pid(): number | null
  stop(): Promise<void>
}

/** The password of clusters that were made before each had its own. */
const EARLIER_PASSWORD = 'rockpool'
const DATABASE = 'app'
const START_TRIES = 10
const START_WAIT_MS = 300
const SETTINGS = [
  'wal_level=logical',
  'listen_addresses=127.0.0.1',
  // A socket in /tmp would be one more way in, and would stay there when the server is killed.
  'unix_socket_directories=',
  // One of each for every tenant that `rockpool tenants create --new-database` makes.
  'max_wal_senders=50',
  'max_replication_slots=50',
]

/**
 * Starts the embedded Postgres of the data folder, with logical WAL, on a port that stays the same for as long as it is
 * free. Makes the cluster if there is none.
 */
export async function startDatabase(
  data: string,
  log: (line: string) => void = () => {},
  state?: string,
): Promise<DevDatabase> {
  await makeDataFolder(data)
  await makePrivateFolder(join(data, 'postgres'))
  const user = await serverUser()
  const lost = await lostCluster(data)
  if (lost !== null) log(`the files of the database were in ${lost}, and are gone: a new one is made`)
  const cluster = await placeCluster(data, user, state)
  const port = await choosePort(data)
  if (!isCluster(cluster)) await makeCluster(cluster, await newPassword(data), user)
  const password = await passwordOf(data)
  const server = new DevServer({ cluster, port, user, settings: SETTINGS, log })
  await startServer(server, data)
  try {
    // Written only now: another server may use the folder, and must be found by its own port.
    await writeFile(portFile(data), String(port))
    await makeDatabase(port, password)
  } catch (error) {
    await server.stop()
    throw error
  }
  return { url: databaseUrl(port, password), cluster, pid: () => server.pid, stop: () => server.stop() }
}

/** Returns the URL of a data folder's development database, or null when its server was never started. */
export async function knownDatabase(data: string): Promise<{ url: string; running: boolean } | null> {
  const port = await knownPort(data)
  if (port === 0 || !isCluster(await clusterOf(data))) return null
  return { url: databaseUrl(port, await passwordOf(data)), running: !(await isFree(port)) }
}

const portFile = (data: string): string => join(data, 'postgres', 'port')
/** Its address, for people. */
export const passwordFile = (data: string): string => join(data, 'postgres', 'password')
const databaseUrl = (port: number, password: string): string =>
  `postgres://postgres:${password}@127.0.0.1:${port}/${DATABASE}`

const knownPort = async (data: string): Promise<number> =>
  Number(await readFile(portFile(data), 'utf8').catch(() => '0'))

async function choosePort(data: string): Promise<number> {
  const known = await knownPort(data)
  return known > 0 && (await isFree(known)) ? known : freePort()
}

async function newPassword(data: string): Promise<string> {
  const password = randomBytes(24).toString('base64url')
  await writeFile(passwordFile(data), `${password}\n`, { mode: 0o600 })
  return password
}

async function passwordOf(data: string): Promise<string> {
  return (await readFile(passwordFile(data), 'utf8').catch(() => EARLIER_PASSWORD)).trim()
}

async function makeDatabase(port: number, password: string): Promise<void> {
  const sql = postgres(databaseUrl(port, password), { max: 1, database: 'postgres', onnotice: () => {} })
  try {
    const there = await sql`SELECT FROM pg_database WHERE datname = ${DATABASE}`
    if (there.length === 0) await sql`CREATE DATABASE ${sql(DATABASE)}`
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** Waits: the processes of a killed server need a moment to end. */
async function startServer(server: DevServer, data: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await server.start()
    } catch (error) {
      if (tries === START_TRIES || !/still in use|already exists/.test(server.output))
        throw startFailed(error, data, server.output)
      await new Promise((resolve) => setTimeout(resolve, START_WAIT_MS))
    }
  }
}

function startFailed(error: unknown, data: string, output: string): Error {
  const other = /"postmaster\.pid" already exists[\s\S]*?\(PID (\d+)\)/.exec(output)?.[1]
  const why =
    other === undefined
      ? `the embedded Postgres did not start: ${error instanceof Error ? error.message : String(error)}\n${output.slice(-2_000)}`
      : `a Postgres uses ${join(data, 'postgres')} already (process ${other}), of another rockpool dev or of one that was killed: end it, or name another folder with --data`
  return new Error(why, { cause: error })
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })
}
