import { EventEmitter } from 'node:events'
import { RockpoolError } from '../../../protocol/errors.ts'
import { endPointOf } from '../tls/chain/index.ts'
import { shownAddress } from './address.ts'
import { BoundLogin } from './bound-login.ts'
import { Incoming } from './incoming.ts'
import { isLoopback, type HostPort, type SourceUrl } from './source-url.ts'
import type { Trust } from './trust.ts'

/** The parts of a socket that the driver uses, and `authorized` as Node has it, for a socket with verified TLS. */
export interface RawSocket extends EventEmitter {
  readonly readyState: string
  readonly authorized?: boolean
  /** DER of the server's own certificate, when TLS is ours. */
  readonly certificate?: Uint8Array | null
  write(data: Uint8Array, done?: () => void): boolean
  end(): unknown
  end(data: Uint8Array): unknown
  destroy(): unknown
  pause(): unknown
  resume(): unknown
}

type Credentials = Pick<SourceUrl, 'password' | 'channelBinding'>

/** A socket on which the driver receives only what `Incoming` lets through. An error of `Incoming` ends it. */
export class GuardedSocket extends EventEmitter {
  readonly #raw: RawSocket
  #failed = false
  /** True when the driver has closed the socket. */
  #left = false

  constructor(raw: RawSocket, address: HostPort, credentials: Credentials, trust: Trust) {
    super()
    this.#raw = raw
    const server = shownAddress(address)
    const incoming = new Incoming({
      safe: raw.authorized === true || isLoopback(address),
      server,
      login: boundLogin(raw, server, credentials, trust),
      emit: (bytes) => this.emit('data', bytes),
    })
    raw.on('data', (bytes: Uint8Array) => {
      if (this.#failed) return
      try {
        incoming.push(bytes)
      } catch (error) {
        this.#failed = true
        if (this.listenerCount('error') > 0) this.emit('error', error)
        raw.destroy()
      }
    })
    raw.on('error', (error: unknown) => {
      if (!this.#failed && this.listenerCount('error') > 0) this.emit('error', error)
      this.#failed = true
    })
    raw.on('close', (hadError: unknown) => {
      if (!incoming.authenticated && !this.#failed && !this.#left && this.listenerCount('error') > 0) {
        // The driver would connect again and again without reporting it (postgres.js 3.4, 2026-11).
        const problem = `${server} closed the connection before the login was complete`
        this.emit('error', new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', problem))
      }
      this.emit('close', hadError)
    })
    raw.on('drain', () => this.emit('drain'))
  }

  get readyState(): string {
    return this.#raw.readyState
  }

  write(data: Uint8Array, done?: () => void): boolean {
    return this.#raw.write(data, done)
  }

  end(data?: Uint8Array): void {
    this.#left = true
    if (data) this.#raw.end(data)
    else this.#raw.end()
  }

  destroy(): void {
    this.#left = true
    this.#raw.destroy()
  }

  pause(): void {
    this.#raw.pause()
  }

  resume(): void {
    this.#raw.resume()
  }
}

/**
 * Returns the bound login of a connection, or undefined when TLS is the runtime's, which does not show the certificate.
 * For a server that no authority vouches for there always is one, and no other login is accepted.
 */
function boundLogin(
  raw: RawSocket,
  server: string,
  { password, channelBinding }: Credentials,
  trust: Trust,
): BoundLogin | undefined {
  const required = trust.by === 'login' ? trust.said : channelBinding === 'require' ? 'channel_binding=require' : null
  const send = (bytes: Uint8Array) => void raw.write(bytes)
  if (trust.by === 'login')
    return new BoundLogin({
      server,
      password,
      required,
      endPoint: raw.certificate ? endPointOf(raw.certificate) : null,
      send,
    })
  if (!raw.certificate || channelBinding === 'disable') return undefined
  return new BoundLogin({ server, password, required, endPoint: endPointOf(raw.certificate), send })
}
