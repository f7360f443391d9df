import type { CompactionSettings } from './compaction.ts'
import type { TenantSecrets } from './directory.ts'
import { directoryOf, type TenantBindings } from './of-environment.ts'
import type { Tenant } from './tenant.ts'

/** The tenant of an object, as the object knows it. The name is known at once; everything else is looked up on each call. */
export interface OwnTenant {
  readonly name: string
  /** Returns the tenant as the directory has it now. Throws ROCKPOOL_SETTINGS when there is no such tenant. */
  find(): Promise<Tenant>
  secret<Field extends keyof TenantSecrets>(field: Field): Promise<TenantSecrets[Field]>
  /** Returns how its buckets are compacted. No call is made for it. */
  compaction(): Promise<CompactionSettings>
}

/** Returns the tenant that an object belongs to. The object's name begins with the tenant's: see `protocol/names.ts`. */
export function tenantOfObject(env: TenantBindings, objectName: string): OwnTenant {
  const name = objectName.split('/')[0] ?? ''
  return {
    name,
    find: () => directoryOf(env).find(name),
    secret: (field) => directoryOf(env).secret(name, field),
    compaction: () => directoryOf(env).compaction(name),
  }
}
