import { z } from 'zod'
import { clientsShape } from '../../../protocol/messages/census.ts'
import * as shapes from '../tenants/shapes.ts'

/**
 * One operation of the admin API, as the document describes it. A test compares them with the routes that there are.
 */
export interface Operation {
  method: 'get' | 'put' | 'patch' | 'post' | 'delete'
  /** Below the address of the deployment, or below that of a tenant. */
  path: string
  of: 'deployment' | 'tenant'
  summary: string
  query?: z.ZodObject
  headers?: z.ZodObject
  body?: z.ZodType
  /** The body is the text of a sync config. */
  yaml?: true
  answer: z.ZodType
  /** What is answered when all is well. */
  statuses: readonly number[]
}

const ifMatch = z.object({ 'If-Match': z.string().describe('the version of the tenant that was read') })
const maybeMatch = z.object({ 'If-Match': z.string().optional().describe('the version of the tenant that was read') })
const ifNoneMatch = z.object({ 'If-None-Match': z.literal('*') })
const maybePlan = z.object({ 'If-Match': z.string().optional().describe('the hash of the serving plan') })
const yes = (text: string) => z.string().optional().describe(`1: ${text}`)

/** Below `/admin/tenants/{name}`, and below `/admin` of the tenant itself. */
const REVOKING = [
  {
    method: 'post' as const,
    verb: 'revoke',
    summary: 'Refuses tokens of users, and ends their streams',
    body: shapes.revokeBody,
    answer: shapes.revokedShape,
    statuses: [200, 202],
  },
  {
    method: 'post' as const,
    verb: 'unrevoke',
    summary: 'Takes back what was revoked of a user, a client or a token',
    body: shapes.subjectBody,
    answer: shapes.revokedShape,
    statuses: [200, 202],
  },
  {
    method: 'get' as const,
    verb: 'revocations',
    summary: 'Returns the revocations that are in force',
    query: shapes.revocationsQuery,
    answer: shapes.revocationsShape,
    statuses: [200],
  },
]
const revoking = (of: Operation['of'], below: string): Operation[] =>
  REVOKING.map(({ verb, ...each }) => ({ ...each, of, path: `${below}/${verb}` }))

const OF_DEPLOYMENT: readonly Omit<Operation, 'of'>[] = [
  {
    method: 'get',
    path: '/admin/tenants',
    summary: 'Lists the tenants',
    query: shapes.listQuery,
    answer: shapes.listShape,
    statuses: [200],
  },
  {
    method: 'get',
    path: '/admin/tenants/{name}',
    summary: 'Returns a tenant',
    answer: shapes.tenantShape,
    statuses: [200],
  },
  {
    method: 'put',
    path: '/admin/tenants/{name}',
    summary: 'Makes a tenant',
    query: shapes.createQuery,
    headers: ifNoneMatch,
    body: shapes.changeBody,
    answer: shapes.tenantShape,
    statuses: [201],
  },
  {
    method: 'patch',
    path: '/admin/tenants/{name}',
    summary: 'Changes what the body names; null takes a value away',
    headers: ifMatch,
    body: shapes.changeBody,
    answer: shapes.tenantShape,
    statuses: [200],
  },
  {
    method: 'delete',
    path: '/admin/tenants/{name}',
    summary: 'Deletes a tenant in the background',
    headers: ifMatch,
    body: shapes.deleteBody,
    answer: shapes.tenantShape,
    statuses: [200, 202],
  },
  ...(['suspend', 'resume'] as const).map((verb) => ({
    method: 'post' as const,
    path: `/admin/tenants/{name}/${verb}`,
    summary: verb === 'suspend' ? 'Ends streams and replication of a tenant' : 'Takes back a suspension',
    headers: maybeMatch,
    body: shapes.noBody,
    answer: shapes.tenantShape,
    statuses: [200],
  })),
  {
    method: 'post',
    path: '/admin/adopt',
    summary: 'Stores the settings of the script as the tenant `default`',
    body: shapes.noBody,
    answer: shapes.tenantShape,
    statuses: [201],
  },
  {
    method: 'post',
    path: '/admin/rekey',
    summary: 'Encrypts the secrets of some tenants with the first of TENANT_KEYS',
    body: shapes.rekeyBody,
    answer: shapes.rekeyShape,
    statuses: [200],
  },
  {
    method: 'get',
    path: '/admin/audit',
    summary: 'Returns what was done to tenants, newest first',
    query: shapes.auditQuery,
    answer: shapes.auditShape,
    statuses: [200],
  },
  {
    method: 'get',
    path: '/admin/spending',
    summary: 'Returns what tenants have used today of the budget of the deployment, those first that used most',
    query: shapes.spendingQuery,
    answer: shapes.spendingShape,
    statuses: [200],
  },
  {
    method: 'get',
    path: '/admin/openapi.json',
    summary: 'Returns this document',
    answer: shapes.anyObject,
    statuses: [200],
  },
]

const dryRun = yes('only says what would happen')
const OF_TENANT: readonly (Omit<Operation, 'of' | 'answer'> & Partial<Pick<Operation, 'answer'>>)[] = [
  {
    method: 'get',
    path: '/admin/clients',
    summary: 'Returns who is connected, as the relays said within the last 10 seconds',
    answer: clientsShape,
    statuses: [200],
  },
  {
    method: 'get',
    path: '/admin/sync-config',
    summary: 'Returns the serving sync config, deploys in progress, and the history',
    statuses: [200],
  },
  {
    method: 'put',
    path: '/admin/sync-config',
    summary: 'Deploys a sync config in the background',
    query: z.object({ dry_run: dryRun, force: yes('also with tables that cannot be followed') }),
    headers: maybePlan,
    yaml: true,
    statuses: [200, 202],
  },
  {
    method: 'post',
    path: '/admin/sync-config/{number}/withdraw',
    summary: 'Marks a sync config so that it never serves again',
    body: shapes.noBody,
    statuses: [200],
  },
  {
    method: 'post',
    path: '/admin/rollback',
    summary: 'Returns to the sync config that served before, or cancels a deploy in progress',
    query: z.object({ dry_run: dryRun, to: z.string().optional().describe('the number of a deploy') }),
    body: shapes.noBody,
    statuses: [200, 202],
  },
  {
    method: 'get',
    path: '/admin/status',
    summary: 'Examines the source and returns the whole status',
    statuses: [200],
  },
  { method: 'get', path: '/admin/verify', summary: 'Returns progress and results of the comparison', statuses: [200] },
  {
    method: 'post',
    path: '/admin/verify',
    summary: 'Begins a comparison of source, row state and buckets',
    query: z.object({ repair: yes('differences are repaired') }),
    body: shapes.noBody,
    statuses: [202],
  },
  { method: 'delete', path: '/admin/verify', summary: 'Cancels the comparison', body: shapes.noBody, statuses: [200] },
]

export const OPERATIONS: readonly Operation[] = [
  ...OF_DEPLOYMENT.map((each): Operation => ({ ...each, of: 'deployment' })),
  ...revoking('deployment', '/admin/tenants/{name}'),
  ...revoking('tenant', '/admin'),
  ...OF_TENANT.map((each): Operation => ({ answer: shapes.anyObject, ...each, of: 'tenant' })),
]
