/**
 * An op id: an integer in 1 … 2^53-1, ordered over the whole tenant; 0 is "nothing". On the wire it is a decimal string, inside
 * Rockpool a number, because SQLite in a Durable Object neither binds nor returns bigints.
 */
export type OpId = number

/** An op as it stands in a `data` line (wire form). */
export type WireOp =
  | { op_id: string; op: 'PUT'; object_type: string; object_id: string; subkey: string; checksum: number; data: string }
  | { op_id: string; op: 'REMOVE'; object_type: string; object_id: string; subkey: string; checksum: number; data: null }
  | { op_id: string; op: 'MOVE'; checksum: number }
  | { op_id: string; op: 'CLEAR'; checksum: number }

/** What the sync config makes of a source row in one bucket, before it has an op id. */
export interface RowOp {
  op: 'PUT' | 'REMOVE'
  objectType: string
  objectId: string
  /** Tells source rows apart that yield the same (type, id) in one bucket. */
  subkey: string
  /** Unsigned 32 bits. */
  checksum: number
  /** JSON text of the row; null for a REMOVE. */
  data: string | null
}

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
