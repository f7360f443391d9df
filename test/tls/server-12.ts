import { message, type Message } from '../../sources/postgres/tls/fragments.ts'
import { newShare, type Share } from '../../sources/postgres/tls/key-exchange.ts'
import {
  ContentType,
  Extension,
  GROUPS,
  MessageType,
  SUITES_12,
  type Group,
  type Suite12,
} from '../../sources/postgres/tls/parameters.ts'
import { connectionKeys, finished12, masterSecret, prf } from '../../sources/postgres/tls/prf.ts'
import { Protection12 } from '../../sources/postgres/tls/protection-12.ts'
import { concat, equal, u16, vector16, vector24, vector8, type Bytes } from '../../sources/postgres/tls/wire.ts'
import type { Credentials } from './credentials.ts'
import type { ServerEnd } from './pipe.ts'
import { TestServer, type HelloFields } from './server.ts'

// The same server for TLS 1.2.

export type Step12 = (server: TestServer12) => Bytes | Promise<Bytes>

export interface Behaviour12 {
  version: 12
  suite?: number
  group?: number
  hello?: (fields: HelloFields, server: TestServer12) => HelloFields
  /** Behind ServerHello. */
  flight?: Step12[]
  /** Messages, with ServerHello, to records. */
  pack?: (messages: Bytes[]) => Bytes[]
  /** Records between ServerHelloDone and change_cipher_spec: a session ticket, where one is asked for. */
  beforeChange?: Bytes[]
  /** The change itself. */
  change?: Bytes[]
  finished?: Step12
  /** Follows Finished in its record. */
  afterFinished?: Bytes
  /** The extended master secret, which is what it says, is not used. */
  ownMaster?: boolean
  /** It goes on whatever the client's Finished says. */
  careless?: boolean
  /** Sees every record, and changes it: number and bytes. */
  wire?: (record: Bytes, index: number) => Bytes[]
}

const CHANGE = new Uint8Array([20, 3, 3, 0, 1, 1])

export class TestServer12 extends TestServer {
  readonly plan: Behaviour12
  override suite: Suite12
  readonly random = crypto.getRandomValues(new Uint8Array(32))
  share!: Share
  master!: Bytes
  #theirs: Bytes = new Uint8Array()

  constructor(end: ServerEnd, credentials: Credentials, plan: Behaviour12) {
    super(end, credentials, plan.wire ? { wire: plan.wire } : {})
    this.plan = plan
    this.suite = SUITES_12.get(plan.suite ?? 0xc02b) as Suite12
  }

  get group(): number {
    return this.plan.group ?? 0x001d
  }

  override isEncrypted(type: number): boolean {
    return type !== ContentType.changeCipherSpec
  }

  /** Up to its own Finished. `sent`: is called when the flight is sent. */
  override async accept(sent?: () => void): Promise<Message[] | null> {
    const { plan, transcript } = this
    if (!(await this.readHello())) return null
    this.share = await newShare(GROUPS.get(this.group) as Group)
    const fields: HelloFields = {
      version: 0x0303,
      suite: plan.suite ?? 0xc02b,
      compression: 0,
      random: this.random,
      sessionId: crypto.getRandomValues(new Uint8Array(32)),
      extensions: [
        [Extension.renegotiationInfo, concat([0])],
        [Extension.pointFormats, concat([3, 0, 1, 2])],
        [Extension.extendedMasterSecret, concat()],
      ],
    }
    const messages = [this.serverHello(plan.hello?.(fields, this) ?? fields)]
    for (const step of plan.flight ?? FLIGHT_12) {
      messages.push(await step(this))
      transcript.add(messages.at(-1) as Bytes)
    }
    for (const payload of plan.pack?.(messages) ?? [concat(...messages)]) await this.handshakeRecord(payload)
    sent?.()
    const theirs = await this.#readFlight()
    if (!theirs) return null
    for (const record of plan.beforeChange ?? []) this.raw(record)
    for (const record of plan.change ?? [CHANGE]) this.raw(record)
    const { server } = await this.#keys()
    this.sealing = await Protection12.of(server)
    const last = await (plan.finished ?? finishedMessage12)(this)
    await this.handshakeRecord(concat(last, plan.afterFinished ?? []))
    return theirs
  }

  /** Up to the client's Finished, which is checked. */
  async #readFlight(): Promise<Message[] | null> {
    const { transcript } = this
    const messages: Message[] = []
    for (;;) {
      const found = await this.nextMessage()
      if (!found) return null
      messages.push(found)
      transcript.add(found.raw)
      if (found.type === MessageType.clientKeyExchange) break
    }
    this.#theirs = messages.at(-1)?.body.slice(1) ?? new Uint8Array()
    const shared = await this.share.agree(this.#theirs)
    this.master = this.plan.ownMaster
      ? await prf(this.suite, shared, 'master secret', concat(this.clientHello.random, this.random), 48)
      : await masterSecret(this.suite, shared, await transcript.hash(this.suite))
    const expected = await finished12(this.suite, this.master, 'client', await transcript.hash(this.suite))
    const change = await this.record()
    if (change?.type !== ContentType.changeCipherSpec) throw new Error('the client changes no keys')
    this.opening = await Protection12.of((await this.#keys()).client)
    const { careless = this.plan.ownMaster ?? false } = this.plan
    const last = await this.nextMessage().catch((error: unknown) => {
      if (!careless) throw error
      return null
    })
    const right = last?.type === MessageType.finished && equal(last.body, expected)
    if (!right && !careless) throw new Error('the Finished of the client is wrong')
    if (last) transcript.add(last.raw)
    return messages
  }

  #keys() {
    return connectionKeys(this.suite, this.master, { client: this.clientHello.random, server: this.random })
  }
}

export const certificate12: Step12 = ({ credentials }) =>
  message(MessageType.certificate, vector24(vector24(credentials.certificate)))
/** What both sides agree on keys with. */
export const parameters12 = ({ group, share }: TestServer12) => concat([3], u16(group), vector8(share.own))
export const keyExchange12: Step12 = (server) =>
  signed12(server, concat(server.clientHello.random, server.random, parameters12(server)))
export const done12: Step12 = () => message(MessageType.serverHelloDone)
export const finishedMessage12: Step12 = async ({ suite, master, transcript }) =>
  message(MessageType.finished, await finished12(suite, master, 'server', await transcript.hash(suite)))
/** Asks for a certificate, signed with ECDSA over P-256. */
export const certificateRequest12: Step12 = () =>
  message(MessageType.certificateRequest, vector8([64]), vector16(u16(0x0403)), vector16())

/** ServerKeyExchange with a signature of `content`, which should be both randoms and the parameters. */
export async function signed12(
  server: TestServer12,
  content: Bytes,
  parameters = parameters12(server),
): Promise<Bytes> {
  const { credentials } = server
  return message(
    MessageType.serverKeyExchange,
    parameters,
    u16(credentials.scheme),
    vector16(await credentials.sign(content)),
  )
}

export const FLIGHT_12: Step12[] = [certificate12, keyExchange12, done12]
