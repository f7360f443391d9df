import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token } from '../support/support.ts'
import { ERROR, errorOf, PAYLOAD, REQUEST_STREAM, RSocketClient } from '../wire/rsocket.ts'

// Fragments of a request without a byte in them: only bytes were counted, so 400,000 of them took 175 MB of an isolate.

const secret = newSecret()
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  const syncConfig = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM lists\n'
  // Nothing listens there: what is refused is refused before the database matters.
  const databaseUrl = 'postgres://nobody:secret@127.0.0.1:1/none'
  edge = await startEdge({
    databaseUrl,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
  })
})
afterAll(async () => {
  await edge?.dispose()
  await directory?.remove()
})

test('a request in endless empty fragments is refused at the 65th, and the connection continues', async () => {
  const client = await RSocketClient.open(edge.url)
  client.setup({ token: await token(secret, 'mallory') })
  client.frame(1, REQUEST_STREAM, 0x80, Buffer.from([0, 0, 0, 1]))
  // In pieces: before the token is verified only a few frames may wait.
  client.keepalive()
  await client.until(3)
  await new Promise((resolve) => setTimeout(resolve, 500))
  for (let n = 0; n < 400; n++) client.frame(1, PAYLOAD, 0x80)
  expect(errorOf(await client.until(ERROR))).toMatchObject({
    streamId: 1,
    code: 0x201,
    message: expect.stringMatching(/^\[PSYNC_S2001\] .*64 fragments/),
  })
  client.keepalive(Buffer.from('still here'))
  expect((await client.until(3)).body.subarray(8).toString()).toBe('still here')
  expect(await edge.objectTables('Relay')).toEqual([])
})
