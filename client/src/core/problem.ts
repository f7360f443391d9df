import type { SyncProblem } from '../types.ts'

/** An error with a stable code: the server's, or one of ours (`docs/client.md` lists them). */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: string
  /** Of `fate_unknown`: by what `fate` finds the write. */
  readonly call?: string

  constructor(code: string, message: string, { call, ...options }: ErrorOptions & { call?: string } = {}) {
    super(message, options)
    this.code = code
    if (call !== undefined) this.call = call
  }
}

export function problemOf(error: unknown, otherwise = 'network'): SyncProblem {
  const message = error instanceof Error ? error.message : String(error)
  return { code: error instanceof ProblemError ? error.code : (storageCode(error) ?? otherwise), message }
}

/** SQLite's primary result code: node:sqlite calls it `errcode`, the wasm build `resultCode`. */
export function sqliteCode(error: unknown): number | null {
  if (!(error instanceof Error)) return null
  const code: unknown = 'errcode' in error ? error.errcode : 'resultCode' in error ? error.resultCode : null
  return typeof code === 'number' ? code & 0xff : null
}

/** An error of SQLite is no error of the network: it does not pass by itself. */
function storageCode(error: unknown): string | null {
  const code = sqliteCode(error)
  if (code === null) return null
  if (code === SQLITE_FULL) return 'storage_full'
  return isCorrupt(error) ? 'storage_corrupt' : 'storage'
}

const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_NOTADB = 26

export function isCorrupt(error: unknown): boolean {
  const code = sqliteCode(error)
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB
}

/** Full jitter: clients that lost the same server do not come back together. */
export function backoff(attempt: number, first = 500): number {
  return Math.min(30_000, first * 2 ** Math.min(attempt - 1, 10)) * (0.5 + Math.random() / 2)
}
