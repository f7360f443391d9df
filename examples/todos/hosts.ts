/** Names by which this machine alone is meant. */
const NAMES = ['127.0.0.1', 'localhost', '[::1]']

/**
 * Whether a request was made to this server by a name of its own. A page of somebody else can give its own name the address 127.0.0.1 (DNS rebinding), and its
 * scripts may then read all answers; the browser says that name in `Host`.
 */
export function isOwnHost(host: string | undefined, port: number): boolean {
  return NAMES.some((name) => host?.toLowerCase() === `${name}:${port}` || (port === 80 && host?.toLowerCase() === name))
}

/** Scripts, SQLite and style are this server's; it talks to Rockpool and to itself; nobody may put it into a frame. */
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
