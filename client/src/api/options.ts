import type { DatabaseOptions } from '../core/database/database.ts'
import type { UploadResponse } from '../core/outbox/answer.ts'
import { responseOf } from '../core/outbox/sender.ts'
import { ProblemError } from '../core/problem.ts'
import { writeCheckpoint } from '../core/uploader.ts'
import { within } from '../core/within.ts'
import type { TypedSchema } from '../schema.ts'

/** So long an answer of the backend or the sync service may take. */
export const ANSWER_MS = 60_000

export interface RockpoolOptions<S extends TypedSchema> {
  schema: S
  /** Names the local database. */
  name: string
  /** Of the sync service, for example `https://sync.example.com`. */
  url: string
  /**
   * A token for the sync service and the backend; asked again when it is about to expire, and when it threw. Throw
   * `SignedOut` when nobody is signed in.
   */
  token: () => Promise<string> | string
  /** Whose database it is. Without it, that of the first token's subject. */
  user?: string
  /** How `user` is found in a token. Default: its `sub`. */
  subject?: (claims: Record<string, unknown>) => string
  /** Where writes are posted. Without it they wait in the queue. */
  upload?: string
  /** Parameters of the connection, for the sync config. */
  parameters?: Record<string, unknown>
  /** Default true: connect as soon as the database is open. */
  connect?: boolean
  /** Default false: `http://` is refused except on this machine. */
  allowHttp?: boolean
}

/** A redirect is not followed: `fetch` would follow that of a POST with a GET, and take a login page for the answer. */
export async function postTo(
  url: string,
  body: string,
  token: string,
  more: { signal?: AbortSignal; keepalive?: boolean } = {},
): Promise<UploadResponse> {
  const headers = { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` }
  return responseOf(await fetch(url, { method: 'POST', headers, body, redirect: 'manual', ...more }))
}

export function checkpointOf(url: string): DatabaseOptions['checkpoint'] {
  return (client, given, signal) => limited(signal, (over) => writeCheckpoint({ url }, client, given, over))
}

/** Throws ProblemError `network` when it takes too long. */
export async function limited<T>(signal: AbortSignal, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const given = new AbortController()
  const late = (): ProblemError => new ProblemError('network', `no answer within ${ANSWER_MS / 1_000} seconds`)
  try {
    return await within(request(AbortSignal.any([signal, given.signal])), ANSWER_MS, late, signal)
  } finally {
    given.abort()
  }
}
