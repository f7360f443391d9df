import { spawnSync } from 'node:child_process'
import { fstatSync, readFileSync, statSync } from 'node:fs'

/** `npm start` is npm → sh → node. */
const MOST_STEPS = 4
const PACKAGE_MANAGER = /\b(npm|npx|pnpm|yarn|bun)\b/

/**
 * Returns the process ids for which the command runs: everything up to npm when npm started it, and the process that
 * started that. The latter is not watched when standard input is /dev/null, which a shell gives to background commands
 * of a script (`npm start &`), because such a script may end.
 */
export function parentsOfTheCommand() {
  const chain = []
  let pid = process.ppid
  if (process.env.npm_execpath) {
    const steps = []
    let next = pid
    while (next > 1 && steps.length < MOST_STEPS) {
      const { parent, command } = describe(next)
      steps.push(next)
      if (PACKAGE_MANAGER.test(command)) {
        chain.push(...steps)
        pid = parent
        break
      }
      next = parent
    }
  }
  if (pid > 1 && !isBackground()) chain.push(pid)
  return chain
}

/**
 * Returns whether a process runs, or with a negative number a group. One that has ended and was not waited for does not
 * count.
 */
export function isAlive(pid) {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return error.code === 'EPERM'
  }
  return pid < 0 || !isZombie(pid)
}

function isZombie(pid) {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

function isBackground() {
  try {
    const input = fstatSync(0)
    return input.isCharacterDevice() && input.rdev === statSync('/dev/null').rdev
  } catch {
    return true
  }
}

/** Uses /proc where it exists, else `ps`: small images have no `ps`, and macOS has no /proc. */
function describe(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    return { parent, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }
  } catch {
    const line = spawnSync('ps', ['-o', 'ppid=,command=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? ''
    const [, parent = '0', command = ''] = /^\s*(\d+)\s+(.*)/.exec(line) ?? []
    return { parent: Number(parent), command }
  }
}
