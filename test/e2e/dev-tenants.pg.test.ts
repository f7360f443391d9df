import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCommand, type Command } from '../support/command.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { freePort } from '../support/postgres.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// What a developer types in a second shell, beside a `rockpool dev` that knows nothing of tenants.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const TABLE = (owner: string) =>
  `CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('1', 'of ${owner}')`

const directory = await temporaryDirectory()
const data = `${directory.path}/data`
const file = `${directory.path}/sync-config.yaml`
const commands: Command[] = []
let port = 0
let dev: Command

const { DATABASE_URL: _, JWT_SECRET: __, JWT_AUDIENCE: ___, ...inherited } = process.env
const environment = { ...inherited, BUDGET_DOLLARS_DAY: '1000' }

function rockpool(...args: string[]): Command {
  const run = startCommand(process.execPath, ['cli/rockpool.mjs', ...args], environment)
  commands.push(run)
  return run
}

async function run(...args: string[]): Promise<{ code: number | null; output: string }> {
  const command = rockpool(...args, '--data', data)
  const code = await command.ended
  return { code, output: command.output }
}
const url = () => `http://127.0.0.1:${port}`
const tenants = (...args: string[]) => run('tenants', ...args, '--url', url())
const done = async (command: Promise<{ code: number | null; output: string }>): Promise<string> => {
  const { code, output } = await command
  expect(code, output).toBe(0)
  return output
}
const tokenOf = async (tenant: string): Promise<string> =>
  (await done(run('token', '--sub', 'alice', ...(tenant === '' ? [] : ['--tenant', tenant])))).trim()

async function start(): Promise<void> {
  dev = rockpool('dev', '--port', String(port), '--data', data, '--no-example', '--sync-config', file)
  await until(
    'the ready line',
    async () => dev.output.includes('\nready '),
    180,
    () => dev.output,
  )
}

async function titlesAt(tenant: string): Promise<string[]> {
  const signed = await tokenOf(tenant)
  const follower = new Follower({
    url: tenant === '' ? url() : `${url()}/t/${tenant}`,
    token: async () => signed,
    clientId: 'c',
  })
  await until(
    'the first row',
    async () => rowsOf(follower.buckets, '').length > 0,
    120,
    () => [follower.state, follower.problems, dev.output],
  )
  await follower.close()
  return rowsOf(follower.buckets, '').map(({ title }) => String(title))
}

beforeAll(async () => {
  // Otherwise the database of root is elsewhere, and stays there.
  await chmod(directory.path, 0o755)
  await writeFile(file, SYNC_CONFIG)
  port = await freePort()
  await start()
})
afterAll(async () => {
  dev?.child.kill('SIGINT')
  await dev?.ended
  for (const { child } of commands) child.kill('SIGKILL')
  await directory.remove()
})

