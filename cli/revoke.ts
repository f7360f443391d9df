import { REVOKED_BY } from '../protocol/revocations.ts'
import { printable } from './frame.ts'
import { UsageError } from './problem.ts'
import { count } from './progress.ts'
import type { TenantCall as Call } from './tenant-call.ts'

interface Revoked {
  user?: string
  client?: string
  jti?: string
  before?: string | null
  until?: string | null
}

interface Outcome {
  streams: number
  told: boolean
  error: string | null
  revocation?: Revoked
}

const OPTION = { user: 'user', client: 'client-id', jti: 'jti' } as const

/** `rockpool tenants revoke`: refuses tokens, and ends their streams. Null when not all objects have been told. */
export async function revoke(call: Call): Promise<object | null> {
  const { text, flag } = call
  const [before, until] = (['before', 'until'] as const).map((name) => momentOf(name, text(name)))
  if (flag('forever') && (before ?? until) !== undefined)
    throw new UsageError('--forever refuses tokens whenever they were issued: say no --before and no --until')
  const body = { ...subjectOf(call), before, until, ...(flag('forever') && { forever: true }) }
  return outcomeOf(
    call,
    await call.client.ask<Outcome>('POST', pathOf(call, 'revoke'), JSON.stringify(body)),
    'revoked',
  )
}

/** `rockpool tenants unrevoke`. */
export async function unrevoke(call: Call): Promise<object | null> {
  const body = JSON.stringify(subjectOf(call))
  return outcomeOf(call, await call.client.ask<Outcome>('POST', pathOf(call, 'unrevoke'), body), 'taken back')
}

/** `rockpool tenants revocations`: lists what is in force, and what could not be told yet. */
export async function revocations(call: Call): Promise<object> {
  const all: Revoked[] = []
  const waiting: (Revoked & { kind: string })[] = []
  let reason: string | null = null
  for (let after: string | null = ''; after !== null;) {
    const page: { revocations: Revoked[]; waiting: typeof waiting; error: string | null; next: string | null } =
      await call.client.ask('GET', pathOf(call, `revocations?limit=1000&after=${encodeURIComponent(after)}`))
    if (after === '') waiting.push(...page.waiting)
    all.push(...page.revocations)
    reason = page.error
    after = page.next
  }
  for (const each of all) call.say(lineOf(each))
  for (const each of waiting) call.say(`waits to be told: ${each.kind} ${lineOf(each)}`)
  if (reason !== null) call.say(`it could not be told: ${printable(reason)}`)
  call.say(count(all.length, 'revocation', 'revocations'))
  return { revocations: all, waiting, error: reason }
}

function outcomeOf({ say }: Call, outcome: Outcome, done: string): object | null {
  const { revocation, streams, told, error } = outcome
  if (revocation) say(lineOf(revocation))
  if (told) say(`${done}; ${count(streams, 'stream', 'streams')} ended`)
  else say(`it is stored, and not all objects have been told: ${printable(error ?? '')}. That is tried again`)
  return told ? outcome : null
}

const pathOf = ({ name }: Call, path: string): string => (name === '' ? path : `tenants/${name}/${path}`)

function subjectOf({ text }: Call): Record<string, string> {
  const said = REVOKED_BY.flatMap((of) => {
    const value = text(OPTION[of])
    return value === undefined ? [] : [[of, value] as const]
  })
  if (said.length !== 1) throw new UsageError('say one of --user USER, --client-id ID and --jti ID')
  return Object.fromEntries(said)
}

function momentOf(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const at = new Date(text)
  if (Number.isNaN(at.getTime())) throw new UsageError(`--${name} ${text} is not a time: write 2027-01-31T12:00:00Z`)
  return at.toISOString()
}

function lineOf({ user, client, jti, before, until }: Revoked): string {
  const what = [user && `user ${user}`, client && `client ${client}`, jti && `jti ${jti}`].filter(Boolean).join(' ')
  const when = before === undefined ? '' : before === null ? ', for ever' : `, tokens issued up to ${before}`
  return `${printable(what)}${when}${until ? `, forgotten after ${until}` : ''}`
}
