import { Hono, type Context } from 'hono'
import { cors } from 'hono/cors'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { z } from 'zod'
import { RockpoolError } from '../protocol/errors.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { admin } from './routes/admin/index.ts'
import { rulesOf } from './auth/tenant-rules.ts'
import { markOf, tokenOfHeader, verifyToken, type Caller } from './auth/token.ts'
import { checkpointRequest } from './routes/checkpoint-request.ts'
import { direct } from './routes/direct.ts'
import { publicError, userError } from './errors.ts'
import { status } from './routes/status.ts'
import { adoption, audit, openapi, rekey, spending, tenants } from './routes/tenants/index.ts'
import { pathOf, tenant, type TenantContext } from './tenant.ts'
import { addressOf, countFailure, countStream, countWrite, guarded, retryAfterOf } from './rates.ts'
import { askReplicator } from './replicator.ts'
import { clientId, readJson, streamRequest, validated } from './stream/body.ts'
import { streamResponse } from './transports/http.ts'
import { webSocketStream } from './transports/web-socket.ts'

/** A client that does not name its database shares one place in its user's mailbox with the others that do not. */
const clientIdQuery = z.object({ client_id: clientId.default('') })

type Request = Context<TenantContext>

export const app = new Hono<TenantContext>({ getPath: pathOf })

const anybody = cors({
  origin: '*',
  allowMethods: ['GET', 'POST'],
  allowHeaders: ['Content-Type', 'Authorization', 'User-Agent', 'X-User-Agent'],
  exposeHeaders: ['Content-Type'],
  maxAge: 3600,
})

const isAdmin = (c: Request): boolean => /^\/admin(\/|$)/.test(c.req.path)

/** Pages of any origin may use the routes of users, which need a token and ignore cookies. No page may use `/admin`. */
app.use((c, next) => (isAdmin(c) ? next() : anybody(c, next)))

/** Nothing is cached: a write checkpoint from a cache would be outdated, and nothing else here is worth keeping. */
app.use(async (c, next) => {
  c.header('cache-control', 'no-store')
  c.header('x-content-type-options', 'nosniff')
  await next()
})

/** Of the deployment, and of no tenant. */
app.route('/admin/tenants', tenants)
app.route('/admin/adopt', adoption)
app.route('/admin/rekey', rekey)
app.route('/admin/audit', audit)
app.route('/admin/spending', spending)
app.route('/admin/openapi.json', openapi)

app.use(tenant)

const background = (c: Request) => (work: Promise<unknown>) => c.executionCtx.waitUntil(work)

/** The token is verified, and the request validated, before any object is named. */
const callerOf = (c: Request): Promise<Caller> =>
  guarded(c.env, addressOf(c.req.raw.headers), async (refresh) =>
    verifyToken(tokenOfHeader(c.req.header('authorization')), await rulesOf(c.env, c.var.tenant), {
      refresh,
      background: background(c),
    }),
  )

app.post('/sync/stream', async (c) => {
  const caller = await callerOf(c)
  const request = streamRequest(await readJson(c.req.raw), c.var.tenant.streams.subscriptions)
  await countStream(c.env, c.var.tenant, caller)
  return streamResponse(c.env, c.var.tenant, caller, request, c.req.raw)
})

app.get('/sync/stream', (c) => {
  if (isUpgrade(c)) return webSocketStream(c.env, c.var.tenant, c.req.raw)
  throw new RockpoolError('PSYNC_S2001', 'GET /sync/stream is a WebSocket; over HTTP it is POST', { status: 426 })
})

app.get('/write-checkpoint2.json', async (c) => {
  // GET writes a marker, which a HEAD must not do.
  if (c.req.raw.method === 'HEAD') throw noRoute(c)
  const caller = await callerOf(c)
  const { user } = caller
  const { client_id } = validated(clientIdQuery, { client_id: c.req.query('client_id') || undefined }, 'the address')
  await countWrite(c.env, c.var.tenant, caller)
  const { writeCheckpoint } = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.writeCheckpoint({ v: MESSAGE_VERSION, user, clientId: client_id, token: markOf(caller, client_id) }),
  )
  return c.json({ data: { write_checkpoint: writeCheckpoint } })
})

app.post('/sync/checkpoint-request', async (c) => {
  const caller = await callerOf(c)
  const { user } = caller
  const request = checkpointRequest(await readJson(c.req.raw))
  await countWrite(c.env, c.var.tenant, caller)
  const { id } = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.checkpointRequest({ v: MESSAGE_VERSION, user, ...request, token: markOf(caller, request.clientId) }),
  )
  return c.json({ data: { checkpoint_request_id: id } })
})

app.route('/status', status)

/** Only says that the script answers. The state of the replicator is in `/status`. */
app.get('/probes/:probe{startup|liveness|readiness}', (c) => c.json({ data: { started: true, ready: true } }))

app.route('/buckets', direct)

app.route('/admin', admin)

/** Some clients append their own path to the address, or none. The WebSocket is the same on every path. */
app.notFound(async (c) => {
  const address = addressOf(c.req.raw.headers)
  return isUpgrade(c)
    ? webSocketStream(c.env, c.var.tenant, c.req.raw)
    : refuse(c, await countFailure(c.env, address, noRoute(c)))
})

app.onError((error, c) => refuse(c, isAdmin(c) ? publicError(error) : userError(error)))

const isUpgrade = (c: Request): boolean => c.req.header('upgrade')?.toLowerCase() === 'websocket'

function refuse(c: Request, error: RockpoolError): Response {
  const seconds = retryAfterOf(error)
  if (seconds !== null) c.header('retry-after', String(seconds))
  return c.body(JSON.stringify(error.body()), error.status as ContentfulStatusCode, {
    'content-type': 'application/json',
  })
}

function noRoute(c: Request): RockpoolError {
  const others = app.routes
    .filter(({ path, method }) => path === c.req.path && method !== 'ALL')
    .map(({ method }) => method)
  const hint = others.length === 0 ? '' : `; there is ${others.join(' and ')}`
  return new RockpoolError('PSYNC_S2002', `there is no ${c.req.raw.method} ${c.req.path.slice(0, 200)}${hint}`)
}
