import { opIdOf, splitOps, quote } from '../../protocol/op-text.ts'
import type { DataLine, SyncLine } from '../../protocol/lines.ts'
import type { LineEncoder } from './transport.ts'

const lineBreaks = /[\u0085\u2028\u2029]/g

/** Line separators that JSON leaves raw. They are escaped because some clients break lines at them. */
const escapeBreaks = (json: string): string =>
  lineBreaks.test(json) ? json.replace(lineBreaks, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : json

/** Returns the JSON text of a line. */
export const lineText = (line: SyncLine): string => escapeBreaks(JSON.stringify(line))

/** Returns a `data` line, into which op texts are copied as they are. */
export function dataText(line: DataLine): string {
  return `{"data":{"bucket":${quote(line.bucket)},"after":"${line.after}","next_after":"${line.next}","has_more":${line.more},"data":[${line.ops}]}}`
}

const encoder = new TextEncoder()

/** `application/x-ndjson`: one JSON value per line, each ended by a line feed. */
export const ndjsonLines: LineEncoder<Uint8Array> = {
  line: (line) => encoder.encode(`${lineText(line)}\n`),
  data: (line) => encoder.encode(`${dataText(line)}\n`),
}

/** Lines as strings, for WebSocket frames. */
export const textLines: LineEncoder<string> = { line: lineText, data: dataText }

/** The same for clients that do not ask for `raw_data`: the row of an op is an object inside the line, not a string. */
export const nestedLines: LineEncoder<Uint8Array> = {
  line: ndjsonLines.line,
  data: (line) => ndjsonLines.data({ ...line, ops: splitOps(line.ops).map(nestedOp).join(',') }),
}

const DATA = ',"data":"'

/** Replaces the JSON string of each row by its content. The row is not parsed, so numbers keep every digit. */
function nestedOp(text: string): string {
  // A quote inside a string is escaped, so this text occurs only before the row.
  const at = text.indexOf(DATA)
  if (at < 0) return text
  const row: string = JSON.parse(text.slice(at + DATA.length - 1, -1))
  return `${text.slice(0, at)},"data":${escapeBreaks(row)}}`
}

/**
 * Splits a `data` line into lines of about `size()` UTF-16 units each; `size` is called before every one. An op is
 * never split.
 */
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
    while (at < texts.length && (at === from || length + (texts[at]?.length ?? 0) < limit))
      length += (texts[at++]?.length ?? 0) + 1
    const last = at === texts.length
    const next = last ? line.next : opIdOf(texts[at - 1] ?? '')
    yield { bucket: line.bucket, after, next, more: line.more || !last, ops: texts.slice(from, at).join(',') }
    after = next
  }
}
