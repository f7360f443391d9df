import { createServer } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { OperatorStatus, SlotStatus } from '../protocol/messages/status.ts'
import { status } from './status.ts'
import { reportOf } from './status-report.ts'
import { statusText } from './status-text.ts'

// The file is long because each state has its own screen, made from one status.

const AT = '2026-11-29T12:00:00.000Z'
const slot: SlotStatus = {
  name: 'rockpool',
  measured: AT,
  level: 'ok',
  overs: 0,
  walStatus: 'reserved',
  retainedBytes: 12 * 1024 ** 2,
  lagBytes: 300 * 1024,
  safeWalBytes: null,
  maxKeepBytes: null,
}
const look = { at: AT, ms: 12, reachable: true, version: '18.1', problem: null }
const source = (change: Partial<NonNullable<OperatorStatus['source']['look']>> = {}): OperatorStatus['source'] => ({
  kind: 'postgres',
  position: '0/16B3748',
  lag: { bytes: 0 },
  health: slot,
  settings: {
    host: 'db.example:5432',
    database: 'app',
    slot: 'rockpool',
    walKeepBytes: 10 * 1024 ** 3,
    walPolicy: 'keep',
  },
  look: { ...look, ...change },
})

function healthy(change: Partial<OperatorStatus> = {}): OperatorStatus {
  return {
    tenant: 'default',
    state: 'live',
    checkpoint: 1234,
    plan: 'abc',
    lsn: '0/16B3748',
    lagBytes: 0,
    lastCommit: '2026-11-29T11:57:00.000Z',
    source: source(),
    copy: null,
    comparing: null,
    verify: null,
    relays: 1,
    openStreams: 3,
    buckets: 1200,
    slot,
    pendingBatches: 0,
    failingBuckets: [],
    fencedBuckets: [],
    followedTables: 12,
    deploy: {
      serving: {
        number: 7,
        origin: 'rollback',
        state: 'serving',
        plan: 'abc',
        created: AT,
        served: '2026-11-29T09:00:00.000Z',
        retired: null,
        error: null,
        copy: [],
        by: 'ann',
      },
      next: null,
      failed: null,
      progress: null,
      dropping: 0,
    },
    session: { since: AT, count: 1, changes: 0, next: null, failures: 0, idlePolls: 0 },
    refusedTables: [],
    skippedRows: { count: 0, recent: [] },
    diagnostics: { counts: {}, recent: [] },
    error: null,
    held: { changes: 0, peakChanges: 0, sending: 0, peakSending: 0 },
    written: { changes: 0, batches: 0, rows: 0, appends: 0 },
    placement: { location: null, jurisdiction: null },
    notes: [],
    ...change,
  }
}
const plain = (_: number, text: string) => text
const shown = (change: Partial<OperatorStatus> = {}) =>
  statusText(reportOf(healthy(change), 'https://sync.example'), plain)
const idle = {
  state: 'idle',
  session: { ...healthy().session, since: null, next: '2026-11-29T12:42:00.000Z' },
} as const

