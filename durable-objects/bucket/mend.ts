import { addChecksums, subtractChecksums } from '../../protocol/checksum.ts'
import type { OpId } from '../../protocol/ops.ts'
import { opChecksumOf, splitOps, withChecksum } from '../../protocol/op-text.ts'
import type { Page, Pages } from './storage.ts'

/** How far a log is repaired: up to which op, and the totals of its ops. */
export interface Mended {
  last: OpId
  count: number
  checksum: number
}

/**
 * Makes the ops and totals of a log agree again. A page records the sum of its ops twice: as its own sum, and as the
 * difference between the totals before it and its own totals. When the ops disagree with the page's sum, the ops are
 * wrong: one op of the page gets the difference, so that every client that reads them from now on has the announced
 * sum. When the totals disagree with the sums of the pages, the totals are wrong.
 *
 * A step is one transaction over the next pages, about `length` UTF-16 units and at least one page; one page is in
 * memory at a time. The step that reaches the newest page is the last, because appends may extend that page. Compaction
 * between two steps makes `before` wrong. Returns null when all is done.
 */
export function mend(pages: Pages, before: Mended, length: number): Mended | null {
  try {
    return pages.db.transaction(() => {
      const { removedOps } = pages.header
      let { last, count, checksum } = before
      let read = 0
      let page = pages.after(last)
      for (; page && (read === 0 || read + page.body.length <= length); page = pages.after(last)) {
        const texts = splitOps(page.body)
        const fitted = fit(page, texts)
        if (fitted) pages.replace(page, page, fitted)
        read += page.body.length
        last = page.last
        count += texts.length
        checksum = addChecksums(checksum, page.checksum)
        pages.retotal(last, count + removedOps, checksum)
      }
      return page && { last, count, checksum }
    })
  } finally {
    pages.forget()
  }
}

/** Returns the corrected page, or null when its ops agree with its sum. */
function fit(page: Page, texts: readonly string[]): Page | null {
  const [first, ...rest] = texts
  const sum = texts.reduce((total, text) => addChecksums(total, opChecksumOf(text)), 0)
  if (first === undefined || (sum === page.checksum && texts.length === page.count)) return null
  const missing = subtractChecksums(page.checksum, sum)
  const body = [withChecksum(first, addChecksums(opChecksumOf(first), missing)), ...rest].join(',')
  return { ...page, body, count: texts.length, bytes: Buffer.byteLength(body) }
}
