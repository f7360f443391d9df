import { RockpoolError } from '../../protocol/errors.ts'

/** Settings by which tokens are judged; bindings of the script. */
export interface KeySettings {
  /** base64url. */
  JWT_SECRET?: string
  /** One audience, or several separated by commas. */
  JWT_AUDIENCE?: string
}

export interface TokenRules {
  key: Uint8Array
  /** A token must name at least one of them. */
  audiences: string[]
}

/** A key shorter than the hash makes HS256 weaker than it looks (RFC 7518, section 3.2). */
const MIN_KEY_BYTES = 32

/** Throws PSYNC_S2201, naming the setting and never its value. */
export function tokenRules(settings: KeySettings): TokenRules {
  const key = decodeKey(settings.JWT_SECRET ?? '')
  const audiences = (settings.JWT_AUDIENCE ?? '').split(',').flatMap((audience) => audience.trim() || [])
  if (audiences.length === 0) throw unusable('JWT_AUDIENCE is not set: name the audience that tokens carry')
  return { key, audiences }
}

function decodeKey(secret: string): Uint8Array {
  if (secret === '') throw unusable('JWT_SECRET is not set: `wrangler secret put JWT_SECRET` takes it, base64url')
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(secret)) throw unusable('JWT_SECRET is not base64url')
  const key = new Uint8Array(Buffer.from(secret, 'base64url'))
  if (key.length < MIN_KEY_BYTES) throw unusable(`JWT_SECRET has ${key.length} bytes; HS256 needs at least ${MIN_KEY_BYTES}`)
  return key
}

const unusable = (message: string) => new RockpoolError('PSYNC_S2201', `key settings are not usable: ${message}`)
