import type { SyncOptions, UploadResult } from '../types.ts'
import { ProblemError } from './problem.ts'

/** Statuses that say nothing about the transaction, whatever their body holds. */
const PASSING = [401, 408, 425, 429]

/**
 * Posts a transaction to `uploadUrl`. Only JSON that comes from there decides: 2xx without an error accepts, 4xx with
 * `error.code` rejects. Everything else throws and is tried again: a login page, the page of an app that answers every
 * path, a deploy that answers 404. `fetch` follows a redirect of a POST with a GET, so a redirect is an error (2026-11:
 * `redirect: 'error'` in Chromium, Firefox, Safari and Node).
 */
export async function postTransaction(
  url: string,
  body: string,
  token: string,
  signal: AbortSignal,
): Promise<UploadResult> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` },
    body,
    signal,
    redirect: 'error',
  })
  const answer = await jsonOf(response)
  const { code, message } = errorOf(answer)
  const failed = isObject(answer) && (answer.error ?? null) !== null
  if (response.ok && !response.redirected && answer !== undefined && !failed) return { result: 'accepted' }
  // Codes of the sync service come when `uploadUrl` points there: it has no opinion about transactions.
  const verdict = code !== undefined && !/^(PSYNC|ROCKPOOL)_/.test(code)
  if (verdict && response.status >= 400 && response.status < 500 && !PASSING.includes(response.status)) {
    return { result: 'rejected', code, message: message ?? code }
  }
  if (response.status === 401) throw new ProblemError('auth', `the upload was answered 401: ${message ?? ''}`)
  const what = message ?? (answer === undefined ? 'it is not JSON' : 'there is no error.code')
  throw new ProblemError('upload_answer', `the upload was answered ${response.status}, which decides nothing: ${what}`)
}

/** A number that comes back in a checkpoint which contains everything that was accepted before. */
export async function writeCheckpoint(
  options: Pick<SyncOptions, 'url'>,
  clientId: string,
  token: string,
  signal: AbortSignal,
): Promise<number> {
  const url = `${options.url.replace(/\/+$/, '')}/write-checkpoint2.json?client_id=${encodeURIComponent(clientId)}`
  const response = await fetch(url, { headers: { authorization: `Token ${token}` }, signal })
  if (!response.ok)
    throw new ProblemError(
      response.status === 401 ? 'auth' : 'network',
      `the write checkpoint was answered ${response.status}`,
    )
  const body: { data?: { write_checkpoint?: unknown } } = await response.json()
  const n = Number(body.data?.write_checkpoint)
  if (!Number.isSafeInteger(n) || n <= 0) throw new ProblemError('protocol', 'the server sent no write checkpoint')
  return n
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The body when it is JSON and says so. */
async function jsonOf(response: Response): Promise<unknown> {
  const text = await response.text()
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(response.headers.get('content-type') ?? '')) return undefined
  try {
    const body: unknown = JSON.parse(text)
    return body
  } catch {
    return undefined
  }
}

function errorOf(answer: unknown): { code?: string; message?: string } {
  const error = isObject(answer) ? answer.error : undefined
  if (!isObject(error)) return {}
  const { code, message, description } = error
  return {
    ...(typeof code === 'string' && code !== '' ? { code } : {}),
    ...(typeof message === 'string' ? { message } : typeof description === 'string' ? { message: description } : {}),
  }
}
