import { serialize, deserialize, Long } from 'bson'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { clientId, streamRequest, validated } from './body.ts'
import { openFrame, openToken } from '../transports/frames.ts'
import { STREAMS } from '../../tenants/declarations.ts'
import { MAX_JSON_VALUES } from '../json-bounds.ts'

const SUBSCRIPTIONS = STREAMS.MAX_SUBSCRIPTIONS.preset ?? 0
import { tokenIn } from './token-in.ts'

function refusal(work: () => unknown): RockpoolError {
  try {
    work()
  } catch (error) {
    if (error instanceof RockpoolError) return error
    throw error
  }
  throw new Error('it was not refused')
}

const subscriptions = (count: number) => ({
  streams: { subscriptions: Array.from({ length: count }, () => ({ stream: 'a' })) },
})

describe('how much a request may be', () => {
  test('what is in it is counted once, and no further than what is allowed', () => {
    let reads = 0
    const wide = new Proxy(new Array<number>(5_000_000).fill(1), {
      get: (target, key, receiver) => {
        if (key !== 'length') reads++
        return Reflect.get(target, key, receiver)
      },
    })
    expect(refusal(() => validated(z.unknown(), { x: wide }))).toMatchObject({
      code: 'PSYNC_S2001',
      message: expect.stringMatching(/more than 100000 values/),
    })
    expect(reads).toBeLessThanOrEqual(MAX_JSON_VALUES)
  })

  test('10,000 buckets with their positions are not too much', () => {
    const buckets = Array.from({ length: 10_000 }, (_, n) => ({ name: `b${n}`, after: '1' }))
    expect(streamRequest({ buckets }, SUBSCRIPTIONS).buckets).toHaveLength(10_000)
  })

  test('bytes of BSON are one value', () => {
    const picture = new Uint8Array(500_000)
    expect(streamRequest({ parameters: { picture } }, SUBSCRIPTIONS).parameters?.['picture']).toBe(picture)
  })

  test('subscriptions of streams', () => {
    expect(streamRequest(subscriptions(SUBSCRIPTIONS), SUBSCRIPTIONS).streams?.subscriptions).toHaveLength(
      SUBSCRIPTIONS,
    )
    const { code, details, message } = refusal(() => streamRequest(subscriptions(6_000), SUBSCRIPTIONS))
    expect([code, details]).toEqual(['PSYNC_S2001', [expect.objectContaining({ path: 'streams.subscriptions' })]])
    expect(message).toMatch(/has 6000 entries; at most 1000.*MAX_SUBSCRIPTIONS/)
  })

  test('of many wrong fields the first are told', () => {
    const { details } = refusal(() =>
      streamRequest({ buckets: Array.from({ length: 20_000 }, () => 1) }, SUBSCRIPTIONS),
    )
    expect(details).toHaveLength(20)
  })
})

describe('parameters whose digits were lost', () => {
  const paths: [string, string][] = [
    ['{"parameters":{"account":9007199254740993}}', 'parameters.account'],
    ['{"parameters":{"a":{"b":[1,-9007199254740992]}}}', 'parameters.a.b[1]'],
    [
      '{"streams":{"subscriptions":[{"stream":"s","parameters":{"id":12345678901234567890}}]}}',
      'streams.subscriptions[0].parameters.id',
    ],
  ]
  test.each(paths)('%s', (body, path) => {
    const error = refusal(() => streamRequest(JSON.parse(body), SUBSCRIPTIONS))
    expect(error).toMatchObject({
      code: 'PSYNC_S2001',
      message: expect.stringMatching(/loses digits: send it as text/),
    })
    expect(error.details).toEqual([expect.objectContaining({ path })])
  })

  test('64 bits of BSON', () => {
    const body = deserialize(
      serialize({ parameters: { small: Long.fromNumber(5), large: Long.fromString('9007199254740993') } }),
    )
    expect(refusal(() => streamRequest(body, SUBSCRIPTIONS)).details).toEqual([
      expect.objectContaining({ path: 'parameters.large' }),
    ])
  })

  test('all others are what they are', () => {
    const parameters = {
      a: 9_007_199_254_740_991,
      b: -9_007_199_254_740_991,
      c: 1.5,
      d: '9007199254740993',
      e: null,
      f: [true],
    }
    expect(streamRequest({ parameters, unknown: 2 ** 60 }, SUBSCRIPTIONS).parameters).toEqual(parameters)
  })
})

test('client ids: what SDKs send, and nothing that could be chosen to look like something else', () => {
  for (const good of ['3f0d2c4e-8a1b-4c2d-9e3f-0123456789ab', 'phone:1', 'a_b.c-D', 'x'.repeat(128)])
    expect(clientId.parse(good)).toBe(good)
  for (const bad of ['', 'x'.repeat(129), 'ቁ탁逌收來證ژ檾', 'a b', 'a"b', 'a\n', 'a/b', '%'])
    expect(clientId.safeParse(bad).success).toBe(false)
  expect(streamRequest({ client_id: null }, SUBSCRIPTIONS).client_id).toBeUndefined()
})

describe('the token of the first frame', () => {
  const found: [string, string | null][] = [
    ['{"open":{},"token":"abc","credit":5}', 'abc'],
    [' {\n"token" : "a\\u0062c\\"" }', 'abc"'],
    ['{"open":{"token":"inner","x":[{"token":"y"},"}]{\\""]},"n":-1.5e3,"b":true,"token":"outer"}', 'outer'],
    // What follows is read when the token has been verified.
    ['{"token":"abc","open":{{{{', 'abc'],
    ['{"open":{}}', null],
    ['{"token":5}', null],
    ['{"token":"abc', null],
    ['{"open":"', null],
    ['["token","abc"]', null],
    ['{', null],
    ['', null],
    ['hello', null],
  ]
  test.each(found)('%s', (text, token) => {
    expect(tokenIn(text)).toBe(token)
  })

  test('the one that was verified is the one that counts', () => {
    const frame = '{"open":{},"token":"first","token":"second"}'
    expect(openToken(frame)).toBe('first')
    expect(refusal(() => openFrame(frame, 'first', SUBSCRIPTIONS)).code).toBe('ROCKPOOL_CLIENT_FRAME')
  })

  test('a request that is wrong does not hide it, and is not looked at before', () => {
    const frame = '{"open":{"buckets":5},"token":"t"}'
    expect(openToken(frame)).toBe('t')
    expect(refusal(() => openFrame(frame, 't', SUBSCRIPTIONS)).code).toBe('PSYNC_S2001')
  })
})
