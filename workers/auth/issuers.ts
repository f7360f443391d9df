/**
 * Returns the issuer of the tokens of a key set whose provider is known: exactly one for an address, or for an
 * audience. Returns null for any other address.
 */
export function issuersOf({ protocol, hostname, host, pathname }: URL, audiences: readonly string[]): string[] | null {
  if (
    pathname === '/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com' &&
    hostname === 'www.googleapis.com'
  ) {
    // All projects of Firebase share the keys, and the audience is the project.
    return audiences.map((project) => `https://securetoken.google.com/${project}`)
  }
  if (pathname === '/auth/v1/.well-known/jwks.json') return [`${protocol}//${host}/auth/v1`]
  if (pathname !== '/.well-known/jwks.json') return null
  if (hostname.endsWith('.auth0.com')) return [`https://${host}/`]
  return hostname.endsWith('.clerk.accounts.dev') ? [`https://${host}`] : null
}
