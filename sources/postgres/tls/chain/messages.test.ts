import { expect, test } from 'vitest'
import { RockpoolError } from '../../../../protocol/errors.ts'
import { verifyChain, type ChainOptions } from './index.ts'
import { alternatives, authority, dns, ip, server, utc } from './test-authority.ts'
import { HOST, NOW, middle, root } from './test-cases.ts'

function messageOf(options: Partial<ChainOptions>): string {
  try {
    verifyChain({ chain: [], anchors: [root.der], host: HOST, mode: 'full', now: NOW, ...options })
  } catch (error) {
    if (error instanceof RockpoolError && error.code === 'ROCKPOOL_SOURCE_TLS') return error.message
    throw error
  }
  return 'it passes'
}

async function sha256(der: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(der))
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join(':')
}

test('the verified path is returned, leaf first', () => {
  const leaf = server({ by: middle })
  const path = verifyChain({ chain: [leaf.der, middle.der], anchors: [root.der], host: HOST, mode: 'full', now: NOW })
  expect(path.map(({ subject }) => subject)).toEqual(['CN=db.example.com', 'CN=middle', 'CN=root'])
})

test('the error for an unknown authority shows its name and fingerprint, and those of the known ones', async () => {
  const stranger = authority({ cn: ['stranger'] })
  const leaf = server({ by: stranger })
  expect(messageOf({ chain: [leaf.der] })).toBe(
    `the chain of the server ends with the certificate of "CN=db.example.com" (SHA-256 ${await sha256(leaf.der)}), signed by "CN=stranger". That is not one of the authorities in DATABASE_CA ("CN=root"). ` +
      'If your host has a new authority, get its certificate from there, not from the server, and put it into DATABASE_CA beside the old one',
  )
  expect(messageOf({ chain: [leaf.der, stranger.der] })).toContain(
    `ends with the certificate of "CN=stranger" (SHA-256 ${await sha256(stranger.der)}), signed by itself`,
  )
  const namesake = authority({ cn: ['root'] })
  expect(messageOf({ chain: [server({ by: namesake }).der] })).toContain(
    `There is an authority of that name, but with another key or another certificate (SHA-256 ${await sha256(root.der)})`,
  )
})

test('the error for another host shows the names of the certificate', () => {
  const leaf = server({
    by: root,
    cn: ['x'],
    extensions: [alternatives([dns('a.example.com'), ip(192, 0, 2, 1), ip(...new Array<number>(15).fill(0), 1)])],
  })
  expect(messageOf({ chain: [leaf.der] })).toContain(
    'is for a.example.com, 192.0.2.1, ::1, and not for db.example.com. Connect to',
  )
})

test('the error for a date shows the date', () => {
  const past = { by: root, from: utc('200101000000Z'), to: utc('210101000000Z') }
  expect(messageOf({ chain: [server(past).der] })).toMatch(
    /"CN=db\.example\.com" expired on 2021-01-01T00:00:00Z\. Renew it/,
  )
  expect(messageOf({ chain: [server({ by: root, from: utc('300101000000Z') }).der] })).toContain(
    'is valid from 2030-01-01T00:00:00Z on',
  )
})

test('foreign text is shown without control characters, and cut', () => {
  const leaf = server({ by: authority({ cn: ['evil'] }), cn: [`\x1b[2J\u202e${'x'.repeat(1000)}`] })
  const message = messageOf({ chain: [leaf.der] })
  expect(message).not.toMatch(/\p{C}/u)
  expect(message.length).toBeLessThan(900)
})
