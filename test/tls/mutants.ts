import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import type * as Connection from '../../sources/postgres/tls/connection.ts'

/** One check taken out of the client. */
export interface Mutant {
  /** In `sources/postgres/tls/`. */
  file: string
  from: string
  to: string
}

/** The client with that change. Throws when there is not exactly one place for it. */
export async function mutated({ file, from, to }: Mutant): Promise<typeof Connection.connectTls> {
  const folder = join(import.meta.dirname, '../../sources/postgres/tls')
  let places = 0
  const change: Plugin = {
    name: 'mutant',
    setup: (of) =>
      of.onLoad({ filter: /postgres\/tls\/[^/]*\.ts$/ }, async ({ path }) => {
        const source = await readFile(path, 'utf8')
        if (basename(path) !== file) return { contents: source, loader: 'ts' }
        places = source.split(from).length - 1
        return { contents: source.replace(from, () => to), loader: 'ts' }
      }),
  }
  const built = await build({
    entryPoints: [join(folder, 'connection.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    target: 'es2024',
    plugins: [change],
    logLevel: 'silent',
  })
  if (places !== 1) throw new Error(`${JSON.stringify(from)} stands ${places} times in ${file}`)
  const out = await mkdtemp(join(tmpdir(), 'rockpool-mutant-'))
  try {
    const path = join(out, 'client.mjs')
    await writeFile(path, built.outputFiles[0]?.contents ?? '')
    return ((await import(/* @vite-ignore */ pathToFileURL(path).href)) as typeof Connection).connectTls
  } finally {
    await rm(out, { recursive: true, force: true })
  }
}
