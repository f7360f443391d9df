import { spawnSync, type ChildProcess } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { signToken } from '../../cli/secret.ts'
import type { Report } from '../../cli/status-report.ts'
import { startCommand, type Command } from '../support/command.ts'
import { Operator } from '../support/deploys.ts'
import { freePort } from '../support/postgres.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// The commands as they are typed, against `rockpool dev` as it is typed.
// The file is long because one history of deploys is told by its commands.

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let dev: Command
let url: string
let file: string
const children: ChildProcess[] = []

function start(program: string, args: string[], more: Record<string, string> = {}): Command {
  const env = { ...process.env, ROCKPOOL_URL: url, DATA: join(directory.path, 'data'), NO_COLOR: '1', ...more }
  const run = startCommand(program, args, env)
  children.push(run.child)
  return run
}

async function rockpool(...args: string[]): Promise<{ code: number | null; output: string }> {
  const run = start(process.execPath, ['cli/rockpool.mjs', ...args])
  const code = await run.ended
  return { code, output: run.output }
}

const config = (...tables: string[]) =>
  `bucket_definitions:\n${tables.map((table) => `  ${table}_all:\n    data:\n      - SELECT id, n FROM ${table}\n`).join('')}`

async function yaml(name: string, text: string): Promise<string> {
  const path = join(directory.path, name)
  await writeFile(path, text)
  return path
}

beforeAll(async () => {
  directory = await temporaryDirectory()
  // Otherwise the database of root is elsewhere, and stays there.
  await chmod(directory.path, 0o755)
  const port = await freePort()
  url = `http://127.0.0.1:${port}`
  file = await yaml('dev.yaml', config('one'))
  dev = start(process.execPath, [
    'cli/rockpool.mjs',
    'dev',
    '--port',
    String(port),
    '--no-example',
    '--sync-config',
    file,
  ])
  await until(
    'rockpool dev',
    async () => dev.output.includes('\nready '),
    120,
    () => dev.output,
  )
  const made = await rockpool(
    'sql',
    `create table one (id int primary key, n int); create table two (id int primary key, n int);
    insert into one select i, i from generate_series(1, 100) i; insert into two select i, i from generate_series(1, 9000) i; analyze two`,
  )
  expect(made.code, made.output).toBe(0)
})

afterAll(async () => {
  dev?.child.kill('SIGTERM')
  await dev?.ended
  for (const child of children) child.kill('SIGKILL')
  await directory?.remove()
})

test('a deploy says what it changes, shows how far it is, and ends when it serves; a rollback goes back', async () => {
  const both = await yaml('both.yaml', config('one', 'two'))
  const dry = await rockpool('deploy', both, '--dry-run')
  expect([dry.code, dry.output]).toEqual([
    0,
    expect.stringMatching(
      /^kept {5}one_all\nadded {4}two_all\ncopy {5}public\.two, about 9,000 rows\nclients {2}0 streams are open; they go on/,
    ),
  ])
  const first = await rockpool('deploy', both, '--yes')
  expect(first.code, first.output).toBe(0)
  expect(first.output).toMatch(/total .* %[^]*deploy \d+ serves \(plan [0-9a-f]{32}\)\n$/)
  const same = await rockpool('deploy', both, '--json', '--yes')
  expect(same.code).toBe(0)
  const answer: {
    ok: boolean
    difference: { definitions: { added: unknown[] } }
    config: { state: string; number: number }
  } = JSON.parse(same.output)
  expect([answer.ok, answer.difference.definitions.added, answer.config.state]).toEqual([true, [], 'serving'])
  const other =
    /\nconfig {5}\S+dev\.yaml is not what serves \(that is deploy \d+\)\. To deploy it: npx rockpool deploy \S+dev\.yaml\n/
  await until('dev to say that its file does not serve', async () => other.test(dev.output))
  const back = await rockpool('rollback', '--yes')
  expect([back.code, back.output]).toEqual([
    0,
    expect.stringMatching(/^back to deploy \d+\n[^]*removed {2}two_all\n[^]*serves/),
  ])
  // Further back there is nothing, and forward is said by a number.
  const further = await rockpool('rollback', '--yes')
  expect([further.code, further.output]).toEqual([
    1,
    expect.stringMatching(/no earlier sync config to roll back to: deploy \d+ is a rollback/),
  ])
  const listed = await rockpool('deploys')
  expect(listed.code, listed.output).toBe(0)
  const [head, ...lines] = listed.output.trimEnd().split('\n')
  expect(head).toMatch(/^number +when \(UTC\) +by +plan +state$/)
  expect(lines.map((line) => line.split(/ {2,}/)[4])).toEqual(['serving', 'retired', 'retired', 'retired'])
  expect(lines[0]).toMatch(/^4 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d {2}operator +[0-9a-f]{8} {2}serving +back to 1$/)
  expect(lines[3]).toMatch(/^1 .* the script +[0-9a-f]{8} {2}retired$/)
  const asJson = await rockpool('deploys', '--json')
  expect(JSON.parse(asJson.output)).toMatchObject({
    ok: true,
    deploys: [
      { number: 4, state: 'serving', by: 'operator', of: 1 },
      { number: 3 },
      { number: 2 },
      { number: 1, origin: 'script' },
    ],
  })
  const unknown = await rockpool('rollback', '--to', '99', '--dry-run')
  expect([unknown.code, unknown.output]).toEqual([
    1,
    expect.stringMatching(
      /there is no sync config with the number 99\. rockpool rollback --to takes 3, 2; rockpool deploys lists all\n$/,
    ),
  ])
  const forward = await rockpool('rollback', '--to', String(answer.config.number), '--dry-run')
  expect([forward.code, forward.output]).toEqual([
    0,
    expect.stringMatching(/^again {4}two_all \(served before: nothing is copied\)\n/m),
  ])
})

