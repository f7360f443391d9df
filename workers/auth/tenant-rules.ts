import { directoryOf, type TenantBindings } from '../../tenants/of-environment.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import { tenantPart } from '../shares/tenant-part.ts'
import { operatorRules, tokenRules, type RulesOwner, type TokenRules } from './keys.ts'

const settingsOf = (env: TenantBindings, { name }: Tenant): Promise<TokenSettings> =>
  directoryOf(env).secret(name, 'token.keys')

const ownerOf = (env: TenantBindings, { name }: Tenant): RulesOwner => ({ tenant: name, part: tenantPart(env) })

/** Returns the rules for the tokens of a tenant's users. Rejects like `tokenRules`. */
export const rulesOf = async (env: TenantBindings, tenant: Tenant): Promise<TokenRules> =>
  tokenRules(await settingsOf(env, tenant), ownerOf(env, tenant))

/** Returns the rules for the tokens of its operators, or null. Rejects like `operatorRules`. */
export const operatorRulesOf = async (env: TenantBindings, tenant: Tenant): Promise<TokenRules | null> =>
  operatorRules(await settingsOf(env, tenant), ownerOf(env, tenant))
