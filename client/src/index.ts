import type { SyncDatabase, SyncOptions } from './types.ts'

export type * from './types.ts'

/** Opens the local database of this origin and keeps it in step. */
export async function openSync(options: SyncOptions): Promise<SyncDatabase> {
  throw new Error(`The browser client cannot open ${options.name ?? 'rockpool'} yet`)
}
