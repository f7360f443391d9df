import type { Call, SourceConnection, SourceKind } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'

/** A connection to the source. `call` returns what each of its calls gets. */
export interface SourceAccess {
  kind: SourceKind<ReplicationSettings>
  source: SourceConnection
  call(): Call
}
