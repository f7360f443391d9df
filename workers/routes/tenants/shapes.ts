import { z } from 'zod'
import { MAX_REVOKED_LENGTH, REVOKED_BY, type RevokedBy } from '../../../protocol/revocations.ts'
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
export const spendingQuery = z.object({ limit })
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

const subject = z.string().min(1).max(MAX_REVOKED_LENGTH).optional()
const subjects = {
  user: subject.describe('`sub` of tokens'),
  client: subject.describe('the client id with which a device connects'),
  jti: subject.describe('the claim `jti` of one token'),
}
const isOne = (body: Partial<Record<RevokedBy, string | undefined>>): boolean =>
  REVOKED_BY.filter((of) => body[of] !== undefined).length === 1
const ONE = { error: 'say one of user, client and jti' }
const moment = z.iso.datetime({ offset: true }).optional()

export const subjectBody = z.strictObject(subjects).refine(isOne, ONE)
export const revokeBody = z
  .strictObject({
    ...subjects,
    before: moment.describe('tokens that were issued up to then are refused; now when nothing is said'),
    until: moment.describe('for how long; until the last of these tokens has expired when nothing is said'),
    forever: z.boolean().optional().describe('tokens are refused whenever they were issued, until that is taken back'),
  })
  .refine(isOne, ONE)
  .refine(({ forever, before, until, jti }) => !forever || (before ?? until ?? jti) === undefined, {
    error: 'forever is for a user or a client, without before and until',
  })
export const revocationsQuery = z.object({
  after: z
    .string()
    .max(MAX_REVOKED_LENGTH + NAME_LENGTH)
    .default('')
    .describe('`next` of the page before'),
  limit,
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
    .partialRecord(z.enum(LIMIT_NAMES), z.strictObject({ warn: z.number().nullable(), refuse: z.number().nullable() }))
    .optional()
    .describe('what it may use: streams at a time, rows written a day, GB stored'),
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
const dollars = z.number().min(0)
export const spendingShape = z.strictObject({
  day: z.iso.date().describe('in UTC'),
  budget: dollars.nullable().describe('BUDGET_DOLLARS_DAY; null: nothing is added up'),
  dollars: dollars.describe('what replicators have counted on this day'),
  tenants: z.array(
    z.strictObject({
      name: z.string(),
      dollars,
      lately: dollars.describe('in this hour and the one before'),
      paused: z.boolean().describe('because of the budget'),
    }),
  ),
})
export const auditShape = z.strictObject({
  entries: z.array(
    z.strictObject({
      number: z.int(),
      at: time,
      by: z.string().describe('`sub` of the token'),
      key: z.string().optional().describe('the `kid` of its key, or its place in OPERATOR_KEYS'),
      from: z.string().optional().describe('the address from which it was asked for'),
      action: z.string(),
      tenant: z.string(),
      details: z.string().optional(),
    }),
  ),
})
const named = { user: z.string().optional(), client: z.string().optional(), jti: z.string().optional() }
const times = {
  before: time.nullable().describe('with the difference that clocks may have; null: whenever they were issued'),
  until: time.nullable().describe('when it is forgotten; null: never'),
}
export const revokedShape = z.strictObject({
  streams: z.int().describe('streams that it has ended'),
  told: z.boolean().describe('false: not all objects have been told; they will be, as soon as that can be done'),
  error: z.string().nullable().describe('why not'),
  revocation: z.strictObject({ ...named, ...times }).optional(),
})
export const revocationsShape = z.strictObject({
  revocations: z.array(z.strictObject({ ...named, ...times, by: z.string(), at: time })),
  waiting: z
    .array(
      z.strictObject({
        kind: z.enum(['revoke', 'unrevoke']),
        by: z.string(),
        ...named,
        before: time.nullable().optional(),
        until: time.nullable().optional(),
      }),
    )
    .describe('changes of which not all objects have been told'),
  error: z.string().nullable().describe('why they have not'),
  next: z.string().nullable().describe('`after` of the next page; null: this is the last one'),
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
