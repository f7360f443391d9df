import { BoundedMap } from '../../durable-objects/shared/bounded-map.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { RequiredClaim, TokenSettings } from '../../tenants/tokens.ts'
import type { VerificationKey } from './jwk.ts'
import { RemoteKeys, type Background, type RemoteKeyOptions } from './remote.ts'
import { authSettings, operatorSettings, textOf, type AuthSettings, type Purpose } from './settings.ts'

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

  constructor(settings: AuthSettings, options: Partial<RemoteKeyOptions> = {}) {
    this.purpose = settings.purpose
    this.toleranceSeconds = settings.toleranceSeconds
    this.mustSay = settings.mustSay ?? null
    this.#keys = settings.keys
    this.#remote = settings.remote.map(({ url, policy }) => new RemoteKeys(url, policy, options))
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

/**
 * The number of rules that an isolate keeps, with their fetched key sets. A tenant has two: for users and for
 * operators.
 */
const MAX_RULES = 100
const users = new BoundedMap<string, TokenRules>(MAX_RULES)
const operators = new BoundedMap<string, TokenRules | null>(MAX_RULES)

/**
 * Returns the rules of these settings. They are kept per isolate, with their key sets. Throws PSYNC_S2201 and S2203,
 * which name the setting.
 */
export const tokenRules = (settings: TokenSettings): TokenRules =>
  kept(users, settings, () => new TokenRules(authSettings(settings)))

/** Returns the rules for operators' tokens, or null when operators have no keys of their own. Throws PSYNC_S2201. */
export function operatorRules(settings: TokenSettings): TokenRules | null {
  return kept(operators, settings, () => {
    const own = operatorSettings(settings)
    return own && new TokenRules(own)
  })
}

function kept<Rules extends TokenRules | null>(
  known: BoundedMap<string, Rules>,
  settings: TokenSettings,
  make: () => Rules,
): Rules {
  const text = textOf(settings)
  const before = known.get(text)
  if (before !== undefined) return before
  const rules = make()
  known.set(text, rules)
  return rules
}
