import type { OpId } from '../../protocol/ops.ts'

/** A Worker's request to a bucket object, for a client that may follow it directly. */
export interface DirectRequest {
  bucket: string
  after: OpId
  /** `exp` of the token: seconds since 1970. */
  expires: number
  /** The hash of the plan that gives the client this bucket. */
  plan: string
}

export function directUrl({ bucket, after, expires, plan }: DirectRequest): string {
  return `https://bucket/direct?${new URLSearchParams({ bucket, after: String(after), expires: String(expires), plan })}`
}

/** Parses the URL of a request. Returns null when it is something else. */
export function directRequest(request: Request): DirectRequest | null {
  const { pathname, searchParams } = new URL(request.url)
  if (pathname !== '/direct' || request.headers.get('upgrade') !== 'websocket') return null
  const text = (name: string) => searchParams.get(name) ?? ''
  return { bucket: text('bucket'), after: Number(text('after')), expires: Number(text('expires')), plan: text('plan') }
}
