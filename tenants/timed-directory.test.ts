import { expect, test } from 'vitest'
import type { TenantDirectory } from './directory.ts'
import { DIRECTORY, directoryOf } from './of-environment.ts'
import { SingleTenant } from './single.ts'
import { tenantOfObject } from './of-object.ts'
import { tenantOfRequest } from './of-request.ts'

const never = (): Promise<never> => new Promise(() => {})
/** It names one tenant and then answers nothing more. */
const silent: TenantDirectory = {
  find: never,
  nameFor: never,
  secret: never,
  compaction: never,
  async *names() {
    yield 'first'
    await never()
  },
}
const unanswered = expect.objectContaining({
  code: 'ROCKPOOL_UNANSWERED',
  message: 'the directory of tenants did not answer for 0.1 s',
})

test('a directory that does not answer is waited for as long as an object is', async () => {
  const env = { CALL_SECONDS: '0.1', [DIRECTORY]: silent }
  await expect(tenantOfRequest(env, new Request('https://first.example'))).rejects.toEqual(unanswered)
  await expect(tenantOfObject(env, 'first').find()).rejects.toEqual(unanswered)
  await expect(tenantOfObject(env, 'first').secret('source.url')).rejects.toEqual(unanswered)
  await expect(tenantOfObject(env, 'first').compaction()).rejects.toEqual(unanswered)
  const names: string[] = []
  const listing = async () => {
    for await (const name of directoryOf(env).names()) names.push(name)
  }
  await expect(listing()).rejects.toEqual(unanswered)
  expect(names).toEqual(['first'])
})

test('what it answers, and what it throws, comes through', async () => {
  const env = { CALL_SECONDS: '0.1', [DIRECTORY]: new SingleTenant({ DATABASE_URL: 'postgres://a@b/c' }, 'bundled') }
  const names: string[] = []
  for await (const name of directoryOf(env).names()) names.push(name)
  expect(names).toEqual(['default'])
  expect((await tenantOfRequest(env, new Request('https://any.example'))).name).toBe('default')
  expect(await tenantOfObject(env, 'default').secret('source.url')).toBe('postgres://a@b/c')
  await expect(tenantOfObject(env, 'other').find()).rejects.toMatchObject({ code: 'ROCKPOOL_SETTINGS' })
})
