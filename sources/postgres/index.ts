// Exports everything but the socket of workerd (`sources/postgres/wire/socket.ts`), which only workerd can load.
export type * from './types.ts'
export { checkConnections } from './wire/check-connections.ts'
export { checkConnection, connectSource, sourceError, type ConnectOptions, type OpenSocket } from './wire/connection.ts'
export { trustOf, type Trust } from './wire/trust.ts'
export { parseSourceUrl, redactUrl, TLS_REQUIRED_FROM } from './wire/source-url.ts'
export { formatLsn, parseLsn } from './stream/lsn.ts'
export { decodePgoutput, StreamingPgoutputDecoder } from './stream/pgoutput.ts'
export { isVisible, parseSnapshot, passesBarrier, widenXid } from './copy/snapshot.ts'
export { failoverAdvice, standbyFacts } from './stream/failover.ts'
export { openReplication, type ReplicationOptions } from './stream/replication.ts'
export {
  checkServer,
  DEFAULT_PUBLICATION,
  prepareSource,
  type PreparedSource,
  type PrepareOptions,
} from './prepare-source.ts'
export { currentSnapshot, readChunk, readClass, readRows, relationSize, type ReadRows } from './copy/chunk.ts'
export { catalogVersion } from './catalog/catalog-watch.ts'
export { lookAtSource, type SourceFacts } from './look.ts'
export { classStart, HASH_CLASSES } from './copy/content-key.ts'
export { dropSlot, measureSlot, slotProblem, type SlotHolder, type SlotMeasure } from './stream/slot.ts'
export { emitMarker, markerProblem } from './stream/marker.ts'
export { TableDecoder } from './values/values.ts'
export { estimateRows, readSchema, unfollowable, type Unfollowable } from './catalog/deploy-check.ts'
export { readTypedTables, type DeviceKind, type TypedTable } from './catalog/typed-columns.ts'
