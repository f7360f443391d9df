import { RockpoolError } from '../../protocol/errors.ts'
import type { VerificationKey } from './jwk.ts'
import { RemoteKeys, type Background, type RemoteKeyOptions } from './remote.ts'
import { authSettings, operatorSettings, textOf, type AuthSettings, type KeySettings, type Purpose } from './settings.ts'

export type { KeySettings } from './settings.ts'

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

let known: { settings: string; rules: TokenRules } | null = null

/** The rules of these settings: read once per isolate, so that key sets are kept. Throws PSYNC_S2201 and S2203, naming the setting. */
export function tokenRules(settings: KeySettings): TokenRules {
  const text = textOf(settings)
  if (known?.settings !== text) known = { settings: text, rules: new TokenRules(authSettings(settings)) }
  return known.rules
}

let knownOperators: { settings: string; rules: TokenRules | null } | null = null

/** Those for tokens of operators; null when they have no keys of their own. Throws PSYNC_S2201. */
export function operatorRules(settings: KeySettings): TokenRules | null {
  const text = textOf(settings)
  if (knownOperators?.settings !== text) {
    const own = operatorSettings(settings)
    knownOperators = { settings: text, rules: own && new TokenRules(own) }
  }
  return knownOperators.rules
}
