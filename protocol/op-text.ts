import type { OpId, RowOp, WireOp } from './ops.ts'

// The text of an op, as it is stored in a page and sent in a `data` line.

/** The JSON text of an op, exactly as it is stored in a page and sent in a `data` line. A page body is such texts joined by `,`. */
export function opText(id: OpId, op: RowOp): string {
  const data = op.data === null ? 'null' : quote(op.data)
  return `{"op_id":"${id}","op":"${op.op}","object_type":${quote(op.objectType)},"object_id":${quote(op.objectId)},"subkey":${quote(op.subkey)},"checksum":${op.checksum},"data":${data}}`
}

const lineBreaks = /[\u0085\u2028\u2029]/g
/** Names and ids, mostly: to see that nothing is to be escaped takes a fraction of the time of JSON.stringify. */
const plain = /^[\w.-]{0,40}$/

/** JSON text of a string. The line separators that JSON.stringify leaves raw are escaped: some clients break lines at them. */
export function quote(text: string): string {
  if (plain.test(text)) return `"${text}"`
  const json = JSON.stringify(text)
  return lineBreaks.test(json) ? json.replace(lineBreaks, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : json
}

// Op texts are looked at without parsing them: inside a JSON string every quote is escaped, so the marks below stand nowhere else.

/** The texts of a body's ops. */
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

/** The text of the op that begins there. */
export function opAt(body: string, at: number): string {
  const end = body.indexOf(BETWEEN, at)
  return end < 0 ? body.slice(at) : body.slice(at, end + 1)
}

/** The id of an op's text. */
export function opIdOf(text: string): OpId {
  return opIdAt(text, 0)
}

/** The id of the op whose text begins there. */
export function opIdAt(body: string, at: number): OpId {
  return Number(body.slice(at + START, body.indexOf('"', at + START)))
}

export function parseOp(text: string): WireOp {
  const op: WireOp = JSON.parse(text)
  return op
}

/** Unsigned 32 bits. */
export function opChecksumOf(text: string): number {
  return Number.parseInt(text.slice(text.indexOf(CHECKSUM) + CHECKSUM.length), 10)
}

/** The op with another checksum, unsigned 32 bits. */
export function withChecksum(text: string, checksum: number): string {
  const from = text.indexOf(CHECKSUM) + CHECKSUM.length
  return `${text.slice(0, from)}${checksum}${text.slice(from).replace(/^\d+/, '')}`
}

/** Whether it takes rows away or does nothing: at the start of a log there is nothing that it could take away. */
export function isFoldable(text: string): boolean {
  return text[text.indexOf('"', START) + KIND] !== 'P'
}

/** What a PUT or REMOVE is about, as the JSON text of type, id and subkey; null for MOVE and CLEAR. */
export function rowKeyOf(text: string): string | null {
  const from = text.indexOf(TYPE)
  if (from < 0) return null
  return text.slice(from + TYPE.length, text.indexOf(CHECKSUM, from) - 1)
}

/** Calls with what each PUT and REMOVE of a body is about, as `rowKeyOf` says it, and where its text begins. False ends it. */
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

/** What is left of an op in whose favour a later one of the same row stands: it counts, and does nothing. */
export function moveText(text: string): string {
  return `{"op_id":"${opIdOf(text)}","op":"MOVE","checksum":${opChecksumOf(text)}}`
}

/** What is left of a run of ops at the start of a log: forget what you have, and begin with this checksum. */
export function clearText(id: OpId, checksum: number): string {
  return `{"op_id":"${id}","op":"CLEAR","checksum":${checksum}}`
}
