import { describe, expect, test } from 'vitest'
import { compile, loadPlan } from './index.ts'
import { DEFAULT_LIMITS, readLimits } from './limits.ts'
import type { RequestLimits } from './types.ts'

test('the settings are read as numbers or as text, and what is not given has its default', () => {
  expect(readLimits({})).toEqual({ limits: DEFAULT_LIMITS, problems: [] })
  expect(
    readLimits({ MAX_BUCKETS: '2500', MAX_DISJUNCTS: 7, MAX_LOOKUP_ROWS: '', MAX_BUCKETS_PER_STREAM: ' 12 ' }),
  ).toEqual({
    limits: { disjuncts: 7, streamBuckets: 12, buckets: 2_500, lookupRows: 1_000 },
    problems: [],
  })
})

test.each(['0', '-1', '1.5', '1e3', 'many', '10001', ' ', true, Number.NaN])('%s is no number of buckets', (value) => {
  expect(readLimits({ MAX_BUCKETS: value, MAX_DISJUNCTS: '2' })).toEqual({
    limits: { ...DEFAULT_LIMITS, disjuncts: 2 },
    problems: ['MAX_BUCKETS: must be a whole number from 1 to 10000'],
  })
})

describe('disjuncts', () => {
  const or = (column: string, n: number) =>
    `(${Array.from({ length: n }, (_, i) => `${column}${i} = auth.user_id()`).join(' OR ')})`
  const streams = (edition: number, where: string) =>
    `config: {edition: ${edition}}\nstreams:\n  s:\n    query: SELECT * FROM t WHERE ${where}\n`
  const codes = (yaml: string, disjuncts: number) => {
    const result = compile(yaml, { disjuncts })
    return result.ok ? [] : result.errors.map(({ code, place }) => [code, place.line])
  }

  test.each([2, 3])(
    'an AND whose ORs multiply out to the limit is accepted, one more refused at its place (edition %i)',
    (edition) => {
      const yaml = streams(edition, `${or('a', 3)} AND ${or('b', 4)}`)
      expect(codes(yaml, 12)).toEqual([])
      expect(codes(yaml, 11)).toEqual([['too-many-disjuncts', 4]])
    },
  )

  test('in a data query and in a parameter query as well', () => {
    const bucket = (parameters: string, data: string) =>
      `bucket_definitions:\n  b:\n    parameters: ${parameters}\n    data:\n      - ${data}\n`
    const both = (x: string) => `(a = ${x} OR b = ${x}) AND (c = ${x} OR d = ${x})`
    const data = bucket('SELECT request.user_id() AS u', `SELECT id FROM t WHERE ${both('bucket.u')}`)
    const parameters = bucket(
      `SELECT id FROM m WHERE ${both('request.user_id()')}`,
      'SELECT id FROM t WHERE m = bucket.id',
    )
    expect([codes(data, 4), codes(parameters, 4)]).toEqual([[], []])
    expect(codes(data, 3)).toEqual([['too-many-disjuncts', 5]])
    expect(codes(parameters, 3)[0]).toEqual(['too-many-disjuncts', 3])
  })

  test('a tenant may raise it as far as the setting goes', () => {
    const yaml = streams(3, Array.from({ length: 9 }, (_, i) => or(`c${i}_`, 2)).join(' AND '))
    expect(codes(yaml, 100)).toEqual([['too-many-disjuncts', 4]])
    expect(compile(yaml, { disjuncts: 1_000, streamBuckets: 1_000 }).ok).toBe(true)
  })
})

test('a stream of more kinds of buckets than the limit is refused; queries that share a bucket count once', () => {
  const kinds = (n: number) =>
    `config: {edition: 3}\nstreams:\n  s:\n    queries:\n${Array.from({ length: n }, (_, i) => `      - SELECT * FROM t WHERE c${i} = auth.parameter('${i}')\n`).join('')}`
  const shared = `config: {edition: 3}\nstreams:\n  s:\n    queries:\n${Array.from({ length: 150 }, (_, i) => `      - SELECT * FROM t${i} WHERE owner = auth.user_id()\n`).join('')}`
  expect([compile(kinds(100)).ok, compile(shared).ok]).toEqual([true, true])
  const result = compile(kinds(101))
  expect(result).toMatchObject({ ok: false, errors: [{ code: 'too-many-buckets', place: { line: 3, column: 3 } }] })
  expect(compile(kinds(101), { streamBuckets: 101 }).ok).toBe(true)
})

describe('of a client', () => {
  const request = (
    yaml: string,
    limits: Partial<RequestLimits>,
    claims: Record<string, unknown>,
    rows: readonly string[] = [],
  ) => {
    const result = compile(yaml)
    if (!result.ok) throw new Error(JSON.stringify(result.errors))
    const context = { claims: { sub: 'u', ...claims }, parameters: {}, includeDefaults: true, subscriptions: [] }
    return () =>
      loadPlan(result.plan, limits)
        .request(context)
        .resolve(() => rows)
  }
  const refused = (limit: number, setting: string) =>
    expect.objectContaining({
      code: 'PSYNC_S2305',
      message: expect.stringContaining(setting),
      details: { limit, setting },
    })
  const each = `bucket_definitions: {a: {parameters: "SELECT value AS v FROM json_each(request.jwt() -> 'vs')", data: [SELECT * FROM t WHERE id = bucket.v]}}`
  const member = `bucket_definitions: {a: {parameters: SELECT team FROM m WHERE u = request.user_id(), data: [SELECT * FROM t WHERE id = bucket.team]}}`
  const teams = `bucket_definitions: {a: {parameters: "SELECT id FROM m WHERE team IN request.jwt() -> 'vs'", data: [SELECT * FROM t WHERE id = bucket.id]}}`

  test('as many buckets as the limit are given, one more is refused', () => {
    expect(request(each, { buckets: 3 }, { vs: [1, 2, 3, 3, 3.0] })().buckets).toHaveLength(3)
    expect(request(each, { buckets: 2 }, { vs: [1, 2, 3] })).toThrow(refused(2, 'MAX_BUCKETS'))
    expect(request(each, {}, { vs: Array.from({ length: 1_001 }, (_, i) => i) })).toThrow(refused(1_000, 'MAX_BUCKETS'))
  })

  test('buckets of several definitions count together, and the same one once', () => {
    const two = `bucket_definitions:\n  a: {parameters: SELECT request.user_id() AS u, data: [SELECT id FROM t WHERE o = bucket.u]}\n  b: {parameters: SELECT request.user_id() AS u, data: [SELECT id FROM s WHERE o = bucket.u]}\n`
    expect(request(two, { buckets: 2 }, {})().buckets).toHaveLength(2)
    expect(request(two, { buckets: 1 }, {})).toThrow(refused(1, 'MAX_BUCKETS'))
  })

  test('rows of lookups count once each, however often they come', () => {
    expect(request(member, { lookupRows: 2 }, {}, ['["a"]', '["b"]', '["a"]'])().buckets).toHaveLength(2)
    expect(request(member, { lookupRows: 2 }, {}, ['["a"]', '["b"]', '["c"]'])).toThrow(refused(2, 'MAX_LOOKUP_ROWS'))
  })

  test('lookups of one stream are no more than the rows that may come of them', () => {
    expect(request(teams, { lookupRows: 3 }, { vs: ['a', 'b', 'c'] })().lookups).toHaveLength(3)
    expect(request(teams, { lookupRows: 2 }, { vs: ['a', 'b', 'c'] })).toThrow(refused(2, 'MAX_LOOKUP_ROWS'))
  })
})
