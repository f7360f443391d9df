import type { OpId, RowOp, WireOp } from './ops.ts'

// The text of an op, as it is stored in a page and sent in a `data` line.

/**
 * Returns the JSON text of an op, exactly as it is stored in a page and sent in a `data` line. A page body is such
 * texts joined by `,`.
 */
export function opText(id: OpId, op: RowOp): string {
  const data = op.data === null ? 'null' : quote(op.data)
  return `{"op_id":"${id}","op":"${op.op}","object_type":${quote(op.objectType)},"object_id":${quote(op.objectId)},"subkey":${quote(op.subkey)},"checksum":${op.checksum},"data":${data}}`
}

const lineBreaks = /[\u0085\u2028\u2029]/g
/**
 * Matches strings that need no escaping, as most names and ids do: the test takes a fraction of the time of
 * JSON.stringify.
 */
const plain = /^[\w.-]{0,40}$/

/**
 * Returns the JSON text of a string. The line separators that JSON.stringify leaves raw are escaped, because some
 * clients break lines at them.
 */
export function quote(text: string): string {
  if (plain.test(text)) return `"${text}"`
  const json = JSON.stringify(text)
  return lineBreaks.test(json)
    ? json.replace(lineBreaks, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    : json
}

// Op texts are searched without parsing them: inside a JSON string every quote is escaped, so the marks below occur
// nowhere else.

/** Returns the op texts of a body. */
export function splitOps(body: string): string[] {
  if (body === '') return []
  const texts: string[] = []
  let from = 0
  for (let at = body.indexOf(BETWEEN); at >= 0; at = body.indexOf(BETWEEN, from)) {
    texts.push(body.slice(from, at + 1))
    from = at + 2
  }
  texts.push(body.slice(from))
  return texts
}

const BETWEEN = '},{"op_id":"'
const START = '{"op_id":"'.length
const KIND = '","op":"'.length
const TYPE = '"object_type":'
const CHECKSUM = '"checksum":'

/** Returns the text of the op that begins at `from`. */
export function opAt(body: string, at: number): string {
  const end = body.indexOf(BETWEEN, at)
  return end < 0 ? body.slice(at) : body.slice(at, end + 1)
}

/** Returns the id of an op from its text. */
export function opIdOf(text: string): OpId {
  return opIdAt(text, 0)
}

/** Returns the id of the op whose text begins at `from`. */
export function opIdAt(body: string, at: number): OpId {
  return Number(body.slice(at + START, body.indexOf('"', at + START)))
}

export function parseOp(text: string): WireOp {
  const op: WireOp = JSON.parse(text)
  return op
}

/** Returns the checksum of an op from its text, unsigned 32 bits. */
export function opChecksumOf(text: string): number {
  return Number.parseInt(text.slice(text.indexOf(CHECKSUM) + CHECKSUM.length), 10)
}

/** Returns the op text with another checksum, unsigned 32 bits. */
export function withChecksum(text: string, checksum: number): string {
  const from = text.indexOf(CHECKSUM) + CHECKSUM.length
  return `${text.slice(0, from)}${checksum}${text.slice(from).replace(/^\d+/, '')}`
}

/**
 * Returns whether the op only removes rows or does nothing. At the start of a log there is nothing to remove, so such
 * an op has no effect there.
 */
export function isFoldable(text: string): boolean {
  return text[text.indexOf('"', START) + KIND] !== 'P'
}

/** Returns the row of a PUT or REMOVE as the JSON text of type, id and subkey, or null for MOVE and CLEAR. */
export function rowKeyOf(text: string): string | null {
  const from = text.indexOf(TYPE)
  if (from < 0) return null
  return text.slice(from + TYPE.length, text.indexOf(CHECKSUM, from) - 1)
}

/**
 * Calls `visit` with the row of each PUT and REMOVE of a body, in the form of `rowKeyOf`, and where its text begins.
 * Stops when `visit` returns false.
 */
export function eachRow(body: string, visit: (key: string, at: number) => boolean): void {
  for (let at = 0; body.length > 0;) {
    const kind = body.indexOf('"', at + START) + KIND
    const isRow = body[kind] === 'P' || body[kind] === 'R'
    const from = isRow ? body.indexOf(TYPE, kind) + TYPE.length : kind
    const to = body.indexOf(CHECKSUM, from)
    if (isRow && !visit(body.slice(from, to - 1), at)) return
    const end = body.indexOf(BETWEEN, to)
    if (end < 0) return
    at = end + 2
  }
}

/** Returns what is left of a superseded op: it counts, and does nothing. */
export function moveText(text: string): string {
  return `{"op_id":"${opIdOf(text)}","op":"MOVE","checksum":${opChecksumOf(text)}}`
}

/**
 * Returns the op that replaces a run of ops at the start of a log: a client discards what it has, and begins with this
 * checksum.
 */
export function clearText(id: OpId, checksum: number): string {
  return `{"op_id":"${id}","op":"CLEAR","checksum":${checksum}}`
}
