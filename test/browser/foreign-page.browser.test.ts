import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AccessFront } from '../support/access-front.ts'
import { startDevice } from '../support/browser.ts'
import { startKeyServer, type KeyServer } from '../support/key-server.ts'
import { temporaryDirectory } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// An operator is signed in to Cloudflare Access, and opens a page of somebody else in the same browser. Chromium sends
// Access's cookie along with whatever that page sends, and Access turns it into an assertion.

const directory = await temporaryDirectory()
let team: KeyServer
let edge: TenantEdge
let access: AccessFront
let evil: Server
let context: BrowserContext

const TARGETS = [
  '/admin/tenants',
  '/admin/tenants/acme',
  '/admin/audit',
  '/t/acme/admin/status',
  '/t/acme/admin/clients',
  '/admin/openapi.json',
]
const CHANGES = [
  '/admin/tenants/acme/suspend',
  '/admin/tenants/acme/revoke',
  '/admin/rekey',
  '/t/acme/admin/rollback',
  '/t/acme/admin/verify',
  '/t/acme/admin/sync-config',
]

beforeAll(async () => {
  team = await startKeyServer()
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  team.publish({ ...(await exportJWK(publicKey)), kid: 'team', alg: 'RS256', use: 'sig' })
  const issuer = new URL(team.url).origin
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    bindings: {
      ACCESS_TEAM: issuer,
      ACCESS_AUD: 'tag',
      ACCESS_ROLES: JSON.stringify({ 'ann@example.com': ['read', 'data', 'deploy', 'write', 'tenants'] }),
    },
  })
  await edge.create('acme', {
    secrets: { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', JWT_SECRET: 'A'.repeat(43) },
  })
  access = await AccessFront.start(edge.edge.url)
  evil = createServer((_request, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>kittens</title><body>'),
  )
  await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve))
  // Chromium 150 sends no cookie along with requests of another site, unless its user allows that.
  const profile = `${directory.path}/profile`
  await mkdir(`${profile}/Default`, { recursive: true })
  const allowed = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }
  await writeFile(`${profile}/Default/Preferences`, JSON.stringify(allowed))
  context = await startDevice(profile)
  const assertion = await new SignJWT({ email: 'ann@example.com', type: 'app', sub: 'x' })
    .setProtectedHeader({ alg: 'RS256', kid: 'team', typ: 'JWT' })
    .setIssuer(issuer)
    .setAudience('tag')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(privateKey)
  // As Access sets it.
  const cookie = { name: 'CF_Authorization', value: assertion, domain: '127.0.0.1', path: '/', httpOnly: true }
  await context.addCookies([{ ...cookie, secure: true, sameSite: 'None' }])
})
afterAll(async () => {
  await context?.close()
  await access?.close()
  evil?.close()
  await edge?.edge.dispose()
  await team?.close()
  await directory.remove()
})

/** Where the foreign page is: another origin of the same site, and another site. */
const HOSTS = ['127.0.0.1', 'localhost']

async function foreignPage(host: string): Promise<Page> {
  const page = await context.newPage()
  const { port } = evil.address() as AddressInfo
  await page.goto(`http://${host}:${port}/`)
  return page
}

/**
 * What came to Access with the cookie was refused, each request, or has no such route; and there were at least so many.
 */
function allRefused(atLeast: number): void {
  const came = access.taken().filter(({ withCookie, path }) => withCookie && path !== '/favicon.ico')
  expect(came.filter(({ status }) => status === 403).length).toBeGreaterThanOrEqual(atLeast)
  expect(came.filter(({ status }) => status !== 403 && status !== 404)).toEqual([])
}
const tenant = async () => (await edge.admin('GET', 'tenants/acme')).data
const audit = async () => (await edge.admin('GET', 'audit')).data

test.each(HOSTS)('forms of a foreign page at %s change nothing, in a frame or as a navigation', async (host) => {
  const before = [await tenant(), await audit()]
  const page = await foreignPage(host)
  for (const path of CHANGES)
    for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
      await page.evaluate(
        async ({ url, enctype }) => {
          const frame = document.createElement('iframe')
          frame.name = `f${Math.random()}`
          const form = document.createElement('form')
          Object.assign(form, { action: url, method: 'POST', enctype, target: frame.name })
          const field = document.createElement('input')
          // As text it is JSON: {"user":"u1","x":"="}.
          Object.assign(field, { name: '{"user":"u1","x":"', value: '"}' })
          form.append(field)
          document.body.append(frame, form)
          const loaded = new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }))
          form.submit()
          await loaded
        },
        { url: access.url + path, enctype: type },
      )
    }
  await page.evaluate((url) => {
    const form = document.createElement('form')
    Object.assign(form, { action: url, method: 'POST' })
    document.body.append(form)
    form.submit()
  }, `${access.url}/admin/tenants/acme/suspend`)
  await page.waitForURL(/suspend/)
  expect(await page.textContent('body')).toContain('ROCKPOOL_OPERATOR')
  allRefused(CHANGES.length * 3 + 1)
  expect([await tenant(), await audit()]).toEqual(before)
  await page.close()
})

