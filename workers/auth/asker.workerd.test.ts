import { env } from 'cloudflare:test'
import { SignJWT } from 'jose'
import { expect, test, vi } from 'vitest'
import { tenantOf } from '../../test/support/tenant.ts'
import { askerOf, CLAIM_NOTICE, operatorOf } from './asker.ts'

test('the day that is told locks nobody out of what is deployed: `rockpool dev` and the commands that sign with its secret go on behind it, without a notice', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const now = new Date('2027-03-02T12:00:00Z')
  const secret = Buffer.alloc(32, 7)
  const here = { ...env, JWT_SECRET: secret.toString('base64url'), JWT_AUDIENCE: 'rockpool', OPERATOR_KEYS: undefined }
  // As `signToken` of cli/secret.ts does.
  const token = (claims: Record<string, unknown>) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('rockpool dev')
      .setAudience('rockpool')
      .setIssuedAt(now)
      .setExpirationTime(now.getTime() / 1_000 + 60)
      .sign(secret)
  const dev = await token({ operator: true })
  const local = { ...here, LOCAL_EDGE: 'true' }
  const headers = (bearer: string) => new Headers({ authorization: `Token ${bearer}` })
  expect((await operatorOf(local, tenantOf(local), headers(dev), { now })).by).toBe('rockpool dev')
  expect(warned).not.toHaveBeenCalled()
  expect((await operatorOf(here, tenantOf(here), headers(dev), { now })).by).toBe('rockpool dev')
  await operatorOf(here, tenantOf(here), headers(dev), { now })
  expect(warned.mock.calls).toEqual([[CLAIM_NOTICE]])
  expect((await askerOf(here, tenantOf(here), dev, { now })).operator).toMatchObject({
    by: 'rockpool dev',
    key: 'claim',
  })
  await expect(operatorOf(here, tenantOf(here), headers(await token({})), { now })).rejects.toMatchObject({
    code: 'ROCKPOOL_OPERATOR',
  })
})
