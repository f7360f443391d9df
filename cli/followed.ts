import { sleep } from '../protocol/sleep.ts'
import type { ConfigsAnswer, DeployStatus } from '../protocol/messages/admin.ts'
import type { ReplicatorState, ReplicatorStatus } from '../protocol/messages/status.ts'
import type { ErrorBody } from '../protocol/errors.ts'
import { printable } from './frame.ts'

const FIRST_LOOK_MS = 300
const LOOK_MS = 1_000
const ANSWER_MS = 5_000

/** What `/status` says, as far as it counts here. */
export type Seen = Pick<ReplicatorStatus, 'state' | 'error' | 'refusedTables'> | { refusal: ErrorBody }

/** Idle: what there was has been read, and nobody is connected for whom to read on. */
const FOLLOWED: readonly ReplicatorState[] = ['live', 'idle']

/** What people are told of replication: whatever is other than what they were told last. */
export class Teller {
  readonly #url: string
  #ready = false
  #problem: string | null = null
  #copying = false
  #refused = new Map<string, string>()

  constructor(url: string) {
    this.#url = url
  }

  /** The source was followed at least once. */
  get ready(): boolean {
    return this.#ready
  }

  tell(seen: Seen): string[] {
    const problem = problemOf(seen)
    if (problem !== null) return this.#troubled(problem)
    if ('refusal' in seen) return []
    if (FOLLOWED.includes(seen.state)) return this.#followed(seen.refusedTables)
    if (seen.state !== 'copying' || this.#copying) return []
    this.#copying = true
    return ['source     copying the tables …']
  }

  #troubled(problem: string): string[] {
    if (problem === this.#problem) return []
    this.#problem = problem
    const what = this.#ready ? 'source     it is not followed any more' : 'not ready  the source is not followed'
    return [`${what}: ${problem}. It is tried again`]
  }

  #followed(refusedTables: ReplicatorStatus['refusedTables']): string[] {
    const refused = new Map(refusedTables.map(({ table, reason }) => [table, reason]))
    const lines = [...refused]
      .filter(([table, reason]) => this.#refused.get(table) !== reason)
      .map(([table, reason]) => `source     table ${printable(table)} cannot be followed: ${printable(reason)}`)
    for (const table of this.#refused.keys()) if (!refused.has(table)) lines.push(`source     table ${printable(table)} is refused no more`)
    this.#refused = refused
    if (!this.#ready) lines.push(`ready ${this.#url}`)
    else if (this.#problem !== null) lines.push('source     it is followed again')
    this.#ready = true
    this.#problem = null
    this.#copying = false
    return lines
  }
}

function problemOf(seen: Seen): string | null {
  if ('refusal' in seen) return `${seen.refusal.code}: ${printable(seen.refusal.description)}`
  if (FOLLOWED.includes(seen.state) || seen.state === 'copying' || seen.error === null) return null
  return `${seen.error.code}: ${printable(seen.error.message)}`
}

/** What serves is another text than the file has; null: it is the same, or a deploy is under way. */
export function servesOther({ serving, next, failed, yaml }: ConfigsAnswer, file: string, text: string): string | null {
  if (serving === null || next !== null || yaml === text) return null
  const why = failed?.error ? `; deploy ${failed.number} failed: ${failed.error.code}: ${printable(failed.error.message)}` : ''
  const how = serving.origin === 'rollback' ? ', a rollback' : ''
  return `config     ${file} is not what serves (that is deploy ${serving.number}${how})${why}. To deploy it: npx rockpool deploy ${file}`
}

export interface FollowOptions {
  url: string
  /** One that is valid now. */
  token(): Promise<string>
  /** The sync config, and the text of it that was deployed last or tried. */
  file: string
  text(): string
  say(line: string): void
  signal: AbortSignal
}

/** Says how replication is, and whether the file serves, whenever that changes; resolves at the signal. */
export async function tellStatus({ url, token, file, text, say, signal }: FollowOptions): Promise<void> {
  const teller = new Teller(url)
  let looked = ''
  while (!signal.aborted) {
    const status = await ask<ReplicatorStatus>(url, 'status', await token(), signal)
    if (status) for (const line of teller.tell(seenOf(status))) say(line)
    const place = status && 'deploy' in status ? placeOf(status.deploy) : null
    if (place !== null && place !== looked && teller.ready) {
      looked = place
      const configs = await ask<ConfigsAnswer>(url, 'admin/sync-config', await token(), signal)
      const line = configs && !('refusal' in configs) ? servesOther(configs, file, text()) : null
      if (line !== null) say(line)
    }
    await sleep(teller.ready ? LOOK_MS : FIRST_LOOK_MS, signal)
  }
}

/** Users are told less of it, and so is this where operators have keys of their own. */
const seenOf = (status: ReplicatorStatus | { refusal: ErrorBody }): Seen =>
  'refusal' in status ? status : { ...status, error: status.error ?? null, refusedTables: status.refusedTables ?? [] }

/** Another text when another one serves, or one could not be deployed; null while a deploy is under way. */
const placeOf = ({ serving, next, failed }: DeployStatus): string | null => (next === null ? `${serving?.number} ${failed?.number}` : null)

/** Null: it does not answer at the moment. */
async function ask<T extends object>(
  url: string,
  path: string,
  token: string,
  signal: AbortSignal,
): Promise<T | { refusal: ErrorBody } | null> {
  try {
    const response = await fetch(`${url}/${path}`, {
      headers: { authorization: `Token ${token}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    })
    const body: { data?: T; error?: ErrorBody } = await response.json()
    return body.error ? { refusal: body.error } : (body.data ?? null)
  } catch {
    return null
  }
}
