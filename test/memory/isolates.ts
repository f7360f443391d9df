import { spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { unstable_readConfig } from 'wrangler'
import { bundle, ROOT } from '../../cli/bundle.ts'
import { freePort } from '../support/postgres.ts'
import { until, within } from '../support/support.ts'

// The deployed bundle with an isolate for each class of objects and one for the Worker, as the platform may place them,
// each with a heap that has a limit: V8 ends the process when one of them needs more. What each holds is asked of its
// inspector.

/** Services of their own: the classes, by the names of their bindings. */
const CLASSES = { REPLICATOR: 'Replicator', BUCKET: 'Bucket', RELAY: 'Relay' } as const
/** Whose peaks are measured: the Worker, and the classes. */
export const CLASSES_MEASURED = ['edge', ...Object.values(CLASSES)]
const SAMPLE_MS = 250
/**
 * `ROCKPOOL_MEMORY_LIVE=1`: garbage is collected before each look, so peaks are what is really held; isolates are
 * slower then.
 */
const COLLECTED = process.env.ROCKPOOL_MEMORY_LIVE !== undefined
const RESTART_SECONDS = 60

export interface IsolateSettings {
  directory: string
  bindings: Record<string, string>
  /** MB of each heap; 0 is no limit. */
  heapMb: number
  log?: (line: string) => void
}

/** Peaks in MB of what the heap of each isolate holds, garbage that was not collected yet included; by service. */
export type Peaks = Record<string, number>

export class Isolates {
  readonly #settings: IsolateSettings
  readonly #port: number
  readonly #inspector: number
  #miniflare: Miniflare | null = null
  #pid: number | null = null
  #cron: ReturnType<typeof setInterval> | null = null
  #sampler: Promise<void> | null = null
  #stopped = false
  peaks: Peaks = {}
  /** Of a process that is busy some are missed, and its peaks are then not known. */
  readonly looks = { answered: 0, missed: 0 }
  /** How often workerd ended without being asked to. */
  deaths = 0

  private constructor(settings: IsolateSettings, port: number, inspector: number) {
    this.#settings = settings
    this.#port = port
    this.#inspector = inspector
  }

  static async start(settings: IsolateSettings): Promise<Isolates> {
    const isolates = new Isolates(settings, await freePort(), await freePort())
    await isolates.#start()
    isolates.#sampler = isolates.#sample()
    return isolates
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** SIGKILL, and a new process over the same storage. */
  async kill(): Promise<void> {
    if (this.#pid !== null) process.kill(this.#pid, 'SIGKILL')
    await this.#stop()
    await this.#start()
  }

  async dispose(): Promise<void> {
    this.#stopped = true
    await this.#sampler
    await this.#stop()
  }

  async #start(): Promise<void> {
    // workerd takes flags of V8 from its configuration, and miniflare fills that from here.
    const { heapMb } = this.#settings
    if (heapMb > 0) process.env.MINIFLARE_WORKERD_V8_FLAGS = `--max-old-space-size=${heapMb}`
    try {
      this.#miniflare = new Miniflare(await this.#options())
      await within('workerd', this.#miniflare.ready, RESTART_SECONDS)
    } finally {
      delete process.env.MINIFLARE_WORKERD_V8_FLAGS
    }
    this.#pid = workerdOn(this.#port)
    await this.#wake()
    this.#cron = setInterval(() => void this.#wake(), 60_000)
  }

  async #stop(): Promise<void> {
    if (this.#cron) clearInterval(this.#cron)
    const miniflare = this.#miniflare
    this.#miniflare = null
    this.#pid = null
    await miniflare?.dispose().catch(() => {})
  }

  /** miniflare runs no cron triggers. */
  async #wake(): Promise<void> {
    try {
      const worker = await this.#miniflare?.getWorker('edge')
      await worker?.scheduled({ cron: '* * * * *' })
    } catch (error) {
      this.#settings.log?.(`the scheduled handler failed: ${String(error)}`)
    }
  }

  async #sample(): Promise<void> {
    while (!this.#stopped) {
      const pid = this.#pid
      if (pid !== null && !alive(pid) && this.#pid === pid) {
        this.deaths++
        await this.#stop()
        await this.#start()
      }
      for (const [service, megabytes] of Object.entries(await this.#usage().catch(() => this.#missed()))) {
        this.peaks[service] = Math.max(this.peaks[service] ?? 0, megabytes)
      }
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS))
    }
  }

  #missed(): Peaks {
    this.looks.missed += CLASSES_MEASURED.length
    return {}
  }

  async #usage(): Promise<Peaks> {
    const response = await fetch(`http://127.0.0.1:${this.#inspector}/json`, { signal: AbortSignal.timeout(5_000) })
    const targets = (await response.json()) as { id: string; webSocketDebuggerUrl: string }[]
    const usage: Peaks = {}
    for (const service of CLASSES_MEASURED) {
      const target = targets.find(({ id }) => id.endsWith(service))
      const megabytes = target && (await heapOf(target.webSocketDebuggerUrl).catch(() => undefined))
      if (megabytes !== undefined) usage[service] = megabytes
      this.looks[megabytes === undefined ? 'missed' : 'answered']++
    }
    return usage
  }

  async #options() {
    const { directory, bindings, log } = this.#settings
    const folder = await bundle()
    const config = unstable_readConfig({ config: join(ROOT, 'wrangler.toml') }, { hideWarnings: true })
    await mkdir(directory, { recursive: true })
    // The first one is the script.
    const files = ['index.js', ...(await readdir(folder)).filter((name) => name.endsWith('.yaml'))]
    const modules = await Promise.all(
      files.map(async (name) => ({
        type: name.endsWith('.yaml') ? ('Text' as const) : ('ESModule' as const),
        path: join(folder, name),
        contents: await readFile(join(folder, name), 'utf8'),
      })),
    )
    const durableObjects = Object.fromEntries(
      Object.entries(CLASSES).map(([binding, className]) => [
        binding,
        { className, scriptName: className, useSQLite: true },
      ]),
    )
    const worker = (name: string) => ({
      name,
      rootPath: folder,
      modulesRoot: folder,
      modules,
      durableObjects,
      compatibilityDate: config.compatibility_date ?? '',
      compatibilityFlags: config.compatibility_flags,
      bindings: { ACTIVE_BUCKETS: 4_000, ...config.vars, ...bindings },
    })
    return convertV4MiniflareOptions({
      host: '127.0.0.1',
      port: this.#port,
      inspectorPort: this.#inspector,
      log: new Log(LogLevel.ERROR),
      handleStructuredLogs: ({ level, message }) => log?.(`${level}: ${message}`),
      resourcePersistencePath: directory,
      workers: CLASSES_MEASURED.map(worker),
    })
  }
}

