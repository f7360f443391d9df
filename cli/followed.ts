import { sleep } from '../protocol/sleep.ts'
import type { ConfigsAnswer, DeployStatus, TableCopyStatus } from '../protocol/messages/admin.ts'
import type { ReplicatorState, ReplicatorStatus } from '../protocol/messages/status.ts'
import type { ErrorBody } from '../protocol/errors.ts'
import { printable } from './frame.ts'
import { count } from './progress.ts'

const FIRST_LOOK_MS = 300
const LOOK_MS = 1_000
const ANSWER_MS = 5_000

/** The part of `/status` that is used here. `tables` is the progress of all tables, when it was requested. */
export type Seen =
  | (Pick<ReplicatorStatus, 'state' | 'error' | 'refusedTables'> & {
      copy?: ReplicatorStatus['copy']
      tables?: TableCopyStatus[]
    })
  | { refusal: ErrorBody }

/** States in which everything was read. `idle`: and no client is connected that would need more. */
const FOLLOWED: readonly ReplicatorState[] = ['live', 'idle']

/** Prints the state of replication whenever it differs from what was printed last. */
export class Teller {
  readonly #url: string
  #ready = false
  #problem: string | null = null
  /** The names of the tables that are being copied, or null when there are none. */
  #copying: Set<string> | null = null
  #refused = new Map<string, string>()

  constructor(url: string) {
    this.#url = url
  }

  /** Whether the source was followed at least once. */
  get ready(): boolean {
    return this.#ready
  }

  /** Whether a copy of tables was the last thing printed. */
  get copying(): boolean {
    return this.#copying !== null
  }

  tell(seen: Seen): string[] {
    const problem = problemOf(seen)
    if (problem !== null) return this.#troubled(problem)
    if ('refusal' in seen) return []
    if (FOLLOWED.includes(seen.state)) return [...this.#copied(seen.tables), ...this.#followed(seen.refusedTables)]
    if (seen.state !== 'copying') return []
    const begins = this.#copying === null
    this.#copying ??= new Set()
    for (const { table, state } of seen.copy?.tables ?? []) if (state !== 'done') this.#copying.add(table)
    return begins ? ['source     copying the tables …'] : []
  }

  #troubled(problem: string): string[] {
    if (problem === this.#problem) return []
    this.#problem = problem
    const what = this.#ready ? 'source     it is not followed any more' : 'not ready  the source is not followed'
    return [`${what}: ${problem}. It is tried again`]
  }

  #copied(tables: readonly TableCopyStatus[] | undefined): string[] {
    const names = this.#copying
    this.#copying = null
    if (names === null) return []
    const rows = tables?.filter(({ table }) => names.has(table)).reduce((sum, each) => sum + each.rows, 0)
    return [`source     copied${rows === undefined ? '' : ` ${count(rows, 'row', 'rows')}`}, serving`]
  }

  #followed(refusedTables: ReplicatorStatus['refusedTables']): string[] {
    const refused = new Map(refusedTables.map(({ table, reason }) => [table, reason]))
    const lines = [...refused]
      .filter(([table, reason]) => this.#refused.get(table) !== reason)
      .map(([table, reason]) => `source     table ${printable(table)} cannot be followed: ${printable(reason)}`)
    for (const table of this.#refused.keys())
      if (!refused.has(table)) lines.push(`source     table ${printable(table)} is no longer refused`)
    this.#refused = refused
    if (!this.#ready) lines.push(`ready ${this.#url}`)
    else if (this.#problem !== null) lines.push('source     it is followed again')
    this.#ready = true
    this.#problem = null
    return lines
  }
}

function problemOf(seen: Seen): string | null {
  if ('refusal' in seen) return `${seen.refusal.code}: ${printable(seen.refusal.description)}`
  if (FOLLOWED.includes(seen.state) || seen.state === 'copying' || seen.error === null) return null
  return `${seen.error.code}: ${printable(seen.error.message)}`
}

/**
 * Returns the line that says that the serving sync config differs from the file, or null when it does not or when a
 * deploy is in progress.
 */
export function servesOther({ serving, next, failed, yaml }: ConfigsAnswer, file: string, text: string): string | null {
  if (serving === null || next !== null || yaml === text) return null
  const why = failed?.error
    ? `; deploy ${failed.number} failed: ${failed.error.code}: ${printable(failed.error.message)}`
    : ''
  const how = serving.origin === 'rollback' ? ', a rollback' : ''
  return `config     ${file} is not what serves (that is deploy ${serving.number}${how})${why}. To deploy it: npx rockpool deploy ${file}`
}

export interface FollowOptions {
  url: string
  /** One that is valid now. */
  token(): Promise<string>
  /** The sync config file, and its text that was last deployed or tried. */
  file: string
  text(): string
  /**
   * Whether the file was edited while nothing ran. It is then deployed as if it were edited now, unless the start has
   * done that.
   */
  edited: boolean
  deploy(): Promise<void>
  /** Whether the start has deployed this text, or tried to. */
  taken(text: string): Promise<void>
  say(line: string): void
  signal: AbortSignal
}

/** Prints the state of replication, and whether the file serves, whenever that changes. Resolves at the signal. */
export async function tellStatus({
  url,
  token,
  file,
  text,
  edited,
  deploy,
  taken,
  say,
  signal,
}: FollowOptions): Promise<void> {
  const teller = new Teller(url)
  const configs = async (): Promise<ConfigsAnswer | null> => {
    const answer = await ask<ConfigsAnswer>(url, 'admin/sync-config', await token(), signal)
    return answer && !('refusal' in answer) ? answer : null
  }
  let looked = ''
  let known = false
  while (!signal.aborted) {
    const status = await ask<ReplicatorStatus>(url, 'status', await token(), signal)
    if (status) {
      const ends = teller.copying && 'state' in status && FOLLOWED.includes(status.state)
      const tables = ends ? (await configs())?.tables : undefined
      for (const line of teller.tell(seenOf(status, tables))) say(line)
    }
    const place = status && 'deploy' in status ? placeOf(status.deploy) : null
    if (place !== null && place !== looked && teller.ready) {
      looked = place
      const answer = await configs()
      if (answer && edited) {
        edited = false
        say(`config     ${editedText(answer, file, text())}`)
        if (answer.yaml !== text()) await deploy()
      } else {
        const line = answer && servesOther(answer, file, text())
        if (line) say(line)
      }
      if (answer && !known) await taken(text())
      known ||= answer !== null
    }
    await sleep(teller.ready ? LOOK_MS : FIRST_LOOK_MS, signal)
  }
}

/**
 * Returns whether the start deploys the file's text: the script deploys one that is new to it, not one that it had
 * before.
 */
const editedText = ({ serving, yaml }: ConfigsAnswer, file: string, text: string): string =>
  yaml === text
    ? `${file} was edited while rockpool dev was down: deploy ${serving?.number ?? ''} is what it says now, and serves`
    : `${file} was edited while rockpool dev was down, and is deployed now`

/** Users get less of the status, and so does this process where operators have their own keys. */
const seenOf = (status: ReplicatorStatus | { refusal: ErrorBody }, tables: TableCopyStatus[] | undefined): Seen =>
  'refusal' in status
    ? status
    : { ...status, error: status.error ?? null, refusedTables: status.refusedTables ?? [], ...(tables && { tables }) }

/**
 * Returns the other text when another one serves or one could not be deployed, or null while a deploy is in progress.
 */
const placeOf = ({ serving, next, failed }: DeployStatus): string | null =>
  next === null ? `${serving?.number} ${failed?.number}` : null

/** Returns null when Rockpool does not answer at the moment. */
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
