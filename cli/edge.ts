import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare, type MiniflareOptions } from 'miniflare'
import { unstable_readConfig } from 'wrangler'
import { answered } from '../durable-objects/shared/retry.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import type { ReplicatorRpc } from '../protocol/messages/replicator.ts'
import type { DirectoryRpc } from '../protocol/messages/directory.ts'
import { DIRECTORY_NAME } from '../protocol/names.ts'
import { SingleTenant } from '../tenants/single.ts'
import { bundle, ROOT } from './bundle.ts'
import { revive } from './revive.ts'

export interface EdgeOptions {
  port: number
  /** The folder of the objects' storage, which is kept over restarts. */
  directory: string
  /** Bindings that are settings or secrets. */
  bindings: Record<string, string>
  /** Lines that the script logs. */
  log?: (line: string) => void
  /** A module that replaces the script and has its exports. It imports the script as `./index.js`. */
  front?: string
  /** The port of workerd's inspector. */
  inspectorPort?: number
  /** The folder of a bundle other than that of these sources. */
  bundle?: string
}

/**
 * All objects share one process here, which may have 20,000 open files. An object that is awake has 3 of them, and
 * clients' reads need some as well. Above that limit calls fail and connections are reset.
 */
const ACTIVE_BUCKETS = 4_000
const CRON = '* * * * *'
const MINUTE_MS = 60_000
const WATCH_MS = 500
const GOODBYE_MS = 2_000

/**
 * Runs the bundle in local workerd. Calls the cron trigger at the start and every minute, because miniflare does not.
 * Starts workerd again, with the same storage, when it dies. Finds the process id of workerd through `ps`, because
 * miniflare does not say it.
 */
export class LocalEdge {
  readonly #options: EdgeOptions
  #miniflare: Miniflare | null = null
  #pid: number | null = null
  #cron: ReturnType<typeof setInterval> | null = null
  #watch: ReturnType<typeof setInterval> | null = null
  #starting: Promise<void> | null = null
  #reviving = false
  #disposed = false
  url = ''

  constructor(options: EdgeOptions) {
    this.#options = options
  }

