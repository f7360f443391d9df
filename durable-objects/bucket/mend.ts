import { addChecksums, subtractChecksums } from '../../protocol/checksum.ts'
import { opChecksumOf, splitOps, withChecksum } from './ops.ts'
import type { Page, Pages } from './storage.ts'

/**
 * Makes the ops and the totals of a log fit each other again. Each page says twice what its ops add up to: in its own sum, and in the step from the
 * totals before it to its own. Ops that do not fit their page are the ones that are wrong: clients that have them add up to what is announced, so one
 * op of the page gets what is missing, and everybody who reads them from now on comes to the same sum. Totals that do not fit the sums of the pages are
 * wrong themselves. All of it is one transaction; a page is held at a time.
 */
export function mend(pages: Pages): void {
  pages.db.transaction(() => {
    const { removedOps } = pages.header
    let count = 0
    let checksum = 0
    for (let page = pages.after(0); page; page = pages.after(page.last)) {
      const texts = splitOps(page.body)
      const fitted = fit(page, texts)
      if (fitted) pages.replace(page, page, fitted)
      count += texts.length
      checksum = addChecksums(checksum, page.checksum)
      pages.retotal(page.last, count + removedOps, checksum)
    }
  })
  pages.forget()
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
