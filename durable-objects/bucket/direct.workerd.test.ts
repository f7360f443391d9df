import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { expect, test, vi } from 'vitest'
import { directUrl } from './direct-request.ts'
import { page, put, Replica } from './test-ops.ts'

interface Frame {
  ops?: object[]
  checkpoint?: { op_id: string; checksum: number; count: number }
  error?: { code: string }
}

const soon = () => Math.floor(Date.now() / 1_000) + 3_600

/** A client of one direct stream, as our Worker lets it in: acknowledges everything, checks every checkpoint. */
class Client {
  readonly frames: Frame[] = []
  readonly replica = new Replica()
  closed: number | null = null
  #wake: () => void = () => {}

  static async open(bucket: string, expires = soon(), acknowledges = true): Promise<Client> {
    const stub = env.BUCKET.getByName(`default/${bucket}`)
    const response = await stub.fetch(directUrl({ bucket, after: 0, expires, plan: '' }), {
      headers: { upgrade: 'websocket' },
    })
    const socket = response.webSocket
    if (!socket) throw new Error(`answered ${response.status}`)
    const client = new Client()
    socket.accept()
    socket.addEventListener('message', ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame
      client.frames.push(frame)
      client.replica.apply((frame.ops ?? []).map((op) => JSON.stringify(op)).join(','), Infinity)
      if (frame.checkpoint) expect(client.replica.checksum | 0).toBe(frame.checkpoint.checksum)
      if (acknowledges && !frame.error) socket.send(JSON.stringify({ ack: client.frames.length }))
      client.#wake()
    })
    socket.addEventListener('close', ({ code }) => {
      client.closed = code
      client.#wake()
    })
    return client
  }

  async until(what: (client: Client) => boolean): Promise<void> {
    while (!what(this)) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  checkpoint(id: number): Promise<void> {
    return this.until(({ frames }) => frames.at(-1)?.checkpoint?.op_id === String(id))
  }
}

const replicator = () => env.REPLICATOR.getByName('default')

/** As a commit does: stored, and not published. */
async function commit(checkpoint: number): Promise<void> {
  await runInDurableObject(replicator(), (_instance, state) => {
    const row = state.storage.sql.exec("SELECT value FROM state WHERE key = 'commit'").toArray()[0]
    const value = { ...(JSON.parse(String(row?.value ?? '{}')) as object), committed: checkpoint, plan: '' }
    state.storage.sql.exec("INSERT OR REPLACE INTO state VALUES ('commit', ?)", JSON.stringify(value))
  })
  await evictDurableObject(replicator())
}

const append = (bucket: string, id: number, data: string) =>
  env.BUCKET.getByName(`default/${bucket}`).append({ v: 1, committed: id - 1, ...page(id, put(`r${id % 3}`, data)) })

test('a replicator that is gone between a commit and its publication publishes when it comes back: nobody is left waiting', async () => {
  await commit(1)
  await append('news', 1, '{"n":1}')
  const client = await Client.open('news')
  await client.checkpoint(1)
  await append('news', 2, '{"n":2}')
  await commit(2)
  // Whatever wakes it: its alarm, the cron, a client.
  await replicator().committed({ v: 1 })
  await client.checkpoint(2)
  expect(client.replica.content).toBe('[["r1","{\\"n\\":1}"],["r2","{\\"n\\":2}"]]')
})

test('sockets survive hibernation: the attachment knows how far each one is', async () => {
  await commit(3)
  const client = await Client.open('sleepy')
  await client.checkpoint(3)
  const bucket = env.BUCKET.getByName('default/sleepy')
  await evictDurableObject(bucket, { webSockets: 'hibernate' })
  await append('sleepy', 4, '{"n":4}')
  expect(await bucket.publish({ v: 1, checkpoint: 4, plan: '' })).toEqual({ none: false })
  await client.checkpoint(4)
  await evictDurableObject(bucket, { webSockets: 'hibernate' })
  await append('sleepy', 5, '{"n":5}')
  await bucket.publish({ v: 1, checkpoint: 5, plan: '' })
  await client.checkpoint(5)
  expect(client.frames.map(({ ops }) => ops?.length)).toEqual([0, 1, 1])
})

