import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { connectSource, redactUrl } from '../sources/postgres/index.ts'
import { compile } from '../sync-config/index.ts'
import { bundle, ROOT } from './bundle.ts'
import { checkSettings } from './check-settings.ts'
import { checkSource } from './check-source.ts'
import { isFree, passwordFile, startDatabase } from './database.ts'
import { makeDataFolder, makePrivateFolder } from './data-folder.ts'
import { LocalEdge } from './edge.ts'
import { tellStatus } from './followed.ts'
import { printable } from './frame.ts'
import { startGuard } from './guard.ts'
import { limitsOf } from './limits.ts'
import { DEFAULT_DATA, DEFAULT_PORT, type DevOptions } from './options.ts'
import { removeTraces, traceBindings, tracesOf } from './own-traces.ts'
import { portHolder } from './port-holder.ts'
import { UsageError } from './problem.ts'
import { developmentSecret, signToken, tenantKeys } from './secret.ts'
import { declared, textOf, type Settings } from './settings.ts'
import { editedSince, noteTaken } from './taken-config.ts'
import { watchConfig } from './watch-config.ts'

const EXAMPLE_PORT_OFFSET = 1

/**
 * The longest pause between polls while no client is connected. On a developer's machine a longer one saves nothing and
 * delays changes.
 */
const IDLE_POLL_MAX_SECONDS = 60

/**
 * Starts database, edge and example in this order, runs until the signal, and ends them in reverse order. `given` is
 * the result of `readSettings`.
 */
export async function dev(
  options: DevOptions,
  given: Settings,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const data = resolve(options.data)
  for (const note of await settingNotes(options, given)) say(`settings   ${note}`)
  const { text: syncConfig, mistakes } = await readSyncConfig(options.syncConfig, given)
  // Where a sync config may serve already, a mistake in the file ends nothing: it is reported, and the old one
  // continues to serve, as when the file is edited.
  if (mistakes.length > 0 && !existsSync(join(data, 'edge')))
    throw new UsageError(`the sync config has errors\n${mistakes.join('\n')}`)
  if (!(await isFree(options.port))) throw portTaken(options.port)
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
    const ca = textOf(given, 'DATABASE_CA')
    const notes = await checkSource(databaseUrl, given)
    say(`database   ${redactUrl(databaseUrl)}${passwordNote}`)
    for (const note of notes) say(`database   ${note}`)
    if (signal.aborted) return
    const jwtSecret = options.jwtSecret ?? (await developmentSecret(data))
    const { port, jwtAudience } = options
    const url = `http://127.0.0.1:${port}`
    if (options.example) {
      const { prepareDatabase } = await import('../examples/todos/database.ts')
      await prepareDatabase(databaseUrl, connectSource(databaseUrl, { ca, asIs: true }))
    }
    // Dropped when the edge has ended.
    const traces =
      options.databaseUrl === undefined ? null : await tracesOf(data, process.env, { given, example: options.example })
    if (traces) {
      const url = databaseUrl
      stops.push(() => removeTraces(url, ca, traces, say))
      const { slot, ownSlot, publication, ownPublication } = traces
      say(
        `database   slot ${slot}${ownSlot ? ', dropped at the end' : ''}; publication ${publication ?? textOf(given, 'PUBLICATION')}${publication !== undefined && ownPublication ? ', dropped at the end' : ''}`,
      )
    }
    if (!options.example && traces) {
      say(
        'example    none, so that no table is made in this database (--example makes lists, todos, upload_verdicts and upload_clients)',
      )
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
        ...(await tenantBindings(data)),
        ...settingsOf(given),
        ...(traces && traceBindings(traces)),
        DATABASE_URL: databaseUrl,
        JWT_SECRET: jwtSecret,
        JWT_AUDIENCE: jwtAudience,
        // An empty setting counts as missing.
        SYNC_CONFIG: syncConfig || '\n',
      },
      log: (line) => say(`edge       ${line}`),
    })
    stops.push(async () => {
      await edge.sayGoodbye()
      await edge.dispose()
    })
    await edge.start()
    const file = configPath(options.syncConfig)
    for (const line of mistakes.length > 0 ? ['the file has errors, and is not deployed:', ...mistakes] : [])
      say(`config     ${line}`)
    const taken = (text: string) => noteTaken(data, text)
    const edited = mistakes.length === 0 && (await editedSince(data, syncConfig))
    const watched = watchConfig({ file, text: syncConfig, url, jwtSecret, jwtAudience, say, taken })
    stops.push(async () => watched.close())
    if (options.example) {
      say('example    starting …')
      const { startExample } = await import('../examples/todos/server.ts')
      const examplePort = (await isFree(port + EXAMPLE_PORT_OFFSET)) ? port + EXAMPLE_PORT_OFFSET : 0
      const sql = connectSource(databaseUrl, { ca, asIs: true, max: 4 })
      const example = await startExample({ port: examplePort, databaseUrl, sql, jwtSecret, jwtAudience, endpoint: url })
      stops.push(() => example.close())
      say(`example    ${example.url}`)
    }
    say(`status     npx rockpool status${statusOptions(options)}`)
    const token = () =>
      signToken({ sub: 'rockpool dev', ttlSeconds: 60, claims: { operator: true } }, jwtSecret, jwtAudience)
    const deploy = () => watched.deploy()
    await tellStatus({ url, token, file, text: () => watched.text(), edited, deploy, taken, say, signal })
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
    if (stops.length > 0) say('stopped')
  }
}

