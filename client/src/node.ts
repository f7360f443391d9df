import { Engine } from './core/engine.ts'
import { openFile } from './node-file.ts'
import type { NodeSyncOptions, SyncDatabase } from './types.ts'

export { createRockpool, type NodeRockpoolOptions } from './api/node.ts'
export type * from './api/exported.ts'
export { sql } from './api/sql.ts'
export { ProblemError } from './core/problem.ts'
export { SignedOut } from './core/signed-out.ts'
export type * from './types.ts'

/**
 * Opens a local database in a file and keeps it in sync. Throws ProblemError with a code of `docs/client.md`.
 *
 * @deprecated `createRockpool` takes its place, and moves what this one has stored.
 */
export async function openSync(options: NodeSyncOptions): Promise<SyncDatabase> {
  const path = options.path ?? `${options.name ?? 'rockpool'}.db`
  const { db, storage } = openFile(path)
  let engine: Engine
  try {
    engine = new Engine(db, options, storage)
  } catch (error) {
    db.close()
    throw error
  }
  await engine.opened
  return engine
}
