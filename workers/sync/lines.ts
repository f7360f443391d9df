import type { SyncLine } from '../../protocol/lines.ts'
import { quote, type OpId } from '../../protocol/ops.ts'

const lineBreaks = /[\u0085\u2028\u2029]/g

/** JSON text of a line. Separators that JSON leaves raw are escaped: some clients break lines at them. */
export function lineText(line: SyncLine): string {
  const json = JSON.stringify(line)
  return lineBreaks.test(json) ? json.replace(lineBreaks, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : json
}

/** A `data` line around op texts that are copied as they are. */
export function dataText(line: { bucket: string; after: OpId; next: OpId; more: boolean; ops: string }): string {
  return `{"data":{"bucket":${quote(line.bucket)},"after":"${line.after}","next_after":"${line.next}","has_more":${line.more},"data":[${line.ops}]}}`
}
