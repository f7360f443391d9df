import { Worker } from 'node:worker_threads'
import { column, Schema, SyncStreamConnectionMethod, Table } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import * as olderSdk from '../older-sdk/index.ts'
import type { ClientKind } from './client.ts'
import { scenarioClient, tablesOf } from './sdk.ts'

const OLDER_WORKER = new URL('../older-sdk/worker.ts', import.meta.url)

/** An SDK that prefers BSON, made to ask for NDJSON only; everything else is its own. */
const ndjsonFetch: typeof fetch = (resource, init) => {
  const headers = new Headers(init?.headers)
  if (headers.get('accept')?.includes('bson')) headers.set('accept', 'application/x-ndjson')
  return fetch(resource, { ...init, headers })
}

/** `@powersync/node` as it is now. */
function current(directory: string, name: string, connectOptions: object, remoteOptions: object = {}): ClientKind {
  return {
    name,
    open: async (options) => {
      const implementation = { type: 'node:sqlite' as const }
      const database = new PowerSyncDatabase({
        schema: new Schema(tablesOf(column, Table)),
        database: { dbFilename: `${options.name}.db`, dbLocation: directory, implementation },
        remoteOptions,
      })
      return scenarioClient(database, options, connectOptions)
    },
  }
}

/** The generation before: it speaks RSocket unless told otherwise. */
function older(directory: string, name: string): ClientKind {
  return {
    name,
    open: async (options) => {
      const database = new olderSdk.PowerSyncDatabase({
        schema: new olderSdk.Schema(tablesOf(olderSdk.column, olderSdk.Table)),
        database: {
          dbFilename: `${options.name}.db`,
          dbLocation: directory,
          implementation: { type: 'node:sqlite' as const },
          openWorker: (path, settings) => new Worker(OLDER_WORKER, { ...settings, workerData: String(path) }),
        },
      })
      return scenarioClient(database, options, { connectionMethod: olderSdk.SyncStreamConnectionMethod.WEB_SOCKET })
    },
  }
}

export const nodeKinds = (directory: string): ClientKind[] => [
  current(directory, 'node 1.1, BSON', { connectionMethod: SyncStreamConnectionMethod.HTTP }),
  current(
    directory,
    'node 1.1, NDJSON',
    { connectionMethod: SyncStreamConnectionMethod.HTTP },
    { customFetch: ndjsonFetch },
  ),
  current(directory, 'node 1.1, RSocket', { connectionMethod: SyncStreamConnectionMethod.WEB_SOCKET }),
  older(directory, 'node 0.18, RSocket'),
]
