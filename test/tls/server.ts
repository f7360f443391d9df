import { message, Fragments, type Message } from '../../sources/postgres/tls/fragments.ts'
import { newShare } from '../../sources/postgres/tls/key-exchange.ts'
import {
  applicationSecrets,
  finished,
  handshakeSecrets,
  isFinished,
  type Secrets,
} from '../../sources/postgres/tls/key-schedule.ts'
import {
  ContentType,
  Extension,
  GROUPS,
  MessageType,
  SUITES,
  type Group,
  type Suite,
} from '../../sources/postgres/tls/parameters.ts'
import { open, type Content, type Protection } from '../../sources/postgres/tls/protection.ts'
import { Protection13 } from '../../sources/postgres/tls/protection-13.ts'
import { Transcript } from '../../sources/postgres/tls/transcript.ts'
import { concat, Reader, u16, vector16, vector24, vector8, type Bytes } from '../../sources/postgres/tls/wire.ts'
import type { Credentials } from './credentials.ts'
import type { ServerEnd } from './pipe.ts'

// A server that does what it is told, from the parts that the client is made of. Where it misbehaves, all else is
// right: hashes and signatures are made over what it really sent.

/** RFC 8446 section 4.1.3. */
export const RETRY_RANDOM = new Uint8Array(
  Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex'),
)

export interface HelloFields {
  version: number
  random: Bytes
  sessionId: Bytes
  suite: number
  compression: number
  extensions: [number, Bytes][]
}

export type Step = (server: TestServer) => Bytes | Promise<Bytes>

export interface Behaviour {
  suite?: number
  group?: number
  /** HelloRetryRequests before the ServerHello, as changed by each function. */
  retries?: ((fields: HelloFields) => HelloFields)[]
  hello?: (fields: HelloFields) => HelloFields
  /** Follows ServerHello in the same record. */
  afterHello?: Bytes
  flight?: Step[]
  /** Messages of the flight to records. */
  pack?: (messages: Bytes[]) => Bytes[]
  /** Follows the flight in the last record of it. */
  afterFlight?: Bytes
  /** Data that does not wait for the client's Finished. */
  early?: Bytes
  /** Sees every record, and changes it: number and bytes. */
  wire?: (record: Bytes, index: number) => Bytes[]
  compatibility?: boolean
}

export class TestServer {
  readonly end: ServerEnd
  readonly behaviour: Behaviour
  readonly credentials: Credentials
  readonly transcript = new Transcript()
  suite: Suite
  secrets!: Secrets & { master: Bytes }
  application!: Secrets
  sealing: Protection | null = null
  opening: Protection | null = null
  clientHello!: {
    random: Bytes
    sessionId: Bytes
    extensions: Map<number, Bytes>
    shares: Map<number, Bytes>
    raw: Bytes
  }
  readonly hellos: Bytes[] = []
  lastAlert: number | null = null
  #fragments = new Fragments()
  #records = 0

  constructor(end: ServerEnd, credentials: Credentials, behaviour: Behaviour = {}) {
    this.end = end
    this.credentials = credentials
    this.behaviour = behaviour
    this.suite = SUITES.get(behaviour.suite ?? 0x1301) as Suite
  }

  /**
   * Up to the client's Finished. Gives what it sent, or null when it closed the connection. `sent`: is called when all
   * is sent.
   */
  async accept(sent?: () => void): Promise<Message[] | null> {
    const {
      retries = [],
      suite = 0x1301,
      group = 0x001d,
      flight = FLIGHT,
      pack = (all) => [concat(...all)],
    } = this.behaviour
    if (!(await this.readHello())) return null
    const echo = (): HelloFields => ({
      version: 0x0303,
      suite,
      compression: 0,
      random: RETRY_RANDOM,
      sessionId: this.clientHello.sessionId,
      extensions: [[Extension.supportedVersions, concat(u16(0x0304))]],
    })
    for (const change of retries) {
      await this.transcript.retry(this.suite)
      await this.handshakeRecord(this.serverHello(change(echo())))
      if (this.behaviour.compatibility ?? true) this.raw(new Uint8Array([20, 3, 3, 0, 1, 1]))
      if (!(await this.readHello())) return null
    }
    const share = await newShare(GROUPS.get(group) as Group)
    const theirs = this.clientHello.shares.get(group)
    const fields = { ...echo(), random: crypto.getRandomValues(new Uint8Array(32)) }
    fields.extensions.push([Extension.keyShare, concat(u16(group), vector16(share.own))])
    const hello = this.serverHello(this.behaviour.hello?.(fields) ?? fields)
    await this.handshakeRecord(concat(hello, this.behaviour.afterHello ?? []))
    if (this.behaviour.compatibility ?? true) this.raw(new Uint8Array([20, 3, 3, 0, 1, 1]))
    this.secrets = await handshakeSecrets(
      this.suite,
      await share.agree(theirs ?? share.own),
      await this.transcript.hash(this.suite),
    )
    this.sealing = await Protection13.of(this.suite, this.secrets.server)
    this.opening = await Protection13.of(this.suite, this.secrets.client)
    const messages: Bytes[] = []
    for (const step of flight) {
      messages.push(await step(this))
      this.transcript.add(messages.at(-1) as Bytes)
    }
    const payloads = pack(messages)
    const last = payloads.pop() ?? new Uint8Array()
    for (const payload of payloads) await this.handshakeRecord(payload)
    await this.handshakeRecord(concat(last, this.behaviour.afterFlight ?? []))
    this.application = await applicationSecrets(this.suite, this.secrets.master, await this.transcript.hash(this.suite))
    this.sealing = await Protection13.of(this.suite, this.application.server)
    if (this.behaviour.early) await this.send(ContentType.applicationData, this.behaviour.early)
    sent?.()
    return this.#readFlight()
  }

