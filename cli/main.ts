import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ROOT } from './bundle.ts'
import { COMMANDS, isCommand } from './commands.ts'
import { helpOf, overview } from './help.ts'
import { devOptions, sqlOptions, tokenOptions } from './options.ts'
import { UsageError } from './problem.ts'
import type { Terminal } from './progress.ts'
import { readSettings } from './settings.ts'
import { closest } from '../protocol/closest.ts'

async function run(command: string | undefined, args: string[]): Promise<void> {
  if (args.includes('--help') || args.includes('-h')) return help(command)
  switch (command) {
    case 'dev': {
      // A mistake on the command line is reported before wrangler.toml is read, which takes a second.
      devOptions(args, process.env)
      const given = await readSettings(process.env)
      const options = devOptions(args, given)
      const stop = new AbortController()
      const { dev } = await import('./dev.ts')
      claimSignals(stop)
      // launch.mjs has gone, so it cannot pass on signals any more. The terminal may have gone too; nothing must be
      // left running.
      process.once('disconnect', () => stop.abort())
      for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
      await dev(
        options,
        given,
        (line) => {
          console.log(line)
          claimSignals(stop)
        },
        stop.signal,
      )
      return
    }
    case 'token': {
      const { token, audience, rest } = tokenOptions(args)
      devOptions(rest, process.env)
      const options = devOptions(rest, await readSettings(process.env))
      const { knownSecret, signToken } = await import('./secret.ts')
      const secret = options.jwtSecret ?? (await knownSecret(resolve(options.data)))
      console.log(await signToken(token, secret, audience ?? options.jwtAudience))
      return
    }
    case 'sql': {
      const { statement, tenant, rest } = sqlOptions(args)
      const { sql } = await import('./sql.ts')
      console.log(await sql(statement, { ...devOptions(rest, process.env), tenant }))
      return
    }
    case 'check':
    case 'explain': {
      const { check, explain } = await import('./check.ts')
      const { output, ok } = await (command === 'check' ? check : explain)(
        args,
        process.stdout.isTTY === true && !process.env.NO_COLOR,
      )
      console.log(output)
      process.exitCode = ok ? 0 : 1
      return
    }
    case 'types': {
      const { types } = await import('./types.ts')
      const { output, ok } = await types(args, process.stdout.isTTY === true && !process.env.NO_COLOR)
      console.log(output)
      process.exitCode = ok ? 0 : 1
      return
    }
    case 'verify': {
      const { verify } = await import('./verify.ts')
      process.exitCode = await verify(args, terminal())
      return
    }
    case 'status': {
      const { status } = await import('./status.ts')
      const stop = new AbortController()
      const isTerminal = process.stdout.isTTY === true
      const claim = () => args.includes('--watch') && claimSignals(stop)
      claim()
      const out = (text: string) => {
        process.stdout.write(text)
        claim()
      }
      const shown = { out, interactive: isTerminal, colour: isTerminal && !process.env.NO_COLOR }
      process.exitCode = await status(args, shown, stop.signal)
      return
    }
    case 'deploy':
    case 'rollback': {
      const { deploy, rollback } = await import('./deploy.ts')
      process.exitCode = (await (command === 'deploy' ? deploy : rollback)(args, terminal())) ? 0 : 1
      return
    }
    case 'deploys': {
      const { deploys } = await import('./deploys.ts')
      process.exitCode = (await deploys(args, terminal())) ? 0 : 1
      return
    }
    case 'clients': {
      const { clients } = await import('./clients.ts')
      process.exitCode = (await clients(args, terminal())) ? 0 : 1
      return
    }
    case 'tenants': {
      const { tenants } = await import('./tenants.ts')
      process.exitCode = (await tenants(args, terminal())) ? 0 : 1
      return
    }
    case 'eval': {
      const { run: evaluate } = await import('./eval.ts')
      process.exitCode = await evaluate(args, {
        out: (text) => process.stdout.write(text),
        err: (text) => process.stderr.write(text),
      })
      return
    }
    case 'version':
    case '--version': {
      const manifest: { version: string } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
      console.log(manifest.version)
      return
    }
    case undefined:
    case 'help':
    case '--help':
    case '-h':
      return help(args[0])
    default:
      throw noSuch(command)
  }
}

/** Returns the help of a command, or of all. Throws UsageError when there is no such command. */
function help(command: string | undefined): void {
  if (command !== undefined && !isCommand(command) && !command.startsWith('-')) throw noSuch(command)
  console.log(command !== undefined && isCommand(command) && command !== 'help' ? helpOf(command) : overview())
}

const noSuch = (command: string): UsageError =>
  new UsageError(`there is no command ${command}${didYouMean(command, Object.keys(COMMANDS))}; rockpool help lists all`)

function terminal(): Terminal {
  const interactive = process.stdout.isTTY === true && process.stdin.isTTY === true
  return { out: (text) => process.stdout.write(text), interactive, colour: interactive && !process.env.NO_COLOR }
}

function didYouMean(word: string, words: readonly string[]): string {
  const nearest = closest(word, words)
  return nearest === null ? '' : `, did you mean ${nearest}?`
}

/**
 * Removes the signal handlers of libraries, which would end the process in any order: what is started here is ended
 * here.
 */
function claimSignals(stop: AbortController): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.removeAllListeners(signal)
    process.on(signal, () => stop.abort())
  }
}

// The reader has closed the pipe (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const [command, ...args] = process.argv.slice(2)
try {
  await run(command, args)
  // Handles of ended children may stay open for a moment, but everything that matters has ended.
  process.exit(process.exitCode ?? 0)
} catch (error) {
  console.error(`rockpool: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(error instanceof UsageError ? 2 : 1)
}
