import { expect, test } from 'vitest'
import { RockpoolError, type ErrorCode } from '../../../protocol/errors.ts'
import { connectSource, sourceError, type OpenSocket } from './connection.ts'

const withCode = (code: string) => Object.assign(new Error('what it says'), { code })

test.each([
  ['42501', 'ROCKPOOL_SOURCE_SETTINGS', 'Postgres refuses: what it says (42501)'],
  ['XX000', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres fails: what it says (XX000)'],
  ['40001', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres fails: what it says (40001)'],
  ['57P03', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (57P03)'],
  ['08006', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (08006)'],
  ['EPIPE', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (EPIPE)'],
  ['CONNECTION_CLOSED', 'ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres cannot be reached: what it says (CONNECTION_CLOSED)'],
])('%s is reported as %s', (state, code, message) => {
  expect(sourceError(withCode(state))).toMatchObject({ code, message })
})

test.each<[string, first: ErrorCode, second: ErrorCode, told: ErrorCode]>([
  [
    'all for one reason is that one: it is not waited out',
    'ROCKPOOL_SOURCE_TLS',
    'ROCKPOOL_SOURCE_TLS',
    'ROCKPOOL_SOURCE_TLS',
  ],
  ['one of them may come back', 'ROCKPOOL_SOURCE_TLS', 'ROCKPOOL_SOURCE_UNREACHABLE', 'ROCKPOOL_SOURCE_UNREACHABLE'],
])('none of several hosts can be used: %s', async (_, first, second, told) => {
  const codes: Record<string, ErrorCode> = { one: first, two: second }
  const socket = async ({ host }: { host: string }) => {
    throw new RockpoolError(codes[host] ?? 'ROCKPOOL_INTERNAL', `of ${host}`)
  }
  const sql = connectSource('postgres://u:p@one,two/d', { socket })
  await expect(sql`SELECT 1`).rejects.toMatchObject({
    code: told,
    message: 'none of the hosts can be used: one:5432: of one; two:5432: of two',
  })
  await sql.end({ timeout: 1 })
})

test('a host with only IPv6 is reported as such, whether it is silent or has no reachable address', async () => {
  const url = 'postgres://u:p@db.abc.supabase.co/postgres?connect_timeout=1'
  const sockets: OpenSocket[] = [() => new Promise(() => {}), () => Promise.reject(new Error('proxy request failed'))]
  for (const socket of sockets) {
    const sql = connectSource(url, { socket })
    await expect(sql`SELECT 1`).rejects.toThrow(/^db\.abc\.supabase\.co:5432.*only IPv6: .*IPv4 add-on/)
    await sql.end({ timeout: 0 })
    const other = connectSource(url.replace('db.abc.supabase.co', 'db.example'), { socket })
    await expect(other`SELECT 1`).rejects.not.toThrow(/IPv6/)
    await other.end({ timeout: 0 })
  }
})
