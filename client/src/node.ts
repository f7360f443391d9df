import { Engine } from './core/engine.ts'
import { openNodeSqlite } from './node-sqlite.ts'
import type { NodeSyncOptions, SyncDatabase } from './types.ts'

export type * from './types.ts'

/** Opens a local database in a file and keeps it in step. */
export async function openSync(options: NodeSyncOptions): Promise<SyncDatabase> {
  const path = options.path ?? `${options.name ?? 'rockpool'}.db`
  return new Engine(openNodeSqlite(path), options, path === ':memory:' ? 'memory' : 'file')
}
