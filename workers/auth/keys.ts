import { RockpoolError } from '../../protocol/errors.ts'
import type { RequiredClaim, TokenSettings } from '../../tenants/tokens.ts'
import type { VerificationKey } from './jwk.ts'
import { TenantCache } from '../shares/tenant-cache.ts'
import { RemoteKeys, type Background } from './remote.ts'
import {
  authSettings,
  operatorSettings,
  textOf,
  type AuthSettings,
  type Purpose,
  type RemoteKeySet,
} from './settings.ts'

/** The keys with which a token may have been signed. */
export type Candidates =
  /**
   * Keys with exactly the token's `kid`; no others are tried. `fetched`: they come from a key set by URL, where another
   * key may have this `kid` by now.
   */
  | { named: true; keys: readonly VerificationKey[]; fetched: boolean }
  /**
   * Keys without a `kid`, which are tried one after the other. `unread`: why further keys are not known at the moment.
   */
  | { named: false; keys: readonly VerificationKey[]; unread: RockpoolError | null }

/** How tokens are verified: the keys, and the other rules. */
export class TokenRules {
  readonly purpose: Purpose
  readonly toleranceSeconds: number
  /** Null: the tokens need no such claim. */
  readonly mustSay: RequiredClaim | null
  readonly #keys: readonly VerificationKey[]
  readonly #remote: readonly RemoteKeys[]

  /** `keySet` returns the keys of a key set, which other rules may use as well. */
  constructor(
    settings: AuthSettings,
    keySet: (set: RemoteKeySet) => RemoteKeys = ({ url, policy }) => new RemoteKeys(url, policy),
  ) {
    this.purpose = settings.purpose
    this.toleranceSeconds = settings.toleranceSeconds
    this.mustSay = settings.mustSay ?? null
    this.#keys = settings.keys
    this.#remote = settings.remote.map(keySet)
  }

  /**
   * Key sets are fetched only for asymmetric algorithms, because secrets are never fetched. Throws PSYNC_S2101 when the
   * key with this `kid` has another algorithm.
   */
  async candidates(algorithm: string, kid: string | undefined, background: Background): Promise<Candidates> {
    const named = kid === undefined ? [] : this.#keys.filter((key) => key.kid === kid)
    if (named.length > 0 || algorithm.startsWith('HS'))
      return chosen(this.#keys, algorithm, kid, { fetched: false, unread: null })
    const sets = await Promise.allSettled(this.#remote.map((each) => each.keys(background)))
    const keys = [...this.#keys, ...sets.flatMap((set) => (set.status === 'fulfilled' ? set.value : []))]
    const failed = sets.find((set) => set.status === 'rejected')
    if (failed && !(failed.reason instanceof RockpoolError)) throw failed.reason
    return chosen(keys, algorithm, kid, { fetched: true, unread: failed ? failed.reason : null })
  }

  /**
   * Called when the key that signed was not found. Fetches the key sets again unless they were just fetched. Returns
   * whether the keys have changed.
   */
  async refresh(algorithm: string, background: Background): Promise<boolean> {
    if (algorithm.startsWith('HS')) return false
    const changed = await Promise.all(this.#remote.map((each) => each.refresh(background)))
    return changed.includes(true)
  }
}

function chosen(
  keys: readonly VerificationKey[],
  algorithm: string,
  kid: string | undefined,
  { fetched, unread }: { fetched: boolean; unread: RockpoolError | null },
): Candidates {
  const named = kid === undefined ? [] : keys.filter((key) => key.kid === kid)
  if (named.length === 0)
    return { named: false, keys: keys.filter((key) => key.kid === null && key.accepts(algorithm)), unread }
  const fitting = named.filter((key) => key.accepts(algorithm))
  if (fitting.length > 0) return { named: true, keys: fitting, fetched }
  const taken = named.map((key) => key.algorithms).join(', ')
  throw new RockpoolError(
    'PSYNC_S2101',
    `the token is signed with ${algorithm}, but the key with its "kid" accepts ${taken}`,
  )
}

/** Rules that an isolate keeps. A tenant has two: for users and for operators, and two more after a change. */
const MAX_RULES = 1_000
const rules = new TenantCache<TokenRules | null>(MAX_RULES)

/** Key sets that an isolate keeps, by address and policy. Whatever else of a tenant changes, none is fetched again. */
const MAX_KEY_SETS = 1_000
const keySets = new TenantCache<RemoteKeys>(MAX_KEY_SETS)

function keptKeySet({ url, policy }: RemoteKeySet): RemoteKeys {
  // Two tenants may have the same one, so it belongs to none.
  const key = JSON.stringify([url.href, policy])
  const known = keySets.get('', key)
  if (known) return known
  const set = new RemoteKeys(url, policy)
  keySets.set('', key, set, { size: 1, part: null })
  return set
}

/** Whose rules they are, and how many of those that an isolate keeps may be this tenant's: see `tenantPart`. */
export interface RulesOwner {
  tenant: string
  part: number | null
}

/** Of the deployment, or of its only tenant. */
const NOBODY: RulesOwner = { tenant: '', part: null }

/**
 * Returns the rules of these settings. They are kept per isolate, and so are their key sets. Throws PSYNC_S2201 and
 * S2203, which name the setting.
 */
export const tokenRules = (settings: TokenSettings, owner = NOBODY): TokenRules =>
  kept('user', settings, owner, () => new TokenRules(authSettings(settings), keptKeySet))

/** Returns the rules for operators' tokens, or null when operators have no keys of their own. Throws PSYNC_S2201. */
export function operatorRules(settings: TokenSettings, owner = NOBODY): TokenRules | null {
  return kept('operator', settings, owner, () => {
    const own = operatorSettings(settings)
    return own && new TokenRules(own, keptKeySet)
  })
}

/** `purpose` is a part of the key, so what is found is what `make` returned for it. */
function kept<Rules extends TokenRules | null>(
  purpose: Purpose,
  settings: TokenSettings,
  { tenant, part }: RulesOwner,
  make: () => Rules,
): Rules {
  const key = `${purpose} ${textOf(settings)}`
  const before = rules.get(tenant, key) as Rules | undefined
  if (before !== undefined) return before
  const made = make()
  rules.set(tenant, key, made, { size: 1, part })
  return made
}
