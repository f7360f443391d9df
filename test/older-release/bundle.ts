import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** Unpacks an older release, see the README beside this file. Returns the folder, for `startEdge`. */
export async function olderRelease(directory: string, commit: 'e2bf3d9' | '7fdbbe75' | '1f167cff'): Promise<string> {
  const folder = join(directory, `release-${commit}`)
  await mkdir(folder, { recursive: true })
  const script = gunzipSync(await readFile(new URL(`${commit}.js.gz`, import.meta.url)))
  await writeFile(join(folder, 'index.js'), script)
  // The sync config that was deployed with it. SYNC_CONFIG takes its place.
  const [name] = /[0-9a-f]{40}-sync-config\.yaml/.exec(script.toString()) ?? []
  if (name === undefined) throw new Error('the bundle imports no sync config')
  await writeFile(join(folder, name), 'bucket_definitions: {}\n')
  return folder
}
