import { describe, expect, test } from 'vitest'
import { formerAfter, MAX_FORMER, type Place } from './former.ts'
import { changed, newRecord, tenantChange, type Former } from './record.ts'

const now = new Date('2026-11-30T10:00:00Z')
const nowhere = { location: null, jurisdiction: null }

function place(host: string, settings: object = {}, former: Former[] = []): Place {
  const url = `postgres://me:geheim@${host}/app?sslmode=require`
  const change = tenantChange.parse({ secrets: { DATABASE_URL: url }, settings })
  return { url, record: { ...changed(newRecord('acme', nowhere, now), change, now), former } }
}
const after = (a: Place, b: Place) => formerAfter(a, b, { id: 'x', now })

describe('a tenant that is moved', () => {
  test('has the database and slot of before as a former one, without a secret in what is shown', () => {
    const from = place('old.example', { SLOT: 'mine', PUBLICATION: 'theirs' })
    const { former, left } = after(from, place('new.example'))
    expect(former).toEqual([{ id: 'x', database: 'old.example:5432/app', slot: 'mine', since: now.toISOString() }])
    expect(left).toEqual({
      url: from.url,
      settings: { SLOT: 'mine', PUBLICATION: 'theirs', OWN_PUBLICATION: from.record.settings.OWN_PUBLICATION },
    })
    expect(JSON.stringify(former)).not.toContain('geheim')
  })

  test('to another slot of the same database leaves the slot of before', () => {
    expect(after(place('one.example', { SLOT: 'a' }), place('one.example', { SLOT: 'b' })).former).toMatchObject([
      { slot: 'a' },
    ])
  })

  test('and back leaves where it was, and what it has again is none of before', () => {
    const first = after(place('a.example'), place('b.example'))
    const back = formerAfter(place('b.example', {}, first.former), place('a.example'), { id: 'y', now })
    expect(back.former).toEqual([{ ...first.former[0], id: 'y', database: 'b.example:5432/app' }])
  })

  test('more often than that can be dropped is refused by the names of the databases', () => {
    let former: Former[] = []
    for (let n = 0; n < MAX_FORMER; n++)
      former = formerAfter(place(`h${n}.example`, {}, former), place(`h${n + 1}.example`), { id: `${n}`, now }).former
    expect(former.length).toBe(MAX_FORMER)
    expect(() => after(place(`h${MAX_FORMER}.example`, {}, former), place('last.example'))).toThrow(
      expect.objectContaining({
        code: 'ROCKPOOL_TENANT_CONFLICT',
        message: expect.stringMatching(/h0\.example:5432\/app/),
      }),
    )
  })
})

test('another password, another CA or other keys move nothing', () => {
  const from = place('one.example')
  const url = from.url.replace('geheim', 'other')
  expect(after(from, { ...place('one.example'), url })).toEqual({ former: [], left: null })
})
