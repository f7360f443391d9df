import { z } from 'zod'
import type { Environment } from '../../../durable-objects/environment.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import { rulesOf } from '../../auth/tenant-rules.ts'
import { tokenOfHeader, verifyToken, type Caller } from '../../auth/token.ts'
import { guarded } from '../../rates.ts'
import { streamRequest } from '../../stream/body.ts'
import {
  FRAGMENTS_SECONDS,
  LINGER_SECONDS,
  MAX_BODY_BYTES,
  MAX_EARLY_FRAMES,
  MAX_KEEPALIVE_BYTES,
  MAX_LIFETIME_SECONDS,
  MAX_STREAMS,
  MAX_UNREAD_ANSWER_BYTES,
  PROBE_BYTES,
  RECEIPT_SECONDS,
} from '../../stream/limits.ts'
import type { SocketProtocol } from '../socket-protocol.ts'
import { Assembly } from './assembly.ts'
import { Answers } from './flow.ts'
import { decodeFrame, ErrorCode, errorFrame, Flag, keepaliveFrame, type Frame } from './frames.ts'
import { payloadReader, type PayloadReader } from './mime.ts'
import { errorText, RSocketStream, type RSocketOutput } from './stream.ts'

const setupMetadata = z.object({ token: z.string(), user_agent: z.string().optional().catch(undefined) })
const requestMetadata = z.object({ path: z.string() })
const PATH = '/sync/stream'

type Setup = Extract<Frame, { type: 'setup' }>
type RequestFrame = Extract<Frame, { type: 'request-stream' }>

interface Accepted {
  caller: Caller
  /** What the client says that it is: a browser cannot say it in a header. */
  agent: string | undefined
  readMetadata: PayloadReader
  readData: PayloadReader
}

/**
 * The server side of an RSocket connection: SETUP with the token, then REQUEST_STREAM for `/sync/stream`. Frames are
 * processed in order. The file is long because it is one state machine over the frames of a connection: each method is
 * a transition, and all share the same state.
 */
export class RSocketConnection implements SocketProtocol {
  readonly #env: Environment
  readonly #tenant: Tenant
  readonly #socket: WebSocket
  readonly #address: string | null
  readonly #agent: string | undefined
  readonly #streams = new Map<number, RSocketStream>()
  readonly #assemblies = new Map<number, Assembly>()
  /** Frames that arrived while the token was being verified: clients do not wait for an answer to SETUP. */
  #waiting: Frame[] | null = null
  #waitingBytes = 0
  #setup: Setup | null = null
  #accepted: Accepted | null = null
  #closed = false
  #lifetime: ReturnType<typeof setTimeout> | null = null
  #linger: ReturnType<typeof setTimeout> | null = null
  #serial = 0
  #unprobed = 0
  readonly #answers = new Answers()
  #probe: { nonce: Uint8Array; serial: number } | null = null

  /** `address`: see `addressOf`. `agent`: see `agentOf`. */
  constructor(
    env: Environment,
    tenant: Tenant,
    socket: WebSocket,
    address: string | null = null,
    agent: string | undefined = undefined,
  ) {
    this.#env = env
    this.#tenant = tenant
    this.#socket = socket
    this.#address = address
    this.#agent = agent
  }

