import { spawn } from 'node:child_process'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { build as esbuild } from 'esbuild'
import { publint } from 'publint'
import { build as viteBuild, createServer as viteServer } from 'vite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDevice } from '../support/browser.ts'
import { temporaryDirectory } from '../support/support.ts'

// The client as people install it: packed, installed in a folder outside of the repository, bundled by what they have,
// and loaded by a browser under a strict Content-Security-Policy.

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DIST = join(ROOT, 'client', 'dist')
const APP = fileURLToPath(new URL('./app', import.meta.url))
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'"
const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
}
const WORKS = 'Lemons 1 ok false'
/**
 * What a page of an application may load for the client, compressed: 397 KB of SQLite, 64 KB of its glue, 43 KB of the
 * client.
 */
const BUDGET = 510 * 1_024

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let app: string
let tarball: string
let browser: Awaited<ReturnType<typeof startDevice>>

async function command(name: string, args: string[], cwd: string): Promise<string> {
  const child = spawn(name, args, { cwd, env: { ...process.env, npm_config_update_notifier: 'false' } })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (output += String(bytes)))
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}: ${output}`)
  return output
}

beforeAll(async () => {
  directory = await temporaryDirectory()
  app = join(directory.path, 'app')
  await command(process.execPath, [join(ROOT, 'client', 'build.ts')], ROOT)
  await mkdir(app)
  await command('npm', ['pack', '--pack-destination', directory.path], DIST)
  tarball = join(directory.path, 'rockpool-client-0.1.0.tgz')
  await cp(APP, app, { recursive: true })
  await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }))
  await command('npm', ['install', '--no-audit', '--no-fund', tarball], app)
  browser = await startDevice(join(directory.path, 'profile'))
})
afterAll(async () => {
  await browser?.close()
  await directory?.remove()
})

/** Serves a folder with the policy and opens its page. Returns the title that it comes to, and what it has loaded. */
async function serve(folder: string): Promise<{ title: string; loaded: string[] }> {
  const loaded = new Set<string>()
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://app')
    const file = pathname === '/' ? '/index.html' : pathname
    const headers = {
      'content-type': TYPES[extname(file)] ?? 'text/plain',
      'content-security-policy': POLICY,
    }
    readFile(join(folder, file)).then(
      (body) => {
        loaded.add(file)
        response.writeHead(200, headers).end(body)
      },
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const title = await visit(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    return { title, loaded: [...loaded] }
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

/** Returns the title, and whatever the browser complains about. */
async function visit(url: string): Promise<string> {
  const page = await browser.newPage()
  const said: string[] = []
  page.on('console', (message) => said.push(message.text()))
  page.on('pageerror', (error) => said.push(String(error)))
  try {
    await page.goto(url)
    const title = async () => [await page.title(), ...said].join('; ')
    await expect.poll(title, { timeout: 60_000, interval: 100 }).toContain(WORKS)
    return await page.title()
  } finally {
    await page.close()
  }
}

test('publint finds nothing to say, and types are found in each way of resolving modules', async () => {
  const { messages } = await publint({ pkgDir: DIST, strict: true })
  expect(messages).toEqual([])
  const checked = await checkPackage(createPackageFromTarballData(await readFile(tarball)))
  if (checked.types === false) throw new Error('there are no types')
  // The package is of ES modules, which CommonJS imports with await import(); node10 knows no exports.
  const problems = checked.problems.filter(({ kind }) => kind !== 'CJSResolvesToESM')
  expect(problems.filter((each) => !('resolutionKind' in each && each.resolutionKind === 'node10'))).toEqual([])
})

test('an application compiles with the types, in both ways of resolving modules', async () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  for (const [module, resolution] of [
    ['esnext', 'bundler'],
    ['nodenext', 'nodenext'],
  ] as const) {
    const options = ['--module', module, '--moduleResolution', resolution, '--target', 'es2022']
    await command(process.execPath, [tsc, '--noEmit', '--strict', ...options, '--lib', 'es2024,dom', 'main.ts'], app)
  }
})

test('in Node it opens a database', async () => {
  const script = `
    import { createRockpool } from '@rockpool/client/node'
    import { defineSchema, table, text } from '@rockpool/client/schema'
    const schema = defineSchema({ todos: table({ title: text() }) })
    const db = createRockpool({ schema, name: 'todos', url: 'http://127.0.0.1:1', token: () => 'x', connect: false })
    await db.todos.insert({ title: 'Lemons' })
    console.log((await db.query({ sql: 'SELECT title FROM todos', params: [] }))[0].title)
    await db.close()`
  await writeFile(join(app, 'node.mjs'), script)
  expect(await command(process.execPath, ['node.mjs'], app)).toContain('Lemons')
})

test('in a test of the application it opens a database that needs nothing', async () => {
  const script = `
    import { createTestDatabase } from '@rockpool/client/testing'
    import { defineSchema, table, text } from '@rockpool/client/schema'
    const { db, server } = createTestDatabase(defineSchema({ todos: table({ title: text() }) }))
    await (await db.todos.insert({ title: 'Lemons' })).confirmed
    console.log(server.rows('todos')[0].title)
    await db.close()`
  await writeFile(join(app, 'testing.mjs'), script)
  expect(await command(process.execPath, ['testing.mjs'], app)).toContain('Lemons')
})

test('built by Vite', async () => {
  await viteBuild({ root: app, configFile: false, logLevel: 'warn', build: { outDir: 'vite' } })
  const { title, loaded } = await serve(join(app, 'vite'))
  expect(title).toBe(WORKS)
  const files = await Promise.all(loaded.map((file) => readFile(join(app, 'vite', file))))
  const bytes = files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0)
  console.log(`the page loads ${Math.round(bytes / 1_024)} KB, compressed`)
  expect(bytes).toBeLessThan(BUDGET)
})

test('served by Vite while it is developed', async () => {
  const server = await viteServer({
    root: app,
    configFile: false,
    logLevel: 'warn',
    server: { host: '127.0.0.1', port: 0 },
  })
  try {
    await server.listen()
    const { port } = server.httpServer?.address() as AddressInfo
    expect(await visit(`http://127.0.0.1:${port}/`)).toBe(WORKS)
  } finally {
    await server.close()
  }
})

