import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nodeKinds } from '../scenarios/node.ts'
import { Setting } from '../scenarios/setting.ts'
import { until, within } from '../support/support.ts'
import { Applied, HttpLines } from '../wire/lines.ts'
import { RSocketClient } from '../wire/rsocket.ts'
import { RawWebSocket } from '../wire/web-socket.ts'

const ROWS = 4_000
const directory = mkdtempSync(join(tmpdir(), 'rockpool-clients-'))
let setting: Setting
let user: string

beforeAll(async () => {
  // One line of a first sync is more than that.
  setting = await Setting.start({ STREAM_MAX_BYTES: '100000', STREAM_MAX_CALLS: '60' })
  user = setting.newUser()
  await setting.postgres.sql()`insert into notes select ${user} || '-' || n, ${user}, repeat('x', 500) from generate_series(1, ${ROWS}::int) n`
  await until('the rows', async () => (await setting.status()).checkpoint >= ROWS)
})
afterAll(async () => {
  await setting?.end()
  rmSync(directory, { recursive: true, force: true })
})

test('a stream whose bytes are used up ends cleanly, after a whole line, on every transport', async () => {
  const lines = await HttpLines.open(setting.edge.url, await setting.token(user), { raw_data: true })
  const applied = new Applied()
  for (;;) {
    const line = await lines.next()
    if (typeof line === 'string') {
      expect(line).toBe('end')
      break
    }
    applied.add(line)
  }
  expect(applied.ops).toBeGreaterThan(0)
  expect(applied.completes).toBe(0)

  const rsocket = await RSocketClient.open(setting.edge.url)
  rsocket.setup({ token: await setting.token(user) })
  rsocket.request(1_000, {})
  let received = 0
  while ((await rsocket.line()) !== null) received++
  expect(received).toBeGreaterThan(1)

  const native = await RawWebSocket.open(setting.edge.url)
  native.send(JSON.stringify({ open: {}, token: await setting.token(user), credit: 1_000_000 }))
  for (;;) {
    const message = await native.next()
    if (typeof message === 'string') continue
    expect(message).toEqual({ closed: 4503, reason: 'PSYNC_S2003' })
    break
  }
})

test('a stream whose calls are used up ends cleanly', async () => {
  const other = setting.newUser()
  const lines = await HttpLines.open(setting.edge.url, await setting.token(other), { raw_data: true })
  await lines.until('checkpoint_complete')
  let ended = false
  const reading = (async () => {
    for (;;) {
      const line = await lines.next()
      if (typeof line === 'string') return line
    }
  })()
  void reading.then(() => (ended = true))
  for (let n = 0; n < 200 && !ended; n++) {
    await setting.postgres.sql()`insert into notes values (${`${other}-${n}`}, ${other}, 'x')`
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(await reading).toBe('end')
})

test.each(nodeKinds(directory))('$name gets everything over many streams', async (kind) => {
  const client = await setting.open(kind, user)
  await client.connect()
  const count = async () => Number((await client.rows('select count(*) as n from notes'))[0]?.n)
  await until(
    'all rows',
    async () => (await count()) === ROWS,
    120,
    async () => [await count(), await client.status()],
  )
  await setting.closeClients()
})

test('SDKs whose streams end before their first line get the reason, and can be closed', async () => {
  const poor = await Setting.start({ STREAM_MAX_CALLS: '1' })
  try {
    for (const kind of nodeKinds(directory)) {
      const client = await poor.open(kind, poor.newUser())
      void client.connect().catch(() => {})
      if (kind.name.includes('RSocket')) {
        const told = async () => (await client.status()).downloadError?.includes('PSYNC_S2003')
        await until(`the reason on ${kind.name}`, told, 60, () => client.status())
      }
      await within(`the end of ${kind.name}`, client.close(), 60)
    }
  } finally {
    await poor.end()
  }
})
