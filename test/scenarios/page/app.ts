import { column, PowerSyncDatabase, Schema, SyncStreamConnectionMethod, Table } from '@powersync/web'
import type { ClientOptions, ScenarioClient, UploadedOp } from '../client.ts'
import { scenarioClient, tablesOf } from '../sdk.ts'

// Runs in the browser. The test opens clients here and calls them by their number; tokens and uploads it gives itself.

declare global {
  interface Window {
    scenarioToken(client: number): Promise<string>
    scenarioUpload(client: number, ops: UploadedOp[]): Promise<void>
    openClient(
      client: number,
      options: Omit<ClientOptions, 'token' | 'upload'>,
      method: 'http' | 'web-socket',
    ): Promise<void>
    callClient(client: number, method: keyof ScenarioClient, parameters: unknown[]): Promise<unknown>
  }
}

const WORKER = '/worker/worker.js'
const clients = new Map<number, ScenarioClient>()

window.openClient = async (client, options, method) => {
  const database = new PowerSyncDatabase({
    schema: new Schema(tablesOf(column, Table)),
    database: { dbFilename: `${options.name}.db`, worker: WORKER },
    sync: { worker: WORKER },
  })
  const own: ClientOptions = {
    ...options,
    token: () => window.scenarioToken(client),
    upload: (ops) => window.scenarioUpload(client, ops),
  }
  const connectionMethod = method === 'http' ? SyncStreamConnectionMethod.HTTP : SyncStreamConnectionMethod.WEB_SOCKET
  clients.set(client, scenarioClient(database, own, { connectionMethod }))
}

window.callClient = async (client, method, parameters) => {
  const called = clients.get(client)
  if (!called) throw new Error(`there is no client ${client}`)
  const call: (...parameters: never[]) => Promise<unknown> = called[method]
  return call(...(parameters as never[]))
}