test('mistakes are shown at their place, and nothing changes', async () => {
  const bad = await rockpool(
    'deploy',
    await yaml('bad.yaml', 'bucket_definitions:\n  a:\n    data:\n      - SELECT FROM\n'),
  )
  expect(bad.code).toBe(1)
  expect(bad.output).toMatch(
    /error \S+: [^]*bad\.yaml:4:\d+\n4 \| {7}- SELECT FROM[^]*\^[^]*1 error: nothing was changed\n$/,
  )
  const missing = await rockpool('deploy', await yaml('missing.yaml', config('one', 'three')), '--yes')
  expect(missing.code).toBe(1)
  expect(missing.output).toMatch(
    /ROCKPOOL_DEPLOY: tables of new definitions cannot be followed: public\.three: there is no such table in the database\n$/,
  )
  await rockpool('sql', 'create table nameless (k int primary key)')
  const nameless = await yaml('nameless.yaml', 'bucket_definitions:\n  a:\n    data:\n      - SELECT * FROM nameless\n')
  const database = ['--data', join(directory.path, 'data')]
  // One verdict: what check calls an error a deploy refuses.
  for (const args of [
    ['check', nameless, ...database],
    ['deploy', nameless, '--yes'],
  ]) {
    const told = await rockpool(...args)
    expect([told.code, told.output]).toEqual([
      1,
      expect.stringMatching(/^error id-missing: nameless has no column id/m),
    ])
  }
  const right = await rockpool('check', file, ...database)
  expect([right.code, right.output]).toEqual([
    0,
    expect.stringMatching(/^warning location: [^]*those of the database of rockpool dev\n$/),
  ])
  const forced = await rockpool('deploy', nameless, '--force', '--dry-run')
  expect([forced.code, forced.output]).toEqual([
    0,
    expect.stringMatching(/^error \S+nameless\.yaml:4:\d+ id-missing: /m),
  ])
  const wrong = await rockpool('deploy', file, '--token', 'x')
  expect([wrong.code, wrong.output]).toEqual([1, expect.stringMatching(/^the token was refused: PSYNC_S2101: /)])
  for (const [args, message] of [
    [['deploy'], /name one file/],
    [['deploy', join(directory.path, 'none.yaml')], /there is no file/],
    [['deploy', file, '--url', 'https://sync.example'], /--token is missing/],
    [['deploy', file, '--url', 'http://sync.example', '--token', 'x'], /^rockpool: ROCKPOOL_PLAIN_HTTP: /],
    [['deploy', file, '--url', 'http://127.0.0.1:1'], /cannot be reached: .*is rockpool dev running\?/],
    [['rollback', file], /takes no file/],
    [['deploys', file], /takes no argument/],
    [['deploys', '--force'], /there is no option --force; see rockpool help deploys/],
    [['rollback', '--to', 'x'], /--to x is not the number of a deploy/],
    [['deploy', file, '--nonsense'], /nonsense/],
  ] as const) {
    const { code, output } = await rockpool(...args)
    expect([code, output]).toEqual([2, expect.stringMatching(message)])
  }
})

