import { createServer, type IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { OperatorClient, operatorOptions, tokenFromInput } from './operator.ts'
import { Refused } from './refused.ts'

const options = (url: string) => operatorOptions('deploy', ['--url', url, '--token', 'x'], {})

const serving = async (listener: Parameters<typeof createServer>[1], run: (port: number) => Promise<void>) => {
  const server = createServer(listener)
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(address !== null && typeof address === 'object' ? address.port : 0)
    })
  })
  await run(port).finally(() => server.close())
}

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
    expect(() => operatorOptions('deploy', [], { ROCKPOOL_URL: 'http://sync.example', JWT_SECRET: 'x' })).toThrow(
      /ROCKPOOL_PLAIN_HTTP/,
    )
  })

  test('nor to where the server sends it', async () => {
    const asked: string[] = []
    await serving(
      (request, response) => {
        asked.push(request.url ?? '')
        response.writeHead(307, { location: '/elsewhere' }).end()
      },
      async (port) => {
        const client = await OperatorClient.of(options(`http://127.0.0.1:${port}`))
        await expect(client.ask('GET', 'sync-config')).rejects.toThrow(
          /is not a Rockpool: \/admin\/sync-config was answered 307 with a way to \/elsewhere/,
        )
      },
    )
    expect(asked).toEqual(['/admin/sync-config'])
  })
})

describe('an address that is not a Rockpool', () => {
  const asked = async (url: string) => (await OperatorClient.of(options(url))).ask('GET', 'sync-config?n=1')

  test('a web page, or foreign JSON', async () => {
    await serving(
      (_, response) =>
        response.writeHead(404, { 'content-type': 'text/html' }).end('<!DOCTYPE html><h1>Not Found</h1>'),
      async (port) => {
        await expect(asked(`http://127.0.0.1:${port}`)).rejects.toThrow(
          `http://127.0.0.1:${port} is not a Rockpool: /admin/sync-config was answered 404 with a web page`,
        )
      },
    )
    await serving(
      (_, response) => response.end('{"ok":true}'),
      async (port) =>
        await expect(asked(`http://127.0.0.1:${port}`)).rejects.toThrow(
          /is not a Rockpool: .* 200 with no answer of ours/,
        ),
    )
  })

  test('no server, no host, no TLS', async () => {
    let port = 0
    await serving(
      (_, response) => response.end(),
      async (of) => {
        port = of
        await expect(asked(`https://127.0.0.1:${of}`)).rejects.toThrow(/cannot be reached: it does not speak TLS/)
      },
    )
    await expect(asked(`http://127.0.0.1:${port}`)).rejects.toThrow(
      /cannot be reached: nobody listens at this address; is rockpool dev running\?$/,
    )
    await expect(asked('https://rockpool.invalid')).rejects.toThrow(
      /cannot be reached: (there is no host of this name|names cannot be looked up)/,
    )
  })
})

describe('without a token, and without a secret in the data folder', () => {
  const asked = (url: string) =>
    OperatorClient.of(operatorOptions('status', ['--url', url, '--data', '/nowhere/data'], {}))

  test('a wrong port is no matter of secrets', async () => {
    let port = 0
    await serving(
      (_, response) => response.writeHead(404, { 'content-type': 'text/html' }).end('<html>'),
      async (of) => {
        port = of
        await expect(asked(`http://127.0.0.1:${of}`)).rejects.toThrow(
          /is not a Rockpool: \/probes\/liveness was answered 404 with a web page/,
        )
      },
    )
    await expect(asked(`http://127.0.0.1:${port}`)).rejects.toThrow(
      /cannot be reached: nobody listens at this address; is rockpool dev running\?$/,
    )
  })

  test('a Rockpool that is there: where a secret is looked for, and that of its terminal', async () => {
    await serving(
      (_, response) => response.end('{"data":{"started":true,"ready":true}}'),
      async (port) => {
        await expect(asked(`http://127.0.0.1:${port}`)).rejects.toThrow(
          /^there is no secret in \/nowhere\/data: .* JWT_SECRET was set where that Rockpool/,
        )
      },
    )
  })
})

