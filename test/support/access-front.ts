import { createServer, request, type IncomingHttpHeaders, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A request that came to Access, and how the edge answered it. */
export interface TakenRequest {
  method: string
  path: string
  withCookie: boolean
  status: number
}

/**
 * What Cloudflare Access does in front of a deployment: it takes the assertion out of its cookie and puts it into the
 * header of the request. `/own-page` is a page of the deployment's own origin.
 */
export class AccessFront {
  readonly #server: Server
  readonly #target: URL
  #taken: TakenRequest[] = []

  private constructor(target: URL) {
    this.#target = target
    this.#server = createServer((asked, response) => {
      if (asked.url === '/own-page')
        return void response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>own</title>')
      const passed = this.#pass(asked, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      })
      passed.on('error', () => response.destroy())
      asked.pipe(passed)
    })
    this.#server.on('upgrade', (asked, socket) => {
      const passed = this.#pass(asked, () => socket.destroy())
      passed.on('upgrade', (answer, opened) => {
        this.#note(asked, answer.statusCode ?? 101)
        opened.destroy()
        socket.destroy()
      })
      passed.on('error', () => socket.destroy())
      passed.end()
    })
  }

  static async start(target: string): Promise<AccessFront> {
    const front = new AccessFront(new URL(target))
    await new Promise<void>((resolve) => front.#server.listen(0, '127.0.0.1', resolve))
    return front
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Returns the requests since the last call. */
  taken(): TakenRequest[] {
    const taken = this.#taken
    this.#taken = []
    return taken
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #pass(asked: IncomingMessage, answered: (answer: IncomingMessage) => void) {
    const { 'cf-access-jwt-assertion': _, ...rest } = asked.headers
    const assertion = assertionOf(asked)
    const headers: IncomingHttpHeaders = { ...rest, ...(assertion && { 'cf-access-jwt-assertion': assertion }) }
    const { hostname, port } = this.#target
    return request({ hostname, port, path: asked.url, method: asked.method, headers }, (answer) => {
      this.#note(asked, answer.statusCode ?? 0)
      answered(answer)
    })
  }

  #note(asked: IncomingMessage, status: number): void {
    const { method = '', url: path = '' } = asked
    this.#taken.push({ method, path, withCookie: assertionOf(asked) !== undefined, status })
  }
}

const assertionOf = ({ headers }: IncomingMessage): string | undefined =>
  /(?:^|; )CF_Authorization=([^;]+)/.exec(headers.cookie ?? '')?.[1]
