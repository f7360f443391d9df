/** Names of this machine itself. */
const NAMES = ['127.0.0.1', 'localhost', '[::1]']

/**
 * Returns true when a request used one of this server's own names. A foreign page can give its own name the address
 * 127.0.0.1 (DNS rebinding), and its scripts could then read all answers, but the browser sends that name in `Host`.
 */
export function isOwnHost(host: string | undefined, port: number): boolean {
  return NAMES.some(
    (name) => host?.toLowerCase() === `${name}:${port}` || (port === 80 && host?.toLowerCase() === name),
  )
}

/** Allows scripts, SQLite and styles of this server, connections to Rockpool and to itself, and no frames. */
export function contentSecurityPolicy(endpoint: string): string {
  const socket = endpoint.replace(/^http/, 'ws')
  return [
    "default-src 'none'",
    // SQLite is WebAssembly.
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self' ${endpoint} ${socket}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}
