import type { Limits } from '../sync-config/limits.ts'
import type { CompactionSettings } from './compaction.ts'
import type { TenantSettings } from './replication.ts'
import type { StreamSettings } from './streams.ts'

/**
 * One tenant: its name, and its settings, which are validated when they are read. It holds no secret, so it may be kept, logged and compared; secrets
 * are asked of the directory. Each section throws ROCKPOOL_SETTINGS when one of its own settings is missing or wrong, which concerns only those who need it.
 */
export interface Tenant {
  readonly name: string
  /** What the replicator needs, without the URL of the database. */
  readonly replication: TenantSettings
  readonly streams: StreamSettings
  readonly limits: Limits
  readonly compaction: CompactionSettings
  /** Changes when a setting of the replicator does, the URL of the database included. A strong hash: nothing can be read out of it. */
  readonly version: string
}
