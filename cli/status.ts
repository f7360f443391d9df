import type { OperatorStatus } from '../protocol/messages/status.ts'
import type { Paint } from './frame.ts'
import { OperatorClient, operatorOptions, type OperatorOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { UsageError } from './problem.ts'
import type { Terminal } from './progress.ts'
import { reportOf, type Report } from './status-report.ts'
import { statusText } from './status-text.ts'

/** Exit codes. 0: all is well, or `--watch` was ended. 1: there is a problem. 2: the status cannot be read. */
export type StatusCode = 0 | 1 | 2

const WATCH_MS = 2_000
/** The server examines the source for at most 5 s. */
const ANSWER_MS = 30_000

/** `rockpool status`. `stop` ends `--watch`. Throws UsageError. */
export async function status(args: readonly string[], terminal: Terminal, stop: AbortSignal): Promise<StatusCode> {
  const options = operatorOptions('status', args, process.env)
  if (options.watch && options.json)
    throw new UsageError('--watch draws repeatedly, --json prints once: use one of them')
  const paint: Paint = (code, text) => (terminal.colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  if (options.watch) return watched(options, terminal, paint, stop)
  try {
    const report = await asked(options, await OperatorClient.of(options))
    terminal.out(options.json ? `${JSON.stringify(report, null, 2)}\n` : `${statusText(report, paint)}\n`)
    return report.ok ? 0 : 1
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    terminal.out(error.output(options.json, refusalText(error)))
    return 2
  }
}

const asked = async ({ url }: OperatorOptions, client: OperatorClient): Promise<Report> =>
  reportOf(await client.ask<OperatorStatus>('GET', 'status', undefined, { answerMs: ANSWER_MS }), url)

const refusalText = ({ code, text }: Refused): string =>
  code === 'PSYNC_S2002' ? `${code}: the Rockpool there is older than this command, and has no /admin/status` : text

/** Draws until `stop` fires. Failed requests are shown too, and repeated. */
async function watched(
  options: OperatorOptions,
  terminal: Terminal,
  paint: Paint,
  stop: AbortSignal,
): Promise<StatusCode> {
  const stopped = new Promise<null>((resolve) => stop.addEventListener('abort', () => resolve(null), { once: true }))
  const pause = () => new Promise((resolve) => setTimeout(resolve, WATCH_MS))
  const client = clientOf(options)
  while (!stop.aborted) {
    const text = await Promise.race([stopped, client().then((each) => drawn(options, each, paint))])
    if (text === null) break
    draw(terminal, text)
    await Promise.race([stopped, pause()])
  }
  return 0
}

/** Our own token lives for an hour, and reading the settings to sign one takes a second. */
function clientOf(options: OperatorOptions): () => Promise<OperatorClient> {
  const RENEW_MS = 30 * 60_000
  let made: { client: OperatorClient; at: number } | null = null
  return async () => {
    if (made === null || (options.token === undefined && Date.now() - made.at > RENEW_MS))
      made = { client: await OperatorClient.of(options), at: Date.now() }
    return made.client
  }
}

async function drawn(options: OperatorOptions, client: OperatorClient, paint: Paint): Promise<string> {
  try {
    return statusText(await asked(options, client), paint)
  } catch (error) {
    if (error instanceof Refused) return refusalText(error)
    if (error instanceof UsageError) return error.message
    throw error
  }
}

/** Replaces the previous screen on a terminal; elsewhere screens follow one another. */
function draw({ out, interactive }: Terminal, text: string): void {
  if (!interactive) return out(`${text}\n\n`)
  const cleared = text.split('\n').map((line) => `${line}\u001b[K\n`)
  out(`\u001b[H${cleared.join('')}\u001b[J`)
}
