import { expect, test } from 'vitest'
import { Random } from '../../../../test/support/random.ts'
import { verifyChain } from './index.ts'
import {
  alternatives,
  authority,
  basic,
  constraints,
  dns,
  ip,
  keyUsage,
  make,
  nameOf,
  server,
  tlv,
  type Wanted,
} from './test-authority.ts'
import { HOST, NOW, outcome } from './test-cases.ts'
import { mutated } from './test-fuzz.ts'

const INPUTS = Number(process.env.ROCKPOOL_FUZZ ?? 2_000)

const names = [dns(HOST), ip(192, 0, 2, 1), tlv(0xa4, nameOf('server')), tlv(0x81, 97)]
const root = authority({
  cn: ['root'],
  extensions: [constraints([dns('example.com'), ip(192, 0, 2, 0, 255, 255, 255, 0)], [tlv(0xa4, nameOf('x'))])],
})
const middle = authority({ cn: ['middle'], by: root, extensions: [basic(true, 0)] })
const leaf = server({ by: middle, extensions: [alternatives(names)] })
const options = (chain: Uint8Array[], anchors = [root.der]) => ({
  chain,
  anchors,
  host: HOST,
  mode: 'full' as const,
  now: NOW,
})

test('a changed certificate of the server is refused, and nothing else happens', () => {
  expect(outcome(options([leaf.der, middle.der]))).toBe(3)
  const random = new Random(1)
  const reasons = new Set<string>()
  for (let i = 0; i < INPUTS; i++) {
    const changed = random.chance(0.5)
      ? [mutated(leaf.der, random), middle.der]
      : [leaf.der, mutated(middle.der, random)]
    if (changed.every((der, at) => Buffer.compare(der, [leaf, middle][at]?.der ?? der) === 0)) continue
    const result = outcome(options(changed))
    expect(result, `input ${i}`).toBeTypeOf('string')
    reasons.add(String(result))
  }
  expect([...reasons]).toEqual(expect.arrayContaining(['unreadable', 'authority']))
})

test('a changed authority is read or refused, and the chain with it', () => {
  const random = new Random(2)
  const results = new Set(
    Array.from({ length: INPUTS }, () => outcome(options([leaf.der, middle.der], [mutated(root.der, random)]))),
  )
  expect([...results]).toEqual(expect.arrayContaining(['unreadable', 'authority']))
})

test('a certificate that an authority has signed is read or refused, regardless of its content', () => {
  const random = new Random(3)
  const results = new Map<number | string, number>()
  const keys = leaf.keys
  for (let i = 0; i < INPUTS / 5; i++) {
    const wanted: Wanted = { by: middle, keys, cn: ['server'] }
    const made = make(
      wanted,
      [keyUsage(0x80), alternatives([dns(HOST)])].map((each) =>
        random.chance(0.5) ? { ...each, der: mutated(each.der, random) } : each,
      ),
    )
    const result = outcome(options([made.der, middle.der]))
    results.set(result, (results.get(result) ?? 0) + 1)
  }
  expect([...results.keys()]).toEqual(expect.arrayContaining([3, 'unreadable']))
})

test('garbage of every length is refused', () => {
  const random = new Random(4)
  for (let length = 0; length < 300; length++) {
    const garbage = Uint8Array.from({ length }, () => random.int(256))
    expect([
      outcome(options([garbage])),
      outcome(options([leaf.der, garbage])),
      outcome(options([leaf.der, middle.der], [garbage])),
    ]).toEqual(['unreadable', 'unreadable', 'unreadable'])
  }
  expect(outcome(options([]))).toBe('unreadable')
  expect(() => verifyChain(options([leaf.der, middle.der], []))).toThrow(/no authority/)
})
