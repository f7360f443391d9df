import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serve } from '@hono/node-server'
import { build } from 'esbuild'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { jwtVerify, SignJWT } from 'jose'
import postgres, { type Sql } from 'postgres'
import { z } from 'zod'
import { contentSecurityPolicy, isOwnHost } from './hosts.ts'
import { answerUpload } from '../upload/upload.mjs'
import { applyWrite } from './writes.ts'

export interface ExampleOptions {
  /** The port; 0 means any free one. */
  port: number
  databaseUrl: string
  /** Connections that need more than the URL. They are ended with the server. */
  sql?: Sql
  /** base64url. */
  jwtSecret: string
  jwtAudience: string
  /** The URL of Rockpool. */
  endpoint: string
}

/** The users of the example. A real application would ask for a password. */
const USERS = ['alice', 'bob']
const TOKEN_SECONDS = 3_600
/** A transaction of the client has 1 MB at most. Above this the answer is 413. */
const MAX_UPLOAD_BYTES = 2 * 1024 * 1024

/** Serves the page and tokens for the users of the example, and accepts uploads of the clients' writes. */
export async function startExample(options: ExampleOptions): Promise<{ url: string; close(): Promise<void> }> {
  const { databaseUrl, jwtSecret, jwtAudience, endpoint } = options
  const { sql = postgres(databaseUrl, { max: 4, onnotice: () => {} }) } = options
  const key = Buffer.from(jwtSecret, 'base64url')
  const files = await pageFiles(endpoint)
  const app = new Hono()
  const policy = contentSecurityPolicy(endpoint)
  let port = options.port

  app.use(async (c, next) => {
    if (!isOwnHost(c.req.header('host'), port)) {
      return c.json(
        {
          error: {
            code: 'wrong_host',
            message: `this server is http://127.0.0.1:${port}, and answers to no other name`,
          },
        },
        421,
      )
    }
    await next()
    c.header('x-content-type-options', 'nosniff')
    c.header('content-security-policy', policy)
  })

  app.post('/api/token', async (c) => {
    const parsed = z.object({ user: z.enum(USERS) }).safeParse(await c.req.json().catch(() => null))
    if (!parsed.success)
      return c.json({ error: { code: 'unknown_user', message: `user must be one of ${USERS.join(', ')}` } }, 400)
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(parsed.data.user)
      .setAudience(jwtAudience)
      .setIssuedAt()
      .setExpirationTime(`${TOKEN_SECONDS}s`)
      .sign(key)
    return c.json({ token })
  })

  app.post('/api/upload', bodyLimit({ maxSize: MAX_UPLOAD_BYTES }), async (c) => {
    const token = /^Bearer (\S+)$/.exec(c.req.header('authorization') ?? '')?.[1] ?? ''
    const verified = await jwtVerify(token, key, { algorithms: ['HS256'], audience: jwtAudience.split(',') }).catch(
      () => null,
    )
    const user = verified?.payload.sub
    if (user === undefined)
      return c.json({ error: { code: 'unauthorized', message: 'the token is missing or not valid' } }, 401)
    const request: unknown = await c.req.json().catch(() => null)
    try {
      const { status, body } = await answerUpload(sql, user, request, (tx, op) => applyWrite(tx, user, op))
      return c.json(body, status)
    } catch (error) {
      // This is not the client's fault, so it tries again.
      console.error('an upload failed', error)
      return c.json({ error: { code: 'unavailable', message: 'try again later' } }, 503)
    }
  })

  app.get('*', (c) => {
    const file = files.get(c.req.path === '/' ? '/index.html' : c.req.path)
    if (!file) return c.text('not found', 404)
    return c.body(file.body, 200, { 'content-type': file.type, 'cache-control': 'no-cache' })
  })

  const server = serve({ fetch: app.fetch, port: options.port, hostname: '127.0.0.1' })
  port = await new Promise<number>((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      const address = server.address()
      resolve(address !== null && typeof address === 'object' ? address.port : options.port)
    })
  })
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      if ('closeAllConnections' in server) server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await sql.end({ timeout: 1 })
    },
  }
}

interface PageFile {
  body: Uint8Array<ArrayBuffer>
  type: string
}

/** Returns the page, its script, the client's worker and SQLite, ready to be sent. */
async function pageFiles(endpoint: string): Promise<Map<string, PageFile>> {
  const page = fileURLToPath(new URL('./page/', import.meta.url))
  const resolve = createRequire(import.meta.url).resolve
  const bundled = await build({
    entryPoints: { app: join(page, 'app.ts'), 'rockpool-worker': resolve('@rockpool/client/rockpool-worker') },
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    outdir: '/',
    minify: true,
    define: { ENDPOINT: JSON.stringify(endpoint) },
    logLevel: 'silent',
  })
  const files = new Map<string, PageFile>()
  for (const { path, contents } of bundled.outputFiles)
    files.set(path, { body: new Uint8Array(contents), type: 'text/javascript; charset=utf-8' })
  const wasm = join(resolve('@sqlite.org/sqlite-wasm/sqlite3.wasm'))
  files.set('/sqlite3.wasm', { body: new Uint8Array(await readFile(wasm)), type: 'application/wasm' })
  files.set('/index.html', {
    body: new Uint8Array(await readFile(join(page, 'index.html'))),
    type: 'text/html; charset=utf-8',
  })
  files.set('/style.css', {
    body: new Uint8Array(await readFile(join(page, 'style.css'))),
    type: 'text/css; charset=utf-8',
  })
  const icon = { body: new Uint8Array(await readFile(join(page, 'favicon.svg'))), type: 'image/svg+xml' }
  files.set('/favicon.svg', icon)
  // Browsers request this without a link to it: Safari does, and others for a URL that is not a page.
  files.set('/favicon.ico', icon)
  return files
}
