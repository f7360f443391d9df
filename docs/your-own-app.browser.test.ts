import { spawn, type ChildProcess } from 'node:child_process'
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { SignJWT } from 'jose'
import postgres, { type Sql } from 'postgres'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROOT } from '../cli/bundle.ts'
import { startBrowser } from '../test/support/browser.ts'
import { freePort } from '../test/support/postgres.ts'
import { temporaryDirectory, until } from '../test/support/support.ts'

// Does what docs/your-own-app.md says, word by word: its files, its commands. Only the registry is not asked: what `npm
// install` names is linked.

const text = await readFile(new URL('./your-own-app.md', import.meta.url), 'utf8')
const FILES = new Map(
  [...text.matchAll(/^\*\*`([\w.-]+)`\*\*\n\n```\w+\n([^]*?)^```$/gm)].map(([, name = '', body = '']) => [name, body]),
)
const COMMANDS = [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, body = '']) => body.trim())
const command = (part: string): string => {
  const found = COMMANDS.filter((each) => each.includes(part))
  if (found.length !== 1) throw new Error(`${found.length} blocks of the page have the command ${part}`)
  return found[0] ?? ''
}
const file = (name: string): string => FILES.get(name) ?? expect.fail(`the page has no file ${name}`)

interface Terminal {
  child: ChildProcess
  output: string
  ended: Promise<number | null>
}

let app = ''
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let browser: Browser
let env: NodeJS.ProcessEnv
let sql: Sql
const terminals: Terminal[] = []

