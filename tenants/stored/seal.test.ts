import { describe, expect, test } from 'vitest'
import { keyRing, open, seal, sealedBy } from './seal.ts'

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64url')
const PLACE = { tenant: 'acme', field: 'DATABASE_URL' }
const TEXT = 'postgres://rockpool:pässword@db.example/app'
const refused = expect.objectContaining({ code: 'ROCKPOOL_TENANT_KEY' })

describe('a secret', () => {
  const ring = keyRing(`one:${key(1)}`)

  test('is read with the key that encrypted it, and is never the same text twice', () => {
    const [sealed, again] = [seal(ring, PLACE, TEXT), seal(ring, PLACE, TEXT)]
    expect([open(ring, PLACE, sealed), open(ring, PLACE, again)]).toEqual([TEXT, TEXT])
    expect(sealed).not.toBe(again)
    expect(Buffer.from(sealed.split('.')[2] ?? '', 'base64url').toString('latin1')).not.toContain('rockpool')
  })

  test('is of no use in the place of another tenant or field, and none of its bytes can be changed', () => {
    const sealed = seal(ring, PLACE, TEXT)
    expect(() => open(ring, { ...PLACE, tenant: 'other' }, sealed)).toThrow(refused)
    expect(() => open(ring, { ...PLACE, field: 'JWT_SECRET' }, sealed)).toThrow(refused)
    const [form, id, body = ''] = sealed.split('.')
    const bytes = Buffer.from(body, 'base64url')
    for (const [at, byte] of bytes.entries()) {
      const changed = Buffer.from(bytes)
      changed[at] = byte ^ 1
      expect(() => open(ring, PLACE, `${form}.${id}.${changed.toString('base64url')}`)).toThrow(refused)
    }
    expect(() => open(ring, PLACE, `${form}.${id}.AAAA`)).toThrow(refused)
  })

  test('outlives a rotation: the new key encrypts, both decrypt, and without the old one the error names its id', () => {
    const sealed = seal(ring, PLACE, TEXT)
    const both = keyRing(`two:${key(2)}, one:${key(1)}`)
    expect(open(both, PLACE, sealed)).toBe(TEXT)
    expect(sealedBy(seal(both, PLACE, TEXT))).toBe('two')
    expect(() => open(keyRing(`two:${key(2)}`), PLACE, sealed)).toThrow('"one"')
    // Another key under the same id.
    expect(() => open(keyRing(`one:${key(2)}`), PLACE, sealed)).toThrow(refused)
  })
})

test.each(['', 'one', `one:${key(1).slice(1)}`, `one:${key(1)},`, `one:${key(1)},one:${key(2)}`, `a b:${key(1)}`])(
  'keys of another form are refused by the name of the setting, without the value: %s',
  (text) => {
    expect(() => keyRing(text)).toThrow(
      expect.objectContaining({ code: 'ROCKPOOL_SETTINGS', message: expect.stringMatching(/^TENANT_KEYS: [^A]*$/) }),
    )
  },
)
