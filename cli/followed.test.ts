import { describe, expect, test } from 'vitest'
import type { ConfigsAnswer, ConfigStatus } from '../protocol/messages/admin.ts'
import type { ReplicatorState } from '../protocol/messages/status.ts'
import { servesOther, Teller } from './followed.ts'

const seen = (state: ReplicatorState, code?: string, refusedTables: { table: string; reason: string }[] = []) => ({
  state,
  error: code === undefined ? null : { code, message: 'the\u001b reason' },
  refusedTables,
})
const REASON = 'ROCKPOOL_SOURCE_SETTINGS: the\ufffd reason. It is tried again'

describe('what is reported of replication', () => {
  test('ready when it is live, or was read and no client is connected; each thing once', () => {
    for (const state of ['live', 'idle'] as const) {
      const teller = new Teller('http://x')
      expect(teller.tell(seen('starting'))).toEqual([])
      expect(teller.tell(seen('copying'))).toEqual(['source     copying the tables …'])
      expect(teller.tell(seen('copying'))).toEqual([])
      expect(teller.ready).toBe(false)
      expect(teller.tell(seen(state))).toEqual(['source     copied, serving', 'ready http://x'])
      expect(teller.tell(seen(state))).toEqual([])
      expect(teller.ready).toBe(true)
    }
  })

  test('why it is not, with the code, and when that is another reason', () => {
    const teller = new Teller('http://x')
    for (const state of ['starting', 'retrying', 'refused'] as const)
      expect(teller.tell(seen(state, 'ROCKPOOL_SOURCE_SETTINGS'))).toEqual(
        state === 'starting' ? [`not ready  the source is not followed: ${REASON}`] : [],
      )
    const refusal = { name: 'RockpoolError', code: 'PSYNC_S2201', status: 401, description: 'JWT_KEYS: no' } as const
    expect(teller.tell({ refusal })).toEqual([
      'not ready  the source is not followed: PSYNC_S2201: JWT_KEYS: no. It is tried again',
    ])
    expect(teller.tell(seen('live'))).toEqual(['ready http://x'])
  })

  test('later problems, and their end', () => {
    const teller = new Teller('http://x')
    teller.tell(seen('live'))
    expect(teller.tell(seen('retrying', 'ROCKPOOL_SOURCE_SETTINGS'))).toEqual([
      `source     it is not followed any more: ${REASON}`,
    ])
    expect(teller.tell(seen('retrying', 'ROCKPOOL_SOURCE_SETTINGS'))).toEqual([])
    expect(teller.tell(seen('starting'))).toEqual([])
    expect(teller.tell(seen('live'))).toEqual(['source     it is followed again'])
    // A poll of which nothing is known yet.
    expect([teller.tell(seen('starting')), teller.tell(seen('idle'))]).toEqual([[], []])
  })

  test('the end of a copy, with the number of rows', () => {
    const teller = new Teller('http://x')
    const table = (name: string, state: 'copying' | 'done', rows: number) => ({
      table: name,
      state,
      block: 0,
      blocks: 1,
      rows,
      progress: 0,
    })
    const tables = [table('public.a', 'copying', 5), table('public.b', 'done', 100)]
    expect(teller.tell({ ...seen('copying'), copy: { tables, waitingFor: null } })).toEqual([
      'source     copying the tables …',
    ])
    const after = [table('public.a', 'done', 1_234), table('public.b', 'done', 100)]
    expect(teller.tell({ ...seen('live'), tables: after })).toEqual([
      'source     copied 1,234 rows, serving',
      'ready http://x',
    ])
    expect(teller.tell({ ...seen('live'), tables: after })).toEqual([])
  })

  test('tables that are refused, whenever they change', () => {
    const teller = new Teller('http://x')
    const table = { table: 'public.a', reason: 'no key' }
    expect(teller.tell(seen('live', undefined, [table]))).toEqual([
      'source     table public.a cannot be followed: no key',
      'ready http://x',
    ])
    // The next session does not know yet.
    expect(teller.tell(seen('starting'))).toEqual([])
    expect(teller.tell(seen('idle', undefined, [table]))).toEqual([])
    const other = { table: 'public.a', reason: 'no right' }
    expect(teller.tell(seen('live', undefined, [other]))).toEqual([
      'source     table public.a cannot be followed: no right',
    ])
    expect(teller.tell(seen('live'))).toEqual(['source     table public.a is no longer refused'])
  })
})

test('a file that differs from the serving config', () => {
  const config = (number: number, fields: Partial<ConfigStatus> = {}): ConfigStatus => ({
    number,
    origin: 'script',
    state: 'serving',
    plan: null,
    created: '',
    served: null,
    retired: null,
    error: null,
    copy: [],
    ...fields,
  })
  const answer = (fields: Partial<ConfigsAnswer>): ConfigsAnswer => ({
    serving: config(3),
    next: null,
    failed: null,
    progress: null,
    dropping: 0,
    yaml: 'a',
    history: [],
    tables: [],
    waitingFor: null,
    ...fields,
  })
  expect(servesOther(answer({}), 'f.yaml', 'a')).toBeNull()
  expect(servesOther(answer({ next: config(4) }), 'f.yaml', 'b')).toBeNull()
  expect(servesOther(answer({ serving: null }), 'f.yaml', 'b')).toBeNull()
  expect(servesOther(answer({ serving: config(3, { origin: 'rollback' }) }), 'f.yaml', 'b')).toBe(
    'config     f.yaml is not what serves (that is deploy 3, a rollback). To deploy it: npx rockpool deploy f.yaml',
  )
  const failed = config(4, { error: { code: 'ROCKPOOL_DEPLOY', message: 'no key' } })
  expect(servesOther(answer({ failed }), 'f.yaml', 'b')).toContain(
    '(that is deploy 3); deploy 4 failed: ROCKPOOL_DEPLOY: no key. To deploy it',
  )
})
