import { Alert, notOffered, violation } from './alerts.ts'
import { equal, Reader, whole, type Bytes } from './wire.ts'

// RFC 8446 section 4.2, RFC 5246 section 7.4.1.4: extensions of the server's messages.

export type Extensions = Map<number, Bytes>

/** Reads extensions, of which each may occur once. */
export function readExtensions(reader: Reader): Extensions {
  const extensions: Extensions = new Map()
  const list = new Reader(reader.vector(2))
  while (!list.done) {
    const type = list.number(2)
    if (extensions.has(type)) throw violation(Alert.illegalParameter, 'an extension comes twice')
    extensions.set(type, list.vector(2))
  }
  return extensions
}

/** Refuses extensions that our hello did not ask for. */
export function onlyOf(extensions: Extensions, asked: ReadonlySet<number>): Extensions {
  for (const type of extensions.keys()) {
    if (!asked.has(type)) throw violation(Alert.unsupportedExtension, `an extension was not asked for (${type})`)
  }
  return extensions
}

/**
 * Returns the protocol that the server chose, which must be `offered`, or null when it chose none (RFC 7301 section
 * 3.1).
 */
export function readAlpn(extension: Bytes | undefined, offered: string): string | null {
  if (!extension) return null
  const chosen = whole(extension, (reader) => whole(reader.vector(2), (list) => list.vector(1)))
  if (!equal(chosen, new TextEncoder().encode(offered))) throw notOffered('protocol')
  return offered
}
