import { COMMANDS, optionsOf, type CommandDeclaration, type CommandName, type OptionDeclaration } from './commands.ts'

/** The longest line of help, unless a single word is longer. */
const WIDTH = 100

/** Returns the text of `rockpool help`. */
export function overview(): string {
  const names = Object.keys(COMMANDS) as CommandName[]
  const calls = names.map((name) => [callOf(name), COMMANDS[name].does] as const)
  return [
    'rockpool: SQLite on every device in step with Postgres, on Cloudflare',
    '',
    ...table(calls),
    '',
    'rockpool help COMMAND, or rockpool COMMAND --help, has the options of a command, the settings that it takes, and an example.',
    'deploy, deploys, rollback, status, verify and tenants go to rockpool dev when nothing else is said; ROCKPOOL_URL and ROCKPOOL_TOKEN say it, too.',
  ].join('\n')
}

/** Returns the text of `rockpool help COMMAND`. */
export function helpOf(command: CommandName): string {
  const { does, environment = [], more = [], example }: CommandDeclaration = COMMANDS[command]
  const options = optionsOf(command).map(({ name, declaration, text }) => {
    const env = declaration.env === undefined ? '' : ` (${declaration.env})`
    return [spelled(name, declaration), `${text}${env}`] as const
  })
  const hasNames = optionsOf(command).some(({ declaration }) => declaration.env !== undefined)
  const names = hasNames ? ['In brackets above stands the variable that is taken without the option.'] : []
  const variables = [...names, ...environment].flatMap((line) => wrapped(line, WIDTH - 2)).map((line) => `  ${line}`)
  return [
    `usage: ${callOf(command)}${options.length === 0 ? '' : ' [options]'}`,
    '',
    `${does[0]?.toUpperCase()}${does.slice(1)}.`,
    ...more.flatMap((line) => wrapped(line, WIDTH)),
    '',
    'Options',
    ...table([...options, ['-h, --help', 'this text']]),
    ...(variables.length === 0 ? [] : ['', 'Environment', ...variables]),
    '',
    'Example',
    `  npx ${example}`,
  ].join('\n')
}

/** Returns the call with its options in one line. */
export function usageOf(command: CommandName): string {
  const options = optionsOf(command).map(({ name, declaration }) => ` [${spelled(name, declaration)}]`)
  return `usage: ${callOf(command)}${options.join('')}`
}

const callOf = (command: CommandName): string => `rockpool ${command} ${COMMANDS[command].argument}`.trimEnd()

function spelled(name: string, { short, value, multiple }: OptionDeclaration): string {
  const first = short === undefined ? '' : `-${short}, `
  const repeated = multiple === true ? '…' : ''
  return `${first}--${name}${value === undefined ? '' : ` ${value}`}${repeated}`
}

/** Formats two columns. Text that is too long for a line continues below itself. */
function table(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.max(...rows.map(([name]) => name.length))
  return rows.flatMap(([name, text]) =>
    wrapped(text, WIDTH - left - 4).map((line, i) => `  ${(i === 0 ? name : '').padEnd(left)}  ${line}`),
  )
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
