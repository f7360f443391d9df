import { spawn, type ChildProcess } from 'node:child_process'

/**
 * A guard process that runs in its own session and reads from a pipe whose other end only this process holds, so that
 * it notices when this process ends for any reason. It then ends the rest of the group: with SIGINT, which is
 * Postgres's fast shutdown, and with SIGKILL 10 seconds later. It is a shell because that is small, and because
 * `killall node` does not end it.
 */
const SCRIPT = `
trap '' INT TERM HUP
while read -r word; do [ "$word" = done ] && exit 0; done
kill -s INT -- "-$1" 2>/dev/null || exit 0
tries=0
while [ $tries -lt 100 ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL -- "-$1" 2>/dev/null
`

const RESTART_MS = 500

export interface Guard {
  /** Called when everything has ended properly. */
  done(): void
}

/**
 * Makes sure that no process of this process's group outlives it. When this process leads no group (it was not started
 * by `launch.mjs`), there is no group with its number, and nothing is ended.
 */
export function startGuard(): Guard {
  let over = false
  let guard: ChildProcess
  const start = (): void => {
    guard = spawn('sh', ['-c', SCRIPT, 'rockpool-guard', String(process.pid)], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    guard.stdin?.on('error', () => {})
    guard.once('error', () => {})
    guard.once('exit', () => {
      if (!over) setTimeout(() => over || start(), RESTART_MS).unref()
    })
    guard.unref()
  }
  start()
  return {
    done() {
      over = true
      guard.stdin?.end('done\n')
    },
  }
}
