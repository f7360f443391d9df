import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ROOT } from './bundle.ts'
import { devOptions, tokenOptions } from './options.ts'
import { UsageError } from './problem.ts'
import type { Terminal } from './progress.ts'
import { readSettings } from './settings.ts'
import { closest } from '../protocol/closest.ts'

const COMMANDS = ['dev', 'token', 'sql', 'check', 'explain', 'deploy', 'rollback', 'status', 'verify', 'eval', 'version', 'help']

const HELP = `rockpool: SQLite on every device in step with Postgres, on Cloudflare

  rockpool dev [options]             database, edge and example on this machine
  rockpool token --sub USER          a token for the development secret  [--ttl 1h] [--claim KEY=VALUE]…
  rockpool sql "SELECT …"            SQL in the development database
  rockpool check FILE                what a deploy would refuse: sync config, settings, database  [--database-url URL] [--data DIR] [--json]
  rockpool explain FILE              what a sync config means and costs  [--json]
  rockpool deploy FILE               a sync config without a pause  [--url URL] [--token TOKEN] [--yes] [--dry-run] [--force] [--json]
  rockpool rollback                  back to the one that served before  [the same] [--to NUMBER] [--withdraw: the one that is left never serves again]
  rockpool status [URL]              how it is now, with a look at Postgres  [--watch] [--url URL] [--token TOKEN] [--json]
  rockpool verify                    compares Postgres, row state and buckets  [--repair] [--cancel] [--url URL] [--token TOKEN] [--json]
  rockpool eval CASE.json…           evaluates cases of rows and requests  [--out DIR] [--as-deployed]
  rockpool version

Options of dev, each with an environment variable of the same name (--database-url: DATABASE_URL)
  --port 8787                        of the HTTP side; the example has the next one
  --database-url URL                 use this Postgres instead of the embedded one
  --sync-config FILE                 instead of sync-config.yaml
  --jwt-secret BASE64URL             HS256; otherwise one is made and kept
  --jwt-audience AUD                 rockpool
  --data DIR                         .rockpool/data
  --no-example                       no example
  --example                          the example with --database-url, too: it makes its tables there
deploy, rollback, status and verify go to rockpool dev when nothing else is said; ROCKPOOL_URL and ROCKPOOL_TOKEN say it, too. --token - reads the token
from standard input, for a command line is seen by every user of the machine. Without a terminal to ask on, deploy and rollback need --yes.
status ends with 0 when all is well, with 1 when there is a problem, and with 2 when it cannot be asked.
Every setting (docs/settings.md: PUBLICATION, SLOT, MAX_BUCKETS, JWKS_URL …) is taken from the environment, then from [vars] of wrangler.toml.`

async function run(command: string | undefined, args: string[]): Promise<void> {
  if (args.includes('--help') || args.includes('-h')) return console.log(HELP)
  switch (command) {
    case 'dev': {
      // A mistake on the command line is told before wrangler.toml is read, which takes a second.
      devOptions(args, process.env)
      const given = await readSettings(process.env)
      const options = devOptions(args, given)
      const stop = new AbortController()
      const { dev } = await import('./dev.ts')
      claimSignals(stop)
      // launch.mjs has gone, and what it could have passed on with it. So may have the terminal, which is no reason to leave anything running.
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
      const { token, rest } = tokenOptions(args)
      devOptions(rest, process.env)
      const options = devOptions(rest, await readSettings(process.env))
      const { knownSecret, signToken } = await import('./secret.ts')
      console.log(await signToken(token, options.jwtSecret ?? (await knownSecret(resolve(options.data))), options.jwtAudience))
      return
    }
    case 'sql': {
      const [text, ...rest] = args
      if (text === undefined || text.startsWith('--')) throw new UsageError('sql needs a statement: rockpool sql "SELECT 1"')
      const { sql } = await import('./sql.ts')
      console.log(await sql(text, devOptions(rest, process.env)))
      return
    }
    case 'check':
    case 'explain': {
      const { check, explain } = await import('./check.ts')
      const { output, ok } = await (command === 'check' ? check : explain)(args, process.stdout.isTTY === true && !process.env.NO_COLOR)
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
    case 'eval': {
      const { run: evaluate } = await import('./eval.ts')
      process.exitCode = await evaluate(args, { out: (text) => process.stdout.write(text), err: (text) => process.stderr.write(text) })
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
      console.log(HELP)
      return
    default:
      throw new UsageError(`there is no command ${command}${didYouMean(command, COMMANDS)}; rockpool help tells all`)
  }
}

function terminal(): Terminal {
  const interactive = process.stdout.isTTY === true && process.stdin.isTTY === true
  return { out: (text) => process.stdout.write(text), interactive, colour: interactive && !process.env.NO_COLOR }
}

function didYouMean(word: string, words: readonly string[]): string {
  const nearest = closest(word, words)
  return nearest === null ? '' : `, did you mean ${nearest}?`
}

/** Libraries of ours end the process by themselves on a signal, in any order; what is started here is ended here. */
function claimSignals(stop: AbortController): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.removeAllListeners(signal)
    process.on(signal, () => stop.abort())
  }
}

// Whoever reads has seen enough (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const [command, ...args] = process.argv.slice(2)
try {
  await run(command, args)
  // Handles of ended children may be open for a moment; everything that matters has ended.
  process.exit(process.exitCode ?? 0)
} catch (error) {
  console.error(`rockpool: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(error instanceof UsageError ? 2 : 1)
}
