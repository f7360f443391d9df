import sqlite3InitModule, { type Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { ProblemError } from '../core/problem.ts'

/** Throws ProblemError `wasm`, which says what was answered in place of SQLite: the runtime only says which bytes it did not expect. */
export async function loadSqlite(): Promise<Sqlite3Static> {
  try {
    return await sqlite3InitModule()
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
  return isWasm ? `${url} could not be used: ${String(cause)}` : `${url} was answered with ${type}, which is no WebAssembly`
}

/** What was asked for: a bundler may have given it another name. */
function wasmUrl(): string {
  const asked = performance.getEntriesByType('resource').findLast(({ name }) => new URL(name).pathname.endsWith('.wasm'))
  return asked?.name ?? new URL('sqlite3.wasm', location.href).href
}
