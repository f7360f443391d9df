// Everything but the socket of workerd, which only workerd can load: `sources/postgres/wire/socket.ts`.
export type * from './types.ts'
export { checkConnections } from './wire/check-connections.ts'
export {
  authoritiesOf,
  checkConnection,
  connectSource,
  isLockTimeout,
  sourceError,
  type ConnectOptions,
  type OpenSocket,
} from './wire/connection.ts'
export { parseSourceUrl, redactUrl, TLS_REQUIRED_FROM } from './wire/source-url.ts'
export { formatLsn, parseLsn } from './stream/lsn.ts'
export { decodePgoutput, StreamingPgoutputDecoder } from './stream/pgoutput.ts'
export { isVisible, parseSnapshot, passesBarrier, widenXid } from './copy/snapshot.ts'
export { openReplication, type ReplicationOptions } from './stream/replication.ts'
export { checkServer, DEFAULT_PUBLICATION, prepareSource, type PreparedSource, type PrepareOptions } from './source.ts'
export type { RefusedTable } from './catalog/follow.ts'
export { currentSnapshot, readChunk, readClass, readRows, relationSize, type ReadRows } from './copy/chunk.ts'
export { catalogVersion } from './catalog/catalog-watch.ts'
export { lookAtSource, type SourceFacts } from './look.ts'
export { classStart, HASH_CLASSES } from './copy/content-key.ts'
export { dropSlot, measureSlot, slotProblem, type SlotHolder, type SlotMeasure } from './stream/slot.ts'
export { TouchedKeys } from './copy/copy-rules.ts'
export { emitMarker, markerProblem } from './stream/marker.ts'
export { TableDecoder } from './values/values.ts'
export { estimateRows, readSchema, unfollowable, type Unfollowable } from './catalog/deploy-check.ts'
