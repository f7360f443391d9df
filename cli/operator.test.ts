import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { OperatorClient, operatorOptions, tokenFromInput } from './operator.ts'

const options = (url: string) => operatorOptions(['--url', url, '--token', 'x'], {})

describe('an operator token goes nowhere in plain text', () => {
  test.each([
    'http://127.0.0.1:8787',
    'http://localhost:8787/',
    'http://[::1]:1',
    'HTTP://LOCALHOST',
    'http://127.1',
    'https://sync.example',
  ])('%s is taken', (url) => {
    expect(options(url).url).toBe(url.replace(/\/$/, ''))
  })

  test.each([
    'http://sync.example',
    'http://10.0.0.1:8787',
    'http://localhost.example',
    'http://127.0.0.1.example',
    'http://[2001:db8::1]',
    'http://0.0.0.0:8787',
  ])('%s is refused', (url) => {
    expect(() => options(url)).toThrow(/^ROCKPOOL_PLAIN_HTTP: .* in plain text: --url must begin with https:\/\/$/)
  })

  test.each([
    ['http://localhost:8787@sync.example', /no user or password/],
    ['ftp://localhost', /must begin with/],
    ['http://', /must begin with/],
    ['sync.example', /must begin with/],
  ])('%s', (url, message) => {
    expect(() => options(url)).toThrow(message)
  })

  test('also by ROCKPOOL_URL, and with the secret instead of a token', () => {
    expect(() => operatorOptions([], { ROCKPOOL_URL: 'http://sync.example', JWT_SECRET: 'x' })).toThrow(/ROCKPOOL_PLAIN_HTTP/)
  })

  test('nor to where the server sends it', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(307, { location: '/elsewhere' }).end()
    })
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address()
        resolve(address !== null && typeof address === 'object' ? address.port : 0)
      })
    })
    const client = await OperatorClient.of(options(`http://127.0.0.1:${port}`))
    await expect(client.ask('GET', 'sync-config')).rejects.toThrow(/answered 307, which is not Rockpool/)
    expect(asked).toEqual(['/admin/sync-config'])
    server.close()
  })
})

test('a token of the environment or of standard input', async () => {
  expect(operatorOptions([], { ROCKPOOL_TOKEN: ' a.b.c\n' }).token).toBe('a.b.c')
  expect(await tokenFromInput(Readable.from(['a.', 'b.c\n', 'more']))).toBe('a.b.c')
  expect(await tokenFromInput(Readable.from(['a.b.c']))).toBe('a.b.c')
  await expect(tokenFromInput(Readable.from([]))).rejects.toThrow(/no token on standard input/)
  await expect(tokenFromInput(Readable.from(['x'.repeat(40_000)]))).rejects.toThrow(/no token on standard input/)
  await expect(OperatorClient.of({ ...options('https://sync.example'), token: 'a\u0000b' })).rejects.toThrow(/characters that no token has/)
})
