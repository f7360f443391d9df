import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../cli/bundle.ts'

export interface Machine {
  cpu: string
  cores: number
  memoryGb: number
  /** Load average of the last minute. */
  load: number
  node: string
  workerd: string
  postgres: string
  /** Followed by `+` when there are uncommitted changes. */
  commit: string
  /** Where the objects keep their storage. */
  storage: 'memory' | 'disk'
}

export function describeMachine(postgres: string, storage: Machine['storage']): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    load: load(),
    node: process.versions.node,
    workerd: versionOf('workerd'),
    postgres,
    commit: commit(),
    storage,
  }
}

export const load = (): number => Number((loadavg()[0] ?? 0).toFixed(2))

/**
 * Starts to measure. The returned function returns the share of the processor time, in percent, that the host gave to
 * other machines, or null where that is not known.
 */
export function measureStolen(): () => number | null {
  const before = processorTime()
  return () => {
    const now = processorTime()
    if (!before || !now || now.total === before.total) return null
    return Math.round((1_000 * (now.stolen - before.stolen)) / (now.total - before.total)) / 10
  }
}

/** Returns ticks of all processors since the start: proc(5), `/proc/stat`. */
function processorTime(): { stolen: number; total: number } | null {
  try {
    // user, nice, system, idle, iowait, irq, softirq, steal. User includes the time of guests.
    const ticks = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number)
    return { stolen: ticks[7] ?? 0, total: ticks.reduce((sum, each) => sum + each, 0) }
  } catch {
    return null
  }
}

export const machineLine = (machine: Machine): string =>
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB; load ${machine.load} at the start; Node ${machine.node}, ` +
  `workerd ${machine.workerd}, Postgres ${machine.postgres} with fsync; storage of objects: ${machine.storage}; commit ${machine.commit}`

function versionOf(name: string): string {
  const { version }: { version: string } = JSON.parse(
    readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'),
  )
  return version
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    return (
      git('rev-parse', '--short', 'HEAD').trim() +
      (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+')
    )
  } catch {
    return 'unknown'
  }
}
