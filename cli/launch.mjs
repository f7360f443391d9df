// What stands between the terminal and `rockpool dev`. Nothing newer than Node 18 may stand here.
import { spawn } from 'node:child_process'
import { parentsOfTheCommand, isAlive } from './parents.mjs'

const WATCH_MS = 300
/** As long as the guard (guard.ts) needs at most, and a bit. */
const GROUP_END_MS = 15_000

/**
 * Runs `rockpool dev` as the leader of a process group of its own, to which Postgres and workerd belong, so that all of them can be ended whatever
 * happens to their parents. It ends when this process gets a signal, when this process dies (the channel closes), and when whoever typed the command
 * has gone: npm passes no signal on (npm 11, 2026-11), and nobody can pass on kill -9.
 */
export function launchDev(node, args) {
  const child = spawn(node, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true })
  const stop = () => void child.kill('SIGTERM')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop)
  const parents = parentsOfTheCommand()
  const watch = setInterval(() => {
    if (parents.every(isAlive)) return
    clearInterval(watch)
    stop()
  }, WATCH_MS)
  child.once('error', (error) => {
    console.error(`rockpool: ${error.message}`)
    process.exit(1)
  })
  child.once('exit', (code, signal) => {
    clearInterval(watch)
    const tries = signal === null ? 0 : GROUP_END_MS / 100
    whenGone(child.pid, tries, () => process.exit(code ?? 1))
  })
}

/** Of a `dev` that was killed the guard ends the rest; the command ends when that is done. */
function whenGone(group, tries, done) {
  if (tries <= 0 || !isAlive(-group)) return done()
  setTimeout(() => whenGone(group, tries - 1, done), 100)
}
