import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { makeDataFolder } from './data-folder.ts'
import type { TokenOptions } from './options.ts'

/** The development secret of a data folder; made once. */
export async function developmentSecret(data: string): Promise<string> {
  const file = join(data, 'jwt-secret')
  const known = await readFile(file, 'utf8').catch(() => '')
  if (known.trim() !== '') return known.trim()
  const secret = randomBytes(32).toString('base64url')
  await makeDataFolder(data)
  await writeFile(file, `${secret}\n`, { mode: 0o600 })
  return secret
}

/** `audience`: one, or several separated by commas, of which each is taken. */
export function signToken({ sub, ttlSeconds, claims }: TokenOptions, secret: string, audience: string): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setAudience(audience.split(',')[0]?.trim() ?? audience)
    .setIssuedAt()
    .setExpirationTime(`${ttlSeconds}s`)
    .sign(Buffer.from(secret, 'base64url'))
}
