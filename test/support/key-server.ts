import { createServer, type ServerResponse } from 'node:http'
import type { JWK } from 'jose'

/** An identity provider's key set over HTTP, which can be made to misbehave. Counts the requests. */
export interface KeyServer {
  readonly url: string
  /** The number of requests. */
  requests: number
  /** Answers requests from now on. */
  answer: (response: ServerResponse) => void
  publish(...keys: JWK[]): void
  /** Closes it, so that nothing listens at its address any more. */
  close(): Promise<void>
}

export async function startKeyServer(): Promise<KeyServer> {
  const http = createServer((_request, response) => {
    server.requests++
    server.answer(response)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const address = http.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const server: KeyServer = {
    url: `http://127.0.0.1:${address.port}/keys.json`,
    requests: 0,
    answer: (response) => response.end('{"keys":[]}'),
    publish(...keys) {
      server.answer = (response) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }))
    },
    async close() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
  return server
}
