import type { SyncOptions, UploadResult, UploadTransaction } from '../types.ts'
import { ProblemError } from './problem.ts'

/** Posts a transaction to `uploadUrl`. Refusals that will not change are `rejected`; everything else throws and is tried again. */
export async function postTransaction(
  url: string,
  transaction: UploadTransaction,
  token: string,
  signal: AbortSignal,
): Promise<UploadResult> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(transaction),
    signal,
  })
  if (response.ok) return { result: 'accepted' }
  const text = await response.text()
  const { code, message } = errorOf(text)
  const forEver = response.status >= 400 && response.status < 500 && ![401, 408, 425, 429].includes(response.status)
  if (forEver) return { result: 'rejected', code: code ?? `http_${response.status}`, message: message ?? text.slice(0, 200) }
  throw new ProblemError(response.status === 401 ? 'auth' : 'network', `the upload was answered ${response.status}: ${message ?? ''}`)
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
    throw new ProblemError(response.status === 401 ? 'auth' : 'network', `the write checkpoint was answered ${response.status}`)
  const body: { data?: { write_checkpoint?: unknown } } = await response.json()
  const n = Number(body.data?.write_checkpoint)
  if (!Number.isSafeInteger(n) || n <= 0) throw new ProblemError('protocol', 'the server sent no write checkpoint')
  return n
}

function errorOf(text: string): { code?: string; message?: string } {
  try {
    const body: { error?: { code?: unknown; message?: unknown; description?: unknown } } = JSON.parse(text)
    const { code, message, description } = body.error ?? {}
    return {
      ...(typeof code === 'string' ? { code } : {}),
      ...(typeof message === 'string' ? { message } : typeof description === 'string' ? { message: description } : {}),
    }
  } catch {
    return {}
  }
}
