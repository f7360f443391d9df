import type {
  ConfigsAnswer,
  ConfigStatus,
  DeployAnswer,
  DeployDifference,
  RollbackAnswer,
} from '../protocol/messages/admin.ts'
import { agreed } from './agreed.ts'
import { readConfigFile } from './config-file.ts'
import { differenceText, progressText } from './deploy-text.ts'
import { frame, type Paint } from './frame.ts'
import { AS_YAML, OperatorClient, operatorOptions, type OperatorOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { UsageError } from './problem.ts'
import { meter, poll, type Terminal } from './progress.ts'

/**
 * `rockpool deploy FILE`. Returns false when the sync config does not serve, after the reason was printed. Throws
 * UsageError.
 */
export async function deploy(args: readonly string[], terminal: Terminal): Promise<boolean> {
  const options = operatorOptions('deploy', args, process.env)
  const [file, ...more] = options.positionals
  if (file === undefined || more.length > 0) throw new UsageError('name one file: rockpool deploy sync-config.yaml')
  const yaml = await readConfigFile(file)
  const query = options.force ? '&force=1' : ''
  return within(options, terminal, { file, yaml }, async (client, say) => {
    const { difference } = await client.ask<DeployAnswer>('PUT', `sync-config?dry_run=1${query}`, yaml, AS_YAML)
    say(differenceText(difference, file, paintOf(terminal)))
    if (options.dryRun) return { difference }
    if (!(await agreed('Deploy it?', 'deploys it', options, terminal))) return null
    const { config } = await client.ask<DeployAnswer>('PUT', `sync-config?${query}`, yaml, AS_YAML)
    return { difference, config: await served(client, config, options, terminal) }
  })
}

/** `rockpool rollback`. Returns and throws as `deploy`. */
export async function rollback(args: readonly string[], terminal: Terminal): Promise<boolean> {
  const options = operatorOptions('rollback', args, process.env)
  if (options.positionals.length > 0)
    throw new UsageError('rollback takes no file: it goes back to the sync config that served before')
  return within(options, terminal, null, async (client, say) => {
    const named = options.to === undefined ? '' : `&to=${options.to}`
    const would = await client.ask<RollbackAnswer>('POST', `rollback?dry_run=1${named}`)
    if (options.to !== undefined && would.to !== options.to)
      throw new UsageError('nothing was changed: the Rockpool there is older than this command and does not know --to')
    if (would.difference) {
      if (would.to) say(`back to deploy ${would.to}`)
      say(differenceText(would.difference, 'previous', paintOf(terminal)))
    } else
      say(`deploy ${would.cancelled?.number ?? ''} is in progress; it is cancelled, and the old one continues to serve`)
    if (options.dryRun) return { difference: would.difference, cancelled: would.cancelled }
    if (!(await agreed('Go back?', 'goes back', options, terminal))) return null
    // Names the deploy that the user confirmed, because another one may serve by now.
    const to = would.to ? `?to=${would.to}` : ''
    const leaves = options.withdraw ? (await client.ask<ConfigsAnswer>('GET', 'sync-config')).serving : null
    const { config, cancelled, difference } = await client.ask<RollbackAnswer>('POST', `rollback${to}`)
    const withdrawn = cancelled ?? leaves
    if (options.withdraw && withdrawn) {
      await client.ask('POST', `sync-config/${withdrawn.number}/withdraw`)
      say(`deploy ${withdrawn.number} is withdrawn: it never serves again`)
    }
    if (cancelled) {
      say(`deploy ${cancelled.number} is given up`)
      return { cancelled }
    }
    return { difference, config: await served(client, config, options, terminal) }
  })
}

type Outcome = { difference?: DeployDifference | null; config?: ConfigStatus; cancelled?: ConfigStatus | null }

/** With `--json` only the outcome is written. Returns null when the user said no. */
async function within(
  options: OperatorOptions,
  terminal: Terminal,
  source: { file: string; yaml: string } | null,
  work: (client: OperatorClient, say: (text: string) => void) => Promise<Outcome | null>,
): Promise<boolean> {
  const say = options.json ? () => {} : (text: string) => terminal.out(`${text}\n`)
  try {
    const outcome = await work(await OperatorClient.of(options), say)
    if (outcome === null) say('nothing was changed')
    if (options.json) terminal.out(`${JSON.stringify({ ok: outcome !== null, ...outcome }, null, 2)}\n`)
    return outcome !== null
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    const { code, message, status, findings } = error
    if (options.json)
      terminal.out(`${JSON.stringify({ ok: false, error: { code, message, status, findings } }, null, 2)}\n`)
    else if (source && findings.length > 0) {
      const paint = paintOf(terminal)
      say(findings.map((finding) => frame(source.file, source.yaml, finding, paint)).join('\n\n'))
      say(`\n${findings.length} ${findings.length === 1 ? 'error' : 'errors'}: nothing was changed`)
    } else say(error.text)
    return false
  }
}

/** Resolves when the deploy serves. Throws Refused when another one replaced it. */
async function served(
  client: OperatorClient,
  config: ConfigStatus | null,
  options: OperatorOptions,
  terminal: Terminal,
): Promise<ConfigStatus> {
  const show = options.json ? () => {} : meter(terminal)
  const number = config?.number ?? 0
  return poll<ConfigsAnswer, ConfigStatus>(client, 'sync-config', (answer) => {
    const ours = answer.history.find((each) => each.number === number)
    if (answer.serving?.number === number) {
      show(null)
      if (!options.json) terminal.out(`deploy ${number} serves (plan ${answer.serving.plan ?? ''})\n`)
      return answer.serving
    }
    if (ours && ours.state !== 'copying') {
      show(null)
      throw new Refused({
        name: 'RockpoolError',
        code: 'ROCKPOOL_DEPLOY',
        status: 409,
        description: `deploy ${number} was given up: ${ours.error?.message ?? 'another one took its place'}`,
      })
    }
    show(progressText(answer))
    return null
  })
}

const paintOf =
  ({ colour }: Terminal): Paint =>
  (code, text) =>
    colour ? `\u001b[${code}m${text}\u001b[0m` : text