async function heapOf(url: string): Promise<number> {
  const socket = new WebSocket(url)
  try {
    return await within(
      'the inspector',
      new Promise<number>((resolve, reject) => {
        socket.onerror = () => reject(new Error('the inspector does not answer'))
        socket.onopen = () => {
          if (COLLECTED) socket.send(JSON.stringify({ id: 2, method: 'HeapProfiler.collectGarbage' }))
          socket.send(JSON.stringify({ id: 1, method: 'Runtime.getHeapUsage' }))
        }
        socket.onmessage = ({ data }) => {
          const { id, result } = JSON.parse(String(data)) as {
            id?: number
            result?: { usedSize: number; backingStorageSize?: number }
          }
          if (id === 1 && result) resolve((result.usedSize + (result.backingStorageSize ?? 0)) / 1_048_576)
        }
      }),
      10,
    )
  } finally {
    socket.close()
  }
}

/** Our child that listens there. */
function workerdOn(port: number): number | null {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
  const mine = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, ...args]) => Number(parent) === process.pid && args.join(' ').includes('workerd'))
    .filter(([, , ...args]) => args.join(' ').includes(`:${port}`))
  return mine[0] ? Number(mine[0][0]) : null
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Until the peaks of all services are known. */
export const measured = (isolates: Isolates): Promise<boolean> =>
  until('every isolate', async () => CLASSES_MEASURED.every((service) => (isolates.peaks[service] ?? 0) > 0))