test.each(HOSTS)(
  'fetch of a foreign page at %s changes and reads nothing, in any mode, by any method',
  async (host) => {
    const before = [await tenant(), await audit()]
    const page = await foreignPage(host)
    const results = await page.evaluate(
      async ({ gets, changes }) => {
        const read: string[] = []
        const kinds: string[] = []
        const attempt = async (url: string, init: RequestInit) => {
          try {
            const response = await fetch(url, { credentials: 'include', ...init })
            kinds.push(response.type)
            const text = await response.text()
            if (text !== '' || response.type !== 'opaque') read.push(`${init.method} ${url} ${response.type} ${text}`)
          } catch {
            kinds.push('refused')
          }
        }
        for (const mode of ['cors', 'no-cors', 'same-origin', 'navigate'] as RequestMode[])
          for (const url of gets) for (const method of ['GET', 'HEAD']) await attempt(url, { mode, method })
        for (const mode of ['cors', 'no-cors'] as RequestMode[])
          for (const url of [...changes, ...gets])
            for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
              for (const headers of [
                {},
                { 'content-type': 'text/plain' },
                { 'content-type': 'application/json' },
                { 'content-type': 'application/json', 'x-rockpool-admin': '1', 'if-match': '"1"' },
              ] as Record<string, string>[])
                await attempt(url, { mode, method, headers, body: '{}' })
        return { read, kinds: [...new Set(kinds)].sort() }
      },
      { gets: TARGETS.map((path) => access.url + path), changes: CHANGES.map((path) => access.url + path) },
    )
    expect(results).toEqual({ read: [], kinds: ['opaque', 'refused'] })
    allRefused(TARGETS.length + CHANGES.length)
    expect([await tenant(), await audit()]).toEqual(before)
    await page.close()
  },
)

test.each(HOSTS)(
  'images, scripts, frames, beacons, sockets and links of a foreign page at %s read nothing',
  async (host) => {
    const before = [await tenant(), await audit()]
    const page = await foreignPage(host)
    const shown = await page.evaluate(
      async ({ gets, changes, socket }) => {
        const outcomes: string[] = []
        const element = (name: string, attributes: object) =>
          new Promise<void>((resolve) => {
            const made = document.createElement(name)
            made.addEventListener('load', () => (outcomes.push(`${name} load`), resolve()))
            made.addEventListener('error', () => (outcomes.push(`${name} error`), resolve()))
            Object.assign(made, attributes)
            document.body.append(made)
            if (name === 'video') (made as HTMLVideoElement).load()
          })
        for (const url of gets) {
          await element('img', { src: url })
          await element('script', { src: url })
          await element('link', { rel: 'stylesheet', href: url })
          await element('video', { src: url })
          await element('iframe', { src: url })
        }
        for (const url of changes) navigator.sendBeacon(url, '{}')
        const closed = new Promise<string>((resolve) => {
          const opened = new WebSocket(socket)
          opened.onopen = () => resolve('open')
          opened.onerror = () => resolve('error')
        })
        const frames = [...document.querySelectorAll('iframe')].map((frame) => frame.contentDocument === null)
        return { loads: [...new Set(outcomes)].sort(), frames: [...new Set(frames)], socket: await closed }
      },
      {
        gets: TARGETS.map((path) => access.url + path),
        changes: CHANGES.map((path) => access.url + path),
        socket: `${access.url.replace('http', 'ws')}/t/acme/admin/live`,
      },
    )
    // A frame loads, with the refusal; the page cannot look into it.
    expect(shown).toEqual({
      loads: ['iframe load', 'img error', 'link error', 'script error', 'video error'],
      frames: [true],
      socket: 'error',
    })
    const opened = context.waitForEvent('page')
    await page.evaluate((url) => void window.open(url), `${access.url}/t/acme/admin/status`)
    const popup = await opened
    await popup.waitForLoadState()
    expect(await popup.textContent('body')).toContain('ROCKPOOL_OPERATOR')
    allRefused(TARGETS.length)
    expect([await tenant(), await audit()]).toEqual(before)
    await popup.close()
    await page.close()
  },
)

test('a page of the deployment itself reads and changes with the same cookie, so the attacks had something to win', async () => {
  const page = await context.newPage()
  await page.goto(`${access.url}/own-page`)
  const done = await page.evaluate(async () => {
    const headers = { 'content-type': 'application/json', 'x-rockpool-admin': '1' }
    const read = await fetch('/admin/tenants/acme')
    const bare = await fetch('/admin/tenants/acme/suspend', { method: 'POST', body: '{}' })
    const changed = await fetch('/admin/tenants/acme/suspend', { method: 'POST', headers, body: '{}' })
    return [read.status, bare.status, changed.status]
  })
  expect(done).toEqual([200, 403, 200])
  expect(await tenant()).toMatchObject({ state: 'suspended' })
  // An address that somebody types is none of a foreign page.
  await page.goto(`${access.url}/admin/tenants/acme`)
  expect(await page.textContent('body')).toContain('"state":"suspended"')
  await page.close()
})
