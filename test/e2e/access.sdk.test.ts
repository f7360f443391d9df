import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SYNC_CONFIG, TABLES } from '../bank/source.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Followed } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { HttpLines } from '../wire/lines.ts'

// The branches of the bank: who sees one follows from members, or from two lookups, one after the other.

const SECRET_BALANCE = 987_654
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql().unsafe(TABLES)
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: SYNC_CONFIG,
    directory: `${directory.path}/edge`,
  })
  await until('the first copy', async () => (await statusOf(edge.url, secret)).plan !== null)
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

const branchesOf = (followed: Followed) =>
  [...followed.buckets.keys()].map((name) => name.replace(/.*\["(.*)"\]$/, '$1')).sort()

describe.each([
  {
    how: 'a membership is deleted',
    gives: `insert into members values ('m', 'u1', 'b01')`,
    takes: `delete from members where user_id = 'u1'`,
  },
  {
    how: 'a membership becomes that of another branch',
    gives: `insert into members values ('m', 'u2', 'b01')`,
    takes: `update members set branch_id = 'b02' where user_id = 'u2'`,
    then: ['b02'],
  },
  {
    how: 'the first of two lookups loses its row',
    gives: `insert into staff values ('s', 'u3', 'new')`,
    takes: `delete from staff where user_id = 'u3'`,
  },
  {
    how: 'the second of two lookups gives the branch to others',
    gives: `insert into staff values ('s', 'u4', 'new')`,
    takes: `update region_branches set region_id = 'others' where id = 'b01'`,
  },
  {
    how: 'both lookups change at once',
    gives: `insert into staff values ('s', 'u5', 'new')`,
    takes: `update staff set region_id = 'newer' where user_id = 'u5'; update region_branches set region_id = 'newer' where id = 'b03'; update region_branches set region_id = 'old' where id = 'b01'`,
    then: ['b03'],
  },
])('I7: $how', ({ gives, takes, then = [] }) => {
  test('the bucket is removed at that very checkpoint, and nothing of it arrives any more', async () => {
    const sql = postgres.sql()
    await sql`delete from members`
    await sql`delete from staff`
    await sql`update region_branches set region_id = 'new' where id = 'b01'`
    await sql`update region_branches set region_id = 'old' where id <> 'b01'`
    const user = /u\d/.exec(gives)?.[0] ?? ''
    const bearer = await token(secret, user)
    const lines = await HttpLines.open(edge.url, bearer, { raw_data: true, client_id: user })
    const followed = new Followed()
    const next = async (): Promise<string[]> => {
      const texts: string[] = []
      for (const line of await lines.until('checkpoint_complete')) {
        followed.line(line)
        texts.push(JSON.stringify(line))
      }
      return texts
    }
    try {
      await next()
      expect(branchesOf(followed)).toEqual([])
      await sql.unsafe(gives)
      await next()
      expect(branchesOf(followed)).toEqual(['b01'])
      // Before access goes, and after it has gone, in the same transaction: neither is for this user.
      await sql.begin(async (tx) => {
        await tx`update accounts set balance = ${SECRET_BALANCE} where id = 'a50'`
        await tx.unsafe(takes)
        await tx`update accounts set balance = ${SECRET_BALANCE} where branch_id = 'b01'`
      })
      const texts = await next()
      expect(texts[0]).toMatch(/^\{"checkpoint_diff":.*"removed_buckets":\["[^"]*\[\\"b01\\"\]"\]/)
      expect(branchesOf(followed)).toEqual(then)
      // Nothing of it that comes later either.
      await sql`update accounts set balance = ${SECRET_BALANCE + 1} where branch_id = 'b01'`
      await sql`insert into members values ('last', ${user}, 'b04')`
      texts.push(...(await next()))
      expect(branchesOf(followed)).toEqual([...then, 'b04'])
      expect(texts.join()).not.toMatch(/98765[45]/)
      // Who comes back has all of it again.
      await sql`insert into members values ('again', ${user}, 'b01')`
      expect((await next()).join()).toMatch(/987655/)
      expect(followed.problems).toEqual([])
    } finally {
      lines.close()
      await sql`update accounts set balance = 1000`
    }
  })
})
