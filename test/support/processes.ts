import { spawnSync } from 'node:child_process'

export interface ProcessLine {
  pid: number
  parent: number
  /** The state; Z is a zombie. */
  state: string
  command: string
}

/** Returns all processes of the machine. */
export function processes(): ProcessLine[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,state=,args='], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  return stdout.split('\n').flatMap((line) => {
    const found = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line)
    return found
      ? [{ pid: Number(found[1]), parent: Number(found[2]), state: found[3] ?? '', command: found[4] ?? '' }]
      : []
  })
}

/** Returns a process and all of its descendants. */
export function treeOf(root: number): ProcessLine[] {
  const all = processes()
  const found = all.filter(({ pid }) => pid === root)
  for (const each of found) found.push(...all.filter(({ parent }) => parent === each.pid))
  return found
}

/** Returns those that are still running. */
export function stillRunning(before: readonly ProcessLine[]): ProcessLine[] {
  const now = new Map(processes().map((each) => [each.pid, each]))
  return before.filter(({ pid, command }) => {
    const same = now.get(pid)
    // Postgres changes its title with its work.
    return (
      same !== undefined && !same.state.startsWith('Z') && (same.command === command || command.startsWith('postgres'))
    )
  })
}

export function kill9(...victims: readonly ProcessLine[]): void {
  for (const { pid } of victims) process.kill(pid, 'SIGKILL')
}
