import { tableKey, type TableName } from '../../../protocol/tables.ts'
import type { Call, SourceConnection, UnfollowableTable } from '../../../sources/source.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { DeployDifference, PartStatus } from '../../../protocol/messages/admin.ts'
import { compileConfig, type CompileSettings } from '../../../sync-config/compile.ts'
import { MAX_CONFIG_BYTES } from '../../../sync-config/limits.ts'
import { loadPlan, matchesTable, namedColumns, planHash, type PlanPart } from '../../../sync-config/index.ts'
import type { SourceSchema } from '../../../sync-config/schema.ts'
import type { Finding, Plan } from '../../../sync-config/types.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Deploys } from './deploys.ts'

/** A sync config that was compiled, and compared with the database and with what is served. */
export interface Checked {
  plan: Plan
  difference: DeployDifference
  /** Tables of the plan that cannot be followed. */
  refused: readonly { name: TableName; table: string; reason: string }[]
}

/** Compiles a sync config. Throws ROCKPOOL_SYNC_CONFIG with every error and its place; `details` are the findings. */
export function planOf(yaml: string, settings: CompileSettings): { plan: Plan; warnings: Finding[] } {
  if (Buffer.byteLength(yaml) > MAX_CONFIG_BYTES) {
    throw new RockpoolError('ROCKPOOL_SYNC_CONFIG', `the sync config is larger than ${MAX_CONFIG_BYTES} bytes`, {
      status: 422,
      details: [],
    })
  }
  const result = compileConfig(yaml, settings)
  if (result.ok) return result
  throw mistakes(result.errors)
}

function mistakes(errors: readonly Finding[]): RockpoolError {
  const lines = errors.map((e) => `${e.place.line}:${e.place.column} ${e.code}: ${e.message}`)
  return new RockpoolError('ROCKPOOL_SYNC_CONFIG', `the sync config has errors: ${lines.join('; ')}`, {
    status: 422,
    details: errors,
  })
}

/**
 * Compiles against the tables of the database. With `force`, errors that only those tables cause become warnings.
 * Throws ROCKPOOL_SYNC_CONFIG.
 */
function planOver(
  yaml: string,
  limits: ReplicationSettings['limits'],
  schema: SourceSchema,
  force: boolean,
): { plan: Plan; warnings: Finding[] } {
  const result = compileConfig(yaml, { limits, schema })
  if (result.ok) return result
  if (!force) throw mistakes(result.errors)
  return { plan: planOf(yaml, { limits }).plan, warnings: [...result.errors, ...result.warnings] }
}

/**
 * Returns those of these tables that could not be followed under the plan, because of a problem or of missing columns.
 */
export const unfollowableOf = (plan: Plan, source: Asked, tables: readonly TableName[]): Promise<UnfollowableTable[]> =>
  source.source.examine(tables, namedColumns(loadPlan(plan)), source.call())

/** A connection to the source, and what its calls are passed. */
export interface Asked {
  source: Pick<SourceConnection, 'schema' | 'examine' | 'estimate'>
  call(): Call
}

interface Checking {
  deploys: Pick<Deploys, 'bind' | 'difference'>
  settings: ReplicationSettings
  asked: Asked
  openStreams(): Promise<number>
}

/**
 * Checks a deploy and stores nothing. `force` is as in `planOver`. Throws ROCKPOOL_SYNC_CONFIG, or an error of the
 * database.
 */
export async function checkDeploy(
  { deploys, settings, asked, openStreams }: Checking,
  yaml: string,
  force: boolean,
): Promise<Checked> {
  const { limits } = settings
  // Errors of the config itself are reported without asking the database.
  planOf(yaml, { limits })
  const { source, call } = asked
  const { plan, warnings } = planOver(yaml, limits, await source.schema(call()), force)
  const bound = deploys.bind(plan)
  const { kept, again, added, removed } = deploys.difference(bound)
  const read = added.flatMap(({ tables }) => tables)
  const names = new Map(
    [...kept, ...again, ...added].flatMap(({ tables }) => tables.map((each) => [tableKey(each), each])),
  )
  const all = await unfollowableOf(plan, asked, [...names.values()])
  const difference: DeployDifference = {
    plan: planHash(bound),
    definitions: {
      kept: kept.map(named),
      ...(again.length > 0 && { again: again.map(named) }),
      added: added.map(named),
      removed: removed.map(named),
    },
    copy: read.length === 0 ? [] : await source.estimate(read, call()),
    refused: all.map(({ table, reason }) => ({ table, reason })),
    streams: await openStreams(),
    warnings: warnings.map(({ level, code, message, place }) => ({ level, code, message, place })),
  }
  return { plan, difference, refused: all }
}

/**
 * Throws ROCKPOOL_DEPLOY when a new definition would see nothing of a table. A deploy must not harm what is already
 * served: a table that lacks a column which a new definition names would no longer be followed, for the other
 * definitions as well.
 */
export function refuseUnfollowable(
  deploys: Pick<Deploys, 'bind' | 'difference'>,
  { plan, refused }: Pick<Checked, 'plan' | 'refused'>,
): void {
  const read = deploys.difference(deploys.bind(plan)).added.flatMap(({ tables }) => tables)
  refuse(
    refused
      .filter(({ name }) => read.some((each) => matchesTable(each, name)))
      .map(({ table, reason }) => ({ table, reason })),
  )
}

/** Throws ROCKPOOL_DEPLOY if there are any tables. */
export function refuse(tables: readonly { table: string; reason: string }[]): void {
  if (tables.length === 0) return
  const reasons = tables.map(({ table, reason }) => `${table}: ${reason}`).join('; ')
  throw new RockpoolError('ROCKPOOL_DEPLOY', `tables of new definitions cannot be followed: ${reasons}`, {
    details: tables,
  })
}

/** Names a part. A lookup is named after the streams that use it. */
const named = ({ kind, name, usedBy }: PlanPart): PartStatus => ({
  kind,
  name: usedBy.length === 0 ? name : usedBy.join(', '),
})