test('a token that is refused says that, and which secret it was signed with when it is ours', async () => {
  const body = {
    error: { code: 'PSYNC_S2102', description: 'the signature is wrong', status: 401, name: 'RockpoolError' },
  }
  const told = async (...args: string[]) => {
    let text = ''
    await serving(
      (_, response) => response.writeHead(401).end(JSON.stringify(body)),
      async (port) => {
        const client = await OperatorClient.of(
          operatorOptions('status', ['--url', `http://127.0.0.1:${port}`, ...args], {}),
        )
        const error: unknown = await client.ask('GET', 'status').catch((refused: unknown) => refused)
        text = error instanceof Refused ? error.text : String(error)
      },
    )
    return text
  }
  expect(await told('--token', 'x')).toBe('the token was refused: PSYNC_S2102: the signature is wrong')
  const secret = 'c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U'
  expect(await told('--jwt-secret', secret)).toMatch(
    /^the token was refused: PSYNC_S2102: the signature is wrong\nIt was signed with JWT_SECRET, .*set it here, too$/,
  )
})

test('a token of the environment or of standard input', async () => {
  expect(operatorOptions('deploy', [], { ROCKPOOL_TOKEN: ' a.b.c\n' }).token).toBe('a.b.c')
  expect(await tokenFromInput(Readable.from(['a.', 'b.c\n', 'more']))).toBe('a.b.c')
  expect(await tokenFromInput(Readable.from(['a.b.c']))).toBe('a.b.c')
  await expect(tokenFromInput(Readable.from([]))).rejects.toThrow(/no token on standard input/)
  await expect(tokenFromInput(Readable.from(['x'.repeat(40_000)]))).rejects.toThrow(/no token on standard input/)
  await expect(OperatorClient.of({ ...options('https://sync.example'), token: 'a\u0000b' })).rejects.toThrow(
    /characters that no token has/,
  )
})

test('a service token of Access goes in its own headers, in place of a token or beside one', async () => {
  const asked: IncomingHttpHeaders[] = []
  const env = { ROCKPOOL_ACCESS_ID: 'abc.access\n', ROCKPOOL_ACCESS_SECRET: 'hidden' }
  await serving(
    (request, response) => {
      asked.push(request.headers)
      response.end('{"data":{}}')
    },
    async (port) => {
      for (const args of [[], ['--token', 'a.b.c']]) {
        const given = operatorOptions('status', ['--url', `http://127.0.0.1:${port}`, ...args], env)
        await (await OperatorClient.of(given)).ask('GET', 'status')
      }
    },
  )
  const access = { 'cf-access-client-id': 'abc.access', 'cf-access-client-secret': 'hidden' }
  expect(asked).toMatchObject([access, { ...access, authorization: 'Token a.b.c' }])
  expect(asked[0]).not.toHaveProperty('authorization')
  // It is enough for an address that is not of this machine.
  expect(operatorOptions('status', ['https://sync.example'], env).access).toEqual(access)
  expect(() => operatorOptions('status', [], { ROCKPOOL_ACCESS_ID: 'abc' })).toThrow(/set both/)
  expect(() => operatorOptions('status', [], { ...env, ROCKPOOL_ACCESS_SECRET: 'a\0b' })).toThrow(/no service token/)
})

test('a key without the permission is told what is missing, and what to do', () => {
  const description = 'this needs the permission data for the tenant acme, which ann (key ci) does not have'
  const refused = new Refused({ name: 'RockpoolError', code: 'ROCKPOOL_PERMISSION', status: 403, description })
  expect(refused.output(false)).toBe(
    `ROCKPOOL_PERMISSION: ${description}\nTake a key that has it, or list it among the "permissions" of this one in OPERATOR_KEYS: docs/auth.md\n`,
  )
  expect(JSON.parse(refused.output(true))).toMatchObject({ ok: false, error: { code: 'ROCKPOOL_PERMISSION' } })
})
