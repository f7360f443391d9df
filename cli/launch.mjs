// The process between the terminal and `rockpool dev`. This file may use nothing newer than Node 18.
import { spawn } from 'node:child_process'
import { parentsOfTheCommand, isAlive } from './parents.mjs'

const WATCH_MS = 300
/** A bit longer than the guard (guard.ts) needs at most. */
const GROUP_END_MS = 15_000

/**
 * Runs `rockpool dev` as the leader of its own process group, to which Postgres and workerd belong, so that all of them
 * can be ended whatever happens to their parents. It ends when this process gets a signal, when this process dies (the
 * channel closes), and when the process that started the command has gone: npm does not pass signals on (npm 11,
 * 2026-11), and nothing can pass on kill -9.
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

/** When `dev` was killed, the guard ends the rest. The command ends when that is done. */
function whenGone(group, tries, done) {
  if (tries <= 0 || !isAlive(-group)) return done()
  setTimeout(() => whenGone(group, tries - 1, done), 100)
}
