import { Alert, notOffered, unsuitable, violation } from './alerts.ts'
import { onlyOf, readExtensions, type Extensions } from './extensions.ts'
import { Extension, SUITES, VERSION_12, VERSION_13, type Suite } from './parameters.ts'
import { equal, whole, type Bytes } from './wire.ts'

// RFC 8446 sections 4.1.3 and 4.1.4: the first answer of a server, which chooses the version.

/** 4.1.3: the random of a ServerHello that is a HelloRetryRequest. */
const RETRY = Uint8Array.from(
  'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'.match(/../g) ?? [],
  (pair) => parseInt(pair, 16),
)
/**
 * 4.1.3: the end, but for the last byte, of the random of a server that was made to choose an older version than it
 * speaks.
 */
const DOWNGRADE = new TextEncoder().encode('DOWNGRD')
const OLDER = new Map([
  [0x0300, 'SSL 3.0'],
  [0x0301, 'TLS 1.0'],
  [0x0302, 'TLS 1.1'],
])

/** A ServerHello of any version. */
export interface Answer {
  version: number
  random: Bytes
  sessionId: Bytes
  suite: number
  extensions: Extensions
}

export function readAnswer(body: Bytes): Answer {
  return whole(body, (reader) => {
    const [version, random, sessionId] = [reader.number(2), reader.bytes(32), reader.vector(1)]
    const [suite, compression] = [reader.number(2), reader.number(1)]
    // 1.3 has no compression, and in 1.2 it leaks secrets (RFC 5246 section 6.2.2).
    if (compression !== 0) throw notOffered('compression')
    return {
      version,
      random,
      sessionId,
      suite,
      extensions: reader.done ? new Map<number, Bytes>() : readExtensions(reader),
    }
  })
}

/**
 * 4.2.1: an extension names 1.3, the version field anything older. Throws for anything older than 1.2, and for 1.2 from
 * a server that speaks 1.3.
 */
export function chosenVersion({ version, random, extensions }: Answer): typeof VERSION_12 | typeof VERSION_13 {
  const chosen = extensions.get(Extension.supportedVersions)
  if (chosen && version === VERSION_12) {
    if (!equal(chosen, [VERSION_13 >>> 8, VERSION_13 & 0xff])) throw notOffered('version')
    return VERSION_13
  }
  if (equal(random.subarray(24, 31), DOWNGRADE)) {
    throw violation(
      Alert.illegalParameter,
      'the server speaks TLS 1.3, and somebody in between makes it choose an older version',
    )
  }
  if (version === VERSION_12) return VERSION_12
  const name = OLDER.get(version) ?? `an unknown version (${version})`
  throw unsuitable(Alert.protocolVersion, `the server speaks only ${name}, and Rockpool needs TLS 1.2 or 1.3`)
}

const IN_HELLO = new Set<number>([Extension.supportedVersions, Extension.keyShare])
const IN_RETRY = new Set<number>([...IN_HELLO, Extension.cookie])

/** The longest cookie, in bytes. It comes back in the second hello, which has to fit into one record. */
export const MAX_COOKIE = 8 * 1024

export interface ServerHello13 {
  suite: Suite
  /** For a HelloRetryRequest: the group that the server wants, if any, and its cookie. */
  retry: { group: number | null; cookie: Bytes | null } | null
  share: { group: number; theirs: Bytes } | null
}

/** `sessionId` is that of our hello. */
export function serverHello13(
  { random, sessionId: echo, suite: number, extensions }: Answer,
  sessionId: Bytes,
): ServerHello13 {
  const suite = SUITES.get(number)
  if (!equal(echo, sessionId)) throw violation(Alert.illegalParameter, 'the server answers another hello')
  if (!suite) throw notOffered('cipher suite')
  const isRetry = equal(random, RETRY)
  onlyOf(extensions, isRetry ? IN_RETRY : IN_HELLO)
  const share = extensions.get(Extension.keyShare)
  if (isRetry) return { suite, retry: readRetry(share, extensions.get(Extension.cookie)), share: null }
  if (!share) throw violation(Alert.missingExtension, 'the server sent no key share')
  return { suite, retry: null, share: readShare(share) }
}

function readRetry(group: Bytes | undefined, cookie: Bytes | undefined): ServerHello13['retry'] {
  if (!group && !cookie)
    throw violation(Alert.illegalParameter, 'the server asks for another hello, but for no change in it')
  const asked = {
    group: group ? whole(group, (reader) => reader.number(2)) : null,
    cookie: cookie ? whole(cookie, (reader) => reader.vector(2)) : null,
  }
  if (asked.cookie?.length === 0) throw violation(Alert.decodeError, 'the cookie of the server is empty')
  if (asked.cookie && asked.cookie.length > MAX_COOKIE)
    throw violation(Alert.illegalParameter, 'the cookie of the server is too long')
  return asked
}

const readShare = (share: Bytes) => whole(share, (reader) => ({ group: reader.number(2), theirs: reader.vector(2) }))
