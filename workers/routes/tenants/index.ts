import { Hono } from 'hono'
import type { Context, MiddlewareHandler } from 'hono'
import { z } from 'zod'
import type { Environment } from '../../../durable-objects/environment.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askDirectory, storedTenants } from '../../../tenants/of-environment.ts'
import { tenantChange } from '../../../tenants/stored/record.ts'
import { deploymentOperator } from '../../auth/asker.ts'
import { tokenOfHeader } from '../../auth/token.ts'
import { addressOf, countFailure, guarded } from '../../rates.ts'
import { readJson, validated } from '../../stream/body.ts'
import { changeTenant } from './change.ts'
import { refuseForeignPages } from './own-page.ts'

/** `by`: the operator, as `sub` of the token says. */
interface DeploymentContext {
  Bindings: Environment
  Variables: { by: string }
}

/** A sync config may be part of a change. */
const MAX_CHANGE_BYTES = 2_000_000

const nothing = () => new RockpoolError('PSYNC_S2002', 'there is nothing at this address')

/** Lets pass operators of the deployment. Where there are no tenants to administer, or no operators, there is nothing at all. */
const operator: MiddlewareHandler<DeploymentContext> = async (c, next) => {
  const address = addressOf(c.req.raw.headers)
  const isOwn = (await storedTenants(c.env)?.isOwn(c.req.raw)) ?? false
  if (!isOwn) throw await countFailure(c.env, address, nothing())
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const by = await guarded(c.env, address, async (refresh) =>
    deploymentOperator(c.env, tokenOfHeader(c.req.header('authorization')), { refresh, background }),
  )
  if (by === null) throw nothing()
  refuseForeignPages(c.req.raw)
  c.set('by', by.user)
  c.header('cross-origin-resource-policy', 'same-origin')
  await next()
}

const page = z.object({
  after: z.string().max(63).default(''),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
const auditPage = z.object({
  before: z.coerce.number().int().min(1).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})

/** `/admin/tenants`: the tenants of a deployment. */
export const tenants = new Hono<DeploymentContext>()

tenants.use(operator)

tenants.get('/', async (c) => {
  const { after, limit } = validated(page, c.req.query(), 'the address')
  const { tenants: all } = await askDirectory(c.env, (directory) => directory.names({ v: MESSAGE_VERSION }))
  const sorted = (all ?? []).filter(({ name }) => name > after).sort((a, b) => (a.name < b.name ? -1 : 1))
  const shown = sorted.slice(0, limit)
  return c.json({ data: { tenants: shown, next: sorted.length > limit ? (shown.at(-1)?.name ?? null) : null } })
})

tenants.get('/:name', async (c) => {
  const name = c.req.param('name')
  const answer = await askDirectory(c.env, (directory) => directory.record({ v: MESSAGE_VERSION, name }))
  if (answer.kind !== 'record') throw new RockpoolError('ROCKPOOL_TENANT', `there is no tenant ${JSON.stringify(name)}`)
  return answerWith(c, answer.record)
})

/** Makes a tenant. `If-None-Match: *` is required, so that a request which is repeated makes and changes nothing. `?reuse_name=1`: also a name that was deleted not long ago. */
tenants.put('/:name', async (c) => {
  if (c.req.header('if-none-match') !== '*')
    throw new RockpoolError('PSYNC_S2001', 'a tenant is made with If-None-Match: *, and changed by PATCH')
  const change = validated(tenantChange, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  const asked = { name: c.req.param('name'), change, ifMatch: 'absent' as const, reuse: c.req.query('reuse_name') === '1', by: c.get('by') }
  return answerWith(c, await changeTenant(c.env, asked), 201)
})

/** Changes what the body names. `If-Match`: the version that was read; required. */
tenants.patch('/:name', async (c) => {
  const match = /^(?:W\/)?"?(\d{1,15})"?$/.exec(c.req.header('if-match') ?? '')
  if (match === null) throw new RockpoolError('PSYNC_S2001', 'If-Match must be the version of the tenant that was read')
  const change = validated(tenantChange, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  const asked = { name: c.req.param('name'), change, ifMatch: Number(match[1]), reuse: false, by: c.get('by') }
  return answerWith(c, await changeTenant(c.env, asked))
})

/** `/admin/rekey`: encrypts the secrets of all tenants with the first of `TENANT_KEYS`, some of them in each call. */
export const rekey = new Hono<DeploymentContext>()
rekey.use(operator)
rekey.post('/', async (c) => {
  const { after } = validated(z.strictObject({ after: z.string().max(63).default('') }), await readJson(c.req.raw, MAX_CHANGE_BYTES))
  return c.json({ data: await askDirectory(c.env, (directory) => directory.rekey({ v: MESSAGE_VERSION, after, by: c.get('by') })) })
})

/** `/admin/audit`: what was done to tenants, newest first. */
export const audit = new Hono<DeploymentContext>()
audit.use(operator)
audit.get('/', async (c) => {
  const { before, limit } = validated(auditPage, c.req.query(), 'the address')
  const asked = { v: MESSAGE_VERSION, limit, ...(before !== undefined && { before }) }
  return c.json({ data: { entries: await askDirectory(c.env, (directory) => directory.audit(asked)) } })
})

function answerWith(c: Context<DeploymentContext>, record: string, status: 200 | 201 = 200): Response {
  const data: { version: number } = JSON.parse(record)
  c.header('etag', `"${data.version}"`)
  return c.json({ data }, status)
}
