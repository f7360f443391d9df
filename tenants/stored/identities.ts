// What tokens a tenant accepts, as far as it matters to whether another tenant would accept one of them too.

/** One key, or one set of keys, and the tokens that are accepted by it. */
export interface TokenIdentity {
  /** The key, or the address of the key set. Equal for two tenants that take the same one. */
  key: string
  audiences: readonly string[]
  /** Null: tokens of every issuer are accepted. */
  issuers: readonly string[] | null
}

/** `claim`: the claim of its tokens that must be the name of the tenant, or null. */
export interface AcceptedTokens {
  claim: string | null
  identities: readonly TokenIdentity[]
}

/**
 * Returns whether a token could be accepted by both of two tenants. A claim tells them apart only when it is the same
 * for both: a token may have one claim with the name of the one, and another claim with the name of the other.
 */
export function shareTokens(a: AcceptedTokens, b: AcceptedTokens): boolean {
  if (a.claim !== null && a.claim === b.claim) return false
  return a.identities.some((one) => b.identities.some((other) => bothAccept(one, other)))
}

const bothAccept = (a: TokenIdentity, b: TokenIdentity): boolean =>
  a.key === b.key &&
  meet(a.audiences, b.audiences) &&
  (a.issuers === null || b.issuers === null || meet(a.issuers, b.issuers))

const meet = (a: readonly string[], b: readonly string[]): boolean => a.some((each) => b.includes(each))
