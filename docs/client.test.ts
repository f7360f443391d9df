import { spawn } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROOT } from '../cli/bundle.ts'
import { temporaryDirectory } from '../test/support/support.ts'

// The examples of docs/client.md: all of them compile under `strict`, and what needs no browser is run, one file for
// each, against a database in memory.

const page = await readFile(new URL('./client.md', import.meta.url), 'utf8')

interface Example {
  heading: string
  /** Where it stands under its heading. */
  file: string
  code: string
}

const EXAMPLES: Example[] = page.split(/^## /m).flatMap((section) => {
  const heading = section.split('\n')[0] ?? ''
  const blocks = [...section.matchAll(/(?:^\*\*`([\w.-]+)`\*\*\n\n)?^```ts\n([^]*?)^```$/gm)]
  return blocks.map(([, name, code = ''], n) => {
    const file = name ?? `${heading.toLowerCase().replaceAll(/\W+/g, '-')}-${n + 1}.ts`
    return { heading, file, code }
  })
})

/** What an example has around it: a database with rows, and what belongs to the page. */
const BEFORE = `
import { ProblemError, sql } from '@rockpool/client/node'
import { createTestDatabase } from '@rockpool/client/testing'
import { schema, type Todo } from './schema.ts'
const { db, server } = createTestDatabase(schema, {
  rows: {
    lists: [{ id: 'l1', name: 'Groceries' }],
    todos: [{ id: 't1', list_id: 'l1', title: 'Milk', done: true, due: null, labels: ['cold'], cents: 9007199254740993n }],
  },
})
const render = (rows: readonly Todo[], added: unknown[]): void => console.log('rendered', rows.length, added.length)
const confirm = (question: string): boolean => question.length > 0
await db.synced({ timeout: 10_000 })
const said: string[] = []
const all = (): Promise<Todo[]> => db.query(sql<Todo>\`SELECT * FROM todos ORDER BY id\`)
const must = (held: boolean, what: string): void => {
  if (!held) throw new Error(what)
}
const until = async (what: string, reached: () => boolean | Promise<boolean>): Promise<void> => {
  for (let n = 0; n < 500; n++, await new Promise((resolve) => setTimeout(resolve, 10))) if (await reached()) return
  throw new Error(what)
}
`
/** Before and after the example, by its file: what must be true of it. */
const CHECKS: Record<string, { before?: string; after: string }> = {
  'read-1.ts': {
    after: `must(todo?.title === 'Milk' && todo.done && todo.cents === 9007199254740993n, 'the row'); must(open.length === 0 && count?.n === 1, 'the rows')`,
  },
  'live-queries-1.ts': {
    after: `await until('the row', () => view.data.length === 1); await db.todos.insert({ list_id: 'l1', title: 'x' }); must(view.data.length === 2 && view.state === 'ready', 'two'); end()`,
  },
  'write-1.ts': { after: `must((await all()).length === 1, 'it is gone')` },
  'write-2.ts': {
    after: `must(verdict.result === 'accepted' && (await accepted).result === 'accepted', 'accepted'); must(server.rows('todos').length === 2, 'it is there')`,
  },
  'transactions-1.ts': {
    before: `await db.lists.insert({ id: 'l2', name: 'Other' }); await db.todos.insert({ list_id: 'l2', title: 'y', done: true })`,
    after: `must(moved.value === 1, 'one moved'); await moved.confirmed; must(server.rows('lists').map(({ name }) => name).sort().join() === 'Archive of 1,Other', 'archived'); must(server.accepted.length === 4, 'four transactions')`,
  },
  'streams-1.ts': { after: `must(items.errors.length === 0, 'no errors'); await db.synced({ priority: 1 })` },
  'status-1.ts': {
    before: `console.log = (...all: unknown[]) => void said.push(all.join(' '))`,
    after: `server.offline(); await until('offline', () => said.some((line) => /^error 0 changes/.test(line))); must(said.includes('the test server is offline'), 'the reason'); must(typeof db.status.lastSyncedAt === 'number', 'synced'); off()`,
  },
  'offline-1.ts': { after: `await until('the upload', () => server.accepted.length === 1)` },
  'writes-that-were-refused-1.ts': {
    before: `server.refuse('value', 'too long'); const bad = await db.todos.insert({ list_id: 'l1', title: 'Longer' }); await bad.accepted
server.refuse('not_allowed'); const other = await db.todos.insert({ list_id: 'l1', title: 'Other' }); await other.accepted; server.accept()`,
    after: `await until('both', () => server.accepted.length === 2); must(server.rows('todos').map(({ title }) => title).sort().join() === 'Milk,Other,Shorter', 'corrected')`,
  },
  'users-sign-out-wipe-1.ts': {
    before: `server.offline(); await db.todos.insert({ list_id: 'l1', title: 'unsent' })`,
    after: `must(db.status.state === 'closed', 'closed')`,
  },
  'several-tabs-1.ts': { after: `must((await all()).every(({ done }) => done), 'done')` },
  'storage-full-blocked-damaged-1.ts': { after: `must((await all()).length === 2, 'stored')` },
}

