import type { Clients, ShownStream } from '../protocol/messages/census.ts'
import { alignedLines } from './aligned.ts'
import { printable } from './frame.ts'
import { OperatorClient, operatorOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { UsageError } from './problem.ts'
import { count, type Terminal } from './progress.ts'

const COLUMNS: [title: string, of: (stream: ShownStream) => string][] = [
  ['user', ({ user }) => user ?? '(an older release opened it)'],
  ['client', ({ client }) => client || '-'],
  ['sdk', ({ sdk }) => sdk || '-'],
  ['since', ({ since }) => since.replace(/\.\d+Z$/, 'Z')],
  ['buckets', ({ buckets }) => String(buckets)],
  ['position', ({ position }) => (position === null ? '-' : String(position))],
  ['held', ({ held }) => `${held.toLocaleString('en')} B`],
]

/** `rockpool clients`. Returns false when it was refused, after the reason was printed. Throws UsageError. */
export async function clients(args: readonly string[], { out }: Terminal): Promise<boolean> {
  const options = operatorOptions('clients', args, process.env)
  if (options.positionals.length > 0) throw new UsageError('clients takes no argument: it lists all')
  try {
    const client = await OperatorClient.of(options)
    const answer = await client.ask<Clients>('GET', 'clients')
    out(options.json ? `${JSON.stringify({ ok: true, ...answer }, null, 2)}\n` : `${clientsText(answer)}\n`)
    return true
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    out(error.output(options.json))
    return false
  }
}

/** Everything in it comes from clients, so it is made safe for a terminal. */
export function clientsText({ at, total, streams, more, silent }: Clients): string {
  const rows = [
    COLUMNS.map(([title]) => title),
    ...streams.map((stream) => COLUMNS.map(([, of]) => printable(of(stream)))),
  ]
  const listed = streams.length === 0 ? [] : alignedLines(rows)
  const unlisted = more === 0 ? '' : `; ${more.toLocaleString('en')} of them are not listed`
  return [
    ...listed,
    `${count(total, 'stream', 'streams')} at ${at}${unlisted}`,
    ...silent.map(({ relay, streams: had, at: when }) => {
      const last = had === null ? '' : `; at ${when} it had ${count(had, 'stream', 'streams')}`
      return `${printable(relay)} does not answer${last}`
    }),
  ].join('\n')
}
