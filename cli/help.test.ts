import { expect, test } from 'vitest'
import { runScript } from '../test/support/command.ts'
import { check, explain } from './check.ts'
import { COMMANDS, OPTIONS, type CommandName, type OptionName } from './commands.ts'
import { clients } from './clients.ts'
import { deploy, rollback } from './deploy.ts'
import { deploys } from './deploys.ts'
import { run as evaluate } from './eval.ts'
import { helpOf, overview } from './help.ts'
import { devOptions, sqlOptions, tokenOptions } from './options.ts'
import { status } from './status.ts'
import { tenants } from './tenants.ts'
import { types } from './types.ts'
import { verify } from './verify.ts'

const terminal = { out: () => {}, interactive: false, colour: false }
/** Nobody is asked: what is wrong with the address is told when the options have been taken. */
const nowhere = ['--url', 'ftp://nowhere']

/** Starts each command with its arguments, as `main.ts` does. */
const BEGINNINGS: Record<CommandName, (args: string[]) => unknown> = {
  dev: (args) => devOptions(args, {}),
  token: tokenOptions,
  sql: sqlOptions,
  check: (args) => check(args, false),
  explain: (args) => explain(args, false),
  types: (args) => types(args, false),
  deploy: (args) => deploy(['file.yaml', ...args, ...nowhere], terminal),
  deploys: (args) => deploys([...args, ...nowhere], terminal),
  rollback: (args) => rollback([...args, ...nowhere], terminal),
  status: (args) => status([...args, ...nowhere], terminal, AbortSignal.abort()),
  verify: (args) => verify([...args, ...nowhere], terminal),
  clients: (args) => clients([...args, ...nowhere], terminal),
  tenants: (args) => tenants(['list', ...args, ...nowhere], terminal),
  eval: async (args) => {
    let told = ''
    await evaluate(args, { out: () => {}, err: (text) => (told += text) })
    throw new Error(told)
  },
  version: () => refuseAll(),
  help: () => refuseAll(),
}

const refuseAll = (): never => {
  throw new Error('there is no option')
}

async function accepts(command: CommandName, option: OptionName): Promise<boolean> {
  const { type } = OPTIONS[option]
  try {
    await BEGINNINGS[command](type === 'boolean' ? [`--${option}`] : [`--${option}`, '1'])
    return true
  } catch (error) {
    return !(error instanceof Error && error.message.startsWith('there is no option'))
  }
}

const names = Object.keys(COMMANDS) as CommandName[]

test.each(names)('the help of %s has every option that it accepts, and no other', async (command) => {
  const accepted: string[] = []
  for (const option of Object.keys(OPTIONS) as OptionName[]) if (await accepts(command, option)) accepted.push(option)
  const told = [...helpOf(command).matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map(([, name = '']) => name)
  expect(told.filter((name) => name !== 'help').sort()).toEqual(accepted.sort())
})

test.each(names)('the help of %s says what it does, which variables it takes, and gives an example', (command) => {
  const help = helpOf(command)
  expect(help).toMatch(new RegExp(`^usage: rockpool ${command}\\b[^]*\n\nExample\n  npx rockpool ${command}\\b[^\n]*$`))
  // What reads the whole environment says so; what may be given in place of an option stands beside it.
  if (command === 'dev' || command === 'check') expect(help).toContain('docs/settings.md')
  for (const option of Object.keys(COMMANDS[command].options) as OptionName[]) {
    const declared = OPTIONS[option]
    if ('env' in declared) expect(help).toContain(`(${declared.env})`)
  }
  expect(overview()).toMatch(new RegExp(`^ {2}rockpool ${command}\\b`, 'm'))
  for (const line of [...help.split('\n'), ...overview().split('\n').slice(1, -2)])
    expect(line.length).toBeLessThanOrEqual(100)
})

test('help is asked for in three ways, and answered by the command itself', async () => {
  const run = (...args: string[]) => runScript('cli/rockpool.mjs', ...args)
  for (const args of [
    ['deploy', '--help'],
    ['deploy', 'file.yaml', '-h'],
    ['help', 'deploy'],
  ])
    expect(await run(...args)).toEqual({ code: 0, output: `${helpOf('deploy')}\n` })
  for (const args of [['help'], ['--help'], []])
    expect(await run(...args)).toEqual({ code: 0, output: `${overview()}\n` })
  expect(await run('help', 'deplyo')).toEqual({
    code: 2,
    output: 'rockpool: there is no command deplyo, did you mean deploy?; rockpool help lists all\n',
  })
})
