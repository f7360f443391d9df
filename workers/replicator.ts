import type { Environment } from '../durable-objects/environment.ts'
import { DEFAULT_TENANT, replicatorName } from '../protocol/names.ts'

/** The replicator of the tenant. Naming it calls nothing. */
export const replicatorOf = (env: Environment) => env.REPLICATOR.getByName(replicatorName(DEFAULT_TENANT))
