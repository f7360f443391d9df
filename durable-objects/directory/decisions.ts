import { randomBytes } from 'node:crypto'
import { RockpoolError } from '../../protocol/errors.ts'
import type { Asker, PutRequest } from '../../protocol/messages/directory.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import { shareTokens, type AcceptedTokens, type TokenIdentity } from '../../tenants/stored/identities.ts'
import { SCRIPT_TENANT } from '../../tenants/script.ts'
import { formerAfter, formerField } from '../../tenants/stored/former.ts'
import { nameProblem } from '../../tenants/stored/names.ts'
import {
  changed,
  inState,
  newRecord,
  ownedBy,
  type TenantChange,
  type TenantRecord,
  type TenantState,
} from '../../tenants/stored/record.ts'
import { open, seal, sealedBy, type KeyRing } from '../../tenants/stored/seal.ts'
import type { Placement } from '../shared/placement.ts'
import { newJob } from './jobs.ts'
import type { Untold } from './untold.ts'
import type { DirectoryStore, StoredTenant } from './storage.ts'

/** Tenants of one deployment: the list of all names is in the memory of every isolate that answers requests. */
export const MAX_TENANTS = 100_000
/**
 * For how long the name of a deleted tenant is not given again: objects of that name may be found in backups and logs,
 * and tokens may still say it.
 */
export const TOMBSTONE_MS = 30 * 86_400_000
/** Tenants whose secrets are encrypted again in one call. */
export const REKEY_STEP = 200

const conflict = (message: string, status?: number) =>
  new RockpoolError('ROCKPOOL_TENANT_CONFLICT', message, status === undefined ? {} : { status })

/** Only these members, and no key that is not known. */
export const asker = ({ by, key, from }: Asker): Asker => ({
  by,
  ...(key !== undefined && { key }),
  ...(from !== undefined && { from }),
})

export interface Put extends Asker, Pick<PutRequest, 'name' | 'ifMatch' | 'reuse'> {
  change: TenantChange
  /** Where a new tenant is when the change does not say it. */
  place: Placement
  /**
   * Not null: the settings of the script are a tenant. It is adopted before any other is stored (`first`), or never
   * (`beside`).
   */
  scripts: 'first' | 'beside' | null
  identities: readonly TokenIdentity[]
}

/**
 * Makes or changes a tenant, in one transaction with the comparison with all others. Throws ROCKPOOL_TENANT_CONFLICT
 * (409; 412 for another version), ROCKPOOL_SETTINGS (422) and ROCKPOOL_TENANT_KEY.
 */
export function put(
  store: DirectoryStore,
  ring: KeyRing,
  asked: Put,
  now: Date,
): { record: TenantRecord; created: boolean } {
  return store.transaction(() => {
    const { name, change } = asked
    const before = store.find(name)
    checkMatch(before, asked)
    // Its slot is dropped in the database that it has.
    if (before?.record.state === 'deleting') throw conflict(`the tenant ${name} is being deleted`)
    if (before === null) checkNew(store, asked, now)
    if (asked.scripts === 'beside' && name === SCRIPT_TENANT)
      throw conflict(`the tenant ${name} is the one of rockpool dev itself, and is served from its settings`)
    // What the script's tenant has for itself is compared with nothing before it is stored.
    if (asked.scripts === 'first' && !store.adopted && name !== SCRIPT_TENANT) {
      throw conflict(
        'the tenant of the settings of the script is not stored yet: adopt it first (rockpool tenants adopt), or take DATABASE_URL away',
      )
    }
    const record = changed(before?.record ?? newRecord(name, asked.place, now), change, now)
    const sealed: Record<string, string> = {}
    for (const field of record.secrets) {
      const given = change.secrets[field]
      const kept = before?.sealed[field]
      if (typeof given === 'string') sealed[field] = seal(ring, { tenant: name, field }, given)
      else if (kept !== undefined) sealed[field] = kept
    }
    const url = open(ring, { tenant: name, field: 'DATABASE_URL' }, sealed.DATABASE_URL ?? '')
    if (before !== null) leaveFormer(ring, before, { record, sealed, url }, now)
    const owned = ownedBy(record, url)
    for (const each of owned) {
      const owner = store.ownerOf(each)
      if (owner !== null && owner !== name)
        throw conflict(`the tenant ${owner} has the same ${each.kind}: ${each.value}`)
    }
    checkTokens(store, name, { claim: record.tenantClaim, identities: asked.identities })
    store.own(name, owned)
    store.identify(name, record.tenantClaim, asked.identities)
    store.write({ record, sealed })
    store.setTombstone(name, null)
    store.adopt()
    store.note({ at: now.toISOString(), ...asker(asked), action: before ? 'change' : 'create', tenant: name })
    return { record, created: before === null }
  })
}

