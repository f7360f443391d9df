import type { ConfigsAnswer, DeployDifference, PartStatus } from '../protocol/messages/admin.ts'
import { levelColour, printable, type Paint } from './frame.ts'
import { bar, count } from './progress.ts'

/** Returns what a deploy would change, as text for people. */
export function differenceText(
  { definitions, copy, refused, streams, warnings }: DeployDifference,
  file: string,
  paint: Paint,
): string {
  const { kept, changed, again, added, removed } = namesOf(definitions)
  const lines = [
    ...line('kept', kept, (text) => text),
    ...line('changed', changed, (text) => paint(33, text)),
    ...line('again', again, (text) => `${paint(32, text)} (served before: nothing is copied)`),
    ...line('added', added, (text) => paint(32, text)),
    ...line('removed', removed, (text) => paint(31, text)),
    ...copy.map(({ table, rows }, i) => label(i === 0 ? 'copy' : '') + `${printable(table)}, ${rowsText(rows)}`),
  ]
  const moved = definitions.added.length + definitions.removed.length + (definitions.again?.length ?? 0)
  lines.push(
    label('clients') +
      `${count(streams, 'stream is open', 'streams are open')}; ${moved === 0 ? 'nothing changes for anybody' : 'they go on with the old one and move over when the new one is complete'}`,
  )
  for (const { table, reason } of refused)
    lines.push(`${paint(33, 'warning')} table ${printable(table)} cannot be followed: ${printable(reason)}`)
  for (const { level = 'warning', code, message, place } of warnings) {
    lines.push(
      `${paint(levelColour(level), level)} ${file}:${place.line}:${place.column} ${code}: ${printable(message)}`,
    )
  }
  return lines.join('\n')
}

const label = (text: string) => text.padEnd(9)

/** Below this number Postgres's estimate means nothing: a table that was never analysed is estimated by its pages. */
const FEW_ROWS = 500
const rowsText = (rows: number): string => (rows < FEW_ROWS ? 'few rows' : `about ${count(rows, 'row', 'rows')}`)

/**
 * Lists each name once. A stream has several parts, and a lookup is named after all that use it. A name of which one
 * part is removed and another added has changed.
 */
export function namesOf({ kept, again = [], added, removed }: DeployDifference['definitions']) {
  const names = (parts: readonly PartStatus[]) => new Set(parts.flatMap(({ name }) => name.split(', ')))
  const [stay, back, come, go] = [names(kept), names(again), names(added), names(removed)]
  const moved = [...come, ...back, ...go]
  const changed = new Set(
    moved.filter((name) => stay.has(name) || (go.has(name) && (come.has(name) || back.has(name)))),
  )
  const others = (all: Set<string>, besides?: Set<string>) =>
    [...all].filter((name) => !changed.has(name) && !besides?.has(name))
  return {
    kept: others(stay),
    changed: [...changed],
    again: others(back, come),
    added: others(come),
    removed: others(go),
  }
}

const line = (name: string, names: readonly string[], paint: (text: string) => string): string[] =>
  names.length === 0 ? [] : [label(name) + paint(printable(names.join(', ')))]

/** Returns a bar for each table that is read, and one for all. Tables that were complete at the start are left out. */
export function progressText(answer: ConfigsAnswer): string {
  const { next, tables, progress, waitingFor } = answer
  const wanted = new Set(next?.copy.map(({ table }) => table))
  const shown = tables.filter(({ table, state }) => wanted.has(table) || (state !== 'done' && state !== 'removing'))
  const width = Math.max(5, ...shown.map(({ table }) => table.length))
  const lines = shown.map(
    ({ table, progress: part, rows }) =>
      `${printable(table).padEnd(width)} ${bar(part)}  ${count(rows, 'row', 'rows')}`,
  )
  lines.push(`${'total'.padEnd(width)} ${bar(progress ?? 0)}`)
  if (waitingFor !== null) lines.push(`waiting for ${waitingFor}`)
  return lines.join('\n')
}
