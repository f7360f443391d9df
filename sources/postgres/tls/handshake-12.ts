import { afterNoCertificate, Alert, violation } from './alerts.ts'
import { checkSignature, scheme12 } from './certificate-key.ts'
import type { Agreed, Conversation } from './conversation.ts'
import { message } from './fragments.ts'
import type { Hello } from './hello.ts'
import { newShare } from './key-exchange.ts'
import * as messages from './messages-12.ts'
import { ContentType, MessageType } from './parameters.ts'
import { connectionKeys, finished12, masterSecret } from './prf.ts'
import { Protection12 } from './protection-12.ts'
import { concat, equal, type Bytes } from './wire.ts'

/**
 * RFC 5246 section 7.3, figure 1, after ServerHello: a full handshake, because sessions are never resumed. In 1.2 the
 * server is the last to send Finished. Its random is signed together with its share, so nobody in between can hide that
 * it speaks 1.3 (RFC 8446 section 4.1.3).
 */
export async function handshake12(
  talk: Conversation,
  hello: Hello,
  { suite, random, alpn }: messages.ServerHello12,
): Promise<Agreed> {
  const { incoming, sender, transcript } = talk
  incoming.noneMeaningless()
  const certificates = messages.readCertificates12((await talk.next(MessageType.certificate)).body)
  await talk.believe(certificates)
  const { group, theirs } = await readShare(certificates[0] as Bytes)
  const certificateWanted = await readRequest()
  const share = await newShare(group)
  const shared = await share.agree(theirs)
  try {
    const keys = await finish(share.own, shared)
    return { version: 'TLS 1.2', certificates, suite: suite.name, group: group.name, alpn, keys, certificateWanted }
  } catch (error) {
    throw certificateWanted ? afterNoCertificate(error) : error
  }

  /**
   * RFC 8422 section 5.4: proves that the server has the key of its certificate, and that its share is for this
   * connection.
   */
  async function readShare(own: Bytes): Promise<messages.KeyExchange> {
    const exchange = messages.readKeyExchange((await talk.next(MessageType.serverKeyExchange)).body)
    const signed = concat(hello.random, random, exchange.signed)
    await checkSignature(own, scheme12(exchange.scheme, suite, own), exchange.signature, signed)
    return exchange
  }

  /** Reads up to ServerHelloDone. Returns true when the server asks for a certificate. */
  async function readRequest(): Promise<boolean> {
    const found = await talk.next(MessageType.serverHelloDone, MessageType.certificateRequest)
    const wanted = found.type === MessageType.certificateRequest
    if (wanted) messages.checkCertificateRequest(found.body)
    messages.checkDone(wanted ? (await talk.next(MessageType.serverHelloDone)).body : found.body)
    incoming.boundary()
    return wanted
  }

  /** Sends our flight and reads the server's answer. Returns the keys of what the server sends then. */
  async function finish(own: Bytes, shared: Bytes): Promise<Protection12> {
    const flight = [...(certificateWanted ? [messages.NO_CERTIFICATE_12] : []), messages.clientKeyExchange(own)]
    flight.forEach((part) => transcript.add(part))
    const master = await masterSecret(suite, shared, await transcript.hash(suite))
    const { client, server } = await connectionKeys(suite, master, { client: hello.random, server: random })
    const last = message(MessageType.finished, await finished12(suite, master, 'client', await transcript.hash(suite)))
    transcript.add(last)
    await sender.plain(ContentType.handshake, concat(...flight))
    await talk.changeCipherSpec()
    sender.protect(await Protection12.of(client))
    await sender.send(ContentType.handshake, last)

    const keys = await Protection12.of(server)
    await incoming.changeCipherSpec(keys)
    const expected = await finished12(suite, master, 'server', await transcript.hash(suite))
    const { body } = await incoming.next(MessageType.finished)
    // It arrived encrypted and there is one attempt, so the time of this comparison reveals nothing.
    if (!equal(body, expected)) throw violation(Alert.decryptError, 'the handshake was changed in transit')
    incoming.boundary()
    return keys
  }
}
