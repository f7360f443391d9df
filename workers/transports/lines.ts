import { opIdOf, splitOps, quote } from '../../protocol/op-text.ts'
import type { DataLine, SyncLine } from '../../protocol/lines.ts'
import type { LineEncoder } from './transport.ts'

const lineBreaks = /[\u0085\u2028\u2029]/g

/** Separators that JSON leaves raw are escaped: some clients break lines at them. */
const escapeBreaks = (json: string): string =>
  lineBreaks.test(json) ? json.replace(lineBreaks, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : json

/** JSON text of a line. */
export const lineText = (line: SyncLine): string => escapeBreaks(JSON.stringify(line))

/** A `data` line around op texts that are copied as they are. */
export function dataText(line: DataLine): string {
  return `{"data":{"bucket":${quote(line.bucket)},"after":"${line.after}","next_after":"${line.next}","has_more":${line.more},"data":[${line.ops}]}}`
}

const encoder = new TextEncoder()

/** `application/x-ndjson`: a line of JSON each, every one ended by a line feed. */
export const ndjsonLines: LineEncoder<Uint8Array> = {
  line: (line) => encoder.encode(`${lineText(line)}\n`),
  data: (line) => encoder.encode(`${dataText(line)}\n`),
}

/** Lines as texts, for frames of a WebSocket. */
export const textLines: LineEncoder<string> = { line: lineText, data: dataText }

/** The same for clients that do not ask for `raw_data`: the row of an op is an object inside the line, not a text. */
export const nestedLines: LineEncoder<Uint8Array> = {
  line: ndjsonLines.line,
  data: (line) => ndjsonLines.data({ ...line, ops: splitOps(line.ops).map(nestedOp).join(',') }),
}

const DATA = ',"data":"'

/** The row's text is put where its string stood, so numbers keep every digit. */
function nestedOp(text: string): string {
  // A quote inside a string is escaped, so this stands in front of the row and nowhere else.
  const at = text.indexOf(DATA)
  if (at < 0) return text
  const row: string = JSON.parse(text.slice(at + DATA.length - 1, -1))
  return `${text.slice(0, at)},"data":${escapeBreaks(row)}}`
}

/** Cuts a `data` line into lines of about `size()` UTF-16 units each, asked for before every one. An op is never cut. */
export function* cutData(line: DataLine, size: () => number): Iterable<DataLine> {
  if (line.ops.length <= size()) {
    yield line
    return
  }
  const texts = splitOps(line.ops)
  let { after } = line
  for (let at = 0; at < texts.length;) {
    const limit = size()
    const from = at
    let length = 0
    while (at < texts.length && (at === from || length + (texts[at]?.length ?? 0) < limit)) length += (texts[at++]?.length ?? 0) + 1
    const last = at === texts.length
    const next = last ? line.next : opIdOf(texts[at - 1] ?? '')
    yield { bucket: line.bucket, after, next, more: line.more || !last, ops: texts.slice(from, at).join(',') }
    after = next
  }
}
