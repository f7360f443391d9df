import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Stores the text of the sync config that `rockpool dev` last deployed or tried with a data folder, so that the next
 * start knows whether the file was edited meanwhile. The serving sync config does not say that: somebody may have
 * rolled back on purpose.
 */
const fileOf = (data: string): string => join(data, 'sync-config-sha256')
const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Returns false when nothing was stored before. */
export async function editedSince(data: string, text: string): Promise<boolean> {
  const taken = (await readFile(fileOf(data), 'utf8').catch(() => '')).trim()
  return taken !== '' && taken !== hashOf(text)
}

export const noteTaken = (data: string, text: string): Promise<void> =>
  writeFile(fileOf(data), `${hashOf(text)}\n`, { mode: 0o600 })
