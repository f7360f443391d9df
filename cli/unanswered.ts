import { printable } from './frame.ts'

/** Node's error codes in words. */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens at this address',
  ENOTFOUND: 'there is no host of this name',
  EAI_AGAIN: 'names cannot be looked up at the moment: is there a network?',
  ENETUNREACH: 'there is no way to it from here: is there a network?',
  EHOSTUNREACH: 'there is no way to it from here: is there a network?',
  ECONNRESET: 'the connection was cut: is http or https right?',
  UND_ERR_SOCKET: 'the connection was cut: is http or https right?',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: is https right?',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
}

/** Returns why `fetch` failed. */
export function unreachable(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'it does not answer in time'
  const cause = error instanceof Error ? error.cause : undefined
  if (!(cause instanceof Error)) return String(error)
  const code = 'code' in cause ? String(cause.code) : ''
  return WORDS[code] ?? printable(cause.message || code)
}

/** Returns what answered instead of Rockpool. `text` is the body. */
export function otherServer(response: Pick<Response, 'status' | 'headers'>, path: string, text: string): string {
  const location = response.headers.get('location')
  const what =
    location === null
      ? /<html|<!doctype/i.test(text)
        ? 'a web page'
        : 'no answer of ours'
      : `a way to ${printable(location.slice(0, 200))}`
  return `is not a Rockpool: ${path} was answered ${response.status} with ${what}. Is the address right, without a path?`
}
