/** One of the alternatives of an `Accept` or `Accept-Encoding` header, in lower case. */
export interface Alternative {
  value: string
  /** Its weight (RFC 9110, 12.4.2): 1 when none is given, NaN when it is no number. */
  q: number
}

/** Returns the alternatives of such a header in their order. */
export function alternatives(header: string): Alternative[] {
  return header.split(',').map((part) => {
    const [value = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    const q = parameters.find((parameter) => /^q\s*=/.test(parameter))?.replace(/^q\s*=\s*/, '')
    return { value, q: q === undefined ? 1 : Number(q) }
  })
}