/** Notes in the record, and among the secrets, where the tenant was before. */
function leaveFormer(
  ring: KeyRing,
  before: StoredTenant,
  { record, sealed, url }: StoredTenant & { url: string },
  now: Date,
): void {
  const { name } = record
  const place = { record: before.record, url: openedUrl(ring, before) ?? url }
  const id = randomBytes(4).toString('hex')
  const { former, left } = formerAfter(place, { record, url }, { id, now })
  delete record.former
  if (former.length > 0) record.former = former
  for (const { id: each } of former) {
    const kept = before.sealed[formerField(each)]
    if (kept !== undefined) sealed[formerField(each)] = kept
  }
  const field = formerField(id)
  if (left !== null) sealed[field] = seal(ring, { tenant: name, field }, JSON.stringify(left))
}

/** Null: its key is lost, and with it the way to its slot. */
function openedUrl(ring: KeyRing, { record: { name }, sealed }: StoredTenant): string | null {
  try {
    return open(ring, { tenant: name, field: 'DATABASE_URL' }, sealed.DATABASE_URL ?? '')
  } catch {
    return null
  }
}

/** Nothing of a tenant is left in a former database. The version stays, because nothing changes for anybody else. */
export function left(store: DirectoryStore, { name, id }: { name: string; id: string }): void {
  store.transaction(() => {
    const found = store.find(name)
    const former = found?.record.former?.filter((each) => each.id !== id)
    if (!found || former === undefined) return
    const { former: _, ...record } = found.record
    const { [formerField(id)]: __, ...sealed } = found.sealed
    store.write({ record: former.length > 0 ? { ...record, former } : record, sealed })
  })
}

export interface StateChange extends Asker {
  name: string
  state: TenantState
  ifMatch: number | null
  /** Of a deletion: what Rockpool made in the database stays. */
  keepSource?: boolean
}

/**
 * Changes the state of a tenant, and begins the job by which its objects learn of it. Throws ROCKPOOL_TENANT when there
 * is no such tenant, and ROCKPOOL_TENANT_CONFLICT.
 */
export function setState(
  store: DirectoryStore,
  { name, state, ifMatch, keepSource = false, ...rest }: StateChange,
  now: Date,
): TenantRecord {
  return store.transaction(() => {
    const before = known(store, name)
    checkMatch(before, { name, ifMatch })
    const record = inState(before.record, state, now)
    const running = store.job(name)
    if (running !== null && running.state === 'deleting') {
      // Asked again because the database cannot be reached: what was made there stays.
      if (keepSource && !running.keepSource) store.setJob(name, { ...running, keepSource, due: now.getTime() })
      return record
    }
    // A state that is asked for again is told again: it may be asked for because something does not know it.
    store.setJob(name, newJob(state, { version: record.version, ...asker(rest), keepSource, now: now.getTime() }))
    if (record === before.record) return record
    store.write({ record, sealed: before.sealed })
    store.note({ at: now.toISOString(), ...asker(rest), action: state, tenant: name })
    return record
  })
}

/**
 * Stores a change of the revocations of a tenant, and returns its number. Throws ROCKPOOL_TENANT and
 * ROCKPOOL_TENANT_CONFLICT.
 */
