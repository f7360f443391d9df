import type { CompactionSettings } from './compaction.ts'
import type { TenantSecrets } from './directory.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { dollarsOf, nextDay, type DayUsage } from '../protocol/dollars.ts'
import type { Allowance } from '../protocol/messages/directory.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { budgetDollars } from './budget-dollars.ts'
import { askDirectory, directoryOf, hasStoredTenants, storedTenants, type TenantBindings } from './of-environment.ts'
import { hasScriptTenant, SCRIPT_TENANT } from './script.ts'
import type { TenantRecord } from './stored/record.ts'
import type { FormerSource } from './stored/stored-tenants.ts'
import type { Tenant } from './tenant.ts'

export type { FormerSource }

/**
 * The tenant of an object, as the object knows it. The name is known at once; everything else is looked up on each
 * call.
 */
export interface OwnTenant {
  readonly name: string
  /** Returns the tenant as the directory has it now. Throws as `TenantDirectory.find` does. */
  find(whatever?: 'whatever'): Promise<Tenant>
  /**
   * Resolves when the Directory says, at this moment, that the tenant is active. Throws ROCKPOOL_TENANT when it is not,
   * and ROCKPOOL_UNANSWERED: no copy counts.
   */
  confirm(): Promise<void>
  /**
   * Says when it is to be heard of next, in ms since 1970, and what it has used today. Returns whether the budget of
   * the deployment lets it go on, or null when that is not known. Never rejects: one that is not heard is woken by the
   * cron trigger. Without a Directory it is the only tenant, and has the whole budget.
   */
  heard(due: number, usage: DayUsage): Promise<Allowance | null>
  secret<Field extends keyof TenantSecrets>(field: Field): Promise<TenantSecrets[Field]>
  /** Returns the databases that it had before, in which something of it may be left. The Directory is asked now. */
  former(): Promise<FormerSource[]>
  /** Says that nothing is left of it there. */
  left(id: string): Promise<void>
  /** It was changed just now: copies of this isolate are old. */
  changed(): void
  /** Returns how its buckets are compacted. No call is made for it. */
  compaction(): Promise<CompactionSettings>
}

/**
 * Returns the tenant that an object belongs to. The object's name begins with the tenant's: see `protocol/names.ts`.
 */
export function tenantOfObject(env: TenantBindings, objectName: string): OwnTenant {
  const name = objectName.split('/')[0] ?? ''
  return {
    name,
    find: (whatever) => directoryOf(env).find(name, whatever),
    confirm: async () => {
      const isScripts = name === SCRIPT_TENANT && hasScriptTenant(env)
      if (isScripts && !(await askDirectory(env, (directory) => directory.names({ v: MESSAGE_VERSION }))).adopted)
        return
      const answer = await askDirectory(env, (directory) => directory.record({ v: MESSAGE_VERSION, name }))
      const isActive = answer.kind === 'record' && (JSON.parse(answer.record) as TenantRecord).state === 'active'
      if (!isActive) throw new RockpoolError('ROCKPOOL_TENANT', `the tenant ${name} is not served`)
    },
    heard: async (due, usage) => {
      try {
        if (!hasStoredTenants(env)) return allowanceOf(budgetDollars(env), usage)
        // An earlier version of the Directory answers nothing.
        const answer: Allowance | undefined = await askDirectory(env, (directory) =>
          directory.heard({ v: MESSAGE_VERSION, name, due, usage }),
        )
        return answer ?? null
      } catch (error) {
        console.warn(`the Directory was not told when ${name} is due`, error)
        return null
      }
    },
    former: async () => (await storedTenants(env)?.former(name)) ?? [],
    left: (id) => askDirectory(env, (directory) => directory.left({ v: MESSAGE_VERSION, name, id })),
    changed: () => storedTenants(env)?.changed(name),
    secret: (field) => directoryOf(env).secret(name, field),
    compaction: () => directoryOf(env).compaction(name),
  }
}

/** What the only tenant of a deployment may. */
const allowanceOf = (budget: number | null, usage: DayUsage): Allowance => ({
  pausedUntil: budget !== null && dollarsOf(usage) >= budget ? nextDay(Date.parse(usage.day)) : null,
})
