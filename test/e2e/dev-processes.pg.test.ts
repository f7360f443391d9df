import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROOT } from '../../cli/bundle.ts'
import { freePort } from '../support/postgres.ts'
import { kill9, stillRunning, treeOf, type ProcessLine } from '../support/processes.ts'
import { temporaryDirectory, until } from '../support/support.ts'

// `rockpool dev` as it is typed, with the signals and accidents that its processes meet. All of them use one data
// folder, which each has to leave usable.

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const started: ChildProcess[] = []

beforeAll(async () => {
  directory = await temporaryDirectory()
  // Otherwise the database of root is elsewhere, and stays there.
  await chmod(directory.path, 0o755)
})
afterAll(async () => {
  for (const child of started)
    if (child.pid !== undefined) for (const { pid } of treeOf(child.pid)) process.kill(pid, 'SIGKILL')
  await directory?.remove()
})

interface Dev {
  child: ChildProcess
  port: number
  output(): string
  tree(): ProcessLine[]
  /** Fails when something of what ran is left. */
  nothingLeft(before: readonly ProcessLine[]): Promise<void>
}

const rockpool = [process.execPath, 'cli/rockpool.mjs', 'dev']

/** `wrapped`: who starts the command that is given to it. */
async function start(command: readonly string[], word = '\nready ', stdin: 'ignore' | 'pipe' = 'ignore'): Promise<Dev> {
  const port = await freePort()
  const options = ['--port', String(port), '--data', `${directory.path}/data`, '--no-example']
  const [program = '', ...args] = command.flatMap((part) =>
    part === 'OPTIONS' ? options : [part.replace('OPTIONS', options.join(' '))],
  )
  const child = spawn(program, args, { cwd: ROOT, stdio: [stdin, 'pipe', 'pipe'] })
  started.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: Buffer) => (output += text.toString()))
  await until(
    'rockpool dev',
    async () => output.replaceAll('\r', '').includes(word),
    120,
    () => output,
  )
  return {
    child,
    port,
    output: () => output,
    tree: () => treeOf(child.pid ?? 0),
    async nothingLeft(before) {
      expect(before.filter(({ command: each }) => /bin\/postgres /.test(each))).toHaveLength(1)
      await until(
        'everything to end',
        async () => stillRunning(before).length === 0,
        40,
        () => stillRunning(before),
      )
    },
  }
}

const isOuter = ({ command }: ProcessLine): boolean =>
  /node\S* cli\/rockpool\.mjs dev|node \S*rockpool dev|rockpool\.mjs dev/.test(command) &&
  !/^(sh|bash|npm|script)/.test(command)
const isInner = ({ command }: ProcessLine): boolean => /main\.ts dev/.test(command)
const isNode = ({ command }: ProcessLine): boolean => /^\S*node\b/.test(command)