/** These make a database of their own. */
const isWhole = ({ code }: Example): boolean => /^import .*'@rockpool\/client/m.test(code)
const needsBrowser = ({ code }: Example): boolean => /from '@rockpool\/client'/.test(code)

let directory: Awaited<ReturnType<typeof temporaryDirectory>>

async function command(...args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, args, { cwd: directory.path, env: { ...process.env, TOKEN: 'x' } })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += bytes.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output }
}

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  // What is linked is compiled where it lies.
  await mkdir(join(directory.path, 'node_modules'))
  await symlink(join(ROOT, 'node_modules/@rockpool'), join(directory.path, 'node_modules/@rockpool'))
  for (const name of ['vitest', '@types'])
    await symlink(join(ROOT, 'node_modules', name), join(directory.path, 'node_modules', name))
  for (const example of EXAMPLES) {
    const { before = '', after = '' } = CHECKS[example.file] ?? {}
    const whole = `${BEFORE}\n${before}\n${example.code}\n${after}\nawait db.close()\n`
    await writeFile(join(directory.path, example.file), isWhole(example) ? example.code : whole)
  }
  await writeFile(join(directory.path, 'package.json'), '{ "type": "module" }')
  await writeFile(
    join(directory.path, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        target: 'es2024',
        module: 'nodenext',
        lib: ['es2024', 'dom', 'dom.iterable', 'webworker'],
        types: ['node'],
        noEmit: true,
        allowImportingTsExtensions: true,
        skipLibCheck: true,
      },
      include: ['*.ts'],
    }),
  )
})
afterAll(() => directory?.remove())

test('all of them compile, each task has one, and what is said of each is checked', { timeout: 120_000 }, async () => {
  const { code, output } = await command(join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.', '--pretty', 'false')
  expect([code, output.split('\n').filter((line) => !line.startsWith(' '))]).toEqual([0, ['']])
  const own = EXAMPLES.filter((example) => !isWhole(example)).map(({ file }) => file)
  expect(own.sort()).toEqual(Object.keys(CHECKS).sort())
  for (const task of ['Install', 'Schema', 'Node', 'Bundlers', 'Tests of your application'])
    expect(EXAMPLES.map(({ heading }) => heading)).toContain(task)
})

test.each(EXAMPLES.filter((example) => !needsBrowser(example) && !example.file.endsWith('.test.ts')))(
  '$heading: $file',
  { timeout: 60_000 },
  async ({ file }) => {
    const { code, output } = await command(file)
    expect(code, output).toBe(0)
  },
)

test('the test of an application passes under Vitest', { timeout: 60_000 }, async () => {
  const run = await command(join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--root', '.', 'todos.test.ts')
  expect(run.code, run.output).toBe(0)
  expect(run.output).toContain('1 passed')
})
