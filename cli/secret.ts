import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { makeDataFolder } from './data-folder.ts'
import type { TokenOptions } from './options.ts'
import { UsageError } from './problem.ts'

const fileOf = (data: string): string => join(data, 'jwt-secret')
const read = async (data: string): Promise<string> => (await readFile(fileOf(data), 'utf8').catch(() => '')).trim()

/**
 * Returns the development secret of a data folder. Throws UsageError when there is none: tokens signed with a new one
 * would be refused.
 */
export async function knownSecret(data: string): Promise<string> {
  const known = await read(data)
  if (known !== '') return known
  throw new UsageError(
    `there is no secret in ${data}: rockpool dev makes it there; --data names another folder, --jwt-secret a secret`,
  )
}

/** Returns the development secret of a data folder, which is made once. */
export async function developmentSecret(data: string): Promise<string> {
  const known = await read(data)
  if (known !== '') return known
  const secret = randomBytes(32).toString('base64url')
  await makeDataFolder(data)
  await writeFile(fileOf(data), `${secret}\n`, { mode: 0o600 })
  return secret
}

/** Returns `TENANT_KEYS` of a data folder, which is made once. Without it the secrets of its tenants are lost. */
export async function tenantKeys(data: string): Promise<string> {
  const file = join(data, 'tenant-keys')
  const known = (await readFile(file, 'utf8').catch(() => '')).trim()
  if (known !== '') return known
  const keys = `dev:${randomBytes(32).toString('base64url')}`
  await makeDataFolder(data)
  await writeFile(file, `${keys}\n`, { mode: 0o600 })
  return keys
}

/** `audience` is one audience, or several separated by commas, which are all used. */
export function signToken(
  { sub, ttlSeconds, claims }: TokenOptions,
  secret: string,
  audience: string,
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setAudience(audience.split(',')[0]?.trim() ?? audience)
    .setIssuedAt()
    .setExpirationTime(`${ttlSeconds}s`)
    .sign(Buffer.from(secret, 'base64url'))
}