/**
 * Any number of tenants beside that of these settings: `rockpool tenants create`. Isolates do not lag here, so a
 * deletion waits for no late calls; and a host that a tenant is given takes nothing from this address.
 */
const tenantBindings = async (data: string): Promise<Record<string, string>> => ({
  TENANT_KEYS: await tenantKeys(data),
  SCRIPT_TENANT: 'beside',
  DELETION_LATE_SECONDS: '1',
  HOSTS: '127.0.0.1,localhost',
})

/** As bindings of the script. */
function settingsOf(given: Settings): Settings {
  const settings = declared(given)
  const polls = 'IDLE_POLL_SECONDS' in settings || 'IDLE_POLL_MAX_SECONDS' in settings ? {} : { IDLE_POLL_MAX_SECONDS }
  return { ...polls, ...settings }
}

/**
 * Throws UsageError for settings that the script would refuse, before anything is started. Returns the warnings about
 * the others.
 */
async function settingNotes({ databaseUrl, jwtSecret, jwtAudience }: DevOptions, given: Settings): Promise<string[]> {
  const options = {
    JWT_AUDIENCE: jwtAudience,
    ...(databaseUrl && { DATABASE_URL: databaseUrl }),
    ...(jwtSecret && { JWT_SECRET: jwtSecret }),
  }
  const found = await checkSettings({ ...given, ...options })
  const errors = found
    .filter(({ level }) => level === 'error')
    .map(({ code, message }) => `${code}: ${printable(message)}`)
  if (errors.length > 0) throw new UsageError(`the settings cannot be used\n${errors.join('\n')}`)
  return found.filter(({ code }) => code === 'setting-unknown').map(({ message }) => printable(message))
}

function portTaken(port: number): UsageError {
  const holder = portHolder(port)
  return new UsageError(
    `port ${port} is in use${holder === null ? ':' : ` by ${holder}: end it, or`} choose another one with --port`,
  )
}

const configPath = (file: string | undefined): string =>
  file === undefined ? join(ROOT, 'sync-config.yaml') : resolve(file)

/** Returns the text of the sync config, and every error with its place. Throws UsageError when it cannot be read. */
async function readSyncConfig(
  file: string | undefined,
  given: Settings,
): Promise<{ text: string; mistakes: string[] }> {
  const path = configPath(file)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new UsageError(`the sync config cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  })
  const result = compile(text, limitsOf(given))
  const errors = result.ok ? [] : result.errors
  const mistakes = errors.map(
    (error) => `${path}:${error.place.line}:${error.place.column} ${error.code}: ${error.message}`,
  )
  return { text, mistakes }
}

/**
 * Returns the options that a command in another terminal needs to reach this Rockpool, where these are not the
 * defaults.
 */
function statusOptions({ port, data, jwtSecret }: DevOptions): string {
  const url = port === DEFAULT_PORT ? '' : ` http://127.0.0.1:${port}`
  const folder = data === DEFAULT_DATA ? '' : ` --data ${data}`
  return `${url}${folder}${jwtSecret === undefined ? '' : '   (with the JWT_SECRET of this one)'}`
}