test('without a terminal nothing is asked, and nothing done that was not agreed to', async () => {
  const both = await yaml('unasked.yaml', config('one', 'two'))
  for (const args of [
    ['deploy', both],
    ['deploy', both, '--json'],
    ['rollback', '--to', '2'],
    ['rollback', '--to', '2', '--json'],
  ]) {
    const { code, output } = await rockpool(...args)
    expect([code, output]).toEqual([
      2,
      expect.stringMatching(/rockpool: ROCKPOOL_NOT_CONFIRMED: nothing was changed, .*: --yes /),
    ])
  }
  const secret = (await readFile(join(directory.path, 'data', 'jwt-secret'), 'utf8')).trim()
  expect((await new Operator(() => url, secret, 'rockpool').configs()).yaml).toBe(config('one'))
  expect((await rockpool('deploy', both, '--dry-run')).code).toBe(0)
})

test('the token may come on standard input, where no list of processes shows it', async () => {
  const secret = (await readFile(join(directory.path, 'data', 'jwt-secret'), 'utf8')).trim()
  const token = await signToken({ sub: 'me', ttlSeconds: 60, claims: { operator: true } }, secret, 'rockpool')
  const given = (text: string) => {
    const command = `printf %s "$GIVEN" | '${process.execPath}' cli/rockpool.mjs deploy '${file}' --dry-run --token -`
    return start('bash', ['-c', command], { GIVEN: text })
  }
  const right = given(`${token}\nmore`)
  expect([await right.ended, right.output]).toEqual([0, expect.stringMatching(/^kept {5}one_all\n/)])
  const none = given('')
  expect([await none.ended, none.output]).toEqual([2, expect.stringMatching(/there is no token on standard input/)])
})

test('rockpool dev deploys its file when it is edited; a mistake is reported and changes nothing', async () => {
  const secret = (await readFile(join(directory.path, 'data', 'jwt-secret'), 'utf8')).trim()
  const operator = new Operator(() => url, secret, 'rockpool')
  await writeFile(file, config('one').replace('SELECT id, n', 'SELECT id,'))
  await until('the mistake to be told', async () =>
    /config {5}the old one continues to serve:\nconfig {5}\S+dev\.yaml:4:\d+ /.test(dev.output),
  )
  await writeFile(file, config('two', 'one'))
  await until(
    'the edit to be deployed',
    async () => /config {5}deploy \d+ /.test(dev.output),
    60,
    () => dev.output,
  )
  await until('it to serve', async () => {
    const { serving, yaml: text } = await operator.configs()
    return serving !== null && text === config('two', 'one')
  })
})

test('problems of a corrected sync config are marked as serving nobody', async () => {
  const secret = (await readFile(join(directory.path, 'data', 'jwt-secret'), 'utf8')).trim()
  const operator = new Operator(() => url, secret, 'rockpool')
  const noted = async (code: string) => {
    const { output } = await rockpool('status', '--json')
    const report: Report = JSON.parse(output)
    return report.noted.find((each) => each.code === code)
  }
  await rockpool('sql', 'insert into nameless values (1)')
  const wrong = `${config('one')}  wrong:\n    data:\n      - SELECT * FROM nameless\n      - SELECT id FROM ones\n`
  await writeFile(file, wrong)
  await until('the file to serve', async () => (await operator.configs()).yaml === wrong, 60)
  expect(dev.output).toMatch(/\nconfig {5}error \S+dev\.yaml:\d+:\d+ id-missing: /)
  expect(dev.output).toMatch(
    /public\.ones cannot be followed: there is no such table in the database: did you mean public\.one\?/,
  )
  await until('the row to be told', async () =>
    /there is no column id/.test((await noted('ROCKPOOL_ROW_SKIPPED'))?.reason ?? ''),
  )
  expect((await noted('ROCKPOOL_ROW_SKIPPED'))?.reason).not.toContain('replaced')
  const refused = await noted('ROCKPOOL_TABLE_REFUSED')
  expect(refused?.reason).toMatch(/^public\.ones: /)
  await writeFile(file, config('two', 'one'))
  await until('the correction to serve', async () => (await operator.configs()).yaml === config('two', 'one'), 60)
  expect((await noted('ROCKPOOL_ROW_SKIPPED'))?.reason).toMatch(
    / \(of a sync config that was replaced and serves nobody\)$/,
  )
  // There was a time when this one was not there.
  expect((await noted('ROCKPOOL_TABLE_REFUSED'))?.reason).toMatch(/^public\.one: /)
})

