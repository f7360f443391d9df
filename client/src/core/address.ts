import { ProblemError } from './problem.ts'

/**
 * Throws ProblemError `insecure_url` for an address to which a token would go in plain text over a network. What is
 * relative goes where the page came from.
 */
export function checkAddress(address: string, allowHttp = false): void {
  if (allowHttp || !/^(http|ws):/i.test(address)) return
  const { hostname } = new URL(address)
  if (/^(localhost|.+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)) return
  throw new ProblemError('insecure_url', `${address} is not encrypted: use https, or say allowHttp`)
}
