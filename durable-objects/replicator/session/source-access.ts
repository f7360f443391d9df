import type { Call, SourceConnection, SourceKind } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'

/** A connection to the source, and what its calls get. */
export interface SourceAccess {
  kind: SourceKind<ReplicationSettings>
  source: SourceConnection
  call(): Call
}
