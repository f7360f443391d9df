import { printable, type Paint } from './frame.ts'
import { count } from './progress.ts'
import type { Report } from './status-report.ts'

const RED = 31
const GREEN = 32
const YELLOW = 33
const WIDTH = 13
/** What fits on one screen: this many of each kind, and this much of a text. `--json` has all. */
const MOST = 5
const LENGTH = 300

/** Returns one screen for an operator. */
export function statusText(report: Report, paint: Paint): string {
  const { ok, url, problems, buckets, streams, noted, notes } = report
  const head = ok ? paint(GREEN, 'well') : paint(RED, count(problems.length, 'problem', 'problems'))
  return [
    `${url}  ${head}`,
    '',
    line('source', sourceText(report)),
    line('slot', slotText(report)),
    line('replication', replicationText(report)),
    line('checkpoint', checkpointText(report)),
    line('tables', tablesText(report)),
    line('buckets', bucketsText(buckets)),
    line('streams', streams === null ? '?' : `${streams.toLocaleString('en')} open`),
    line('config', configText(report)),
    ...shown(problems, ({ code, message, next }) =>
      line('problem', `${paint(RED, code)}: ${short(message)}\n${line('', `→ ${next}`)}`),
    ),
    ...shown(noted, ({ code, count: n, last, reason }) => {
      const when = last === null ? '' : `, last ${ago(report, last)}`
      return line(
        'noted',
        `${paint(YELLOW, code)} ${count(n, 'time', 'times')}${when}${reason === null ? '' : `: ${short(reason)}`}`,
      )
    }),
    ...notes.map((note) => line('note', printable(note))),
  ].join('\n')
}

function sourceText({ source }: Report): string {
  const { kind, version, host, database, reachable, milliseconds } = source
  const where = host === null ? 'the settings do not say where' : printable(`${host}/${database ?? ''}`)
  const answer = reachable === null ? '' : reachable ? `, answers (${milliseconds} ms)` : ', does not answer'
  return `${kind}${version === null ? '' : ` ${version}`} at ${where}${answer}`
}

function slotText({ slot, source }: Report): string {
  if (slot === null) return source.reachable === false ? 'not known' : 'none'
  const { name, retainedBytes, limitBytes, lagBytes, walStatus, awaitedStandbys } = slot
  const limit = limitBytes === null ? '' : ` of ${size(limitBytes)} (WAL_KEEP_GB)`
  const measured = source.reachable === false ? ', when it was measured last' : ''
  const waits =
    awaitedStandbys === null
      ? ''
      : `; Postgres waits for a standby (synchronized_standby_slots: ${printable(awaitedStandbys)})`
  return `${printable(name)} keeps ${size(retainedBytes)} of WAL${limit}, ${size(lagBytes)} not read; wal_status ${walStatus ?? '?'}${waits}${measured}`
}

const MEANINGS = {
  starting: 'connecting, or not begun yet',
  copying: 'tables are read',
  live: 'changes arrive at once',
  idle: 'nobody is connected',
  retrying: 'the last session failed',
  refused: 'somebody must change something',
  paused: 'the tenant has used what it may',
} as const

function replicationText(report: Report): string {
  const { state, reason, failures, nextSession } = report.replication
  const why =
    reason === null ? MEANINGS[state] : `${short(reason)}${failures > 1 ? ` (${failures} sessions in a row)` : ''}`
  return `${state}: ${why}${nextSession === null ? '' : `; the next session begins ${inTime(report, nextSession)}`}`
}

function checkpointText(report: Report): string {
  const { number, committed, comparing } = report.checkpoint
  const held = comparing === null ? '' : `; clients wait there while rows are compared (${percent(comparing)})`
  return `${number.toLocaleString('en')}${committed === null ? '' : `; the last transaction is ${age(report, committed)} old`}${held}`
}

function tablesText({ tables: { followed, copying, waitingFor, refused } }: Report): string {
  const names = copying.slice(0, MOST).map(({ table, progress }) => `${printable(table)} ${percent(progress)}`)
  const more = copying.length > MOST ? ' …' : ''
  const waits = waitingFor === null ? '' : ` (waits for ${printable(waitingFor)})`
  return [
    `${followed.toLocaleString('en')} followed`,
    ...(copying.length === 0 ? [] : [`${copying.length} copying${waits}: ${names.join(', ')}${more}`]),
    ...(refused.length === 0 ? [] : [`${refused.length} refused`]),
  ].join('; ')
}

/** The server counts only up to this number. */
const MOST_COUNTED = 100_000

const bucketsText = (buckets: number | null): string =>
  buckets === null ? '?' : `${buckets.toLocaleString('en')}${buckets >= MOST_COUNTED ? ' or more' : ''}`

const ORIGINS = { script: ', from the script', admin: '', rollback: ', a rollback' } as const

function configText(report: Report): string {
  const { config, deploying } = report
  const next = deploying === null ? '' : `; deploy ${deploying.number} is under way (${percent(deploying.progress)})`
  if (config === null) return `none serves yet${next}`
  const { number, since, origin, by } = config
  const when = since === null ? '' : ` since ${since} (${ago(report, since)})`
  return `deploy ${number} serves${when}${ORIGINS[origin]}${by === null ? '' : `, by ${printable(by)}`}${next}`
}

const line = (label: string, text: string): string => label.padEnd(WIDTH) + text

function shown<T>(all: readonly T[], text: (each: T) => string): string[] {
  const lines = all.slice(0, MOST).map(text)
  if (all.length > MOST)
    lines.push(line('', `… and ${count(all.length - MOST, 'further one', 'further ones')} (--json)`))
  return lines
}

const short = (text: string): string => printable(text.length > LENGTH ? `${text.slice(0, LENGTH)} …` : text)
const percent = (fraction: number): string => `${Math.floor(fraction * 100)} %`

const UNITS = [
  [1024 ** 3, 'GB'],
  [1024 ** 2, 'MB'],
  [1024, 'KB'],
] as const

function size(bytes: number): string {
  const [unit, name] = UNITS.find(([each]) => bytes >= each) ?? [1, 'bytes']
  return `${Number((bytes / unit).toFixed(unit > 1024 ** 2 ? 1 : 0))} ${name}`
}

const since = ({ at }: Report, time: string): number => Date.parse(at) - Date.parse(time)
const age = (report: Report, time: string): string => duration(Math.max(0, since(report, time)))
const ago = (report: Report, time: string): string => `${age(report, time)} ago`
const inTime = (report: Report, time: string): string =>
  since(report, time) >= 0 ? 'now' : `in ${duration(-since(report, time))}`

function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1_000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`
}
