import { Hono, type Context } from 'hono'
import { cors } from 'hono/cors'
import type { Environment } from '../durable-objects/environment.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { MESSAGE_VERSION } from '../protocol/messages.ts'
import { DEFAULT_TENANT, replicatorName } from '../protocol/names.ts'
import { tokenRules } from './auth/keys.ts'
import { tokenOfHeader, verifyToken, type Session } from './auth/token.ts'
import { publicError } from './errors.ts'
import { readJson, streamRequest } from './sync/body.ts'
import { heldStatus } from './sync/held.ts'
import { streamResponse } from './sync/http.ts'
import { MAX_CLIENT_ID_LENGTH } from './sync/limits.ts'
import { webSocketStream } from './sync/web-socket.ts'

export const app = new Hono<{ Bindings: Environment }>()

app.use(
  cors({
    origin: '*',
    allowMethods: ['GET', 'POST', 'OPTIONS'],
    allowHeaders: ['Content-Type', 'Authorization', 'User-Agent', 'X-User-Agent'],
    exposeHeaders: ['Content-Type'],
    maxAge: 3600,
  }),
)

/** The token is verified before any object is named. */
const sessionOf = (env: Environment, header: string | undefined): Promise<Session> => verifyToken(tokenOfHeader(header), tokenRules(env))

app.post('/sync/stream', async (c) => {
  const session = await sessionOf(c.env, c.req.header('authorization'))
  const request = streamRequest(await readJson(c.req.raw))
  return streamResponse(c.env, DEFAULT_TENANT, session, request, c.req.header('accept'))
})

app.get('/sync/stream', (c) => {
  if (isUpgrade(c)) return webSocketStream(c.env, DEFAULT_TENANT)
  throw new RockpoolError('PSYNC_S2001', 'GET /sync/stream is a WebSocket; over HTTP it is POST', { status: 426 })
})

app.get('/write-checkpoint2.json', async (c) => {
  const session = await sessionOf(c.env, c.req.header('authorization'))
  const clientId = c.req.query('client_id') ?? ''
  if (clientId.length > MAX_CLIENT_ID_LENGTH)
    throw new RockpoolError('PSYNC_S2001', `client_id is longer than ${MAX_CLIENT_ID_LENGTH} characters`)
  const replicator = c.env.REPLICATOR.getByName(replicatorName(DEFAULT_TENANT))
  const { writeCheckpoint } = await replicator.writeCheckpoint({ v: MESSAGE_VERSION, user: session.user, clientId })
  return c.json({ data: { write_checkpoint: writeCheckpoint } })
})

/** With any valid token; what names users or rows only with one that says `operator: true`. */
app.get('/status', async (c) => {
  const session = await sessionOf(c.env, c.req.header('authorization'))
  const status = await c.env.REPLICATOR.getByName(replicatorName(DEFAULT_TENANT)).status({ v: MESSAGE_VERSION })
  const streams = heldStatus()
  if (session.claims.operator === true) return c.json({ data: { ...status, streams } })
  const failingBuckets = status.failingBuckets.map((each) => ({ ...each, bucket: '…' }))
  return c.json({ data: { ...status, streams, failingBuckets, skippedRows: { ...status.skippedRows, recent: [] } } })
})

/** Whether the script answers; what the replicator does is in `/status`. */
app.get('/probes/:probe{startup|liveness|readiness}', (c) => c.json({ data: { started: true, ready: true } }))

/** Some clients put their own path behind the address, or none: the WebSocket is the same everywhere. */
app.notFound((c) => {
  if (isUpgrade(c)) return webSocketStream(c.env, DEFAULT_TENANT)
  return refuse(new RockpoolError('PSYNC_S2002', `there is no ${c.req.method} ${c.req.path}`))
})

app.onError((error) => refuse(publicError(error)))

const isUpgrade = (c: Context): boolean => c.req.header('upgrade')?.toLowerCase() === 'websocket'

function refuse(error: RockpoolError): Response {
  return Response.json(error.body(), { status: error.status, headers: { 'access-control-allow-origin': '*' } })
}
