import { Hono } from 'hono'
import type { Context, MiddlewareHandler } from 'hono'
import type { Environment } from '../../../durable-objects/environment.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { SetStateRequest, TenantJob } from '../../../protocol/messages/directory.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askDirectory, directoryOf, storedTenants } from '../../../tenants/of-environment.ts'
import { deploymentOperator } from '../../auth/asker.ts'
import type { Operator } from '../../auth/permissions.ts'
import { addressOf, countFailure, guarded } from '../../rates.ts'
import { askReplicator } from '../../replicator.ts'
import { readJson, validated } from '../../stream/body.ts'
import { adopt } from './adopt.ts'
import { changeTenant } from './change.ts'
import { openApi } from '../openapi/document.ts'
import { checkNeeds } from '../needs.ts'
import { refuseForeignPages } from '../own-page.ts'
import { askerOf, revoking } from './revoke.ts'
import { auditQuery, changeBody, deleteBody, listQuery, noBody, rekeyBody, spendingQuery } from './shapes.ts'

interface DeploymentContext {
  Bindings: Environment
  Variables: { operator: Operator }
}

/** How long a change of the state may take, which is told to all relays before it is answered. */
const TELLING_MS = 40_000
/** A sync config may be part of a change. */
const MAX_CHANGE_BYTES = 2_000_000

const nothing = () => new RockpoolError('PSYNC_S2002', 'there is nothing at this address')

/**
 * Lets pass operators who may do this in the deployment. Where there are no tenants to administer, or no operators,
 * there is nothing at all.
 */
const operator: MiddlewareHandler<DeploymentContext> = async (c, next) => {
  const address = addressOf(c.req.raw.headers)
  const isOwn = (await storedTenants(c.env)?.isOwn(c.req.raw)) ?? false
  if (!isOwn) throw await countFailure(c.env, address, nothing())
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const found = await guarded(c.env, address, async (refresh) =>
    deploymentOperator(c.env, c.req.raw.headers, { refresh, background }),
  )
  if (found === null) throw nothing()
  refuseForeignPages(c.req.raw)
  checkNeeds(c, found, null)
  c.set('operator', found)
  c.header('cross-origin-resource-policy', 'same-origin')
  await next()
}

/** `/admin/tenants`: the tenants of a deployment. */
export const tenants = new Hono<DeploymentContext>()

// By these paths it knows the name of the tenant.
tenants.use('/', operator)
tenants.use('/:name/*', operator)

