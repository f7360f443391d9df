import type { Placement } from '../durable-objects/shared/placement.ts'
import type { TenantBudget } from './budget.ts'
import type { Limits } from '../sync-config/limits.ts'
import type { CompactionSettings } from './compaction.ts'
import type { ReplicationSettings } from './replication.ts'
import type { StreamSettings } from './streams.ts'

/**
 * One tenant: its name and its settings, which are validated when they are read. It holds no secret, so it may be kept,
 * logged and compared; secrets come from the directory. Reading a section throws ROCKPOOL_SETTINGS when one of its own
 * settings is missing or wrong, so only code that needs the section fails.
 */
export interface Tenant {
  readonly name: string
  /** What the replicator needs, without the URL of the database. */
  readonly replication: ReplicationSettings
  readonly streams: StreamSettings
  readonly limits: Limits
  /** What it may use. */
  readonly budget: TenantBudget
  readonly compaction: CompactionSettings
  /** Where its objects are. */
  readonly place: Placement
  /**
   * Changes when a setting of the replicator does, including the URL of the database. It is a strong hash, which
   * reveals none of them.
   */
  readonly version: string
}
