import type { Finding } from '../sync-config/types.ts'

/** The characters of a line that are shown. Of a longer line, the part around the mark is shown. */
const WIDTH = 160

export type Paint = (code: number, text: string) => string

const RED = 31
const YELLOW = 33
const CYAN = 36

export const levelColour = (level: Finding['level']): number => (level === 'error' ? RED : YELLOW)

/** Returns the place, the line, and a mark under the text that is meant. */
export function frame(file: string, yaml: string, { level, code, message, place, end }: Finding, paint: Paint): string {
  const whole = yaml.split(/\r?\n/)[place.line - 1] ?? ''
  const until = end && end.line === place.line ? end.column : whole.length + 1
  const from = place.column - 1 > WIDTH * 0.75 ? Math.max(0, place.column - 1 - Math.floor(WIDTH / 2)) : 0
  const shown = whole.slice(from, from + WIDTH)
  const line = `${from > 0 ? '…' : ''}${printable(shown)}${from + WIDTH < whole.length ? '…' : ''}`
  // Tabs stay tabs, so that the mark is under its text whatever their width.
  const before = (from > 0 ? ' ' : '') + whole.slice(from, place.column - 1).replace(/[^\t]/g, ' ')
  const length = Math.max(1, Math.min(until - place.column, WIDTH - (place.column - 1 - from)))
  const gutter = `${place.line} | `
  const mark = `${' '.repeat(gutter.length - 2)}| ${before}${'^'.repeat(length)}`
  const head = `${paint(levelColour(level), level)} ${code}: ${printable(message)}`
  return `${head}\n${paint(CYAN, `${file}:${place.line}:${place.column}`)}\n${gutter}${line}\n${paint(levelColour(level), mark)}`
}

/**
 * Removes control characters, which could do anything to a terminal, and those that turn the direction of text, which
 * could make it look like another.
 */
export const printable = (text: string): string =>
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
