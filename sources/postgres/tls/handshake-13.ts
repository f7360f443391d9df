import { Alert, violation } from './alerts.ts'
import { checkSignature, scheme13, signed13 } from './certificate-key.ts'
import type { Agreed, Conversation } from './conversation.ts'
import { message } from './fragments.ts'
import type { Hello } from './hello.ts'
import { applicationSecrets, finished, handshakeSecrets, isFinished } from './key-schedule.ts'
import * as messages from './messages.ts'
import { ContentType, GROUPS, MessageType, type Suite } from './parameters.ts'
import { Protection13 } from './protection-13.ts'
import { concat, type Bytes } from './wire.ts'

/** What ServerHello has chosen. */
export interface Chosen13 {
  suite: Suite
  group: number
  theirs: Bytes
}

/**
 * RFC 8446 section 2, figure 1, after ServerHello. The client's Finished completes the handshake. `hello` is the
 * one that was answered. `inDisguise` says that change_cipher_spec has yet to be sent.
 */
export async function handshake13(
  talk: Conversation,
  hello: Hello,
  chosen: Chosen13,
  inDisguise: boolean,
): Promise<Agreed> {
  const { incoming, sender, transcript } = talk
  const { suite, group, theirs } = chosen
  const share = hello.shares.get(group)
  if (!share) throw violation(Alert.illegalParameter, 'the server chose a group that was not offered')
  const secrets = await handshakeSecrets(suite, await share.agree(theirs), await transcript.hash(suite))
  incoming.change(await Protection13.of(suite, secrets.server))
  sender.protect(await Protection13.of(suite, secrets.client))

  const alpn = messages.readEncryptedExtensions(
    (await talk.next(MessageType.encryptedExtensions)).body,
    hello.asked,
    hello.alpn,
  )
  let certificate = await talk.next(MessageType.certificate, MessageType.certificateRequest)
  const certificateWanted = certificate.type === MessageType.certificateRequest
  if (certificateWanted) {
    messages.readCertificateRequest(certificate.body)
    certificate = await talk.next(MessageType.certificate)
  }
  const certificates = messages.readCertificates(certificate.body)
  await talk.believe(certificates)
  await checkServer(certificates[0] as Bytes)
  incoming.boundary()
  const { client, server } = await applicationSecrets(suite, secrets.master, await transcript.hash(suite))
  await finish(client)
  const keys = await Protection13.of(suite, server)
  return {
    version: 'TLS 1.3',
    certificates,
    suite: suite.name,
    group: GROUPS.get(group)?.name ?? '',
    alpn,
    keys,
    certificateWanted,
  }

  /** 4.4.3 and 4.4.4: proves that the server has the key, and that no byte was changed. */
  async function checkServer(own: Bytes): Promise<void> {
    const signed = signed13(await transcript.hash(suite))
    const { scheme, signature } = messages.readCertificateVerify((await talk.next(MessageType.certificateVerify)).body)
    await checkSignature(own, scheme13(scheme), signature, signed)
    const said = await transcript.hash(suite)
    const { body } = await talk.next(MessageType.finished)
    if (!(await isFinished(suite, secrets.server, said, body)))
      throw violation(Alert.decryptError, 'the handshake was changed in transit')
  }

  /** Sends the client's flight. `next` is the secret of what it sends afterwards. */
  async function finish(next: Bytes): Promise<void> {
    const flight: Bytes[] = certificateWanted ? [messages.NO_CERTIFICATE] : []
    flight.forEach((part) => transcript.add(part))
    flight.push(message(MessageType.finished, await finished(suite, secrets.client, await transcript.hash(suite))))
    if (inDisguise) await talk.changeCipherSpec()
    await sender.send(ContentType.handshake, concat(...flight))
    sender.protect(await Protection13.of(suite, next))
  }
}