describe('nothing is left running', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s', async (signal) => {
    const dev = await start([...rockpool, 'OPTIONS'])
    const before = dev.tree()
    dev.child.kill(signal)
    const [code] = await once(dev.child, 'close')
    expect(code).toBe(0)
    expect(stillRunning(before)).toEqual([])
  })

  test.each([
    ['npm start', ['npm', 'start', '--', 'OPTIONS']],
    ['npx rockpool dev', ['npx', 'rockpool', 'dev', 'OPTIONS']],
  ])('SIGTERM to %s', async (_, command) => {
    const dev = await start(command)
    const before = dev.tree()
    dev.child.kill('SIGTERM')
    await dev.nothingLeft(before)
  })

  test('kill -9 of npm', async () => {
    const dev = await start(['npm', 'start', '--', 'OPTIONS'])
    const before = dev.tree()
    dev.child.kill('SIGKILL')
    await dev.nothingLeft(before)
  })

  test("kill -9 of npm's shell, and of the shell that a script runs in", async () => {
    const dev = await start(['npx', 'rockpool', 'dev', 'OPTIONS'])
    const before = dev.tree()
    const shells = before.filter(({ command }) => command.startsWith('sh -c ') && !command.includes('rockpool-guard'))
    expect(shells).toHaveLength(1)
    kill9(...shells)
    await dev.nothingLeft(before)
    const script = await start(['bash', '-c', `npx rockpool dev OPTIONS; true`], '\nready ', 'pipe')
    const all = script.tree()
    script.child.kill('SIGKILL')
    await script.nothingLeft(all)
  })

  test.skipIf(spawnSync('script', ['--version']).status !== 0)(
    'Ctrl-C on npm start, which goes on until everything has ended',
    async () => {
      // `exec`, because `script` starts a shell of its own, and where that is dash it stays, and tells the signal as
      // its status (130).
      const dev = await start(['script', '-qfec', 'exec npm start -- OPTIONS', '/dev/null'], '\nready ', 'pipe')
      const before = dev.tree()
      dev.child.stdin?.write('\u0003')
      const [code] = await once(dev.child, 'close')
      // Of a shell between npm and us it would be that of the signal, and the prompt would come back before the end.
      expect([code, dev.output()]).toEqual([0, expect.stringMatching(/stopping …\s+stopped\s/)])
      expect(stillRunning(before)).toEqual([])
    },
  )

  test.skipIf(spawnSync('script', ['--version']).status !== 0)('closing the terminal', async () => {
    const dev = await start(['script', '-qfec', `${rockpool.join(' ')} OPTIONS`, '/dev/null'], '\nready ', 'pipe')
    const before = dev.tree()
    dev.child.kill('SIGKILL')
    await dev.nothingLeft(before)
  })

  test.each([
    ['the command', isOuter],
    ['the process that runs everything', isInner],
    ['every Node process', isNode],
  ])('kill -9 of %s', async (_, victim) => {
    const dev = await start([...rockpool, 'OPTIONS'])
    const before = dev.tree()
    const victims = before.filter(victim)
    expect(victims).not.toEqual([])
    kill9(...victims)
    await dev.nothingLeft(before)
  })

  test('kill -9 before it is ready', async () => {
    const dev = await start([...rockpool, 'OPTIONS'], 'edge       ')
    const before = dev.tree()
    kill9(...before.filter(isNode))
    await dev.nothingLeft(before)
  })
})

describe('processes that die are restarted', () => {
  const answers = async (port: number) =>
    (await fetch(`http://127.0.0.1:${port}/probes/liveness`, { signal: AbortSignal.timeout(2_000) })).ok

  test('Postgres after kill -9 of its first process, on its port', async () => {
    const dev = await start([...rockpool, 'OPTIONS'])
    const postmaster = dev.tree().filter(({ command }) => /bin\/postgres /.test(command))
    const portOf = () => readFile(`${directory.path}/data/postgres/port`, 'utf8')
    const port = await portOf()
    kill9(...postmaster)
    await until('it to be told', async () => dev.output().includes('Postgres runs again'), 60, dev.output)
    expect(await portOf()).toBe(port)
    const now = dev.tree().filter(({ command }) => /bin\/postgres /.test(command))
    expect(now).toHaveLength(1)
    expect(now[0]?.pid).not.toBe(postmaster[0]?.pid)
    const before = dev.tree()
    dev.child.kill('SIGTERM')
    await dev.nothingLeft(before)
  })

  test('workerd, also when its port is taken while it is started', async () => {
    const dev = await start([...rockpool, 'OPTIONS'])
    const workerd = dev.tree().filter(({ command }) => /bin\/workerd /.test(command))
    kill9(...workerd)
    // Who asks how things are meanwhile is not kept, for `close` waits for its connection.
    const thief = createServer((socket) => socket.destroy())
    // Between its end and its next start: the port is free for that long.
    await until('the port to be taken', () => listens(thief, dev.port), 60)
    await until('a start that fails', async () => dev.output().includes('workerd could not be started'), 60, dev.output)
    await new Promise((resolve) => thief.close(resolve))
    await until('it to be told', async () => dev.output().includes('workerd runs again'), 60, dev.output)
    expect(await answers(dev.port)).toBe(true)
    const before = dev.tree()
    dev.child.kill('SIGTERM')
    await dev.nothingLeft(before)
  })
})

function listens(server: ReturnType<typeof createServer>, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => resolve(true))
  })
}
