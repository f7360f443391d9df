import { z } from 'zod'
import { LIMIT_NAMES } from '../../../tenants/budget.ts'
import { OWN_SECRET_NAMES, OWN_SETTINGS, tenantChange, type OwnSetting } from '../../../tenants/stored/record.ts'
import { JURISDICTIONS, LOCATIONS } from '../../../durable-objects/shared/placement.ts'

// What requests and answers of the admin API of the deployment look like. Requests are validated by these, tests
// compare answers with them, and the OpenAPI document is made from them.

const NAME_LENGTH = 63
const MOST_IN_A_PAGE = 1_000
const PAGE = 100

const limit = z.coerce.number().int().min(1).max(MOST_IN_A_PAGE).default(PAGE)

export const listQuery = z.object({
  after: z.string().max(NAME_LENGTH).default('').describe('the name after which the page begins'),
  limit,
})
export const auditQuery = z.object({
  before: z.coerce.number().int().min(1).optional().describe('the number before which the page begins'),
  limit,
})
export const createQuery = z.object({
  reuse_name: z.string().optional().describe('1: also a name that was deleted less than 30 days ago'),
})

export const changeBody = tenantChange
export const noBody = z.strictObject({})
export const deleteBody = z.strictObject({
  keepSource: z
    .boolean()
    .default(false)
    .describe('slot and publication stay, for a database that cannot be reached any more'),
})
export const rekeyBody = z.strictObject({
  after: z.string().max(NAME_LENGTH).default('').describe('`next` of the answer before'),
})

const state = z.enum(['active', 'suspended', 'deleting'])
const time = z.iso.datetime()

export const jobShape = z
  .strictObject({
    state,
    phase: z.enum(['telling', 'source', 'buckets', 'late', 'again', 'erasing']),
    removed: z.int().describe('buckets whose storage is erased'),
    left: z.int().nullable().describe('buckets that are left in this phase; null: not counted yet'),
    since: time,
    next: time.describe('when the next step is due'),
    error: z.string().nullable().describe('why the last step failed; it is tried again'),
  })
  .describe('what is still being done so that all objects of a tenant know its state')

export const tenantShape = z.strictObject({
  name: z.string(),
  state,
  version: z.int().describe('grows with every change; the ETag'),
  sourceVersion: z.int().describe('the version at which something last changed by which it replicates'),
  created: time,
  changed: time,
  settings: z.partialRecord(z.enum(Object.keys(OWN_SETTINGS) as OwnSetting[]), z.string()),
  secrets: z.array(z.enum(OWN_SECRET_NAMES)).describe('the secrets that are stored; their values are never shown'),
  hosts: z.array(z.string()),
  tenantClaim: z.string().nullable(),
  limits: z
    .partialRecord(z.enum(LIMIT_NAMES), z.strictObject({ warn: z.int().nullable(), refuse: z.int().nullable() }))
    .optional()
    .describe('what it may use: streams at a time, rows written a day'),
  place: z
    .strictObject({ location: z.enum(LOCATIONS).nullable(), jurisdiction: z.enum(JURISDICTIONS).nullable() })
    .optional(),
  former: z
    .array(z.strictObject({ id: z.string(), database: z.string(), slot: z.string(), since: time }))
    .optional()
    .describe('databases that it had before, in which its slot could not be dropped yet'),
  job: jobShape.nullable(),
})

export const listShape = z.strictObject({
  tenants: z.array(z.strictObject({ name: z.string(), version: z.int(), state, hosts: z.array(z.string()) })),
  next: z.string().nullable().describe('`after` of the next page; null: this is the last one'),
})
export const rekeyShape = z.strictObject({
  rekeyed: z.int(),
  next: z.string().nullable().describe('where to go on; null: all are done'),
})
export const auditShape = z.strictObject({
  entries: z.array(
    z.strictObject({ number: z.int(), at: time, by: z.string(), action: z.string(), tenant: z.string() }),
  ),
})
/** The answers of routes of one tenant are described in docs/operations.md. */
export const anyObject = z.looseObject({})
export const errorShape = z.strictObject({
  error: z.strictObject({
    name: z.string(),
    code: z.string(),
    status: z.int(),
    description: z.string(),
    details: z.unknown().optional(),
  }),
})
