import { Alert, notOffered, unsuitable, violation } from './alerts.ts'
import { onlyOf, readExtensions, type Extensions } from './extensions.ts'
import { Extension, SUITES, VERSION_12, VERSION_13, type Suite } from './parameters.ts'
import { equal, whole, type Bytes } from './wire.ts'

// RFC 8446 sections 4.1.3 and 4.1.4: what a server answers first, and so which version it speaks.

/** 4.1.3: the random of a ServerHello that is a HelloRetryRequest. */
const RETRY = Uint8Array.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'.match(/../g) ?? [], (pair) =>
  parseInt(pair, 16),
)
/** 4.1.3: how the random of a server ends that speaks more and was made to choose less, up to its last byte. */
const DOWNGRADE = new TextEncoder().encode('DOWNGRD')
const OLDER = new Map([
  [0x0300, 'SSL 3.0'],
  [0x0301, 'TLS 1.0'],
  [0x0302, 'TLS 1.1'],
])

/** Of any version. */
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
    // It is no field of 1.3, and was never a good idea (RFC 5246 section 6.2.2).
    if (compression !== 0) throw notOffered('compression')
    return { version, random, sessionId, suite, extensions: reader.done ? new Map<number, Bytes>() : readExtensions(reader) }
  })
}

/** 4.2.1: 1.3 is named by an extension, and what is older by the version. Throws for anything older than 1.2, and for 1.2 of a server that speaks 1.3. */
export function chosenVersion({ version, random, extensions }: Answer): typeof VERSION_12 | typeof VERSION_13 {
  const chosen = extensions.get(Extension.supportedVersions)
  if (chosen && version === VERSION_12) {
    if (!equal(chosen, [VERSION_13 >>> 8, VERSION_13 & 0xff])) throw notOffered('version')
    return VERSION_13
  }
  if (equal(random.subarray(24, 31), DOWNGRADE)) {
    throw violation(Alert.illegalParameter, 'the server speaks TLS 1.3, and somebody in between makes it choose an older version')
  }
  if (version === VERSION_12) return VERSION_12
  const name = OLDER.get(version) ?? `a version that is not known (${version})`
  throw unsuitable(Alert.protocolVersion, `the server speaks ${name} only, and TLS 1.2 or 1.3 is needed`)
}

const IN_HELLO = new Set<number>([Extension.supportedVersions, Extension.keyShare])
const IN_RETRY = new Set<number>([...IN_HELLO, Extension.cookie])

export interface ServerHello13 {
  suite: Suite
  /** Of a HelloRetryRequest: the group that is wanted, if any. */
  retry: { group: number | null; cookie: Bytes | null } | null
  share: { group: number; theirs: Bytes } | null
}

/** `sessionId`: of our hello. */
export function serverHello13({ random, sessionId: echo, suite: number, extensions }: Answer, sessionId: Bytes): ServerHello13 {
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
  if (!group && !cookie) throw violation(Alert.illegalParameter, 'the server asks for another hello and says nothing of how')
  const asked = {
    group: group ? whole(group, (reader) => reader.number(2)) : null,
    cookie: cookie ? whole(cookie, (reader) => reader.vector(2)) : null,
  }
  if (asked.cookie?.length === 0) throw violation(Alert.decodeError, 'the cookie of the server is empty')
  return asked
}

const readShare = (share: Bytes) => whole(share, (reader) => ({ group: reader.number(2), theirs: reader.vector(2) }))
