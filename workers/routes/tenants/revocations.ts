import type { Environment } from '../../../durable-objects/environment.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { Asker, RevocationOutcome } from '../../../protocol/messages/directory.ts'
import type { RevocationChange } from '../../../protocol/messages/replicator.ts'
import { REVOKED_BY, type Revocation, type Subject } from '../../../protocol/revocations.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { answered } from '../../../durable-objects/shared/retry.ts'
import { replicatorStub } from '../../../durable-objects/shared/namespaces.ts'
import { askDirectory, directoryOf, storedTenants } from '../../../tenants/of-environment.ts'
import { tokenTimes } from '../../auth/settings.ts'
import { askReplicator } from '../../replicator.ts'
import type { z } from 'zod'
import { unprocessable } from './change.ts'
import type { revokeBody, subjectBody } from './shapes.ts'

/** All relays and followed buckets are told before it is answered. */
const TELLING_MS = 40_000

export interface Shown {
  before: string | null
  until: string | null
}

/** Returns the user, client or token that a body names. */
export function subjectOf(body: z.infer<typeof subjectBody>): Subject {
  const [subject] = REVOKED_BY.flatMap((of) => {
    const value = body[of]
    return value === undefined ? [] : [{ of, value }]
  })
  if (subject === undefined) throw new RockpoolError('PSYNC_S2001', 'say one of user, client and jti')
  return subject
}

/**
 * Returns what a body revokes. Tokens up to `before` count with the difference that clocks may have, and are remembered
 * until the last of them has expired. Throws PSYNC_S2001, and what is wrong with the settings of the tenant.
 */
export async function revocationOf(
  env: Environment,
  tenant: string,
  body: z.infer<typeof revokeBody>,
  now = Date.now() / 1_000,
): Promise<Revocation> {
  const subject = subjectOf(body)
  if (body.forever === true) return { ...subject, before: null, until: null }
  const settings = await directoryOf(env).secret(tenant, 'token.keys')
  const { longestSeconds, toleranceSeconds } = unprocessable(() => tokenTimes(settings))
  const asked = body.before === undefined ? now : Date.parse(body.before) / 1_000
  if (asked > now + toleranceSeconds)
    throw new RockpoolError(
      'PSYNC_S2001',
      'before lies in the future: say forever to refuse tokens that do not exist yet',
    )
  const before = Math.floor(asked) + toleranceSeconds
  const until = body.until === undefined ? before + longestSeconds + toleranceSeconds : Date.parse(body.until) / 1_000
  if (until <= now) throw new RockpoolError('PSYNC_S2001', 'the last of these tokens has expired already')
  return { ...subject, before, until }
}

/**
 * Revokes tokens of a tenant, or takes that back. Of a tenant of the Directory the Directory does it, which does not
 * forget what cannot be told at the moment; `key` is for its audit. Else the replicator is called, and the caller
 * repeats what failed.
 */
export async function changeRevocations(
  env: Environment,
  tenant: string,
  change: RevocationChange,
  asker: Omit<Asker, 'by'>,
): Promise<RevocationOutcome> {
  const v = MESSAGE_VERSION
  if ((await storedTenants(env)?.has(tenant)) ?? false)
    return askDirectory(env, (directory) => directory.revoke({ v, name: tenant, change, ...asker }), TELLING_MS)
  const placed = await directoryOf(env).find(tenant, 'whatever')
  const { streams } = await answered(() => replicatorStub(env, placed).revoke({ v, ...change }), TELLING_MS)
  return { streams, told: true, error: null }
}

/** Returns revocations as operators see them; `after`: where the page begins. */
export async function revocationsOf(
  env: Environment,
  tenant: string,
  { after, limit }: { after: string; limit: number },
) {
  const v = MESSAGE_VERSION
  const isStored = (await storedTenants(env)?.has(tenant)) ?? false
  const waiting = isStored ? await askDirectory(env, (directory) => directory.untold({ v, name: tenant })) : null
  const placed = await directoryOf(env).find(tenant, 'whatever')
  const from = after === '' ? {} : { after: subjectIn(after) }
  const stored = await askReplicator(env, placed, (each) => each.revocations({ v, ...from, limit }))
  const last = stored.length < limit ? undefined : stored.at(-1)
  return {
    revocations: stored.map(({ by, at, ...revocation }) => ({ ...shown(revocation), by, at })),
    waiting: (waiting?.changes ?? []).map(shownChange),
    error: waiting?.error ?? null,
    next: last === undefined ? null : `${last.of}:${last.value}`,
  }
}

export const shown = (revocation: Revocation) => ({
  [revocation.of]: revocation.value,
  before: timeOf(revocation.before),
  until: timeOf(revocation.until),
})

const shownChange = (change: RevocationChange) =>
  change.kind === 'revoke'
    ? { kind: change.kind, by: change.by, ...shown(change.revocation) }
    : { kind: change.kind, by: change.by, [change.subject.of]: change.subject.value }

const timeOf = (seconds: number | null): string | null =>
  seconds === null ? null : new Date(seconds * 1_000).toISOString()

/** Throws PSYNC_S2001. */
function subjectIn(text: string): Subject {
  const of = REVOKED_BY.find((each) => text.startsWith(`${each}:`))
  if (of === undefined) throw new RockpoolError('PSYNC_S2001', 'after must be `next` of the page before')
  return { of, value: text.slice(of.length + 1) }
}
