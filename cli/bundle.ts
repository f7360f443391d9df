import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

const SOURCES = [
  'workers',
  'durable-objects',
  'sources',
  'tenants',
  'protocol',
  'sync-config',
  'wrangler.toml',
  'sync-config.yaml',
  'package-lock.json',
]

/**
 * Returns the folder of the bundle that `wrangler deploy` would upload. It is made once per state of the sources.
 * Throws Error with wrangler's message.
 */
export async function bundle(): Promise<string> {
  const name = await fingerprint()
  const folder = join(ROOT, '.rockpool', 'bundles', name)
  if (existsSync(join(folder, 'index.js'))) return folder
  const building = `${folder}.${process.pid}`
  await mkdir(building, { recursive: true })
  await bundleInto(building)
  // Another process may have been faster; both made the same bundle.
  await rename(building, folder).catch(() => rm(building, { recursive: true, force: true }))
  return folder
}

/** Makes the bundle of a script: `main` of wrangler.toml, or another one. Throws Error with wrangler's message. */
export const bundleInto = (folder: string, script?: string): Promise<void> =>
  wrangler(['deploy', ...(script === undefined ? [] : [script]), '--dry-run', '--outdir', folder])

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256')
  const visit = async (path: string): Promise<void> => {
    const info = await stat(path)
    if (info.isDirectory()) for (const entry of (await readdir(path)).sort()) await visit(join(path, entry))
    else if (!path.endsWith('.test.ts')) hash.update(`${path} ${info.mtimeMs} ${info.size}\n`)
  }
  for (const source of SOURCES) await visit(join(ROOT, source))
  return hash.digest('hex').slice(0, 16)
}

function wrangler(args: string[]): Promise<void> {
  const child = spawn(process.execPath, [join(ROOT, 'node_modules', 'wrangler', 'bin', 'wrangler.js'), ...args], {
    cwd: ROOT,
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (text: Buffer) => (output += text.toString()))
  child.stderr.on('data', (text: Buffer) => (output += text.toString()))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`wrangler could not make the bundle:\n${output}`)),
    )
  })
}
