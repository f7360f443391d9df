import { Alert, violation } from './alerts.ts'
import { Conversation, type Agreed, type VerifyChain } from './conversation.ts'
import type { Framing } from './framing.ts'
import { handshake12 } from './handshake-12.ts'
import { handshake13 } from './handshake-13.ts'
import type { Hello } from './hello.ts'
import { serverHello12 } from './messages-12.ts'
import { ContentType, GROUPS, MessageType, VERSION_12 } from './parameters.ts'
import type { Sender } from './sender.ts'
import { chosenVersion, readAnswer, serverHello13, type Answer } from './server-hello.ts'

const TLS_10 = 0x0301

/** RFC 8446 section 2, figure 1: from our hello, which offers both versions, to the last Finished. */
export async function handshake(
  framing: Framing,
  sender: Sender,
  first: Hello,
  host: string,
  verify: VerifyChain,
): Promise<Agreed> {
  const talk = new Conversation(framing, sender, host, verify)
  const { incoming, transcript } = talk
  transcript.add(first.raw)
  await sender.plain(ContentType.handshake, first.raw, TLS_10)
  const { answer, raw } = await readHello()
  const version = chosenVersion(answer)
  framing.settle(version)
  if (version === VERSION_12) {
    transcript.add(raw)
    return handshake12(talk, first, serverHello12(answer, first))
  }
  const { suite, share, retry } = serverHello13(answer, first.sessionId)
  if (retry) await transcript.retry(suite)
  transcript.add(raw)
  // Appendix D.4: sent before the client's second flight, for middleboxes.
  const inDisguise = first.sessionId.length > 0
  if (share) return handshake13(talk, first, { suite, ...share }, inDisguise)

  // 4.1: at most one retry.
  const { group = null, cookie = null } = retry ?? {}
  if (group !== null && (!GROUPS.has(group) || first.shares.has(group))) {
    throw violation(
      Alert.illegalParameter,
      'the server asks for a group of which it has a share, or that was not offered',
    )
  }
  const hello = await first.again(group, cookie)
  transcript.add(hello.raw)
  if (inDisguise) await talk.changeCipherSpec()
  await sender.plain(ContentType.handshake, hello.raw)
  const again = await readHello()
  if (chosenVersion(again.answer) !== version)
    throw violation(Alert.illegalParameter, 'the server changed its mind about the version')
  const second = serverHello13(again.answer, hello.sessionId)
  transcript.add(again.raw)
  if (!second.share) throw violation(Alert.unexpectedMessage, 'the server asks for another hello twice')
  if (second.suite !== suite)
    throw violation(Alert.illegalParameter, 'the server changed its mind about the cipher suite')
  return handshake13(talk, hello, { suite, ...second.share }, false)

  async function readHello(): Promise<{ answer: Answer; raw: Uint8Array<ArrayBuffer> }> {
    const { body, raw } = await incoming.next(MessageType.serverHello)
    return { answer: readAnswer(body), raw }
  }
}
