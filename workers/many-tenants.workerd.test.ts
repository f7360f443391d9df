import { createExecutionContext, env, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { SignJWT } from 'jose'
import { beforeAll, expect, test } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { app } from './app.ts'
import { scheduled } from './routes/replication.ts'

// A thousand tenants in the real Directory; every call of it, and of other objects, is counted.

const TENANTS = 1_000
const v = MESSAGE_VERSION
const TENANT_KEYS = `one:${Buffer.alloc(32, 1).toString('base64url')}`
const key = Buffer.alloc(32, 9)
const directory = env.DIRECTORY.getByName('directory')
let calls: string[] = []

const counted = <T extends object>(binding: string, namespace: T, of: (name: string) => object): T =>
  new Proxy(namespace, {
    get: () => (name: string) =>
      new Proxy(of(name), {
        get:
          (stub, method) =>
          (...args: unknown[]) => {
            calls.push(`${binding}.${String(method)}${binding === 'REPLICATOR' ? ` ${name}` : ''}`)
            const call: unknown = Reflect.get(stub, method)
            if (typeof call === 'function') return Reflect.apply(call, stub, args) as unknown
            return Promise.resolve()
          },
      }),
  })

// What an isolate knows is kept by its namespace, so there is one for all requests.
const environment: Environment = {
  ...env,
  REPLICATOR: counted('REPLICATOR', env.REPLICATOR, () => ({})),
  DIRECTORY: counted('DIRECTORY', env.DIRECTORY, () => directory),
  TENANT_KEYS,
  OPERATOR_KEYS: JSON.stringify({ keys: [{ kty: 'oct', k: key.toString('base64url') }] }),
  OPERATOR_AUDIENCE: 'operators',
}

const names = Array.from({ length: TENANTS }, (_, n) => `tenant-${n}`)

async function create(name: string, authorization: string): Promise<void> {
  const body = {
    secrets: {
      DATABASE_URL: `postgres://me:x@${name}.example/app`,
      JWT_SECRET: Buffer.alloc(32, name).toString('base64url'),
    },
  }
  const headers = { authorization, 'content-type': 'application/json', 'x-rockpool-admin': '1', 'if-none-match': '*' }
  const context = createExecutionContext()
  const request = new Request(`https://sync.example/admin/tenants/${name}`, {
    method: 'PUT',
    headers,
    body: JSON.stringify(body),
  })
  const { status } = await app.fetch(request, environment, context)
  await waitOnExecutionContext(context)
  expect([name, status]).toEqual([name, 201])
}

beforeAll(async () => {
  // The keys are a binding of the script, and tests have none of it.
  const give = (object: object) => void Object.assign(Reflect.get(object, 'env') as object, { TENANT_KEYS })
  await runInDurableObject(directory, give)
  const signed = await new SignJWT({ sub: 'ann' })
    .setProtectedHeader({ alg: 'HS256', typ: 'rockpool-operator+jwt' })
    .setAudience('operators')
    .setIssuedAt()
    .setExpirationTime('15m')
    .sign(key)
  const began = Date.now()
  let longest = 0
  for (const name of names) {
    const before = Date.now()
    await create(name, `Token ${signed}`)
    longest = Math.max(longest, Date.now() - before)
  }
  console.log(`${TENANTS} tenants in ${Date.now() - began} ms, the longest in ${longest} ms`)
}, 300_000)

test('a minute of a thousand idle tenants is one call of the Directory', async () => {
  for (const name of names) await directory.heard({ v, name, due: Date.now() + 3_600_000 })
  calls = []
  await scheduled(environment)
  expect(calls).toEqual(['DIRECTORY.overdue'])
})

test('beside it one call for each tenant that is overdue, whose records are asked for once', async () => {
  const overdue = names.slice(0, 7)
  for (const name of overdue) await directory.heard({ v, name, due: Date.now() - 1 })
  const wakes = overdue.map((name) => `REPLICATOR.wake ${name}`)
  calls = []
  await scheduled(environment)
  expect(calls.filter((call) => call.startsWith('REPLICATOR')).sort()).toEqual(wakes.sort())
  expect(calls.filter((call) => call === 'DIRECTORY.overdue')).toEqual(['DIRECTORY.overdue'])
  expect(calls.filter((call) => call === 'DIRECTORY.record').length).toBeLessThanOrEqual(overdue.length)
  calls = []
  await scheduled(environment)
  expect(calls.sort()).toEqual(['DIRECTORY.overdue', ...wakes].sort())
})

test('any number of requests of strangers at names that are no tenants costs one list of names', async () => {
  calls = []
  for (let n = 0; n < 2_000; n++) {
    const context = createExecutionContext()
    const { status } = await app.fetch(new Request(`https://sync.example/t/nobody-${n}/status`), environment, context)
    expect(status).toBe(404)
  }
  expect(calls.filter((call) => call !== 'DIRECTORY.names')).toEqual([])
  expect(calls.length).toBeLessThanOrEqual(2)
})
