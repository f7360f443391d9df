import type { Difference, VerifyAnswer, VerifyStatus } from '../protocol/verification.ts'
import { printable } from './frame.ts'
import { OperatorClient, operatorOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { UsageError } from './problem.ts'
import { bar, count, meter, poll, type Terminal } from './progress.ts'

/** Exit codes. 0: everything is equal or was repaired. 1: differences are left. 2: it could not be done. */
export type VerifyCode = 0 | 1 | 2

/**
 * `rockpool verify`. When the command is interrupted, the verification continues, and the next command joins it. Throws
 * UsageError.
 */
export async function verify(args: readonly string[], terminal: Terminal): Promise<VerifyCode> {
  const options = operatorOptions('verify', args, process.env)
  if (options.positionals.length > 0)
    throw new UsageError('verify takes no file: it compares everything that is followed')
  const { repair, cancel, json } = options
  if (repair && cancel) throw new UsageError('--cancel ends a verification, --repair begins one: use one of them')
  try {
    const client = await OperatorClient.of(options)
    const answer = cancel
      ? await client.ask<VerifyAnswer>('DELETE', 'verify')
      : await verified(client, repair, json ? null : meter(terminal))
    terminal.out(
      json ? `${JSON.stringify({ ok: codeOf(answer.verify) === 0, ...answer }, null, 2)}\n` : `${textOf(answer)}\n`,
    )
    return cancel ? 0 : codeOf(answer.verify)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    terminal.out(error.output(json))
    return 2
  }
}

async function verified(
  client: OperatorClient,
  repair: boolean,
  show: ((text: string | null) => void) | null,
): Promise<VerifyAnswer> {
  const { verify: begun } = await client.ask<VerifyAnswer>('POST', `verify${repair ? '?repair=1' : ''}`)
  return poll<VerifyAnswer, VerifyAnswer>(client, 'verify', (answer) => {
    const { verify: now } = answer
    if (now && now.number === begun?.number && now.state === 'running') {
      show?.(progressText(now))
      return null
    }
    show?.(null)
    return answer
  })
}

function codeOf(status: VerifyStatus | null): VerifyCode {
  if (status?.state !== 'done') return 2
  return status.found > status.mended ? 1 : 0
}

const PHASES = { source: 'tables', buckets: 'buckets', mending: 'mending' } as const

function progressText({ phase, progress, rows, buckets, found, waitingFor }: VerifyStatus): string {
  const done = `${count(rows, 'row', 'rows')}, ${count(buckets, 'bucket', 'buckets')}, ${count(found, 'difference', 'differences')}`
  const line = `total ${bar(progress)}  ${PHASES[phase]}: ${done}`
  return waitingFor === null ? line : `${line}\nwaiting for ${printable(waitingFor)}`
}

/** Returns the differences as text for people, one per line, and a summary. */
function textOf({ verify: status, differences }: VerifyAnswer): string {
  if (!status) return 'nothing was ever verified'
  const lines = differences.map(lineOf)
  if (status.found > differences.length)
    lines.push(`… and ${count(status.found - differences.length, 'further one', 'further ones')}`)
  const compared = `${count(status.rows, 'row', 'rows')} and ${count(status.buckets, 'bucket', 'buckets')} compared`
  const result = status.found === 0 ? 'no differences' : count(status.found, 'difference', 'differences')
  const mended = status.found === 0 || !status.repair ? '' : `, ${status.mended.toLocaleString('en')} repaired`
  if (status.state === 'done') lines.push(`${compared}: ${result}${mended}`)
  else
    lines.push(
      `${status.state}: ${status.error ? `${status.error.code}: ${status.error.message}` : `${compared} before that: ${result}`}`,
    )
  return lines.join('\n')
}

function lineOf({ code, table, key, bucket, reason, mended }: Difference): string {
  const where = [table, key, bucket].filter((each) => each !== null).map((each) => printable(each))
  return `${code.padEnd(15)} ${where.join(' ')}: ${printable(reason)}${mended ? ' (repaired)' : ''}`
}
