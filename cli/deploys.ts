import { columnWidths } from './aligned.ts'
import type { ConfigsAnswer, ConfigStatus } from '../protocol/messages/admin.ts'
import { printable, type Paint } from './frame.ts'
import { OperatorClient, operatorOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { UsageError } from './problem.ts'
import type { Terminal } from './progress.ts'

/** The state of a deploy. One that was `given up` never served. */
export type DeployState = 'copying' | 'serving' | 'retired' | 'given up' | 'failed' | 'never again'

/** One line of the history. */
export interface Deploy {
  number: number
  state: DeployState
  created: string
  /** When it began to serve, and when it stopped; null if it never did. */
  served: string | null
  retired: string | null
  /**
   * `sub` of the token of the person who deployed it. Null when it came with the script, or when an older version
   * stored it.
   */
  by: string | null
  origin: ConfigStatus['origin']
  /** The number of the deploy to which a rollback returned. */
  of: number | null
  /** The hash of its plan. */
  plan: string | null
  withdrawn: { at: string; by: string } | null
  error: { code: string; message: string } | null
}

/** `rockpool deploys`. Returns false when it was refused, after the reason was printed. Throws UsageError. */
export async function deploys(args: readonly string[], { out, colour }: Terminal): Promise<boolean> {
  const options = operatorOptions('deploys', args, process.env)
  if (options.positionals.length > 0) throw new UsageError('deploys takes no argument: it lists all')
  try {
    const client = await OperatorClient.of(options)
    const list = historyOf(await client.ask<ConfigsAnswer>('GET', 'sync-config'))
    const paint: Paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
    out(options.json ? `${JSON.stringify({ ok: true, deploys: list }, null, 2)}\n` : `${historyText(list, paint)}\n`)
    return true
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    out(error.output(options.json))
    return false
  }
}

/** Newest first. What is withdrawn is a plan: no deploy that has it ever serves again. */
export function historyOf({ history }: Pick<ConfigsAnswer, 'history'>): Deploy[] {
  const marks = new Map(
    history.flatMap(({ plan, withdrawn }) => (plan !== null && withdrawn ? [[plan, withdrawn] as const] : [])),
  )
  return history.map((config) => {
    const { number, created, served, retired, by, origin, of, plan, error } = config
    const withdrawn = config.withdrawn ?? (plan === null ? undefined : marks.get(plan)) ?? null
    const state = stateOf(config, withdrawn !== null)
    return { number, state, created, served, retired, by: by ?? null, origin, of: of ?? null, plan, withdrawn, error }
  })
}

/** A withdrawn one serves until another one does. */
function stateOf({ state, served }: ConfigStatus, withdrawn: boolean): DeployState {
  if (state === 'serving' || state === 'copying' || state === 'failed') return state
  if (withdrawn) return 'never again'
  return served === null ? 'given up' : 'retired'
}

const COLOURS: Partial<Record<DeployState, number>> = { serving: 32, copying: 33, failed: 31, 'never again': 31 }
const PLAN_DIGITS = 8
/** The characters of a name and of an error that are shown; `--json` has all. */
const NAME = 30
const REASON = 100

/** Returns the history as a table for people. */
export function historyText(list: readonly Deploy[], paint: Paint): string {
  if (list.length === 0) return 'nothing was ever deployed'
  const head = ['number', 'when (UTC)', 'by', 'plan', 'state']
  const rows = list.map(({ number, created, by, origin, plan, state }) => [
    String(number),
    created.slice(0, 19).replace('T', ' '),
    short(by ?? (origin === 'script' ? 'the script' : '?'), NAME),
    plan?.slice(0, PLAN_DIGITS) ?? '-',
    state,
  ])
  const widths = columnWidths([head, ...rows])
  const padded = (cells: readonly string[]): string[] => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0))
  const lines = rows.map((row, i) => {
    const deploy = list[i]
    const colour = deploy && COLOURS[deploy.state]
    const cells = padded(row)
    const state = cells.pop() ?? ''
    return [...cells, colour === undefined ? state : paint(colour, state), deploy ? noteOf(deploy) : '']
      .join('  ')
      .trimEnd()
  })
  return [padded(head).join('  ').trimEnd(), ...lines].join('\n')
}

function noteOf({ origin, of, error, withdrawn, state }: Deploy): string {
  const notes = [
    origin === 'rollback' && of !== null ? `back to ${of}` : '',
    error === null ? '' : short(error.message, REASON),
    withdrawn === null ? '' : `${state === 'serving' ? 'to be left: ' : ''}withdrawn by ${short(withdrawn.by, NAME)}`,
  ]
  return notes.filter((note) => note !== '').join('; ')
}

const short = (text: string, most: number): string => printable(text.length > most ? `${text.slice(0, most)}…` : text)