/** A command in the folder of the app, as a terminal runs it: with a process group of its own. */
function run(line: string): Terminal {
  const child = spawn('sh', ['-c', line], { cwd: app, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const terminal: Terminal = { child, output: '', ended: new Promise((resolve) => child.once('close', resolve)) }
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (terminal.output += bytes.toString()))
  terminals.push(terminal)
  return terminal
}

async function toItsEnd(line: string): Promise<string> {
  const terminal = run(line)
  expect(await terminal.ended, terminal.output).toBe(0)
  return terminal.output
}

const says = (terminal: Terminal, what: RegExp) =>
  until(
    `${what}`,
    async () => what.test(terminal.output),
    120,
    () => terminal.output,
  )

beforeAll(async () => {
  directory = await temporaryDirectory()
  // Otherwise the database of root is elsewhere, and stays there.
  await chmod(directory.path, 0o755)
  app = join(directory.path, 'my-app')
  const [port, appPort] = [await freePort(), await freePort()]
  env = {
    ...process.env,
    PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}`,
    PORT: String(port),
    ROCKPOOL_URL: `http://127.0.0.1:${port}`,
    APP_PORT: String(appPort),
    APP_URL: `http://127.0.0.1:${appPort}`,
  }
  await symlink(ROOT, join(directory.path, 'rockpool'))
  await mkdir(join(app, 'node_modules', '.bin'), { recursive: true })
  const names = COMMANDS.flatMap((block) =>
    [...block.matchAll(/^npm install (.*)$/gm)].flatMap(([, list = '']) => list.split(' ')),
  )
  expect(names).toContain('../rockpool/client')
  for (const name of names) {
    const link = join(
      app,
      'node_modules',
      name.replace(/^\.\.\/rockpool\/client$/, '@rockpool/client').replace(/^\.\.\//, ''),
    )
    await mkdir(dirname(link), { recursive: true })
    await symlink(name.startsWith('..') ? join(app, name) : join(ROOT, 'node_modules', name), link)
  }
  await symlink('../rockpool/cli/rockpool.mjs', join(app, 'node_modules', '.bin', 'rockpool'))
  for (const [name, body] of FILES) await writeFile(join(app, name), body)
  await toItsEnd(command('cp ../rockpool/examples'))
  browser = await startBrowser()
})

afterAll(async () => {
  await browser?.close()
  await sql?.end({ timeout: 1 })
  // As Ctrl-C does, to the whole group.
  for (const { child, ended } of terminals.reverse()) {
    if (child.exitCode !== null || child.pid === undefined) continue
    process.kill(-child.pid, 'SIGINT')
    await ended
  }
  await rm(app, { recursive: true, force: true, maxRetries: 5 })
  await directory?.remove()
})

test('a row of an own table comes to the own page, and a PowerSync SDK', async () => {
  const dev = run(command('rockpool dev'))
  await says(dev, /^ready /m)
  expect(dev.output).toMatch(/table public\.notes cannot be followed: there is no such table/)
  const server = run(command('node server.mjs'))
  await says(server, /^http:\/\/127\.0\.0\.1:\d+$/m)

  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()))
  await page.goto(`${env.APP_URL}/`)
  await toItsEnd(command('From SQL'))
  await page.getByText('From SQL').waitFor()

  const add = async (title: string) => {
    await page.getByPlaceholder('New note').fill(title)
    await page.getByRole('button', { name: 'Add' }).click()
  }
  const port = (await readFile(join(app, '.rockpool/data/postgres/port'), 'utf8')).trim()
  const password = (await readFile(join(app, '.rockpool/data/postgres/password'), 'utf8')).trim()
  sql = postgres(`postgres://postgres:${password}@127.0.0.1:${port}/app`, { max: 1 })
  const stored = async (title: string) =>
    (await sql`select done from notes where owner_id = 'ann' and title = ${title}`)[0]
  await add('From the page')
  await until('the write', () => stored('From the page'))
  await page.getByRole('listitem').filter({ hasText: 'From the page' }).getByRole('checkbox').check()
  await until('the tick', async () => (await stored('From the page'))?.done === true)
  expect(complaints).toEqual([])

  // A constraint is violated: 4xx, the client takes it back, and what is written later does not wait for it.
  await add('')
  await page.getByText('Not saved: new row for relation "notes" violates check constraint').waitFor()
  await add('After the refusal')
  await until('the write after the refused one', () => stored('After the refusal'))
  expect(await page.getByRole('listitem').count()).toBe(3)

  const sdk = run(command('node powersync.mjs'))
  await until(
    'what the SDK wrote',
    () => stored('From PowerSync'),
    60,
    () => sdk.output,
  )
  await page.getByText('From PowerSync').waitFor()
  await says(sdk, /From SQL/)
  await writeFile(
    join(app, 'refused.mjs'),
    file('powersync.mjs').replace("'From PowerSync'", "''").replace('powersync.db', 'refused.db'),
  )
  await says(run('node refused.mjs'), /^Not saved: new row for relation "notes" violates check constraint/m)
  // It had nothing to complain about.
  expect(server.output).toMatch(/\nhttp:\S+\n$/)
})

/** A token as the backend signs it, or with something else in a place of it. */
async function token({
  audience = 'rockpool',
  secret,
  expires = '1h',
}: {
  audience?: string
  secret?: Buffer
  expires?: string
}) {
  const own = Buffer.from((await readFile(join(app, '.rockpool/data/jwt-secret'), 'utf8')).trim(), 'base64url')
  const jwt = new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setSubject('ann').setAudience(audience)
  return jwt
    .setIssuedAt(Math.floor(Date.now() / 1_000) - 7_200)
    .setExpirationTime(expires)
    .sign(secret ?? own)
}

test.each([
  ['another audience', { audience: 'somebody-else' }, /"aud" is "somebody-else"/],
  ['another secret', { secret: Buffer.alloc(32, 7) }, /signature/],
  ['no life left', { expires: '-1h' }, /expired/],
])('a token with %s is told on the page, and a good one heals it', async (_, wrong, reason) => {
  const context = await browser.newContext()
  const page = await context.newPage()
  const bad = await token(wrong)
  await page.route('**/api/token*', (route) => route.fulfill({ contentType: 'text/plain', body: bad }))
  await page.goto(`${env.APP_URL}/`)
  const trouble = page.locator('#trouble')
  await trouble.getByText(/^The token is refused: .*\.$/).waitFor()
  expect(await trouble.textContent()).toMatch(reason)
  await page.unroute('**/api/token*')
  await page.getByText('From SQL').waitFor()
  await until(
    'nothing to complain about',
    async () => (await trouble.textContent()) === '',
    60,
    () => trouble.textContent(),
  )
  await context.close()
})

