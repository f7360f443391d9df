import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { isCluster } from './postgres-server.ts'
import { UsageError } from './problem.ts'
import type { ServerUser } from './server-user.ts'

const run = promisify(execFile)

const PRIVATE = 0o700
/** The group may pass through the folder, but not list it. */
const PASSABLE = 0o710
const OURS = new Set(['dev-slot', 'edge', 'jwt-secret', 'postgres', 'sync-config-sha256', 'tenant-keys'])

/**
 * The place of clusters whose data folder the user `postgres` cannot reach. Not /var/tmp, where files are deleted after
 * a month.
 */
const STATE_FOLDER = '/var/lib/rockpool'

/**
 * Makes the data folder, readable only by its owner. A folder that also holds other things is left as it is, and what
 * is made in it is private. Throws UsageError.
 */
export async function makeDataFolder(data: string): Promise<void> {
  try {
    await mkdir(dirname(data), { recursive: true })
    await mkdir(data, { mode: PRIVATE }).catch(ignoreExisting)
    await readdir(data)
  } catch (error) {
    throw new UsageError(
      `the data folder cannot be used: ${error instanceof Error ? error.message : String(error)}; name another one with --data`,
    )
  }
  if (!(await isOurs(data))) return
  // A server that was started as root runs as another user and must be able to pass through.
  const { mode } = await stat(data)
  await chmod(data, process.getuid?.() === 0 ? mode & PASSABLE : PRIVATE)
}

const isOurs = async (data: string): Promise<boolean> => (await readdir(data)).every((name) => OURS.has(name))

/** Makes a folder in the data folder. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { mode: PRIVATE }).catch(ignoreExisting)
  await chmod(folder, PRIVATE)
}

/** Returns whether the cluster of a data folder was somewhere else and is gone. */
export async function lostCluster(data: string): Promise<string | null> {
  const cluster = await clusterOf(data)
  return cluster === inPlace(data) || isCluster(cluster) || isCluster(inPlace(data)) ? null : cluster
}

/** Returns where the cluster of a data folder is, or will be. */
export async function clusterOf(data: string): Promise<string> {
  const kept = (await readFile(locationFile(data), 'utf8').catch(() => '')).trim()
  return kept === '' ? inPlace(data) : kept
}

/**
 * Decides where the cluster is, and moves it there: in the data folder, unless the server runs as another user who
 * cannot reach that. No folder above the data folder is ever changed.
 */
export async function placeCluster(data: string, user: ServerUser | null, state = STATE_FOLDER): Promise<string> {
  const folder = join(data, 'postgres')
  const kept = await clusterOf(data)
  if (kept !== inPlace(data)) return moved(inPlace(data), kept, user)
  if (user === null) return kept
  const own = (await isOurs(data)) ? [data, folder] : [folder]
  for (const path of own) {
    await chown(path, -1, user.gid)
    await chmod(path, PASSABLE)
  }
  if (mayEnter(folder, user)) return kept
  for (const path of own) {
    await chmod(path, PRIVATE)
    await chown(path, -1, process.getgid?.() ?? 0)
  }
  await mkdir(state, { recursive: true })
  const cluster = join(state, randomBytes(6).toString('hex'), 'data')
  // Written before the move, so that an interrupted move continues at the next start.
  await writeFile(locationFile(data), `${cluster}\n`, { mode: 0o600 })
  return moved(kept, cluster, user)
}

const inPlace = (data: string): string => join(data, 'postgres', 'data')
const locationFile = (data: string): string => join(data, 'postgres', 'location')

async function moved(from: string, to: string, user: ServerUser | null): Promise<string> {
  const folder = dirname(to)
  await mkdir(folder, { recursive: true })
  // For anyone who finds the folder and wonders whether it is still needed.
  await writeFile(join(folder, 'data-folder'), `${dirname(dirname(from))}\n`)
  if (user) await chown(folder, user.uid, user.gid)
  await chmod(folder, PRIVATE)
  if (isCluster(from) && !isCluster(to)) {
    await rename(from, to).catch(async (error: unknown) => {
      if (!hasCode(error, 'EXDEV')) throw error
      const copy = `${to}.copy`
      await rm(copy, { recursive: true, force: true })
      await run('cp', ['-a', from, copy])
      await rename(copy, to)
      await rm(from, { recursive: true, force: true })
    })
  }
  return to
}

/** Asks the system itself, because groups and access lists count too. */
function mayEnter(folder: string, { uid, gid }: ServerUser): boolean {
  return spawnSync('sh', ['-c', 'cd -- "$1"', 'sh', folder], { uid, gid, cwd: '/', stdio: 'ignore' }).status === 0
}

function ignoreExisting(error: unknown): void {
  if (!hasCode(error, 'EEXIST')) throw error
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code
