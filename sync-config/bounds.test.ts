import { afterEach, describe, expect, test, vi } from 'vitest'
import { Batch } from '../durable-objects/replicator/ingest/batch.ts'
import { combinePlans, compile, loadPlan, type LoadedPlan, type Plan } from './index.ts'
import {
  MAX_BUCKET_NAME_BYTES,
  MAX_BUCKETS_PER_ROW,
  MAX_BYTES_PER_ROW,
  MAX_REQUEST_ROUNDS,
  MAX_ROW_ROUNDS,
} from './limits.ts'
import { ReadyPlan } from './evaluate/plan.ts'
import { codes, definition, stream, synced } from './test-evaluate.ts'
import type { RequestLimits } from './types.ts'

// The file is long because it is one table of bounds and of conditions that reach them.

/** What a request and a row may take, counted. */

afterEach(() => vi.restoreAllMocks())

function planOf(yaml: string): Plan {
  const result = compile(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return result.plan
}
const load = (yaml: string): LoadedPlan => loadPlan(planOf(yaml))
const onDemand = (query: string, edition = 3) =>
  `config: {edition: ${edition}}\nstreams:\n  s:\n    accept_potentially_dangerous_queries: true\n    query: ${JSON.stringify(query)}\n`

interface Asking {
  claims?: Record<string, unknown>
  parameters?: Record<string, unknown>
  subscriptions?: Record<string, unknown>[]
}
function resolve(
  yaml: string,
  { claims = {}, parameters = {}, subscriptions = [] }: Asking,
  limits: Partial<RequestLimits> = {},
) {
  const asked = subscriptions.map((each) => ({ stream: 's', parameters: each, priority: null }))
  const context = { claims: { sub: 'u', ...claims }, parameters, includeDefaults: true, subscriptions: asked }
  return new ReadyPlan(planOf(yaml), limits).request(context).resolve(() => [])
}
const refused = (what: RegExp, limit: number) =>
  expect.objectContaining({
    code: 'PSYNC_S2305',
    message: expect.stringMatching(what),
    details: expect.objectContaining({ limit }),
  })
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i)

