import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Which text of the sync config `rockpool dev` has deployed last, or tried, with a data folder: so the next start knows whether the file was edited
 * meanwhile. What serves does not tell: somebody may have gone back from the file on purpose.
 */
const fileOf = (data: string): string => join(data, 'sync-config-sha256')
const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/** False when nothing was taken before. */
export async function editedSince(data: string, text: string): Promise<boolean> {
  const taken = (await readFile(fileOf(data), 'utf8').catch(() => '')).trim()
  return taken !== '' && taken !== hashOf(text)
}

export const noteTaken = (data: string, text: string): Promise<void> => writeFile(fileOf(data), `${hashOf(text)}\n`, { mode: 0o600 })
