import { checkAddress } from '../core/address.ts'
import type { DatabasePort } from '../core/database/port.ts'
import { ProblemError } from '../core/problem.ts'
import { storedSchema, type TypedSchema } from '../schema.ts'
import { fileOf } from '../tabs/names.ts'
import { Tab } from '../tabs/tab.ts'
import type { RockpoolOptions } from './options.ts'
import { Database, withTables, type Rockpool } from './rockpool.ts'

export interface BrowserRockpoolOptions<S extends TypedSchema> extends RockpoolOptions<S> {
  /**
   * The bundled `@rockpool/client/rockpool-worker`: its address, or what makes the worker. Default:
   * `rockpool-worker.js` beside this script, which Vite and webpack put there.
   */
  worker?: string | URL | (() => Worker)
  /** Address of `sqlite3.wasm` of `@sqlite.org/sqlite-wasm`. Default: beside the worker. */
  wasm?: string | URL
  /** Name of the database of an earlier release (`openSync`), which is moved. Default `name`. */
  oldName?: string
}

/**
 * Answers at once; the database opens itself when it is first used. All tabs of an origin with the same name, URL and
 * user share one. On a server nothing happens: what needs the file rejects with `no_browser`.
 */
export function createRockpool<S extends TypedSchema>(options: BrowserRockpoolOptions<S>): Rockpool<S> {
  checkAddress(options.url, options.allowHttp)
  if (options.upload !== undefined) checkAddress(options.upload, options.allowHttp)
  return withTables(new Database(options.schema, 'opfs', () => open(options)))
}

function open<S extends TypedSchema>(options: BrowserRockpoolOptions<S>): DatabasePort {
  checkPlatform()
  const { schema, name, user, subject, upload, parameters, wasm, worker = workerBeside } = options
  const absolute = (address: string | URL): string => new URL(address, location.href).href
  const url = absolute(options.url)
  const tab = new Tab({
    file: fileOf(name, url, user),
    oldName: options.oldName ?? name,
    url,
    schema: storedSchema(schema),
    connect: options.connect !== false,
    token: options.token,
    makeWorker: typeof worker === 'function' ? worker : () => new Worker(worker, { type: 'module' }),
    ...(user === undefined ? {} : { user }),
    ...(subject === undefined ? {} : { subject }),
    ...(upload === undefined ? {} : { upload }),
    ...(parameters === undefined ? {} : { parameters }),
    ...(wasm === undefined ? {} : { wasm: absolute(wasm) }),
  })
  return tab.database
}

/**
 * Bundlers look for these very words, and bundle the file that they name. In the package it is `rockpool-worker.js`,
 * beside this script.
 */
const workerBeside = (): Worker => new Worker(new URL('../tabs/worker.ts', import.meta.url), { type: 'module' })

function checkPlatform(): void {
  if (typeof Worker === 'undefined' || typeof document === 'undefined')
    throw new ProblemError('no_browser', 'there is a local database in a page of a browser, and not here')
  if (typeof navigator.locks === 'undefined')
    throw new ProblemError(
      'insecure_page',
      'browsers allow a local database only for pages that are served over https, or from this machine',
    )
}