describe('a request', () => {
  const owned = onDemand('SELECT id FROM t WHERE owner = auth.user_id()')
  const narrowed = onDemand("SELECT id FROM t WHERE owner = auth.user_id() AND list = subscription.parameter('list')")
  const looked = onDemand(
    "SELECT id FROM t WHERE team IN (SELECT team FROM m WHERE u = subscription.parameter('list'))",
  )

  test.each([
    ['of one bucket', owned],
    ['with a bucket each', narrowed],
  ])('twice the subscriptions %s are twice the steps', (_, yaml) => {
    const steps = [100, 200, 400].map(
      (n) => resolve(yaml, { subscriptions: numbers(n).map((list) => ({ list })) }).work.rounds,
    )
    expect(steps).toEqual([100, 200, 400])
  })

  test('a reason is compared with none of the others of its bucket', () => {
    const texts = (n: number) => {
      const spy = vi.spyOn(JSON, 'stringify')
      const subscriptions = numbers(n).map(() => ({}))
      const { buckets } = resolve(owned, { subscriptions })
      expect(buckets.map(({ reasons }) => reasons.length)).toEqual([n])
      const calls = spy.mock.calls.length
      spy.mockRestore()
      return calls
    }
    const [few, many] = [texts(200), texts(400)]
    expect(many - few).toBeLessThanOrEqual(4 * 200)
  })

  test.each([
    [
      'of the client',
      onDemand("SELECT id FROM t WHERE owner IN connection.parameter('a') AND x = connection.parameter('b')"),
    ],
    [
      'of json_each',
      onDemand(
        "SELECT t.id FROM t, json_each(connection.parameter('a')) AS e WHERE t.owner = e.value AND e.value = connection.parameter('b')",
      ),
    ],
    [
      'that must be in another list',
      definition(
        "SELECT value AS v FROM json_each(request.parameters() -> 'a') WHERE value IN request.parameters() -> 'c'",
        'SELECT id FROM t WHERE x = bucket.v',
      ),
    ],
  ])('JSON of the client is parsed once, not once for each of the elements %s', (_, yaml) => {
    // Every text in JSON that is read is one call.
    const texts = (n: number) => {
      const spy = vi.spyOn(JSON, 'parse')
      resolve(yaml, { parameters: { a: numbers(n).map(() => 1), b: 'b', c: ['x', 'y'] }, subscriptions: [{}] })
      const calls = spy.mock.calls.length
      spy.mockRestore()
      return calls
    }
    expect(texts(400)).toBe(texts(20))
  })

  test('nor once for each subscription', () => {
    const yaml = onDemand("SELECT id FROM t WHERE owner IN connection.parameter('a') AND x = connection.parameter('b')")
    const texts = (n: number) => {
      const spy = vi.spyOn(JSON, 'parse')
      resolve(yaml, { parameters: { a: ['x'], b: 'b' }, subscriptions: numbers(n).map(() => ({})) })
      const calls = spy.mock.calls.length
      spy.mockRestore()
      return calls
    }
    expect(texts(40)).toBe(texts(1))
  })

  test('lookups of all subscriptions count together, each time they are asked', () => {
    const lookups = (lists: number[]) =>
      resolve(looked, { subscriptions: lists.map((list) => ({ list })) }, { lookupRows: 5 })
    expect(lookups([1, 2, 3, 4, 5]).work.lookups).toBe(5)
    expect(lookups([1, 1, 1, 1, 1])).toMatchObject({ work: { lookups: 5 }, lookups: { length: 1 } })
    expect(() => lookups([1, 2, 3, 4, 5, 6])).toThrow(refused(/lookups.*MAX_LOOKUP_ROWS/, 5))
    expect(() => lookups([1, 1, 1, 1, 1, 1])).toThrow(refused(/lookups.*MAX_LOOKUP_ROWS/, 5))
    expect(() => resolve(looked, { subscriptions: numbers(1_001).map((list) => ({ list })) })).toThrow(
      refused(/lookups/, 1_000),
    )
  })

  test('rounds of all subscriptions count together', () => {
    const pairs = onDemand("SELECT id FROM t WHERE x IN subscription.parameter('a') AND y IN connection.parameter('b')")
    const ask = (n: number, subscriptions: number) =>
      resolve(pairs, {
        parameters: { b: numbers(100).map(() => -1) },
        subscriptions: numbers(subscriptions).map(() => ({ a: numbers(n) })),
      })
    const { rounds } = ask(10, 1).work
    expect(ask(10, 3).work.rounds).toBe(3 * rounds)
    expect(() => ask(900, 1)).not.toThrow()
    expect(() => ask(900, 2)).toThrow(refused(/combinations/, MAX_REQUEST_ROUNDS))
    expect(() => ask(1_000, 1)).toThrow(refused(/combinations/, MAX_REQUEST_ROUNDS))
  })

  test('subscriptions without end are refused as well', () => {
    expect(() => resolve(owned, { subscriptions: numbers(MAX_REQUEST_ROUNDS + 1).map(() => ({})) })).toThrow(
      refused(/combinations/, MAX_REQUEST_ROUNDS),
    )
  })
})

