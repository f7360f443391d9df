import { Hono, type Context } from 'hono'
import { z } from 'zod'
import { directUrl } from '../../durable-objects/bucket/direct-request.ts'
import type { Environment } from '../../durable-objects/environment.ts'
import { bucketStub, isolateKey } from '../../durable-objects/shared/namespaces.ts'
import { answered, callDeadline, Unanswered } from '../../durable-objects/shared/retry.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import type { TenantContext } from '../tenant.ts'
import type { ResolvedBucket } from '../../sync-config/types.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { rulesOf } from '../auth/tenant-rules.ts'
import { markOf, tokenOfHeader, verifyToken, type Caller } from '../auth/token.ts'
import { briefly } from '../briefly.ts'
import { addressOf, countStream, guarded } from '../rates.ts'
import { askReplicator } from '../replicator.ts'
import { parameters, validated } from '../stream/body.ts'
import { passedBound } from '../json-bounds.ts'
import { planByHash } from '../stream/plans.ts'

/**
 * Browsers cannot set headers on a WebSocket, so the token may be the second subprotocol. This is the first one, which
 * the server accepts.
 */
export const DIRECT_PROTOCOL = 'rockpool.direct'

type RequestContext = Context<TenantContext>

const query = z.object({
  after: z
    .string()
    .regex(/^\d{1,16}$/, 'must be an op id: a decimal number')
    .default('0'),
  stream: z.string().optional(),
  parameters: z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text)
      } catch {
        context.addIssue({ code: 'custom', message: 'must be JSON' })
        return z.NEVER
      }
    })
    .refine((value) => passedBound(value) === null, { error: 'has too many values, or too many levels', abort: true })
    .pipe(parameters)
    .optional(),
})

type Query = z.infer<typeof query>

/** `/buckets`: direct streams of single buckets. */
export const direct = new Hono<TenantContext>()

direct.get('/', async (c) => {
  const caller = await verified(c, tokenOfHeader(c.req.header('authorization')))
  const token = markOf(caller)
  const serving = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.committed({ v: MESSAGE_VERSION, token }),
  )
  const { buckets } = await access(c.env, c.var.tenant, caller, parseQuery(c), serving)
  return c.json({ data: { buckets: buckets.map(({ bucket, priority }) => ({ bucket, priority })) } })
})

direct.get('/:bucket/stream', async (c) => {
  const protocols = (c.req.header('sec-websocket-protocol') ?? '').split(',').flatMap((each) => each.trim() || [])
  const agreed = protocols.includes(DIRECT_PROTOCOL)
  const header = c.req.header('authorization')
  const token =
    agreed && header === undefined ? protocols.find((each) => each !== DIRECT_PROTOCOL) : tokenOfHeader(header)
  if (token === undefined)
    throw new RockpoolError('PSYNC_S2106', `the second subprotocol, after ${DIRECT_PROTOCOL}, must be the token`)
  const caller = await verified(c, token)
  const request = parseQuery(c)
  await countStream(c.env, c.var.tenant, caller)
  if (c.req.header('upgrade')?.toLowerCase() !== 'websocket')
    throw new RockpoolError('PSYNC_S2001', 'a direct stream is a WebSocket', { status: 426 })
  const bucket = c.req.param('bucket')
  // The bucket asks the replicator about the token before it sends anything.
  const { buckets, plan } = await access(c.env, c.var.tenant, caller, request, await brieflyCommitted(c))
  if (!buckets.some((each) => each.bucket === bucket))
    throw new RockpoolError(
      'ROCKPOOL_BUCKET',
      `this token alone does not grant access to the bucket ${JSON.stringify(bucket)}`,
    )
  const name = await bucketObjectName(c.var.tenant.name, bucket)
  const { expires } = caller
  const url = directUrl({ bucket, after: Number(request.after), expires, plan, token: markOf(caller) })
  const open = async () => bucketStub(c.env, c.var.tenant, name).fetch(url, { headers: { upgrade: 'websocket' } })
  const { webSocket } = await answered(open, callDeadline(c.env)).catch(unanswered)
  if (!webSocket) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the bucket object did not open a WebSocket')
  return new Response(null, {
    status: 101,
    webSocket,
    headers: agreed ? { 'sec-websocket-protocol': DIRECT_PROTOCOL } : {},
  })
})

function unanswered(cause: unknown): never {
  if (!(cause instanceof Unanswered)) throw cause
  throw new RockpoolError('ROCKPOOL_UNANSWERED', 'the bucket does not answer: try again', { cause })
}

const verified = (c: RequestContext, token: string): Promise<Caller> =>
  guarded(c.env, addressOf(c.req.raw.headers), async (refresh) =>
    verifyToken(token, await rulesOf(c.env, c.var.tenant), {
      refresh,
      background: (work) => c.executionCtx.waitUntil(work),
    }),
  )

function parseQuery(c: RequestContext): Query {
  return validated(query, c.req.query(), 'the address')
}

/** The answer may be a second old: the bucket notices when its plan no longer serves. */
const lastCommitted = briefly<object, Serving>(({ plan }) => plan !== null)

const brieflyCommitted = ({ env, var: { tenant } }: RequestContext): Promise<Serving> =>
  lastCommitted(isolateKey(env), tenant.name, () =>
    askReplicator(env, tenant, (replicator) => replicator.committed({ v: MESSAGE_VERSION })),
  )

/**
 * Returns the buckets that follow from token and query alone. Buckets that depend on a lookup are not among them: they
 * may change at any checkpoint, which only a sync stream would notice.
 */
async function access(
  env: Environment,
  tenant: Tenant,
  caller: Caller,
  { stream, parameters }: Query,
  { plan }: Serving,
): Promise<{ buckets: ResolvedBucket[]; plan: string }> {
  if (plan === null)
    throw new RockpoolError('PSYNC_S2302', 'no sync config is serving yet: its first copy is not complete', {
      status: 503,
    })
  const loaded = await planByHash(env, tenant, plan)
  const subscriptions = stream === undefined ? [] : [{ stream, parameters: parameters ?? null, priority: null }]
  const program = loaded.request({ claims: caller.claims, parameters: {}, includeDefaults: true, subscriptions })
  return { buckets: program.resolve(() => undefined).buckets, plan }
}
