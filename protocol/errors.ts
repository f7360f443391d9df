/**
 * Every error that leaves Rockpool carries one of these codes. `PSYNC_…` codes are those that PowerSync client SDKs
 * know (`PSYNC_S21xx` makes them fetch new credentials); `ROCKPOOL_…` codes are ours. A code never changes its meaning.
 */
export type ErrorCode =
  | 'PSYNC_S2001' // request body is not valid
  | 'PSYNC_S2002' // no such route
  | 'PSYNC_S2003' // shutting down
  | 'PSYNC_S2004' // content type not supported
  | 'PSYNC_S2101' // token malformed, claim missing or no key matches
  | 'PSYNC_S2102' // token signature is wrong
  | 'PSYNC_S2103' // token expired
  | 'PSYNC_S2104' // token lives too long
  | 'PSYNC_S2105' // token audience missing or wrong
  | 'PSYNC_S2106' // no token, or header not in an accepted form
  | 'PSYNC_S2107' // token revoked: ours, but of the family for which SDKs fetch another token
  | 'PSYNC_S2201' // key configuration is not usable
  | 'PSYNC_S2203' // key set at an address that is not allowed
  | 'PSYNC_S2204' // key set cannot be fetched
  | 'PSYNC_S2302' // no sync config deployed
  | 'PSYNC_S2304' // too many streams of this user
  | 'PSYNC_S2305' // too many buckets, lookups or steps for a client, or a bucket's name is too long
  | 'ROCKPOOL_INTERNAL' // a bug in Rockpool
  | 'ROCKPOOL_UNANSWERED' // an object did not answer in time
  | 'ROCKPOOL_SETTINGS' // a setting is missing or not valid
  | 'ROCKPOOL_SYNC_CONFIG' // the sync config has errors
  | 'ROCKPOOL_DEPLOY' // a deploy or rollback that cannot be done
  | 'ROCKPOOL_VERIFY' // a comparison of everything that cannot be done
  | 'ROCKPOOL_RATE' // too many requests
  | 'ROCKPOOL_LIMIT' // the tenant has used what it may
  | 'ROCKPOOL_SPENDING' // the account has reached its spending limit at Cloudflare
  | 'ROCKPOOL_OPERATOR' // the token is not an operator's
  | 'ROCKPOOL_PERMISSION' // the operator may do other things
  | 'ROCKPOOL_PLAIN_HTTP' // an operator's token would go over http:// to another machine
  | 'ROCKPOOL_NOT_CONFIRMED' // a command would change something, and there is no terminal to ask at
  | 'ROCKPOOL_MESSAGE_VERSION' // a private message of an unknown version
  | 'ROCKPOOL_STORAGE_NEWER' // a newer release wrote the storage, and this code cannot read it
  | 'ROCKPOOL_CLIENT_FRAME' // a native WebSocket frame is not valid
  | 'ROCKPOOL_CREDIT' // the native client sent no credit for too long
  | 'ROCKPOOL_BUCKET_FENCED' // a bucket of the client lacks changes
  | 'ROCKPOOL_BUCKET' // the token alone does not grant access to that bucket
  | 'ROCKPOOL_SOURCE_UNREACHABLE' // Postgres cannot be reached
  | 'ROCKPOOL_SOURCE_TLS' // Postgres did not prove over TLS that it is the requested server
  | 'ROCKPOOL_SOURCE_SETTINGS' // wal_level, privilege, identity …: Postgres is not set up
  | 'ROCKPOOL_SOURCE_CHANGED' // another database, or one restored to an older state
  | 'ROCKPOOL_PGOUTPUT' // Postgres sent a replication message that cannot be decoded
  | 'ROCKPOOL_SLOT_TAKEN' // somebody else uses the replication slot
  | 'ROCKPOOL_WRITE_CHECKPOINT' // the marker could not be written into Postgres
  | 'ROCKPOOL_TENANT' // there is no such tenant
  | 'ROCKPOOL_TENANT_CONFLICT' // a change of a tenant that cannot be made as things are
  | 'ROCKPOOL_ENDPOINT' // the endpoint of an SDK lacks a slash at its end
  | 'ROCKPOOL_TENANT_KEY' // a secret of a tenant is encrypted with a key that is not known here
  | 'ROCKPOOL_NOT_YET' // not in this version

/** The one public error type. `status` is the HTTP status it becomes at the edge. */
export class RockpoolError extends Error {
  override readonly name = 'RockpoolError'
  readonly code: ErrorCode
  readonly status: number
  /** Whatever helps a reader, as plain JSON: the path in a body, the name of a table. */
  readonly details?: unknown

  constructor(code: ErrorCode, message: string, options: { status?: number; details?: unknown; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status ?? statusOf(code)
    if (options.details !== undefined) this.details = options.details
  }

  /** Returns the body of an HTTP error in the form that PowerSync clients expect. */
  body(): { error: ErrorBody } {
    const error: ErrorBody = { name: this.name, code: this.code, status: this.status, description: this.message }
    if (this.details !== undefined) error.details = this.details
    return { error }
  }
}

export interface ErrorBody {
  name: string
  code: ErrorCode
  status: number
  description: string
  details?: unknown
}

function statusOf(code: ErrorCode): number {
  // S22: the keys are missing, so nothing is known about the token. Clients answer 401 by fetching another token, which
  // does no harm.
  if (/^PSYNC_S2[12]/.test(code)) return 401
  switch (code) {
    case 'PSYNC_S2001':
    case 'ROCKPOOL_CLIENT_FRAME':
      return 400
    case 'ROCKPOOL_BUCKET':
    case 'ROCKPOOL_OPERATOR':
    case 'ROCKPOOL_PERMISSION':
      return 403
    case 'ROCKPOOL_DEPLOY':
    case 'ROCKPOOL_VERIFY':
    case 'ROCKPOOL_TENANT_CONFLICT':
      return 409
    case 'PSYNC_S2304':
    case 'ROCKPOOL_RATE':
    case 'ROCKPOOL_LIMIT':
      return 429
    case 'PSYNC_S2002':
    case 'ROCKPOOL_TENANT':
    case 'ROCKPOOL_ENDPOINT':
      return 404
    case 'PSYNC_S2004':
      return 415
    case 'ROCKPOOL_NOT_YET':
      return 501
    case 'PSYNC_S2003':
    case 'ROCKPOOL_UNANSWERED':
    case 'ROCKPOOL_SPENDING':
    case 'ROCKPOOL_BUCKET_FENCED':
    case 'ROCKPOOL_SOURCE_UNREACHABLE':
    case 'ROCKPOOL_SLOT_TAKEN':
    case 'ROCKPOOL_WRITE_CHECKPOINT':
      return 503
    default:
      return 500
  }
}
