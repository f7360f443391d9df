import { expect, test } from 'vitest'
import type { ConfigStatus } from '../protocol/messages/admin.ts'
import { historyOf, historyText } from './deploys.ts'

const deploy = (
  number: number,
  plan: string | null,
  state: ConfigStatus['state'],
  more: Partial<ConfigStatus> = {},
): ConfigStatus => ({
  number,
  origin: 'admin',
  state,
  plan,
  created: `2026-11-0${number}T10:00:00.000Z`,
  served: state === 'failed' ? null : `2026-11-0${number}T10:00:01.000Z`,
  retired: null,
  error: null,
  copy: [],
  by: 'ann',
  ...more,
})

const LEAKED = 'bbbbbbbbbbbb'
const mark = { at: '2026-11-06T10:00:00.000Z', by: 'eve' }
const history = [
  deploy(7, 'cccccccccccc', 'copying', { served: null }),
  deploy(6, 'aaaaaaaaaaaa', 'serving', { origin: 'rollback', of: 1 }),
  deploy(5, null, 'failed', { error: { code: 'ROCKPOOL_DEPLOY', message: 'there is no\u001b[2J table' } }),
  deploy(4, LEAKED, 'previous', { withdrawn: mark }),
  deploy(3, 'dddddddddddd', 'superseded', { served: null }),
  deploy(2, LEAKED, 'superseded'),
  deploy(1, 'aaaaaaaaaaaa', 'superseded', { origin: 'script' }),
].map((each) =>
  each.number === 1 ? Object.fromEntries(Object.entries(each).filter(([name]) => name !== 'by')) : each,
) as ConfigStatus[]

test('the outcome of each deploy; a withdrawn plan is withdrawn in every deploy', () => {
  expect(historyOf({ history }).map(({ number, state }) => [number, state])).toEqual([
    [7, 'copying'],
    [6, 'serving'],
    [5, 'failed'],
    [4, 'never again'],
    [3, 'given up'],
    [2, 'never again'],
    [1, 'retired'],
  ])
  const leaked = [deploy(1, LEAKED, 'serving', { withdrawn: mark })]
  expect(historyOf({ history: leaked })).toMatchObject([{ state: 'serving', withdrawn: mark }])
})

test('a table of it, newest first', () => {
  expect(historyText(historyOf({ history }), (code, text) => (code === 32 ? `<${text}>` : text))).toBe(
    [
      'number  when (UTC)           by          plan      state',
      '7       2026-11-07 10:00:00  ann         cccccccc  copying',
      '6       2026-11-06 10:00:00  ann         aaaaaaaa  <serving    >  back to 1',
      '5       2026-11-05 10:00:00  ann         -         failed       there is no\ufffd[2J table',
      '4       2026-11-04 10:00:00  ann         bbbbbbbb  never again  withdrawn by eve',
      '3       2026-11-03 10:00:00  ann         dddddddd  given up',
      '2       2026-11-02 10:00:00  ann         bbbbbbbb  never again  withdrawn by eve',
      '1       2026-11-01 10:00:00  the script  aaaaaaaa  retired',
    ].join('\n'),
  )
  expect(historyText([], (_, text) => text)).toBe('nothing was ever deployed')
})
