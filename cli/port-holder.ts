import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

const LISTENS = '0A'

/**
 * Returns which process listens on the port, as text for people, or null when the system does not say, for instance
 * because it is another user's process.
 */
export function portHolder(port: number): string | null {
  const pid = fromProc(port) ?? fromLsof(port)
  if (pid === null) return null
  return `${nameOf(pid)} (process ${pid})`
}

/** On Linux, finds the process that has the socket's inode among its open files. */
function fromProc(port: number): number | null {
  const sockets = new Set(
    ['tcp', 'tcp6'].flatMap((table) =>
      lines(`/proc/net/${table}`).flatMap((line) => {
        const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
        return state === LISTENS && Number.parseInt(local.split(':')[1] ?? '', 16) === port ? [`socket:[${inode}]`] : []
      }),
    ),
  )
  if (sockets.size === 0) return null
  const holds = (pid: string) =>
    entries(`/proc/${pid}/fd`).some((file) => sockets.has(target(`/proc/${pid}/fd/${file}`)))
  const pid = entries('/proc').find((name) => /^\d+$/.test(name) && holds(name))
  return pid === undefined ? null : Number(pid)
}

/** On macOS, which has no /proc, asks `lsof`. */
function fromLsof(port: number): number | null {
  const pid =
    spawnSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-t'], { encoding: 'utf8' }).stdout?.split('\n')[0] ?? ''
  return /^\d+$/.test(pid) ? Number(pid) : null
}

const nameOf = (pid: number): string =>
  lines(`/proc/${pid}/comm`)[0] ||
  spawnSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() ||
  'another program'

const lines = (path: string): string[] => attempt(() => readFileSync(path, 'utf8').split('\n'), [])
const entries = (path: string): string[] => attempt(() => readdirSync(path), [])
const target = (path: string): string => attempt(() => readlinkSync(path), '')

/** Ignores errors: processes end, and other users' files cannot be read. */
function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch {
    return otherwise
  }
}
