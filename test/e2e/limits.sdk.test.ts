import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token } from '../support/support.ts'

const secret = newSecret()
const syncConfig = `
bucket_definitions:
  mine:
    parameters: SELECT value AS list FROM json_each(request.jwt() -> 'lists')
    data: [SELECT id FROM lists WHERE id = bucket.list]
`
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql()`create table lists (id text primary key)`
  const settings = {
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
  }
  edge = await startEdge({ ...settings, bindings: { MAX_BUCKETS: '2' } })
})
afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

interface Line {
  checkpoint?: { buckets: unknown[] }
  error?: { code: string; message: string }
}

/** The first line that says how many buckets the client has, or why it has none. */
async function firstWord(lists: string[]): Promise<Line> {
  const open = JSON.stringify({ open: {}, token: await token(secret, 'alice', 600, { lists }), credit: 100_000 })
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/sync/stream`)
    socket.onopen = () => socket.send(open)
    socket.onmessage = ({ data }) => {
      const line: Line = JSON.parse(String(data))
      if (!line.checkpoint && !line.error) return
      resolve(line)
      socket.close()
    }
    socket.onclose = () => reject(new Error('the socket closed without a word'))
  })
}

test('the limits of the bindings hold for a stream, and the client hears which one it passed', async () => {
  expect((await firstWord(['a', 'b'])).checkpoint?.buckets).toHaveLength(2)
  expect((await firstWord(['a', 'b', 'c'])).error).toMatchObject({
    code: 'PSYNC_S2305',
    message: expect.stringMatching(/more than 2 buckets.*MAX_BUCKETS/),
  })
})
