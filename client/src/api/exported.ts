// The types of `createRockpool`, for applications.

export type { RockpoolOptions } from './options.ts'
export type { Database, Rockpool } from './rockpool.ts'
export type {
  Failed,
  QueryOptions,
  StreamHandle,
  StreamOptions,
  Table,
  WriteOptions,
  WriteTransaction as RockpoolTransaction,
} from './interface.ts'
export type { LiveChange, LiveView } from './live-view.ts'
export type { Sql } from './sql.ts'
export type { Verdict } from '../core/database/fate-watch.ts'
export type { DatabaseEvents, Written } from '../core/database/port.ts'
export type { DatabaseStatus, StorageStatus, UploadStatus } from '../core/database/status.ts'
export type { FailedTransaction } from '../core/outbox/failed.ts'
export type { StreamStatus } from '../core/sync/lines.ts'
