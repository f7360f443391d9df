import { readFile, stat } from 'node:fs/promises'
import { UsageError } from './problem.ts'

/** A config may have a million characters. A much larger file is something else, and is not read. */
const MAX_BYTES = 8 * 1024 * 1024

/** Reads a sync config as text. Throws UsageError, which says what is wrong with the file. */
export async function readConfigFile(file: string): Promise<string> {
  try {
    const info = await stat(file)
    if (info.isDirectory()) throw new UsageError(`${file} is a folder: name the file of the sync config in it`)
    if (info.size > MAX_BYTES)
      throw new UsageError(`${file} has ${Math.round(info.size / 1024 / 1024)} MB and cannot be a sync config`)
    return text(file, await readFile(file))
  } catch (error) {
    if (error instanceof UsageError) throw error
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new UsageError(`there is no file ${file}`)
    throw new UsageError(`the sync config cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function text(file: string, bytes: Buffer): string {
  try {
    const decoded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    if (!decoded.includes('\u0000')) return decoded
  } catch {
    // Reported below.
  }
  throw new UsageError(`${file} is not UTF-8 text: save it as UTF-8`)
}
