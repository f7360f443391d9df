/** What a scenario does with a client, whatever the SDK and wherever it runs: everything here can cross into a page. */
export interface ScenarioClient {
  rows(sql: string, parameters?: readonly (string | number | null)[]): Promise<Record<string, unknown>[]>
  execute(sql: string, parameters?: readonly (string | number | null)[]): Promise<void>
  connect(): Promise<void>
  disconnect(): Promise<void>
  /** Resolves when a first checkpoint has been applied; with a priority, when that part of it has. */
  synced(priority?: number): Promise<void>
  status(): Promise<ClientStatus>
  /** Answers a number for `unsubscribe`. */
  subscribe(stream: string, parameters: Record<string, string> | null, options?: SubscribeOptions): Promise<number>
  unsubscribe(subscription: number): Promise<void>
  close(): Promise<void>
}

export interface ClientStatus {
  connected: boolean
  hasSynced: boolean
  downloadError: string | null
  uploadError: string | null
  /** Whether the status ever said that this priority was complete while the whole checkpoint was not. */
  partial: number[]
  streams: { name: string; parameters: unknown; active: boolean; hasSynced: boolean; isDefault: boolean }[]
}

export interface SubscribeOptions {
  /** Seconds. */
  ttl?: number
  priority?: 0 | 1 | 2 | 3
}

export interface UploadedOp {
  op: string
  table: string
  id: string
  data: Record<string, unknown>
}

export interface ClientOptions {
  /** Of the local database; the same name opens the same one. */
  name: string
  endpoint: string
  token(): Promise<string>
  /** Stores a transaction of local writes. */
  upload(ops: UploadedOp[]): Promise<void>
  includeDefaults?: boolean
}

export interface ClientKind {
  name: string
  open(options: ClientOptions): Promise<ScenarioClient>
  /** Ends what all clients of the kind share. */
  end?(): Promise<void>
}
