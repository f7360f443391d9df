import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { LocalEdge } from '../../cli/edge.ts'
import { edgeOver, OVER_TLS, type OverTls } from './over-tls.ts'
import { freePort } from './postgres.ts'

export interface EdgeSettings {
  databaseUrl: string
  jwtSecret: string
  jwtAudience: string
  /** YAML text. */
  syncConfig: string
  directory: string
  port?: number
  /** Further settings. */
  bindings?: Record<string, string>
  log?: (line: string) => void
  /** See `EdgeOptions`. */
  front?: string
  inspectorPort?: number
  bundle?: string
  /** As the database was started; what the environment says otherwise. */
  overTls?: OverTls | null
}

export type ObjectClass = 'Bucket' | 'Relay' | 'Replicator'

export interface Edge {
  readonly url: string
  pid(): number
  /**
   * Kills workerd by SIGKILL and starts it again on the same port and storage. Resolves when it answers again. Calls
   * are made one after the other.
   */
  kill9(): Promise<void>
  restart(): Promise<void>
  dispose(): Promise<void>
  /** Returns the ids of the objects of a class that have written something. */
  objectIds(name: ObjectClass): Promise<string[]>
  /** Returns every object of a class that has a file on disk, with its tables. */
  objectTables(name: ObjectClass): Promise<{ id: string; tables: string[] }[]>
}

/** Starts the bundle that would be deployed, in workerd, over a database of the test. */
export async function startEdge(settings: EdgeSettings): Promise<Edge> {
  const { jwtSecret, jwtAudience, syncConfig, directory, overTls = OVER_TLS } = settings
  const { databaseUrl, bindings } = overTls
    ? edgeOver(overTls, settings.databaseUrl)
    : { databaseUrl: settings.databaseUrl, bindings: {} }
  const edge = new LocalEdge({
    port: settings.port ?? (await freePort()),
    directory,
    bindings: {
      DATABASE_URL: databaseUrl,
      JWT_SECRET: jwtSecret,
      JWT_AUDIENCE: jwtAudience,
      SYNC_CONFIG: syncConfig,
      ...bindings,
      ...settings.bindings,
    },
    ...(settings.front === undefined ? {} : { front: settings.front }),
    ...(settings.inspectorPort === undefined ? {} : { inspectorPort: settings.inspectorPort }),
    ...(settings.bundle === undefined ? {} : { bundle: settings.bundle }),
    log: settings.log ?? (process.env.ROCKPOOL_LOG ? (line) => console.log(`[edge] ${line}`) : () => {}),
  })
  await edge.start()
  let killed = Promise.resolve()

  const objectTables = async (name: ObjectClass) => {
    const folder = join(directory, 'do', `rockpool-${name}`)
    if (!existsSync(folder)) return []
    return readdirSync(folder)
      .filter((file) => /^[0-9a-f]{64}\.sqlite$/.test(file))
      .map((file) => {
        const db = new DatabaseSync(join(folder, file), { readOnly: true, timeout: 5_000 })
        try {
          const rows = db
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")
            .all()
          return { id: file.slice(0, 64), tables: rows.map((row) => String(row.name)) }
        } finally {
          db.close()
        }
      })
  }

  return {
    get url() {
      return edge.url
    },
    pid: () => edge.pid,
    kill9: () =>
      (killed = killed.then(async () => {
        process.kill(edge.pid, 'SIGKILL')
        await edge.restart()
      })),
    restart: () => edge.restart(),
    dispose: () => edge.dispose(),
    objectTables,
    objectIds: async (name) =>
      (await objectTables(name)).filter((object) => object.tables.length > 0).map((object) => object.id),
  }
}

/** Returns true when workerd answers. While it hangs at a fault point (`hangAt`) it does not. */
export async function answers(edge: Pick<Edge, 'url'>): Promise<boolean> {
  try {
    return (await fetch(`${edge.url}/probes/liveness`, { signal: AbortSignal.timeout(1_500) })).ok
  } catch {
    return false
  }
}
