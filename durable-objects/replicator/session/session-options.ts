import type { SourceConnection, SourceKind } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'

/** What a session asks of the object that runs it, and reports to it. */
export interface SessionOptions {
  /** The URL of the database, which is a secret. */
  url: string
  kind: SourceKind<ReplicationSettings>
  /** Returns whether a client is connected. */
  live(): boolean
  /** The database can be reached: what is left of the tenant in those that it had before goes. Never rejects. */
  leaveFormer(source: SourceConnection): Promise<void>
  /** The session works: the stream has reached what is new, or something was stored. */
  progress(): void
  /** The stream has reached what is new, and nothing is being compared. Called once. */
  settled(): Promise<void>
  /** Resolves when everything written so far is durable. */
  durable(): Promise<void>
}