test('uploads that cannot be sent are told on the page until one goes through', async () => {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(`${env.APP_URL}/`)
  await page.getByText('From SQL').waitFor()
  await context.route('**/api/upload', (route) =>
    route.fulfill({ status: 503, json: { error: { code: 'unavailable', message: 'try again later' } } }),
  )
  await page.getByPlaceholder('New note').fill('Sent late')
  await page.getByRole('button', { name: 'Add' }).click()
  const trouble = page.locator('#trouble')
  await trouble.getByText('Not sent yet, trying again: the upload was answered 503.', { exact: true }).waitFor()
  await context.unroute('**/api/upload')
  await until('the write', async () => (await sql`select 1 from notes where title = 'Sent late'`).length === 1)
  await until('nothing to complain about', async () => (await trouble.textContent()) === '')
  await context.close()
})

test('the upload endpoint takes a transaction once, and nothing of somebody else', async () => {
  const id = '00000000-0000-4000-8000-000000000001'
  const post = async (user: string, seq: number, op: object): Promise<unknown> => {
    const token = user === '' ? '' : await (await fetch(`${env.APP_URL}/api/token?user=${user}`)).text()
    const transaction = { id: `00000000-0000-4000-8000-${String(seq).padStart(12, '0')}`, seq }
    const body = {
      client_id: 'c',
      answered: 0,
      transactions: [{ ...transaction, ops: [{ table: 'notes', id, ...op }] }],
    }
    const response = await fetch(`${env.APP_URL}/api/upload`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    })
    const answer: { verdicts?: { result: string; code?: string }[]; error?: { code: string } } = await response.json()
    const [verdict] = answer.verdicts ?? []
    return verdict ? (verdict.code ?? verdict.result) : [response.status, answer.error?.code]
  }
  const stored = () => sql`select owner_id, title from notes where id = ${id}`
  const put = { op: 'put', data: { title: 'Mine', done: 1 } }
  expect(await post('', 1, put)).toEqual([401, 'unauthorized'])
  expect(await post('ann', 1, put)).toBe('accepted')
  expect(await post('ann', 2, { op: 'delete' })).toBe('accepted')
  expect(await post('ann', 1, put)).toBe('accepted')
  expect(await stored()).toEqual([])
  expect(await post('ann', 3, put)).toBe('accepted')
  expect(await post('ben', 1, put)).toBe('not_allowed')
  expect(await post('ben', 1, put)).toBe('not_allowed')
  expect(await post('cem', 2, { op: 'patch', data: { title: 'His' } })).toBe('not_found')
  expect(await post('dan', 3, { op: 'delete' })).toBe('accepted')
  expect(await post('dan', 4, { ...put, table: 'users' })).toBe('value')
  expect(await post('dan', 5, { ...put, id: 'no uuid' })).toBe('value')
  expect(await stored()).toEqual([{ owner_id: 'ann', title: 'Mine' }])
})

test('Vite bundles page, worker and SQLite through the link', async () => {
  const page = file('app.js')
    .replace('ROCKPOOL_URL', `'${env.ROCKPOOL_URL}'`)
    .replace(/^ *worker: .*\n/m, '')
  await writeFile(join(app, 'app.js'), page)
  const output = await toItsEnd(`node ${join(ROOT, 'node_modules/vite/bin/vite.js')} build`)
  for (const asset of [/assets\/worker-\S+\.js/, /assets\/sqlite3-\S+\.wasm/]) expect(output).toMatch(asset)
  await writeFile(join(app, 'app.js'), file('app.js'))
})
