import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { column, Schema, Table } from '@powersync/common'
import type { AbstractPowerSyncDatabase, PowerSyncBackendConnector } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import { SignJWT } from 'jose'

// What end-to-end tests share: tokens, an unmodified PowerSync client, and waiting.

const SHARED_MEMORY = '/dev/shm'

export const AUDIENCE = 'rockpool-test'
export const newSecret = (): string => randomBytes(32).toString('base64url')

/** Signs a token as an application's backend would. */
export async function token(
  secret: string,
  user: string,
  seconds = 3600,
  claims: Record<string, unknown> = {},
  audience = AUDIENCE,
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime(`${seconds}s`)
    .sign(Buffer.from(secret, 'base64url'))
}

/**
 * Makes a directory. With `inMemory` it uses a file system in memory where there is one, because thousands of objects
 * take minutes on a disk that waits for writes.
 */
export async function temporaryDirectory(inMemory = false): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(inMemory && existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir(), 'rockpool-test-'))
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) }
}

/**
 * Polls until `probe` returns something other than undefined and false. Fails with the last value, so that a test that
 * hangs says why. The limit only ends a hung test; nothing is concluded from how long it took.
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false>,
  limitSeconds = 120,
  seen?: () => unknown,
): Promise<T> {
  const end = Date.now() + limitSeconds * 1000
  let last: unknown
  for (;;) {
    try {
      const value = await within(`an answer about ${what}`, probe(), Math.max(1, (end - Date.now()) / 1000))
      if (value !== undefined && value !== false) return value
      last = undefined
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw await gaveUp(`${what}; last error: ${String(last)}`, seen)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/**
 * Returns the result of `work`. Fails when it takes too long, while `work` itself continues. Like `until`, it only ends
 * a hung test.
 */
export async function within<T>(what: string, work: Promise<T>, limitSeconds = 120, seen?: () => unknown): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<'late'>((resolve) => (timer = setTimeout(resolve, limitSeconds * 1000, 'late')))
  const first = await Promise.race([work.then((value) => ({ value })), late]).finally(() => clearTimeout(timer))
  if (first === 'late') throw await gaveUp(`${what} for ${limitSeconds} s`, seen)
  return first.value
}

const SEEN_MS = 10_000

async function gaveUp(what: string, seen?: () => unknown): Promise<Error> {
  if (!seen) return new Error(`gave up waiting for ${what}`)
  // Looking may hang for the same reason.
  const late = new Promise((resolve) => setTimeout(resolve, SEEN_MS, 'it could not be seen'))
  const state: unknown = await Promise.race([(async () => seen())().catch(String), late])
  return new Error(`gave up waiting for ${what}; seen: ${JSON.stringify(state)}`)
}

export const appSchema = new Schema({
  lists: new Table({ name: column.text, owner_id: column.text, shared: column.integer, created_at: column.text }),
  todos: new Table({
    list_id: column.text,
    title: column.text,
    done: column.integer,
    owner_id: column.text,
    shared: column.integer,
  }),
})

/** An unmodified `@powersync/node` client over HTTP and node:sqlite. */
export function powersync(directory: string, name: string): PowerSyncDatabase {
  return new PowerSyncDatabase({
    schema: appSchema,
    database: { dbFilename: `${name}.db`, dbLocation: directory, implementation: { type: 'node:sqlite' } },
  })
}

export function connector(
  endpoint: string,
  credentials: () => Promise<string>,
  uploadData: (database: AbstractPowerSyncDatabase) => Promise<void> = async () => {},
): PowerSyncBackendConnector {
  return { fetchCredentials: async () => ({ endpoint, token: await credentials() }), uploadData }
}
