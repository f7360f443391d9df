import { expect, test } from 'vitest'
import { shareTokens, type TokenIdentity } from './identities.ts'

const identity = (changed: Partial<TokenIdentity> = {}): TokenIdentity => ({
  key: 'k',
  audiences: ['app'],
  issuers: null,
  ...changed,
})
const tokens = (changed: Partial<TokenIdentity> = {}, claim: string | null = null) => ({
  claim,
  identities: [identity(changed)],
})

test.each([
  ['one key and one audience', tokens(), tokens(), true],
  ['another key', tokens(), tokens({ key: 'other' }), false],
  ['another audience', tokens(), tokens({ audiences: ['other'] }), false],
  ['one of several audiences', tokens({ audiences: ['a', 'app'] }), tokens({ audiences: ['b', 'app'] }), true],
  ['issuers that differ', tokens({ issuers: ['x'] }), tokens({ issuers: ['y'] }), false],
  ['issuers that one of them does not compare', tokens({ issuers: ['x'] }), tokens(), true],
  ['the same issuer', tokens({ issuers: ['x', 'z'] }), tokens({ issuers: ['y', 'z'] }), true],
  ['one claim for both', tokens({}, 'org'), tokens({}, 'org'), false],
  ['a claim of one', tokens({}, 'org'), tokens(), true],
  ['two claims, which one token may have', tokens({}, 'org'), tokens({}, 'team'), true],
  ['the second of several keys', { claim: null, identities: [identity({ key: 'a' }), identity()] }, tokens(), true],
])('%s', (_, a, b, expected) => {
  expect([shareTokens(a, b), shareTokens(b, a)]).toEqual([expected, expected])
})