describe('the name of a bucket', () => {
  const prefix = resolve(onDemand("SELECT id FROM t WHERE x = connection.parameter('x')"), {
    parameters: { x: '' },
    subscriptions: [{}],
  })
  const room = MAX_BUCKET_NAME_BYTES - (prefix.buckets[0]?.bucket.length ?? 0)

  test.each([
    ['a', room],
    ['ü', Math.floor(room / 2)],
    ['水', Math.floor(room / 3)],
    ['"', Math.floor(room / 2)],
  ])('has no more bytes than may be, in values of %s', (character, most) => {
    const yaml = onDemand("SELECT id FROM t WHERE x = connection.parameter('x')")
    const ask = (n: number) => resolve(yaml, { parameters: { x: character.repeat(n) }, subscriptions: [{}] })
    const [bucket] = ask(most).buckets
    expect(Buffer.byteLength(bucket?.bucket ?? '')).toBeLessThanOrEqual(MAX_BUCKET_NAME_BYTES)
    expect(() => ask(most + 1)).toThrow(refused(/bytes in the name of a bucket/, MAX_BUCKET_NAME_BYTES))
    const plan = load(yaml)
    const evaluated = (n: number) =>
      plan.evaluateRow({ schema: 'public', name: 't' }, { id: '1', x: character.repeat(n) })
    expect(evaluated(most).rows.map((row) => row.bucket)).toEqual([bucket?.bucket])
    expect(evaluated(most + 1)).toMatchObject({
      rows: [],
      errors: [{ message: expect.stringMatching(/name of a bucket/) }],
    })
  })

  test('that of a lookup as well', () => {
    const yaml = onDemand("SELECT id FROM t WHERE team IN (SELECT team FROM m WHERE u = connection.parameter('x'))")
    expect(() => resolve(yaml, { parameters: { x: 'a'.repeat(2_000) }, subscriptions: [{}] })).toThrow(
      refused(/name of a bucket/, 1_024),
    )
  })

  test('that is too long leaves the other buckets of the row', () => {
    const plan = load(onDemand("SELECT id FROM t WHERE connection.parameter('x') IN l"))
    const { rows, errors } = plan.evaluateRow({ schema: 'public', name: 't' }, { id: '1', l: JSON.stringify(['a', 'b'.repeat(2_000), 'c'.repeat(2_000), 'd']) }) // prettier-ignore
    expect(rows.map((row) => row.bucket.slice(-5))).toEqual(['["a"]', '["d"]'])
    expect(errors).toHaveLength(1)
  })

  test('that a lookup found too long ends nothing: the other buckets are given, and the stream says so', () => {
    const yaml = stream('SELECT id FROM t WHERE team IN (SELECT team FROM m WHERE u = auth.user_id())')
    const context = { claims: { sub: 'u' }, parameters: {}, includeDefaults: true, subscriptions: [] }
    const found = JSON.stringify(['x'.repeat(2_000)])
    const { buckets, streams } = load(yaml)
      .request(context)
      .resolve(() => ['["a"]', found, '["b"]'])
    expect(buckets.map(({ bucket }) => bucket.slice(-5))).toEqual(['["a"]', '["b"]'])
    expect(streams[0]?.errors.map(({ message }) => message)).toEqual([expect.stringMatching(/name of a bucket/)])
  })
})

