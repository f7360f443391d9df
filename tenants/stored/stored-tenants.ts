import { RockpoolError } from '../../protocol/errors.ts'
import { isSpendingLimit } from '../../protocol/spending.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { DirectoryRpc, NamedTenant, NamesAnswer } from '../../protocol/messages/directory.ts'
import type { SettingBindings } from '../bindings.ts'
import { budgetOf } from '../budget.ts'
import { compactionSettings, type CompactionSettings } from '../compaction.ts'
import { TOKENS } from '../declarations.ts'
import type { TenantDirectory, TenantSecrets } from '../directory.ts'
import { tenantOfBindings } from '../from-bindings.ts'
import type { Tenant } from '../tenant.ts'
import { tokenSettings, type TokenSettings } from '../tokens.ts'
import { hasScriptTenant } from '../script.ts'
import { SingleTenant } from '../single.ts'
import type { ReplicationSettings } from '../replication.ts'
import { addresseeOf, isOwnAddress, type Addresses } from './address.ts'
import { formerAccess, formerField } from './former.ts'
import { OWN_SECRETS, OWN_SETTINGS, type Former, type OwnSecret, type TenantRecord } from './record.ts'
import { open, type KeyRing } from './seal.ts'

// The directory of tenants over the Directory object. What an isolate knows is kept in it, so that requests cost no
// call: the list of all names, and records. The file is long because
// copies, their age and the questions that renew them are one state.

/** For so long a copy is used without a question. */
export const FRESH_MS = 30_000
/** After a question that was not answered, copies are used for so long before the next one. */
export const RETRY_MS = 10_000
/** For so long copies serve without the Directory. */
export const KEEP_MS = 24 * 3_600_000
/** Records in one isolate. Those that were used longest ago are forgotten. */
export const MAX_RECORDS = 1_000

interface Names extends Pick<Addresses, 'byName' | 'byHost'> {
  revision: number
  checked: number
  /** See `NamesAnswer`. */
  adopted: boolean
}

interface Copy {
  tenant: Tenant
  record: TenantRecord
  sealed: Readonly<Record<string, string>>
  /** When the Directory last said that it is the newest version. */
  checked: number
  /** When it was last asked without an answer so far. */
  asked: number
  /** When it was read again because its key is not known here, which did not help. */
  unopened: number
}

/** What an isolate knows of all tenants. */
export class KnownTenants {
  names: Names | null = null
  /** When the list was last asked for. */
  asked = -Infinity
  /** Grows when a tenant was changed here: an answer to a question of before may be older than the change. */
  changes = 0
  /** In the order of their last use. */
  readonly records = new Map<string, Copy>()
}

/** The script's side: its settings, which all tenants have alike, and what is its own. */
export interface Deployment {
  bindings: SettingBindings
  /** The sync config that is deployed with the script. */
  bundled: string
  /** The tenant at the root of the address. */
  root: string
  hosts: readonly string[]
  wildcard: string | null
  /** Throws ROCKPOOL_SETTINGS. */
  ring(): KeyRing
  now(): number
}

/** A database that a tenant had before, and how it is reached. It holds a secret. */
export interface FormerSource extends Former {
  url: string
  replication: ReplicationSettings
  /** The tenant has a slot of the same name now. */
  isCurrentSlot: boolean
}

/** The calls of the Directory, each with a deadline. */
export type DirectoryCalls = Pick<DirectoryRpc, 'names' | 'record' | 'overdue'>

export class StoredTenants implements TenantDirectory {
  readonly #calls: DirectoryCalls
  readonly #deployment: Deployment
  readonly #known: KnownTenants

  constructor(calls: DirectoryCalls, deployment: Deployment, known: KnownTenants) {
    this.#calls = calls
    this.#deployment = deployment
    this.#known = known
  }

  async find(name: string, whatever?: 'whatever'): Promise<Tenant> {
    const scripts = await this.#scripts(name)
    if (scripts !== null) return scripts.find(name)
    const { tenant, record } = await this.#record(name)
    if (record.state === 'active' || whatever) return tenant
    throw new RockpoolError(
      'ROCKPOOL_TENANT',
      `the tenant ${name} is ${record.state === 'suspended' ? 'suspended' : 'being deleted'}`,
    )
  }

