import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import { startEdge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

const STREAMS = Number(process.env.ROCKPOOL_STREAMS ?? 1_000)
const CREDIT = 10_000_000

const secret = newSecret()
const syncConfig = `
bucket_definitions:
  all:
    data: [SELECT id FROM items]
`
let postgres: TestPostgres
beforeAll(async () => {
  postgres = await startPostgres()
  await postgres.sql()`create table items (id int primary key)`
  await postgres.sql()`insert into items select generate_series(1, 10)`
})
afterAll(() => postgres?.stop())

/** What a stream has brought: every op, and the last checkpoint that it completed. */
class Stream {
  readonly ids: string[] = []
  checkpoint = 0
  ended: string | null = null
  readonly #socket: WebSocket

  constructor(url: string, bearer: string) {
    this.#socket = new WebSocket(`${url.replace('http', 'ws')}/sync/stream`)
    this.#socket.onopen = () => this.#socket.send(JSON.stringify({ open: {}, token: bearer, credit: CREDIT }))
    this.#socket.onmessage = ({ data }) => this.#line(JSON.parse(String(data)) as SyncLine)
    this.#socket.onclose = ({ code, reason }) => (this.ended ??= `${code} ${reason}`)
  }

  #line(line: SyncLine): void {
    if ('data' in line) this.ids.push(...line.data.data.map((op) => ('object_id' in op ? op.object_id : op.op)))
    else if ('checkpoint_complete' in line) this.checkpoint = Number(line.checkpoint_complete.last_op_id)
  }

  close(): void {
    this.ended = 'closed'
    this.#socket.close()
  }
}

test.each([1, 3])(`${STREAMS} streams over %i relays: every one gets every change once`, async (relays) => {
  const directory = await temporaryDirectory()
  const edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    bindings: { RELAYS: String(relays), SLOT: `relays_${relays}` },
  })
  const streams: Stream[] = []
  try {
    const before = (await postgres.sql()<{ id: string }[]>`select id::text from items order by items.id`).map(
      ({ id }) => id,
    )
    // The streams of one user go to one relay, and are at most 20.
    const bearers = await Promise.all(Array.from({ length: STREAMS / 10 }, (_, n) => token(secret, `user-${n}`)))
    for (let n = 0; n < STREAMS; n += 100) {
      const group = Array.from(
        { length: Math.min(100, STREAMS - n) },
        (_, i) => new Stream(edge.url, bearers[(n + i) % bearers.length] ?? ''),
      )
      streams.push(...group)
      await until(
        'these streams',
        async () => group.every(({ checkpoint }) => checkpoint > 0),
        120,
        () => group.map(({ ended }) => ended),
      )
    }
    const sql = postgres.sql()
    const late: string[] = []
    for (let n = 0; n < 3; n++) {
      const [row] = await sql<{ id: string }[]>`insert into items select max(id) + 1 from items returning id::text`
      late.push(row?.id ?? '')
      const started = performance.now()
      await until('every stream', async () => streams.every(({ ids }) => ids.at(-1) === late.at(-1)), 120)
      console.log(
        `the last of ${STREAMS} streams over ${relays} relays has it after ${(performance.now() - started).toFixed(0)} ms`,
      )
    }
    for (const { ids, ended } of streams) {
      expect(ended).toBeNull()
      expect(ids.slice(0, before.length).sort()).toEqual(before.toSorted())
      expect(ids.slice(before.length)).toEqual(late)
    }
    expect((await statusOf(edge.url, secret)).relays).toBe(relays)
  } finally {
    for (const stream of streams) stream.close()
    await edge.dispose()
    await directory.remove()
  }
})
