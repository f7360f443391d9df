import type { OpId, WireOp } from '../../protocol/ops.ts'

/**
 * The texts of a body's ops. Inside a JSON string every quote is escaped, so what stands between two ops (see `opText`) stands nowhere else.
 */
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

/** The id of an op's text, without parsing the rest. */
export function opIdOf(text: string): OpId {
  return Number(text.slice(START, text.indexOf('"', START)))
}

export function parseOp(text: string): WireOp {
  const op: WireOp = JSON.parse(text)
  return op
}