  handshakeRecord(data: Bytes): Promise<void> {
    return this.send(ContentType.handshake, data)
  }

  /** With the keys of now. */
  async send(type: number, data: Bytes): Promise<void> {
    this.raw(await this.sealed(type, data))
  }

  async sealed(type: number, data: Bytes): Promise<Bytes> {
    return this.sealing ? this.sealing.seal(type, data) : concat([type, 3, 3], u16(data.length), data)
  }

  /** KeyUpdate, and the keys after it. */
  async update(wanted: boolean): Promise<Bytes> {
    const record = await this.sealed(ContentType.handshake, message(MessageType.keyUpdate, [wanted ? 1 : 0]))
    this.sealing = (await this.sealing?.next?.()) ?? null
    return record
  }

  raw(record: Bytes): void {
    const changed = this.behaviour.wire?.(record, this.#records++) ?? [record]
    for (const bytes of changed) this.end.write(bytes)
  }

  isEncrypted(type: number): boolean {
    return type === ContentType.applicationData
  }

  /** The next record of the client, opened. */
  async record(): Promise<Content | null> {
    const header = await this.end.read(5)
    if (!header) return null
    const body = await this.end.read(((header[3] ?? 0) << 8) | (header[4] ?? 0))
    if (!body) return null
    const type = header[0] ?? 0
    if (!this.opening || !this.isEncrypted(type)) return { type, data: new Uint8Array(body) }
    return open(this.opening, { type, header: new Uint8Array(header), body: new Uint8Array(body) })
  }

  /** Null: the client has gone, or sent an alert. */
  async nextMessage(): Promise<Message | null> {
    for (;;) {
      const found = this.#fragments.take()
      if (found) return found
      const record = await this.record()
      if (record?.type === ContentType.alert) this.lastAlert = record.data[1] ?? null
      if (!record || record.type === ContentType.alert) return null
      if (record.type === ContentType.handshake) this.#fragments.add(record.data)
    }
  }

  /** False: the client has gone. */
  async readHello(): Promise<boolean> {
    const found = await this.nextMessage()
    if (!found) return false
    const reader = new Reader(found.body)
    reader.bytes(2)
    const random = reader.bytes(32)
    const sessionId = reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    const list = new Reader(reader.vector(2))
    const extensions = new Map<number, Bytes>()
    while (!list.done) extensions.set(list.number(2), list.vector(2))
    const offered = new Reader(new Reader(extensions.get(Extension.keyShare) as Bytes).vector(2))
    const shares = new Map<number, Bytes>()
    while (!offered.done) shares.set(offered.number(2), offered.vector(2))
    this.clientHello = { random, sessionId, extensions, shares, raw: found.raw }
    this.hellos.push(found.raw)
    this.transcript.add(found.raw)
    return true
  }

  serverHello({ version, random, sessionId, suite, compression, extensions }: HelloFields): Bytes {
    const list = extensions.map(([type, body]) => concat(u16(type), vector16(body)))
    const text = message(
      MessageType.serverHello,
      u16(version),
      random,
      vector8(sessionId),
      u16(suite),
      [compression],
      vector16(...list),
    )
    this.transcript.add(text)
    return text
  }

  async #readFlight(): Promise<Message[] | null> {
    const messages: Message[] = []
    for (;;) {
      const expected = await this.transcript.hash(this.suite)
      const found = await this.nextMessage()
      if (!found) return null
      messages.push(found)
      if (found.type === MessageType.finished) {
        if (!(await isFinished(this.suite, this.secrets.client, expected, found.body)))
          throw new Error('the Finished of the client is wrong')
        this.opening = await Protection13.of(this.suite, this.application.client)
        return messages
      }
      this.transcript.add(found.raw)
    }
  }
}

export const encryptedExtensions: Step = () => message(MessageType.encryptedExtensions, vector16())
export const certificate: Step = ({ credentials }) =>
  message(MessageType.certificate, [0], vector24(vector24(credentials.certificate), vector16()))
export const certificateVerify: Step = (server) => signed(server, 'TLS 1.3, server CertificateVerify\0')
export const finishedMessage: Step = async ({ suite, secrets, transcript }) =>
  message(MessageType.finished, await finished(suite, secrets.server, await transcript.hash(suite)))
/** Asks for a certificate, signed with ECDSA over P-256. */
export const certificateRequest: Step = () =>
  message(
    MessageType.certificateRequest,
    [0],
    vector16(u16(Extension.signatureAlgorithms), vector16(vector16(u16(0x0403)))),
  )

/** The signature of the handshake so far, or one of something like it. */
export async function signed({ credentials, transcript, suite }: TestServer, context: string): Promise<Bytes> {
  const content = concat(new Uint8Array(64).fill(0x20), Buffer.from(context), await transcript.hash(suite))
  return message(MessageType.certificateVerify, u16(credentials.scheme), vector16(await credentials.sign(content)))
}

export const FLIGHT: Step[] = [encryptedExtensions, certificate, certificateVerify, finishedMessage]