test('tenants beside rockpool dev: made, shown, followed at their addresses, kept over a restart, deleted', async () => {
  await done(run('sql', TABLE('dev')))
  const created = await done(tenants('create', 'acme', '--new-database'))
  expect(created).toMatch(/^acme: active, version 1\n/)
  expect(created).toContain(`\nIts clients connect to ${url()}/t/acme\n`)
  expect((await stat(`${data}/tenant-keys`)).mode & 0o077).toBe(0)
  expect(await done(run('sql', '--tenant', 'acme', TABLE('acme')))).toMatch(/INSERT 1/)

  expect(await titlesAt('acme')).toEqual(['of acme'])
  expect(await titlesAt('')).toEqual(['of dev'])
  expect(await done(tenants('list'))).toMatch(/^acme +active +v1\n1 tenant\n$/)
  expect(await done(tenants('show', 'acme'))).toMatch(/SLOT +rockpool_acme_/)
  // What it costs counts, and so does the tenant of the developer.
  const spent =
    /^\d{4}-\d\d-\d\d \(UTC\): \$0\.\d{4} of \$1000\.00, 0 %\n(.*\n)* {2}acme +\$0\.\d{4}, lately \$0\.\d{4}\n/
  await until('what was spent', async () => spent.test(await done(tenants('spending'))))
  const report = await run('status', url(), '--tenant', 'acme', '--json')
  expect([report.code, JSON.parse(report.output)]).toMatchObject([0, { source: { database: 'tenant_acme' } }])

  // Neither the token of one tenant nor that of the developer's own opens another's streams.
  const refused = async (path: string, signed: string) =>
    (await fetch(`${url()}${path}`, { headers: { authorization: `Token ${signed}` } })).status
  const [ofDev, ofAcme] = [await tokenOf(''), await tokenOf('acme')]
  expect([await refused('/t/acme/status', ofDev), await refused('/status', ofAcme)]).toEqual([401, 401])
  expect(await refused('/t/acme/admin/status', ofAcme)).toBe(403)

  // A host of a tenant does not close this address.
  await done(tenants('set', 'acme', '--host', 'acme.localhost'))

  dev.child.kill('SIGINT')
  expect(await dev.ended, dev.output).toBe(0)
  expect(dev.output).not.toMatch(/does not know that it is ended/)
  await start()
  expect(await done(tenants('show', 'acme'))).toMatch(/^acme: active, version 2\n/)
  await done(run('sql', '--tenant', 'acme', "UPDATE items SET title = 'of acme, later'"))
  await until('the newer row', async () => (await titlesAt('acme'))[0] === 'of acme, later')

  const slots = () => run('sql', 'SELECT slot_name FROM pg_replication_slots ORDER BY 1')
  expect((await slots()).output).toMatch(/rockpool_acme_/)
  expect(await done(tenants('delete', 'acme', '--yes'))).toMatch(/\nacme is deleted\n$/)
  expect((await slots()).output).not.toMatch(/rockpool_acme_/)
  expect(await done(tenants('list'))).toBe('0 tenants\n')
  expect((await fetch(`${url()}/t/acme/status`)).status).toBe(404)
})

test('a name that was deleted is given again when that is asked for, and then has nothing of before', async () => {
  const again = await tenants('create', 'acme', '--new-database')
  expect([again.code, again.output]).toEqual([1, expect.stringMatching(/^ROCKPOOL_TENANT_CONFLICT: .*was deleted/)])
  await done(tenants('create', 'acme', '--new-database', '--reuse-name'))
  // Its database is what is left of it.
  expect(await titlesAt('acme')).toEqual(['of acme, later'])
  await done(tenants('delete', 'acme', '--yes'))
})

test('what rockpool dev itself serves is no tenant of the Directory, and mistakes are told', async () => {
  for (const verb of ['create', 'delete'] as const)
    expect((await tenants(verb, 'default', '--yes')).output).toMatch(/ROCKPOOL_(TENANT|SETTINGS)/)
  expect((await tenants('adopt')).output).toMatch(
    /^ROCKPOOL_TENANT_CONFLICT: the tenant default is the one of rockpool dev/,
  )
  const both = await tenants('create', 'x', '--new-database', '--database-url', 'postgres://localhost/x')
  expect([both.code, both.output]).toEqual([2, expect.stringMatching(/--new-database and --database-url/)])
  const wrong = await run('token', '--sub', 'alice', '--tenant', 'No/Name')
  expect([wrong.code, wrong.output]).toEqual([2, expect.stringMatching(/is not the name of a tenant/)])
  const long = 'a-tenant-with-a-name-as-long-as-a-name-can-be-0123456789-abcdef'
  await done(tenants('create', long, '--new-database'))
  await done(tenants('create', `${long.slice(0, -1)}g`, '--new-database'))
  expect(await titlesAt('')).toEqual(['of dev'])
  expect(await readFile(`${data}/tenant-keys`, 'utf8')).toMatch(/^dev:[\w-]{43}\n$/)
})
