import { checkAddress } from './core/address.ts'
import { ProblemError } from './core/problem.ts'
import { Tab } from './browser/tab.ts'
import type { SyncDatabase, SyncOptions } from './types.ts'

export { createRockpool, type BrowserRockpoolOptions } from './api/browser.ts'
export type * from './api/exported.ts'
export { sql } from './api/sql.ts'
export { ProblemError } from './core/problem.ts'
export { SignedOut } from './core/signed-out.ts'
export type * from './types.ts'

export interface BrowserSyncOptions extends SyncOptions {
  /**
   * The bundled `@rockpool/client/worker`, with `sqlite3.wasm` of `@sqlite.org/sqlite-wasm` beside it. Default
   * `/worker.js`.
   */
  workerUrl?: string | URL
}

/**
 * Opens the local database of this origin and keeps it in sync. Resolves when it can be read. Throws ProblemError with
 * a code of `docs/client.md`.
 *
 * @deprecated `createRockpool` takes its place, and moves what this one has stored.
 */
export async function openSync({ workerUrl = '/worker.js', ...options }: BrowserSyncOptions): Promise<SyncDatabase> {
  checkAddress(options.url, options.allowHttp)
  if (options.uploadUrl !== undefined) checkAddress(options.uploadUrl, options.allowHttp)
  if (typeof navigator.locks === 'undefined') {
    throw new ProblemError(
      'insecure_page',
      'browsers allow a local database only for pages that are served over https, or from this machine',
    )
  }
  const tab = new Tab(options, workerUrl)
  await tab.opened
  return tab
}
