import sqlite3InitModule, { type Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { ProblemError } from '../core/problem.ts'

/**
 * Loads SQLite; `wasm`: its address, where it is not beside the script. Throws ProblemError `wasm`, which says what the
 * server answered instead, because the runtime only names unexpected bytes.
 */
export async function loadSqlite(wasm?: string): Promise<Sqlite3Static> {
  try {
    const options = wasm === undefined ? undefined : { locateFile: () => wasm }
    // Its type knows of no options (3.54).
    const init = sqlite3InitModule as (options?: { locateFile(): string }) => Promise<Sqlite3Static>
    const sqlite3 = await init(options)
    // It logs every refused statement.
    sqlite3.config.warn = () => {}
    return sqlite3
  } catch (cause) {
    throw new ProblemError('wasm', await whyNotLoaded(cause), { cause })
  }
}

async function whyNotLoaded(cause: unknown): Promise<string> {
  const url = wasmUrl()
  const answer = await fetch(url).catch(() => null)
  if (!answer) return `${url} could not be fetched`
  if (!answer.ok) return `${url} was answered ${answer.status}`
  const type = answer.headers.get('content-type')?.split(';')[0] ?? 'no content type'
  const bytes = new Uint8Array(await answer.arrayBuffer().catch(() => new ArrayBuffer(0)))
  const isWasm = String.fromCharCode(...bytes.slice(0, 4)) === '\0asm'
  return isWasm
    ? `${url} could not be used: ${String(cause)}`
    : `${url} was answered with ${type}, which is not WebAssembly`
}

/** Returns the URL that was requested. A bundler may have renamed the file. */
function wasmUrl(): string {
  const asked = performance
    .getEntriesByType('resource')
    .findLast(({ name }) => new URL(name).pathname.endsWith('.wasm'))
  return asked?.name ?? new URL('sqlite3.wasm', location.href).href
}
