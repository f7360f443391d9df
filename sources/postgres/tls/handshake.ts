import { RockpoolError } from '../../../protocol/errors.ts'
import { Alert, unsuitable, violation } from './alerts.ts'
import { checkSignature } from './certificate-key.ts'
import { message, type Message } from './fragments.ts'
import type { Framing } from './framing.ts'
import type { Hello } from './hello.ts'
import { Incoming } from './incoming.ts'
import { applicationSecrets, finished, handshakeSecrets, isFinished } from './key-schedule.ts'
import * as messages from './messages.ts'
import { ContentType, GROUPS, MessageType, type Suite } from './parameters.ts'
import { Protection } from './protection.ts'
import type { Sender } from './sender.ts'
import { Transcript } from './transcript.ts'
import { concat, type Bytes } from './wire.ts'

/** Decides whether a chain is to be believed: DER, the server's own certificate first, as it sent them. Throws when it is not. */
export type VerifyChain = (chain: Uint8Array[], host: string) => void | Promise<void>

/** What both sides have agreed on. */
export interface Agreed {
  certificates: Bytes[]
  suite: Suite
  group: string
  /** Null: the server knows nothing of ALPN. */
  alpn: string | null
  /** For what the server sends from here on. */
  keys: Protection
  /** The server asked for a certificate, and may yet refuse us for having none. */
  certificateWanted: boolean
}

const TLS_10 = 0x0301

/** RFC 8446 section 2, figure 1. The client is the last one to be asked anything: with its Finished the connection is made. */
export async function handshake(framing: Framing, sender: Sender, first: Hello, host: string, verify: VerifyChain): Promise<Agreed> {
  const incoming = new Incoming(framing)
  const transcript = new Transcript()
  let inDisguise = first.sessionId.length > 0
  const next = async (...types: number[]): Promise<Message> => {
    const found = await incoming.next(...types)
    transcript.add(found.raw)
    return found
  }

  const { hello, answer } = await exchangeHellos()
  const { suite } = answer
  const { group, theirs } = answer.share
  const share = hello.shares.get(group)
  if (!share) throw violation(Alert.illegalParameter, 'the server chose a group that was not offered')
  const secrets = await handshakeSecrets(suite, await share.agree(theirs), await transcript.hash(suite))
  incoming.change(await Protection.of(suite, secrets.server))
  sender.protect(await Protection.of(suite, secrets.client))

  const alpn = messages.readEncryptedExtensions((await next(MessageType.encryptedExtensions)).body, hello.asked, hello.alpn)
  let certificate = await next(MessageType.certificate, MessageType.certificateRequest)
  const certificateWanted = certificate.type === MessageType.certificateRequest
  if (certificateWanted) {
    messages.readCertificateRequest(certificate.body)
    certificate = await next(MessageType.certificate)
  }
  const certificates = messages.readCertificates(certificate.body)
  await believe(certificates)
  await checkServer(certificates[0] as Bytes)
  incoming.boundary()
  const { client, server } = await applicationSecrets(suite, secrets.master, await transcript.hash(suite))
  await finish(client)
  const keys = await Protection.of(suite, server)
  return { certificates, suite, group: GROUPS.get(group)?.name ?? '', alpn, keys, certificateWanted }

  /** 4.1: at most one retry. */
  async function exchangeHellos() {
    transcript.add(first.raw)
    await sender.plain(ContentType.handshake, first.raw, TLS_10)
    const answer = await readAnswer(first)
    if (answer.share) return { hello: first, answer: { ...answer, share: answer.share } }
    const { group = null, cookie = null } = answer.retry ?? {}
    if (group !== null && (!GROUPS.has(group) || first.shares.has(group))) {
      throw violation(Alert.illegalParameter, 'the server asks for a group that it has, or that was not offered')
    }
    const hello = await first.again(group, cookie)
    transcript.add(hello.raw)
    await changeCipherSpec()
    await sender.plain(ContentType.handshake, hello.raw)
    const second = await readAnswer(hello)
    if (!second.share) throw violation(Alert.unexpectedMessage, 'the server asks for another hello twice')
    if (second.suite !== answer.suite) throw violation(Alert.illegalParameter, 'the server changed its mind about the cipher suite')
    return { hello, answer: { ...second, share: second.share } }
  }

  async function readAnswer(hello: Hello) {
    const found = await incoming.next(MessageType.serverHello)
    const answer = messages.readServerHello(found.body, hello.sessionId)
    framing.settle()
    if (answer.retry) await transcript.retry(answer.suite)
    transcript.add(found.raw)
    return answer
  }

  async function believe(chain: Bytes[]): Promise<void> {
    try {
      // Of its own: what it does with the list changes nothing here.
      await verify([...chain], host)
    } catch (error) {
      sender.alert(Alert.badCertificate).catch(() => {})
      if (error instanceof RockpoolError) throw error
      const reason = error instanceof Error ? error.message : String(error)
      throw unsuitable(Alert.badCertificate, `the certificate of ${host} cannot be verified: ${reason}`, error)
    }
  }

  /** 4.4.3 and 4.4.4: the server has the key, and nobody has changed a byte. */
  async function checkServer(own: Bytes): Promise<void> {
    const signed = await transcript.hash(suite)
    const { scheme, signature } = messages.readCertificateVerify((await next(MessageType.certificateVerify)).body)
    await checkSignature(own, scheme, signature, signed)
    const said = await transcript.hash(suite)
    const { body } = await next(MessageType.finished)
    if (!(await isFinished(suite, secrets.server, said, body))) throw violation(Alert.decryptError, 'the handshake was changed on its way')
  }

  /** The client's flight, and `next` as the secret of what it sends then. */
  async function finish(next: Bytes): Promise<void> {
    const flight: Bytes[] = certificateWanted ? [messages.NO_CERTIFICATE] : []
    flight.forEach((part) => transcript.add(part))
    flight.push(message(MessageType.finished, await finished(suite, secrets.client, await transcript.hash(suite))))
    await changeCipherSpec()
    await sender.send(ContentType.handshake, concat(...flight))
    sender.protect(await Protection.of(suite, next))
  }

  /** Appendix D.4: once, before the client's second flight, for the sake of boxes in between. */
  async function changeCipherSpec(): Promise<void> {
    if (!inDisguise) return
    inDisguise = false
    await sender.plain(ContentType.changeCipherSpec, new Uint8Array([1]))
  }
}
