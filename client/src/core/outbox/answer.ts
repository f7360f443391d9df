import type { SyncProblem } from '../../types.ts'

// The one form of an answer that decides anything. Whatever else comes back (a login page, the page of a portal, a
// deploy that answers 404) leaves every transaction where it is.

/** What came back for a request. */
export interface UploadResponse {
  status: number
  contentType: string
  redirected: boolean
  body: string
  /** The header `Retry-After`, in seconds. */
  retryAfter: number | null
}

export type Verdict =
  | { id: string; result: 'accepted' }
  | { id: string; result: 'rejected'; code: string; message: string; field: string | null }
  /** `after`: seconds. */
  | { id: string; result: 'retry'; code: string; after: number }
  | { id: string; result: 'client_reset' }

export interface Decided {
  kind: 'decided'
  verdicts: Verdict[]
  writeCheckpoint: number | null
  /** Rejected transactions that the operator wants to have again. */
  reopen: string[]
}

export type Answer =
  | Decided
  /** 413. */
  | { kind: 'too_large' }
  /** 401. */
  | { kind: 'unauthorized' }
  /** `after`: seconds, when the server says so. */
  | { kind: 'undecided'; problem: SyncProblem; after: number | null }

/** Before a transaction that was answered `retry` is sent again, in seconds. */
export const RETRY_SECONDS = 5

/** `ids`: of the transactions that were sent, in order. */
export function readAnswer(response: UploadResponse, ids: readonly string[]): Answer {
  const { status, redirected, retryAfter } = response
  if (!redirected && status === 413) return { kind: 'too_large' }
  if (!redirected && status === 401) return { kind: 'unauthorized' }
  if (status !== 200 || redirected) {
    return {
      kind: 'undecided',
      problem: {
        code: 'upload_answer',
        message: `the upload was answered ${status}${redirected ? ' after a redirect' : ''}`,
      },
      after: retryAfter,
    }
  }
  const decided = /^application\/json\b/i.test(response.contentType)
    ? decidedOf(parsed(response.body), ids)
    : 'it is not JSON'
  if (typeof decided !== 'string') return decided
  return {
    kind: 'undecided',
    problem: { code: 'bad_answer', message: `the upload was answered, but ${decided}` },
    after: retryAfter,
  }
}

/** What is wrong with it, when something is. */
function decidedOf(answer: unknown, ids: readonly string[]): Decided | string {
  if (!isObject(answer) || !Array.isArray(answer.verdicts)) return 'there is no list of verdicts'
  const given: unknown[] = answer.verdicts
  if (given.length > ids.length || (given.length === 0 && ids.length > 0))
    return `there are ${given.length} verdicts for ${ids.length} transactions`
  const verdicts: Verdict[] = []
  for (const [n, each] of given.entries()) {
    const last = verdicts.at(-1)?.result
    if (last === 'retry' || last === 'client_reset') return `verdicts follow a ${last}`
    const verdict = verdictOf(each, ids[n] ?? '')
    if (typeof verdict === 'string') return `verdict ${n + 1} ${verdict}`
    verdicts.push(verdict)
  }
  const writeCheckpoint = checkpointOf(answer.write_checkpoint)
  if (writeCheckpoint === undefined) return 'its write_checkpoint is no number'
  const reopen = answer.reopen ?? []
  if (!Array.isArray(reopen) || !reopen.every((id) => typeof id === 'string')) return 'its reopen is no list of ids'
  return { kind: 'decided', verdicts, writeCheckpoint, reopen }
}

function verdictOf(verdict: unknown, id: string): Verdict | string {
  if (!isObject(verdict)) return 'is no object'
  if (verdict.id !== id) return 'is not for the transaction that was sent in its place'
  const { result } = verdict
  const code = textOf(verdict.code)
  if (result === 'accepted' || result === 'client_reset') return { id, result }
  if (result === 'rejected')
    return code === null
      ? 'rejects without a code'
      : { id, result, code, message: textOf(verdict.message) ?? code, field: textOf(verdict.field) }
  if (result !== 'retry') return 'has an unknown result'
  const { after } = verdict
  return { id, result, code: code ?? 'retry', after: typeof after === 'number' && after >= 0 ? after : RETRY_SECONDS }
}

/** Undefined: it is there and none. */
function checkpointOf(value: unknown): number | null | undefined {
  if (value === undefined || value === null) return null
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : NaN
  return Number.isSafeInteger(number) && number > 0 ? number : undefined
}

const textOf = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function parsed(body: string): unknown {
  try {
    const value: unknown = JSON.parse(body)
    return value
  } catch {
    return undefined
  }
}