test('bundled by esbuild, with the worker as an entry and sqlite3.wasm beside it', async () => {
  const outdir = join(app, 'esbuild')
  await esbuild({
    absWorkingDir: app,
    entryPoints: { main: 'main.ts', 'rockpool-worker': '@rockpool/client/rockpool-worker' },
    outdir,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  })
  await cp(join(app, 'node_modules/@sqlite.org/sqlite-wasm/dist/sqlite3.wasm'), join(outdir, 'sqlite3.wasm'))
  await writeFile(join(outdir, 'index.html'), '<!doctype html><script type="module" src="/main.js"></script>')
  expect(await serve(outdir)).toMatchObject({ title: WORKS })
})

// webpack is installed by the test: nothing else of the project needs it.
test('bundled by webpack', async () => {
  await command('npm', ['install', '--no-audit', '--no-fund', 'webpack@5.113.0'], app)
  await esbuild({ absWorkingDir: app, entryPoints: ['main.ts'], outfile: join(app, 'source.js') })
  const script = `
    import webpack from 'webpack'
    const options = { mode: 'production', entry: './source.js', output: { path: import.meta.dirname + '/webpack' } }
    webpack(options, (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(stats.toString('errors-only'))
    })`
  await writeFile(join(app, 'webpack.mjs'), script)
  await command(process.execPath, ['webpack.mjs'], app)
  await writeFile(join(app, 'webpack/index.html'), '<!doctype html><script src="/main.js"></script>')
  expect(await serve(join(app, 'webpack'))).toMatchObject({ title: WORKS })
})
