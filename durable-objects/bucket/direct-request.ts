import type { TokenMark } from '../../protocol/revocations.ts'
import type { OpId } from '../../protocol/ops.ts'

/** A Worker's request to a bucket object, for a client that may follow it directly. */
export interface DirectRequest {
  bucket: string
  after: OpId
  /** `exp` of the token: seconds since 1970. */
  expires: number
  /** The hash of the plan that gives the client this bucket. */
  plan: string
  /** Absent in the request of an older Worker. */
  token?: TokenMark | undefined
}

export function directUrl({ bucket, after, expires, plan, token }: DirectRequest): string {
  const said = { bucket, after: String(after), expires: String(expires), plan }
  const mark = token && { user: token.user, iat: String(token.iat), ...(token.jti !== undefined && { jti: token.jti }) }
  return `https://bucket/direct?${new URLSearchParams({ ...said, ...mark })}`
}

/** Parses the URL of a request. Returns null when it is something else. */
export function directRequest(request: Request): DirectRequest | null {
  const { pathname, searchParams } = new URL(request.url)
  if (pathname !== '/direct' || request.headers.get('upgrade') !== 'websocket') return null
  const text = (name: string) => searchParams.get(name) ?? ''
  const user = searchParams.get('user')
  const token =
    user === null ? undefined : { user, iat: Number(text('iat')), jti: searchParams.get('jti') ?? undefined }
  return {
    bucket: text('bucket'),
    after: Number(text('after')),
    expires: Number(text('expires')),
    plan: text('plan'),
    token,
  }
}
