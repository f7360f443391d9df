import type { ClientOptions, ClientStatus, ScenarioClient } from './client.ts'

// Two generations of the SDK, in Node and in browsers, have this much in common. It is declared here because their own
// types differ.

interface Column {
  readonly text: unknown
  readonly integer: unknown
}

export interface SdkDatabase {
  execute(sql: string, parameters?: unknown[]): Promise<unknown>
  getAll<T>(sql: string, parameters?: unknown[]): Promise<T[]>
  connect(connector: SdkConnector, options?: object): Promise<void>
  disconnect(): Promise<void>
  waitForFirstSync(request?: { priority?: number }): Promise<void>
  getNextCrudTransaction(): Promise<SdkTransaction | null>
  registerListener(listener: { statusChanged?: (status: SdkStatus) => void }): unknown
  readonly currentStatus: SdkStatus
  syncStream(
    name: string,
    parameters?: Record<string, unknown>,
  ): { subscribe(options?: object): Promise<{ unsubscribe(): void }> }
  close(): Promise<void>
}

interface SdkTransaction {
  crud: { op: string; table: string; id: string; opData?: Record<string, unknown> }[]
  complete(): Promise<void>
}

interface SdkConnector {
  fetchCredentials(): Promise<{ endpoint: string; token: string }>
  uploadData(database: SdkDatabase): Promise<void>
}

interface SdkStatus {
  readonly connected: boolean
  readonly hasSynced?: boolean | undefined
  readonly dataFlowStatus: { downloadError?: Error; uploadError?: Error }
  statusForPriority(priority: number): { hasSynced?: boolean | undefined } | undefined
  readonly syncStreams?: readonly {
    subscription: { name: string; parameters: unknown; active: boolean; hasSynced: boolean; isDefault: boolean }
  }[]
}

/** The tables of the scenarios, in terms of an SDK. */
export function tablesOf<T>(column: Column, table: new (columns: Record<string, never>) => T) {
  const columns = (...names: string[]): T =>
    new table(Object.fromEntries(names.map((name) => [name, column.text as never])))
  return {
    news: columns('title'),
    notes: columns('owner_id', 'body'),
    tasks: columns('team_id', 'title'),
    items: columns('list_id', 'name'),
    room_rows: columns('room_id', 'body'),
  }
}

const PRIORITIES = [0, 1, 2, 3]

/** A client of a scenario over an SDK's database. `connectOptions`: how it is to connect. */
export function scenarioClient(database: SdkDatabase, options: ClientOptions, connectOptions: object): ScenarioClient {
  const subscriptions = new Map<number, { unsubscribe(): void }>()
  const partial = new Set<number>()
  database.registerListener({
    statusChanged: (status) => {
      if (status.hasSynced === true) return
      for (const priority of PRIORITIES)
        if (status.statusForPriority(priority)?.hasSynced === true) partial.add(priority)
    },
  })
  const connector: SdkConnector = {
    fetchCredentials: async () => ({ endpoint: options.endpoint, token: await options.token() }),
    uploadData: async (db) => {
      for (let tx = await db.getNextCrudTransaction(); tx; tx = await db.getNextCrudTransaction()) {
        await options.upload(tx.crud.map(({ op, table, id, opData }) => ({ op, table, id, data: opData ?? {} })))
        await tx.complete()
      }
    },
  }
  let numbers = 0
  return {
    rows: (sql, parameters = []) => database.getAll<Record<string, unknown>>(sql, [...parameters]),
    execute: async (sql, parameters = []) => void (await database.execute(sql, [...parameters])),
    connect: () =>
      database.connect(connector, {
        retryDelayMs: 300,
        includeDefaultStreams: options.includeDefaults ?? true,
        ...connectOptions,
      }),
    disconnect: () => database.disconnect(),
    synced: (priority) => database.waitForFirstSync(priority === undefined ? {} : { priority }),
    status: async (): Promise<ClientStatus> => {
      const { connected, hasSynced, dataFlowStatus, syncStreams } = database.currentStatus
      return {
        connected,
        hasSynced: hasSynced === true,
        downloadError: dataFlowStatus.downloadError?.message ?? null,
        uploadError: dataFlowStatus.uploadError?.message ?? null,
        partial: [...partial],
        streams: (syncStreams ?? []).map(
          ({ subscription: { name, parameters, active, hasSynced: synced, isDefault } }) => {
            return { name, parameters, active, hasSynced: synced, isDefault }
          },
        ),
      }
    },
    subscribe: async (stream, parameters, given = {}) => {
      subscriptions.set(++numbers, await database.syncStream(stream, parameters ?? undefined).subscribe(given))
      return numbers
    },
    unsubscribe: async (subscription) => {
      subscriptions.get(subscription)?.unsubscribe()
      subscriptions.delete(subscription)
    },
    close: () => database.close(),
  }
}
