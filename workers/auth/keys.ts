import { RockpoolError } from '../../protocol/errors.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import type { VerificationKey } from './jwk.ts'
import { RemoteKeys, type Background, type RemoteKeyOptions } from './remote.ts'
import { authSettings, operatorSettings, textOf, type AuthSettings, type Purpose } from './settings.ts'

/** Keys that a token may have been signed with. */
export type Candidates =
  /** Exactly this `kid`: nothing else is tried. `fetched`: it comes from a key set by URL, where another key may have its `kid` by now. */
  | { named: true; keys: readonly VerificationKey[]; fetched: boolean }
  /** Keys without `kid`, to be tried one after the other. `unread`: why further keys are not known at the moment. */
  | { named: false; keys: readonly VerificationKey[]; unread: RockpoolError | null }

/** By what tokens are judged: the keys, and what else must hold. */
export class TokenRules {
  readonly purpose: Purpose
  readonly toleranceSeconds: number
  readonly #keys: readonly VerificationKey[]
  readonly #remote: readonly RemoteKeys[]

  constructor(settings: AuthSettings, options: Partial<RemoteKeyOptions> = {}) {
    this.purpose = settings.purpose
    this.toleranceSeconds = settings.toleranceSeconds
    this.#keys = settings.keys
    this.#remote = settings.remote.map(({ url, policy }) => new RemoteKeys(url, policy, options))
  }

  /** Secrets are never fetched, so key sets matter for asymmetric algorithms only. Throws PSYNC_S2101 when the key with that `kid` takes others. */
  async candidates(algorithm: string, kid: string | undefined, background: Background): Promise<Candidates> {
    const named = kid === undefined ? [] : this.#keys.filter((key) => key.kid === kid)
    if (named.length > 0 || algorithm.startsWith('HS')) return chosen(this.#keys, algorithm, kid, { fetched: false, unread: null })
    const sets = await Promise.allSettled(this.#remote.map((each) => each.keys(background)))
    const keys = [...this.#keys, ...sets.flatMap((set) => (set.status === 'fulfilled' ? set.value : []))]
    const failed = sets.find((set) => set.status === 'rejected')
    if (failed && !(failed.reason instanceof RockpoolError)) throw failed.reason
    return chosen(keys, algorithm, kid, { fetched: true, unread: failed ? failed.reason : null })
  }

  /** No key was found, or not the one that signed: fetches the key sets again, if they were not just fetched. True: it is worth looking again. */
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
  if (named.length === 0) return { named: false, keys: keys.filter((key) => key.kid === null && key.accepts(algorithm)), unread }
  const fitting = named.filter((key) => key.accepts(algorithm))
  if (fitting.length > 0) return { named: true, keys: fitting, fetched }
  const taken = named.map((key) => key.algorithms).join(', ')
  throw new RockpoolError('PSYNC_S2101', `the token is signed with ${algorithm}, and the key with its "kid" takes ${taken}`)
}

/** Rules of so many different settings are kept per isolate, with the key sets that they have fetched: those of a tenant are two. */
const MAX_RULES = 100
const users = new Map<string, TokenRules>()
const operators = new Map<string, TokenRules | null>()

/** The rules of these settings: read once per isolate, so that key sets are kept. Throws PSYNC_S2201 and S2203, naming the setting. */
export const tokenRules = (settings: TokenSettings): TokenRules => kept(users, settings, () => new TokenRules(authSettings(settings)))

/** Those for tokens of operators; null when they have no keys of their own. Throws PSYNC_S2201. */
export function operatorRules(settings: TokenSettings): TokenRules | null {
  return kept(operators, settings, () => {
    const own = operatorSettings(settings)
    return own && new TokenRules(own)
  })
}

function kept<Rules extends TokenRules | null>(known: Map<string, Rules>, settings: TokenSettings, make: () => Rules): Rules {
  const text = textOf(settings)
  const before = known.get(text)
  if (before !== undefined) return before
  const rules = make()
  for (const oldest of known.keys()) {
    if (known.size < MAX_RULES) break
    known.delete(oldest)
  }
  known.set(text, rules)
  return rules
}
