import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { devicePid } from '../../test/support/browser.ts'

// Processor time and disk space that a browser with a profile uses, as the machine counts them.

/** Seconds of processor time of the browser and all its processes. */
export function processorSeconds(profile: string): number {
  const root = devicePid(profile)
  const parents = new Map<number, number>()
  const ticks = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      parents.set(pid, Number(fields[1]))
      ticks.set(pid, Number(fields[11]) + Number(fields[12]))
    } catch {
      // It has just ended.
    }
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && pid > 1 && isOurs(parents.get(pid)))
  return [...ticks].reduce((sum, [pid, each]) => sum + (isOurs(pid) ? each : 0), 0) / 100
}

/** Bytes that a profile's sites have stored: in their private file systems and in IndexedDB. */
export function storedBytes(profile: string): number {
  return ['File System', 'IndexedDB'].reduce((sum, folder) => sum + bytesOf(join(profile, 'Default', folder)), 0)
}

function bytesOf(path: string): number {
  try {
    if (!statSync(path).isDirectory()) return statSync(path).blocks * 512
    return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0)
  } catch {
    return 0
  }
}
