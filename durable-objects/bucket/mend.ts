import { addChecksums, subtractChecksums } from '../../protocol/checksum.ts'
import type { OpId } from '../../protocol/ops.ts'
import { opChecksumOf, splitOps, withChecksum } from '../../protocol/op-text.ts'
import type { Page, Pages } from './storage.ts'

/** How far a log is mended: up to which op, and what its ops add up to. */
export interface Mended {
  last: OpId
  count: number
  checksum: number
}

/**
 * Makes the ops and the totals of a log fit each other again. Each page says twice what its ops add up to: in its own sum, and in the step from the
 * totals before it to its own. Ops that do not fit their page are the ones that are wrong: clients that have them add up to what is announced, so one
 * op of the page gets what is missing, and everybody who reads them from now on comes to the same sum. Totals that do not fit the sums of the pages are
 * wrong themselves.
 *
 * A step is one transaction, over pages of about `length` UTF-16 units behind those of the step before, at least one; a page is held at a time. The step that comes
 * to the newest page is the last, because appends may make that longer. Compaction between two steps makes `before` wrong. Answers null when all is done.
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

/** Null when its ops fit. */
function fit(page: Page, texts: readonly string[]): Page | null {
  const [first, ...rest] = texts
  const sum = texts.reduce((total, text) => addChecksums(total, opChecksumOf(text)), 0)
  if (first === undefined || (sum === page.checksum && texts.length === page.count)) return null
  const missing = subtractChecksums(page.checksum, sum)
  const body = [withChecksum(first, addChecksums(opChecksumOf(first), missing)), ...rest].join(',')
  return { ...page, body, count: texts.length, bytes: Buffer.byteLength(body) }
}
