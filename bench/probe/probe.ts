import { z } from 'zod'
import { RawWebSocket } from '../../test/wire/web-socket.ts'

type Query = Record<string, string | number>

/** The deployed Worker, and how it is asked. */
export class Probe {
  readonly #url: string
  readonly #token: string

  constructor(url: string, token: string) {
    this.#url = url.replace(/\/+$/, '')
    this.#token = token
  }

  get<T>(shape: z.ZodType<T>, path: string, query: Query = {}): Promise<T> {
    return this.#ask('GET', shape, path, query)
  }

  async post(path: string, query: Query = {}): Promise<void> {
    await this.#ask('POST', z.object({}), path, query)
  }

  socket(path: string): Promise<RawWebSocket> {
    return RawWebSocket.open(this.#url, this.#path(path, {}))
  }

  /** Throws Error with what the Worker said. */
  async #ask<T>(method: string, shape: z.ZodType<T>, path: string, query: Query): Promise<T> {
    const response = await fetch(`${this.#url}${this.#path(path, query)}`, { method })
    const text = await response.text()
    if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 300)}`)
    return shape.parse(JSON.parse(text))
  }

  #path(path: string, query: Query): string {
    const parameters = new URLSearchParams({
      ...Object.fromEntries(Object.entries(query).map(([k, v]) => [k, String(v)])),
      token: this.#token,
    })
    return `${path}?${parameters}`
  }
}
