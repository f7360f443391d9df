import type { ReplicatorState, ReplicatorStatus } from '../protocol/messages.ts'
import type { ErrorBody } from '../protocol/errors.ts'
import { printable } from './frame.ts'

const LOOK_MS = 300
const ANSWER_MS = 5_000

/** What `/status` says, as far as it counts here. */
export type Seen = Pick<ReplicatorStatus, 'state' | 'error' | 'refusedTables'> | { refusal: ErrorBody }

/** Idle: what there was has been read, and nobody is connected for whom to read on. */
const FOLLOWED: readonly ReplicatorState[] = ['live', 'idle']

/** What people are told of a state; null while there is nothing to tell. */
export function tellState(seen: Seen): { followed: boolean; line: string | null } {
  if ('refusal' in seen) return notReady(seen.refusal.code, seen.refusal.description)
  if (FOLLOWED.includes(seen.state)) return { followed: true, line: null }
  if (seen.state === 'copying') return { followed: false, line: 'source     copying the tables …' }
  if (seen.error !== null) return notReady(seen.error.code, seen.error.message)
  return { followed: false, line: null }
}

const notReady = (code: string, message: string) => ({
  followed: false,
  line: `not ready  the source is not followed: ${code}: ${printable(message)}. It is tried again`,
})

export interface WaitOptions {
  url: string
  /** One that is valid now. */
  token(): Promise<string>
  say(line: string): void
  signal: AbortSignal
}

/** Resolves when the source is followed, true, or when the signal comes; what keeps it from that is said whenever it is something else. */
export async function untilFollowed({ url, token, say, signal }: WaitOptions): Promise<boolean> {
  for (let last: string | null = null; !signal.aborted;) {
    const seen = await look(url, await token())
    const { followed, line } = seen ? tellState(seen) : { followed: false, line: null }
    if (line !== null && line !== last) say(line)
    last = line ?? last
    if (followed) {
      if (seen && 'refusedTables' in seen) {
        for (const { table, reason } of seen.refusedTables)
          say(`source     table ${printable(table)} cannot be followed: ${printable(reason)}`)
      }
      return true
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  return false
}

/** Null: it does not answer at the moment. */
async function look(url: string, token: string): Promise<Seen | null> {
  try {
    const response = await fetch(`${url}/status`, { headers: { authorization: `Token ${token}` }, signal: AbortSignal.timeout(ANSWER_MS) })
    const body: { data?: ReplicatorStatus; error?: ErrorBody } = await response.json()
    if (body.error) return { refusal: body.error }
    return body.data ? { ...body.data, error: body.data.error ?? null, refusedTables: body.data.refusedTables ?? [] } : null
  } catch {
    return null
  }
}