describe('a row', () => {
  const t = { schema: 'public', name: 't' }
  const array = (n: number) => JSON.stringify(numbers(n))

  test.each([
    ['edition 3, IN', stream('SELECT id FROM t WHERE auth.user_id() IN l')],
    ['edition 3, json_each', stream('SELECT t.id FROM t, json_each(t.l) AS e WHERE e.value = auth.user_id()')],
    ['edition 3, &&', stream("SELECT id FROM t WHERE l && auth.parameter('l')")],
    ['edition 2, IN', stream('SELECT id FROM t WHERE auth.user_id() IN l', 2)],
    ['edition 2, &&', stream("SELECT id FROM t WHERE l && auth.parameter('l')", 2)],
    ['definitions', definition('SELECT request.user_id() AS u', 'SELECT id FROM t WHERE bucket.u IN l')],
    ['lookups of edition 3', stream('SELECT id FROM x WHERE id IN (SELECT id FROM t WHERE auth.user_id() IN l)')],
    ['lookups of edition 2', stream('SELECT id FROM x WHERE id IN (SELECT id FROM t WHERE auth.user_id() IN l)', 2)],
    [
      'lookups of definitions',
      definition('SELECT id FROM t WHERE request.user_id() IN l', 'SELECT id FROM x WHERE id = bucket.id'),
    ],
    [
      'lookups with outputs of an array',
      stream('SELECT id FROM x WHERE id IN (SELECT e.value FROM t, json_each(t.l) AS e WHERE t.u = auth.user_id())'),
    ],
  ])('is in no more buckets than may be: %s', (_, yaml) => {
    // prettier-ignore
    const plan = load(yaml)
    const evaluated = (l: string) => plan.evaluateRow(t, { id: '1', u: 'u', l })
    expect(evaluated(array(MAX_BUCKETS_PER_ROW)).rows).toHaveLength(MAX_BUCKETS_PER_ROW)
    expect(evaluated(array(MAX_BUCKETS_PER_ROW + 1))).toMatchObject({
      rows: [],
      errors: [{ message: expect.stringMatching(/more than 1000 buckets/) }],
    })
    // Equal elements are one bucket.
    expect(evaluated(JSON.stringify(numbers(20_000).map((n) => n % 7)))).toMatchObject({
      rows: { length: 7 },
      errors: [],
    })
    expect(evaluated(array(3))).toMatchObject({ rows: { length: 3 }, errors: [] })
  })

  test('is left out as a whole, also where it is in another bucket, and the next one comes', () => {
    const yaml = `config: {edition: 3}\nstreams:\n  first: {query: SELECT id FROM t WHERE owner = auth.user_id()}\n  tags: {query: SELECT id FROM t WHERE auth.user_id() IN l}\n  last: {query: SELECT * FROM t WHERE other = auth.user_id()}\n`
    const plan = load(yaml)
    const row = { id: '1', owner: 'x', other: 'x' }
    expect(plan.evaluateRow(t, { ...row, l: array(1_001) })).toEqual({ rows: [], errors: [{ where: 'query 1 of tags', message: expect.stringMatching(/left out/) }] }) // prettier-ignore
    expect(plan.evaluateRow(t, { ...row, l: array(2) }).rows).toHaveLength(4)
  })

  test('buckets of several queries count together', () => {
    const queries = numbers(3).map((n) => `SELECT id, ${n} AS n FROM t WHERE auth.parameter('${n}') IN l`)
    const plan = load(`config: {edition: 3}\nstreams:\n  s:\n    queries: ${JSON.stringify(queries)}\n`)
    expect(plan.evaluateRow(t, { id: '1', l: array(333) }).rows).toHaveLength(999)
    expect(plan.evaluateRow(t, { id: '1', l: array(334) })).toMatchObject({ rows: [], errors: [{}] })
  })

  test('has a number of bytes in all of its buckets, and as many as it likes in one', () => {
    const plan = load(stream('SELECT * FROM t WHERE auth.user_id() IN l'))
    const evaluated = (buckets: number, body: string) => plan.evaluateRow(t, { id: '1', l: array(buckets), body })
    const bytes = Buffer.byteLength(evaluated(100, '').rows[0]?.data ?? '')
    const most = Math.floor(MAX_BYTES_PER_ROW / 100) - bytes
    expect(evaluated(100, 'x'.repeat(most)).rows).toHaveLength(100)
    expect(evaluated(100, 'x'.repeat(most + 1))).toMatchObject({
      rows: [],
      errors: [{ message: expect.stringMatching(/8000000 bytes/) }],
    })
    expect(evaluated(100, 'ü'.repeat(Math.floor(most / 2))).rows).toHaveLength(100)
    expect(evaluated(100, 'ü'.repeat(Math.floor(most / 2) + 1)).rows).toEqual([])
    expect(evaluated(1, 'x'.repeat(MAX_BYTES_PER_ROW + 1)).rows).toHaveLength(1)
  })

  test('nothing is made of more elements than two arrays may multiply to', () => {
    const yaml = stream("SELECT id FROM t WHERE auth.parameter('a') IN l AND auth.parameter('b') IN k")
    const plan = load(yaml)
    const evaluated = (l: number, k: number) => plan.evaluateRow(t, { id: '1', l: array(l), k: array(k) })
    expect(evaluated(25, 40).rows).toHaveLength(1_000)
    expect(evaluated(26, 40)).toMatchObject({ rows: [], errors: [{ message: expect.stringMatching(/1000 buckets/) }] })
    expect(evaluated(1_000, 101)).toMatchObject({
      rows: [],
      errors: [{ message: expect.stringContaining(`101000 combinations of elements, more than ${MAX_ROW_ROUNDS}`) }],
    })
  })

  test('a condition that no element decides is looked at before its array is', () => {
    const plan = load(stream('SELECT id FROM t WHERE json_array_length(l) <= 5 AND auth.user_id() IN l'))
    expect(plan.evaluateRow(t, { id: '1', l: array(2_000) })).toEqual({ rows: [], errors: [] })
    expect(plan.evaluateRow(t, { id: '1', l: array(5) }).rows).toHaveLength(5)
  })

  test('a plan that is being deployed takes nothing from the one that serves', () => {
    const serving = planOf(stream('SELECT id FROM t WHERE auth.user_id() IN l'))
    const next = planOf(stream('SELECT id, x FROM t WHERE auth.user_id() IN l'))
    const tooMuch = planOf(stream("SELECT id, x, y FROM t WHERE auth.user_id() IN l AND auth.parameter('b') IN l"))
    const row = { id: '1', x: 1n, l: array(600) }
    expect(combinePlans([serving, next]).evaluateRow(t, row)).toMatchObject({ rows: { length: 1_200 }, errors: [] })
    const { rows, errors } = combinePlans([serving, tooMuch]).evaluateRow(t, { ...row, l: array(300) })
    expect(rows).toEqual(loadPlan(serving).evaluateRow(t, { ...row, l: array(300) }).rows)
    expect(errors).toEqual([{ where: 'query 1 of s', message: expect.stringMatching(/1000 buckets/) }])
  })

  test('that takes too much is told with its table and key, what it had leaves, and those after it come', () => {
    const plan = load(stream('SELECT id, l FROM t WHERE auth.user_id() IN l'))
    const skipped: string[] = []
    const buckets: string[] = []
    const batch = new Batch(1, {
      evaluate: (table, row) => plan.evaluateRow(table, row),
      states: () => new Map(),
      number: (bucket) => (buckets.includes(bucket) ? buckets.indexOf(bucket) : buckets.push(bucket) - 1),
      skipped: ({ schema, name }, key, reason) => skipped.push(`${schema}.${name} ${key} ${reason}`),
    })
    const table = { ...t, number: 1 }
    batch.upsert(table, '["1"]', { id: '1', l: array(2) }, null)
    batch.upsert(table, '["1"]', { id: '1', l: array(10_000) }, null)
    batch.upsert(table, '["2"]', { id: '2', l: array(1) }, null)
    expect(skipped).toEqual([expect.stringMatching(/^public\.t \["1"\] query 1 of s: the row is left out/)])
    expect(Array.from(batch.appends.values(), ({ count }) => count)).toEqual([3, 2])
    expect(batch.length).toBeLessThan(2_000)
  })

  test('an integer of very many digits is no integer', () => {
    const value = (sql: string, s: string) =>
      load(stream(`SELECT id, ${sql} AS r FROM t`)).evaluateRow(t, { id: '1', s })
    for (const sql of [
      'CAST(s AS integer)',
      'CAST(s AS numeric)',
      's + 1',
      "CAST(('{\"n\":' || s || '}') ->> 'n' AS text)",
    ]) {
      expect(value(sql, '9'.repeat(1_000)).rows).toHaveLength(1)
      expect(value(sql, '9'.repeat(1_001))).toMatchObject({
        rows: [],
        errors: [{ message: expect.stringMatching(/1000 digits/) }],
      })
    }
    expect(value('CAST(s AS real)', '9'.repeat(1_001)).rows).toHaveLength(1)
  })
})

