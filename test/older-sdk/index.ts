// Imported from here, the packages are those of this folder.
export {
  column,
  createBaseLogger,
  createLogger,
  LogLevel,
  Schema,
  SyncStreamConnectionMethod,
  Table,
} from '@powersync/common'
export { PowerSyncDatabase } from '@powersync/node'
