import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { RockpoolError } from '../../protocol/errors.ts'

// Secrets of tenants are stored encrypted: AES-256-GCM, with the tenant and the field as associated data, so a stored
// text is of no use in another record.

const ALGORITHM = 'aes-256-gcm'
const FORM = 'v1'
const KEY_BYTES = 32
/** What GCM is made for (NIST SP 800-38D, 5.2.1.1). At random, one key may encrypt 2^32 texts. */
const IV_BYTES = 12
const TAG_BYTES = 16

/** What `TENANT_KEYS` must be. */
export const TENANT_KEYS_FORM =
  /^\s*[a-zA-Z0-9_-]{1,32}:[A-Za-z0-9_-]{43}=?\s*(,\s*[a-zA-Z0-9_-]{1,32}:[A-Za-z0-9_-]{43}=?\s*)*$/

/** Keys by their ids. The first one encrypts; all of them decrypt. */
export interface KeyRing {
  first: string
  keys: ReadonlyMap<string, Buffer>
}

/** Where a secret is stored. */
export interface SecretPlace {
  tenant: string
  field: string
}

/** Reads `TENANT_KEYS`: `ID:KEY` separated by commas, each key 32 bytes as base64url. Throws ROCKPOOL_SETTINGS. */
export function keyRing(text: string): KeyRing {
  const parts = TENANT_KEYS_FORM.test(text) ? text.split(',').map((part) => part.trim().split(':')) : []
  const keys = new Map(parts.map(([id = '', key = '']) => [id, Buffer.from(key, 'base64url')]))
  const [first] = keys.keys()
  if (first === undefined || keys.size < parts.length || [...keys.values()].some((key) => key.length !== KEY_BYTES)) {
    throw new RockpoolError(
      'ROCKPOOL_SETTINGS',
      'TENANT_KEYS: must be ID:KEY, or several separated by commas, each key 32 bytes as base64url',
    )
  }
  return { first, keys }
}

/** Returns the text encrypted: `v1.KEY_ID.BASE64URL`. */
export function seal(ring: KeyRing, place: SecretPlace, text: string): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(ALGORITHM, keyOf(ring, ring.first), iv)
  cipher.setAAD(associated(place))
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return `${FORM}.${ring.first}.${Buffer.concat([iv, body, cipher.getAuthTag()]).toString('base64url')}`
}

/**
 * Returns the text. Throws ROCKPOOL_TENANT_KEY when its key is not in the ring, or when it is not the text that was
 * stored in this place.
 */
export function open(ring: KeyRing, place: SecretPlace, sealed: string): string {
  const bytes = Buffer.from(sealed.split('.')[2] ?? '', 'base64url')
  const key = keyOf(ring, sealedBy(sealed))
  try {
    const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
    decipher.setAAD(associated(place))
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
    return (
      decipher.update(bytes.subarray(IV_BYTES, bytes.length - TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
    )
  } catch (cause) {
    throw new RockpoolError(
      'ROCKPOOL_TENANT_KEY',
      `${place.field} of the tenant ${place.tenant} is not what was stored there`,
      { cause },
    )
  }
}

/** Returns the id of the key that encrypted a text. */
export const sealedBy = (sealed: string): string => sealed.split('.')[1] ?? ''

const associated = ({ tenant, field }: SecretPlace): Buffer => Buffer.from(`${tenant}\n${field}`)

function keyOf(ring: KeyRing, id: string): Buffer {
  const key = ring.keys.get(id)
  if (key) return key
  throw new RockpoolError(
    'ROCKPOOL_TENANT_KEY',
    `a secret is encrypted with the key ${JSON.stringify(id)}, which is not in TENANT_KEYS`,
  )
}