test('a file that is emptied is reported, and the old one continues to serve', async () => {
  await writeFile(file, '')
  await until('it to be told', async () =>
    /\nconfig {5}\S+dev\.yaml is empty: the old one continues to serve\n/.test(dev.output),
  )
  await writeFile(file, config('two', 'one'))
  await until('it to be deployed again', async () =>
    /is empty[^]*\nconfig {5}deploy \d+ changes nothing for clients\n/.test(dev.output),
  )
})

test('a file that was edited while rockpool dev was down is deployed at its start; a mistake is reported, with the serving config', async () => {
  const restart = async (text: string, word: RegExp): Promise<string> => {
    dev.child.kill('SIGTERM')
    await dev.ended
    await writeFile(file, text)
    dev = start(process.execPath, [
      'cli/rockpool.mjs',
      'dev',
      '--port',
      new URL(url).port,
      '--no-example',
      '--sync-config',
      file,
    ])
    await until(
      String(word),
      async () => word.test(dev.output),
      120,
      () => dev.output,
    )
    return dev.output
  }
  const secret = (await readFile(join(directory.path, 'data', 'jwt-secret'), 'utf8')).trim()
  const operator = new Operator(() => url, secret, 'rockpool')
  const serves = async () => (await operator.configs()).yaml
  // The text that the script brought at first: it is not new to what was deployed.
  const deployed = await restart(config('one'), /\nconfig {5}deploy \d+ -two_all\n/)
  expect(deployed).toMatch(
    /\nready [^]*\nconfig {5}\S+dev\.yaml was edited while rockpool dev was down, and is deployed now\n/,
  )
  await until('it to serve', async () => (await serves()) === config('one'))
  const other = config('one').replace('id, n', 'id, n AS m')
  const edited = await restart(other, /\nconfig {5}\S+dev\.yaml was edited while rockpool dev was down/)
  expect(edited).not.toMatch(/is not what serves/)
  await until('it to serve', async () => (await serves()) === other)
  const wrong = await restart(
    'bucket_definitions:\n  a:\n    data:\n      - SELECT FROM\n',
    /is not what serves \(that is deploy \d+\); deploy \d+ failed: /,
  )
  expect(wrong).toMatch(/\nconfig {5}the file has errors, and is not deployed:\nconfig {5}\S+dev\.yaml:4:\d+ /)
  expect(await serves()).toBe(other)
  // Somebody has gone back from a file that was not edited: that stays.
  await restart(config('one'), /\nconfig {5}\S+dev\.yaml was edited while/)
  await until('it to serve', async () => (await serves()) === config('one'))
  const back = await rockpool('rollback', '--yes')
  expect(back.code, back.output).toBe(0)
  const kept = await restart(
    config('one'),
    /\nconfig {5}\S+dev\.yaml is not what serves \(that is deploy \d+, a rollback\)/,
  )
  expect(kept).not.toContain('was edited')
})

test.skipIf(spawnSync('script', ['--version']).status !== 0)('on a terminal it asks first', async () => {
  const typed = (answer: string) =>
    start('bash', [
      '-c',
      `(sleep 3; echo ${answer}; sleep 20) | script -qfec '${process.execPath} cli/rockpool.mjs rollback' /dev/null`,
    ])
  const no = typed('n')
  await until(
    'the answer',
    async () => no.output.includes('nothing was changed'),
    60,
    () => no.output,
  )
  expect(no.output).toMatch(/Go back\? \[y\/N\] /)
  no.child.kill('SIGKILL')
  const ended = start('bash', [
    '-c',
    `(sleep 3; printf '\\004'; sleep 20) | script -qfec '${process.execPath} cli/rockpool.mjs rollback' /dev/null`,
  ])
  await until(
    'the end',
    async () => ended.output.includes('nothing was changed'),
    60,
    () => ended.output,
  )
  ended.child.kill('SIGKILL')
})
