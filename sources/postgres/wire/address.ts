import type { HostPort } from './source-url.ts'

/**
 * Puts a literal IPv6 address into brackets, as is needed before a port. `connect` of workerd joins host and port
 * itself, and parses the result (2026-11).
 */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)

/** Formats an address for people: `HOST:PORT`. */
export const shownAddress = ({ host, port }: HostPort): string => `${bracketed(host)}:${port}`
