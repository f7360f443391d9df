import type { SourceKind } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'

/** What a session asks of the object that runs it, and tells it. */
export interface SessionOptions {
  /** Of the database: a secret, and the kind that it is of. */
  url: string
  kind: SourceKind<ReplicationSettings>
  /** Whether somebody is connected. */
  live(): boolean
  /** It works: the stream has come to what is new, or something was stored. */
  progress(): void
  /** It has come to what is new, and nothing is being compared. Called once. */
  settled(): Promise<void>
  /** Resolves when everything written so far is durable. */
  durable(): Promise<void>
}