  /** Process id of workerd. */
  get pid(): number {
    if (this.#pid === null) throw new Error('workerd is not running')
    return this.#pid
  }

  /** Resolves when workerd answers HTTP requests. */
  async start(): Promise<void> {
    this.#starting ??= this.#start().finally(() => (this.#starting = null))
    await this.#starting
  }

  /** Ends workerd, and starts it again on the same port and storage. */
  async restart(): Promise<void> {
    while (this.#starting) await this.#starting.catch(() => {})
    this.#starting = this.#stop()
      .then(() => this.#start())
      .finally(() => (this.#starting = null))
    await this.#starting
  }

  async dispose(): Promise<void> {
    this.#disposed = true
    while (this.#starting) await this.#starting.catch(() => {})
    if (this.#watch) clearInterval(this.#watch)
    await this.#stop()
  }

  /** Notifies the replicator that it is ended on purpose. A workerd that does not answer is ended anyway. */
  async sayGoodbye(): Promise<void> {
    try {
      const namespace = await this.#miniflare?.getDurableObjectNamespace('REPLICATOR')
      const told = (await this.#tenants()).map((tenant) => {
        const stub: unknown = namespace?.get(namespace.idFromName(tenant))
        return answered(async () => (stub as ReplicatorRpc | undefined)?.stopping({ v: MESSAGE_VERSION }), GOODBYE_MS)
      })
      await Promise.all(told)
    } catch (error) {
      this.#options.log?.(`a replicator does not know that it is ended: ${String(error)}`)
    }
  }

  /** The tenant of the settings, and those of the Directory that are served. */
  async #tenants(): Promise<string[]> {
    const names: string[] = []
    for await (const name of new SingleTenant(this.#options.bindings, '').names()) names.push(name)
    if (!this.#options.bindings.TENANT_KEYS) return names
    const namespace = await this.#miniflare?.getDurableObjectNamespace('DIRECTORY')
    const stub: unknown = namespace?.get(namespace.idFromName(DIRECTORY_NAME))
    const answer = await answered(
      async () => (stub as DirectoryRpc | undefined)?.names({ v: MESSAGE_VERSION }),
      GOODBYE_MS,
    )
    const active = (answer?.tenants ?? []).filter(({ state }) => state === 'active')
    return [...new Set([...names, ...active.map(({ name }) => name)])]
  }

  async #start(): Promise<void> {
    const before = new Set(workerdPids())
    const miniflare = new Miniflare(await this.#miniflareOptions())
    this.#miniflare = miniflare
    const ready = await miniflare.ready.catch(async (error: unknown) => {
      await this.#stop()
      throw error
    })
    this.url = `http://127.0.0.1:${ready.port}`
    this.#pid = workerdPids().find((pid) => !before.has(pid)) ?? null
    await this.#callCron()
    this.#cron = setInterval(() => void this.#callCron(), MINUTE_MS)
    this.#watch ??= setInterval(() => void this.#revive(), WATCH_MS)
  }

  async #stop(): Promise<void> {
    if (this.#cron) clearInterval(this.#cron)
    const miniflare = this.#miniflare
    this.#miniflare = null
    this.#pid = null
    await miniflare?.dispose().catch(() => {})
  }

  /** Checks with its own timer that workerd runs, so that one failed start, here or in `restart`, is not the last. */
  async #revive(): Promise<void> {
    const runs = this.#miniflare !== null && (this.#pid === null || alive(this.#pid))
    if (runs || this.#reviving || this.#starting || this.#disposed) return
    this.#reviving = true
    const log = (line: string) => this.#options.log?.(line)
    await revive({ name: 'workerd', start: () => this.restart(), over: () => this.#disposed, log })
    this.#reviving = false
  }

  async #callCron(): Promise<void> {
    try {
      const worker = await this.#miniflare?.getWorker()
      await worker?.scheduled({ cron: CRON })
    } catch (error) {
      this.#options.log?.(`the scheduled handler failed: ${String(error)}`)
    }
  }

  async #miniflareOptions(): Promise<MiniflareOptions> {
    const { port, directory, bindings, log, front, inspectorPort } = this.#options
    const folder = this.#options.bundle ?? (await bundle())
    const config = unstable_readConfig({ config: join(ROOT, 'wrangler.toml') }, { hideWarnings: true })
    await mkdir(directory, { recursive: true })
    const texts = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
    const declared: { name: string; class_name: string }[] = config.durable_objects.bindings
    const objects = declared.map((object) => [object.name, { className: object.class_name, useSQLite: true }])
    return convertV4MiniflareOptions({
      host: '127.0.0.1',
      port,
      log: new Log(LogLevel.ERROR),
      handleStructuredLogs: ({ level, message }) => log?.(`${level}: ${message}`),
      name: config.name ?? 'rockpool',
      rootPath: folder,
      modulesRoot: folder,
      ...(inspectorPort === undefined ? {} : { inspectorPort }),
      modules: [
        ...(front === undefined
          ? []
          : [{ type: 'ESModule' as const, path: join(folder, 'front.js'), contents: await readFile(front, 'utf8') }]),
        {
          type: 'ESModule',
          path: join(folder, 'index.js'),
          contents: await readFile(join(folder, 'index.js'), 'utf8'),
        },
        ...texts.map((name) => ({
          type: 'Text' as const,
          path: join(folder, name),
          contents: readFileSync(join(folder, name), 'utf8'),
        })),
      ],
      compatibilityDate: config.compatibility_date ?? '',
      compatibilityFlags: config.compatibility_flags,
      bindings: { ACTIVE_BUCKETS, ...config.vars, ...bindings, LOCAL_EDGE: 'true' },
      durableObjects: Object.fromEntries(objects),
      resourcePersistencePath: directory,
    })
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A process that was killed but not waited for yet.
  const stat = `/proc/${pid}/stat`
  return !existsSync(stat) || !/\) Z /.test(readFileSync(stat, 'utf8'))
}

/** Returns the child processes that are workerd. */
function workerdPids(): number[] {
  const output = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' }).stdout ?? ''
  if (output !== '') {
    return output
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, parent, name]) => Number(parent) === process.pid && name?.endsWith('workerd'))
      .map(([pid]) => Number(pid))
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        return stat.includes('(workerd)') && Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === process.pid
      } catch {
        return false
      }
    })
    .map(Number)
}
