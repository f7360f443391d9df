import { Buffer } from 'node:buffer'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { expect, test } from 'vitest'
import { BoundLogin } from './bound-login.ts'
import { Incoming } from './incoming.ts'

// An impostor with a trusted certificate but without the password gains nothing, whatever it sends and when.

const PASSWORD = 'pencil'
const END_POINT = createHash('sha256').update('certificate').digest()
const SALT = 'W22ZaJ0SNY7soEsUEjb6gQ=='

const message = (type: string, body: Uint8Array) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length + 4)
  return Buffer.concat([Buffer.from(type), length, body])
}
const request = (kind: number, rest = '') =>
  message('R', Buffer.concat([Buffer.from([0, 0, 0, kind]), Buffer.from(rest)]))
const OFFER = request(10, 'SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')
const OK = request(0)
const READY = message('Z', Buffer.from('I'))

/** A login whose other end knows the password. */
function begin({ required = null as string | null, endPoint = END_POINT as Uint8Array | null } = {}) {
  const sent: string[] = []
  const seen: Buffer[] = []
  const login = new BoundLogin({
    password: PASSWORD,
    endPoint,
    required,
    server: 'db:5432',
    send: (bytes) => sent.push(Buffer.from(bytes).toString('latin1')),
  })
  const incoming = new Incoming({
    safe: true,
    server: 'db:5432',
    login,
    emit: (bytes) => seen.push(Buffer.from(bytes)),
  })
  const nonce = () => /r=(.*)$/.exec(sent[0] ?? '')?.[1] ?? ''
  const hmac = (key: Uint8Array, text: string) => createHmac('sha256', key).update(text).digest()
  /** What a server says that knows `password`. */
  const final = (first: string, password = PASSWORD, endPoint: Uint8Array = END_POINT) => {
    const iterations = Number(/i=(\d+)/.exec(first)?.[1])
    const key = hmac(pbkdf2Sync(password, Buffer.from(SALT, 'base64'), iterations, 32, 'sha256'), 'Server Key')
    const binding = Buffer.concat([Buffer.from('p=tls-server-end-point,,'), endPoint]).toString('base64')
    return `v=${hmac(key, `n=*,r=${nonce()},${first},c=${binding},r=${/r=([^,]*)/.exec(first)?.[1]}`).toString('base64')}`
  }
  const first = (iterations = 4096) => `r=${nonce()}server,s=${SALT},i=${iterations}`
  return { sent, incoming, first, final, nonce, driver: () => Buffer.concat(seen) }
}

test('a server that knows the password and shows the same certificate: the driver hears that it is authenticated, and nothing else', () => {
  const { sent, incoming, first, final, driver } = begin()
  incoming.push(OFFER)
  expect(sent[0]).toMatch(/^p[^]{4}SCRAM-SHA-256-PLUS\0[^]{4}p=tls-server-end-point,,n=\*,r=[^,]{24}$/)
  incoming.push(request(11, first()))
  expect(sent[1]).toMatch(/^p[^]{4}c=[^,]+,r=[^,]+server,p=[^,]{44}$/)
  expect(sent[1]).toContain(Buffer.concat([Buffer.from('p=tls-server-end-point,,'), END_POINT]).toString('base64'))
  incoming.push(request(12, final(first())))
  expect(driver().length).toBe(0)
  incoming.push(Buffer.concat([OK, READY]))
  expect(driver().equals(Buffer.concat([OK, READY]))).toBe(true)
  expect(sent).toHaveLength(2)
})

type Begun = ReturnType<typeof begin>
const proved = ({ first, final }: Begun) => [OFFER, request(11, first()), request(12, final(first()))]