describe('one screen', () => {
  test('a Postgres that waits for a standby is reported as such', () => {
    expect(shown({ slot: { ...slot, awaitedStandbys: 'standby_b' } })).toMatch(
      /wal_status reserved; Postgres waits for a standby \(synchronized_standby_slots: standby_b\)/,
    )
  })

  test('when all is well', () => {
    expect(shown()).toBe(
      [
        'https://sync.example  well',
        '',
        'source       postgres 18.1 at db.example:5432/app, answers (12 ms)',
        'slot         rockpool keeps 12 MB of WAL of 10 GB (WAL_KEEP_GB), 300 KB not read; wal_status reserved',
        'replication  live: changes arrive at once',
        'checkpoint   1,234; the last transaction is 3 min old',
        'tables       12 followed',
        'buckets      1,200',
        'streams      3 open',
        'config       deploy 7 serves since 2026-11-29T09:00:00.000Z (3 h ago), a rollback, by ann',
      ].join('\n'),
    )
  })

  test('a refused session: why, how often, when it is tried again, and what to do', () => {
    const error = { code: 'ROCKPOOL_SOURCE_SETTINGS', message: 'wal_level is replica, it must be logical' } as const
    const text = shown({
      state: 'refused',
      error,
      slot: null,
      source: source({ problem: error }),
      session: { ...healthy().session, since: null, failures: 4, next: '2026-11-29T12:00:31.000Z' },
    })
    expect(text).toContain('https://sync.example  1 problem\n')
    expect(text).toContain('source       postgres 18.1 at db.example:5432/app, answers (12 ms)\nslot         none\n')
    expect(text).toContain(
      'replication  refused: ROCKPOOL_SOURCE_SETTINGS: wal_level is replica, it must be logical (4 sessions in a row); the next session begins in 31 s\n',
    )
    expect(text).toContain(
      'problem      ROCKPOOL_SOURCE_SETTINGS: wal_level is replica, it must be logical\n             → do what the message says; it is tried again by itself',
    )
  })

  test('when it is idle and Postgres is down', () => {
    const problem = { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'db.example:5432 refuses' } as const
    const text = shown({ ...idle, source: source({ reachable: false, version: null, problem }) })
    expect(text).toContain('source       postgres at db.example:5432/app, does not answer\n')
    expect(text).toContain('wal_status reserved, when it was measured last\n')
    expect(text).toContain('replication  idle: nobody is connected; the next session begins in 42 min\n')
    expect(text).toContain(
      'problem      ROCKPOOL_SOURCE_UNREACHABLE: db.example:5432 refuses\n             → is Postgres up, ',
    )
  })

  test('when the slot is lost', () => {
    const problem = { code: 'ROCKPOOL_SLOT_LOST', message: 'the slot rockpool: the slot was missing' } as const
    const text = shown({ ...idle, slot: null, source: source({ problem }) })
    expect(text).toContain('slot         none\n')
    expect(text).toContain(
      'problem      ROCKPOOL_SLOT_LOST: the slot rockpool: the slot was missing\n             → the next session makes',
    )
  })

  test('copied and refused tables, a deploy in progress, and recorded problems', () => {
    const table = { state: 'copying', block: 1, blocks: 2, rows: 10 } as const
    const noted = {
      code: 'ROCKPOOL_ROW_SKIPPED',
      table: 'public.a',
      key: '1',
      reason: 'too \u001b[2Jlarge',
      first: AT,
      count: 3,
    } as const
    const text = shown({
      copy: { tables: [{ ...table, table: 'public.todos', progress: 0.43 }], waitingFor: 'a lock' },
      refusedTables: Array.from({ length: 7 }, (_, i) => ({ table: `public.t${i}`, reason: 'no key' })),
      diagnostics: { counts: { ROCKPOOL_ROW_SKIPPED: 9 }, recent: [{ ...noted, last: '2026-11-29T10:00:00.000Z' }] },
    })
    expect(text).toContain('tables       12 followed; 1 copying (waits for a lock): public.todos 43 %; 7 refused\n')
    expect(text).toContain('problem      ROCKPOOL_TABLE_REFUSED: public.t0: no key\n')
    expect(text).toContain('… and 2 further ones (--json)\n')
    expect(text).toContain('noted        ROCKPOOL_ROW_SKIPPED 9 times, last 2 h ago: public.a: too \ufffd[2Jlarge')
  })

  test('problems of a replaced sync config are shown last, and marked', () => {
    const noted = { code: 'ROCKPOOL_ROW_SKIPPED', table: 'public.a', key: '1', first: AT, last: AT, count: 3 } as const
    const old = { ...noted, reason: 'of the old one', replaced: true } as const
    const counts = { ROCKPOOL_ROW_SKIPPED: 9 }
    expect(shown({ diagnostics: { counts, recent: [old, { ...noted, reason: 'of now' }] } })).toMatch(
      /: public\.a: of now$/m,
    )
    expect(shown({ diagnostics: { counts, recent: [old] } })).toMatch(
      /: public\.a: of the old one \(of a sync config that was replaced and serves nobody\)$/m,
    )
  })

  test('recorded problems that are over do not count, present ones do', () => {
    const problems = (change: Partial<OperatorStatus>) =>
      reportOf(healthy(change), 'u').problems.map(({ code }) => code)
    expect(problems({ diagnostics: { counts: { ROCKPOOL_SOURCE_UNREACHABLE: 3 }, recent: [] } })).toEqual([])
    expect(problems({ slot: { ...slot, level: 'over' } })).toEqual(['ROCKPOOL_WAL_KEPT'])
    expect(problems({ fencedBuckets: [{ bucket: 'b', since: AT, state: 'silent' }] })).toEqual([
      'ROCKPOOL_BUCKET_FENCED',
    ])
    const error = { code: 'ROCKPOOL_SYNC_CONFIG', message: 'line 4' }
    const serving = healthy().deploy.serving
    const failed = serving && { ...serving, number: 8, state: 'failed' as const, error }
    expect(problems({ deploy: { ...healthy().deploy, failed } })).toEqual(['ROCKPOOL_SYNC_CONFIG'])
  })
})

