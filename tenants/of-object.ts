import type { TenantSecrets } from './directory.ts'
import { directoryOf, type TenantBindings } from './of-environment.ts'
import type { Tenant } from './tenant.ts'

/** The tenant of an object, as the object knows it: the name at once, and the rest when it is asked for. */
export interface OwnTenant {
  readonly name: string
  /** As the directory has it now. Throws ROCKPOOL_SETTINGS when there is no such tenant. */
  find(): Promise<Tenant>
  secret<Field extends keyof TenantSecrets>(field: Field): Promise<TenantSecrets[Field]>
}

/** The tenant that an object belongs to: the name of an object begins with it, see `protocol/names.ts`. */
export function tenantOfObject(env: TenantBindings, objectName: string): OwnTenant {
  const name = objectName.split('/')[0] ?? ''
  return {
    name,
    find: () => directoryOf(env).find(name),
    secret: (field) => directoryOf(env).secret(name, field),
  }
}