test('when a token expires the alarm closes its socket, and only that', async () => {
  await commit(6)
  // At least a second: one that has expired already is refused, and is another test.
  const short = await Client.open('expiring', Math.floor(Date.now() / 1_000) + 2)
  const long = await Client.open('expiring')
  await short.until(({ closed }) => closed !== null)
  expect(short.closed).toBe(4401)
  expect(short.frames.at(-1)).toMatchObject({ error: { code: 'PSYNC_S2103' } })
  expect(long.closed).toBeNull()
  const alarm = await runInDurableObject(env.BUCKET.getByName('default/expiring'), (_instance, state) =>
    state.storage.getAlarm(),
  )
  expect(alarm).toBeGreaterThan(Date.now() + 3_000_000)
})

test('compaction under an open stream: it stays right, and a new one gets less', async () => {
  await commit(10)
  const client = await Client.open('busy')
  await client.checkpoint(10)
  const bucket = env.BUCKET.getByName('default/busy')
  for (let id = 11; id <= 60; id++) {
    await append('busy', id, JSON.stringify({ id, x: 'x'.repeat(20_000) }))
    await bucket.publish({ v: 1, checkpoint: id, plan: '' })
  }
  await client.checkpoint(60)
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  await append('busy', 61, '{"n":61}')
  await commit(61)
  await replicator().committed({ v: 1 })
  await client.checkpoint(61)
  const fresh = await Client.open('busy')
  await fresh.checkpoint(61)
  expect(fresh.replica.content).toBe(client.replica.content)
  expect(fresh.frames.flatMap(({ ops }) => ops ?? []).length).toBeLessThan(10)
})

test('I8: a client that does not acknowledge gets a quarter of a megabyte and one page more, of a bucket of 4 MB', async () => {
  await commit(300)
  for (let n = 0; n < 40; n++) {
    const ops = Array.from({ length: 5 }, (_, i) => put(`r${n}-${i}`, JSON.stringify({ x: 'x'.repeat(20_000) })))
    await env.BUCKET.getByName('default/slow').append({ v: 1, committed: 0, ...page(n * 5 + 1, ...ops) })
  }
  const slow = await Client.open('slow', soon(), false)
  const quick = await Client.open('slow')
  await quick.checkpoint(300)
  const length = (client: Client) => client.frames.reduce((sum, frame) => sum + JSON.stringify(frame).length, 0)
  expect(length(quick)).toBeGreaterThan(4_000_000)
  expect(length(slow)).toBeLessThan(256 * 1024 + 110_000)
  expect(slow.closed).toBeNull()
})

test('only our own Worker reaches it, and only by a WebSocket', async () => {
  const bucket = env.BUCKET.getByName('default/plain')
  expect((await bucket.fetch('https://bucket/direct?bucket=plain')).status).toBe(426)
  expect((await bucket.fetch('https://bucket/other', { headers: { upgrade: 'websocket' } })).status).toBe(426)
})

test('a publication that is overdue is asked for by the alarm, and again until it has come', async () => {
  await commit(400)
  const client = await Client.open('overdue')
  await client.checkpoint(400)
  const bucket = env.BUCKET.getByName('default/overdue')
  await append('overdue', 401, '{"n":401}')
  // The replicator has died behind this, and nobody but the bucket will wake it.
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  const again = () => runInDurableObject(bucket, (_instance, state) => state.storage.getAlarm())
  expect(await again()).toBeLessThan(Date.now() + 60_000)
  await commit(401)
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  await client.checkpoint(401)
  // Nothing is waited for any more: the next alarm is for the token.
  await runDurableObjectAlarm(bucket)
  expect(await again()).toBeGreaterThan(Date.now() + 600_000)
})

test('asleep, a bucket still knows its name: what is overdue is asked for, and watched, under it', async () => {
  await commit(500)
  const client = await Client.open('overslept')
  await client.checkpoint(500)
  const watched = () =>
    runInDurableObject(replicator(), (_instance, state) =>
      state.storage.sql.exec('SELECT bucket FROM watchers').toArray().flatMap(Object.values),
    )
  // A replicator whose storage began anew watches nobody.
  await runInDurableObject(replicator(), (_instance, state) => void state.storage.sql.exec('DELETE FROM watchers'))
  await evictDurableObject(replicator())
  const bucket = env.BUCKET.getByName('default/overslept')
  await evictDurableObject(bucket, { webSockets: 'hibernate' })
  await append('overslept', 501, '{"n":501}')
  expect(await runDurableObjectAlarm(bucket)).toBe(true)
  await vi.waitFor(async () => expect(await watched()).toEqual(['overslept']))
  await commit(501)
  await replicator().committed({ v: 1 })
  await client.checkpoint(501)
})