describe('the command', () => {
  async function run(answer: { status: number; body: unknown }, ...args: string[]) {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers.authorization}`)
      response.writeHead(answer.status).end(JSON.stringify(answer.body))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
    const address = server.address()
    const url = `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`
    let output = ''
    const stop = new AbortController()
    const out = (text: string) => {
      output += text
      if (args.includes('--watch') && asked.length >= 2) stop.abort()
    }
    const code = await status(
      [url, '--token', 'x', ...args],
      { out, interactive: false, colour: false },
      stop.signal,
    ).finally(() => server.close())
    return { code, output, asked, url }
  }
  const refusal = {
    status: 403,
    body: { error: { code: 'ROCKPOOL_OPERATOR', description: 'no operator', status: 403, name: 'RockpoolError' } },
  }

  test('ends with 0 when all is well, with 1 when there is a problem, with 2 when it is refused', async () => {
    const well = await run({ status: 200, body: { data: healthy() } })
    expect([well.code, well.output, well.asked]).toEqual([
      0,
      expect.stringContaining(`${well.url}  well\n`),
      ['GET /admin/status Token x'],
    ])
    const refused = [{ table: 'public.a', reason: 'no key' }]
    expect((await run({ status: 200, body: { data: healthy({ refusedTables: refused }) } })).code).toBe(1)
    const no = await run(refusal)
    expect([no.code, no.output]).toEqual([2, 'ROCKPOOL_OPERATOR: no operator\n'])
    const description = 'no \u001b]0;title\u0007'
    const odd = await run({ status: 403, body: { error: { ...refusal.body.error, description } } })
    expect(odd.output).toBe('ROCKPOOL_OPERATOR: no \ufffd]0;title\ufffd\n')
  })

  test('--json is for programs', async () => {
    const well = await run({ status: 200, body: { data: healthy() } }, '--json')
    expect(JSON.parse(well.output)).toEqual({
      ok: true,
      url: well.url,
      at: AT,
      problems: [],
      buckets: 1200,
      streams: 3,
      deploying: null,
      noted: [],
      notes: [],
      source: {
        kind: 'postgres',
        host: 'db.example:5432',
        database: 'app',
        version: '18.1',
        reachable: true,
        milliseconds: 12,
      },
      slot: {
        name: 'rockpool',
        walStatus: 'reserved',
        retainedBytes: 12_582_912,
        limitBytes: 10_737_418_240,
        lagBytes: 307_200,
        awaitedStandbys: null,
      },
      replication: { state: 'live', reason: null, failures: 0, nextSession: null },
      checkpoint: { number: 1234, committed: '2026-11-29T11:57:00.000Z', comparing: null, ageSeconds: 180 },
      tables: { followed: 12, copying: [], waitingFor: null, refused: [] },
      config: { number: 7, origin: 'rollback', since: '2026-11-29T09:00:00.000Z', by: 'ann', plan: 'abc' },
    })
    expect(JSON.parse((await run(refusal, '--json')).output)).toMatchObject({
      ok: false,
      error: { code: 'ROCKPOOL_OPERATOR' },
    })
  })

  test('--watch redraws until it is ended, also while the edge cannot be asked', async () => {
    const well = await run(
      { status: 200, body: { data: healthy({ refusedTables: [{ table: 'a', reason: 'b' }] }) } },
      '--watch',
    )
    expect([well.code, well.asked.length, well.output.match(/1 problem/g)?.length]).toEqual([0, 2, 2])
    expect((await run(refusal, '--watch')).output).toBe('ROCKPOOL_OPERATOR: no operator\n\n'.repeat(2))
    await expect(run(refusal, '--watch', '--json')).rejects.toThrow(/use one of them/)
  })

  test('an older Rockpool, two addresses', async () => {
    const body = {
      error: { code: 'PSYNC_S2002', description: 'there is no GET /admin/status', status: 404, name: 'RockpoolError' },
    }
    expect((await run({ status: 404, body })).output).toMatch(/older than this command/)
    await expect(run(refusal, 'https://other.example')).rejects.toThrow(/one address/)
  })
})
