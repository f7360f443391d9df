import { expect, test } from 'vitest'
import { disconnected } from './continuity.ts'
import { parseLsn } from './lsn.ts'

const known = { systemIdentifier: '7', database: 'app' }
const position = { lsn: '0/200', xid: 9, time: 't' }
const source = (
  more: { system?: string; database?: string; created?: boolean; lost?: string; flush?: string; end?: string } = {},
) => ({
  identity: { systemIdentifier: more.system ?? '7', timeline: 1, database: more.database ?? 'app' },
  slot: {
    created: more.created ?? false,
    lost: more.lost ?? null,
    confirmedFlush: parseLsn(more.flush ?? '0/200'),
    failover: null,
  },
  walEnd: parseLsn(more.end ?? '0/300'),
})

test.each([
  ['all is well', {}, null],
  ['a crash of the server, which forgot the last acknowledgements', { flush: '0/100' }, null],
  ['another server', { system: '8' }, /another database server/],
  ['another database', { database: 'b' }, /another database: b, not app/],
  ['no slot', { created: true }, /missing/],
  ['an invalidated slot', { lost: 'Postgres invalidated the slot (wal_removed)' }, /wal_removed/],
  ['a stranger who read the slot', { flush: '0/201' }, /somebody else/],
  ['WAL that ends before us', { end: '0/1FF', flush: '0/100' }, /older state/],
] as const)('%s', (_, more, reason) => {
  const found = disconnected(known, position, source(more))
  if (reason === null) expect(found).toBeNull()
  else expect(found?.reason).toMatch(reason)
})

test('at the first start nothing is known, and nothing can be wrong', () => {
  expect(disconnected(null, null, source({ created: true }))).toBeNull()
})