describe('check tells', () => {
  test.each([
    ['IN', stream('SELECT id FROM t WHERE auth.user_id() IN l'), true],
    ['IN with a bound', stream('SELECT id FROM t WHERE auth.user_id() IN l AND json_array_length(l) <= 100'), false],
    [
      'a bound of another array',
      stream('SELECT id FROM t WHERE auth.user_id() IN l AND json_array_length(k) <= 100'),
      true,
    ],
    [
      'a bound written the other way',
      stream('SELECT id FROM t WHERE auth.user_id() IN l AND 100 > json_array_length(l)'),
      false,
    ],
    ['a bound from below', stream('SELECT id FROM t WHERE auth.user_id() IN l AND json_array_length(l) > 1'), true],
    ['BETWEEN', stream('SELECT id FROM t WHERE auth.user_id() IN l AND json_array_length(l) BETWEEN 1 AND 9'), false],
    ['&& of edition 2', stream("SELECT id FROM t WHERE l && auth.parameter('l')", 2), true],
    [
      '&& of edition 2 with a bound',
      stream("SELECT id FROM t WHERE l && auth.parameter('l') AND json_array_length(l) < 9", 2),
      false,
    ],
    ['definitions', definition('SELECT request.user_id() AS u', 'SELECT id FROM t WHERE bucket.u IN l'), true],
    ['a lookup', stream('SELECT id FROM x WHERE id IN (SELECT id FROM t WHERE auth.user_id() IN l)'), true],
    ['an array of the request', stream("SELECT id FROM t WHERE owner IN auth.parameter('l')"), false],
  ])('of an array without a bound: %s', (_, yaml, told) => expect(codes(yaml)).toEqual(told ? ['unbounded-array'] : []))

  test.each([
    ['definitions', definition('SELECT id FROM m', 'SELECT id FROM t WHERE m = bucket.id'), true],
    [
      'definitions with a key',
      definition('SELECT id FROM m WHERE u = request.user_id()', 'SELECT id FROM t WHERE m = bucket.id'),
      false,
    ],
    ['a join with nothing of the request', stream('SELECT t.id FROM t, m WHERE t.m = m.id AND m.open = 1'), true],
    ['a subquery with a key', stream('SELECT id FROM t WHERE m IN (SELECT id FROM m WHERE u = auth.user_id())'), false],
    [
      'edition 2, a condition of the request only',
      stream("SELECT id FROM t WHERE m IN (SELECT id FROM m WHERE id IS NOT NULL AND auth.parameter('a') = 1)", 2),
      true,
    ],
  ])('of a lookup that every client reads: %s', (_, yaml, told) =>
    // prettier-ignore
    expect(codes(yaml)).toEqual(told ? ['lookup-without-key'] : []),
  )

  test.each([
    stream("SELECT id FROM t WHERE x = auth.parameter('iat')"),
    stream("SELECT id FROM t WHERE x < 5 AND auth.parameters() ->> '$.exp' > 5"),
    stream("SELECT id FROM t WHERE x = json_extract(auth.parameters(), '$.nbf')"),
    stream("SELECT id FROM t WHERE x = auth.parameter('jti')", 2),
    definition("SELECT request.jwt() ->> 'jti' AS j", 'SELECT id FROM t WHERE x = bucket.j'),
    definition("SELECT id FROM m WHERE x = request.jwt() -> 'iat'", 'SELECT id FROM t WHERE x = bucket.id'),
  ])('and refuses a claim that is new in every token: %s', (yaml) => {
    const result = compile(yaml)
    expect(result.ok ? [] : result.errors.map(({ code }) => code)).toEqual(['renewed-claim'])
  })

  test('claims with other names, and parameters of the client, are as before', () => {
    expect(synced(stream("SELECT id FROM t WHERE x = auth.parameter('expires')"), { t: [{ id: '1', x: 'a' }] }, { jwt: { sub: 'u', expires: 'a' } })).toEqual(['1']) // prettier-ignore
    expect(compile(stream("SELECT id FROM t WHERE x = connection.parameter('exp')")).ok).toBe(true)
  })
})