tenants.get('/', async (c) => {
  const { after, limit } = validated(listQuery, c.req.query(), 'the address')
  const { tenants: all } = await askDirectory(c.env, (directory) => directory.names({ v: MESSAGE_VERSION }))
  const { may } = c.var.operator
  const sorted = (all ?? [])
    .filter(({ name }) => name > after && may('read', { tenant: name }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const shown = sorted.slice(0, limit)
  return c.json({ data: { tenants: shown, next: sorted.length > limit ? (shown.at(-1)?.name ?? null) : null } })
})

tenants.get('/:name', async (c) => {
  const name = c.req.param('name')
  const answer = await askDirectory(c.env, (directory) => directory.record({ v: MESSAGE_VERSION, name }))
  if (answer.kind !== 'record') throw new RockpoolError('ROCKPOOL_TENANT', `there is no tenant ${JSON.stringify(name)}`)
  const job = await askDirectory(c.env, (directory) => directory.job({ v: MESSAGE_VERSION, name }))
  return answerWith(c, answer.record, 200, job)
})

/**
 * Makes a tenant. `If-None-Match: *` is required, so that a request which is repeated makes and changes nothing.
 * `?reuse_name=1`: also a name that was deleted not long ago.
 */
tenants.put('/:name', async (c) => {
  if (c.req.header('if-none-match') !== '*')
    throw new RockpoolError('PSYNC_S2001', 'a tenant is made with If-None-Match: *, and changed by PATCH')
  const change = validated(changeBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  const asked = {
    name: c.req.param('name'),
    change,
    ifMatch: 'absent' as const,
    reuse: c.req.query('reuse_name') === '1',
    ...askerOf(c),
  }
  const record = await changeTenant(c.env, asked)
  wakeSoon(c, asked.name)
  return answerWith(c, record, 201)
})

/** Changes what the body names. `If-Match`: the version that was read; required. */
tenants.patch('/:name', async (c) => {
  const ifMatch = versionOf(c)
  const change = validated(changeBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  const asked = { name: c.req.param('name'), change, ifMatch, reuse: false, ...askerOf(c) }
  const record = await changeTenant(c.env, asked)
  wakeSoon(c, asked.name)
  return answerWith(c, record)
})

/**
 * Suspends a tenant: streams and replication end. `/resume` takes it back. Both may be repeated; what every object
 * knows already is told again.
 */
for (const [verb, state] of [
  ['suspend', 'suspended'],
  ['resume', 'active'],
] as const) {
  tenants.post(`/:name/${verb}`, async (c) => {
    validated(noBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
    const ifMatch = c.req.header('if-match') === undefined ? null : versionOf(c)
    return stateAnswer(c, { name: c.req.param('name'), state, ifMatch })
  })
}

/** Refuses tokens of a tenant's users, and ends their streams. */
tenants.route(
  '/:name',
  revoking<DeploymentContext>((c) => c.req.param('name') ?? ''),
)

/**
 * Deletes a tenant, in the background. `If-Match`: the version that was read; required. `{"keepSource": true}`: slot
 * and publication stay, for a database that is gone.
 */
tenants.delete('/:name', async (c) => {
  const { keepSource } = validated(deleteBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  return stateAnswer(c, { name: c.req.param('name'), state: 'deleting', ifMatch: versionOf(c), keepSource }, 202)
})

/** `/admin/adopt`: stores the settings of the script as the tenant `default`. */
export const adoption = new Hono<DeploymentContext>()
adoption.use(operator)
adoption.post('/', async (c) => {
  validated(noBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  return answerWith(c, await adopt(c.env, askerOf(c)), 201)
})

/** `/admin/rekey`: encrypts the secrets of all tenants with the first of `TENANT_KEYS`, some of them in each call. */
export const rekey = new Hono<DeploymentContext>()
rekey.use(operator)
rekey.post('/', async (c) => {
  const { after } = validated(rekeyBody, await readJson(c.req.raw, MAX_CHANGE_BYTES))
  return c.json({
    data: await askDirectory(c.env, (directory) => directory.rekey({ v: MESSAGE_VERSION, after, ...askerOf(c) })),
  })
})

/** `/admin/audit`: what was done to tenants, newest first. */
export const audit = new Hono<DeploymentContext>()
audit.use(operator)
audit.get('/', async (c) => {
  const { before, limit } = validated(auditQuery, c.req.query(), 'the address')
  const asked = { v: MESSAGE_VERSION, limit, ...(before !== undefined && { before }) }
  return c.json({ data: { entries: await askDirectory(c.env, (directory) => directory.audit(asked)) } })
})

/** `/admin/spending`: what all tenants have used today, and those that used most. */
export const spending = new Hono<DeploymentContext>()
spending.use(operator)
spending.get('/', async (c) => {
  const { limit } = validated(spendingQuery, c.req.query(), 'the address')
  return c.json({ data: await askDirectory(c.env, (directory) => directory.spent({ v: MESSAGE_VERSION, limit })) })
})

/**
 * The replicator begins, or tries again with what was changed, without waiting for the cron trigger, which wakes it
 * anyway.
 */
function wakeSoon(c: Context<DeploymentContext>, name: string): void {
  const wake = async () => {
    const tenant = await directoryOf(c.env).find(name)
    await askReplicator(c.env, tenant, (replicator) => replicator.wake({ v: MESSAGE_VERSION, changed: true }))
  }
  c.executionCtx.waitUntil(wake().catch((error: unknown) => console.warn(`the tenant ${name} was not woken`, error)))
}

/** Throws PSYNC_S2001. */
function versionOf(c: Context<DeploymentContext>): number {
  const match = /^(?:W\/)?"?(\d{1,15})"?$/.exec(c.req.header('if-match') ?? '')
  if (match === null) throw new RockpoolError('PSYNC_S2001', 'If-Match must be the version of the tenant that was read')
  return Number(match[1])
}

/** `job`: what is still being done to the tenant, or null. */
async function stateAnswer(
  c: Context<DeploymentContext>,
  change: Pick<SetStateRequest, 'name' | 'state' | 'ifMatch' | 'keepSource'>,
  status: 200 | 202 = 200,
): Promise<Response> {
  const { record, job } = await askDirectory(
    c.env,
    (directory) => directory.setState({ v: MESSAGE_VERSION, ...askerOf(c), ...change }),
    TELLING_MS,
  )
  storedTenants(c.env)?.changed(change.name)
  return answerWith(c, record, job === null ? 200 : status, job)
}

/**
 * `/admin/openapi.json` at the address of the deployment. At that of a tenant the operators of the tenant are asked.
 */
export const openapi = new Hono<DeploymentContext>()
openapi.get('/', async (c, next) => {
  const isOwn = (await storedTenants(c.env)?.isOwn(c.req.raw)) ?? false
  if (!isOwn) return next()
  await operator(c, async () => void (c.res = c.json(openApi())))
  return c.res
})

function answerWith(
  c: Context<DeploymentContext>,
  record: string,
  status: 200 | 201 | 202 = 200,
  job: TenantJob | null = null,
): Response {
  const data: { version: number } = JSON.parse(record)
  c.header('etag', `"${data.version}"`)
  return c.json({ data: { ...data, job } }, status)
}
