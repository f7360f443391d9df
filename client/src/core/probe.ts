import { ProblemError } from './problem.ts'

/** So long the answer is waited for. */
export const PROBE_MS = 5_000
/** Below 500, and no word about who answers: too late, too many. */
const PASSING = [408, 425, 429]

/**
 * Why the WebSocket of `url` could not be opened, as `GET /probes/liveness` shows: nobody answers, or another server
 * does (`url`), or Rockpool does, which the WebSocket did not reach. Never rejects.
 */
export async function whyNotOpened(url: string, signal: AbortSignal): Promise<ProblemError> {
  const base = url.replace(/\/+$/, '')
  const problem = (code: 'network' | 'url', why: string): ProblemError =>
    new ProblemError(code, `${base}/sync/stream could not be opened: ${why}`)
  if (globalThis.navigator?.onLine === false) return problem('network', 'this device has no network')
  const probe = `${base}/probes/liveness`
  const limited = AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)])
  try {
    const response = await fetch(probe, { cache: 'no-store', signal: limited })
    const body = await response.text()
    if (response.ok && isRockpool(body))
      return problem('network', 'the server answers, but not this WebSocket: does what is on the way let it through?')
    const type = response.headers.get('content-type')?.split(';')[0] ?? 'nothing'
    if (response.status >= 500 || PASSING.includes(response.status))
      return problem('network', `${probe} is answered ${response.status}`)
    return problem('url', `${probe} is answered ${response.status} (${type}) and is no Rockpool: is \`url\` right?`)
  } catch {
    // A server that allows other pages nothing answers all the same. What cannot be read may be another server, or the
    // error page of a proxy.
    const answers = await fetch(probe, { mode: 'no-cors', cache: 'no-store', signal: limited }).then(
      () => true,
      () => false,
    )
    return problem(
      'network',
      `${answers ? 'somebody answers, but not as Rockpool does' : 'nobody answers'}: is \`url\` right?`,
    )
  }
}

function isRockpool(body: string): boolean {
  try {
    const answer: { data?: { started?: unknown } } | null = JSON.parse(body)
    return answer?.data?.started === true
  } catch {
    return false
  }
}
