import type { HostPort } from './source-url.ts'

/** A literal IPv6 address stands in brackets wherever a port follows. `connect` of workerd puts the two together itself, and reads them again (2026-11). */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)

/** For people: `HOST:PORT`. */
export const shownAddress = ({ host, port }: HostPort): string => `${bracketed(host)}:${port}`
