import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { redactUrl } from '../postgres/index.ts'
import { compile } from '../sync-config/index.ts'
import { bundle, ROOT } from './bundle.ts'
import { checkSource } from './check-source.ts'
import { isFree, passwordFile, startDatabase } from './database.ts'
import { makeDataFolder, makePrivateFolder } from './data-folder.ts'
import { LocalEdge } from './edge.ts'
import { untilFollowed } from './followed.ts'
import { startGuard } from './guard.ts'
import { limitBindings, limitsOf } from './limits.ts'
import type { DevOptions } from './options.ts'
import { UsageError } from './problem.ts'
import { developmentSecret, signToken } from './secret.ts'
import { watchConfig } from './watch-config.ts'

const EXAMPLE_PORT_OFFSET = 1

/** Runs until the signal: database, edge and example, in this order, and ends them in the other. */
export async function dev(options: DevOptions, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const data = resolve(options.data)
  const syncConfig = await readSyncConfig(options.syncConfig)
  if (!(await isFree(options.port))) throw new UsageError(`port ${options.port} is in use: choose another one with --port`)
  const stops: (() => Promise<void>)[] = []
  const guard = startGuard()
  try {
    await makeDataFolder(data)
    let databaseUrl = options.databaseUrl
    let passwordNote = ''
    if (databaseUrl === undefined) {
      say('database   starting the embedded Postgres …')
      const database = await startDatabase(data, (line) => say(`database   ${line}`))
      stops.push(() => database.stop())
      databaseUrl = database.url
      if (existsSync(passwordFile(data))) passwordNote = `   (its password: ${passwordFile(data)})`
    }
    const notes = await checkSource(databaseUrl)
    say(`database   ${redactUrl(databaseUrl)}${passwordNote}`)
    for (const note of notes) say(`database   ${note}`)
    if (signal.aborted) return
    const jwtSecret = options.jwtSecret ?? (await developmentSecret(data))
    const { port, jwtAudience } = options
    const url = `http://127.0.0.1:${port}`
    if (options.example) {
      const { prepareDatabase } = await import('../examples/todos/database.ts')
      await prepareDatabase(databaseUrl)
    }
    if (!options.example && options.databaseUrl !== undefined) {
      say('example    none, so that no table is made in this database (--example makes lists, todos and uploads)')
    }
    say('edge       making the bundle …')
    await bundle()
    if (signal.aborted) return
    await makePrivateFolder(join(data, 'edge'))
    say('edge       starting workerd …')
    const edge = new LocalEdge({
      port,
      directory: join(data, 'edge'),
      bindings: {
        ...options.auth,
        ...limitBindings(process.env),
        DATABASE_URL: databaseUrl,
        JWT_SECRET: jwtSecret,
        JWT_AUDIENCE: jwtAudience,
        SYNC_CONFIG: syncConfig,
      },
      log: (line) => say(`edge       ${line}`),
    })
    stops.push(() => edge.dispose())
    await edge.start()
    const watched = watchConfig({ file: configPath(options.syncConfig), text: syncConfig, url, jwtSecret, jwtAudience, say })
    stops.push(async () => watched.close())
    if (options.example) {
      say('example    starting …')
      const { startExample } = await import('../examples/todos/server.ts')
      const examplePort = (await isFree(port + EXAMPLE_PORT_OFFSET)) ? port + EXAMPLE_PORT_OFFSET : 0
      const example = await startExample({ port: examplePort, databaseUrl, jwtSecret, jwtAudience, endpoint: url })
      stops.push(() => example.close())
      say(`example    ${example.url}`)
    }
    say(`status     ${url}/status   (a token: npx rockpool token --sub me --claim operator=true)`)
    const token = () => signToken({ sub: 'rockpool dev', ttlSeconds: 60, claims: { operator: true } }, jwtSecret, jwtAudience)
    if (await untilFollowed({ url, token, say, signal })) say(`ready ${url}`)
    if (!signal.aborted) await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    say('stopping …')
  } finally {
    let clean = true
    for (const stop of stops.reverse()) {
      await stop().catch((error: unknown) => {
        clean = false
        say(`it did not stop cleanly: ${String(error)}`)
      })
    }
    if (clean) guard.done()
  }
}

const configPath = (file: string | undefined): string => (file === undefined ? join(ROOT, 'sync-config.yaml') : resolve(file))

/** The text of the sync config, checked. Throws UsageError with every error and its place. */
async function readSyncConfig(file: string | undefined): Promise<string> {
  const path = configPath(file)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new UsageError(`the sync config cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  })
  const result = compile(text, limitsOf(process.env))
  if (result.ok) return text
  const lines = result.errors.map((error) => `${path}:${error.place.line}:${error.place.column} ${error.code}: ${error.message}`)
  throw new UsageError(`the sync config has errors\n${lines.join('\n')}`)
}
