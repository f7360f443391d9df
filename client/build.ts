import { spawnSync } from 'node:child_process'
import { cp, glob, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

// `npm run build --workspace client`: makes the package that is published, in `client/dist`. In the repository
// `@rockpool/client` is its source, so that nothing has to be built before it runs.

const CLIENT = fileURLToPath(new URL('.', import.meta.url))
const ROOT = join(CLIENT, '..')
const DIST = join(CLIENT, 'dist')

interface Manifest {
  exports: Record<string, string>
  dependencies: Record<string, string>
  [field: string]: unknown
}

const manifest = JSON.parse(await readFile(join(CLIENT, 'package.json'), 'utf8')) as Manifest
const entries = Object.entries(manifest.exports).map(([subpath, source]) => ({
  subpath,
  source,
  name: subpath === '.' ? 'index' : basename(subpath),
}))

await rm(DIST, { recursive: true, force: true })
await mkdir(DIST, { recursive: true })
await build({
  absWorkingDir: CLIENT,
  entryPoints: Object.fromEntries(entries.map(({ name, source }) => [name, source])),
  outdir: DIST,
  bundle: true,
  splitting: true,
  chunkNames: 'chunks/[hash]',
  format: 'esm',
  target: 'es2022',
  sourcemap: true,
  external: [...Object.keys(manifest.dependencies), 'node:*'],
  logLevel: 'warning',
})
await nameWorker()
await declare()
await writeFile(join(DIST, 'package.json'), `${JSON.stringify(published(), null, 2)}\n`)
await cp(join(ROOT, 'LICENSE'), join(DIST, 'LICENSE'))
await cp(join(CLIENT, 'README.md'), join(DIST, 'README.md'))

/** esbuild leaves the address of the worker as it is in the source. In the package the worker lies beside the script. */
async function nameWorker(): Promise<void> {
  const file = join(DIST, 'index.js')
  const parts = (await readFile(file, 'utf8')).split('new URL("../tabs/worker.ts", import.meta.url)')
  if (parts.length !== 2) throw new Error('index.js does not start the worker in one place')
  await writeFile(file, parts.join('new URL("./rockpool-worker.js", import.meta.url)'))
}

/** Returns the published manifest: its exports name built files, and fields for the repository alone are left out. */
function published(): object {
  const { exports: _sources, scripts: _scripts, ...rest } = manifest
  return {
    ...rest,
    engines: { node: '>=22.13' },
    sideEffects: entries.filter(({ name }) => name.endsWith('worker')).map(({ name }) => `./${name}.js`),
    exports: {
      ...Object.fromEntries(
        entries.map(({ subpath, source, name }) => [subpath, { types: typesOf(source), default: `./${name}.js` }]),
      ),
      './package.json': './package.json',
    },
  }
}

function typesOf(source: string): string {
  return `./types/client/${source.replace(/^\.\//, '').replace(/\.ts$/, '.d.ts')}`
}

/** TypeScript leaves the names of sources in declarations, and older ones do not find those (6.0). */
async function declare(): Promise<void> {
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', join(CLIENT, 'tsconfig.build.json')], { stdio: 'inherit' })
  if (status !== 0) throw new Error('the types of the client could not be emitted')
  for await (const file of glob('types/**/*.d.ts', { cwd: DIST })) {
    const path = join(DIST, file)
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace(/((?:from|import\() ?['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'))
  }
}
