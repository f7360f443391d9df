import { Worker } from 'node:worker_threads'
import { basename, dirname } from 'node:path'
import { column, LogLevels, Schema, SyncStreamConnectionMethod, Table } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import * as older from '../older-sdk/index.ts'
import type { SdkDatabase } from '../scenarios/sdk.ts'
import type { BankClient, ClientSetting } from './clients.ts'
import { bankRow, SHOWN, shownOf, type Shown } from './shown.ts'

interface Columns {
  readonly text: unknown
}

const tablesOf = <T>({ text }: Columns, table: new (columns: Record<string, never>) => T) => {
  const columns = (...names: string[]): T => new table(Object.fromEntries(names.map((name) => [name, text as never])))
  return { accounts: columns('branch_id', 'balance'), books: columns('serial'), clock: columns('serial') }
}

/** In one process only one of the databases of a file name syncs, wherever they lie (@powersync/node 1.1). */
const fileOf = (path: string) => ({
  dbFilename: `${basename(dirname(path))}-${basename(path)}.db`,
  dbLocation: dirname(path),
  implementation: { type: 'node:sqlite' as const },
})

/** What an SDK says about data that it could not use. Connections that fail are normal here. */
const ofData = (message: string): boolean =>
  /checksum|could not apply|constraint|malformed/i.test(message) && !/validated and applied/i.test(message)

/** `@powersync/node` as it is now. */
export const currentSdk = (method: 'HTTP' | 'WEB_SOCKET') => (setting: ClientSetting) => {
  const problems: string[] = []
  const database = new PowerSyncDatabase({
    schema: new Schema(tablesOf(column, Table)),
    database: fileOf(setting.path),
    logger: {
      log: ({ level, message, error }) => {
        const text = `${message} ${error === undefined ? '' : String(error)}`
        if (level >= LogLevels.warn && ofData(text)) problems.push(text)
      },
    },
  })
  return sdkClient(database, setting, { connectionMethod: SyncStreamConnectionMethod[method] }, problems)
}

/** The generation before, over RSocket. */
export const olderSdk = (setting: ClientSetting) => {
  const problems: string[] = []
  const logger = older.createBaseLogger()
  logger.useDefaults()
  logger.setLevel(older.LogLevel.WARN)
  logger.setHandler((messages) => {
    const text = [...messages].map(String).join(' ')
    if (ofData(text)) problems.push(text)
  })
  const database = new older.PowerSyncDatabase({
    schema: new older.Schema(tablesOf(older.column, older.Table)),
    logger: older.createLogger(setting.user),
    database: {
      ...fileOf(setting.path),
      openWorker: (path, settings) =>
        new Worker(new URL('../older-sdk/worker.ts', import.meta.url), { ...settings, workerData: String(path) }),
    },
  })
  return sdkClient(database, setting, { connectionMethod: older.SyncStreamConnectionMethod.WEB_SOCKET }, problems)
}

/**
 * Whatever its local database shows is one checkpoint. It is read after each change of its status, as fast as it goes.
 */
async function sdkClient(
  database: SdkDatabase,
  { url, token, shows }: ClientSetting,
  options: object,
  problems: string[],
): Promise<BankClient> {
  const shown = async (): Promise<Shown> =>
    shownOf((await database.getAll<Record<string, unknown>>(SHOWN)).map(bankRow))
  let last = ''
  let wanted = false
  let reading: Promise<void> | null = null
  let closed = false
  const read = async (): Promise<void> => {
    while (wanted && !closed) {
      wanted = false
      const now = await shown()
      const text = JSON.stringify([now.clock, [...now.branches]])
      if (text === last) continue
      last = text
      shows(now)
    }
  }
  const look = (): void => {
    if (database.currentStatus.hasSynced !== true) return
    wanted = true
    reading ??= read()
      .catch((error: unknown) => void problems.push(`it could not be read: ${String(error)}`))
      .finally(() => (reading = null))
  }
  database.registerListener({ statusChanged: look })
  const connector = {
    fetchCredentials: async () => ({ endpoint: url, token: await token() }),
    uploadData: async () => {},
  }
  const connect = (): void => void database.connect(connector, { retryDelayMs: 200, ...options }).catch(() => {})
  connect()
  return {
    connect,
    shown,
    problems,
    state: () => database.currentStatus,
    disconnect: () => database.disconnect(),
    async close() {
      closed = true
      await reading
      await database.close()
    },
  }
}
