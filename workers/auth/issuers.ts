/**
 * Who issues the tokens of a key set, where the provider's form is known: exactly one issuer for an address, or for an audience. Null: any address that is not
 * known to be of such a provider.
 */
export function issuersOf({ protocol, hostname, host, pathname }: URL, audiences: readonly string[]): string[] | null {
  if (pathname === '/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com' && hostname === 'www.googleapis.com') {
    // Firebase: all projects share the keys, and the project is the audience.
    return audiences.map((project) => `https://securetoken.google.com/${project}`)
  }
  if (pathname === '/auth/v1/.well-known/jwks.json') return [`${protocol}//${host}/auth/v1`]
  if (pathname !== '/.well-known/jwks.json') return null
  if (hostname.endsWith('.auth0.com')) return [`https://${host}/`]
  return hostname.endsWith('.clerk.accounts.dev') ? [`https://${host}`] : null
}