/** Each ends the login at its last message. */
const IMPOSTORS: [string, (login: Begun) => (Buffer | (() => Buffer))[]][] = [
  ['Ok in place of the first answer', () => [OFFER, OK]],
  ['clear text in place of the first answer', () => [OFFER, request(3)]],
  ['MD5 in place of the first answer', () => [OFFER, request(5, 'salt')]],
  ['GSS in place of the first answer', () => [OFFER, request(7)]],
  ['another offer', () => [OFFER, request(10, 'SCRAM-SHA-256\0\0')]],
  ['the end in place of the first answer', ({ first, final }) => [OFFER, () => request(12, final(first()))]],
  ['the nonce of another login', () => [OFFER, request(11, `r=other,s=${SALT},i=4096`)]],
  ['no nonce of its own', ({ nonce }) => [OFFER, () => request(11, `r=${nonce()},s=${SALT},i=4096`)]],
  ['an extension that is mandatory', ({ first }) => [OFFER, () => request(11, `m=x,${first()}`)]],
  ['no salt', ({ nonce }) => [OFFER, () => request(11, `r=${nonce()}x,s=,i=4096`)]],
  ['a salt that is none', ({ nonce }) => [OFFER, () => request(11, `r=${nonce()}x,s=*,i=4096`)]],
  ['an error', () => [OFFER, request(11, 'e=other-error')]],
  ['one iteration', ({ first }) => [OFFER, () => request(11, first(1))]],
  ['4,095 iterations', ({ first }) => [OFFER, () => request(11, first(4_095))]],
  ['100,001 iterations', ({ first }) => [OFFER, () => request(11, first(100_001))]],
  ['Ok in place of the proof', ({ first }) => [OFFER, () => request(11, first()), OK]],
  ['the first answer twice', ({ first }) => [OFFER, () => request(11, first()), () => request(11, first())]],
  ['clear text in place of the proof', ({ first }) => [OFFER, () => request(11, first()), request(3)]],
  [
    'the proof of another password',
    ({ first, final }) => [OFFER, () => request(11, first()), () => request(12, final(first(), 'other'))],
  ],
  [
    'the proof for another certificate',
    ({ first, final }) => [
      OFFER,
      () => request(11, first()),
      () => request(12, final(first(), PASSWORD, Buffer.alloc(32))),
    ],
  ],
  ['an empty proof', ({ first }) => [OFFER, () => request(11, first()), request(12, 'v=')]],
  [
    'an error in place of the proof',
    ({ first }) => [OFFER, () => request(11, first()), request(12, 'e=invalid-proof')],
  ],
  [
    'clear text behind the proof',
    (login) => [OFFER, () => proved(login)[1] as Buffer, () => proved(login)[2] as Buffer, request(3)],
  ],
  [
    'the proof twice',
    (login) => [
      OFFER,
      () => proved(login)[1] as Buffer,
      () => proved(login)[2] as Buffer,
      () => proved(login)[2] as Buffer,
    ],
  ],
  ['ready for a query at once', () => [READY]],
  ['ready for a query behind the offer', () => [OFFER, READY]],
  ['rows behind the offer', () => [OFFER, message('D', Buffer.alloc(2))]],
]

test.each(IMPOSTORS)('%s: nothing is sent, and the driver hears nothing', (_, messages) => {
  const login = begin()
  const all = messages(login)
  for (const [i, each] of all.entries()) {
    const push = () => login.incoming.push(typeof each === 'function' ? each() : each)
    if (i < all.length - 1) push()
    else expect(push).toThrow(/did not prove that it knows the password|iterations|does not speak the protocol/)
  }
  expect(login.driver().length).toBe(0)
  expect(login.sent.join('')).not.toContain(PASSWORD)
})

test('a proof is sent only for 4,096 to 100,000 iterations', () => {
  for (const [iterations, given] of [
    [1, 1],
    [4_095, 1],
    [4_096, 2],
    [100_000, 2],
    [100_001, 1],
  ] as const) {
    const { sent, incoming, first } = begin()
    incoming.push(OFFER)
    try {
      incoming.push(request(11, first(iterations)))
    } catch {
      // It is told.
    }
    expect(sent).toHaveLength(given)
  }
})

test('when required, any other login is refused before anything is sent; otherwise it is left to the driver', () => {
  for (const message of [OK, request(3), request(5, 'salt'), request(10, 'SCRAM-SHA-256\0\0')]) {
    const login = begin({ required: 'channel_binding=require' })
    expect(() => login.incoming.push(message)).toThrow(/channel_binding=require is not possible with db:5432/)
    expect([login.sent, login.driver().length]).toEqual([[], 0])
    const usual = begin()
    usual.incoming.push(message)
    expect(usual.driver().equals(message)).toBe(true)
  }
  expect(() => begin({ required: 'channel_binding=require', endPoint: null }).incoming.push(OFFER)).toThrow(
    /names no hash to bind to/,
  )
  const usual = begin({ endPoint: null })
  usual.incoming.push(OFFER)
  expect(usual.driver().equals(OFFER)).toBe(true)
})
