import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectSource, type ConnectOptions } from '../../sources/postgres/index.ts'

// Somebody between us and Postgres says that there is no TLS, and asks for the password.

/** An address of this machine that no name gives away as one. */
const ELSEWHERE = '0.0.0.0'
const PASSWORD = 'a-password-in-clear'

let impostor: Server
let port = 0
let way = 3
let heard = ''

beforeAll(async () => {
  impostor = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1')
      if (bytes.readUInt32BE(0) === 8) socket.write('N')
      // A startup packet has no letter.
      else if (bytes[0] === 0)
        socket.write(Buffer.from([0x52, 0, 0, 0, way === 5 ? 12 : 8, 0, 0, 0, way, ...(way === 5 ? [1, 2, 3, 4] : [])]))
    })
  })
  await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve))
  const address = impostor.address()
  if (address !== null && typeof address !== 'string') port = address.port
})
afterAll(() => void impostor?.close())

async function connect(host: string, query: string, options: ConnectOptions = {}): Promise<string> {
  heard = ''
  const sql = connectSource(`postgres://u:${PASSWORD}@${host}:${port}/d?connect_timeout=1&${query}`, options)
  try {
    await sql`SELECT 1`
    return 'in'
  } catch (error) {
    return String(error)
  } finally {
    await sql.end({ timeout: 0 })
  }
}
const given = () => heard.includes(PASSWORD) || heard.includes('md5')

test.each([3, 5])('no password is given, asked for in way %i', async (kind) => {
  way = kind
  expect(await connect(ELSEWHERE, '')).toMatch(/offers no TLS/)
  expect(given()).toBe(false)
  for (const [query, options] of [
    ['sslmode=disable', {}],
    ['', { earlierTls: true }],
    ['sslmode=prefer', { earlierTls: true }],
  ] as const) {
    expect(await connect(ELSEWHERE, query, options)).toMatch(/asks for the password .* so it is not sent/)
    expect(given()).toBe(false)
  }
})

test('on the loopback interface it is', async () => {
  way = 3
  await connect('127.0.0.1', '')
  expect(given()).toBe(true)
})
