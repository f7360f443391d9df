import { expect, test } from 'vitest'
import { credentials } from '../../test/tls/credentials.ts'
import { pipe } from '../../test/tls/pipe.ts'
import { TestServer } from '../../test/tls/server.ts'
import { connectTls } from './connection.ts'
import { GROUPS, SCHEMES, SUITES } from './parameters.ts'

test.each([...SUITES.keys()].flatMap((suite) => [...GROUPS.keys()].map((group) => ({ suite, group }))))('%o', async ({ suite, group }) => {
  const { client, server } = pipe()
  const own = new TestServer(server, await credentials(0x0403), {
    suite,
    group,
    ...(group === 0x0018 ? { retries: [(f) => ({ ...f, extensions: [...f.extensions, [51, new Uint8Array([0, 0x18])]] })] } : {}),
  })
  const accepted = own.accept()
  const socket = await connectTls(client, { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5000) })
  expect((await accepted)?.map(({ type }) => type)).toEqual([20])
  expect(socket).toMatchObject({ suite: SUITES.get(suite)?.name, group: GROUPS.get(group)?.name })
  await own.send(23, new Uint8Array([1, 2, 3]))
  const reader = socket.readable.getReader()
  expect((await reader.read()).value).toEqual(new Uint8Array([1, 2, 3]))
  await socket.writable.getWriter().write(new Uint8Array([4, 5]))
  expect(await own.record()).toEqual({ type: 23, data: new Uint8Array([4, 5]) })
  await socket.close()
  expect(await own.record()).toEqual({ type: 21, data: new Uint8Array([1, 0]) })
  await socket.closed
})
test.each([...SCHEMES.keys()])('%o', async (scheme) => {
  const { client, server } = pipe()
  const own = new TestServer(server, await credentials(scheme))
  const accepted = own.accept()
  await connectTls(client, { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5000) })
  await accepted
})