  async *names(): AsyncIterable<string> {
    for (const { name, state } of (await this.#names()).byName.values()) if (state === 'active') yield name
  }

  /**
   * The tenants that the cron trigger wakes: those of whom nothing was heard when they were due, up to `limit`, and
   * that of the script, which says nothing. While the Directory does not answer these are all that are known, in random
   * order.
   */
  async overdue(limit: number): Promise<{ name: string; due: number | null }[]> {
    try {
      const overdue = await this.#calls.overdue({ v: MESSAGE_VERSION, limit })
      const { root } = this.#deployment
      return (await this.#scripts(root)) === null ? overdue : [{ name: root, due: null }, ...overdue]
    } catch (error) {
      // Their objects would be refused as well.
      if (isSpendingLimit(error)) throw error
      console.warn('the Directory does not answer: all tenants are woken', error)
      const names: { name: string; due: null; order: number }[] = []
      for await (const name of this.names()) names.push({ name, due: null, order: Math.random() })
      return names.sort((a, b) => a.order - b.order).map(({ name, due }) => ({ name, due }))
    }
  }

  /**
   * Throws PSYNC_S2002, the same for a tenant that is unknown, suspended or being deleted: a stranger does not learn
   * which.
   */
  async nameFor({ url }: Request): Promise<string> {
    const addressee = addresseeOf(new URL(url), { ...this.#deployment, ...(await this.#names()) })
    if (addressee === 'endpoint')
      throw new RockpoolError('ROCKPOOL_ENDPOINT', 'end the endpoint of the client with a slash: …/t/NAME/')
    if (addressee === 'nobody') throw new RockpoolError('PSYNC_S2002', 'there is nothing at this address')
    return addressee.name
  }

  /** Returns whether an address is one of the deployment itself, where it is administered, and not one of a tenant. */
  async isOwn({ url }: Request): Promise<boolean> {
    return isOwnAddress(new URL(url), { ...this.#deployment, ...(await this.#names()) })
  }

  /**
   * Returns the databases that a tenant had before, in which its slot may still be. The Directory is asked at this
   * moment.
   */
  async former(name: string): Promise<FormerSource[]> {
    if ((await this.#scripts(name)) !== null) return []
    const answer = await this.#calls.record({ v: MESSAGE_VERSION, name })
    if (answer.kind !== 'record') return []
    const record = JSON.parse(answer.record) as TenantRecord
    return (record.former ?? []).map((former) => {
      const field = formerField(former.id)
      const text = open(this.#deployment.ring(), { tenant: name, field }, answer.sealed[field] ?? '')
      const { url, settings } = formerAccess.parse(JSON.parse(text))
      const { replication } = this.#tenantOf({ ...record, settings })
      return { ...former, url, replication, isCurrentSlot: former.slot === record.settings.SLOT }
    })
  }

  /** Returns whether the Directory has a tenant of this name, whatever its state. */
  async has(name: string): Promise<boolean> {
    return (await this.#scripts(name)) === null && (await this.#names()).byName.has(name)
  }

  /** Called by whoever has just changed a tenant: this isolate, at least, knows it at once. */
  changed(name: string): void {
    const { names, records } = this.#known
    const copies = [names ?? [], records.get(name) ?? []].flat()
    for (const copy of copies) copy.checked = Math.min(copy.checked, this.#deployment.now() - FRESH_MS)
    this.#known.asked = -Infinity
    this.#known.changes++
  }

  async secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]> {
    const scripts = await this.#scripts(name)
    if (scripts !== null) return scripts.secret(name, field)
    const read: { [Name in keyof TenantSecrets]: (copy: Copy) => TenantSecrets[Name] } = {
      'source.url': (copy) => this.#opened(copy, 'DATABASE_URL') ?? '',
      'token.keys': (copy) => this.#tokens(copy),
    }
    const copy = await this.#record(name)
    try {
      return read[field](copy)
    } catch (error) {
      const isKey = error instanceof RockpoolError && error.code === 'ROCKPOOL_TENANT_KEY'
      if (!isKey || this.#deployment.now() - copy.unopened < RETRY_MS) throw error
      // It may have been encrypted again since, also a moment ago: that makes no new version.
      const again = await this.#record(name, 'again')
      again.unopened = this.#deployment.now()
      const opened = read[field](again)
      again.unopened = -Infinity
      return opened
    }
  }

  async compaction(): Promise<CompactionSettings> {
    return compactionSettings(this.#deployment.bindings)
  }

  /**
   * Returns the tenant that the settings of the script are, until it is adopted: then its record counts, and the
   * settings do not.
   */
  async #scripts(name: string): Promise<SingleTenant | null> {
    if (name !== this.#deployment.root || !hasScriptTenant(this.#deployment.bindings)) return null
    const { adopted } = await this.#names()
    return adopted ? null : new SingleTenant(this.#deployment.bindings, this.#deployment.bundled)
  }

  #tokens(copy: Copy): TokenSettings {
    const { record } = copy
    const secrets = record.secrets
      .filter((name) => Object.hasOwn(TOKENS, name))
      .map((name) => [name, this.#opened(copy, name)])
    const { OPERATOR_KEYS, OPERATOR_AUDIENCE } = this.#deployment.bindings
    const own: SettingBindings = { ...record.settings, ...Object.fromEntries(secrets), JWKS_REJECT_IP_RANGES: 'local' }
    if (OPERATOR_KEYS !== undefined) own.OPERATOR_KEYS = OPERATOR_KEYS
    if (OPERATOR_AUDIENCE !== undefined) own.OPERATOR_AUDIENCE = OPERATOR_AUDIENCE
    const tokens = tokenSettings(own)
    return record.tenantClaim === null
      ? tokens
      : { ...tokens, mustSay: { claim: record.tenantClaim, value: record.name } }
  }

  #opened({ record, sealed }: Copy, field: OwnSecret): string | undefined {
    const text = sealed[field]
    return text === undefined ? undefined : open(this.#deployment.ring(), { tenant: record.name, field }, text)
  }

  async #names(): Promise<Names> {
    const { names: copy, asked } = this.#known
    const now = this.#deployment.now()
    if (copy !== null && isUsable(copy.checked, asked, now)) return copy
    this.#known.asked = now
    const { changes } = this.#known
    try {
      const answer = await this.#calls.names({ v: MESSAGE_VERSION, ...(copy && { revision: copy.revision }) })
      const checked = changes === this.#known.changes ? now : now - FRESH_MS
      if (answer.tenants !== null) this.#known.names = this.#listOf(answer.tenants, answer, checked)
      else if (copy !== null) copy.checked = checked
      if (checked !== now) this.#known.asked = -Infinity
    } catch (error) {
      if (copy === null || now - copy.checked > KEEP_MS) throw unanswered(error)
      console.warn('the Directory does not answer: its list of tenants is used as it was', error)
    }
    if (this.#known.names === null) throw unanswered(null)
    return this.#known.names
  }

  #listOf(
    stored: readonly NamedTenant[],
    { revision, adopted }: Pick<NamesAnswer, 'revision' | 'adopted'>,
    checked: number,
  ): Names {
    const { root, bindings } = this.#deployment
    const scripts =
      adopted || !hasScriptTenant(bindings) ? [] : [{ name: root, version: 0, state: 'active', hosts: [] }]
    const tenants = [...scripts, ...stored]
    return {
      revision,
      adopted,
      checked,
      byName: new Map(tenants.map((each) => [each.name, each])),
      byHost: new Map(tenants.flatMap(({ name, hosts }) => hosts.map((host) => [host, name]))),
    }
  }

  /** `again`: it is read again, whatever its version. While the Directory does not answer the copy stays. */
  async #record(name: string, again?: 'again'): Promise<Copy> {
    const { records, names } = this.#known
    const now = this.#deployment.now()
    const copy = records.get(name)
    if (copy !== undefined && !again && this.#isNewest(copy, names, now)) return used(records, name, copy)
    if (copy !== undefined) copy.asked = now
    let answer
    try {
      answer = await this.#calls.record({
        v: MESSAGE_VERSION,
        name,
        ...(copy && !again && { version: copy.record.version }),
      })
    } catch (error) {
      if (copy === undefined || now - copy.checked > KEEP_MS) throw unanswered(error)
      console.warn(`the Directory does not answer: the tenant ${name} is used as it was`, error)
      return used(records, name, copy)
    }
    if (answer.kind === 'none') {
      records.delete(name)
      throw new RockpoolError('ROCKPOOL_TENANT', `there is no tenant ${JSON.stringify(name)}`)
    }
    if (answer.kind === 'same') {
      if (copy === undefined) throw unanswered(null)
      copy.checked = now
      copy.asked = -Infinity
      return used(records, name, copy)
    }
    const record = JSON.parse(answer.record) as TenantRecord
    return used(records, name, {
      record,
      sealed: answer.sealed,
      tenant: this.#tenantOf(record),
      checked: now,
      asked: -Infinity,
      unopened: -Infinity,
    })
  }

  /** The list of names, where there is one, says whether a record is the newest: then no call is needed for it. */
  #isNewest(copy: Copy, names: Names | null, now: number): boolean {
    const listed = names !== null && now - names.checked < FRESH_MS ? names.byName.get(copy.record.name) : undefined
    if (listed !== undefined && listed.version !== copy.record.version) return now - copy.asked < RETRY_MS
    return listed !== undefined || isUsable(copy.checked, copy.asked, now)
  }

  #tenantOf(record: TenantRecord): Tenant {
    const bindings: SettingBindings = { ...this.#shared(), ...record.settings }
    // A record of before places were stored is where the script says.
    if (record.place !== undefined)
      Object.assign(bindings, { LOCATION: record.place.location ?? '', JURISDICTION: record.place.jurisdiction ?? '' })
    return tenantOfBindings(
      record.name,
      bindings,
      this.#deployment.bundled,
      `${record.name} ${record.created} ${record.sourceVersion}`,
      budgetOf(record.limits),
    )
  }

  /** Settings of the script that all tenants have alike. */
  #shared(): SettingBindings {
    const shared: SettingBindings = { ...this.#deployment.bindings }
    for (const name of Object.keys({ ...OWN_SETTINGS, ...OWN_SECRETS }) as (keyof SettingBindings)[])
      delete shared[name]
    return shared
  }
}

/**
 * Returns whether a copy is fresh, or the Directory was asked so recently that another question would wait for nothing.
 */
const isUsable = (checked: number, asked: number, now: number): boolean =>
  now - checked < FRESH_MS || (now - asked < RETRY_MS && now - checked < KEEP_MS)

function used(records: Map<string, Copy>, name: string, copy: Copy): Copy {
  records.delete(name)
  for (const oldest of records.keys()) {
    if (records.size < MAX_RECORDS) break
    records.delete(oldest)
  }
  records.set(name, copy)
  return copy
}

const unanswered = (cause: unknown) =>
  new RockpoolError('ROCKPOOL_UNANSWERED', 'the Directory of tenants does not answer: try again', { cause })