export function revoke(
  store: DirectoryStore,
  untold: Untold,
  { name, change, ...rest }: Omit<Asker, 'by'> & { name: string; change: RevocationChange },
  now: Date,
): number {
  return store.transaction(() => {
    if (known(store, name).record.state === 'deleting')
      throw conflict(`the tenant ${name} is being deleted, and refuses every token`)
    const { of, value } = change.kind === 'revoke' ? change.revocation : change.subject
    const entry = { at: now.toISOString(), ...asker({ ...rest, by: change.by }), action: change.kind, tenant: name }
    store.note({ ...entry, details: `${of} ${value}` })
    return untold.add(name, change, now.getTime())
  })
}

/** Ends a deletion. Nothing is left of the tenant but its name. Throws ROCKPOOL_TENANT and ROCKPOOL_TENANT_CONFLICT. */
export function bury(store: DirectoryStore, { name, ...rest }: Asker & { name: string }, now: Date): void {
  store.transaction(() => {
    const { record } = known(store, name)
    if (record.state !== 'deleting') throw conflict(`the tenant ${name} is ${record.state}, and is not being deleted`)
    store.erase(name)
    store.setTombstone(name, now.getTime() + TOMBSTONE_MS)
    store.note({ at: now.toISOString(), ...asker(rest), action: 'deleted', tenant: name })
  })
}

/**
 * Encrypts secrets that are not under the first key again. Throws ROCKPOOL_TENANT_KEY when the key of one is not known;
 * those before it are done.
 */
export function rekey(store: DirectoryStore, ring: KeyRing, after: string): { rekeyed: number; next: string | null } {
  const names = store.namesAfter(after, REKEY_STEP)
  let rekeyed = 0
  for (const tenant of names) {
    const { sealed } = known(store, tenant)
    if (Object.values(sealed).every((each) => sealedBy(each) === ring.first)) continue
    const again = Object.entries(sealed).map(([field, each]) => {
      const place = { tenant, field }
      return [field, seal(ring, place, open(ring, place, each))]
    })
    store.reseal(tenant, Object.fromEntries(again))
    rekeyed++
  }
  return { rekeyed, next: names.length < REKEY_STEP ? null : (names.at(-1) ?? null) }
}

function known(store: DirectoryStore, name: string): StoredTenant {
  const found = store.find(name)
  if (found) return found
  throw new RockpoolError('ROCKPOOL_TENANT', `there is no tenant ${JSON.stringify(name)}`)
}

function checkMatch(before: StoredTenant | null, { name, ifMatch }: Pick<Put, 'name' | 'ifMatch'>): void {
  if (ifMatch === null) return
  if (ifMatch === 'absent') {
    if (before) throw conflict(`there is a tenant ${name} already`, 412)
    return
  }
  if (before?.record.version === ifMatch) return
  const is = before ? `has version ${before.record.version}` : 'does not exist'
  throw conflict(`the tenant ${name} ${is}, and version ${ifMatch} was to be changed: read it again`, 412)
}

function checkNew(store: DirectoryStore, { name, reuse }: Put, now: Date): void {
  const problem = nameProblem(name)
  if (problem !== null) throw new RockpoolError('ROCKPOOL_SETTINGS', problem, { status: 422 })
  if (store.named.size >= MAX_TENANTS) throw conflict(`there are ${MAX_TENANTS} tenants, and a deployment has no more`)
  const until = store.tombstone(name)
  if (until === null || until <= now.getTime() || reuse) return
  throw conflict(
    `a tenant ${name} was deleted, and its name is not given again before ${new Date(until).toISOString()}, unless it is asked for`,
  )
}

function checkTokens(store: DirectoryStore, name: string, own: AcceptedTokens): void {
  for (const { key } of own.identities) {
    for (const { tenant, claim, identity } of store.identitiesLike(name, key)) {
      if (!shareTokens(own, { claim, identities: [identity] })) continue
      const how =
        'give each another audience or issuer, or both the same tenantClaim, which must then be the name of the tenant'
      throw conflict(`a token could be accepted by the tenant ${tenant} as well: ${how}`)
    }
  }
}