  receive(data: string | ArrayBuffer): void {
    if (this.#closed) return
    try {
      if (typeof data === 'string') throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'frames of RSocket are binary')
      if (data.byteLength > MAX_BODY_BYTES) {
        throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `a message is larger than ${MAX_BODY_BYTES} bytes`)
      }
      this.#waitingBytes += data.byteLength
      if (!this.#accepted && this.#waitingBytes > MAX_BODY_BYTES) {
        throw new RockpoolError(
          'ROCKPOOL_CLIENT_FRAME',
          `more than ${MAX_BODY_BYTES} bytes before the token is verified`,
        )
      }
      this.#frame(decodeFrame(new Uint8Array(data)))
    } catch (error) {
      const code = this.#setup ? ErrorCode.CONNECTION_ERROR : ErrorCode.INVALID_SETUP
      this.#fail(code, error instanceof RockpoolError ? error : new RockpoolError('ROCKPOOL_CLIENT_FRAME', text(error)))
    }
  }

  gone(): void {
    this.#closed = true
    for (const timer of [this.#lifetime, this.#linger]) if (timer) clearTimeout(timer)
    for (const assembly of this.#assemblies.values()) assembly.end()
    for (const stream of this.#streams.values()) stream.cancel()
  }

  #frame(frame: Frame): void {
    if (!this.#setup) {
      if (frame.type !== 'setup' || frame.streamId !== 0)
        throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'the first frame must be SETUP')
      this.#begin(frame)
    } else if (frame.type === 'keepalive') this.#keepalive(frame)
    else if (this.#waiting) {
      if (this.#waiting.push(frame) > MAX_EARLY_FRAMES) {
        throw new RockpoolError(
          'ROCKPOOL_CLIENT_FRAME',
          `more than ${MAX_EARLY_FRAMES} frames before the token is verified`,
        )
      }
    } else this.#process(frame)
  }

  #begin(setup: Setup): void {
    if (setup.lifetimeMs === 0)
      throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'the lifetime of a connection cannot be 0')
    this.#setup = setup
    this.#waiting = []
    this.#alive()
    this.#accept(setup).then(
      (accepted) => {
        if (this.#closed) return
        this.#accepted = accepted
        const waiting = this.#waiting ?? []
        this.#waiting = null
        try {
          for (const frame of waiting) this.#process(frame)
        } catch (error) {
          this.#fail(ErrorCode.CONNECTION_ERROR, error)
        }
        this.#lingerWhenIdle()
      },
      (error: unknown) =>
        this.#fail(error instanceof UnsupportedVersion ? ErrorCode.UNSUPPORTED_SETUP : ErrorCode.REJECTED_SETUP, error),
    )
  }

  async #accept(setup: Setup): Promise<Accepted> {
    if (setup.major !== 1) throw new UnsupportedVersion(setup)
    if (setup.flags & Flag.RESUME) throw new RockpoolError('PSYNC_S2001', 'sessions cannot be resumed')
    if (setup.flags & Flag.LEASE) throw new RockpoolError('PSYNC_S2001', 'there are no leases')
    const readMetadata = payloadReader(setup.metadataMime)
    const readData = payloadReader(setup.dataMime)
    if (!setup.metadata) throw new RockpoolError('PSYNC_S2106', 'SETUP carries no metadata, and so no token')
    const metadata = setupMetadata.safeParse(readMetadata(setup.metadata))
    if (!metadata.success)
      throw new RockpoolError('PSYNC_S2106', 'the metadata of SETUP must be {"token": "Token <jwt>"}')
    const { token, user_agent: agent = this.#agent } = metadata.data
    const caller = await guarded(this.#env, this.#address, async (refresh) =>
      verifyToken(tokenOfHeader(token), await rulesOf(this.#env, this.#tenant), { refresh }),
    )
    return { caller, agent, readMetadata, readData }
  }

  #process(frame: Frame): void {
    switch (frame.type) {
      case 'request-stream':
        return this.#requestStream(frame)
      case 'request-n':
        if (frame.n === 0) throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'REQUEST_N of 0')
        return this.#streams.get(frame.streamId)?.request(frame.n)
      case 'cancel':
        this.#forget(frame.streamId)
        return this.#streams.get(frame.streamId)?.cancel()
      case 'payload': {
        const assembly = this.#assemblies.get(frame.streamId)
        if (assembly) this.#assemble(frame.streamId, assembly, frame)
        return
      }
      case 'error':
        if (frame.streamId === 0) return this.#close()
        return this.#streams.get(frame.streamId)?.cancel()
      case 'setup':
        throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', 'a second SETUP')
      case 'keepalive':
        return this.#keepalive(frame)
      case 'other':
        if (frame.flags & Flag.IGNORE) return
        if (frame.streamId === 0)
          throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `frames of type ${frame.number} are not understood`)
        this.#refuse(
          frame.streamId,
          ErrorCode.REJECTED,
          new RockpoolError('PSYNC_S2002', 'only REQUEST_STREAM is answered'),
        )
    }
  }

  #requestStream(frame: RequestFrame): void {
    const { streamId } = frame
    if (streamId % 2 === 0)
      throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `${streamId} cannot be the id of a client's stream`)
    if (this.#streams.has(streamId) || this.#assemblies.has(streamId)) {
      throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `stream ${streamId} is in use`)
    }
    if (frame.initialN === 0) {
      this.#refuse(streamId, ErrorCode.INVALID, new RockpoolError('PSYNC_S2001', 'the initial request-n cannot be 0'))
    } else if (this.#streams.size + this.#assemblies.size >= MAX_STREAMS) {
      this.#refuse(
        streamId,
        ErrorCode.REJECTED,
        new RockpoolError('PSYNC_S2001', `more than ${MAX_STREAMS} streams at a time`),
      )
    } else {
      if (this.#linger) clearTimeout(this.#linger)
      this.#linger = null
      const assembly = new Assembly(frame.initialN, () => this.#late(streamId))
      this.#assemblies.set(streamId, assembly)
      this.#assemble(streamId, assembly, frame)
    }
  }

  #assemble(streamId: number, assembly: Assembly, fragment: Parameters<Assembly['add']>[0]): void {
    const accepted = this.#accepted
    if (!accepted) return
    try {
      const payload = assembly.add(fragment)
      if (!payload) return
      this.#forget(streamId)
      const metadata = requestMetadata.safeParse(payload.metadata && accepted.readMetadata(payload.metadata))
      if (!metadata.success)
        throw new RockpoolError('PSYNC_S2001', `the metadata of a request must be {"path": "${PATH}"}`)
      if (metadata.data.path !== PATH) throw new RockpoolError('PSYNC_S2002', `there is no ${metadata.data.path}`)
      const { subscriptions } = this.#tenant.streams
      const request = streamRequest(payload.data.length === 0 ? {} : accepted.readData(payload.data), subscriptions)
      const { caller, agent } = accepted
      const what = { env: this.#env, tenant: this.#tenant, caller, agent, request }
      this.#streams.set(streamId, new RSocketStream(streamId, this.#output, assembly.initialN, what))
    } catch (error) {
      this.#forget(streamId)
      this.#refuse(streamId, ErrorCode.APPLICATION_ERROR, error)
    }
  }

  #late(streamId: number): void {
    this.#forget(streamId)
    const error = new RockpoolError('PSYNC_S2001', `a request was not complete after ${FRAGMENTS_SECONDS} seconds`)
    this.#refuse(streamId, ErrorCode.APPLICATION_ERROR, error)
  }

  #forget(streamId: number): void {
    this.#assemblies.get(streamId)?.end()
    this.#assemblies.delete(streamId)
  }

  #refuse(streamId: number, code: number, error: unknown): void {
    this.#answer(errorFrame(streamId, code, errorText(error)))
    this.#lingerWhenIdle()
  }

  /** Sends an answer that no request-n covers. */
  #answer(frame: Uint8Array): void {
    if (this.#closed) return
    if (this.#answers.bytes + frame.length > MAX_UNREAD_ANSWER_BYTES) {
      const error = new RockpoolError(
        'ROCKPOOL_CLIENT_FRAME',
        `more than ${MAX_UNREAD_ANSWER_BYTES} bytes of answers are not read`,
      )
      return this.#fail(ErrorCode.CONNECTION_ERROR, error)
    }
    this.#answers.sent(this.#output.count(frame.length), frame.length)
    this.#send(frame)
  }

  readonly #output: RSocketOutput = {
    send: (frame) => this.#send(frame),
    count: (bytes) => {
      this.#unprobed += bytes
      // In a microtask, so that the question follows the frame that is being sent now.
      if (this.#unprobed >= PROBE_BYTES) queueMicrotask(() => this.#askReceipt())
      return ++this.#serial
    },
    probe: () => this.#askReceipt(),
    silent: () => {
      const message = `the client has not confirmed for ${RECEIPT_SECONDS} seconds that it receives what it requested`
      this.#fail(ErrorCode.CONNECTION_ERROR, new RockpoolError('PSYNC_S2003', message))
    },
    ended: (streamId) => {
      this.#streams.delete(streamId)
      this.#lingerWhenIdle()
    },
  }

  /**
   * Asks the client to confirm receipt, one question at a time. A nonce makes sure that only a client that has read the
   * question can answer it.
   */
  #askReceipt(): void {
    if (this.#probe || this.#unprobed === 0 || this.#closed) return
    this.#probe = { nonce: crypto.getRandomValues(new Uint8Array(8)), serial: this.#serial }
    this.#unprobed = 0
    this.#send(keepaliveFrame(this.#probe.nonce, true))
  }

  #keepalive(frame: Extract<Frame, { type: 'keepalive' }>): void {
    this.#alive()
    if (frame.data.length > MAX_KEEPALIVE_BYTES) {
      throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `a KEEPALIVE carries more than ${MAX_KEEPALIVE_BYTES} bytes`)
    }
    if (frame.flags & Flag.RESPOND) return this.#answer(keepaliveFrame(frame.data, false))
    const probe = this.#probe
    if (!probe || !sameBytes(probe.nonce, frame.data)) return
    this.#probe = null
    if (this.#unprobed >= PROBE_BYTES) this.#askReceipt()
    this.#answers.received(probe.serial)
    for (const stream of this.#streams.values()) stream.received(probe.serial)
  }

  /**
   * Restarts the timer of the connection: a client is dead when it has sent no KEEPALIVE for the lifetime of its SETUP.
   */
  #alive(): void {
    if (this.#lifetime) clearTimeout(this.#lifetime)
    const ms = Math.min(this.#setup?.lifetimeMs ?? 0, MAX_LIFETIME_SECONDS * 1_000)
    const dead = () =>
      this.#fail(ErrorCode.CONNECTION_ERROR, new RockpoolError('PSYNC_S2003', `no KEEPALIVE came for ${ms} ms`))
    this.#lifetime = setTimeout(dead, ms)
  }

  /**
   * Closes a connection without streams after a while. Clients normally close it themselves when their stream has
   * ended.
   */
  #lingerWhenIdle(): void {
    if (this.#closed || this.#streams.size + this.#assemblies.size > 0) return
    if (this.#linger) clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.#close(), LINGER_SECONDS * 1_000)
  }

  /** Reports an error of the connection on stream 0, and closes. */
  #fail(code: number, error: unknown): void {
    if (this.#closed) return
    this.#send(errorFrame(0, code, errorText(error)))
    this.#close()
  }

  #send(frame: Uint8Array): void {
    if (this.#closed) return
    try {
      this.#socket.send(frame)
    } catch {
      this.gone()
    }
  }

  #close(): void {
    if (this.#closed) return
    this.gone()
    try {
      this.#socket.close(1000)
    } catch {
      // It was closed already.
    }
  }
}

class UnsupportedVersion extends RockpoolError {
  constructor({ major, minor }: Setup) {
    super('PSYNC_S2001', `version ${major}.${minor} of RSocket is not supported: use 1.0`)
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])
