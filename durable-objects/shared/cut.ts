import { addChecksums } from '../../protocol/checksum.ts'
import type { AppendRequest } from '../../protocol/messages/bucket.ts'
import { opChecksumOf, opIdOf } from '../../protocol/op-text.ts'

export type NewOps = Pick<AppendRequest, 'first' | 'last' | 'count' | 'checksum' | 'body'>

/**
 * Groups op texts into bodies shorter than `most` UTF-16 units. An op that is longer by itself becomes a body of its
 * own.
 */
export function* cut(texts: readonly string[], most: number): Iterable<NewOps> {
  for (let at = 0; at < texts.length;) {
    const group: string[] = []
    let length = 0
    while (at < texts.length && (group.length === 0 || length + (texts[at]?.length ?? 0) < most)) {
      const text = texts[at++] ?? ''
      group.push(text)
      length += text.length + 1
    }
    const checksum = group.reduce((sum, text) => addChecksums(sum, opChecksumOf(text)), 0)
    yield {
      first: opIdOf(group[0] ?? ''),
      last: opIdOf(group.at(-1) ?? ''),
      count: group.length,
      checksum,
      body: group.join(','),
    }
  }
}
