import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { LOOK_FRESH_MS, LOOK_MS } from '../../durable-objects/replicator/source-looks.ts'
import type { Report } from '../../cli/status-report.ts'
import type { OperatorStatus } from '../../protocol/messages/status.ts'
import { startCommand } from '../support/command.ts'
import { Operator } from '../support/deploys.ts'
import { DocsClient } from '../support/docs-client.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, token } from '../support/support.ts'

// `rockpool status` while nobody is connected: what has become of the source is found out when it is asked, and nothing
// is woken by that.

let postgres: TestPostgres
let docs: DocsClient

beforeAll(async () => {
  postgres = await startPostgres()
  docs = new DocsClient(postgres)
  await docs.prepare(5)
  await docs.start({ bindings: { IDLE_POLL_SECONDS: '7200' } })
  await docs.until('an idle tenant', ({ state, session }) => state === 'idle' && session.next !== null)
  await free()
})
afterAll(async () => {
  await docs?.dispose()
  await postgres?.stop()
})

const connections = () => postgres.sql()`select pid from pg_stat_activity where application_name like 'rockpool-%'`
/** Nobody of ours is connected any more. */
async function free(): Promise<void> {
  while ((await connections()).length > 0) await setTimeout(20)
}

/** What was found last is not answered any more. */
const forgotten = () => setTimeout(LOOK_FRESH_MS + 50)

const asked = async () =>
  (await new Operator(() => docs.edge.url, docs.secret).ask<OperatorStatus>('GET', 'status')).data

async function command(...args: string[]): Promise<{ code: number | null; report: Report }> {
  const ROCKPOOL_TOKEN = await token(docs.secret, 'ops', 60, { operator: true }, AUDIENCE)
  const run = startCommand(process.execPath, ['cli/rockpool.mjs', 'status', docs.edge.url, '--json', ...args], {
    ...process.env,
    ROCKPOOL_TOKEN,
  })
  const code = await run.ended
  return { code, report: JSON.parse(run.output) }
}

test('an idle replicator is looked at without being woken, once for all who ask', async () => {
  const before = await docs.status()
  expect(before.source.look).toBeNull()
  const { code, report } = await command()
  expect([code, report.problems, report.replication.state, report.tables.followed, report.config?.number]).toEqual([
    0,
    [],
    'idle',
    1,
    1,
  ])
  expect(report.source).toMatchObject({
    host: `127.0.0.1:${postgres.port}`,
    reachable: true,
    version: expect.stringMatching(/^18\./),
  })
  expect(report.slot).toMatchObject({ name: 'rockpool', walStatus: 'reserved', limitBytes: 10 * 1024 ** 3 })
  // One bucket with everything in it.
  expect([report.buckets, report.streams]).toEqual([1, 0])
  await forgotten()
  const all = await Promise.all([asked(), asked(), asked()])
  expect(new Set(all.map(({ source }) => source.look?.at)).size).toBe(1)
  await free()
  const after = await docs.status()
  expect([after.state, after.session, after.written.rows]).toEqual(['idle', before.session, before.written.rows])
})

test('Postgres that was stopped since is told now, and not with the next poll', async () => {
  await forgotten()
  await postgres.stopServer()
  const { code, report } = await command()
  expect([code, report.replication.state, report.source.reachable]).toEqual([1, 'idle', false])
  expect(report.problems).toMatchObject([
    { code: 'ROCKPOOL_SOURCE_UNREACHABLE', next: expect.stringContaining('is Postgres up') },
  ])
  await postgres.startServer()
})

test('one that takes connections and says nothing is given up soon', async () => {
  await forgotten()
  const [pid = ''] = (await readFile(join(postgres.data, 'postmaster.pid'), 'utf8')).split('\n')
  process.kill(Number(pid), 'SIGSTOP')
  try {
    const { source } = await asked()
    expect(source.look).toMatchObject({ reachable: false, problem: { code: 'ROCKPOOL_SOURCE_UNREACHABLE' } })
    expect(source.look?.ms).toBeLessThan(2 * LOOK_MS)
    expect(source.look?.problem?.message).toMatch(/did not answer for 5 s/)
  } finally {
    process.kill(Number(pid), 'SIGCONT')
  }
})

test('so is a slot that was dropped; who watches changes nothing, and the next session mends it', async () => {
  await forgotten()
  await postgres.sql()`select pg_drop_replication_slot('rockpool')`
  const { code, report } = await command()
  expect([code, report.replication.state, report.slot]).toEqual([1, 'idle', null])
  expect(report.problems).toMatchObject([{ code: 'ROCKPOOL_SLOT_LOST', message: expect.stringContaining('rockpool') }])
  expect(await postgres.sql()`select 1 from pg_replication_slots`).toEqual([])
  await docs.connect()
  await docs.exact()
  await forgotten()
  const live = await asked()
  expect([live.state, live.source.look?.problem, live.slot?.name, live.openStreams]).toEqual([
    'live',
    null,
    'rockpool',
    1,
  ])
  // Those of the session, two for statements and the stream: none was opened for the look.
  expect((await connections()).length).toBeLessThanOrEqual(3)
})
